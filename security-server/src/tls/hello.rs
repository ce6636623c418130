//! The ClientHello of an accepted connection, read before a TLS library sees it [RFC 5246 §6.2.1, §7.4.1.2; RFC 8446 §4.1.2].
//!
//! Only one question is asked of it: does it offer a cipher suite that rustls has? Values that name no suite are passed over:
//! TLS_EMPTY_RENEGOTIATION_INFO_SCSV, TLS_FALLBACK_SCSV and GREASE [RFC 5746, RFC 7507, RFC 8701]. At most [`MAX_HELLO_BYTES`] in
//! sixteen records are looked at; the caller bounds the time. What is longer, malformed or no TLS at all is left to rustls,
//! which answers it with the right alert. What was read comes again for the library, in a `ReadAhead`.

use std::io;
use std::sync::LazyLock;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Most bytes of a hello, record headers included. Those of stock servers and of ours have a few hundred; post-quantum key shares
/// make some of them two thousand.
pub const MAX_HELLO_BYTES: usize = 16 * 1024;
/// Most records that a hello may be cut into.
const MAX_RECORDS: usize = 16;
const FIRST_READ_BYTES: usize = 2048;

const RECORD_HEADER: usize = 5;
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
/// Version and random, in front of the session id.
const FIXED_BYTES: usize = 2 + 32;

/// What the beginning of a connection says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hello {
    /// At least one suite that rustls has.
    Modern,
    /// Suites, and none of them rustls has.
    Legacy,
    /// No ClientHello that can be read.
    Unreadable,
}

/// Reads until the hello says what it is; gives what was read, which must come again.
///
/// # Errors
/// The socket failed, or ended before it said anything.
pub(super) async fn read(socket: &mut (impl AsyncRead + Unpin)) -> io::Result<(Hello, Bytes)> {
    let mut seen = BytesMut::with_capacity(FIRST_READ_BYTES);
    loop {
        if socket.read_buf(&mut seen).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let hello = match look(&seen) {
            Some(hello) => hello,
            None if seen.len() > MAX_HELLO_BYTES => Hello::Unreadable,
            None => continue,
        };
        return Ok((hello, seen.freeze()));
    }
}

/// What `bytes`, the beginning of a connection, says; `None` while it may still become a hello.
pub fn look(bytes: &[u8]) -> Option<Hello> {
    let mut handshake = Vec::new();
    let mut rest = bytes;
    for _ in 0..MAX_RECORDS {
        let Some((header, after)) = rest.split_first_chunk::<RECORD_HEADER>() else {
            let starts_well = rest.first().is_none_or(|kind| *kind == HANDSHAKE);
            return if starts_well { None } else { Some(Hello::Unreadable) };
        };
        let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
        if header[0] != HANDSHAKE || header[1] != 3 || length == 0 {
            return Some(Hello::Unreadable);
        }
        let part = after.get(..length).unwrap_or(after);
        handshake.extend_from_slice(part);
        if let Some(hello) = suites_in(&handshake) {
            return Some(hello);
        }
        if after.len() < length {
            return None;
        }
        rest = &after[length..];
    }
    Some(Hello::Unreadable)
}

/// The verdict on a handshake message as far as it is there; `None` while its suites are not there whole.
fn suites_in(message: &[u8]) -> Option<Hello> {
    let (kind, mut rest) = message.split_first()?;
    if *kind != CLIENT_HELLO {
        return Some(Hello::Unreadable);
    }
    // The length of the message needs no look: what matters of it lies at its beginning.
    rest = rest.get(3 + FIXED_BYTES..)?;
    let (session_id, after) = rest.split_first()?;
    if *session_id > 32 {
        return Some(Hello::Unreadable);
    }
    rest = after.get(usize::from(*session_id)..)?;
    let (length, after) = rest.split_first_chunk::<2>()?;
    let length = usize::from(u16::from_be_bytes(*length));
    if length < 2 || length % 2 != 0 {
        return Some(Hello::Unreadable);
    }
    let offered = after.get(..length)?;
    let mut suites = offered.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
    Some(if suites.any(is_modern) { Hello::Modern } else { Hello::Legacy })
}

