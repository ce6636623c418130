//! The answers to `GET /asic` and `GET /verificationconf` on the ports of information systems.
//!
//! Who may ask is decided by the caller between [`AsicQuery::parse`] and [`MessageLog::download`], by the same rule as for messages:
//! the client's connection type; it answers 401 otherwise. Errors are plain text in the reference's words. Containers are made in a
//! file without a name and streamed from there, at most [`MAX_AT_ONCE`] downloads at a time.
use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::Stream;
use proto::globalconf::metadata::{self, Metadata};
use proto::id::{ClientId, MemberId};
use proto::time::UnixTime;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::container::escaped_id;
use super::record::{Found, Record};
use super::{Direction, MessageLog, nameless};

/// Downloads that are made at the same time.
pub const MAX_AT_ONCE: usize = 8;
/// Largest stored part of a global configuration that goes into a `verificationconf.zip`.
const MAX_PART_BYTES: u64 = 256 * 1024 * 1024;
const CHUNK_BYTES: usize = 64 * 1024;

const CONTAINER: &str = "application/vnd.etsi.asic-e+zip";
const ZIP: &str = "application/zip";

/// What `/asic` was asked. Parameters are case-sensitive, the first of a name counts, unknown ones are passed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AsicQuery {
    /// Whose documents: to be authenticated.
    pub client: ClientId,
    message_id: Option<String>,
    request_only: bool,
    response_only: bool,
    unique: bool,
    force: bool,
}

/// An answer.
#[derive(Debug)]
pub struct AsicAnswer {
    /// HTTP status.
    pub status: u16,
    /// `Content-Type`.
    pub content_type: &'static str,
    /// `Content-Disposition`, for files.
    pub disposition: Option<String>,
    /// What is sent.
    pub body: AnswerBody,
}

/// The body of an answer.
#[derive(Debug)]
pub struct AnswerBody {
    held: Held,
    length: u64,
}

#[derive(Debug)]
enum Held {
    Memory(Bytes),
    File(Arc<File>),
}

impl AsicQuery {
    /// Reads the query of the request's target, without its `?`.
    ///
    /// # Errors
    /// The answer to give: a parameter of the client is missing.
    pub fn parse(query: &str) -> Result<Self, AsicAnswer> {
        let parameters: Vec<(String, String)> = query
            .split('&')
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .map(|(name, value)| (decode(name), decode(value)))
            .collect();
        let get = |name: &str| parameters.iter().find(|(n, _)| n == name).map(|(_, value)| value.clone());
        let needed = |name: &str| get(name).ok_or_else(|| missing(name));
        let member = MemberId {
            instance: needed("xRoadInstance")?,
            class: needed("memberClass")?,
            code: needed("memberCode")?,
        };
        let has = |name: &str| get(name).is_some();
        Ok(Self {
            client: ClientId { member, subsystem: get("subsystemCode") },
            message_id: get("queryId").filter(|id| !id.is_empty()),
            request_only: has("requestOnly"),
            response_only: has("responseOnly"),
            unique: has("unique"),
            force: has("force"),
        })
    }

    fn direction(&self) -> Option<Direction> {
        match (self.request_only, self.response_only) {
            (true, _) => Some(Direction::Request),
            (false, true) => Some(Direction::Response),
            (false, false) => None,
        }
    }
}

/// A form-encoded value; bytes that are no UTF-8 match nothing.
fn decode(text: &str) -> String {
    let spaces = text.replace('+', " ");
    percent_encoding::percent_decode_str(&spaces).decode_utf8_lossy().into_owned()
}

impl AsicAnswer {
    fn text(status: u16, text: impl Into<String>) -> Self {
        let bytes = Bytes::from(text.into());
        Self {
            status,
            content_type: "text/plain; charset=UTF-8",
            disposition: None,
            body: AnswerBody { length: bytes.len() as u64, held: Held::Memory(bytes) },
        }
    }

    fn file(content_type: &'static str, name: &str, file: File) -> io::Result<Self> {
        let length = file.metadata()?.len();
        Ok(Self {
            status: 200,
            content_type,
            disposition: Some(format!("attachment; filename=\"{name}\"")),
            body: AnswerBody { length, held: Held::File(Arc::new(file)) },
        })
    }
}

fn missing(parameter: &str) -> AsicAnswer {
    AsicAnswer::text(400, format!("Parameter \"{parameter}\"  must be specified."))
}

