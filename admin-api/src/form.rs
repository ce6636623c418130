//! Multipart forms: fields and uploaded files of one request, already in memory within the bound of uploads.

use bytes::{Bytes, BytesMut};
use proto::multipart::{Decoder, Event, Limits};

use crate::problem::Problem;

/// Fields of one form.
const MAX_FIELDS: usize = 50;

/// A form that was read.
#[derive(Clone, Debug, Default)]
pub struct Form {
    fields: Vec<Field>,
}

/// A field or a file.
#[derive(Clone, Debug)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Name of the file, where it is one.
    pub file_name: Option<String>,
    /// What it holds.
    pub bytes: Bytes,
}

/// What an uploaded file must be.
#[derive(Clone, Copy, Debug)]
pub struct FileRule {
    /// Allowed endings of its name.
    pub extensions: &'static [&'static str],
}

/// Certificates.
pub const CERTIFICATE: FileRule = FileRule { extensions: &["der", "crt", "pem", "cer"] };
/// XML documents.
pub const XML: FileRule = FileRule { extensions: &["xml"] };

impl Form {
    /// Reads the whole form.
    ///
    /// # Errors
    /// 400 when it is none.
    pub fn read(content_type: &str, body: Bytes) -> Result<Self, Problem> {
        let malformed = |error: proto::multipart::MultipartError| Problem::malformed(error.to_string());
        let limits = Limits { parts: MAX_FIELDS, ..Limits::default() };
        let mut decoder = Decoder::new(content_type, limits).map_err(malformed)?;
        decoder.feed(body);
        decoder.finish();
        let mut fields: Vec<Field> = Vec::new();
        let mut data = BytesMut::new();
        while let Some(event) = decoder.poll().map_err(malformed)? {
            match event {
                Event::Head(head) => {
                    let disposition = head.get("content-disposition").unwrap_or_default();
                    let parameter = |name| proto::media_type::parameter(disposition, name);
                    fields.push(Field {
                        name: parameter("name").unwrap_or_default().into_owned(),
                        file_name: parameter("filename").map(|name| name.into_owned()),
                        bytes: Bytes::new(),
                    });
                    data.clear();
                }
                Event::Data(bytes) => data.extend_from_slice(&bytes),
                Event::PartEnd { .. } => {
                    if let Some(field) = fields.last_mut() {
                        field.bytes = data.split().freeze();
                    }
                }
                Event::End { .. } => break,
            }
        }
        Ok(Self { fields })
    }

    /// A text field; an empty one counts as absent.
    pub fn text(&self, name: &str) -> Option<String> {
        let field = self.fields.iter().find(|field| field.name == name)?;
        let text = String::from_utf8_lossy(&field.bytes).trim().to_owned();
        Some(text).filter(|text| !text.is_empty())
    }

    /// A text field that must be there.
    ///
    /// # Errors
    /// 400 without a code.
    pub fn required(&self, name: &str) -> Result<String, Problem> {
        self.text(name).ok_or_else(|| Problem::malformed(format!("the form has no {name}")))
    }

    /// What the sender calls a file.
    pub fn file_name(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|field| field.name == name)?.file_name.as_deref()
    }

    /// A file, after a look at its name.
    ///
    /// # Errors
    /// 400 with what is wrong with its name.
    pub fn file(&self, name: &str, rule: FileRule) -> Result<Option<Bytes>, Problem> {
        let Some(field) = self.fields.iter().find(|field| field.name == name) else { return Ok(None) };
        check_name(field.file_name.as_deref().unwrap_or_default(), rule)?;
        Ok(Some(field.bytes.clone()))
    }

    /// A file that must be there, with its name; whoever asks looks at the name.
    ///
    /// # Errors
    /// 400 without a code when it is missing.
    pub fn named_file(&self, name: &str) -> Result<(String, Bytes), Problem> {
        let field = self.fields.iter().find(|field| field.name == name);
        let field = field.ok_or_else(|| Problem::malformed(format!("the form has no {name}")))?;
        Ok((field.file_name.clone().unwrap_or_default(), field.bytes.clone()))
    }

    /// A file that must be there.
    ///
    /// # Errors
    /// 400 without a code when it is missing, or with what is wrong with its name.
    pub fn required_file(&self, name: &str, rule: FileRule) -> Result<Bytes, Problem> {
        self.file(name, rule)?.ok_or_else(|| Problem::malformed(format!("the form has no {name}")))
    }
}

fn check_name(name: &str, rule: FileRule) -> Result<(), Problem> {
    let mut parts = name.rsplit('.');
    let extension = parts.next().unwrap_or_default().to_ascii_lowercase();
    let stem_extension = parts.next().filter(|_| name.contains('.')).map(str::to_ascii_lowercase);
    if !name.contains('.') || !rule.extensions.contains(&extension.as_str()) {
        let found = if name.contains('.') { extension } else { String::new() };
        return Err(Problem::bad_request("invalid_file_extension")
            .with(found)
            .with(rule.extensions.join(", ")));
    }
    // `a.exe.pem`: whoever looks at the first ending must not be misled. A host name before the ending is fine.
    let looks_executable =
        |part: &str| matches!(part, "exe" | "sh" | "bat" | "cmd" | "js" | "jar" | "php" | "html");
    if parts.next().is_some() && stem_extension.is_some_and(|part| looks_executable(&part)) {
        return Err(Problem::bad_request("double_file_extension"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = "--b\r\nContent-Disposition: form-data; name=\"url\"\r\n\r\nhttp://ca:8888\r\n--b\r\n\
        Content-Disposition: form-data; name=\"certificate\"; filename=\"i.pem\"\r\nContent-Type: x/y\r\n\r\nDER\r\n\
        --b\r\nContent-Disposition: form-data; name=\"empty\"\r\n\r\n\r\n--b--\r\n";

    #[test]
    fn reads_fields_and_files() {
        let form =
            Form::read("multipart/form-data; boundary=b", Bytes::from_static(BODY.as_bytes())).unwrap();
        assert_eq!(form.text("url").as_deref(), Some("http://ca:8888"));
        assert_eq!(form.text("empty"), None);
        assert_eq!(form.required_file("certificate", CERTIFICATE).unwrap(), "DER");
        assert_eq!(form.required("cost_type").unwrap_err().body(), Problem::status(400).body());
        assert!(Form::read("text/plain", Bytes::new()).is_err());
    }

    #[test]
    fn names_of_files_are_looked_at() {
        let cases = [
            ("ca.pem", None),
            ("CA.CRT", None),
            ("ca.example.org.der", None),
            ("ca.txt", Some("invalid_file_extension")),
            ("ca", Some("invalid_file_extension")),
            ("", Some("invalid_file_extension")),
            ("a.exe.pem", Some("double_file_extension")),
        ];
        for (name, expected) in cases {
            let found = check_name(name, CERTIFICATE).err().and_then(|problem| problem.code);
            assert_eq!(found.as_deref(), expected, "{name}");
        }
        let problem = check_name("x.txt", CERTIFICATE).unwrap_err();
        assert_eq!(problem.metadata, ["txt", "der, crt, pem, cer"]);
    }
}
