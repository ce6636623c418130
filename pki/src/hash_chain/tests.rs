//! Trees against independently computed roots, every chain back to its result, and hostile chains.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;

use super::*;

const SHA512: DigestAlgorithm = DigestAlgorithm::Sha512;

fn leaves(count: usize) -> Vec<Parts> {
    (0..count).map(|n| parts(&[(MESSAGE_URI, &format!("leaf{n}"))])).collect()
}

fn parts(contents: &[(&str, &str)]) -> Parts {
    contents.iter().map(|(uri, data)| ((*uri).to_owned(), SHA512.digest(data.as_bytes()))).collect()
}

fn tree(messages: Vec<Parts>) -> Tree {
    Tree::build(SHA512, SIGNATURE_CHAIN_URI, messages)
}

/// What the chain of message `index` proves of `parts` by digest only.
fn check(tree: &Tree, index: usize, parts: &Parts) -> Result<Vec<String>, HashChainError> {
    let outcome = verify(tree.result_xml(), &tree.chain_xml(index), SIGNATURE_CHAIN_URI, parts, false);
    outcome.map(|outcome| outcome.by_digest)
}

/// Computed by another program.
#[test]
fn known_roots() {
    let cases = [
        (2, "mRyHphJdnLBDMvAi+xMiLdCUs5reH20WTLDqYJa9emMLB4Uu6wCZlwk0rhUPplKs84CXsZTmM7QiFkXxEHn9zw=="),
        (3, "T/bWK9ulWj6rGa4BD9BVUM90EpfvM3XTgT2R89yUy7rhgJKKQQPp5vO8xmUKJBwIIZEmrOUou3dIJLkl42NKJA=="),
        (5, "ngkI8MR1q9yMr9WCX0IZQskrmA56ci5kmwjr9g6ESkBNKOlrmKpxOEIlCKYg2YCrlz6lFo/lOaBCtUjF3+iGMw=="),
    ];
    for (count, root) in cases {
        let result = String::from_utf8(tree(leaves(count)).result_xml().to_vec()).expect("XML is UTF-8");
        assert!(result.contains(root), "{count} leaves: {result}");
    }
    let head = "POST\r\n/r1/DEV/COM/1234/Sub/svc/p?q=1\r\nContent-Type:application/json\r\n\
                X-Road-Client:DEV/COM/4321/Cli\r\nx-road-request-id:11111111-2222-3333-4444-555555555555\r\n\
                x-road-id:DEV-1\r\n";
    let one = tree(vec![parts(&[(MESSAGE_URI, head), ("/attachment1", "{\"a\":1}")])]);
    let result = String::from_utf8(one.result_xml().to_vec()).expect("XML is UTF-8");
    let root = "0NfpIRH3Pipegz/j30b2Bpcz7sLEyEGYNUALiD+QakLzDt10PWM6LPhE+aUAZzmkjJiR0DgWEjRwaoHmsuWYlQ==";
    assert!(result.contains(root), "{result}");
}

#[test]
fn a_list_of_digests_is_der() {
    let digest = DigestValue { algorithm: SHA512, value: vec![7; 64] };
    let one = digest_list([&digest]);
    assert_eq!(one.len(), 113);
    assert_eq!(one[..6], [0x30, 0x6F, 0x30, 0x6D, 0x04, 0x40]);
    assert_eq!(one[70..72], [0x0C, 0x27]);
    assert_eq!(one[111..], [0x30, 0x00]);
    assert_eq!(digest_list([&digest, &digest])[..5], [0x30, 0x81, 0xDE, 0x30, 0x6D]);
    let three_hundred = vec![&digest; 300];
    assert_eq!(digest_list(three_hundred)[..4], [0x30, 0x82, 0x82, 0x14]);
    for count in [0, 1, 2, 3, 300] {
        let mut list = DigestList::of(count);
        (0..count).for_each(|_| list.push(&digest));
        assert_eq!(list.digest(SHA512), SHA512.digest(&digest_list(vec![&digest; count])), "{count}");
    }
}

