//! Configuration documents against what stock central servers published, against the schemas, and near misses.

use std::path::{Path, PathBuf};

use testkit::{tools, vectors};

use super::anchor::{Anchor, AnchorSource};
use super::directory::{Directory, DirectoryError, Part, SignedDirectory, envelope};
use super::metadata::Metadata;
use super::optional_parts::{self, MonitoringParameters};
use super::private_parameters::PrivateParameters;
use super::shared_parameters::{
    AcmeServer, ApprovedCa, ApprovedTsa, CaInfo, CostType, GlobalGroup, Member, OcspInfo, SecurityServer,
    SharedParameters, Source,
};
use super::*;
use crate::id::{ClientId, GlobalGroupId, MemberId, ServerId};
use crate::time::UnixTime;
use crate::xml::XmlError;

mod by_pieces;

fn member_id(code: &str) -> MemberId {
    MemberId { instance: "XX".into(), class: "GOV".into(), code: code.into() }
}

fn client_id(code: &str, subsystem: Option<&str>) -> ClientId {
    ClientId { member: member_id(code), subsystem: subsystem.map(Into::into) }
}

fn anchor() -> Anchor {
    let source = |url: &str| AnchorSource { url: url.into(), verification_certs: vec![vec![1, 2], vec![3]] };
    Anchor {
        generated_at: Some(UnixTime(1_700_000_000_123)),
        instance: "XX".into(),
        sources: vec![
            source("https://cs.example/internalconf"),
            source("http://cs.example:8080/internalconf"),
        ],
    }
}

fn private() -> PrivateParameters {
    PrivateParameters {
        instance: "XX".into(),
        federation_anchors: vec![Anchor { generated_at: None, instance: "YY".into(), ..anchor() }],
        auth_cert_reg_address: "https://cs.example:4001/managementservice/".into(),
        auth_cert_reg_cert: Some(vec![9; 40]),
        management_provider: client_id("1", Some("MGMT")),
        timestamping_interval_seconds: 60,
    }
}

/// One of everything that version 6 has.
fn shared() -> SharedParameters {
    let ca = |n: u8| CaInfo {
        cert: vec![n; 5],
        ocsp: vec![
            OcspInfo { url: "http://ca/ocsp".into(), cert: Some(vec![n]), cost: CostType::Free },
            OcspInfo { url: "http://ca/two".into(), cert: None, cost: CostType::Paid },
        ],
    };
    SharedParameters {
        instance: "XX".into(),
        sources: vec![Source {
            address: "cs.example".into(),
            internal_certs: vec![vec![1]],
            external_certs: vec![vec![2]],
        }],
        approved_cas: vec![ApprovedCa {
            name: "CA <&> \"1\"".into(),
            authentication_only: true,
            top: ca(1),
            intermediates: vec![ca(2), ca(3)],
            profile: "a.b.FiVRKCertificateProfileInfoProvider".into(),
            default_csr_format: Some("DER".into()),
            acme: Some(AcmeServer {
                directory_url: "http://ca/acme".into(),
                ip_address: Some("192.0.2.1".into()),
                authentication_profile: Some("5".into()),
                signing_profile: Some("6".into()),
            }),
        }],
        approved_tsas: vec![ApprovedTsa {
            name: "TSA".into(),
            url: "http://tsa".into(),
            cert: vec![7],
            cost: CostType::Undefined,
        }],
        members: vec![
            Member {
                id: member_id("1"),
                class_description: "Government".into(),
                name: "Ülikool\r\n& co".into(),
                subsystems: vec![("MGMT".into(), Some("Management".into())), ("land".into(), None)],
            },
            Member {
                id: member_id("2"),
                class_description: "Government".into(),
                name: "Two".into(),
                subsystems: vec![],
            },
        ],
        servers: vec![SecurityServer {
            id: ServerId { owner: member_id("2"), code: "ss1".into() },
            address: Some("ss1.example".into()),
            auth_cert_hashes: vec![vec![4; 32], vec![5; 32]],
            clients: vec![client_id("1", Some("land")), client_id("1", None)],
            maintenance: Some(Some("back at noon".into())),
        }],
        groups: vec![GlobalGroup {
            id: GlobalGroupId { instance: "XX".into(), code: "owners".into() },
            description: "Owners".into(),
            members: vec![client_id("2", None), client_id("1", Some("land"))],
        }],
        member_classes: vec![("GOV".into(), "Government".into())],
        ocsp_freshness_seconds: 3600,
    }
}

