//! The information system that offers the services: does what the path says, byte for byte, and remembers what it was sent.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Notify;

use super::pki::Pair;

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Request line and header lines.
    pub head: String,
    pub body: Vec<u8>,
}

/// Listens until the test ends.
#[derive(Clone)]
pub struct Backend {
    pub address: SocketAddr,
    pub seen: Arc<Mutex<Vec<Seen>>>,
    /// Connections that were accepted.
    pub accepted: Arc<AtomicUsize>,
    /// Lets one call of `held` go on.
    pub release: Arc<Notify>,
}

impl Backend {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let backend = Self::at(&listener);
        let serving = backend.clone();
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                serving.accepted.fetch_add(1, Ordering::Relaxed);
                let serving = serving.clone();
                tokio::spawn(async move { while serve(&mut socket, &serving).await.is_some() {} });
            }
        });
        backend
    }
    /// The same over TLS, showing `pair`.
    pub async fn start_tls(pair: &Pair) -> Self {
        let chain = vec![CertificateDer::from(pair.cert.der().to_vec())];
        let key = PrivateKeyDer::Pkcs8(pair.key.to_pkcs8().to_vec().into());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let backend = Self::at(&listener);
        let serving = backend.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (acceptor, serving) = (acceptor.clone(), serving.clone());
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(socket).await else { return };
                    while serve(&mut stream, &serving).await.is_some() {}
                });
            }
        });
        backend
    }
    fn at(listener: &TcpListener) -> Self {
        Self {
            address: listener.local_addr().unwrap(),
            seen: Arc::default(),
            accepted: Arc::default(),
            release: Arc::default(),
        }
    }
    pub fn connections(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
    }
    pub fn calls(&self) -> usize {
        self.seen.lock().unwrap().len()
    }
    pub fn last(&self) -> Seen {
        self.seen.lock().unwrap().last().cloned().expect("a call")
    }
}

