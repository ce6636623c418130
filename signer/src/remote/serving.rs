//! The process's side of the socket: requests in, answers out, several under way on each connection.
//!
//! Bounds: [`CONNECTIONS`] at once, more are closed; [`IN_FLIGHT`] requests under way on each, then nothing more is read from it;
//! [`PATIENCE`] for a frame that has begun, for the first one, and for an answer to be taken. A connection whose bytes are no messages
//! ends, without an answer: its end shows the client that the position is lost. Requests that were taken are finished and answered
//! also when the process is told to stop.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use host::clock::Clock;
use host::shutdown::Shutdown;
use pki::cert::Certificate;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use zeroize::Zeroizing;

use super::frame::{Decoder, FrameError, MAX_ANSWER_BYTES, MAX_REQUEST_BYTES, encode};
use super::socket;
use super::wire::{Answer, Done, Failure, Member, Request, Sign, Token, Unusable, VERSION, answer, request};
use crate::error::TokenError;
use crate::service::TokenService;
use crate::{Purpose, Signer, SignerError, SoftwareSigner};

/// Most connections at once: a server has one, an operator's command one more.
const CONNECTIONS: usize = 16;
/// Most requests under way on a connection.
const IN_FLIGHT: usize = 256;
/// For a client that has begun something.
const PATIENCE: Duration = Duration::from_secs(10);
/// After a connection could not be accepted: most likely the process has too many files open.
const AFTER_FAILURE: Duration = Duration::from_millis(100);

/// What a connection works with. Cheap to clone.
#[derive(Clone)]
pub(super) struct Serving {
    pub(super) token: Arc<SoftwareSigner>,
    pub(super) clock: Clock,
    pub(super) shutdown: Shutdown,
    /// A client may have the authentication key itself.
    pub(super) shares_key: bool,
}