impl AnswerBody {
    /// Its length.
    pub fn len(&self) -> u64 {
        self.length
    }
    /// Nothing in it.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }
    /// Its bytes, in chunks of at most 64 KiB.
    pub fn stream(self) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
        let AnswerBody { held, length } = self;
        futures_util::stream::try_unfold((held, 0_u64), move |(held, at)| async move {
            if at >= length {
                return Ok(None);
            }
            match held {
                Held::Memory(bytes) => Ok(Some((bytes, (Held::Memory(Bytes::new()), length)))),
                Held::File(file) => {
                    let wanted = (length - at).min(CHUNK_BYTES as u64) as usize;
                    let source = file.clone();
                    let read = tokio::task::spawn_blocking(move || {
                        let mut chunk = vec![0; wanted];
                        source.read_exact_at(&mut chunk, at).map(|()| Bytes::from(chunk))
                    });
                    let chunk = read.await.map_err(io::Error::other)??;
                    Ok(Some((chunk, (Held::File(file), at + wanted as u64))))
                }
            }
        })
    }
}

impl MessageLog {
    /// Answers `/asic` for a client that was authenticated.
    pub async fn download(&self, query: &AsicQuery) -> AsicAnswer {
        let Some(message_id) = query.message_id.clone() else { return missing("queryId") };
        if query.request_only && query.response_only {
            let text = "Parameters \"requestOnly\" and \"responseOnly\" cannot be used at the same time.";
            return AsicAnswer::text(400, text);
        }
        let Ok(_slot) = self.inner.downloads.acquire().await else {
            return failed("the message log is closed");
        };
        let found = match self.found(&message_id, query).await {
            Ok(found) => found,
            Err(answer) => return answer,
        };
        if found.is_empty() {
            return AsicAnswer::text(404, "No signed documents found");
        }
        for record in found.iter().filter(|record| !record.stamped) {
            if !query.force {
                return AsicAnswer::text(500, "Message signature has not been timestamped yet!");
            }
            if let Err(error) = self.stamp_now(Some(record.id)).await {
                tracing::warn!(%error, record = record.id.0, "a timestamp that a client asked for could not be made");
                return AsicAnswer::text(500, "Could not create missing timestamp!");
            }
        }
        if query.unique && query.direction().is_none() {
            let text = "Parameter \"unique\" not applicable without \"requestOnly\" or \"responseOnly\".";
            return AsicAnswer::text(400, text);
        }
        self.indexed().await;
        self.write_answer(found, message_id, query).await
    }

    async fn found(&self, message_id: &str, query: &AsicQuery) -> Result<Vec<Found>, AsicAnswer> {
        self.indexed().await;
        let (log, id, client, direction) =
            (self.clone(), message_id.to_owned(), query.client.clone(), query.direction());
        let found = tokio::task::spawn_blocking(move || log.find(&id, &client)).await;
        let found = found.map_err(failed)?.map_err(failed)?;
        Ok(found.into_iter().filter(|record| direction.is_none_or(|d| d == record.direction)).collect())
    }

    async fn write_answer(&self, found: Vec<Found>, message_id: String, query: &AsicQuery) -> AsicAnswer {
        let (log, unique, direction) = (self.clone(), query.unique, query.direction());
        let written = tokio::task::spawn_blocking(move || match (found.as_slice(), unique) {
            ([record], true) => {
                let record = log.read(record.id).map_err(io::Error::other)?;
                AsicAnswer::file(CONTAINER, &record.container_name(), log.container_file(&record)?)
            }
            (_, true) => Ok(AsicAnswer::text(500, "More than one signed document found")),
            (_, false) => {
                let suffix = match direction {
                    None => "",
                    Some(Direction::Request) => "-request",
                    Some(Direction::Response) => "-response",
                };
                let name = format!("{}{suffix}.zip", escaped_id(&message_id));
                AsicAnswer::file(ZIP, &name, log.zip_file(&found)?)
            }
        });
        match written.await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => failed(error),
            Err(error) => failed(error),
        }
    }

    fn container_file(&self, record: &Record) -> io::Result<File> {
        let mut file = nameless(&self.inner.dir)?;
        let mut out = io::BufWriter::new(&mut file);
        record.write_container(&mut out).map_err(io::Error::other)?;
        out.flush()?;
        drop(out);
        Ok(file)
    }

    /// A ZIP of containers, which are compressed already. One record is in memory at a time.
    fn zip_file(&self, found: &[Found]) -> io::Result<File> {
        let mut file = nameless(&self.inner.dir)?;
        let mut zip = ZipWriter::new(io::BufWriter::new(&mut file));
        for record in found {
            let record = self.read(record.id).map_err(io::Error::other)?;
            let mut container = self.container_file(&record)?;
            let large = container.metadata()?.len() >= u64::from(u32::MAX);
            let options = SimpleFileOptions::default()
                .compression_method(CompressionMethod::Stored)
                .last_modified_time(dos_time(record.at))
                .large_file(large);
            zip.start_file(record.container_name(), options)?;
            container.rewind()?;
            io::copy(&mut container, &mut zip)?;
        }
        zip.finish()?.flush()?;
        Ok(file)
    }
}