/// The definition, word for word, against what [`Tree`] does level by level.
#[test]
fn every_size_of_tree_is_the_recursive_one() {
    fn root(leaves: &[DigestValue]) -> DigestValue {
        if let [only] = leaves {
            return only.clone();
        }
        let half = leaves.len().next_power_of_two() / 2;
        let (left, right) = leaves.split_at(half);
        SHA512.digest(&digest_list([&root(left), &root(right)]))
    }
    for count in 2..=140 {
        let messages = leaves(count);
        let digests: Vec<_> = messages.iter().map(|parts| parts[0].1.clone()).collect();
        let expected = STANDARD.encode(root(&digests).value);
        let tree = tree(messages.clone());
        assert!(String::from_utf8_lossy(tree.result_xml()).contains(&expected), "{count} leaves");
        for (index, parts) in messages.iter().enumerate() {
            assert_eq!(check(&tree, index, parts), Ok(vec![]), "{index} of {count}");
        }
    }
}

/// Messages of one batch may be equal to the byte; where they stand is not.
#[test]
fn every_message_of_a_batch_has_its_own_position() {
    for count in [2, 3, 5, 16, 21] {
        let same = vec![parts(&[(MESSAGE_URI, "same")]); count];
        let tree = tree(same.clone());
        let mut positions: Vec<_> = (0..count)
            .map(|index| {
                let chain = tree.chain_xml(index);
                let outcome = verify(tree.result_xml(), &chain, SIGNATURE_CHAIN_URI, &same[index], false);
                outcome.expect("its own chain leads to it").position
            })
            .collect();
        positions.sort_unstable();
        positions.dedup();
        assert_eq!(positions.len(), count);
    }
}

#[test]
fn messages_with_one_part_and_with_several_share_a_tree() {
    let messages = vec![
        parts(&[(MESSAGE_URI, "a")]),
        parts(&[(MESSAGE_URI, "b"), ("/attachment1", "b1"), ("/attachment2", "b2")]),
        parts(&[(MESSAGE_URI, "c"), ("/attachment1", "c1")]),
    ];
    let tree = tree(messages.clone());
    for (index, own) in messages.iter().enumerate() {
        assert_eq!(check(&tree, index, own), Ok(vec![]));
        for (other, parts) in messages.iter().enumerate().filter(|(other, _)| *other != index) {
            assert!(check(&tree, index, parts).is_err(), "chain {index} must not prove message {other}");
        }
    }
    assert_eq!(tree.chain_xml(3), b"", "there is no such message");
    assert_eq!(Tree::build(SHA512, SIGNATURE_CHAIN_URI, vec![]).result_xml(), b"");
}

#[test]
fn parts_digested_otherwise_than_the_tree_say_so() {
    let mut message = parts(&[(MESSAGE_URI, "a")]);
    message.push(("/attachment1".to_owned(), DigestAlgorithm::Sha256.digest(b"b")));
    let tree = tree(vec![message.clone(), parts(&[(MESSAGE_URI, "c")])]);
    assert_eq!(check(&tree, 0, &message), Ok(vec![]));
    assert_eq!(check(&tree, 1, &parts(&[(MESSAGE_URI, "c")])), Ok(vec![]));
}

/// A chain of one step with this inside, and a result that fits `root`.
fn documents(root: &DigestValue, steps: &str) -> (String, String) {
    let names = format!("xmlns:ds=\"{DS}\" xmlns:h=\"{HASH_CHAIN}\"");
    let method = root.algorithm.uri();
    (
        format!(
            "<h:HashChainResult {names} URI=\"/sig-hashchain.xml#S\"><ds:DigestMethod Algorithm=\"{method}\"/>\
             <ds:DigestValue>{}</ds:DigestValue></h:HashChainResult>",
            STANDARD.encode(&root.value)
        ),
        format!("<h:HashChain {names}><h:DefaultDigestMethod Algorithm=\"{method}\"/>{steps}</h:HashChain>"),
    )
}

fn data_ref(uri: &str) -> String {
    format!("<h:DataRef URI=\"{uri}\"><ds:DigestValue>AA==</ds:DigestValue></h:DataRef>")
}

fn judge(root: &DigestValue, steps: &str, parts: &Parts) -> Result<Vec<String>, HashChainError> {
    let (result, chain) = documents(root, steps);
    verify(result.as_bytes(), chain.as_bytes(), SIGNATURE_CHAIN_URI, parts, false)
        .map(|outcome| outcome.by_digest)
}

fn code<T>(outcome: Result<T, HashChainError>) -> &'static str {
    match outcome {
        Ok(_) => "accepted",
        Err(error) => error.fault_code().text(proto::fault::Style::Snake),
    }
}

