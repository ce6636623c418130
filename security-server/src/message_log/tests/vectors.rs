//! Messages that stock servers signed, logged and stamped by us: our containers of them must verify under their configuration.
use std::io::{Cursor, Read};

use pki::asic;
use pki::cert::Certificate;
use pki::globalconf::load_directory;
use pki::key::PrivateKey;
use testkit::vectors::{self, Tally};

use super::stamps::{Tsa, knows, open_knowing, run};
use super::*;

/// A recorded container, taken apart.
struct Recorded {
    file: String,
    parts: std::collections::HashMap<String, Bytes>,
}

impl Recorded {
    fn open(folder: &Path, file: &str) -> Self {
        let bytes = std::fs::read(folder.join(file)).unwrap();
        let mut zip = zip::ZipArchive::new(Cursor::new(bytes)).unwrap();
        let mut parts = std::collections::HashMap::new();
        for index in 0..zip.len() {
            let mut entry = zip.by_index(index).unwrap();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            parts.insert(entry.name().unwrap().into_owned(), content.into());
        }
        Self { file: file.to_owned(), parts }
    }

    fn part(&self, name: &str) -> Option<Bytes> {
        self.parts.get(name).cloned()
    }

    /// As the server had it before it was stamped.
    fn entry(&self, number: u64) -> Entry {
        let signature = self.part("META-INF/signatures.xml").unwrap();
        let chain = self.part("sig-hashchainresult.xml").zip(self.part("sig-hashchain.xml"));
        let body = self.part("attachment1").into_iter().map(Stored::from).collect();
        Entry {
            message: self.part("message.xml").unwrap(),
            hash_chain: chain,
            ..entry(number, &without_stamp(&signature), body)
        }
    }
}

/// A single stamp stands in the unsigned part of the document.
fn without_stamp(signature: &Bytes) -> Bytes {
    let text = std::str::from_utf8(signature).unwrap();
    let name = "SignatureTimeStamp";
    let Some(inside) = text.find(name) else { return signature.clone() };
    let start = text[..inside].rfind('<').unwrap();
    let last = text.rfind(name).unwrap();
    let end = last + text[last..].find('>').unwrap() + 1;
    format!("{}{}", &text[..start], &text[end..]).into()
}

async fn check_area(area: &str, environment: &str) {
    let Some((folder, expected)) = vectors::area(area) else { return };
    let environment = folder.join("..").join(environment);
    let conf = load_directory(&environment.join("globalconf")).unwrap();
    let at = UnixTime::from_iso8601(expected["time"].as_str().unwrap().split(';').next().unwrap()).unwrap();
    let pki = |name: &str| std::fs::read(environment.join("pki").join(name)).unwrap();
    let (cert, key) =
        (Certificate::parse(&pki("tsa.der")).unwrap(), PrivateKey::from_pem(&pki("tsa.key.pem")).unwrap());
    let tsa = Tsa::start_with(cert, key, at).await;
    let accepted =
        expected["files"].as_array().unwrap().iter().filter(|f| f["expect"]["verdict"] == "accept");
    let recorded: Vec<_> = accepted.map(|f| Recorded::open(&folder, f["file"].as_str().unwrap())).collect();
    for alone in [false, true] {
        let mut tally =
            Tally::new(&format!("{area} logged and stamped {}", if alone { "alone" } else { "in a batch" }));
        let dir = tempfile::tempdir().unwrap();
        let (log, timestamper, _) = open_knowing(dir.path(), knows(&[&tsa]), settings());
        let _shutdown = run(timestamper);
        for (number, recorded) in (1..).zip(&recorded) {
            let id = log.append(recorded.entry(number)).await.unwrap().id;
            if alone {
                log.stamp_now(Some(id)).await.unwrap();
            }
        }
        log.stamp_now(None).await.unwrap();
        log.indexed().await;
        for (number, recorded) in (1..).zip(&recorded) {
            let record = log.read(RecordId(number)).unwrap();
            let mut container = Cursor::new(Vec::new());
            record.write_container(&mut container).unwrap();
            let verdict =
                asic::verify(&mut container, &conf).map(|report| assert_eq!(report.timestamped_at, at));
            tally.ok(&recorded.file, verdict);
        }
        tally.finish();
    }
}

#[tokio::test]
async fn containers_of_recorded_rsa_messages_verify() {
    check_area("captures/asic", "env-rsa").await;
}

#[tokio::test]
async fn containers_of_recorded_ec_messages_verify() {
    check_area("captures/ec-asic", "env-ec").await;
}