/// The cause goes to the log, not to the client.
fn failed(error: impl std::fmt::Display) -> AsicAnswer {
    tracing::error!(%error, "signed documents could not be given out");
    AsicAnswer::text(500, "The signed documents cannot be read: the server's log says why")
}

/// In UTC; the ZIP format knows the years from 1980 to 2107.
pub(super) fn dos_time(at: UnixTime) -> zip::DateTime {
    let made = time::OffsetDateTime::from_unix_timestamp(at.as_secs()).ok().and_then(|at| {
        let (year, month, day) = (u16::try_from(at.year()).ok()?, at.month().into(), at.day());
        zip::DateTime::from_date_and_time(year, month, day, at.hour(), at.minute(), at.second()).ok()
    });
    made.unwrap_or_default()
}

/// `verificationconf.zip`: what an offline verifier needs of a stored global configuration (`dir` in the reference's layout; a
/// symbolic link is followed). Expiry is left out, so that evidence can be verified for years. Blocks.
///
/// # Errors
/// The folder cannot be read.
pub fn verification_conf(dir: &Path) -> io::Result<Vec<u8>> {
    let mut zip = ZipWriter::new(io::Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if !path.is_dir() {
            continue;
        }
        for (part, metadata) in shared_parameters(&path)? {
            let instance = metadata.instance_identifier.unwrap_or_default();
            let name = format!("verificationconf/{instance}/shared-params.xml");
            let kept =
                Metadata { configuration_version: metadata.configuration_version, ..Metadata::default() };
            zip.start_file(&*name, options)?;
            zip.write_all(&part)?;
            zip.start_file(format!("{name}{}", metadata::SUFFIX), options)?;
            zip.write_all(&kept.write())?;
        }
    }
    zip.start_file("verificationconf/instance-identifier", options)?;
    zip.write_all(&std::fs::read(dir.join("instance-identifier"))?)?;
    Ok(zip.finish()?.into_inner())
}

/// The stored parts of one instance whose metadata says that they are its shared parameters.
fn shared_parameters(instance: &Path) -> io::Result<Vec<(Vec<u8>, Metadata)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(instance)? {
        let path = entry?.path();
        let Some(part) = path.to_str().and_then(|p| p.strip_suffix(metadata::SUFFIX)) else { continue };
        let read = Metadata::read(&std::fs::read(&path)?).map_err(io::Error::other)?;
        if read.content_identifier.as_deref() == Some("SHARED-PARAMETERS") {
            if std::fs::metadata(part)?.len() > MAX_PART_BYTES {
                return Err(io::Error::other(format!("{part} is larger than {MAX_PART_BYTES} bytes")));
            }
            found.push((std::fs::read(part)?, read));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_have_the_time_of_their_record() {
        assert_eq!(dos_time(UnixTime(1_700_000_000_500)).to_string(), "2023-11-14 22:13:20");
        assert_eq!(dos_time(UnixTime(0)), zip::DateTime::default(), "before 1980");
    }

    #[test]
    fn reads_the_query() {
        let client = "xRoadInstance=PRB&memberClass=COM&memberCode=1111";
        let parse = |rest: &str| AsicQuery::parse(&format!("{client}{rest}")).unwrap();
        let query = parse("&subsystemCode=A+B%2FC&queryId=x%27&requestOnly&unique=&queryId=second&other=1");
        assert_eq!(query.client.subsystem.as_deref(), Some("A B/C"));
        assert_eq!(query.message_id.as_deref(), Some("x'"));
        assert_eq!(query.direction(), Some(Direction::Request));
        assert!(query.unique && !query.force);
        assert_eq!(parse("").client.subsystem, None);
        assert_eq!(parse("&queryid=x").message_id, None, "names are case-sensitive");
        assert_eq!(parse("&queryId=").message_id, None, "an empty id is none");
        for (query, expected) in [
            ("", "xRoadInstance"),
            ("xRoadInstance=PRB", "memberClass"),
            ("queryId=1&xRoadInstance=PRB&memberClass=COM", "memberCode"),
        ] {
            let answer = AsicQuery::parse(query).unwrap_err();
            assert_eq!(answer.status, 400);
            let Held::Memory(text) = answer.body.held else { panic!("not text") };
            assert_eq!(text, format!("Parameter \"{expected}\"  must be specified."));
        }
    }
}
