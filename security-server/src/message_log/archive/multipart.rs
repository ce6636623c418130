//! A large file to S3-compatible storage, in parts: what arrived stays there when sending breaks off, and the next try goes on behind it.
//!
//! Nothing about it is kept here. The storage knows which uploads of an object are open and which parts they have; so a file that was
//! begun by a process that is gone is continued like any other. Each part is signed with its checksum, which the storage compares, and a
//! part counts when it has the length that it must have. An upload that cannot be continued (parts of another size, more than one, or
//! refused when it was to be completed) is aborted, so that its parts take no space, and the file is sent from its start.
//!
//! In order: HEAD of the object (an upload may have been completed by somebody who did not live to hear of it), open uploads, parts,
//! the missing ones, completion. Only the answer to the last says that the object is there. Not here: parts of files that are never
//! sent again, which the storage's own rule for incomplete uploads removes.
use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use host::clock::Clock;
use host::http::{Client, full};
use http::{Method, Request, Response};
use pki::digest::DigestAlgorithm;
use proto::xml::{self, escape_text};

use super::s3::{self, Credentials};
use super::state::ArchiveFile;

/// Most parts of one upload.
pub(super) const MAX_PARTS: u64 = 10_000;
/// Most lists of parts that are asked for; one has a thousand.
const MAX_LISTS: usize = 16;
/// Of an answer: a list of a thousand parts.
const MAX_ANSWER_BYTES: usize = 2 << 20;
const LIMITS: xml::Limits =
    xml::Limits { bytes: MAX_ANSWER_BYTES, depth: 16, attributes: 32, namespaces: 16, elements: 20_000 };
/// Header with the checksum of the whole object.
const SHA256: &str = "x-amz-meta-sha256";

/// Sends one file.
pub(super) struct Multipart<'a> {
    pub(super) client: &'a Client,
    pub(super) credentials: &'a Credentials,
    pub(super) place: &'a Place,
    pub(super) part_bytes: u64,
    /// Each request is signed with the time at which it is sent: storage takes a signature for minutes, and a large file takes longer.
    pub(super) clock: &'a Clock,
}

/// Where an object lies.
#[derive(Debug)]
pub(super) struct Place {
    /// Scheme and host.
    pub(super) base: String,
    pub(super) host: String,
    /// Path of the bucket: `/`, or its name behind that.
    pub(super) bucket: String,
    pub(super) key: String,
}

impl Place {
    /// Path of the object.
    pub(super) fn path(&self) -> String {
        format!("{}/{}", self.bucket.trim_end_matches('/'), self.key)
    }
}

/// Why an upload was not completed.
enum Refusal {
    /// It never will be.
    Final(String),
    /// Nobody knows.
    Unclear(String),
}

/// What is asked of the storage.
struct Ask<'a> {
    method: Method,
    query: &'a [(&'a str, &'a str)],
    headers: &'a [(&'a str, &'a str)],
    body: Bytes,
}

impl Ask<'_> {
    fn of(method: Method) -> Self {
        Self { method, query: &[], headers: &[], body: Bytes::new() }
    }
}

