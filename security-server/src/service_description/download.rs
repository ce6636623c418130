//! Fetches a document over `http` or `https`, with the server's internal TLS certificate where it is asked for one.
//!
//! Whoever answers is believed, as an operator who typed the address does: what the document says is shown before it is used. Size, time, redirects
//! and downloads at a time are bounded by [`Bounds`]. No redirect is followed to another scheme than `http` and `https`, nor from `https`
//! to `http`.

use std::borrow::Cow;
use std::time::Duration;

use bytes::BytesMut;
use proto::id::MemberId;
use tokio::sync::Semaphore;

use super::settings::Bounds;
use super::uri;
use crate::server_proxy::services::{Call, Reply, ServiceError, Services};
use crate::serverconf::url::ServiceUrl;
use crate::serverconf::{Service, ServiceKind};
use crate::tls::InternalTls;

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

/// Fetches documents, a few at a time.
#[derive(Debug)]
pub struct Downloads {
    bounds: Bounds,
    turns: Semaphore,
}

impl Downloads {
    /// Within these bounds.
    pub fn new(bounds: Bounds) -> Self {
        Self { bounds, turns: Semaphore::new(bounds.at_once) }
    }

    /// The document at `url`.
    ///
    /// # Errors
    /// [`DownloadError`].
    pub async fn fetch(&self, tls: &InternalTls, url: &str) -> Result<Vec<u8>, DownloadError> {
        let whole = self.bounds.whole;
        let work = async {
            let _turn = self.turns.acquire().await.expect("the semaphore is never closed");
            self.follow(tls, url).await
        };
        tokio::time::timeout(whole, work).await.unwrap_or(Err(DownloadError::Late(whole)))
    }

    async fn follow(&self, tls: &InternalTls, url: &str) -> Result<Vec<u8>, DownloadError> {
        let mut url = url.to_owned();
        for _ in 0..=self.bounds.redirects {
            let mut reply = get(tls, &url, self.bounds.step).await?;
            match reply.head.status {
                200 => return read(&mut reply, self.bounds.bytes).await,
                301 | 302 | 303 | 307 | 308 => {
                    let location = reply.head.headers.get("location").unwrap_or_default();
                    url = redirected(&url, &String::from_utf8_lossy(location))?;
                }
                other => return Err(DownloadError::Status(other)),
            }
        }
        Err(DownloadError::Redirect(url))
    }
}

/// Where a redirect leads, when it may be followed.
fn redirected(from: &str, location: &str) -> Result<String, DownloadError> {
    let next = uri::resolve(from, location);
    let target = ServiceUrl::parse(&next).ok();
    let secure = from.get(..8).is_some_and(|start| start.eq_ignore_ascii_case("https://"));
    if location.is_empty() || target.is_none_or(|target| secure && !target.https) {
        return Err(DownloadError::Redirect(location.to_owned()));
    }
    Ok(next)
}

async fn get(tls: &InternalTls, url: &str, step: Duration) -> Result<Reply, DownloadError> {
    let target = ServiceUrl::parse(url).map_err(|_| DownloadError::Address(url.to_owned()))?;
    let service = Service {
        // Only named in what nobody reads: the call itself needs where, how long and under which TLS rule.
        id: MemberId::new("", "", "").client().service("description"),
        kind: ServiceKind::Rest,
        url: url.to_owned(),
        target: Some(target),
        description: url.to_owned(),
        timeout: step,
        verify_tls: false,
        disabled: None,
    };
    let call = Call {
        service: &service,
        pins: &[],
        method: "GET",
        path: "",
        query: None,
        lines: vec![("Accept".into(), Cow::Borrowed(b"*/*"))],
        body: None,
    };
    Ok(Services::new().call(tls, call).await?)
}

async fn read(reply: &mut Reply, limit: usize) -> Result<Vec<u8>, DownloadError> {
    let mut bytes = BytesMut::new();
    while let Some(data) = reply.next().await? {
        if bytes.len() + data.len() > limit {
            return Err(DownloadError::TooLarge(limit));
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes.into())
}