impl Serving {
    /// Until shutdown, and until what was asked before it is answered. Dropped, it ends every connection at once.
    pub(super) async fn serve(self, listener: UnixListener) {
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                Some(_) = connections.join_next() => continue,
                () = self.shutdown.stopped() => break,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::error!(%error, "a connection could not be accepted");
                    tokio::time::sleep(AFTER_FAILURE).await;
                    continue;
                }
            };
            if let Err(error) = socket::check_peer(&stream) {
                tracing::warn!(%error, "a connection was refused");
                continue;
            }
            let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                tracing::warn!(limit = CONNECTIONS, "a connection was refused: there are too many");
                continue;
            };
            let serving = self.clone();
            connections.spawn(async move {
                if let Err(error) = serving.connection(stream).await {
                    tracing::warn!(%error, "a connection was ended");
                }
                drop(place);
            });
        }
        // Whoever comes now must see at once that there is nobody.
        drop(listener);
        while connections.join_next().await.is_some() {}
    }

    async fn connection(self, stream: UnixStream) -> Result<(), ConnectionError> {
        let (reader, writer) = stream.into_split();
        let (answers, outgoing) = mpsc::channel(IN_FLIGHT);
        let mut requests = Requests { reader, decoder: Decoder::new(MAX_REQUEST_BYTES) };
        // Writing ends when the last request under way has its answer, or when answers are not taken: then reading ends too.
        let reading = async {
            let result = self.answer_all(&mut requests, &answers).await;
            drop(answers);
            result
        };
        tokio::try_join!(reading, write(writer, outgoing)).map(|_| ())
    }

    async fn answer_all(
        &self,
        requests: &mut Requests,
        answers: &mpsc::Sender<Bytes>,
    ) -> Result<(), ConnectionError> {
        let first = tokio::time::timeout(PATIENCE, requests.next());
        let Some(hello) = first.await.map_err(|_| ConnectionError::Silent)?? else { return Ok(()) };
        match hello.body {
            Some(request::Body::Hello(said)) if said.version == VERSION => {
                send(answers, hello.id, answer::Body::Done(Done {})).await?;
            }
            _ => return Err(ConnectionError::NoHello),
        }
        let mut changes = self.token.watch();
        let mut under_way = JoinSet::new();
        while let Some(request) = self.next_request(requests, &mut changes, answers).await? {
            let (serving, answers) = (self.clone(), answers.clone());
            under_way.spawn(async move {
                let body = serving.answer(request.body).await;
                // It fails when the client is gone.
                let _ = send(&answers, request.id, body).await;
            });
            while under_way.try_join_next().is_some() {}
            // Who asks for more than there are places waits in the kernel.
            if under_way.len() >= IN_FLIGHT {
                under_way.join_next().await;
            }
        }
        while under_way.join_next().await.is_some() {}
        Ok(())
    }

    /// The next request; changes of the token are told meanwhile. `None` at the end.
    async fn next_request(
        &self,
        requests: &mut Requests,
        changes: &mut watch::Receiver<u64>,
        answers: &mpsc::Sender<Bytes>,
    ) -> Result<Option<Request>, ConnectionError> {
        loop {
            tokio::select! {
                request = requests.next() => return request,
                Ok(()) = changes.changed() => send(answers, 0, answer::Body::Done(Done {})).await?,
                () = self.shutdown.stopped() => return Ok(None),
            }
        }
    }

    pub(super) async fn answer(&self, body: Option<request::Body>) -> answer::Body {
        let refused = match body {
            Some(request::Body::Sign(sign)) => return self.sign(sign).await,
            Some(request::Body::AuthenticationKey(wanted)) => return self.authentication_key(&wanted.key),
            Some(body) => {
                let (token, now) = (Arc::clone(&self.token), self.clock.now());
                let done = tokio::task::spawn_blocking(move || administer(token.as_ref(), body, now)).await;
                match done {
                    Ok(Ok(body)) => return body,
                    Ok(Err(Refused::Token(error))) => Failure::of_token(&error),
                    Ok(Err(Refused::Unusable(error))) => Failure::of_unusable(error),
                    Err(panicked) => Failure::of_token(&TokenError::Elsewhere(panicked.to_string())),
                }
            }
            None => Failure::of_unusable(Unusable("kind of request")),
        };
        answer::Body::Failure(refused)
    }

    async fn sign(&self, sign: Sign) -> answer::Body {
        let (purpose, algorithm) = (sign.read_purpose(), sign.read_algorithm());
        let (purpose, (algorithm, form)) = match (purpose, algorithm) {
            (Ok(purpose), Ok(algorithm)) => (purpose, algorithm),
            (Err(error), _) | (_, Err(error)) => return answer::Body::Failure(Failure::of_unusable(error)),
        };
        match self.token.sign(&sign.key, purpose, algorithm, form, sign.message).await {
            Ok(value) => answer::Body::Value(value),
            Err(error) => answer::Body::Failure(Failure::of_signer(error)),
        }
    }
}

impl Serving {
    fn authentication_key(&self, id: &String) -> answer::Body {
        if !self.shares_key {
            let refused = SignerError::Purpose { key: id.clone(), purpose: Purpose::Handshake };
            return answer::Body::Failure(Failure::of_signer(refused));
        }
        match self.token.authentication_key(id) {
            Ok(key) => {
                tracing::info!(key = id, "the security server has a copy of its authentication key");
                answer::Body::Value(key.to_pkcs8().to_vec())
            }
            Err(error) => answer::Body::Failure(Failure::of_signer(error)),
        }
    }
}

/// Why a request of an administrator was not done.
enum Refused {
    Token(TokenError),
    Unusable(Unusable),
}

impl From<TokenError> for Refused {
    fn from(error: TokenError) -> Self {
        Self::Token(error)
    }
}

impl From<Unusable> for Refused {
    fn from(error: Unusable) -> Self {
        Self::Unusable(error)
    }
}