/// What is left of [`shared`] in a version.
fn shared_of(version: u32) -> SharedParameters {
    let mut shared = shared();
    if version < 6 {
        for ca in &mut shared.approved_cas {
            ca.default_csr_format = None;
            for info in std::iter::once(&mut ca.top).chain(&mut ca.intermediates) {
                info.ocsp.iter_mut().for_each(|ocsp| ocsp.cost = CostType::Undefined);
            }
        }
    }
    if version < 5 {
        shared.members.iter_mut().flat_map(|m| &mut m.subsystems).for_each(|s| s.1 = None);
        shared.servers.iter_mut().for_each(|s| s.maintenance = None);
    }
    if let (..4, Some(acme)) = (version, &mut shared.approved_cas[0].acme) {
        (acme.authentication_profile, acme.signing_profile) = (None, None);
    }
    if version < 3 {
        shared.sources.clear();
        shared.approved_cas[0].acme = None;
    }
    shared
}

#[test]
fn what_is_written_reads_back_without_what_the_version_lacks() {
    for version in MIN_VERSION..=MAX_VERSION {
        let written = shared().write(version).unwrap();
        assert_eq!(
            SharedParameters::read(&written, version).unwrap(),
            shared_of(version),
            "version {version}"
        );
        let written = private().write(version).unwrap();
        assert_eq!(PrivateParameters::read(&written, version).unwrap(), private(), "version {version}");
    }
    assert_eq!(Anchor::read(&anchor().write().unwrap()).unwrap(), anchor());
    for client in [None, Some(client_id("1", Some("MGMT")))] {
        let part = MonitoringParameters { client };
        assert_eq!(MonitoringParameters::read(&part.write().unwrap()).unwrap(), part);
    }
    let interval = optional_parts::write_fetch_interval(90).unwrap();
    assert_eq!(optional_parts::read_fetch_interval(&interval), Ok(90));
    let next_update = optional_parts::write_next_update(false).unwrap();
    assert_eq!(optional_parts::read_next_update(&next_update), Ok(false));
}

/// Validates against a schema of the vectors; `None` when xmllint or the vectors are not there.
fn validate(document: &[u8], schema: &str) -> Option<Result<(), String>> {
    let schema = vectors::dir()?.join("schemas").join(schema);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), document).unwrap();
    let output = tools::tool("xmllint", "validation against the schemas")?
        .args(["--noout", "--nonet", "--schema"])
        .arg(schema)
        .arg(file.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Some(if output.status.success() { Ok(()) } else { Err(said) })
}

#[test]
fn what_is_written_is_valid_against_the_schemas() {
    if vectors::dir().is_none() {
        return tools::skip("validation against the schemas", "no vectors");
    }
    let mut documents = vec![
        ("globalconf/v2/private-parameters.xsd".to_owned(), anchor().write().unwrap()),
        ("monitoring-conf.xsd".to_owned(), MonitoringParameters::default().write().unwrap()),
        ("ocsp-fetchinterval-conf.xsd".to_owned(), optional_parts::write_fetch_interval(60).unwrap()),
        ("ocsp-nextupdate-conf.xsd".to_owned(), optional_parts::write_next_update(true).unwrap()),
    ];
    for version in MIN_VERSION..=MAX_VERSION {
        let schema = format!("globalconf/v{version}/shared-parameters.xsd");
        documents.push((schema, shared().write(version).unwrap()));
        let schema = format!("globalconf/v{}/private-parameters.xsd", version.min(3));
        documents.push((schema, private().write(version).unwrap()));
    }
    for (schema, document) in documents {
        match validate(&document, &schema) {
            Some(result) => result.unwrap_or_else(|said| panic!("{schema}: {said}")),
            None => return,
        }
    }
}

