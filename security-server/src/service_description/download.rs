//! Fetches a document over `http` or `https`, with the server's internal TLS certificate where it is asked for one.
//!
//! Whoever answers is believed, as an operator who typed the address does: what the document says is shown before it is used. At most
//! [`MAX_BYTES`] within [`WHOLE`], each wait at most [`STEP`], [`AT_ONCE`] downloads at a time. At most [`MAX_REDIRECTS`] redirects are
//! followed, never to another scheme than `http` and `https`, and never from `https` to `http`.

use std::time::Duration;

use bytes::BytesMut;
use proto::id::MemberId;
use tokio::sync::Semaphore;

use super::uri;
use crate::server_proxy::services::{Call, Reply, ServiceError, Services};
use crate::serverconf::url::ServiceUrl;
use crate::serverconf::{Service, ServiceKind};
use crate::tls::InternalTls;

/// Largest document.
pub const MAX_BYTES: usize = 10 << 20;
/// Redirects that are followed.
pub const MAX_REDIRECTS: usize = 5;
/// For each wait.
pub const STEP: Duration = Duration::from_secs(10);
/// For all of it, waiting for a turn included.
pub const WHOLE: Duration = Duration::from_secs(30);
/// Documents that are fetched at the same time.
pub const AT_ONCE: usize = 4;

static TURNS: Semaphore = Semaphore::const_new(AT_ONCE);

/// Why there is no document.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// Not `http` or `https`.
    #[error("{0} is not an http or https address")]
    Address(String),
    /// Nobody answered, or not in a way that can be read.
    #[error(transparent)]
    Failed(#[from] ServiceError),
    /// Another status than 200.
    #[error("HTTP status {0}")]
    Status(u16),
    /// Too large.
    #[error("Size exceeds {0} bytes.")]
    TooLarge(usize),
    /// Too many redirects, or one that leads where none may.
    #[error("the redirect to {0:?} is not followed")]
    Redirect(String),
    /// Too slow.
    #[error("not whole within {0:?}")]
    Late(Duration),
}

/// The document at `url`.
///
/// # Errors
/// [`DownloadError`].
pub async fn fetch(tls: &InternalTls, url: &str) -> Result<Vec<u8>, DownloadError> {
    let work = async {
        let _turn = TURNS.acquire().await.expect("the semaphore is never closed");
        follow(tls, url).await
    };
    tokio::time::timeout(WHOLE, work).await.unwrap_or(Err(DownloadError::Late(WHOLE)))
}

async fn follow(tls: &InternalTls, url: &str) -> Result<Vec<u8>, DownloadError> {
    let mut url = url.to_owned();
    for _ in 0..=MAX_REDIRECTS {
        let mut reply = get(tls, &url).await?;
        match reply.head.status {
            200 => return read(&mut reply).await,
            301 | 302 | 303 | 307 | 308 => {
                let location = reply.head.headers.get("location").unwrap_or_default();
                let location = String::from_utf8_lossy(location).into_owned();
                let next = uri::resolve(&url, &location);
                let target = ServiceUrl::parse(&next).ok();
                let secure = url.get(..8).is_some_and(|start| start.eq_ignore_ascii_case("https://"));
                if location.is_empty() || target.is_none_or(|target| secure && !target.https) {
                    return Err(DownloadError::Redirect(location));
                }
                url = next;
            }
            other => return Err(DownloadError::Status(other)),
        }
    }
    Err(DownloadError::Redirect(url))
}

async fn get(tls: &InternalTls, url: &str) -> Result<Reply, DownloadError> {
    let target = ServiceUrl::parse(url).map_err(|_| DownloadError::Address(url.to_owned()))?;
    let service = Service {
        // Only named in what nobody reads: the call itself needs where, how long and under which TLS rule.
        id: MemberId::new("", "", "").client().service("description"),
        kind: ServiceKind::Rest,
        url: url.to_owned(),
        target: Some(target),
        description: url.to_owned(),
        timeout: STEP,
        verify_tls: false,
        disabled: None,
    };
    let call = Call {
        service: &service,
        pins: &[],
        method: "GET",
        path: "",
        query: None,
        lines: vec![("Accept".to_owned(), b"*/*".to_vec())],
        body: None,
    };
    Ok(Services::new().call(tls, call).await?)
}

async fn read(reply: &mut Reply) -> Result<Vec<u8>, DownloadError> {
    let mut bytes = BytesMut::new();
    while let Some(data) = reply.next().await? {
        if bytes.len() + data.len() > MAX_BYTES {
            return Err(DownloadError::TooLarge(MAX_BYTES));
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes.into())
}
