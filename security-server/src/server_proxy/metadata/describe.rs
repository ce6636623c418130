//! Fetches a service's description from where its owner has put it.
//!
//! With the TLS rule of the service, as its calls. No redirect is followed, and only status 200 is a description. At most
//! [`MAX_BYTES`], within [`WHOLE`]; [`AT_ONCE`] at a time, since anybody may ask.

use std::borrow::Cow;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::sync::Semaphore;

use super::super::services::Call;
use super::MetadataError;
use crate::budget::Hold;
use crate::context::Context;
use crate::exchange::View;
use crate::serverconf::Service;
use crate::serverconf::url::ServiceUrl;

/// Largest description.
const MAX_BYTES: usize = 10 << 20;
/// For each wait.
const STEP: Duration = Duration::from_secs(30);
/// For all of it, waiting for a turn included.
const WHOLE: Duration = Duration::from_secs(60);
/// Descriptions that are fetched and read at the same time.
const AT_ONCE: usize = 8;

static TURNS: Semaphore = Semaphore::const_new(AT_ONCE);

/// A description as it was fetched.
#[derive(Debug)]
pub(super) struct Description {
    /// `Content-Type`, if it has one.
    pub(super) content_type: Option<Vec<u8>>,
    /// Its bytes, unpacked.
    pub(super) bytes: Bytes,
}

/// Fetches the description of `service`, and makes of it what `make` does, away from the async workers.
pub(super) async fn fetch<T: Send + 'static>(
    cx: &Context,
    view: &View,
    service: &Service,
    hold: &mut Hold,
    make: impl FnOnce(Description) -> Result<T, MetadataError> + Send + 'static,
) -> Result<T, MetadataError> {
    let work = async {
        let _turn = TURNS.acquire().await.expect("the semaphore is never closed");
        let description = get(cx, view, service, hold).await?;
        tokio::task::spawn_blocking(|| make(description)).await.expect("making a description does not panic")
    };
    tokio::time::timeout(WHOLE, work).await.unwrap_or(Err(MetadataError::Late))
}

async fn get(
    cx: &Context,
    view: &View,
    service: &Service,
    hold: &mut Hold,
) -> Result<Description, MetadataError> {
    let url = service.description.clone();
    let at = Service { target: ServiceUrl::parse(&url).ok(), url, timeout: STEP, ..service.clone() };
    let client = view.server.client(&service.id.client);
    let call = Call {
        service: &at,
        pins: client.map_or(&[], |client| &client.certs),
        method: "GET",
        path: "",
        query: None,
        lines: vec![("Accept-Encoding".into(), Cow::Borrowed(b"gzip,deflate"))],
        body: None,
    };
    let mut reply = cx.kept.services.call(&cx.internal_tls, call).await?;
    if reply.head.status != 200 {
        return Err(MetadataError::Status(reply.head.status));
    }
    let content_type = reply.head.headers.get("content-type").map(<[u8]>::to_vec);
    let mut bytes = BytesMut::new();
    while let Some(data) = reply.next().await? {
        if bytes.len() + data.len() > MAX_BYTES {
            return Err(MetadataError::TooLarge(MAX_BYTES));
        }
        // It is held once as it came and once as it goes out.
        hold.grow_to(2 * (bytes.len() + data.len()))?;
        bytes.extend_from_slice(&data);
    }
    Ok(Description { content_type, bytes: bytes.freeze() })
}
