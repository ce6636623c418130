//! The signed directory: one MIME document listing parts and their hashes [PR-GCONF §3.2].
//!
//! The HTTP body starts with its own MIME header. Its first part, itself a multipart, is what is signed: the bytes from the first
//! inner delimiter up to and including the line end after the closing one, without the line end that belongs to the outer delimiter.
//! [`SignedDirectory::parse`] finds them in the input and leaves them as they are; who has verified the signature over
//! [`SignedDirectory::signed`] goes on to [`SignedDirectory::directory`]. In the other direction [`Directory::signed_bytes`] gives
//! what to sign and [`envelope`] the document.
//!
//! The reader takes both line ends, names in any case, quotes of either kind or none and a missing closing delimiter, as central
//! servers and configuration proxies of all ages write them. At most [`MAX_BYTES`], [`MAX_PARTS`]. No cryptography here: algorithms
//! are URIs, `pki` knows which it takes.
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::fault::FaultCode;
use crate::time::UnixTime;

/// Bound on one directory.
pub const MAX_BYTES: usize = 1 << 20;
/// Most parts in one directory.
pub const MAX_PARTS: usize = 1000;
/// Most header lines of one part.
const MAX_HEADERS: usize = 64;

const OCTET_STREAM: &str = "application/octet-stream";

/// Why a directory cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DirectoryError {
    /// Not the MIME structure, or over a bound.
    #[error("the directory cannot be parsed: {0}")]
    Mime(&'static str),
    /// There is no first part.
    #[error("the directory has no signed data")]
    NoSignedData,
    /// There is no second part, so that nothing in the first one counts.
    #[error("the directory has no signature, so that it says nothing about its expiry")]
    NoSignature,
    /// A required field is missing.
    #[error("field {0} is missing")]
    FieldMissing(&'static str),
    /// A required parameter of a field is missing.
    #[error("field {0} is missing parameter {1}")]
    ParameterMissing(&'static str, &'static str),
    /// A field has another value than it must.
    #[error("field {0} has a wrong value")]
    FieldValue(&'static str),
    /// The signature is not base64.
    #[error("the signature cannot be decoded")]
    SignatureEncoding,
}

impl DirectoryError {
    /// What an administrator is told.
    pub fn fault_code(&self) -> FaultCode {
        match self {
            Self::Mime(_) => FaultCode::GlobalConfParsingDownloadedConfDirectoryFailure,
            Self::NoSignedData => FaultCode::GlobalConfMissingSignedData,
            Self::NoSignature => FaultCode::GlobalConfMissingSignedDataExpirationDate,
            Self::FieldMissing(_) => FaultCode::GlobalConfHeaderFieldMissing,
            Self::ParameterMissing(..) => FaultCode::GlobalConfHeaderFieldMissingParameter,
            Self::FieldValue(_) => FaultCode::GlobalConfHeaderFieldWrongValue,
            Self::SignatureEncoding => FaultCode::GlobalConfSignatureDecodeFailure,
        }
    }
}

/// A directory taken apart, its signature not yet verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedDirectory<'a> {
    /// The bytes that the signature covers.
    pub signed: &'a [u8],
    /// The signature over them.
    pub signature: Signature,
    /// Boundary inside `signed`.
    inner_boundary: String,
}

/// A directory's signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// XML-DSig URI of the signature algorithm.
    pub algorithm_uri: String,
    /// Digest of the certificate that verifies it.
    pub cert_hash: Vec<u8>,
    /// URI of the algorithm of that digest.
    pub cert_hash_algorithm_uri: String,
    /// The value; ECDSA as ASN.1 DER.
    pub value: Vec<u8>,
}

/// What a directory says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    /// From here on it must not be used.
    pub expires: UnixTime,
    /// Configuration version of the parts; `None` was written before versions were and means 2.
    pub version: Option<u32>,
    /// Its parts.
    pub parts: Vec<Part>,
}

/// One part of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// `SHARED-PARAMETERS` …; empty when the directory does not say.
    pub content_identifier: String,
    /// Instance it is about; empty when the directory does not say.
    pub instance: String,
    /// Reference relative to the URL of the directory.
    pub location: String,
    /// Local file name asked for.
    pub file_name: Option<String>,
    /// URI of the hash algorithm.
    pub hash_algorithm_uri: String,
    /// Hash of the file.
    pub hash: Vec<u8>,
}

