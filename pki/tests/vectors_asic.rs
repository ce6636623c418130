//! Conformance vectors, containers: verdict and code of every one, those inside recorded archives too, and our own writing of them.

mod recorded;

use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use std::path::Path;

use pki::asic::{self, Attachment, Container, Content};
use pki::globalconf::GlobalConf;
use proto::soap::{self, Soap};
use proto::time::UnixTime;
use proto::transport::Direction;
use recorded::{Recorded, load_conf, read_file};
use serde_json::Value;
use testkit::vectors::{self, Tally};
use zip::ZipArchive;

/// Code of the verdict, empty when accepted. `level` is how far the case goes: `open` or `verify`.
fn verdict(container: &[u8], level: &str, conf: &GlobalConf) -> String {
    let opened = Container::open(Cursor::new(container));
    let outcome = match level {
        "open" => opened.map(drop),
        _ => opened.and_then(|container| container.verify(conf)).map(drop),
    };
    outcome.map_or_else(|rejection| rejection.code, |()| String::new())
}

fn judge(tally: &mut Tally, file: &Value, container: &[u8], conf: &GlobalConf) {
    let name = file["file"].as_str().expect("an entry names its file");
    let expect = &file["expect"];
    let level = expect["level"].as_str().unwrap_or("verify");
    match expect["verdict"].as_str() {
        Some("accept") => tally.equal(name, verdict(container, level, conf), String::new()),
        Some("reject") => {
            let code = expect["code"].as_str().expect("a rejection has a code").to_owned();
            tally.equal(name, verdict(container, level, conf), code);
        }
        _ => tally.not_applicable("a sample without a verdict"),
    }
}

#[test]
fn upstream_containers() {
    let Some((folder, expected)) = vectors::area("asic") else { return };
    let conf = load_conf(&folder.join("../globalconf/params/globalconf_good2_v3"));
    let mut tally = Tally::new("asic");
    for file in expected["files"].as_array().expect("the area has files") {
        let name = file["file"].as_str().expect("an entry names its file");
        judge(&mut tally, file, &read_file(&folder.join(name)), &conf);
    }
    tally.finish();
}

#[test]
fn recorded_containers() {
    for (area, environment) in [("asic", "env-rsa"), ("ec-asic", "env-ec")] {
        let Some((folder, expected)) = vectors::area(&format!("captures/{area}")) else { return };
        let conf = load_conf(&folder.join(format!("../{environment}/globalconf")));
        let mut tally = Tally::new(&format!("captures/{area}"));
        for file in expected["files"].as_array().expect("the area has files") {
            let name = file["file"].as_str().expect("an entry names its file");
            let container = read_file(&folder.join(name));
            judge(&mut tally, file, &container, &conf);
            tally.ok(format!("{name} (written again)"), write_again(&container));
        }
        tally.finish();
    }
}

/// The servers' archives: ZIPs of containers, all from messages that were accepted.
#[test]
fn archived_containers() {
    let Some((folder, _)) = vectors::area("captures/asic") else { return };
    let mut tally = Tally::new("captures/messagelog (containers)");
    let conf = load_conf(&folder.join("../env-rsa/globalconf"));
    let odd = sent_as_a_request(&folder.join("../errors-soap/response-as-request/request.http"));
    for archive in archives(&folder.join("../messagelog")) {
        for (name, container) in entries(&read_file(&archive)) {
            if !name.ends_with(".asice") {
                continue;
            }
            match asic::verify(Cursor::new(&container), &conf) {
                Ok(report) => tally.equal(&name, name.contains(&file_safe(&report.message_id)), true),
                // The document says that the provider sent it, who did not sign it.
                Err(error) if name.contains(&odd) => {
                    tally.equal(&name, error.code.as_str(), "incorrect_certificate")
                }
                Err(error) => tally.fail(&name, error),
            }
            tally.ok(format!("{name} (written again)"), write_again(&container));
        }
    }
    tally.finish();
}

/// Message id of the recorded answer that an information system sent as a request.
fn sent_as_a_request(http: &Path) -> String {
    let message = Recorded::read(&read_file(http), Direction::Request).expect("a request reads").message;
    match soap::parse(message, "text/xml").expect("it is SOAP") {
        Soap::Message(message) => message.header.id,
        Soap::Fault(..) => panic!("it is no fault"),
    }
}