/// Every published version below a folder of the vectors.
fn published(below: &Path) -> Vec<(u32, PathBuf)> {
    let mut found = Vec::new();
    for snapshot in std::fs::read_dir(below).unwrap() {
        for version in MIN_VERSION..=MAX_VERSION {
            let folder = snapshot.as_ref().unwrap().path().join(format!("V{version}"));
            if folder.join("internalconf").is_file() {
                found.push((version, folder));
            }
        }
    }
    found
}

#[test]
fn published_directories_and_parts_read_and_write_back_byte_for_byte() {
    let Some(dir) = vectors::dir() else {
        return tools::skip("published configurations", "no vectors");
    };
    let mut tally = vectors::Tally::new("captures/central-server (bytes)");
    for (version, folder) in published(&dir.join("captures/central-server")) {
        for source in ["internalconf", "externalconf"] {
            let document = std::fs::read(folder.join(source)).unwrap();
            let signed = SignedDirectory::parse(&document).unwrap();
            let directory = signed.directory().unwrap();
            assert_eq!(directory.version, Some(version));
            let inner = signed.inner_boundary();
            tally.equal(
                format!("signed bytes of V{version}/{source}"),
                &directory.signed_bytes(inner).unwrap()[..],
                signed.signed,
            );
            let outer = String::from_utf8_lossy(&document);
            let outer = outer.lines().next().unwrap().rsplit_once("boundary=").unwrap().1;
            tally.equal(
                format!("V{version}/{source}"),
                envelope(outer, inner, signed.signed, &signed.signature),
                document.clone(),
            );
            for part in directory.parts {
                let Some((_, below)) = part.location.split_once(&format!("/V{version}/")) else {
                    panic!("{}", part.location);
                };
                let bytes = std::fs::read(folder.join(below)).unwrap();
                let written = match part.content_identifier.as_str() {
                    SHARED_PARAMETERS => {
                        assert_reads_alike(&bytes, version);
                        SharedParameters::read(&bytes, version).unwrap().write(version).unwrap()
                    }
                    PRIVATE_PARAMETERS => {
                        PrivateParameters::read(&bytes, version).unwrap().write(version).unwrap()
                    }
                    other => {
                        // Uploaded by a person in a layout of its own.
                        tally.ok(other, optional_parts::check(other, &bytes));
                        continue;
                    }
                };
                tally.equal(&part.location, String::from_utf8(written), String::from_utf8(bytes));
            }
        }
    }
    for name in ["anchor-INTERNAL.xml", "anchor-EXTERNAL.xml"] {
        let bytes = std::fs::read(dir.join("captures/central-server").join(name)).unwrap();
        let written = Anchor::read(&bytes).unwrap().write().unwrap();
        tally.equal(name, String::from_utf8(written), String::from_utf8(bytes));
    }
    tally.finish();
}

/// A document is the same whatever the windows are through which it is read, and refused through all of them or none.
fn assert_reads_alike(xml: &[u8], version: u32) {
    let whole = SharedParameters::read_by_windows(xml, version, xml.len() + 1);
    for window in [1, 100, 611, 3_000, xml.len()] {
        let by_windows = SharedParameters::read_by_windows(xml, version, window);
        assert_eq!(by_windows.is_ok(), whole.is_ok(), "{window}: {:?} {:?}", by_windows.err(), whole.err());
        assert!(whole.is_err() || by_windows == whole, "{window}");
    }
}

#[test]
fn documents_read_alike_through_windows_of_any_size() {
    let good = String::from_utf8(shared().write(6).unwrap()).unwrap();
    let cases = [
        ("as it is", good.clone()),
        ("with a byte order mark", format!("\u{feff}{good}")),
        ("as XML 1.1", good.replace("version=\"1.0\"", "version=\"1.1\"")),
        ("comments between children", good.replace("<member ", "<!-- <member> ä --><?pi <x?><member ")),
        ("something behind the root", format!("{good}<!-- end -->\n<?pi?>")),
        ("another root behind it", format!("{good}<x/>")),
        ("text behind it", format!("{good}x")),
        ("no end", good[..good.len() - 3].to_owned()),
        ("cut in the middle", good[..good.len() / 2].to_owned()),
        ("a member behind the servers", good.replace("<globalSettings>", "<member/><globalSettings>")),
        ("a member under the id of another", good.replace("id=\"id1\"", "id=\"id0\"")),
        ("a prefix that is not declared", good.replace("<globalSettings>", "<x:y/><globalSettings>")),
        ("an end that does not fit", good.replace("</member>", "</memberx>")),
        ("nothing", String::new()),
        ("an empty root", format!("<x:conf xmlns:x='{}'/>", reader::XROAD)),
    ];
    for (name, document) in cases {
        assert!(name == "as it is" || document != good, "{name}: nothing was changed");
        assert_reads_alike(document.as_bytes(), 6);
    }
    let mut noise = good.into_bytes();
    let last = noise.len() - 20;
    noise[last] = 0xff;
    assert_reads_alike(&noise, 6);
}