impl Multipart<'_> {
    /// Sends what the storage does not have yet.
    ///
    /// # Errors
    /// Why it does not have all of it; what arrived stays there.
    pub(super) async fn send(&self, file: &ArchiveFile, opened: File) -> Result<(), String> {
        let part_bytes = self.part_bytes.max(file.bytes.div_ceil(MAX_PARTS)).max(1);
        let (upload, mut have) = match self.open_upload(file, part_bytes).await? {
            Some(open) => open,
            None if self.is_there(file).await? => return Ok(()),
            None => (self.begin(file).await?, BTreeMap::new()),
        };
        let file_of = Arc::new(opened);
        for (number, at) in (1..).zip((0..file.bytes).step_by(part_bytes as usize)) {
            if have.contains_key(&number) {
                continue;
            }
            let (opened, length) = (file_of.clone(), part_bytes.min(file.bytes - at));
            let part = tokio::task::spawn_blocking(move || read(&opened, at, length));
            let part = part.await.map_err(|e| e.to_string())?.map_err(|e| format!("{}: {e}", file.name))?;
            have.insert(number, self.put(&upload, number, part).await?);
        }
        match self.complete(&upload, &have).await {
            Ok(()) => Ok(()),
            // Parts that make no object are of no use to the next try either.
            Err(Refusal::Final(reason)) => {
                self.abort(&upload).await?;
                Err(reason)
            }
            Err(Refusal::Unclear(reason)) => Err(reason),
        }
    }

    /// The object is there, and it is this file.
    async fn is_there(&self, file: &ArchiveFile) -> Result<bool, String> {
        let answer = self.ask(Ask::of(Method::HEAD)).await?;
        let is = |name: &str, value: &str| answer.headers().get(name).is_some_and(|found| found == value);
        Ok(answer.status().is_success()
            && is(SHA256, &file.sha256)
            && is("content-length", &file.bytes.to_string()))
    }

    /// An upload of this object that can be continued, with the tags of its parts by number; others are aborted. Storage that lists no
    /// uploads has none.
    async fn open_upload(
        &self,
        file: &ArchiveFile,
        part_bytes: u64,
    ) -> Result<Option<(String, BTreeMap<u32, String>)>, String> {
        let Place { bucket, key, .. } = self.place;
        let query = [("uploads", ""), ("prefix", key.as_str())];
        let answer = self.ask_at(bucket, Ask { query: &query, ..Ask::of(Method::GET) }).await?;
        if !answer.status().is_success() {
            tracing::warn!(
                status = answer.status().as_u16(),
                "the storage lists no uploads, so none is continued"
            );
            return Ok(None);
        }
        let mut found = None;
        for upload in elements(answer.body(), "Upload", ["Key", "UploadId"])? {
            let [Some(of), Some(id)] = upload else { continue };
            if of != *key {
                continue;
            }
            match self.parts(&id, file.bytes, part_bytes).await? {
                Some(parts) if found.is_none() => found = Some((id, parts)),
                _ => self.abort(&id).await?,
            }
        }
        Ok(found)
    }

    /// The parts of an upload; `None` when one is not as it must be.
    async fn parts(
        &self,
        upload: &str,
        bytes: u64,
        part_bytes: u64,
    ) -> Result<Option<BTreeMap<u32, String>>, String> {
        let (mut have, mut after) = (BTreeMap::new(), "0".to_owned());
        for _ in 0..MAX_LISTS {
            let query = [("uploadId", upload), ("part-number-marker", &after)];
            let answer = good(self.ask(Ask { query: &query, ..Ask::of(Method::GET) }).await?)?;
            for part in elements(&answer, "Part", ["PartNumber", "ETag", "Size"])? {
                let [Some(number), Some(tag), Some(size)] = part else { return Ok(None) };
                let (Ok(number), Ok(size)) = (number.parse::<u32>(), size.parse::<u64>()) else {
                    return Ok(None);
                };
                let at = u64::from(number).saturating_sub(1).saturating_mul(part_bytes);
                if at >= bytes || size != part_bytes.min(bytes - at) {
                    return Ok(None);
                }
                have.insert(number, tag);
            }
            let list = elements(&answer, "ListPartsResult", ["IsTruncated", "NextPartNumberMarker"])?;
            match list.into_iter().next() {
                Some([Some(more), Some(next)]) if more == "true" && next != after => after = next,
                _ => return Ok(Some(have)),
            }
        }
        Ok(None)
    }

    async fn begin(&self, file: &ArchiveFile) -> Result<String, String> {
        let (query, headers) = ([("uploads", "")], [(SHA256, file.sha256.as_str())]);
        let ask = Ask { query: &query, headers: &headers, ..Ask::of(Method::POST) };
        let answer = good(self.ask(ask).await?)?;
        let begun = elements(&answer, "InitiateMultipartUploadResult", ["UploadId"])?.pop();
        begun.and_then(|[id]| id).ok_or_else(|| "the storage gave no id of an upload".to_owned())
    }

    /// Sends a part; its tag.
    async fn put(&self, upload: &str, number: u32, part: Bytes) -> Result<String, String> {
        let number = number.to_string();
        let query = [("partNumber", number.as_str()), ("uploadId", upload)];
        let answer = self.ask(Ask { query: &query, body: part, ..Ask::of(Method::PUT) }).await?;
        let tag = answer.headers().get("etag").and_then(|tag| tag.to_str().ok()).map(str::to_owned);
        good(answer)?;
        tag.ok_or_else(|| format!("the storage gave no tag for part {number}"))
    }

    async fn complete(&self, upload: &str, parts: &BTreeMap<u32, String>) -> Result<(), Refusal> {
        let part = |(number, tag): (&u32, &String)| {
            format!("<Part><PartNumber>{number}</PartNumber><ETag>{}</ETag></Part>", escape_text(tag))
        };
        let parts: String = parts.iter().map(part).collect();
        let body = format!(
            "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">{parts}</CompleteMultipartUpload>"
        );
        let (query, headers) = ([("uploadId", upload)], [("content-type", "application/xml")]);
        let ask = Ask { method: Method::POST, query: &query, headers: &headers, body: body.into() };
        let answer = self.ask(ask).await.map_err(Refusal::Unclear)?;
        let refused = answer.status().is_client_error();
        let answer = good(answer).map_err(if refused { Refusal::Final } else { Refusal::Unclear })?;
        // A failure after the answer has begun comes with status 200 as well.
        let done = elements(&answer, "CompleteMultipartUploadResult", ["Key"]).map_err(Refusal::Unclear)?;
        match done.is_empty() {
            true => Err(Refusal::Final(format!("the storage completed no upload: {}", excerpt(&answer)))),
            false => Ok(()),
        }
    }

    async fn abort(&self, upload: &str) -> Result<(), String> {
        let query = [("uploadId", upload)];
        let answer = self.ask(Ask { query: &query, ..Ask::of(Method::DELETE) }).await?;
        match answer.status().as_u16() {
            404 => Ok(()),
            _ => good(answer).map(drop),
        }
    }

    async fn ask(&self, ask: Ask<'_>) -> Result<Response<Bytes>, String> {
        self.ask_at(&self.place.path(), ask).await
    }

    async fn ask_at(&self, path: &str, ask: Ask<'_>) -> Result<Response<Bytes>, String> {
        let Ask { method, query, headers, body } = ask;
        let sha256 = hex::encode(DigestAlgorithm::Sha256.digest(&body).value);
        let signed = s3::Request {
            method: method.as_str(),
            host: &self.place.host,
            path,
            query,
            headers,
            sha256: &sha256,
        };
        let mut url = format!("{}{}", self.place.base, s3::escape(path));
        if !query.is_empty() {
            url = format!("{url}?{}", s3::query(query));
        }
        let mut request = Request::builder().method(&method).uri(url);
        if method != Method::GET && method != Method::HEAD {
            request = request.header(http::header::CONTENT_LENGTH, body.len());
        }
        for (name, value) in s3::sign(&signed, self.credentials, self.clock.now()) {
            request = request.header(name, value);
        }
        let request = request.body(full(body)).map_err(|e| e.to_string())?;
        self.client.request(request, MAX_ANSWER_BYTES).await.map_err(|e| e.to_string())
    }
}