/// rustls has this suite. Signalling values and GREASE name none, so they are in no list of suites.
fn is_modern(suite: u16) -> bool {
    static SUITES: LazyLock<Vec<u16>> = LazyLock::new(|| {
        rustls::crypto::ring::ALL_CIPHER_SUITES.iter().map(|suite| u16::from(suite.suite())).collect()
    });
    SUITES.contains(&suite)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The three suites of stock servers.
    const STOCK: [u16; 3] = [0xc028, 0x006b, 0xc024];
    const SCSV: u16 = 0x00ff;
    const FALLBACK: u16 = 0x5600;
    const GREASE: u16 = 0x1a1a;

    fn message(session_id: &[u8], suites: &[u16]) -> Vec<u8> {
        let mut body = vec![3, 3];
        body.extend([7; 32]);
        body.push(u8::try_from(session_id.len()).unwrap());
        body.extend(session_id);
        body.extend(u16::try_from(suites.len() * 2).unwrap().to_be_bytes());
        body.extend(suites.iter().flat_map(|suite| suite.to_be_bytes()));
        body.extend([1, 0, 0, 0]);
        let length = u32::try_from(body.len()).unwrap().to_be_bytes();
        [vec![CLIENT_HELLO], length[1..].to_vec(), body].concat()
    }

    /// `message` in records of at most `size` bytes.
    fn records(message: &[u8], size: usize) -> Vec<u8> {
        let record = |part: &[u8]| {
            let length = u16::try_from(part.len()).unwrap().to_be_bytes();
            [&[HANDSHAKE, 3, 1, length[0], length[1]], part].concat()
        };
        message.chunks(size).flat_map(record).collect()
    }

    #[test]
    fn the_suites_decide_and_signalling_values_do_not() {
        let stock = [&STOCK[..], &[SCSV, FALLBACK, GREASE]].concat();
        let cases = [
            ("a stock server", stock.clone(), Hello::Legacy),
            ("nothing but signals", vec![SCSV, GREASE], Hello::Legacy),
            ("TLS 1.3 at the end", [&stock[..], &[0x1302]].concat(), Hello::Modern),
            ("ECDHE with GCM", vec![0xc030, 0xc028], Hello::Modern),
            ("DHE with GCM, which rustls does not have", vec![0x009f, 0x006b], Hello::Legacy),
        ];
        for (name, suites, expected) in cases {
            for session_id in [&[][..], &[9; 32]] {
                for size in [7, 40, 16 * 1024] {
                    let bytes = records(&message(session_id, &suites), size);
                    assert_eq!(look(&bytes), Some(expected), "{name}, records of {size}");
                }
            }
        }
    }

    #[test]
    fn what_is_no_hello_is_left_to_rustls() {
        let good = records(&message(&[], &STOCK), 16_384);
        let with = |at: usize, value: u8| {
            let mut bytes = good.clone();
            bytes[at] = value;
            bytes
        };
        let cases = [
            ("HTTP", b"GET / HTTP/1.1\r\n\r\n".to_vec()),
            ("an alert", with(0, 21)),
            ("SSL 2", vec![0x80, 0x2e, 1, 0, 2]),
            ("another major version", with(1, 4)),
            ("another handshake message", with(5, 2)),
            ("a session id of 33 bytes", with(5 + 4 + FIXED_BYTES, 33)),
            ("an odd list of suites", with(5 + 4 + FIXED_BYTES + 2, 5)),
            ("no suites", with(5 + 4 + FIXED_BYTES + 2, 0)),
            ("an empty record", [&[HANDSHAKE, 3, 1, 0, 0], &good[..]].concat()),
            ("records of one byte", records(&message(&[], &STOCK), 1)),
        ];
        for (name, bytes) in cases {
            assert_eq!(look(&bytes), Some(Hello::Unreadable), "{name}");
        }
    }

    #[tokio::test]
    async fn what_was_read_comes_again_however_it_arrives() {
        let hello = records(&message(&[1; 32], &STOCK), 50);
        let all = [&hello[..], b"what follows"].concat();
        for size in [1, 7, 4096] {
            let (mut client, mut server) = tokio::io::duplex(size);
            let sent = all.clone();
            tokio::spawn(async move { tokio::io::AsyncWriteExt::write_all(&mut client, &sent).await });
            let (found, seen) = read(&mut server).await.unwrap();
            assert_eq!(found, Hello::Legacy);
            let mut again = seen.to_vec();
            server.read_to_end(&mut again).await.unwrap();
            assert_eq!(again, all, "in pieces of {size}");
        }
    }

    #[tokio::test]
    async fn a_hello_that_does_not_come_to_its_suites_is_not_read_for_ever() {
        let (mut client, mut server) = tokio::io::duplex(1 << 20);
        // One record with more suites than are ever looked at.
        let head =
            [&[HANDSHAKE, 3, 1, 0xff, 0xff, CLIENT_HELLO, 0, 0xff, 0xfb][..], &[3; FIXED_BYTES]].concat();
        let endless = [&head[..], &[0, 0xff, 0xfe], &[0; 60_000]].concat();
        tokio::io::AsyncWriteExt::write_all(&mut client, &endless).await.unwrap();
        let (found, _) = read(&mut server).await.unwrap();
        assert_eq!(found, Hello::Unreadable);
        drop(client);
        let (client, mut server) = tokio::io::duplex(64);
        drop(client);
        assert!(read(&mut server).await.is_err(), "silence, then the end");
    }

    proptest! {
        /// No bytes make the look panic, and more bytes never change a verdict.
        #[test]
        fn a_verdict_stands(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..300),
            hello in any::<bool>(),
            size in 1..200_usize,
        ) {
            if hello {
                bytes = records(&[&[CLIENT_HELLO][..], &bytes].concat(), size);
            }
            let mut verdict = None;
            for end in 0..=bytes.len() {
                let now = look(&bytes[..end]);
                prop_assert!(verdict.is_none() || verdict == now, "{verdict:?} became {now:?} at {end}");
                verdict = now;
            }
        }
    }
}
