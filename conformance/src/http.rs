//! HTTP/1.1 as bytes: what was sent and what came, with the letter case and order of header lines, without any help.
//!
//! One exchange per connection. A message is at most [`MAX_BYTES`]; a peer is waited for at most [`PATIENCE`].

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// Largest message.
pub const MAX_BYTES: usize = 64 << 20;
/// For a peer that is silent.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A request or an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// The first line.
    pub start: String,
    /// Header lines in order, as they were spelled.
    pub headers: Vec<(String, String)>,
    /// The body, without its framing.
    pub body: Vec<u8>,
    /// It came in chunks.
    pub chunked: bool,
}

impl Message {
    /// The status of an answer, 0 when there is none.
    pub fn status(&self) -> u16 {
        self.start.split(' ').nth(1).and_then(|text| text.parse().ok()).unwrap_or(0)
    }
    /// The method of a request.
    pub fn method(&self) -> &str {
        self.start.split(' ').next().unwrap_or_default()
    }
    /// The target of a request.
    pub fn target(&self) -> &str {
        self.start.split(' ').nth(1).unwrap_or_default()
    }
    /// Values of a header, whatever its letter case.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let named = move |(found, _): &&(String, String)| found.eq_ignore_ascii_case(name);
        self.headers.iter().filter(named).map(|(_, value)| value.as_str())
    }
    /// The last value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().rfind(|(found, _)| found.eq_ignore_ascii_case(name))?;
        Some(&found.1)
    }
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Sends bytes to `authority` and reads the answer. `head` says that it has no body.
///
/// # Errors
/// No connection, no answer, or none that can be read.
pub fn exchange(authority: &str, request: &[u8], head: bool) -> io::Result<Message> {
    let address = authority.to_socket_addrs()?.next().ok_or(io::ErrorKind::AddrNotAvailable)?;
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    // A server may answer, and close, before it has read everything.
    let written = stream.write_all(request).and_then(|()| stream.flush());
    match read_message(&mut stream, if head { Kind::HeadAnswer } else { Kind::Answer }) {
        Ok(Some(answer)) => Ok(answer),
        Ok(None) => Err(written.err().unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into())),
        Err(error) => Err(error),
    }
}

/// What is being read; decides whether there is a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A request.
    Request,
    /// An answer.
    Answer,
    /// An answer to HEAD.
    HeadAnswer,
}

/// Reads one message; `None` when the stream ends before it begins.
///
/// # Errors
/// It ends in the middle, is too large, or is no HTTP.
pub fn read_message(stream: &mut impl Read, kind: Kind) -> io::Result<Option<Message>> {
    let mut input = Input { stream, buffer: Vec::new(), at: 0 };
    let Some(start) = input.line()? else { return Ok(None) };
    let mut message = Message { start, ..Message::default() };
    loop {
        let line = input.line()?.ok_or(io::ErrorKind::UnexpectedEof)?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').ok_or_else(|| malformed("a header line without a colon"))?;
        message.headers.push((name.to_owned(), value.trim().to_owned()));
    }
    let bodiless = kind == Kind::HeadAnswer
        || (kind == Kind::Answer && (matches!(message.status(), 204 | 304) || message.status() < 200));
    if bodiless {
        return Ok(Some(message));
    }
    message.chunked = message.header("Transfer-Encoding").is_some_and(|value| value.contains("chunked"));
    let length = message.header("Content-Length").map(str::to_owned);
    message.body = match length {
        _ if message.chunked => input.chunks()?,
        Some(length) => {
            input.exactly(length.parse().map_err(|_| malformed("a length that is no number"))?)?
        }
        None if kind == Kind::Request => Vec::new(),
        None => input.rest()?,
    };
    Ok(Some(message))
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

struct Input<'a, R> {
    stream: &'a mut R,
    buffer: Vec<u8>,
    at: usize,
}

impl<R: Read> Input<'_, R> {
    /// More bytes; false at the end.
    fn more(&mut self) -> io::Result<bool> {
        if self.buffer.len() > MAX_BYTES {
            return Err(malformed("a message that is too large"));
        }
        let mut part = [0; 16_384];
        let count = self.stream.read(&mut part)?;
        self.buffer.extend_from_slice(&part[..count]);
        Ok(count > 0)
    }

    fn line(&mut self) -> io::Result<Option<String>> {
        loop {
            if let Some(end) = self.buffer[self.at..].iter().position(|byte| *byte == b'\n') {
                let line = &self.buffer[self.at..self.at + end];
                // Header values are bytes; those that are no UTF-8 are kept as one character each.
                let line = line.strip_suffix(b"\r").unwrap_or(line);
                let text = match std::str::from_utf8(line) {
                    Ok(text) => text.to_owned(),
                    Err(_) => line.iter().map(|byte| char::from(*byte)).collect(),
                };
                self.at += end + 1;
                return Ok(Some(text));
            }
            if !self.more()? {
                return if self.at == self.buffer.len() {
                    Ok(None)
                } else {
                    Err(io::ErrorKind::UnexpectedEof.into())
                };
            }
        }
    }

    fn exactly(&mut self, length: usize) -> io::Result<Vec<u8>> {
        while self.buffer.len() - self.at < length {
            if !self.more()? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let bytes = self.buffer[self.at..self.at + length].to_vec();
        self.at += length;
        Ok(bytes)
    }

    fn rest(&mut self) -> io::Result<Vec<u8>> {
        while self.more()? {}
        Ok(self.buffer[self.at..].to_vec())
    }

    fn chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.line()?.ok_or(io::ErrorKind::UnexpectedEof)?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(size, 16).map_err(|_| malformed("a chunk without a size"))?;
            if size == 0 {
                while !self.line()?.ok_or(io::ErrorKind::UnexpectedEof)?.is_empty() {}
                return Ok(body);
            }
            body.extend(self.exactly(size)?);
            self.line()?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_however_they_are_framed() {
        let cases: [(&[u8], Kind, &[u8]); 5] = [
            (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcd", Kind::Answer, b"abc"),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1;x\r\nc\r\n0\r\nT: 1\r\n\r\n", Kind::Answer, b"abc"),
            (b"HTTP/1.1 200\r\n\r\nabc", Kind::Answer, b"abc"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", Kind::HeadAnswer, b""),
            (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", Kind::Request, b""),
        ];
        for (bytes, kind, body) in cases {
            let message = read_message(&mut &bytes[..], kind).unwrap().unwrap();
            assert_eq!(message.body, body, "{}", String::from_utf8_lossy(bytes));
        }
        assert_eq!(read_message(&mut &b""[..], Kind::Answer).unwrap(), None);
        for cut in [&b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab"[..], b"HTTP/1.1 200 OK\r\nA"] {
            assert!(read_message(&mut &cut[..], Kind::Answer).is_err());
        }
    }
}