/// All but signatures. Blocks.
fn administer(
    token: &dyn TokenService,
    body: request::Body,
    now: proto::time::UnixTime,
) -> Result<answer::Body, Refused> {
    use request::Body;
    let done = answer::Body::Done(Done {});
    Ok(match body {
        Body::Hello(_) | Body::Sign(_) | Body::AuthenticationKey(_) => {
            return Err(Unusable("kind of request").into());
        }
        Body::Describe(_) => answer::Body::Token(Token::of(token)),
        Body::Login(login) => {
            token.login(&Zeroizing::new(login.pin), now)?;
            done
        }
        Body::Logout(_) => {
            token.logout()?;
            done
        }
        Body::ChangePin(change) => {
            token.change_pin(&Zeroizing::new(change.old), &Zeroizing::new(change.new), now)?;
            done
        }
        Body::Generate(wanted) => {
            answer::Body::Key(token.generate(wanted.usage().read()?, wanted.read_kind()?, &wanted.label)?)
        }
        Body::ImportCertificate(import) => {
            let status = import.status().read()?;
            let cert = Certificate::parse(&import.der).map_err(TokenError::Certificate)?;
            answer::Body::Key(token.import_certificate(&cert, import.member.map(Member::read), status)?)
        }
        Body::Csr(csr) => answer::Body::Value(token.csr(&csr.key, &csr.read_subject()?, &csr.dns_names)?),
        Body::SetStates(wanted) => {
            let states = wanted.states.iter().map(|state| state.read()).collect::<Result<Vec<_>, _>>()?;
            token.set_states(&states)?;
            done
        }
        Body::DeleteCertificate(delete) => {
            token.delete_certificate(&delete.certificate)?;
            done
        }
        Body::Rename(rename) => {
            token.rename(Some(&rename.key).filter(|key| !key.is_empty()), &rename.name)?;
            done
        }
        Body::RequestCertificate(wanted) => {
            let request = wanted.csr.as_ref().ok_or(Unusable("request for a certificate"))?.read()?.request;
            answer::Body::Key(token.request_certificate(&wanted.key, wanted.usage().read()?, request)?)
        }
        Body::WriteCsr(wanted) => answer::Body::Value(token.write_csr(&wanted.key, &wanted.csr)?),
        Body::DeleteCsr(delete) => {
            token.delete_csr(&delete.csr)?;
            done
        }
        Body::DeleteKey(delete) => {
            token.delete_key(&delete.key)?;
            done
        }
    })
}

struct Requests {
    reader: OwnedReadHalf,
    decoder: Decoder<Request>,
}

impl Requests {
    /// The next request, `None` when the client has ended. May be dropped and called again: what was read is kept.
    async fn next(&mut self) -> Result<Option<Request>, ConnectionError> {
        loop {
            if let Some(request) = self.decoder.message()? {
                return Ok(Some(request));
            }
            let inside = self.decoder.is_inside();
            let read = self.reader.read_buf(self.decoder.buffer());
            let count = if inside {
                tokio::time::timeout(PATIENCE, read).await.map_err(|_| ConnectionError::Silent)??
            } else {
                read.await?
            };
            if count == 0 {
                return if inside { Err(ConnectionError::Cut) } else { Ok(None) };
            }
        }
    }
}

async fn send(answers: &mpsc::Sender<Bytes>, id: u64, body: answer::Body) -> Result<(), ConnectionError> {
    let frame = encode(&Answer { id, body: Some(body) }, MAX_ANSWER_BYTES)?;
    answers.send(frame).await.map_err(|_| ConnectionError::Silent)
}

async fn write(mut writer: OwnedWriteHalf, mut frames: mpsc::Receiver<Bytes>) -> Result<(), ConnectionError> {
    while let Some(frame) = frames.recv().await {
        let written = tokio::time::timeout(PATIENCE, writer.write_all(&frame)).await;
        written.map_err(|_| ConnectionError::Silent)??;
    }
    Ok(())
}

/// Why a connection is ended.
#[derive(Debug, thiserror::Error)]
enum ConnectionError {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error("the client was silent for {PATIENCE:?} where it should have gone on")]
    Silent,
    #[error("it ended within a message")]
    Cut,
    #[error("it did not begin with Hello of version {VERSION}")]
    NoHello,
}