#[test]
fn shared_parameters_that_break_the_schema() {
    use DocumentError::*;
    let good = String::from_utf8(shared().write(6).unwrap()).unwrap();
    let cases: &[(&str, &str, &str, Option<DocumentError>)] = &[
        ("as it is", "", "", None),
        ("an unknown element inside", "<address>cs", "<more/><address>cs", Some(Missing("address"))),
        (
            "an unknown element after the known ones",
            "<subsystemCode>land</subsystemCode>",
            "<subsystemCode>land</subsystemCode><more/>",
            Some(Unexpected("more".into())),
        ),
        (
            "an extension at the end",
            "</globalSettings>",
            "</globalSettings><x:more xmlns:x='urn:x'><a>1</a></x:more>",
            None,
        ),
        (
            "a central service",
            "<globalSettings>",
            "<centralService><serviceCode>x</serviceCode></centralService><globalSettings>",
            None,
        ),
        (
            "text between elements",
            "<globalSettings>",
            "x<globalSettings>",
            Some(Unexpected("text between elements".into())),
        ),
        ("a comment anywhere", "<address>cs.", "<!-- c --><address>cs<!-- c -->.", None),
        ("an unknown owner", "<owner>id3", "<owner>id9", Some(UnknownId("id9".into()))),
        ("a subsystem as owner", "<owner>id3", "<owner>id1", Some(UnknownId("id1".into()))),
        ("an id twice", "id=\"id2\"", "id=\"id1\"", Some(DuplicateId("id1".into()))),
        ("no base64", "<cert>", "<cert>!", Some(Value("cert"))),
        ("base64 with line breaks", "<cert>", "<cert>\n ", None),
        (
            "seconds that are no number",
            "<ocspFreshnessSeconds>",
            "<ocspFreshnessSeconds>x",
            Some(Value("ocspFreshnessSeconds")),
        ),
        ("an unknown cost", ">FREE<", ">CHEAP<", Some(Value("costType"))),
        ("a boolean as a digit", "<authenticationOnly>true", "<authenticationOnly>1", None),
        (
            "no boolean",
            "<authenticationOnly>true",
            "<authenticationOnly>yes",
            Some(Value("authenticationOnly")),
        ),
        ("an unknown CSR format", "Format>DER", "Format>XML", Some(Value("defaultCsrFormat"))),
        (
            "no freshness",
            "<ocspFreshnessSeconds>3600</ocspFreshnessSeconds>",
            "",
            Some(Missing("ocspFreshnessSeconds")),
        ),
        ("another root", "ns3:conf", "ns3:config", Some(Root("conf"))),
        ("a root in another namespace", "xroad.xsd", "xroad2.xsd", Some(Root("conf"))),
        (
            "children in a namespace",
            "xmlns:ns2=",
            "xmlns='urn:x' xmlns:ns2=",
            Some(Missing("instanceIdentifier")),
        ),
        (
            "an identifier of another type",
            "objectType=\"MEMBER\"",
            "objectType=\"SERVICE\"",
            Some(Value("groupMember")),
        ),
        ("a document type", "<ns3:conf", "<!DOCTYPE a><ns3:conf", Some(Xml(XmlError::Doctype))),
        ("another encoding", "UTF-8", "UTF-16", Some(Xml(XmlError::Encoding))),
    ];
    for (name, from, to, expected) in cases {
        let document = good.replace(from, to);
        assert!(from.is_empty() || document != good, "{name}: nothing was changed");
        let found = SharedParameters::read(document.as_bytes(), 6).err().map(|e| e.0);
        assert_eq!(found, *expected, "{name}");
    }
    let entity = good.replace("cs.example", "&xxe;");
    assert!(matches!(SharedParameters::read(entity.as_bytes(), 6), Err(ParametersError(Xml(_)))));
    for version in [0, 1, 7] {
        assert_eq!(SharedParameters::read(good.as_bytes(), version), Err(ParametersError(Version(version))));
    }
    // A later version's elements are not allowed in an earlier one.
    assert!(SharedParameters::read(good.as_bytes(), 5).is_err());
}

