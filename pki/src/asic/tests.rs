//! What is written, and what is refused before anything is verified.

use std::io::{Cursor, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zip::write::SimpleFileOptions;
use zip::{ZipArchive, ZipWriter};

use super::*;
use crate::xades;

const TIME: UnixTime = UnixTime(1_795_285_932_700);

fn content<'a>(attachments: &'a [&'a [u8]]) -> Content<'a> {
    Content {
        message: b"GET\r\n/r1/DEV\r\n",
        signature: b"<signature/>",
        signature_chain: Some((b"<result/>", b"<chain/>")),
        batch_timestamp: Some((b"<ts-result/>", b"<ts-chain/>", b"token")),
        attachments: attachments.iter().map(|data| Some(Attachment::Bytes(data))).collect(),
        time: TIME,
    }
}

fn written(content: Content<'_>) -> ZipArchive<Cursor<Vec<u8>>> {
    let mut out = Cursor::new(Vec::new());
    write(content, &mut out).expect("memory takes it");
    ZipArchive::new(out).expect("it is a ZIP")
}

fn names(archive: &mut ZipArchive<Cursor<Vec<u8>>>) -> Vec<String> {
    (0..archive.len())
        .map(|index| archive.by_index(index).expect("it is there").name().expect("UTF-8").into_owned())
        .collect()
}

fn text(archive: &mut ZipArchive<Cursor<Vec<u8>>>, name: &str) -> String {
    let mut text = String::new();
    archive.by_name(name).expect("it is there").read_to_string(&mut text).expect("it is text");
    text
}

#[test]
fn a_full_container_has_every_entry_in_order() {
    let mut archive = written(content(&[b"one", b"two"]));
    assert_eq!(archive.comment(), b"mimetype=application/vnd.etsi.asic-e+zip");
    assert_eq!(
        names(&mut archive),
        [
            "mimetype",
            "message.xml",
            "META-INF/signatures.xml",
            "sig-hashchainresult.xml",
            "sig-hashchain.xml",
            "ts-hashchainresult.xml",
            "ts-hashchain.xml",
            "META-INF/manifest.xml",
            "META-INF/ASiCManifest.xml",
            "META-INF/timestamp.tst",
            "attachment1",
            "attachment2",
        ]
    );
    for index in 0..archive.len() {
        let entry = archive.by_index(index).expect("it is there");
        assert_eq!(entry.compression(), zip::CompressionMethod::Deflated);
        let modified = entry.last_modified().expect("it has a time");
        assert_eq!(modified.to_string(), "2026-11-21 18:32:12");
    }
    // The extended timestamp, before the data and in the directory.
    let extra = [0x55, 0x54, 5, 0, 1, 0xAC, 0xE3, 1, 0x6B];
    let bytes = archive.clone().into_inner().into_inner();
    assert_eq!(bytes.windows(extra.len()).filter(|window| *window == extra).count(), 2 * archive.len());
    assert_eq!(text(&mut archive, "mimetype"), MEDIA_TYPE);
    assert_eq!(text(&mut archive, "attachment2"), "two");
    let manifest = text(&mut archive, "META-INF/manifest.xml");
    for path in ["/", "message.xml", "sig-hashchain.xml", "ts-hashchainresult.xml", "attachment2"] {
        assert!(manifest.contains(&format!("manifest:full-path=\"{path}\"/>")), "{path} in {manifest}");
    }
    assert!(!manifest.contains("META-INF") && !manifest.contains("\"mimetype\""), "{manifest}");
    let digest = crate::digest::DigestAlgorithm::Sha512.digest(b"<ts-result/>").value;
    let asic_manifest = text(&mut archive, "META-INF/ASiCManifest.xml");
    assert!(asic_manifest.contains("http://uri.etsi.org/2918/v1.2.1#"), "{asic_manifest}");
    assert!(
        asic_manifest.contains(&format!(">{}</ds:DigestValue>", STANDARD.encode(digest))),
        "{asic_manifest}"
    );
}

#[test]
fn a_plain_container_has_only_what_belongs_to_it() {
    let mut archive = written(Content { signature_chain: None, batch_timestamp: None, ..content(&[]) });
    assert_eq!(
        names(&mut archive),
        ["mimetype", "message.xml", "META-INF/signatures.xml", "META-INF/manifest.xml"]
    );
}

/// Whatever came before, in whichever order, a container holds its own documents.
#[test]
fn a_writer_of_many_writes_what_one_for_each_would() {
    let long = "<a>repeated</a>".repeat(9000);
    let documents: Vec<String> = (0..40)
        .map(|number| match number % 4 {
            0 => format!("<signature>{number}</signature>"),
            1 => "<signature>the same</signature>".to_owned(),
            2 => long.clone(),
            _ => String::new(),
        })
        .collect();
    let mut writer = Writer::default();
    for (number, document) in documents.iter().enumerate() {
        let attachments = [&b"one"[..], long.as_bytes()];
        let made = || Content {
            signature: document.as_bytes(),
            batch_timestamp: Some((document.as_bytes(), b"<ts-chain/>", b"\x30\x80token")),
            signature_chain: (number % 3 == 0).then_some((document.as_bytes(), &b"<chain/>"[..])),
            ..content(&attachments)
        };
        let mut together = Cursor::new(Vec::new());
        writer.write(made(), &mut together).expect("memory takes it");
        let (mut together, mut alone) = (ZipArchive::new(together).expect("it is a ZIP"), written(made()));
        let (expected, names) = (names(&mut alone), names(&mut together));
        assert_eq!(names, expected);
        for name in expected.iter().filter(|name| *name != "META-INF/timestamp.tst") {
            assert_eq!(text(&mut together, name), text(&mut alone, name), "{name} of {number}");
        }
        assert_eq!(text(&mut together, "META-INF/signatures.xml"), *document);
    }
}

#[test]
fn large_attachments_stream() {
    struct Endless(u64);
    impl Read for Endless {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let count = buffer.len().min(usize::try_from(self.0).unwrap_or(usize::MAX));
            buffer[..count].fill(b'x');
            self.0 -= count as u64;
            Ok(count)
        }
    }
    let size = 64 << 20;
    let mut out = Cursor::new(Vec::new());
    write(
        Content { attachments: vec![Some(Attachment::Reader(Box::new(Endless(size))))], ..content(&[]) },
        &mut out,
    )
    .expect("memory takes it");
    assert!(out.get_ref().len() < 1 << 20, "it was deflated on its way");
    let mut archive = ZipArchive::new(out).expect("it is a ZIP");
    assert_eq!(archive.by_name("attachment1").expect("it is there").size(), size);
}

fn zip_of(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, data) in entries {
        if name.ends_with('/') {
            zip.add_directory(*name, SimpleFileOptions::default()).expect("it is added");
        } else {
            zip.start_file(*name, SimpleFileOptions::default()).expect("it starts");
            zip.write_all(data).expect("memory takes it");
        }
    }
    zip.finish().expect("it ends").into_inner()
}