impl<'a> SignedDirectory<'a> {
    /// Takes a document apart.
    ///
    /// # Errors
    /// The first broken rule.
    pub fn parse(document: &'a [u8]) -> Result<Self, DirectoryError> {
        if document.len() > MAX_BYTES {
            return Err(DirectoryError::Mime("it is too large"));
        }
        let (headers, body) = headers(document)?;
        let boundary = boundary(&headers)?;
        let parts = split(body, &boundary)?;
        let mut parts = parts.into_iter();
        let (headers_of_signed, signed) = self::headers(parts.next().ok_or(DirectoryError::NoSignedData)?)?;
        let (headers_of_signature, value) = self::headers(parts.next().ok_or(DirectoryError::NoSignature)?)?;
        // In the order of the reference: the value is decoded before the fields are looked at.
        let value = decode(value).ok_or(DirectoryError::SignatureEncoding)?;
        let signature = signature(&headers_of_signature, value)?;
        Ok(Self { signed, signature, inner_boundary: self::boundary(&headers_of_signed)? })
    }

    /// Reads the signed bytes. Only after their signature was verified.
    ///
    /// # Errors
    /// The first broken rule.
    pub fn directory(&self) -> Result<Directory, DirectoryError> {
        let mut parts = split(self.signed, &self.inner_boundary)?.into_iter();
        let (headers, _) = headers(parts.next().ok_or(DirectoryError::NoSignedData)?)?;
        let expires = required(&headers, "Expire-date")?;
        let expires = UnixTime::from_iso8601(expires).ok_or(DirectoryError::FieldValue("Expire-date"))?;
        let version = match get(&headers, "Version") {
            None => None,
            Some(text) => Some(text.parse().map_err(|_| DirectoryError::FieldValue("Version"))?),
        };
        let parts = parts.map(part).collect::<Result<_, _>>()?;
        Ok(Directory { expires, version, parts })
    }

    /// Boundary inside [`Self::signed`].
    pub fn inner_boundary(&self) -> &str {
        &self.inner_boundary
    }
}

impl Directory {
    /// What is to be signed. `boundary` must not occur in any value; 20 random letters and digits will do.
    ///
    /// # Errors
    /// A value that would break the lines: none may hold control characters.
    pub fn signed_bytes(&self, boundary: &str) -> Result<Vec<u8>, DirectoryError> {
        let mut out = format!("--{boundary}\r\nExpire-date: {}\r\n", self.expires.to_iso8601());
        if let Some(version) = self.version {
            out.push_str(&format!("Version: {version}\r\n"));
        }
        out.push_str("\r\n");
        for part in &self.parts {
            for value in [&part.content_identifier, &part.instance, &part.location, &part.hash_algorithm_uri]
            {
                if value.chars().any(char::is_control) {
                    return Err(DirectoryError::FieldValue("Content-identifier"));
                }
            }
            out.push_str(&format!(
                "--{boundary}\r\n\
                 Content-type: {OCTET_STREAM}\r\n\
                 Content-transfer-encoding: base64\r\n\
                 Content-identifier: {}; instance='{}'\r\n\
                 Content-location: {}\r\n\
                 Hash-algorithm-id: {}\r\n\
                 \r\n\
                 {}\r\n",
                part.content_identifier,
                part.instance,
                part.location,
                part.hash_algorithm_uri,
                STANDARD.encode(&part.hash),
            ));
        }
        out.push_str(&format!("--{boundary}--\r\n"));
        Ok(out.into_bytes())
    }
}

