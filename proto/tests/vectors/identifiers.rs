//! Identifier elements, and the characters that are warned about.
use proto::id::{ObjectType, XmlId, has_discouraged_character};
use proto::xml::{self, Limits};
use serde_json::Value;
use testkit::vectors::{self, Tally};

#[test]
fn identifier_elements_and_characters() {
    let Some((folder, expected)) = vectors::area("identifiers") else { return };
    let mut tally = Tally::new("identifiers");
    for file in expected["files"].as_array().expect("files is an array") {
        let name = file["file"].as_str().expect("a file has a name");
        let bytes = std::fs::read(folder.join(name)).expect("the file is there");
        let found = read(&bytes);
        let expect = &file["expect"];
        match expect["verdict"].as_str() {
            Some("accept") => {
                tally.equal(name, found, Ok(expect["parsed"]["string"].as_str().unwrap_or_default().into()))
            }
            // The code is the caller's: a client identifier is the only kind that a file here has wrong.
            Some("reject") => {
                tally.equal(name, found.is_err() && expect["code"] == "invalid_client_identifier", true)
            }
            _ => tally.not_applicable("no verdict"),
        }
    }
    for case in expected["cases"].as_array().expect("cases is an array") {
        for (list, expected) in [("accept", false), ("reject", true)] {
            for id in case[list].as_array().into_iter().flatten() {
                let codes = id
                    .as_object()
                    .into_iter()
                    .flat_map(|kinds| kinds.values())
                    .filter_map(Value::as_array)
                    .flatten();
                let odd = codes.filter_map(Value::as_str).any(has_discouraged_character);
                tally.equal(id, odd, expected);
            }
        }
    }
    tally.finish();
}

/// The long form of whatever the element says it is.
fn read(bytes: &[u8]) -> Result<String, String> {
    let tree = xml::tree(bytes, &Limits::default()).map_err(|e| e.to_string())?;
    let id = XmlId::from_node(tree.root_element()).map_err(|e| e.to_string())?;
    let text = match id.object_type {
        ObjectType::Service => id.service().map(|id| id.to_string()),
        ObjectType::Server => id.server().map(|id| id.to_string()),
        _ => id.subject().map(|id| id.to_string()),
    };
    text.map_err(|e| e.to_string())
}
