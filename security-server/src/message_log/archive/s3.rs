//! Signing of requests to S3-compatible storage: AWS Signature Version 4, header form. Pure; the time is given.
use proto::time::UnixTime;
use ring::hmac;
use zeroize::Zeroizing;

use pki::digest::DigestAlgorithm;

/// What is asked.
#[derive(Clone, Copy)]
pub(super) struct Request<'a> {
    pub(super) method: &'a str,
    /// Host with port, as it stands in the `Host` header.
    pub(super) host: &'a str,
    /// Absolute path, not escaped.
    pub(super) path: &'a str,
    /// Parameters, not escaped.
    pub(super) query: &'a [(&'a str, &'a str)],
    /// Further headers to sign, names in lower case.
    pub(super) headers: &'a [(&'a str, &'a str)],
    /// Hexadecimal SHA-256 of the body.
    pub(super) sha256: &'a str,
}

/// Who asks, and where.
#[derive(Clone)]
pub struct Credentials {
    /// Access key id.
    pub id: String,
    /// Secret access key.
    pub secret: Zeroizing<String>,
    /// Region, such as `eu-north-1`.
    pub region: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("id", &self.id)
            .field("region", &self.region)
            .finish_non_exhaustive()
    }
}

/// The headers to send along, `Authorization` among them; `Host` is the client's.
pub(super) fn sign(request: &Request<'_>, by: &Credentials, now: UnixTime) -> Vec<(String, String)> {
    let time: String = now.to_iso8601().chars().take(19).filter(|c| !"-:".contains(*c)).collect();
    let (time, day) = (format!("{time}Z"), &time[..8]);
    let mut headers =
        vec![("host", request.host), ("x-amz-content-sha256", request.sha256), ("x-amz-date", time.as_str())];
    headers.extend(request.headers);
    headers.sort_unstable();
    let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
    let names = names.join(";");
    let lines: String = headers.iter().map(|(name, value)| format!("{name}:{}\n", value.trim())).collect();
    let canonical = format!(
        "{}\n{}\n{}\n{lines}\n{names}\n{}",
        request.method,
        escape(request.path),
        query(request.query),
        request.sha256
    );
    let scope = format!("{day}/{}/s3/aws4_request", by.region);
    let digest = hex::encode(DigestAlgorithm::Sha256.digest(canonical.as_bytes()).value);
    let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{digest}");
    let key = ["s3", "aws4_request"]
        .iter()
        .fold(mac(&mac(format!("AWS4{}", *by.secret).as_bytes(), day), &by.region), |key, step| {
            mac(&key, step)
        });
    let signature = hex::encode(mac(&key, &to_sign));
    let authorization =
        format!("AWS4-HMAC-SHA256 Credential={}/{scope},SignedHeaders={names},Signature={signature}", by.id);
    let sent = headers.into_iter().filter(|(name, _)| *name != "host");
    let mut sent: Vec<_> = sent.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    sent.push(("authorization".to_owned(), authorization));
    sent
}

fn mac(key: &[u8], data: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), data.as_bytes()).as_ref().to_vec()
}

/// A path as it is signed and sent: everything but letters, digits and `-._~/` escaped.
pub(super) fn escape(path: &str) -> String {
    escape_but(path, b"-._~/")
}

/// Parameters as they are signed and sent: escaped, the slash as well, and sorted.
pub(super) fn query(parameters: &[(&str, &str)]) -> String {
    let escaped = |text| escape_but(text, b"-._~");
    let mut pairs: Vec<_> = parameters.iter().map(|(n, v)| (escaped(n), escaped(v))).collect();
    pairs.sort();
    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

fn escape_but(text: &str, plain: &[u8]) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || plain.contains(&b);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples that Amazon documents for Signature Version 4 in headers.
    #[test]
    fn documented_examples() {
        let by = Credentials {
            id: "AKIAIOSFODNN7EXAMPLE".into(),
            secret: Zeroizing::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into()),
            region: "us-east-1".into(),
        };
        let now = UnixTime::from_iso8601("2013-05-24T00:00:00Z").unwrap();
        let get = Request {
            method: "GET",
            host: "examplebucket.s3.amazonaws.com",
            path: "/test.txt",
            query: &[],
            headers: &[("range", "bytes=0-9")],
            sha256: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        };
        let put = Request {
            method: "PUT",
            path: "/test$file.text",
            headers: &[
                ("date", "Fri, 24 May 2013 00:00:00 GMT"),
                ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
            ],
            sha256: "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
            ..get
        };
        let lifecycle = Request { path: "/", query: &[("lifecycle", "")], headers: &[], ..get };
        let list = Request { query: &[("prefix", "J"), ("max-keys", "2")], ..lifecycle };
        for (request, signature) in [
            (lifecycle, "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
            (list, "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"),
            (get, "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"),
            (put, "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"),
        ] {
            let headers = sign(&request, &by, now);
            let authorization = &headers.last().unwrap().1;
            assert!(authorization.ends_with(&format!("Signature={signature}")), "{authorization}");
        }
    }
}
