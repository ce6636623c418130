//! `docs/differences.md`: a test that lets ours differ names the heading that says why.

use std::path::Path;

/// Every heading is in the list that people read.
///
/// # Panics
/// One is not.
pub fn assert_listed(headings: impl IntoIterator<Item = &'static str>) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/differences.md");
    let text = std::fs::read_to_string(file).unwrap();
    for heading in headings {
        let listed = text.lines().any(|line| line.strip_prefix("### ") == Some(heading));
        assert!(listed, "docs/differences.md has no heading {heading:?}");
    }
}
