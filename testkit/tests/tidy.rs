//! How the source must look, where neither rustfmt nor clippy can say it: headers, length, nothing left to do.

use std::path::{Path, PathBuf};

/// Lines after which a file is split along a noun.
const MOST_LINES: usize = 800;

/// Files that may be longer: path and why.
const LONGER: [(&str, &str); 0] = [];

/// Every Rust file of the repository with its path from the root; hidden folders and build output left out.
fn sources() -> Vec<(String, String)> {
    let root =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the repository is there");
    let mut folders = vec![root.clone()];
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder of the repository reads") {
            let path: PathBuf = entry.expect("so does its entry").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if path.is_dir() {
                if !name.starts_with('.') && name != "target" && name != "causeway-demo" {
                    folders.push(path);
                }
            } else if name.ends_with(".rs") {
                let text = std::fs::read_to_string(&path).expect("source is UTF-8");
                let relative = path.strip_prefix(&root).expect("it lies below the root");
                sources.push((relative.to_string_lossy().into_owned(), text));
            }
        }
    }
    assert!(sources.len() > 20, "the sources were not found");
    sources
}

#[test]
fn every_file_says_what_it_is_for() {
    let silent: Vec<_> =
        sources().into_iter().filter(|(_, text)| !text.starts_with("//! ")).map(|(path, _)| path).collect();
    assert!(silent.is_empty(), "these do not open with `//!`: {silent:?}");
}

#[test]
fn no_file_is_too_long() {
    for (path, text) in sources() {
        let lines = text.lines().count();
        let excused = LONGER.iter().any(|(longer, _)| *longer == path);
        assert!(lines <= MOST_LINES || excused, "{path} has {lines} lines: split it along a noun");
        assert!(lines > MOST_LINES || !excused, "{path} is short again: take it off the list");
    }
}

#[test]
fn nothing_is_left_to_do() {
    // Put together here, so that this file does not find itself.
    let marks = [
        concat!("to", "do!("),
        concat!("unimple", "mented!("),
        concat!("FIX", "ME"),
        concat!("#[ign", "ore"),
    ];
    let mut found = Vec::new();
    for (path, text) in sources() {
        for (number, line) in text.lines().enumerate() {
            if marks.iter().any(|mark| line.contains(mark)) {
                found.push(format!("{path}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    assert!(found.is_empty(), "finish these:\n{}", found.join("\n"));
}
