//! The direction of use between our crates is fixed; this reads the build metadata and refuses any other edge [ARCHITECTURE.md].
//!
//! Also here: which crates may name cryptography directly. Which versions and licences come in is `deny.toml`'s.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// What each crate may use of ours in what it ships. `testkit` stands in no row: tests alone use it.
const MAY_USE: [(&str, &[&str]); 12] = [
    ("proto", &[]),
    ("pki", &["proto"]),
    ("host", &["proto"]),
    ("admin-api", &["proto", "pki", "host"]),
    ("signer", &["proto", "pki", "host"]),
    ("security-server", &["proto", "pki", "host", "signer", "admin-api"]),
    ("central-server", &["proto", "pki", "host", "signer", "admin-api"]),
    ("sandbox", &["proto", "pki", "host", "signer", "admin-api", "security-server", "central-server"]),
    ("cli", &["proto", "pki", "host", "signer", "admin-api", "security-server", "central-server", "sandbox"]),
    ("benches", &["proto", "pki", "host", "signer", "security-server", "central-server", "sandbox"]),
    ("conformance", &[]),
    ("testkit", &[]),
];

/// Cryptographic libraries and who may name them in what ships.
const CRYPTOGRAPHY: [(&str, &[&str]); 3] = [
    ("ring", &["pki", "signer", "security-server", "conformance", "benches"]),
    ("openssl", &["pki", "security-server"]),
    ("rcgen", &["pki", "sandbox"]),
];

/// Crate → names of what it ships with (no dev-dependencies).
fn shipped_dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(root)
        .output()
        .expect("cargo runs: it runs this test");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON");
    let packages = metadata["packages"].as_array().expect("packages is an array");
    let name = |value: &Value| value["name"].as_str().expect("names are strings").to_owned();
    packages
        .iter()
        .map(|package| {
            let dependencies = package["dependencies"].as_array().expect("dependencies is an array");
            (name(package), dependencies.iter().filter(|d| d["kind"] != "dev").map(name).collect())
        })
        .collect()
}

#[test]
fn our_crates_use_each_other_in_one_direction() {
    let found = shipped_dependencies();
    let ours: BTreeSet<&str> = found.keys().map(String::as_str).collect();
    let listed: BTreeSet<&str> = MAY_USE.iter().map(|(name, _)| *name).collect();
    assert_eq!(ours, listed, "a crate came or went: give it its place in MAY_USE and in ARCHITECTURE.md");
    for (name, allowed) in MAY_USE {
        for used in found[name].iter().filter(|used| ours.contains(used.as_str())) {
            assert!(
                allowed.contains(&used.as_str()),
                "{name} uses {used}: that is against the direction of use"
            );
        }
    }
}

#[test]
fn cryptography_is_named_only_where_it_belongs() {
    for (name, used) in shipped_dependencies() {
        for (library, users) in CRYPTOGRAPHY {
            assert!(
                !used.contains(library) || users.contains(&name.as_str()),
                "{name} names {library}: ask pki instead"
            );
        }
    }
}