fn open_code(container: &[u8]) -> String {
    match Container::open(Cursor::new(container)) {
        Ok(_) => "opened".to_owned(),
        Err(rejection) => {
            assert_eq!(rejection.step, "the container holds what it must", "{rejection}");
            rejection.code
        }
    }
}

#[test]
fn opening_asks_for_the_entries_in_the_order_of_the_reference() {
    type Entry<'a> = (&'a str, &'a [u8]);
    let mime: Entry<'_> = ("mimetype", MEDIA_TYPE.as_bytes());
    let message: Entry<'_> = ("message.xml", b"m");
    let signature: Entry<'_> = ("META-INF/signatures.xml", b"s");
    let cases: [(&str, &[Entry<'_>]); 14] = [
        ("opened", &[mime, message, signature]),
        ("opened", &[("META-INF/", b""), mime, message, signature, ("unknown", b"x"), ("attachment1", b"")]),
        ("opened", &[("mimetype", b"Application/vnd.etsi.ASiC-e+zip"), message, signature]),
        ("asic_mime_type_not_found", &[message, signature]),
        ("asic_mime_type_not_found", &[("mimetype", b" \n"), message, signature]),
        ("asic_invalid_mime_type", &[("mimetype", b"application/zip"), message, signature]),
        ("asic_message_not_found", &[mime, signature]),
        ("asic_message_not_found", &[mime, ("Message.xml", b"m"), signature]),
        ("asic_signature_not_found", &[mime, message, ("META-INF/signatures.xml", b"")]),
        ("asic_hash_chain_result_not_found", &[mime, message, signature, ("sig-hashchain.xml", b"c")]),
        ("asic_hash_chain_not_found", &[mime, message, signature, ("sig-hashchainresult.xml", b"r")]),
        ("asic_timestamp_not_found", &[mime, message, signature, ("META-INF/timestamp.tst", b" ")]),
        (
            "asic_hash_chain_not_found",
            &[mime, message, signature, ("ts-hashchainresult.xml", b"r"), ("ts-hashchain.xml", b" ")],
        ),
        ("asic_manifest_not_found", &[mime, message, signature, ("META-INF/ASiCManifest.xml", b"")]),
    ];
    for (expected, entries) in cases {
        let listed: Vec<_> = entries.iter().map(|(name, _)| name).collect();
        assert_eq!(open_code(&zip_of(entries)), expected, "{listed:?}");
    }
}

#[test]
fn opening_refuses_what_is_no_sound_zip() {
    let good = zip_of(&[
        ("mimetype", MEDIA_TYPE.as_bytes()),
        ("message.xml", b"m"),
        ("META-INF/signatures.xml", b"s"),
    ]);
    assert_eq!(open_code(&good), "opened");
    assert_eq!(open_code(b""), "asic_mime_type_not_found");
    assert_eq!(open_code(b"no archive at all"), "asic_mime_type_not_found");
    assert_eq!(open_code(&good[..good.len() / 2]), "asic_mime_type_not_found");
    assert_ne!(open_code(&[b"something before", good.as_slice()].concat()), "opened");

    // Two entries of one name: readers from the start and from the directory would see different ones.
    let twice = zip_of(&[
        ("mimetype", MEDIA_TYPE.as_bytes()),
        ("message.xml", b"m"),
        ("message.xmL", b"other"),
        ("META-INF/signatures.xml", b"s"),
    ]);
    assert_eq!(open_code(&replace(&twice, b"message.xmL", b"message.xml")), "asic_invalid_container");
    // A name in the directory that differs from the one before the data.
    let mut differing = good.clone();
    let at = find(&good, b"message.xml").expect("it is there");
    differing[at] = b'M';
    assert_eq!(open_code(&differing), "asic_invalid_container");
    // Data that does not have its checksum.
    let stored = {
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        let options = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
        for (name, data) in [
            ("mimetype", MEDIA_TYPE.as_bytes()),
            ("message.xml", b"intact"),
            ("META-INF/signatures.xml", b"s"),
        ] {
            zip.start_file(name, options).expect("it starts");
            zip.write_all(data).expect("memory takes it");
        }
        zip.finish().expect("it ends").into_inner()
    };
    assert_eq!(open_code(&stored), "opened");
    assert_eq!(open_code(&replace(&stored, b"intact", b"exacts")), "io_error");
}

#[test]
fn entries_are_bounded() {
    let large = vec![b' '; xades::MAX_BYTES + 1];
    let container = zip_of(&[
        ("mimetype", MEDIA_TYPE.as_bytes()),
        ("message.xml", b"m"),
        ("META-INF/signatures.xml", &large),
    ]);
    assert!(container.len() < 1 << 16, "it is a small file");
    assert_eq!(open_code(&container), "asic_invalid_container");
}

fn find(data: &[u8], what: &[u8]) -> Option<usize> {
    data.windows(what.len()).position(|window| window == what)
}

fn replace(data: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut out = data.to_vec();
    while let Some(at) = find(&out, from) {
        out[at..at + from.len()].copy_from_slice(to);
    }
    out
}
