//! Where archive files are sent: an HTTP server that takes a form, or S3-compatible storage.
//!
//! A file counts as sent when the other side has answered that it has it, whole. What was interrupted is sent again from its start: a
//! POST with the same name, or a PUT of the same object, with a checksum that the storage compares. A file larger than a part goes to
//! S3 in parts, of which those that arrived stay ([`super::multipart`]).
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use host::clock::Clock;
use host::http::{Client, ResponseBody, Upload};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use proto::time::UnixTime;

use super::multipart::{Multipart, Place};
pub use super::s3::Credentials;
use super::s3::{self, Request};
use super::state::ArchiveFile;

/// Of an answer.
const MAX_ANSWER_BYTES: usize = 64 << 10;
const CHUNK_BYTES: u64 = 64 << 10;

/// Where to.
#[derive(Clone, Debug)]
pub enum Target {
    /// A form with the file in its field `file`, as `curl -F file=@…` sends it.
    Post {
        /// `http` or `https`.
        url: String,
    },
    /// An object in a bucket.
    S3 {
        /// `https://host[:port]`.
        endpoint: String,
        /// Bucket.
        bucket: String,
        /// In front of file names; may be empty.
        prefix: String,
        /// The bucket stands in the path, not in front of the host.
        path_style: bool,
        /// With which key.
        credentials: Credentials,
        /// A larger file is sent in parts of this size.
        part_bytes: u64,
    },
}

impl Target {
    /// Sends one file.
    ///
    /// # Errors
    /// Why the other side does not have it.
    pub(crate) async fn send(
        &self,
        client: &Client,
        dir: &Path,
        file: &ArchiveFile,
        clock: &Clock,
    ) -> Result<(), String> {
        let path = dir.join(&file.name);
        let opened =
            tokio::task::spawn_blocking(move || File::open(path)).await.map_err(|e| e.to_string())?;
        let opened = opened.map_err(|e| format!("{}: {e}", file.name))?;
        let length = opened.metadata().map_err(|e| e.to_string())?.len();
        if length != file.bytes {
            return Err(format!("{} has {length} bytes and should have {}", file.name, file.bytes));
        }
        let upload = match self {
            Self::Post { url } => form(url, file, opened)?,
            Self::S3 { credentials, part_bytes, .. } if file.bytes > *part_bytes => {
                let place = &self.place(&file.name)?;
                let parts = Multipart { client, credentials, place, part_bytes: *part_bytes, clock };
                return parts.send(file, opened).await;
            }
            Self::S3 { credentials, .. } => self.object(credentials, file, opened, clock.now())?,
        };
        let answer = client.upload(upload, MAX_ANSWER_BYTES).await.map_err(|e| e.to_string())?;
        match answer.status {
            200..=299 => Ok(()),
            status => {
                let text: String = String::from_utf8_lossy(&answer.body).chars().take(200).collect();
                Err(format!("the target answered with status {status}: {}", text.trim()))
            }
        }
    }

    fn object(
        &self,
        credentials: &Credentials,
        file: &ArchiveFile,
        opened: File,
        now: UnixTime,
    ) -> Result<Upload, String> {
        let place = self.place(&file.name)?;
        let (host, path, sha256) = (&place.host, &place.path(), &file.sha256);
        let request = Request { method: "PUT", host, path, query: &[], headers: &[], sha256 };
        Ok(Upload {
            method: "PUT",
            url: format!("{}{}", place.base, s3::escape(path)),
            headers: s3::sign(&request, credentials, now),
            length: file.bytes,
            body: body(Bytes::new(), opened, file.bytes, Bytes::new()),
        })
    }

    fn place(&self, name: &str) -> Result<Place, String> {
        let Self::S3 { endpoint, bucket, prefix, path_style, .. } = self else {
            return Err("it is no S3 target".into());
        };
        let (scheme, host) =
            endpoint.trim_end_matches('/').split_once("://").ok_or("the endpoint is no URL")?;
        let (host, bucket) = match path_style {
            true => (host.to_owned(), format!("/{bucket}")),
            false => (format!("{bucket}.{host}"), "/".to_owned()),
        };
        Ok(Place { base: format!("{scheme}://{host}"), host, bucket, key: format!("{prefix}{name}") })
    }
}

fn form(url: &str, file: &ArchiveFile, opened: File) -> Result<Upload, String> {
    let number = super::super::store::writer::random::<16>().map_err(|e| e.to_string())?;
    let boundary = format!("causeway-{}", hex::encode(number));
    let kind = if file.name.ends_with(".gpg") { "application/pgp-encrypted" } else { "application/zip" };
    let name = file.name.replace(['"', '\\'], "_");
    let head = format!(
        "--{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\
         Content-Type: {kind}\r\n\r\n"
    );
    let tail = format!("\r\n--{boundary}--\r\n");
    Ok(Upload {
        method: "POST",
        url: url.to_owned(),
        headers: vec![("content-type".to_owned(), format!("multipart/form-data; boundary={boundary}"))],
        length: head.len() as u64 + file.bytes + tail.len() as u64,
        body: body(head.into(), opened, file.bytes, tail.into()),
    })
}

/// Head, file and tail, read as they are sent.
fn body(head: Bytes, file: File, length: u64, tail: Bytes) -> ResponseBody {
    let file = Arc::new(file);
    let state = (Some(head), 0_u64, Some(tail));
    let chunks = futures_util::stream::try_unfold(state, move |(head, at, tail)| {
        let file = file.clone();
        async move {
            if let Some(head) = head {
                return Ok(Some((Frame::data(head), (None, at, tail))));
            }
            if at < length {
                let wanted = (length - at).min(CHUNK_BYTES);
                let read = tokio::task::spawn_blocking(move || {
                    let mut chunk = vec![0; wanted as usize];
                    file.read_exact_at(&mut chunk, at).map(|()| Bytes::from(chunk))
                });
                let chunk = read.await.map_err(std::io::Error::other)??;
                return Ok(Some((Frame::data(chunk), (None, at + wanted, tail))));
            }
            Ok::<_, std::io::Error>(tail.map(|tail| (Frame::data(tail), (None, at, None))))
        }
    });
    StreamBody::new(chunks).map_err(Into::into).boxed_unsync()
}