#[test]
fn our_own_digest_takes_the_place_of_the_chains() {
    let message = parts(&[(MESSAGE_URI, "a")]);
    let root = SHA512.digest(&digest_list([&message[0].1]));
    let step = format!("<h:HashStep id=\"S\">{}</h:HashStep>", data_ref(MESSAGE_URI));
    assert_eq!(judge(&root, &step, &message), Ok(vec![]), "the value AA== is not looked at");
    assert_eq!(code(judge(&root, &step, &parts(&[(MESSAGE_URI, "b")]))), "invalid_hash_chain");
}

#[test]
fn refuses_hostile_and_misshapen_chains() {
    let message = parts(&[(MESSAGE_URI, "a")]);
    let root = SHA512.digest(&digest_list([&message[0].1]));
    let hit = data_ref(MESSAGE_URI);
    let step = |inside: &str| format!("<h:HashStep id=\"S\">{inside}</h:HashStep>");
    let step_ref = |uri: &str| format!("<h:StepRef URI=\"{uri}\"/>");
    let transformed = "<h:DataRef URI=\"/message.xml\"><ds:Transforms><ds:Transform \
                       Algorithm=\"http://www.w3.org/TR/2001/REC-xml-c14n-20010315\"/></ds:Transforms>\
                       <ds:DigestValue>AA==</ds:DigestValue></h:DataRef>";
    let sha1 = "<h:HashValue><ds:DigestMethod Algorithm=\"http://www.w3.org/2000/09/xmldsig#sha1\"/>\
                <ds:DigestValue>AA==</ds:DigestValue></h:HashValue>";
    let cases = [
        ("right", step(&hit), "accepted"),
        ("a file", step(&(hit.clone() + &data_ref("file:///etc/hostname"))), "invalid_reference"),
        ("an attachment not received", step(&(hit.clone() + &data_ref("/attachment1"))), "invalid_reference"),
        ("another document", step(&step_ref("http://host/chain.xml#S")), "invalid_reference"),
        ("no step", step(&step_ref("#T")), "malformed_hash_chain"),
        ("no fragment", step(&step_ref("/sig-hashchain.xml")), "malformed_hash_chain"),
        ("empty fragment", step(&step_ref("#")), "malformed_hash_chain"),
        ("itself", step(&step_ref("#S")), "malformed_hash_chain"),
        (
            "a step twice",
            step(&(step_ref("#T") + &step_ref("#T"))) + &format!("<h:HashStep id=\"T\">{hit}</h:HashStep>"),
            "malformed_hash_chain",
        ),
        ("one id twice", step(&hit) + &step(&hit), "malformed_hash_chain"),
        (
            "uncovered",
            step("<h:HashValue><ds:DigestValue>AA==</ds:DigestValue></h:HashValue>"),
            "invalid_hash_chain",
        ),
        ("a transform", step(transformed), "malformed_hash_chain"),
        ("SHA-1", step(&(hit.clone() + sha1)), "malformed_hash_chain"),
        ("an unknown element", step(&(hit.clone() + "<h:Other/>")), "malformed_hash_chain"),
        ("text", step(&(hit.clone() + "text")), "malformed_hash_chain"),
        (
            "an unknown attribute",
            format!("<h:HashStep id=\"S\" x=\"\">{hit}</h:HashStep>"),
            "malformed_hash_chain",
        ),
        (
            "a part without URI",
            step("<h:DataRef><ds:DigestValue>AA==</ds:DigestValue></h:DataRef>"),
            "malformed_hash_chain",
        ),
    ];
    for (name, steps, expected) in cases {
        assert_eq!(code(judge(&root, &steps, &message)), expected, "{name}");
    }
}

#[test]
fn a_covered_digest_without_a_reference_leaves_the_part_unused() {
    let both = parts(&[(MESSAGE_URI, "a"), ("/attachment1", "b")]);
    let root = SHA512.digest(&digest_list([&both[0].1, &both[1].1]));
    let sibling = format!(
        "<h:HashValue><ds:DigestValue>{}</ds:DigestValue></h:HashValue>",
        STANDARD.encode(&both[1].1.value)
    );
    let steps = format!("<h:HashStep id=\"S\">{}{sibling}</h:HashStep>", data_ref(MESSAGE_URI));
    assert_eq!(judge(&root, &steps, &both), Err(HashChainError::Unused("/attachment1".to_owned())));
}

