//! What it costs to archive a record: batches of four that share a signature document, one timestamp for thousands, as under full load.
//!
//! The documents are made up, and as long as those of a server with an RSA-2048 key: certificate and OCSP answer in Base64, a value
//! that differs. Logging and stamping are not in the figure; reading the log, making containers and writing the files are.

use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use host::clock::Clock;
use pki::digest::DigestAlgorithm;
use pki::hash_chain::{MESSAGE_URI, SIGNATURE_CHAIN_URI, Tree};
use security_server::message_log::keeper::Keeper;
use security_server::message_log::timestamper::Surroundings;
use security_server::message_log::{Direction, Entry};

use crate::containers::cpu_seconds;
use crate::log::{entry, noise, open, stamp};

/// Messages that share a signature.
const BATCH: u64 = 4;
/// Bytes of certificates and of an OCSP answer in a signature document, before Base64.
const TRUST_BYTES: [usize; 4] = [1100, 1100, 1000, 1800];

/// CPU microseconds a record, and bytes of archives a record.
pub(crate) async fn cost(records: u64, dir: &Path, tsa: Arc<dyn Surroundings>) -> anyhow::Result<(f64, f64)> {
    eprintln!("archiving {records} records");
    let (log, timestamper) = open(&dir.join("log"), tsa)?;
    for batch in 0..records / BATCH {
        let numbers = batch * BATCH..(batch + 1) * BATCH;
        let appended: Vec<_> = entries(numbers).into_iter().map(|entry| log.append(entry)).collect();
        for logged in futures_util::future::join_all(appended).await {
            logged?;
        }
    }
    stamp(&log, timestamper).await?;
    let mut keeper = Keeper::new(&log, Clock::System, &[])?;
    let began = cpu_seconds()?;
    let archived = keeper.archive(Clock::System.now(), None).await?;
    let cpu = cpu_seconds()? - began;
    log.close().await;
    drop((keeper, log));
    let mut bytes = 0;
    for file in std::fs::read_dir(dir.join("archive"))? {
        bytes += file?.metadata()?.len();
    }
    std::fs::remove_dir_all(dir)?;
    Ok((cpu * 1e6 / archived as f64, bytes as f64 / archived as f64))
}

/// The messages of one batch.
fn entries(numbers: std::ops::Range<u64>) -> Vec<Entry> {
    let messages: Vec<(u64, Bytes)> = numbers.map(|number| (number, message(number))).collect();
    let digest = |message: &Bytes| DigestAlgorithm::Sha512.digest(message);
    let parts = |message| vec![(MESSAGE_URI.to_owned(), digest(message))];
    let leaves = messages.iter().map(|(_, message)| parts(message)).collect();
    let tree = Tree::build(DigestAlgorithm::Sha512, SIGNATURE_CHAIN_URI, leaves);
    let result = Bytes::copy_from_slice(tree.result_xml());
    let signature = signature(&result);
    let made = messages.iter().enumerate().map(|(index, (number, message))| Entry {
        direction: if number % 2 == 0 { Direction::Request } else { Direction::Response },
        hash_chain: Some((result.clone(), tree.chain_xml(index).into())),
        parts: parts(message).into(),
        ..entry(*number, message, signature.clone())
    });
    made.collect()
}

fn message(number: u64) -> Bytes {
    format!(
        "GET\r\n/r1/DEV/GOV/5678/provider/service/residents/M-2019-0502\r\naccept:application/json\r\n\
         user-agent:information-system/1.0\r\nx-road-client:DEV/GOV/1234/consumer\r\nx-road-id:id-{number}\r\n\
         x-road-request-id:00000000-0000-0000-0000-{number:012}\r\nx-road-userid:EE38001010014\r\n"
    )
    .into()
}

/// As long as a signature document and like it, and no signature.
fn signature(result: &[u8]) -> Bytes {
    let digest = DigestAlgorithm::Sha512.digest(result).value;
    let trust = TRUST_BYTES.map(|bytes| STANDARD.encode(noise(bytes, bytes as u64)));
    let references: String = ["/sig-hashchainresult.xml", "#xades-signed-properties"]
        .iter()
        .map(|uri| {
            format!(
                "<ds:Reference Id=\"{uri}\" URI=\"{uri}\"><ds:Transforms><ds:Transform \
                 Algorithm=\"http://www.w3.org/2001/10/xml-exc-c14n#\"/></ds:Transforms><ds:DigestMethod \
                 Algorithm=\"http://www.w3.org/2001/04/xmlenc#sha512\"/><ds:DigestValue>{}</ds:DigestValue></ds:Reference>",
                STANDARD.encode(&digest)
            )
        })
        .collect();
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"no\"?><asic:XAdESSignatures \
         xmlns:asic=\"http://uri.etsi.org/02918/v1.2.1#\" xmlns:ds=\"http://www.w3.org/2000/09/xmldsig#\" \
         xmlns:xades=\"http://uri.etsi.org/01903/v1.3.2#\"><ds:Signature Id=\"signature\"><ds:SignedInfo>{references}\
         </ds:SignedInfo><ds:SignatureValue>{}</ds:SignatureValue><ds:KeyInfo><ds:X509Data><ds:X509Certificate>{}\
         </ds:X509Certificate></ds:X509Data></ds:KeyInfo><ds:Object><xades:QualifyingProperties Target=\"#signature\">\
         <xades:CertificateValues><xades:EncapsulatedX509Certificate>{}</xades:EncapsulatedX509Certificate>\
         <xades:EncapsulatedX509Certificate>{}</xades:EncapsulatedX509Certificate></xades:CertificateValues>\
         <xades:RevocationValues><xades:OCSPValues><xades:EncapsulatedOCSPValue>{}</xades:EncapsulatedOCSPValue>\
         </xades:OCSPValues></xades:RevocationValues></xades:QualifyingProperties></ds:Object></ds:Signature>\
         </asic:XAdESSignatures>",
        STANDARD.encode(digest.repeat(4)),
        trust[0],
        trust[1],
        trust[2],
        trust[3],
    )
    .into()
}
