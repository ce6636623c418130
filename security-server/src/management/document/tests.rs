//! Requests beside those that were recorded.

use std::collections::HashMap;
use std::path::Path;

use pki::key::PrivateKey;
use proto::id::MemberId;
use proto::management::Request;
use proto::media_type;
use proto::soap::{Soap, parse};
use proto::time::UnixTime;
use signer::software::SoftwareSigner;
use testkit::vectors::{self, Tally};

use super::*;

/// The keys of an environment of captures, by certificate, in a token.
struct Keys {
    _folder: tempfile::TempDir,
    signer: SoftwareSigner,
    by_cert: HashMap<Vec<u8>, (KeyId, SignatureAlgorithm)>,
}

impl Keys {
    fn read(pki: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let signer = SoftwareSigner::create(folder.path(), "0", "1234").unwrap();
        let mut by_cert = HashMap::new();
        for name in ["ss1-auth", "ss1-sign"] {
            let file = |ending: &str| std::fs::read(pki.join(format!("{name}.{ending}"))).unwrap();
            let key = PrivateKey::from_pem(&file("key.pem")).unwrap();
            let cert = Certificate::parse(&file("der")).unwrap();
            let member = (name == "ss1-sign").then(|| MemberId::new("PEER", "COM", "1111"));
            let algorithm = key.default_algorithm();
            let id = signer.import_pair(name, key, &cert, member).unwrap();
            by_cert.insert(cert.der().to_vec(), (id, algorithm));
        }
        Self { _folder: folder, signer, by_cert }
    }

    fn identity(&self, cert: &Part, ocsp: &Part) -> SigningIdentity {
        let (key, algorithm) = self.by_cert[&cert.bytes[..]].clone();
        SigningIdentity {
            key,
            member: MemberId::new("PEER", "COM", "1111"),
            cert: Certificate::parse(&cert.bytes).unwrap(),
            intermediates: vec![],
            ocsp: vec![ocsp.bytes.clone()],
            algorithm,
            until: UnixTime::from_secs(i64::MAX / 2000),
        }
    }
}

/// What we send when we are asked for what a captured request asks for.
async fn again(keys: &Keys, content_type: &str, body: &Bytes) -> Result<Document, String> {
    let parts = management::parts(content_type, body).map_err(|e| e.to_string())?;
    let soap = &parts[0].bytes;
    let asked = management::read(soap).map_err(|e| e.to_string())?;
    let Ok(Soap::Message(message)) = parse(soap.clone(), DOCUMENT) else { return Err("no message".into()) };
    let boundary = media_type::parameter(content_type, "boundary").unwrap_or_default();
    let marks = Marks { id: message.header.id, boundary: boundary.to_string() };
    let provider = message.header.service.client;
    let signer = &keys.signer;
    match &parts[..] {
        [_] if matches!(asked.request, Request::AuthCertReg { .. }) => {
            Ok(question(&asked, &provider, &marks))
        }
        [_] => Ok(plain(&asked, &provider, &marks)),
        [_, _, cert, ocsp] => {
            let identity = keys.identity(cert, ocsp);
            signed(signer, &asked, &provider, &marks, &identity).await.map_err(|e| e.to_string())
        }
        [_, _, _, auth, owner, ocsp] => {
            let key = keys.by_cert[&auth.bytes[..]].0.clone();
            let auth = AuthCert { key, cert: Certificate::parse(&auth.bytes).unwrap() };
            let owner = keys.identity(owner, ocsp);
            let made = registration(signer, &asked, &provider, &marks, &auth, &owner).await;
            made.map_err(|e| e.to_string())
        }
        other => Err(format!("{} parts", other.len())),
    }
}

/// The same bytes; where signatures are random (ECDSA) everything but their values.
fn compare(kind: &str, content_type: &str, theirs: &Bytes, ours: &Document) -> Result<(), String> {
    if content_type != ours.content_type {
        return Err(format!("{content_type} and {}", ours.content_type));
    }
    if theirs == &ours.body {
        return Ok(());
    }
    let [their_parts, our_parts] =
        [theirs, &ours.body].map(|body| management::parts(content_type, body).unwrap());
    if their_parts[0].bytes != our_parts[0].bytes {
        let [theirs, ours] = [&their_parts[0], &our_parts[0]].map(|p| String::from_utf8_lossy(&p.bytes));
        return Err(format!("the document:\n{theirs}\n{ours}"));
    }
    let rest = |parts: &[Part]| {
        let random = |part: &Part| kind == "ec" && part.algorithm.is_some();
        let fixed = |part: &Part| if random(part) { Bytes::new() } else { part.bytes.clone() };
        parts.iter().map(|p| (p.content_type.clone(), p.algorithm.clone(), fixed(p))).collect::<Vec<_>>()
    };
    let same = rest(&their_parts) == rest(&our_parts);
    // Parts alike can still be framed differently.
    let framing =
        |body: &Bytes, parts: &[Part]| body.len() - parts.iter().map(|p| p.bytes.len()).sum::<usize>();
    let framed = framing(theirs, &their_parts) == framing(&ours.body, &our_parts);
    if kind == "ec" && same && framed { Ok(()) } else { Err("parts or framing differ".into()) }
}

#[tokio::test]
async fn requests_are_those_that_upstream_classes_make() {
    let Some(captures) = vectors::dir().map(|dir| dir.join("captures")) else { return };
    let mut tally = Tally::new("captures/management");
    for kind in ["rsa", "ec"] {
        let keys = Keys::read(&captures.join(format!("env-{kind}/pki")));
        for entry in std::fs::read_dir(captures.join("management").join(kind)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "body") {
                continue;
            }
            let content_type = std::fs::read_to_string(path.with_extension("content-type")).unwrap();
            let theirs = Bytes::from(std::fs::read(&path).unwrap());
            let ours = again(&keys, content_type.trim(), &theirs).await;
            let compared = ours.and_then(|ours| compare(kind, content_type.trim(), &theirs, &ours));
            tally.ok(format!("{kind} {}", path.file_stem().unwrap().to_string_lossy()), compared);
        }
    }
    tally.finish();
}
