//! HTTP/1: a bounded server loop over any accepted stream, and a bounded client for configuration, OCSP and timestamps.
use std::time::Duration;

use bytes::Bytes;

/// A small HTTP client: no redirects, no cookies, one timeout for all of a call, bounded answers.
#[derive(Clone)]
pub struct Client {
    _private: (),
}

/// How a call failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No connection, or it broke.
    #[error("{url}: {reason}")]
    Connection {
        /// Where.
        url: String,
        /// Why.
        reason: String,
    },
    /// Not in time.
    #[error("{url}: no answer within {after:?}")]
    Timeout {
        /// Where.
        url: String,
        /// The bound.
        after: Duration,
    },
    /// Too much.
    #[error("{url}: the answer is larger than {limit} bytes")]
    TooLarge {
        /// Where.
        url: String,
        /// The bound.
        limit: usize,
    },
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Its `Content-Type`, or empty.
    pub content_type: String,
    /// Whole body.
    pub body: Bytes,
}

impl Client {
    /// `roots` (DER) are trusted for `https`; when empty, https is not verified (integrity then comes from elsewhere, as for
    /// global configuration).
    pub fn new(connect: Duration, total: Duration, roots: &[Vec<u8>]) -> Self {
        let _ = (connect, total, roots);
        todo!()
    }
    /// GET.
    ///
    /// # Errors
    /// [`ClientError`]; any status is an answer.
    pub async fn get(&self, url: &str, limit_bytes: usize) -> Result<Answer, ClientError> {
        let _ = (url, limit_bytes);
        todo!()
    }
    /// POST.
    ///
    /// # Errors
    /// [`ClientError`]; any status is an answer.
    pub async fn post(
        &self,
        url: &str,
        content_type: &str,
        body: Bytes,
        limit_bytes: usize,
    ) -> Result<Answer, ClientError> {
        let _ = (url, content_type, body, limit_bytes);
        todo!()
    }
}
