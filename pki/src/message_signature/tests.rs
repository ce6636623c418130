//! Which parts a signature covers. Values, certificates and trust are held against recorded messages in `tests/`.

use super::*;
use crate::digest::DigestAlgorithm;
use crate::hash_chain::{MESSAGE_URI, Parts, Tree};
use crate::issue::{self, Role};
use crate::key::{KeyKind, PrivateKey};
use crate::xades::Template;

const SHA512: DigestAlgorithm = DigestAlgorithm::Sha512;

fn parts(contents: &[(&str, &str)]) -> Parts {
    contents.iter().map(|(uri, data)| ((*uri).to_owned(), SHA512.digest(data.as_bytes()))).collect()
}

/// A document with these references; its value is of no matter here.
fn document(references: &[(&str, DigestValue)]) -> Document {
    let key = PrivateKey::generate(KeyKind::P256).expect("a key is made");
    let template = issue::Template {
        subject: &vec![(crate::name::COMMON_NAME, "signer".to_owned())],
        role: Role::Signing,
        serial: &[1],
        not_before: UnixTime::from_secs(1_700_000_000),
        not_after: UnixTime::from_secs(2_300_000_000),
        dns_names: &[],
        addresses: &[],
        ocsp_url: None,
    };
    let cert = issue::self_signed(&template, &key).expect("a certificate is made");
    let template = Template::new(&cert, &[], &[vec![1]], key.default_algorithm());
    let (first, rest) = references.split_first().expect("a reference");
    let xml = template.prepare(first.0, &first.1, UnixTime(0)).finish(&[1]);
    let mut document = Document::parse(&xml).expect("our own document parses");
    document.references.extend(rest.iter().map(|(uri, digest)| ((*uri).to_owned(), digest.clone())));
    document
}

fn evidence(hash_chain: Option<(&'static [u8], &'static [u8])>) -> Evidence<'static> {
    Evidence { signature: b"", hash_chain }
}

fn leak(data: Vec<u8>) -> &'static [u8] {
    data.leak()
}

/// Chain of `parts` beside another message.
fn chain(parts: &Parts) -> (&'static [u8], &'static [u8]) {
    let tree =
        Tree::build(SHA512, SIGNATURE_CHAIN_URI, vec![parts.clone(), self::parts(&[(MESSAGE_URI, "other")])]);
    (leak(tree.result_xml().to_vec()), leak(tree.chain_xml(0)))
}

fn code(outcome: Result<Outcome, VerifyError>) -> String {
    let path = outcome.map_or_else(|error| error.fault_path(), |_| vec![]);
    path.iter().map(|part| part.text(proto::fault::Style::Snake)).collect::<Vec<_>>().join(".")
}

#[test]
fn direct_references_cover_exactly_the_parts() {
    let digest = |data: &str| SHA512.digest(data.as_bytes());
    let message = (MESSAGE_URI, digest("m"));
    let attachment = ("/attachment1", digest("a"));
    let only_message = std::slice::from_ref(&message);
    let only_attachment = std::slice::from_ref(&attachment);
    let of_message = [(MESSAGE_URI, "m")];
    let of_both = [(MESSAGE_URI, "m"), ("/attachment1", "a")];
    let changed = [(MESSAGE_URI, "m"), ("/attachment1", "changed")];
    type Case<'a> = (&'a str, &'a [(&'a str, DigestValue)], &'a [(&'a str, &'a str)], &'a str);
    let cases: [Case<'_>; 7] = [
        ("one part", only_message, &of_message, ""),
        ("two parts", &[message.clone(), attachment.clone()], &of_both, ""),
        ("a part changed", &[message.clone(), attachment.clone()], &changed, "invalid_signature_value"),
        ("a part not covered", only_message, &of_both, "malformed_signature"),
        ("the message not covered", only_attachment, &of_both, "malformed_signature"),
        ("a part not there", &[message.clone(), attachment.clone()], &of_message, "internal_error"),
        ("something else", &[message.clone(), ("http://host/x", digest("x"))], &of_message, "internal_error"),
    ];
    for (name, references, given, expected) in cases {
        for allow_absent in [false, true] {
            let outcome = check_coverage(&document(references), evidence(None), &parts(given), allow_absent);
            assert_eq!(code(outcome), expected, "{name}");
        }
    }
}

#[test]
fn a_part_may_be_given_with_the_digest_the_signature_asks_for() {
    let message = DigestAlgorithm::Sha256.digest(b"m");
    let document = document(&[(MESSAGE_URI, message.clone())]);
    let mut given = parts(&[(MESSAGE_URI, "m")]);
    assert_eq!(code(check_coverage(&document, evidence(None), &given, false)), "invalid_signature_value");
    given.push((MESSAGE_URI.to_owned(), message));
    assert_eq!(code(check_coverage(&document, evidence(None), &given, false)), "");
}

#[test]
fn a_chain_covers_exactly_the_parts() {
    let both = parts(&[(MESSAGE_URI, "m"), ("/attachment1", "a")]);
    let (result, chain) = chain(&both);
    let by_chain = document(&[(SIGNATURE_RESULT_URI, SHA512.digest(result))]);
    let judge = |document: &Document, hash_chain, parts: &[(String, DigestValue)]| {
        code(check_coverage(document, evidence(hash_chain), parts, false))
    };
    let pair = Some((result, chain));
    assert_eq!(judge(&by_chain, pair, &both), "");
    assert_eq!(judge(&by_chain, pair, &both[..1]), "malformed_signature.invalid_reference");
    let three = [both.clone(), parts(&[("/attachment2", "b")])].concat();
    assert_eq!(judge(&by_chain, pair, &three), "malformed_signature.hashchain_unused_inputs");
    let changed = parts(&[(MESSAGE_URI, "m"), ("/attachment1", "changed")]);
    assert_eq!(judge(&by_chain, pair, &changed), "malformed_signature.invalid_hash_chain");
    assert_eq!(judge(&by_chain, None, &both), "internal_error", "the chain is missing");

    // The result is signed to the byte.
    let rewritten = leak([result, b"\n"].concat());
    assert_eq!(judge(&by_chain, Some((rewritten, chain)), &both), "invalid_signature_value");

    let direct = document(&[(MESSAGE_URI, both[0].1.clone())]);
    assert_eq!(judge(&direct, pair, &both[..1]), "malformed_signature", "a chain that covers nothing");
    let with_both =
        document(&[(SIGNATURE_RESULT_URI, SHA512.digest(result)), (MESSAGE_URI, both[0].1.clone())]);
    assert_eq!(judge(&with_both, pair, &both), "malformed_signature", "two ways at once");
}

/// In containers attachments may be missing from a chain's message, and old ones carry chains that nothing refers to.
#[test]
fn containers_are_judged_more_leniently() {
    let both = parts(&[(MESSAGE_URI, "m"), ("/attachment1", "a")]);
    let (result, chain) = chain(&both);
    let by_chain = document(&[(SIGNATURE_RESULT_URI, SHA512.digest(result))]);
    let pair = evidence(Some((result, chain)));
    let proven = check_coverage(&by_chain, pair, &both[..1], true).expect("the message is covered");
    assert_eq!(proven.by_digest, ["/attachment1"]);
    let direct = document(&[(MESSAGE_URI, both[0].1.clone())]);
    assert_eq!(check_coverage(&direct, pair, &both[..1], true), Ok(Outcome::default()));
    assert_eq!(
        code(check_coverage(&direct, pair, &both, true)),
        "malformed_signature",
        "nothing proves the attachment"
    );
}