fn archives(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for server in std::fs::read_dir(folder).expect("the folder is there") {
        let server = server.expect("its entry reads").path();
        if server.is_dir() {
            let files = std::fs::read_dir(server).expect("the folder is there");
            found.extend(files.map(|file| file.expect("its entry reads").path()));
        }
    }
    found.retain(|path| path.extension().is_some_and(|extension| extension == "zip"));
    found.sort();
    found
}

/// As archives write a message id into a name.
fn file_safe(id: &str) -> String {
    id.bytes()
        .map(|byte| {
            if byte.is_ascii_alphanumeric() || b"-_.*".contains(&byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}

fn entries(zip: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut archive = ZipArchive::new(Cursor::new(zip)).expect("it is a ZIP");
    (0..archive.len())
        .map(|index| {
            let mut entry = archive.by_index(index).expect("it is there");
            let mut data = Vec::new();
            entry.read_to_end(&mut data).expect("it inflates");
            (entry.name().expect("a name in UTF-8").into_owned(), data)
        })
        .collect()
}

/// The container from its own contents by our hand: the same entries in the same order with the same bytes, the manifest's lines in
/// any order.
fn write_again(container: &[u8]) -> Result<(), String> {
    let original = entries(container);
    let by_name: BTreeMap<&str, &[u8]> =
        original.iter().map(|(name, data)| (name.as_str(), data.as_slice())).collect();
    let get = |name: &str| by_name.get(name).copied();
    let attachments = original.iter().filter(|(name, _)| name.starts_with("attachment"));
    let content = Content {
        message: get("message.xml").expect("a message"),
        signature: get("META-INF/signatures.xml").expect("a signature"),
        signature_chain: get("sig-hashchainresult.xml").zip(get("sig-hashchain.xml")),
        batch_timestamp: get("ts-hashchainresult.xml").map(|result| {
            let chain = get("ts-hashchain.xml").expect("a result comes with its chain");
            (result, chain, get("META-INF/timestamp.tst").expect("and its token"))
        }),
        attachments: attachments.map(|(_, data)| Some(Attachment::Bytes(data))).collect(),
        time: UnixTime::from_secs(1_795_285_932),
    };
    let mut out = Cursor::new(Vec::new());
    asic::write(content, &mut out).map_err(|error| error.to_string())?;
    let written = entries(out.get_ref());
    let sorted = |entries: &[(String, Vec<u8>)]| -> Vec<(String, Vec<u8>)> {
        let lines = |data: &[u8]| {
            let mut lines: Vec<_> = data.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
            lines.sort();
            lines.concat()
        };
        let entry = |(name, data): &(String, Vec<u8>)| {
            (name.clone(), if name == "META-INF/manifest.xml" { lines(data) } else { data.clone() })
        };
        entries.iter().map(entry).collect()
    };
    if sorted(&written) == sorted(&original) { Ok(()) } else { Err("it differs".to_owned()) }
}

/// No byte of a container that a proof rests on can be changed unnoticed.
#[test]
fn a_changed_entry_is_refused() {
    let Some((folder, _)) = vectors::area("captures/asic") else { return };
    let conf = load_conf(&folder.join("../env-rsa/globalconf"));
    let container = read_file(&folder.join("batched-rest-post-consumer-request.asice"));
    let report = asic::verify(Cursor::new(&container), &conf).expect("the recorded container is good");
    let original = entries(&container);
    let mut state = 0x9E37_79B9_u32;
    for (index, (name, data)) in original.iter().enumerate() {
        if name == "mimetype" || name.ends_with("anifest.xml") {
            continue; // Nothing rests on the manifests; the type is compared without case.
        }
        for _ in 0..testkit::tools::rounds(40, 2000) {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let at = state as usize % data.len();
            let mut changed = original.clone();
            changed[index].1[at] ^= 1 << (state >> 29);
            if let Ok(other) = asic::verify(Cursor::new(zip_of(&changed)), &conf) {
                // It hit something without meaning: white space between elements, a certificate beside a token.
                assert!(name.starts_with("META-INF/") || name.ends_with("chain.xml"), "{name} at {at}");
                assert_eq!((&other.signer, other.timestamped_at), (&report.signer, report.timestamped_at));
                assert_eq!((&other.cert, other.signed_at), (&report.cert, report.signed_at));
                assert_eq!((&other.tsa, other.ocsp_at), (&report.tsa, report.ocsp_at));
            }
        }
    }
}

fn zip_of(entries: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, data) in entries {
        zip.start_file(name, zip::write::SimpleFileOptions::default()).expect("it starts");
        std::io::Write::write_all(&mut zip, data).expect("memory takes it");
    }
    zip.finish().expect("it ends").into_inner()
}