#[test]
fn anchors_that_break_the_schema() {
    use DocumentError::*;
    let good = String::from_utf8(anchor().write().unwrap()).unwrap();
    let cases: &[(&str, &str, &str, Option<DocumentError>)] = &[
        ("as it is", "", "", None),
        ("no certificate", "verificationCert", "otherCert", Some(Missing("verificationCert"))),
        ("no source", "source>", "sauce>", Some(Missing("source"))),
        ("a time without offset", "20.123Z", "20.123", Some(Value("generatedAt"))),
        ("no instance", "instanceIdentifier", "instance", Some(Missing("instanceIdentifier"))),
        ("an extension", "</ns3:", "<a/></ns3:", Some(Unexpected("a".into()))),
        (
            "an element out of order",
            "<generatedAt>",
            "<source/><generatedAt>",
            Some(Missing("instanceIdentifier")),
        ),
    ];
    for (name, from, to, expected) in cases {
        let document = good.replace(from, to);
        assert!(from.is_empty() || document != good, "{name}: nothing was changed");
        assert_eq!(Anchor::read(document.as_bytes()).err().map(|e| e.0), *expected, "{name}");
    }
    let error = Anchor::read(b"not XML").unwrap_err();
    assert_eq!(error.fault_code(), FaultCode::MalformedAnchor);
}

#[test]
fn the_configuration_directory_comes_from_the_first_plain_http_source() {
    let of = |urls: &[&str]| {
        let sources =
            urls.iter().map(|url| AnchorSource { url: (*url).into(), verification_certs: vec![] }).collect();
        Anchor { sources, ..anchor() }.directory_name().map(str::to_owned)
    };
    assert_eq!(anchor().directory_name(), Some("internalconf"));
    assert_eq!(of(&["http://proxy/a/conf", "http://b/internalconf"]), Some("a/conf".into()));
    assert_eq!(of(&["http://host", "http://b/externalconf"]), Some("externalconf".into()));
    assert_eq!(of(&["https://cs/internalconf"]), None);
}

const INNER: &str = "--in\r\n\
    Expire-date: 2026-01-02T03:14:05Z\r\n\
    Version: 6\r\n\
    \r\n\
    --in\r\n\
    Content-type: application/octet-stream\r\n\
    Content-transfer-encoding: base64\r\n\
    Content-identifier: SHARED-PARAMETERS; instance='XX'\r\n\
    Content-location: /V6/1/shared-params.xml\r\n\
    Hash-algorithm-id: http://www.w3.org/2001/04/xmlenc#sha512\r\n\
    \r\n\
    AQID\r\n\
    --in--\r\n";

fn document(inner: &str) -> String {
    format!(
        "Content-Type: multipart/related; charset=UTF-8; boundary=out\r\n\r\n--out\r\n\
         Content-Type: multipart/mixed; charset=UTF-8; boundary=in\r\n\r\n{inner}\r\n--out\r\n\
         Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\
         Signature-Algorithm-Id: urn:sig\r\n\
         Verification-certificate-hash: BAUG; hash-algorithm-id=\"urn:hash\"\r\n\r\nBwg=\r\n--out--\r\n"
    )
}

fn directory() -> Directory {
    Directory {
        expires: UnixTime::from_iso8601("2026-01-02T03:14:05Z").unwrap(),
        version: Some(6),
        parts: vec![Part {
            content_identifier: SHARED_PARAMETERS.into(),
            instance: "XX".into(),
            location: "/V6/1/shared-params.xml".into(),
            file_name: None,
            hash_algorithm_uri: "http://www.w3.org/2001/04/xmlenc#sha512".into(),
            hash: vec![1, 2, 3],
        }],
    }
}

