//! The TLS of stock security servers on port 5500, by OpenSSL: TLS 1.2 and three CBC suites, which rustls does not have.
//!
//! Taken only where the other side can nothing better ([`super::hello`], [`super::peer`]). What a handshake accepts is the same as on
//! the rustls side: a client certificate is required and its hash must be registered; whether it is trusted is decided later, by the
//! same code, from the same chain of [`Certificate`]s. The chain we send ends below the trust anchor.
//!
//! Sessions are resumed by id and by ticket. A ticket brings back the leaf alone, so the intermediates that came with it in the full
//! handshake are remembered here. Ticket keys live for [`RENEW`] at most; what a session resumes is checked again by the caller.
//!
//! Not here: SNI, ALPN and host names, which stock servers do not look at either.

use std::collections::HashMap;
use std::future::{Ready, ready};
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_openssl::SslStream;
use hyper_openssl::client::legacy::{HttpsLayer, MaybeHttpsStream};
use hyper_util::rt::TokioIo;
use openssl::dh::Dh;
use openssl::error::ErrorStack;
use openssl::pkey::PKey;
use openssl::ssl::{
    Ssl, SslConnector, SslContext, SslContextBuilder, SslMethod, SslOptions, SslRef, SslSessionCacheMode,
    SslVerifyMode, SslVersion,
};
use openssl::stack::Stack;
use openssl::x509::{X509, X509Name, X509NameRef, X509Ref, X509VerifyResult};
use pki::cert::Certificate;
use signer::AuthIdentity;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tower_layer::Layer;
use tower_service::Service;

use super::peer::CurrentConf;
use super::read_ahead::ReadAhead;

/// As stock servers have them, in their order of preference.
const SUITES: &str = "ECDHE-RSA-AES256-SHA384:DHE-RSA-AES256-SHA256:ECDHE-ECDSA-AES256-SHA384";
/// Names our sessions, since a client certificate belongs to them.
const SESSION_CONTEXT: &[u8] = b"causeway 5500";
/// Sessions kept for clients that resume by id, and chains kept for those that resume by ticket.
const SERVER_SESSIONS: i32 = 10_000;
/// Servers whose last session is kept.
const CLIENT_SESSIONS: usize = 1_024;
/// After this long there are new ticket keys and no old sessions.
const RENEW: Duration = Duration::from_secs(6 * 3600);

/// A connection accepted by OpenSSL.
pub(super) type ServerStream = TokioIo<SslStream<TokioIo<ReadAhead<TcpStream>>>>;
/// A connection made by OpenSSL.
pub(super) type ClientStream = TokioIo<MaybeHttpsStream<TokioIo<ReadAhead<TcpStream>>>>;

/// Accepts stock servers as one authentication key.
pub(super) struct CbcServer {
    context: SslContext,
    begun: Instant,
    conf: CurrentConf,
    /// Names of all CAs under one generation of the configuration.
    names: Mutex<(Option<u64>, Vec<X509Name>)>,
    /// What came with a leaf in a full handshake.
    chains: Mutex<HashMap<[u8; 32], Vec<Certificate>>>,
}

impl CbcServer {
    /// `None` when the key of `identity` cannot leave its token.
    ///
    /// # Errors
    /// OpenSSL does not take the key or the chain.
    pub(super) fn new(identity: &AuthIdentity, conf: CurrentConf) -> Result<Option<Self>, ErrorStack> {
        let mut builder = SslContextBuilder::new(SslMethod::tls_server())?;
        if !set_up(&mut builder, identity)? {
            return Ok(None);
        }
        builder.set_options(SslOptions::CIPHER_SERVER_PREFERENCE);
        builder.set_tmp_dh(&*Dh::params_from_pem(FFDHE2048)?)?;
        builder.set_session_id_context(SESSION_CONTEXT)?;
        builder.set_session_cache_mode(SslSessionCacheMode::SERVER);
        builder.set_session_cache_size(SERVER_SESSIONS);
        let (checked, refusal) = (conf.clone(), refusal(identity)?);
        builder.set_verify_callback(
            SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT,
            move |_, context| {
                // OpenSSL's own opinion of the chain does not count; that of the leaf is asked for once more when the path is built.
                let registered = context.error_depth() > 0
                    || context
                        .current_cert()
                        .and_then(parse)
                        .is_some_and(|leaf| checked.is_registered(&leaf));
                context.set_error(if registered { X509VerifyResult::OK } else { refusal });
                registered
            },
        );
        let (names, chains) = (Mutex::new((None, Vec::new())), Mutex::default());
        Ok(Some(Self { context: builder.build(), begun: Instant::now(), conf, names, chains }))
    }

    /// Time for another one.
    pub(super) fn is_old(&self) -> bool {
        self.begun.elapsed() >= RENEW
    }