fn read(file: &File, at: u64, length: u64) -> std::io::Result<Bytes> {
    let mut part = vec![0; length as usize];
    file.read_exact_at(&mut part, at).map(|()| part.into())
}

/// The body of an answer that says yes.
fn good(answer: Response<Bytes>) -> Result<Bytes, String> {
    match answer.status().as_u16() {
        200..=299 => Ok(answer.into_body()),
        status => Err(format!("the target answered with status {status}: {}", excerpt(answer.body()))),
    }
}

fn excerpt(body: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(body).chars().take(200).collect();
    text.trim().to_owned()
}

/// Of every element of this name, the texts of some of its children.
fn elements<const N: usize>(
    body: &[u8],
    name: &str,
    children: [&str; N],
) -> Result<Vec<[Option<String>; N]>, String> {
    let document =
        xml::tree(body, &LIMITS).map_err(|e| format!("the storage's answer cannot be read: {e}"))?;
    let of = |node: roxmltree::Node<'_, '_>| {
        children.map(|child: &str| {
            let found = node.children().find(|c| c.tag_name().name() == child);
            found.and_then(|found| found.text()).map(|text| text.trim().to_owned())
        })
    };
    Ok(document.descendants().filter(|node| node.tag_name().name() == name).map(of).collect())
}
