//! The published files over HTTP, on the reference's paths.
//!
//! | Path | Answer |
//! |---|---|
//! | `/internalconf`, `/externalconf` | the signed directory of version 2 |
//! | the same with `?version=N` | of version N; 404 for a version that is not published |
//! | `/V<n>/<stamp>/<part>` | a part |
//!
//! Only GET and HEAD. A path is matched segment by segment against these forms before it comes near the file system, so nothing else
//! can be named. Directories are marked as not to be cached; files are streamed.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use host::clock::Clock;
use host::http::{RequestBody, ResponseBody, empty, full};
use http::header::{self, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use proto::globalconf::{MAX_VERSION, MIN_VERSION};
use time::OffsetDateTime;
use time::macros::format_description;
use tokio::io::AsyncReadExt;

use super::documents;
use super::publication::is_stamp;
use crate::management_service::wsdl;
use crate::registry::{Registry, SourceKind};

/// Bytes read from a file at a time.
const CHUNK: usize = 64 * 1024;
/// Longest file name of a part.
const MAX_NAME_BYTES: usize = 200;

/// The description of the management services.
const DESCRIPTION: &str = "/managementservices.wsdl";

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Asked {
    Directory(u32, SourceKind),
    Part(PathBuf),
}

/// The handler of both listeners.
#[derive(Clone)]
pub struct Web {
    folder: Arc<Path>,
    clock: Clock,
    registry: Option<Arc<Registry>>,
}

impl Web {
    /// Serves the publication in `folder`.
    pub fn new(folder: &Path, clock: Clock) -> Self {
        Self { folder: folder.into(), clock, registry: None }
    }

    /// Serves the description of the management services too, which names the host that the registry has.
    #[must_use]
    pub fn describing(mut self, registry: Arc<Registry>) -> Self {
        self.registry = Some(registry);
        self
    }

    /// Answers one request.
    pub async fn answer(&self, request: Request<RequestBody>) -> Response<ResponseBody> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut response = self.status(StatusCode::METHOD_NOT_ALLOWED);
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        if let Some(registry) = self.registry.as_ref().filter(|_| request.uri().path() == DESCRIPTION) {
            let text = wsdl::document(documents::host_of(&registry.state().address));
            let mut response = self.status(StatusCode::OK);
            *response.body_mut() = full(text);
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/xml"));
            return response;
        }
        let Some(asked) = asked(request.uri().path(), request.uri().query()) else {
            return self.status(StatusCode::NOT_FOUND);
        };
        let path = match &asked {
            Asked::Directory(version, source) => Path::new(&format!("V{version}")).join(source.directory()),
            Asked::Part(path) => path.clone(),
        };
        match file(&self.folder.join(path)).await {
            Ok(mut response) => {
                if matches!(asked, Asked::Directory(..)) {
                    self.forbid_caching(&mut response);
                }
                count(response.status());
                response
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.status(StatusCode::NOT_FOUND),
            Err(error) => {
                tracing::error!(%error, "a published file cannot be read");
                self.status(StatusCode::INTERNAL_SERVER_ERROR)
            }
        }
    }

    fn status(&self, status: StatusCode) -> Response<ResponseBody> {
        count(status);
        let mut response = Response::new(empty());
        *response.status_mut() = status;
        response
    }

    fn forbid_caching(&self, response: &mut Response<ResponseBody>) {
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        let before = self.clock.now().minus(Duration::from_secs(1));
        let form = format_description!(
            "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
        );
        let text =
            OffsetDateTime::from_unix_timestamp(before.as_secs()).ok().and_then(|at| at.format(form).ok());
        if let Some(value) = text.and_then(|text| HeaderValue::from_str(&text).ok()) {
            headers.insert(header::EXPIRES, value);
        }
    }
}

fn count(status: StatusCode) {
    metrics::counter!("configuration_requests_total", "status" => status.as_u16().to_string()).increment(1);
}

/// Reads a target; `None` is nothing that is published.
fn asked(path: &str, query: Option<&str>) -> Option<Asked> {
    let mut segments = path.strip_prefix('/')?.split('/');
    let first = segments.next()?;
    if let Some(source) = SourceKind::ALL.into_iter().find(|source| source.directory() == first) {
        let version = version(query)?;
        return segments.next().is_none().then_some(Asked::Directory(version, source));
    }
    let version: u32 = first.strip_prefix('V')?.parse().ok()?;
    let (stamp, name) = (segments.next()?, segments.next()?);
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let fits = first == format!("V{version}")
        && is_stamp(stamp)
        && (1..=MAX_NAME_BYTES).contains(&name.len())
        && !name.starts_with('.')
        && name.chars().all(plain)
        && segments.next().is_none();
    fits.then(|| Asked::Part(Path::new(first).join(stamp).join(name)))
}

/// The version asked for: the first full `version=<digits>` pair of the query, 2 without one.
fn version(query: Option<&str>) -> Option<u32> {
    let pairs = query.unwrap_or_default().split('&');
    let digits = pairs
        .filter_map(|pair| pair.strip_prefix("version="))
        .find(|value| !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()));
    let version = digits.map_or(Some(MIN_VERSION), |digits| digits.parse().ok())?;
    (MIN_VERSION..=MAX_VERSION).contains(&version).then_some(version)
}