    /// The handshake with a client, and the chain that it showed now or when the session was made.
    ///
    /// # Errors
    /// The handshake failed.
    pub(super) async fn accept(
        &self,
        socket: ReadAhead<TcpStream>,
    ) -> io::Result<(ServerStream, Vec<Certificate>)> {
        let mut ssl = Ssl::new(&self.context)?;
        ssl.set_client_ca_list(self.ca_names()?);
        let mut stream = SslStream::new(ssl, TokioIo::new(socket))?;
        Pin::new(&mut stream).accept().await.map_err(io::Error::other)?;
        let chain = self.chain(stream.ssl());
        count("server", stream.ssl());
        Ok((TokioIo::new(stream), chain))
    }

    /// The subjects of all CA certificates under the present configuration, for the CertificateRequest.
    fn ca_names(&self) -> Result<Stack<X509Name>, ErrorStack> {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let generation = self.conf.generation();
        if names.0 != generation {
            let certs = self.conf.ca_certs();
            // A CA that OpenSSL cannot read is one that no client can be asked for.
            let subjects =
                certs.iter().filter_map(|ca| X509::from_der(ca.der()).ok()?.subject_name().to_owned().ok());
            *names = (generation, subjects.collect());
        }
        let mut list = Stack::new()?;
        for name in &names.1 {
            list.push(X509NameRef::to_owned(name)?)?;
        }
        Ok(list)
    }

    fn chain(&self, ssl: &SslRef) -> Vec<Certificate> {
        let chain = server_chain(ssl);
        let Some(leaf) = chain.first().map(Certificate::sha256) else { return chain };
        let mut chains = self.chains.lock().unwrap_or_else(PoisonError::into_inner);
        if ssl.session_reused() {
            return match chains.get(&leaf) {
                Some(shown) if chain.len() == 1 => shown.clone(),
                _ => chain,
            };
        }
        if chain.len() == 1 {
            chains.remove(&leaf);
        } else if chains.contains_key(&leaf) || chains.len() < SERVER_SESSIONS as usize {
            chains.insert(leaf, chain.clone());
        }
        chain
    }
}

/// What both roles have in common; `false` when there is no key to be had.
fn set_up(builder: &mut SslContextBuilder, identity: &AuthIdentity) -> Result<bool, ErrorStack> {
    let (Some(key), Some((leaf, rest))) = (&identity.key, identity.chain.split_first()) else {
        return Ok(false);
    };
    builder.set_min_proto_version(Some(SslVersion::TLS1_2))?;
    builder.set_max_proto_version(Some(SslVersion::TLS1_2))?;
    builder.set_cipher_list(SUITES)?;
    builder.set_security_level(2);
    // OpenSSL is not asked about the path, so it need not look for one.
    builder.set_verify_depth(0);
    builder.set_options(SslOptions::NO_COMPRESSION | SslOptions::NO_RENEGOTIATION);
    builder.set_certificate(&*X509::from_der(leaf.der())?)?;
    for intermediate in rest {
        builder.add_extra_chain_cert(X509::from_der(intermediate.der())?)?;
    }
    builder.set_private_key(&*PKey::private_key_from_pkcs8(&key.to_pkcs8())?)?;
    builder.check_private_key()?;
    Ok(true)
}

/// For the DHE suite: ffdhe2048 of RFC 7919, which clients offer by name.
const FFDHE2048: &[u8] = b"-----BEGIN DH PARAMETERS-----
MIIBCAKCAQEA//////////+t+FRYortKmq/cViAnPTzx2LnFg84tNpWp4TZBFGQz
+8yTnc4kmz75fS/jY2MMddj2gbICrsRhetPfHtXV/WVhJDP1H18GbtCFY2VVPe0a
87VXE15/V8k1mE8McODmi3fipona8+/och3xWKE2rec1MKzKT0g6eXq8CrGCsyT7
YdEIqUuyyOP7uWrat2DX9GgdT0Kj3jlN9K5W7edjcrsZCwenyO4KbXCeAvzhzffi
7MA0BM0oNC9hkXL+nOmFg/+OTxIy7vKBg8P+OxtMb61zO7X8vC7CIAXFjvGDfRaD
ssbzSibBsu/6iGtCOGEoXJf//////////wIBAg==
-----END DH PARAMETERS-----
";