/// The document around signed bytes and their signature. `inner` is the boundary inside them, `outer` another one.
pub fn envelope(outer: &str, inner: &str, signed: &[u8], signature: &Signature) -> Vec<u8> {
    let mut out = format!(
        "Content-Type: multipart/related; charset=UTF-8; boundary={outer}\r\n\
         \r\n\
         --{outer}\r\n\
         Content-Type: multipart/mixed; charset=UTF-8; boundary={inner}\r\n\
         \r\n"
    )
    .into_bytes();
    out.extend_from_slice(signed);
    out.extend_from_slice(
        format!(
            "\r\n--{outer}\r\n\
             Content-Type: {OCTET_STREAM}\r\n\
             Content-Transfer-Encoding: base64\r\n\
             Signature-Algorithm-Id: {}\r\n\
             Verification-certificate-hash: {}; hash-algorithm-id=\"{}\"\r\n\
             \r\n\
             {}\r\n\
             --{outer}--\r\n",
            signature.algorithm_uri,
            STANDARD.encode(&signature.cert_hash),
            signature.cert_hash_algorithm_uri,
            STANDARD.encode(&signature.value),
        )
        .as_bytes(),
    );
    out
}

fn signature(headers: &Headers<'_>, value: Vec<u8>) -> Result<Signature, DirectoryError> {
    expect(headers, "Content-Type", OCTET_STREAM)?;
    expect(headers, "Content-Transfer-Encoding", "base64")?;
    let algorithm_uri = required(headers, "Signature-Algorithm-Id")?.to_owned();
    const HASH: &str = "Verification-certificate-hash";
    let (cert_hash, parameters) = parameters(required(headers, HASH)?);
    let cert_hash_algorithm_uri = parameter(&parameters, "hash-algorithm-id")
        .ok_or(DirectoryError::ParameterMissing(HASH, "hash-algorithm-id"))?
        .to_owned();
    let cert_hash = decode(cert_hash.as_bytes()).ok_or(DirectoryError::FieldValue(HASH))?;
    Ok(Signature { algorithm_uri, cert_hash, cert_hash_algorithm_uri, value })
}

fn part(bytes: &[u8]) -> Result<Part, DirectoryError> {
    let (headers, body) = headers(bytes)?;
    expect(&headers, "Content-type", OCTET_STREAM)?;
    expect(&headers, "Content-transfer-encoding", "base64")?;
    let location = required(&headers, "Content-location")?.to_owned();
    let hash_algorithm_uri = required(&headers, "Hash-algorithm-id")?.to_owned();
    const IDENTIFIER: &str = "Content-identifier";
    let (content_identifier, instance) = match get(&headers, IDENTIFIER) {
        None => (String::new(), String::new()),
        Some(value) => {
            let (id, parameters) = parameters(value);
            (id.to_owned(), parameter(&parameters, "instance").unwrap_or_default().to_owned())
        }
    };
    let needs_instance = [super::PRIVATE_PARAMETERS, super::SHARED_PARAMETERS];
    if instance.is_empty() && needs_instance.contains(&content_identifier.as_str()) {
        return Err(DirectoryError::ParameterMissing(IDENTIFIER, "instance"));
    }
    let file_name = get(&headers, "Content-file-name").map(str::to_owned);
    let hash = decode(body).ok_or(DirectoryError::Mime("a hash is not base64"))?;
    Ok(Part { content_identifier, instance, location, file_name, hash_algorithm_uri, hash })
}

/// Field names and values in order; values trimmed, folded lines joined.
type Headers<'a> = Vec<(&'a str, String)>;

/// Splits off the header block at the start of `bytes`; what follows its empty line is the body.
fn headers(bytes: &[u8]) -> Result<(Headers<'_>, &[u8]), DirectoryError> {
    let mut found = Headers::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let end = memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
        let (line, after) = rest.split_at(end);
        rest = after;
        let line = std::str::from_utf8(line).map_err(|_| DirectoryError::Mime("a header is not UTF-8"))?;
        let line = line.trim_end_matches(['\r', '\n']);
        if line.is_empty() {
            break;
        }
        if line.starts_with([' ', '\t']) {
            let (_, value) = found.last_mut().ok_or(DirectoryError::Mime("a header is broken"))?;
            value.push(' ');
            value.push_str(line.trim());
            continue;
        }
        if found.len() == MAX_HEADERS {
            return Err(DirectoryError::Mime("a part has too many headers"));
        }
        let (name, value) = line.split_once(':').ok_or(DirectoryError::Mime("a header is broken"))?;
        found.push((name.trim_end(), value.trim().to_owned()));
    }
    Ok((found, rest))
}

