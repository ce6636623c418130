//! Conformance vectors, area `hashchain`: verdict and code of every verifier case, known answers of the builder.

use std::collections::HashMap;
use std::path::Path;

use pki::digest::{DigestAlgorithm, DigestValue};
use pki::hash_chain::{self, Found, HashChainError, Tree};
use proto::fault::Style;
use serde_json::Value;
use testkit::vectors::{self, Tally};

/// What the area's texts say of an input: nothing (then the verifier fetches it), or its digest.
fn given_digest(text: &Value, folder: &Path) -> Option<DigestValue> {
    let text = text.as_str()?;
    let algorithm = DigestAlgorithm::Sha256;
    if let Some(file) = text.strip_prefix("SHA-256 of ") {
        let name = file.split_whitespace().next().expect("a file is named");
        return Some(algorithm.digest(&read(folder, name)));
    }
    let byte = text.rsplit("0x").next().and_then(|hex| u8::from_str_radix(hex.trim(), 16).ok());
    let byte = byte.unwrap_or_else(|| panic!("an input is described as {text:?}"));
    Some(DigestValue { algorithm, value: vec![byte] })
}

fn read(folder: &Path, name: &str) -> Vec<u8> {
    std::fs::read(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// As the reference looks things up: given digests first, then files, and attachments that are nowhere by the chain's own digest.
fn verify(case: &Value, folder: &Path) -> Result<(), HashChainError> {
    let result = read(folder, case["result"].as_str().expect("a case names its result"));
    let mut files: HashMap<&str, Vec<u8>> = HashMap::new();
    for (uri, name) in case["resolve"].as_object().expect("a case resolves URIs") {
        if let Some(name) = name.as_str().filter(|name| folder.join(name).is_file()) {
            files.insert(uri, read(folder, name));
        }
    }
    let inputs = case["inputs"].as_object().expect("a case has inputs");
    let required: Vec<&str> = inputs.keys().map(String::as_str).collect();
    let (chain_uri, chain) =
        files.iter().find(|(uri, _)| uri.contains("hashchain")).expect("the chain is among the files");
    hash_chain::verify_with(&result, chain, chain_uri, &required, |data| {
        let given = inputs.get(data.uri).and_then(|text| given_digest(text, folder));
        if let Some(own) = given.filter(|given| given.algorithm == data.algorithm) {
            return Ok(Some(Found::Own(own)));
        }
        match files.get(data.uri) {
            Some(bytes) => hash_chain::digest_data(data, bytes).map(|digest| Some(Found::Data(digest))),
            None if hash_chain::is_attachment(data.uri) => Ok(Some(Found::Absent)),
            None => Ok(None),
        }
    })
    .map(drop)
}

#[test]
fn verdicts_and_codes() {
    let Some((folder, expected)) = vectors::area("hashchain") else { return };
    let mut tally = Tally::new("hashchain");
    for case in expected["cases"].as_array().expect("the area has cases") {
        let name = case["name"].as_str().expect("a case has a name");
        if case.get("result").is_some() {
            let expect = &case["expect"];
            let code = match verify(case, &folder) {
                Ok(()) => String::new(),
                Err(error) => error.fault_code().text(Style::Snake).to_owned(),
            };
            let wanted = expect["code"].as_str().unwrap_or_default();
            assert_eq!(expect["verdict"] == "accept", wanted.is_empty(), "{name}");
            tally.equal(name, code.as_str(), wanted);
        } else if let Some(top) = case["tree_top_base64"].as_str() {
            let words = ["one", "two", "three", "four"];
            let messages = words.map(|word| {
                vec![(hash_chain::MESSAGE_URI.to_owned(), DigestAlgorithm::Sha256.digest(word.as_bytes()))]
            });
            let tree = Tree::build(DigestAlgorithm::Sha256, "/hashchain.xml", messages.to_vec());
            let found = String::from_utf8_lossy(tree.result_xml()).contains(top);
            tally.equal(name, found, true);
        } else if name.contains("no inputs") {
            let tree = Tree::build(DigestAlgorithm::Sha512, "/hashchain.xml", vec![]);
            tally.equal(name, (tree.result_xml().len(), tree.chain_xml(0).len()), (0, 0));
        } else if name.contains("distinct chains") {
            tally.equal(name, sizes_with_equal_chains(), Vec::<usize>::new());
        } else {
            tally.fail(name, "this kind of case is not known here");
        }
    }
    tally.finish();
}

/// Of the tree sizes 2 to 352 those in which two messages get the same chain.
fn sizes_with_equal_chains() -> Vec<usize> {
    (2..=352)
        .filter(|&size| {
            let message = |n: usize| {
                let value = n.to_string().into_bytes();
                vec![(
                    hash_chain::MESSAGE_URI.to_owned(),
                    DigestValue { algorithm: DigestAlgorithm::Sha512, value },
                )]
            };
            let tree =
                Tree::build(DigestAlgorithm::Sha512, "/hashchain.xml", (0..size).map(message).collect());
            let mut chains: Vec<_> = (0..size).map(|index| tree.chain_xml(index)).collect();
            chains.sort_unstable();
            chains.dedup();
            chains.len() != size
        })
        .collect()
}