#[test]
fn a_directory_reads_and_writes_as_it_is_laid_out_in_the_field() {
    let text = document(INNER);
    let signed = SignedDirectory::parse(text.as_bytes()).unwrap();
    assert_eq!(signed.signed, INNER.as_bytes());
    assert_eq!(signed.directory().unwrap(), directory());
    assert_eq!(directory().signed_bytes("in").unwrap(), INNER.as_bytes());
    assert_eq!(envelope("out", "in", INNER.as_bytes(), &signed.signature), text.as_bytes());
    let mut odd = directory();
    odd.parts[0].location = "/a\r\nContent-file-name: /etc/passwd".into();
    assert!(odd.signed_bytes("in").is_err());
}

/// Other writers' habits: what the signature covers stays the bytes as they came.
#[test]
fn directories_of_other_writers() {
    let lf = document(INNER).replace("\r\n", "\n");
    let signed = SignedDirectory::parse(lf.as_bytes()).unwrap();
    assert_eq!(signed.signed, INNER.replace("\r\n", "\n").as_bytes());
    assert_eq!(signed.directory().unwrap(), directory());

    let proxy = document(
        &INNER
            .replace("Expire-date", "expire-date")
            .replace("05Z", "05.123456Z")
            .replace("instance='XX'", "instance=\"XX\""),
    )
    .replacen("\r\n\r\n", "\n\n", 1)
    .replace("multipart/mixed;", "Multipart/mixed; type=\"a;b\";")
    .replace("hash-algorithm-id=\"urn:hash\"", "hash-algorithm-id=urn:hash")
    .replace("Signature-Algorithm-Id", "signature-algorithm-id")
    .replace("--out\r\n", "--out \t\r\n");
    let signed = SignedDirectory::parse(proxy.as_bytes()).unwrap();
    assert_eq!(signed.signature.cert_hash_algorithm_uri, "urn:hash");
    let read = signed.directory().unwrap();
    assert_eq!(read.parts, directory().parts);
    assert_eq!(read.expires.as_secs(), directory().expires.as_secs());

    // Without versions and closing delimiters, with a file name, and a boundary that another one starts with.
    let old = document(&INNER.replace("Version: 6\r\n", "").replace("--in--\r\n", ""))
        .replace("AQID", "AQID\r\n--inner")
        .replace("Content-location", "Content-file-name: my.xml\r\nContent-location")
        .replace("--out--\r\n", "");
    let read = SignedDirectory::parse(old.as_bytes()).unwrap().directory();
    assert_eq!(read, Err(DirectoryError::Mime("a hash is not base64")), "--inner is no delimiter");
    let old = old.replace("\r\n--inner", "");
    let read = SignedDirectory::parse(old.as_bytes()).unwrap().directory().unwrap();
    assert_eq!((read.version, read.parts[0].file_name.as_deref()), (None, Some("my.xml")));
}