#[test]
fn depth_and_size_are_bounded() {
    let message = parts(&[(MESSAGE_URI, "a")]);
    let chain_of = |depth: usize| {
        let mut digest = SHA512.digest(&digest_list([&message[0].1]));
        let mut steps = String::new();
        for n in (0..depth - 1).rev() {
            digest = SHA512.digest(&digest_list([&digest]));
            let id = if n == 0 { "S".to_owned() } else { format!("S{n}") };
            steps.push_str(&format!("<h:HashStep id=\"{id}\"><h:StepRef URI=\"#S{}\"/></h:HashStep>", n + 1));
        }
        steps.push_str(&format!("<h:HashStep id=\"S{}\">{}</h:HashStep>", depth - 1, data_ref(MESSAGE_URI)));
        judge(&digest, &steps, &message)
    };
    assert_eq!(chain_of(MAX_DEPTH), Ok(vec![]));
    assert_eq!(code(chain_of(MAX_DEPTH + 1)), "malformed_hash_chain");

    let root = SHA512.digest(&digest_list([&message[0].1]));
    let padding = " ".repeat(MAX_BYTES);
    let step = format!("<h:HashStep id=\"S\">{}</h:HashStep>{padding}", data_ref(MESSAGE_URI));
    assert_eq!(code(judge(&root, &step, &message)), "malformed_hash_chain");
}

#[test]
fn refuses_a_document_type() {
    let message = parts(&[(MESSAGE_URI, "a")]);
    let root = SHA512.digest(&digest_list([&message[0].1]));
    let (result, chain) =
        documents(&root, &format!("<h:HashStep id=\"S\">{}</h:HashStep>", data_ref(MESSAGE_URI)));
    let doctype = |xml: &str| format!("<!DOCTYPE x SYSTEM \"http://host/x.dtd\">{xml}").into_bytes();
    for (result, chain) in
        [(result.clone().into_bytes(), doctype(&chain)), (doctype(&result), chain.into_bytes())]
    {
        assert_eq!(
            code(verify(&result, &chain, SIGNATURE_CHAIN_URI, &message, false)),
            "malformed_hash_chain"
        );
    }
}

/// In a container an attachment may be missing; the message may not, and an attachment that is there is looked at.
#[test]
fn absent_attachments_are_taken_by_their_digest_when_that_is_allowed() {
    let whole = parts(&[(MESSAGE_URI, "a"), ("/attachment1", "b")]);
    let tree = tree(vec![whole.clone()]);
    let judge = |parts: &[(String, DigestValue)]| {
        let outcome = verify(tree.result_xml(), &tree.chain_xml(0), SIGNATURE_CHAIN_URI, parts, true);
        outcome.map(|outcome| outcome.by_digest)
    };
    assert_eq!(judge(&whole), Ok(vec![]));
    assert_eq!(judge(&whole[..1]), Ok(vec!["/attachment1".to_owned()]));
    assert_eq!(judge(&whole[1..]), Err(HashChainError::Unresolved(MESSAGE_URI.to_owned())));
    let other = parts(&[(MESSAGE_URI, "a"), ("/attachment1", "c")]);
    assert_eq!(judge(&other), Err(HashChainError::Mismatch));
    let another_method =
        vec![whole[0].clone(), ("/attachment1".to_owned(), DigestAlgorithm::Sha256.digest(b"b"))];
    assert_eq!(judge(&another_method), Err(HashChainError::Unresolved("/attachment1".to_owned())));
}

proptest! {
    /// No change of one byte in result or chain leaves a proof of another message, and none panics.
    #[test]
    fn a_changed_byte_proves_nothing_new(at in any::<prop::sample::Index>(), byte in any::<u8>(), in_result: bool) {
        let messages = vec![parts(&[(MESSAGE_URI, "a"), ("/attachment1", "b")]), parts(&[(MESSAGE_URI, "c")])];
        let tree = tree(messages.clone());
        let (mut result, mut chain) = (tree.result_xml().to_vec(), tree.chain_xml(0));
        let target = if in_result { &mut result } else { &mut chain };
        let at = at.index(target.len());
        target[at] = byte;
        let forged = parts(&[(MESSAGE_URI, "forged"), ("/attachment1", "b")]);
        prop_assert!(verify(&result, &chain, SIGNATURE_CHAIN_URI, &forged, false).is_err());
        if let Ok(outcome) = verify(&result, &chain, SIGNATURE_CHAIN_URI, &messages[0], false) {
            prop_assert!(outcome.by_digest.is_empty());
        }
    }
}
