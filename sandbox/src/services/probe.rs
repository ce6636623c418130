//! A service for tests and benches: echoes, bodies of any size, delays, statuses. Below [`BASE`]:
//!
//! | Request | Answer |
//! |---|---|
//! | any method `/echo` | the request's body, streamed, with its content type; `x-probe-*` say method, target and headers seen |
//! | `GET /size/N` | N bytes, streamed; N up to 1 TiB |
//! | `GET /empty` | 204, no body |
//! | `GET /delay/MS` | after so many milliseconds |
//! | `GET /status/CODE` | that status |
//! | `POST /sink` | how many bytes arrived |
//! | `POST /back` | as many bytes as arrived, once all have: some relays send no more of a request whose answer has begun |
//! | `GET /short/N` | promises N bytes and breaks off half way |

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use hyper::{Request, Response, StatusCode};

use crate::http::{RequestBody, ResponseBody, full, respond};

/// Where it lies on the sample server.
pub const BASE: &str = "/probe";

/// Bytes of one frame of a made body.
const CHUNK: usize = 64 << 10;
/// Largest made body.
const MOST_BYTES: u64 = 1 << 40;
/// Longest delay.
const LONGEST_DELAY: Duration = Duration::from_secs(600);

static PATTERN: [u8; CHUNK] = [b'x'; CHUNK];

/// Answers a request for `path` below [`BASE`].
pub(super) async fn answer(path: &str, request: Request<RequestBody>) -> Response<ResponseBody> {
    let mut parts = path.trim_start_matches('/').splitn(2, '/');
    let (what, number) = (parts.next().unwrap_or(""), parts.next().and_then(|text| text.parse::<u64>().ok()));
    match (what, number) {
        ("echo", None) => echo(request),
        ("sink", None) => match arrived(request).await {
            Ok(bytes) => respond(StatusCode::OK, "text/plain", format!("{bytes}\n")),
            Err(refusal) => refusal,
        },
        ("back", None) => match arrived(request).await {
            Ok(bytes) => sized(bytes, bytes),
            Err(refusal) => refusal,
        },
        ("empty", None) => respond_empty(),
        ("size", Some(bytes)) if bytes <= MOST_BYTES => sized(bytes, bytes),
        ("short", Some(bytes)) if bytes <= MOST_BYTES => sized(bytes, bytes / 2),
        ("delay", Some(millis)) => {
            let delay = Duration::from_millis(millis).min(LONGEST_DELAY);
            tokio::time::sleep(delay).await;
            respond(StatusCode::OK, "text/plain", format!("{} ms\n", delay.as_millis()))
        }
        ("status", Some(code)) => {
            match u16::try_from(code).ok().and_then(|code| StatusCode::from_u16(code).ok()) {
                Some(status) => respond(status, "text/plain", format!("{status}\n")),
                None => respond(StatusCode::BAD_REQUEST, "text/plain", "That is no status.\n"),
            }
        }
        _ => respond(StatusCode::NOT_FOUND, "text/plain", "There is nothing here.\n"),
    }
}

fn echo(request: Request<RequestBody>) -> Response<ResponseBody> {
    let (head, body) = request.into_parts();
    let seen: Vec<_> = head.headers.keys().map(hyper::header::HeaderName::as_str).collect();
    let said = [
        ("x-probe-method", head.method.to_string()),
        ("x-probe-target", head.uri.to_string()),
        ("x-probe-headers", seen.join(" ")),
    ];
    let mut response = Response::new(body.map_err(Into::into).boxed_unsync());
    for (name, value) in said {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(name, value);
        }
    }
    if let Some(kind) = head.headers.get(CONTENT_TYPE) {
        response.headers_mut().insert(CONTENT_TYPE, kind.clone());
    }
    response
}

/// Reads the body to its end; how many bytes it had.
async fn arrived(request: Request<RequestBody>) -> Result<u64, Response<ResponseBody>> {
    let mut body = request.into_body();
    let mut bytes = 0_u64;
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => bytes += frame.data_ref().map_or(0, |data| data.len() as u64),
            Err(error) => return Err(respond(StatusCode::BAD_REQUEST, "text/plain", format!("{error}\n"))),
        }
    }
    Ok(bytes)
}

fn respond_empty() -> Response<ResponseBody> {
    let mut response = Response::new(full(Bytes::new()));
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// Promises `promised` bytes and gives `given`; a promise that is not kept closes the connection.
fn sized(promised: u64, given: u64) -> Response<ResponseBody> {
    let frames = stream::unfold(given, |left| async move {
        let now = left.min(CHUNK as u64);
        let length = usize::try_from(now).expect("a chunk fits");
        (left > 0).then(|| (Ok(Frame::data(Bytes::from_static(&PATTERN[..length]))), left - now))
    });
    let mut response = Response::new(StreamBody::new(Box::pin(frames)).boxed_unsync());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    response.headers_mut().insert(CONTENT_LENGTH, promised.into());
    response
}