#[test]
fn directories_that_are_refused() {
    use DirectoryError::*;
    let without = |field: &str| document(INNER).replace(field, "X");
    let cases = [
        ("empty", String::new(), NoSignedData),
        ("no MIME", "<html/>".into(), Mime("a header is broken")),
        ("no boundary", without("boundary=out"), NoSignedData),
        ("no parts", document(INNER).replace("--out", "--oot"), NoSignedData),
        ("cut before the signature", document(INNER).split_once("AQID").unwrap().0.into(), NoSignature),
        ("an undecodable signature", document(INNER).replace("Bwg=", "=Bwg"), SignatureEncoding),
        ("no signature algorithm", without("Signature-Algorithm-Id"), FieldMissing("Signature-Algorithm-Id")),
        (
            "a signature of another type",
            document(INNER).replace("octet-stream\r\nContent-Transfer", "xml\r\nContent-Transfer"),
            FieldValue("Content-Type"),
        ),
        (
            "no certificate hash",
            without("Verification-certificate-hash"),
            FieldMissing("Verification-certificate-hash"),
        ),
        (
            "no algorithm of the certificate hash",
            without("hash-algorithm-id"),
            ParameterMissing("Verification-certificate-hash", "hash-algorithm-id"),
        ),
        ("no expiry", without("Expire-date"), FieldMissing("Expire-date")),
        ("an expiry without offset", document(INNER).replace("05Z", "05"), FieldValue("Expire-date")),
        ("no location", without("Content-location"), FieldMissing("Content-location")),
        ("no hash algorithm", without("Hash-algorithm-id"), FieldMissing("Hash-algorithm-id")),
        ("no instance", without("instance='XX'"), ParameterMissing("Content-identifier", "instance")),
        (
            "a blank instance",
            document(INNER).replace("XX", ""),
            ParameterMissing("Content-identifier", "instance"),
        ),
        (
            "a transfer encoding",
            document(INNER).replace("encoding: base64", "encoding: 8bit"),
            FieldValue("Content-transfer-encoding"),
        ),
        (
            "a version that is no number",
            document(INNER).replace("Version: 6", "Version: six"),
            FieldValue("Version"),
        ),
        ("too large", " ".repeat(directory::MAX_BYTES + 1), Mime("it is too large")),
        (
            "too many parts",
            document(&INNER.replace("--in\r\n", &"--in\r\n\r\n".repeat(1100))),
            Mime("it has too many parts"),
        ),
        (
            "too many headers",
            document(&INNER.replace("Version: 6\r\n", &"a: b\r\n".repeat(100))),
            Mime("a part has too many headers"),
        ),
    ];
    for (name, text, expected) in cases {
        let found = SignedDirectory::parse(text.as_bytes()).and_then(|signed| signed.directory());
        assert_eq!(found, Err(expected), "{name}");
    }
}

#[test]
fn metadata_as_the_reference_writes_it() {
    let json = r#"{"contentIdentifier":"SHARED-PARAMETERS","instanceIdentifier":"EE","expirationDate":"2124-05-20T17:42:55Z","contentLocation":"/V6/1/shared-params.xml","configurationVersion":"6"}"#;
    let metadata = Metadata::read(json.as_bytes()).unwrap();
    assert_eq!(metadata.version(), Ok(6));
    assert_eq!(String::from_utf8(metadata.write()).unwrap(), json);
    assert_eq!(Metadata::read(b"{}").unwrap().version(), Ok(2));
    let odd = br#"{"expirationDate":"2124-05-20T17:42:55.123456+02:00","contentFileName":null,"new":[1]}"#;
    assert!(Metadata::read(odd).unwrap().expiration_date.is_some());
    for broken in ["", "[", r#"{"expirationDate":"tomorrow"}"#, r#"{"configurationVersion":6}"#] {
        assert!(Metadata::read(broken.as_bytes()).is_err(), "{broken}");
    }
    assert!(Metadata::read(br#"{"configurationVersion":"six"}"#).unwrap().version().is_err());
}

#[test]
fn folders_are_form_encoded() {
    let cases = [
        ("EE", "EE"),
        ("my test-1.x_*", "my+test-1.x_*"),
        ("a/b", "a%2Fb"),
        ("jäär", "j%C3%A4%C3%A4r"),
        ("..", "%2E%2E"),
        ("~", "%7E"),
    ];
    for (instance, folder) in cases {
        assert_eq!(folder_name(instance), folder);
    }
}

/// One byte changed, taken out or put in, anywhere.
fn mutate(document: &[u8], at: usize, with: u8, how: u8) -> Vec<u8> {
    let mut changed = document.to_vec();
    let at = at % changed.len();
    match how % 3 {
        0 => changed[at] = with,
        1 => drop(changed.remove(at)),
        _ => changed.insert(at, with),
    }
    changed
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(400))]

    /// Whatever comes is read or refused; what is read can be written and reads back as the same.
    #[test]
    fn damaged_documents_are_read_or_refused(at: usize, with: u8, how: u8) {
        let damaged = mutate(&shared().write(6).unwrap(), at, with, how);
        assert_reads_alike(&damaged, 6);
        if let Ok(read) = SharedParameters::read(&damaged, 6) {
            // Two members of one code are one in references, so only what can be told apart comes back.
            let written = read.write(6).unwrap();
            proptest::prop_assert_eq!(SharedParameters::read(&written, 6).unwrap().write(6).unwrap(), written);
        }
        if let Ok(read) = PrivateParameters::read(&mutate(&private().write(3).unwrap(), at, with, how), 3) {
            proptest::prop_assert_eq!(PrivateParameters::read(&read.write(3).unwrap(), 3).unwrap(), read);
        }
        if let Ok(read) = Anchor::read(&mutate(&anchor().write().unwrap(), at, with, how)) {
            proptest::prop_assert_eq!(Anchor::read(&read.write().unwrap()).unwrap(), read);
        }
        let document = mutate(document(INNER).as_bytes(), at, with, how);
        if let Ok(signed) = SignedDirectory::parse(&document)
            && let Ok(read) = signed.directory()
        {
            proptest::prop_assert!(document.windows(signed.signed.len()).any(|window| window == signed.signed));
            proptest::prop_assert!(read.parts.len() <= 1);
        }
    }

    /// Registries of any shape come back as they were written, through windows of any size.
    #[test]
    fn registries_come_back_as_they_were_written(registry in registry(), window in 1_usize..2_000) {
        let written = registry.write(6).unwrap();
        proptest::prop_assert_eq!(SharedParameters::read_by_windows(&written, 6, window).unwrap(), registry);
    }

    #[test]
    fn noise_is_refused(noise in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..2000)) {
        proptest::prop_assert!(SharedParameters::read(&noise, 6).is_err());
        proptest::prop_assert!(Anchor::read(&noise).is_err());
        proptest::prop_assert!(SignedDirectory::parse(&noise).is_err());
        let _ = Metadata::read(&noise);
    }
}