/// A file as an answer; its bytes are read as they are sent.
async fn file(path: &Path) -> io::Result<Response<ResponseBody>> {
    let file = tokio::fs::File::open(path).await?;
    let metadata = file.metadata().await?;
    if !metadata.is_file() {
        return Err(io::ErrorKind::NotFound.into());
    }
    // No more than was announced, in case the file grows meanwhile.
    let chunks = stream::try_unfold((file, metadata.len()), |(mut file, left)| async move {
        let mut chunk = vec![0; usize::try_from(left).unwrap_or(CHUNK).min(CHUNK)];
        let read = file.read(&mut chunk).await?;
        chunk.truncate(read);
        let frame = Frame::data(Bytes::from(chunk));
        Ok::<_, io::Error>((read > 0).then_some((frame, (file, left - read as u64))))
    });
    let body = StreamBody::new(chunks).map_err(Into::into).boxed_unsync();
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, metadata.len().into());
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_versions_as_the_reference_has_them() {
        use SourceKind::{External, Internal};
        let stamp = "20260102030405123456789";
        let part = Some(Asked::Part(format!("V6/{stamp}/shared-params.xml").into()));
        let cases = [
            ("/internalconf", None, Some(Asked::Directory(2, Internal))),
            ("/internalconf", Some(""), Some(Asked::Directory(2, Internal))),
            ("/externalconf", Some("version=6"), Some(Asked::Directory(6, External))),
            ("/internalconf", Some("a=b&version=3&c"), Some(Asked::Directory(3, Internal))),
            ("/internalconf", Some("conversion=6"), Some(Asked::Directory(2, Internal))),
            ("/internalconf", Some("version="), Some(Asked::Directory(2, Internal))),
            ("/internalconf", Some("version=x&version=4"), Some(Asked::Directory(4, Internal))),
            ("/internalconf", Some("version=7"), None),
            ("/internalconf", Some("version=1"), None),
            ("/internalconf", Some("version=99999999999999999999"), None),
            ("/internalconf/", None, None),
            ("/InternalConf", None, None),
            (&format!("/V6/{stamp}/shared-params.xml"), Some("x=y"), part),
            (&format!("/V06/{stamp}/shared-params.xml"), None, None),
            (&format!("/V6/{stamp}/.hidden"), None, None),
            (&format!("/V6/{stamp}/.."), None, None),
            (&format!("/V6/{stamp}/a/b"), None, None),
            (&format!("/V6/{stamp}/a%2Fb"), None, None),
            (&format!("/V6/{stamp}/"), None, None),
            ("/V6/internalconf/x", None, None),
            ("/V6/internalconf", None, None),
            ("/V6/../V6/x", None, None),
            ("//V6", None, None),
            ("/", None, None),
        ];
        for (path, query, expected) in cases {
            assert_eq!(asked(path, query), expected, "{path} {query:?}");
        }
    }
}