/// A reason that OpenSSL tells the client as `certificate_unknown`, which is what stock servers say of a certificate that is not
/// registered. OpenSSL has no way to name an alert, but its table has none for this one.
fn refusal(identity: &AuthIdentity) -> Result<X509VerifyResult, ErrorStack> {
    let Some(leaf) = identity.chain.first() else { return Ok(X509VerifyResult::APPLICATION_VERIFICATION) };
    let leaf = X509::from_der(leaf.der())?;
    // Our own certificate did not issue itself: "subject issuer mismatch".
    let mismatch = leaf.issued(&leaf);
    let usable = mismatch != X509VerifyResult::OK;
    Ok(if usable { mismatch } else { X509VerifyResult::APPLICATION_VERIFICATION })
}

fn parse(cert: &X509Ref) -> Option<Certificate> {
    Certificate::parse(&cert.to_der().ok()?).ok()
}

/// Leaf first, up to the first that cannot be read. On this side OpenSSL keeps the leaf apart.
fn server_chain(ssl: &SslRef) -> Vec<Certificate> {
    let Some(leaf) = ssl.peer_certificate().and_then(|leaf| parse(&leaf)) else { return Vec::new() };
    let sent = ssl.peer_cert_chain().into_iter().flatten().map_while(parse);
    let rest: Vec<_> = sent.skip_while(|cert| *cert == leaf).collect();
    std::iter::once(leaf).chain(rest).collect()
}

/// One metric for both roles.
fn count(role: &'static str, ssl: &SslRef) {
    let resumed = if ssl.session_reused() { "yes" } else { "no" };
    metrics::counter!("causeway_tls_cbc_handshakes_total", "role" => role, "resumed" => resumed).increment(1);
}

/// Connects to stock servers as one authentication key.
pub(super) struct CbcClient {
    identity: Arc<AuthIdentity>,
    /// By host. A layer keeps one session, so that a host that forgot it costs one full handshake and not all later ones.
    layers: Mutex<HashMap<String, Arc<HttpsLayer>>>,
}

impl CbcClient {
    /// `None` when the key of `identity` cannot leave its token.
    pub(super) fn new(identity: Arc<AuthIdentity>) -> Option<Self> {
        identity.key.as_ref()?;
        Some(Self { identity, layers: Mutex::default() })
    }

    /// The handshake with the server at `host`, and the chain that it showed now or when the session was made.
    ///
    /// # Errors
    /// The handshake failed.
    pub(super) async fn connect(
        &self,
        socket: TcpStream,
        host: &str,
    ) -> io::Result<(ClientStream, Vec<Certificate>)> {
        let mut connector = self.layer(host)?.layer(Given(Some(socket)));
        // Host and port are the layer's business; the library wants some address.
        let stream =
            connector.call(http::Uri::from_static("https://peer")).await.map_err(io::Error::other)?;
        let MaybeHttpsStream::Https(tls) = &stream else { return Err(io::ErrorKind::Unsupported.into()) };
        let chain = tls.ssl().peer_cert_chain().into_iter().flatten().map_while(parse).collect();
        count("client", tls.ssl());
        Ok((TokioIo::new(stream), chain))
    }

    fn layer(&self, host: &str) -> Result<Arc<HttpsLayer>, ErrorStack> {
        let mut layers = self.layers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(layer) = layers.get(host) {
            return Ok(layer.clone());
        }
        let layer = Arc::new(new_layer(&self.identity, host)?);
        if layers.len() >= CLIENT_SESSIONS {
            layers.clear();
        }
        layers.insert(host.to_owned(), layer.clone());
        Ok(layer)
    }
}

/// Anything is accepted in the handshake: `peers` verifies before a byte is sent.
fn new_layer(identity: &AuthIdentity, host: &str) -> Result<HttpsLayer, ErrorStack> {
    let mut builder = SslConnector::builder(SslMethod::tls_client())?;
    set_up(&mut builder, identity)?;
    builder.set_verify_callback(SslVerifyMode::PEER, |_, context| {
        context.set_error(X509VerifyResult::OK);
        true
    });
    builder.set_session_cache_size(1);
    let mut layer = HttpsLayer::with_connector(builder)?;
    let name = host.parse::<IpAddr>().is_err().then(|| host.to_owned());
    layer.set_callback(move |connection, _| {
        connection.set_use_server_name_indication(false);
        connection.set_verify_hostname(false);
        // As stock servers do: the name when there is one. Nobody looks at it.
        name.as_ref().map_or(Ok(()), |name| connection.set_hostname(name))
    });
    Ok(layer)
}

/// Gives the library the socket that is connected already.
struct Given(Option<TcpStream>);

impl Service<http::Uri> for Given {
    type Response = TokioIo<ReadAhead<TcpStream>>;
    type Error = io::Error;
    type Future = Ready<io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn call(&mut self, _: http::Uri) -> Self::Future {
        ready(
            self.0
                .take()
                .map(|socket| TokioIo::new(ReadAhead::new(socket)))
                .ok_or_else(|| io::ErrorKind::NotConnected.into()),
        )
    }
}