async fn serve(socket: &mut (impl AsyncRead + AsyncWrite + Unpin), backend: &Backend) -> Option<()> {
    let (head, body) = read_message(socket).await?;
    let target = head.split(' ').nth(1)?.to_owned();
    let request = Seen { head: head.clone(), body };
    backend.seen.lock().unwrap().push(request.clone());
    let path = target.split('?').next()?.to_owned();
    let action = path.split('/').nth(2).unwrap_or_default().to_owned();
    let soap = path.starts_with("/soap");
    match action.as_str() {
        "down" => return None,
        "pause" => {
            tokio::time::sleep(Duration::from_millis(300)).await;
            write(socket, "200 OK", "", b"done", Some(4)).await?;
        }
        "held" => {
            backend.release.notified().await;
            write(socket, "200 OK", "", b"done", Some(4)).await?;
        }
        "zeros" => {
            let size: usize = path.rsplit('/').next()?.parse().ok()?;
            write(socket, "200 OK", "", b"", Some(size)).await?;
            let chunk = vec![0; 64 << 10];
            for _ in 0..size / chunk.len() {
                socket.write_all(&chunk).await.ok()?;
            }
        }
        "slow" => tokio::time::sleep(Duration::from_secs(30)).await,
        "stalls" => {
            write(socket, "200 OK", "Content-Type: text/plain\r\n", b"begun", Some(1000)).await?;
            tokio::time::sleep(Duration::from_secs(30)).await;
        }
        "lies" => {
            write(socket, "200 OK", "Content-Type: text/plain\r\n", b"short", Some(1000)).await?;
            return None;
        }
        "two-lengths" => write(socket, "200 OK", "Content-Length: 4\r\n", b"abcde", Some(5)).await?,
        "garbage" => socket.write_all(b"this is not HTTP\r\n\r\n").await.ok()?,
        "spoof" => {
            let lines = "X-Road-Error: server.spoofed\r\nX-Road-Id: other\r\nX-Kept: yes\r\n";
            write(socket, "200 OK", lines, b"ok", Some(2)).await?;
        }
        "status" => {
            let status = path.rsplit('/').next()?;
            let length = (!matches!(status, "204" | "304")).then_some(0);
            write(socket, &format!("{status} Odd Reason"), "X-Kept: yes\r\n", b"", length).await?;
        }
        "redirect" => {
            let line = "Location: /r1/EE/BUSINESS/producer/sub/notexists\r\n";
            write(socket, "302 Found", line, b"", Some(0)).await?;
        }
        "gzip" => {
            let packed = gzip(b"plain text");
            let lines = "Content-Encoding: gzip\r\nContent-Type: text/plain\r\n";
            write(socket, "200 OK", lines, &packed, Some(packed.len())).await?;
        }
        "bomb" => {
            let packed = gzip(&vec![0; 64 << 20]);
            write(socket, "200 OK", "Content-Encoding: gzip\r\n", &packed, Some(packed.len())).await?;
        }
        "big" => {
            let size: usize = path.rsplit('/').next()?.parse().ok()?;
            let body: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
            write(socket, "200 OK", "Content-Type: application/octet-stream\r\n", &body, Some(size)).await?;
        }
        "headers" => {
            let lines = format!("X-Long: {}\r\n", "x".repeat(70_000));
            write(socket, "200 OK", &lines, b"", Some(0)).await?;
        }
        "fault" => {
            let fault = "<s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\"><s:Body><s:Fault>\
                         <faultcode>Server.MyOwn</faultcode><faultstring>ours</faultstring></s:Fault></s:Body></s:Envelope>";
            write(socket, "500 Oops", "Content-Type: text/xml\r\n", fault.as_bytes(), Some(fault.len()))
                .await?;
        }
        // The request itself, under its own type.
        "mirror" => {
            let kind = head.lines().find(|line| line.to_ascii_lowercase().starts_with("content-type:"));
            let lines = format!("{}\r\n", kind.unwrap_or_default());
            write(socket, "200 OK", &lines, &request.body, Some(request.body.len())).await?;
        }
        "nested" | "cut-parts" | "unclosed-parts" | "part-fault" => {
            let fault = "<s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\"><s:Body><s:Fault>\
                         <faultcode>Server.MyOwn</faultcode><faultstring>ours</faultstring></s:Fault></s:Body></s:Envelope>";
            let envelope = match action.as_str() {
                "part-fault" => fault.to_owned(),
                _ => String::from_utf8_lossy(&request.body).into_owned(),
            };
            let nested = "--rb\r\nContent-Type: multipart/mixed; boundary=in\r\n\r\n--in\r\nContent-Type: text/plain\r\n\r\nn1\r\n\
                          --in\r\nContent-Type: text/plain\r\n\r\nn2\r\n--in--\r\n\r\n";
            let last = "--rb\r\nContent-Type: a/b\r\nContent-Id: <a2>\r\n\r\nlast";
            let closing = if action == "nested" { "\r\n--rb--\r\n" } else { "" };
            let body = format!(
                "--rb\r\nContent-Type: text/xml; charset=UTF-8\r\n\r\n{envelope}\r\n{nested}{last}{closing}"
            );
            let length = (action != "cut-parts").then_some(body.len());
            let lines = "Content-Type: multipart/related; boundary=rb\r\n";
            write(socket, "200 OK", lines, body.as_bytes(), length).await?;
            length?;
        }
        // How much there was.
        "" if path == "/sink" => {
            let text = String::from_utf8_lossy(&request.body).into_owned();
            let envelope = text.split_once("\r\n\r\n")?.1.split_once("</s:Envelope>")?.0;
            let length =
                head.to_ascii_lowercase().split_once("content-length: ")?.1.lines().next()?.to_owned();
            let said = format!("<p:sinkQueryResponse>{length}</p:sinkQueryResponse>");
            let body = envelope.replace("<p:sinkQuery>hello</p:sinkQuery>", &said) + "</s:Envelope>";
            let lines = "Content-Type: text/xml; charset=UTF-8\r\n";
            write(socket, "200 OK", lines, body.as_bytes(), Some(body.len())).await?;
        }
        "nosoap" => write(socket, "200 OK", "Content-Type: text/html\r\n", b"<p>", Some(3)).await?,
        "other-id" => {
            let text = String::from_utf8_lossy(&request.body).replace("<xroad:id>", "<xroad:id>not-");
            respond_soap(socket, &text).await?;
        }
        _ if soap => respond_soap(socket, &String::from_utf8_lossy(&request.body)).await?,
        // Echo: the body, or the target when there is none.
        _ => {
            let body = if request.body.is_empty() { target.into_bytes() } else { request.body };
            let lines = "Content-Type: text/plain\r\nX-First: 1\r\nX-Second: 2\r\nX-First: 3\r\n";
            write(socket, "200 OK", lines, &body, Some(body.len())).await?;
        }
    }
    Some(())
}

async fn respond_soap(socket: &mut (impl AsyncRead + AsyncWrite + Unpin), request: &str) -> Option<()> {
    let body = request
        .replace("<p:testQuery>", "<p:testQueryResponse>")
        .replace("</p:testQuery>", "</p:testQueryResponse>");
    let lines = "Content-Type: text/xml; charset=UTF-8\r\n";
    write(socket, "200 OK", lines, body.as_bytes(), Some(body.len())).await
}

async fn write(
    socket: &mut (impl AsyncRead + AsyncWrite + Unpin),
    status: &str,
    lines: &str,
    body: &[u8],
    length: Option<usize>,
) -> Option<()> {
    let length = length.map_or_else(String::new, |n| format!("Content-Length: {n}\r\n"));
    let head = format!("HTTP/1.1 {status}\r\n{lines}{length}\r\n");
    socket.write_all(&[head.as_bytes(), body].concat()).await.ok()
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut coder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    coder.write_all(plain).unwrap();
    coder.finish().unwrap()
}

/// Head as text and the body by its `Content-Length`.
pub async fn read_message(socket: &mut (impl AsyncRead + Unpin)) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            break at + 4;
        }
        if socket.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head: String = bytes[..end].iter().copied().map(char::from).collect();
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let mut body = bytes.split_off(end);
    // What goes to the sink is dropped but for its beginning.
    let sink = head.starts_with("POST /sink ");
    let mut left = length.unwrap_or(0).saturating_sub(body.len());
    while left > 0 {
        let n = socket.read_buf(&mut body).await.ok()?;
        if n == 0 {
            return None;
        }
        left = left.saturating_sub(n);
        if sink {
            body.truncate(4096);
        }
    }
    Some((head, body))
}