fn get<'h>(headers: &'h Headers<'_>, name: &str) -> Option<&'h str> {
    headers
        .iter()
        .find(|(n, _)| n.eq_ignore_ascii_case(name))
        .map(|(_, v)| v.as_str())
        .filter(|v| !v.is_empty())
}

fn required<'h>(headers: &'h Headers<'_>, name: &'static str) -> Result<&'h str, DirectoryError> {
    get(headers, name).ok_or(DirectoryError::FieldMissing(name))
}

fn expect(headers: &Headers<'_>, name: &'static str, value: &str) -> Result<(), DirectoryError> {
    if required(headers, name)? == value { Ok(()) } else { Err(DirectoryError::FieldValue(name)) }
}

fn boundary(headers: &Headers<'_>) -> Result<String, DirectoryError> {
    let (kind, parameters) = parameters(get(headers, "Content-Type").unwrap_or_default());
    let boundary = parameter(&parameters, "boundary").unwrap_or_default();
    if kind.to_ascii_lowercase().starts_with("multipart/") && (1..=70).contains(&boundary.len()) {
        Ok(boundary.to_owned())
    } else {
        Err(DirectoryError::NoSignedData)
    }
}

/// Takes `value; name=value; name="value"; name='value'` apart. Quotes of either kind are taken off.
fn parameters(field: &str) -> (&str, Vec<(&str, &str)>) {
    let mut pieces = Vec::new();
    let (mut start, mut quoted) = (0, false);
    for (at, c) in field.char_indices() {
        match c {
            '"' => quoted = !quoted,
            ';' if !quoted => {
                pieces.push(&field[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    pieces.push(&field[start..]);
    let mut pieces = pieces.into_iter();
    let value = pieces.next().unwrap_or_default().trim();
    let parameters = pieces.filter_map(|piece| piece.split_once('=')).map(|(name, value)| {
        let value = value.trim();
        let unquoted = ['"', '\'']
            .into_iter()
            .find_map(|quote| value.strip_prefix(quote)?.strip_suffix(quote))
            .unwrap_or(value);
        (name.trim(), unquoted)
    });
    (value, parameters.collect())
}

fn parameter<'p>(parameters: &[(&'p str, &'p str)], name: &str) -> Option<&'p str> {
    parameters.iter().find(|(n, v)| n.eq_ignore_ascii_case(name) && !v.is_empty()).map(|(_, v)| *v)
}

/// Base64, white space left out.
fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let text: Vec<u8> = text.iter().copied().filter(|b| !b.is_ascii_whitespace()).collect();
    STANDARD.decode(text).ok()
}

/// Cuts a multipart body at the lines that are `--boundary`. Line ends before a delimiter belong to it. What comes before the first
/// delimiter and after the closing one is nobody's; without a closing one the last part ends where the input does.
fn split<'a>(body: &'a [u8], boundary: &str) -> Result<Vec<&'a [u8]>, DirectoryError> {
    let delimiter = format!("--{boundary}");
    let mut parts = Vec::new();
    let (mut part_start, mut at) = (None, 0);
    while at < body.len() {
        let end = memchr::memchr(b'\n', &body[at..]).map_or(body.len(), |found| at + found + 1);
        if let Some(closing) = delimiter_line(&body[at..end], delimiter.as_bytes()) {
            if let Some(start) = part_start {
                parts.push(without_line_end(&body[start..at]));
            }
            if closing {
                return Ok(parts);
            }
            if parts.len() == MAX_PARTS + 1 {
                return Err(DirectoryError::Mime("it has too many parts"));
            }
            part_start = Some(end);
        }
        at = end;
    }
    if let Some(start) = part_start {
        parts.push(&body[start..]);
    }
    Ok(parts)
}

/// Whether `line` is the delimiter, and if so whether it is the closing one.
fn delimiter_line(line: &[u8], delimiter: &[u8]) -> Option<bool> {
    let rest = line.strip_prefix(delimiter)?.trim_ascii_end();
    match rest {
        b"" => Some(false),
        b"--" => Some(true),
        _ => None,
    }
}

fn without_line_end(part: &[u8]) -> &[u8] {
    let part = part.strip_suffix(b"\n").unwrap_or(part);
    part.strip_suffix(b"\r").unwrap_or(part)
}