/// Up to 20 members, each with up to 4 subsystems, on up to 8 servers, in up to 3 groups.
fn registry() -> impl proptest::strategy::Strategy<Value = SharedParameters> {
    use proptest::collection::vec;
    use proptest::prelude::*;
    let member = (0..3_usize, "[ -~ä]{0,12}", vec(proptest::option::of("[a-c&<é]{1,6}"), 0..4));
    let server =
        (any::<usize>(), proptest::option::of("[a-z.]{1,9}"), vec(any::<usize>(), 0..9), any::<u8>());
    let lists = (vec(member, 0..20), vec(server, 0..8), vec(vec(any::<usize>(), 0..9), 0..3));
    lists.prop_map(|(members, servers, groups)| {
        let member =
            |(number, (class, name, subsystems)): (usize, (usize, String, Vec<Option<String>>))| Member {
                id: MemberId::new("XX", ["GOV", "COM", "NGO"][class], number.to_string()),
                class_description: "a class".into(),
                name,
                subsystems: subsystems
                    .into_iter()
                    .enumerate()
                    .map(|(n, name)| (format!("sub-{n}"), name))
                    .collect(),
            };
        let members: Vec<Member> = members.into_iter().enumerate().map(member).collect();
        let all: Vec<ClientId> = members.iter().flat_map(clients_of).collect();
        let some = |numbers: Vec<usize>| {
            numbers.into_iter().filter_map(|at| all.get(at % all.len().max(1)).cloned()).collect::<Vec<_>>()
        };
        let server = |(number, (owner, address, clients, bits)): (usize, (usize, _, _, u8))| {
            let owner = members.get(owner % members.len().max(1))?.id.clone();
            Some(SecurityServer {
                id: ServerId { owner, code: format!("ss-{number}") },
                address,
                auth_cert_hashes: (0..bits % 3).map(|n| vec![bits, n]).collect(),
                clients: some(clients),
                maintenance: (bits > 128).then(|| (bits > 192).then(|| "soon".to_owned())),
            })
        };
        let group = |(number, members): (usize, Vec<usize>)| GlobalGroup {
            id: GlobalGroupId { instance: "XX".into(), code: format!("g{number}") },
            description: "a group".into(),
            members: some(members),
        };
        let servers = servers.into_iter().enumerate().filter_map(server).collect();
        let groups = groups.into_iter().enumerate().map(group).collect();
        SharedParameters { members, servers, groups, ..shared() }
    })
}

fn clients_of(member: &Member) -> Vec<ClientId> {
    let subsystems = member.subsystems.iter().map(|(code, _)| member.id.clone().subsystem(code.as_str()));
    std::iter::once(member.id.clone().client()).chain(subsystems).collect()
}
