//! PEM text [RFC 7468]: blocks with a label, text around them ignored, as key and certificate files in the field have it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The decoded blocks labelled `label`, in order. A block that does not decode ends the list.
pub fn blocks(text: &[u8], label: &str) -> Vec<Vec<u8>> {
    let Ok(mut rest) = std::str::from_utf8(text) else { return Vec::new() };
    let (begin, end) = (format!("-----BEGIN {label}-----"), format!("-----END {label}-----"));
    let mut blocks = Vec::new();
    while let Some((_, after)) = rest.split_once(&begin) {
        let Some((body, after)) = after.split_once(&end) else { break };
        let body: String = body.split_whitespace().collect();
        let Ok(der) = STANDARD.decode(body) else { break };
        blocks.push(der);
        rest = after;
    }
    blocks
}

/// One block with lines of 64 characters.
pub fn encode(label: &str, der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let mut out = format!("-----BEGIN {label}-----\n");
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        out.push_str(line);
        out.push('\n');
        rest = after;
    }
    out.push_str(&format!("-----END {label}-----\n"));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn reads_what_it_writes(
            ders in proptest::collection::vec(proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200), 0..4),
            around in "[^-]{0,40}",
        ) {
            let mut text = around.clone();
            for der in &ders {
                text.push_str(&encode("X", der));
                text.push_str(&around);
                text.push_str(&encode("Y", b"y"));
            }
            proptest::prop_assert_eq!(blocks(text.as_bytes(), "X"), ders);
        }
    }

    #[test]
    fn ignores_broken_blocks() {
        for text in ["", "-----BEGIN X-----\nAAAA", "-----BEGIN X-----\n!!\n-----END X-----", "\u{fffd}"] {
            assert!(blocks(text.as_bytes(), "X").is_empty(), "{text}");
        }
    }
}
