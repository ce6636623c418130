//! Reading both documents when they stand as [`super::build`] writes them, which is how all servers write them.
//!
//! The text is taken apart line by line and written anew; only when that gives the same bytes is the reading taken, so it is the one
//! that XML has of them. Every message of a batch brings a chain, and this costs a tenth of gate and tree. Whatever stands otherwise,
//! or is longer than [`MAX_BYTES`], is read as XML.

use std::fmt;
use std::str::Lines;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::build::{ChainWriter, write_result};
use super::{DigestAlgorithm, DigestValue, Value};

/// Longest document that is read so.
const MAX_BYTES: usize = 64 * 1024;

/// The result: where the chain begins, and the digest it must lead to.
pub(super) fn read_result(xml: &[u8]) -> Option<(&str, DigestValue)> {
    let mut lines = lines(xml)?;
    let (_declaration, root) = (lines.next()?, lines.next()?);
    let (uri, _) = root.strip_prefix("<ns2:HashChainResult URI=\"")?.split_once('"')?;
    let algorithm = algorithm(between(&mut lines, "<DigestMethod Algorithm=\"", "\"/>")?)?;
    let digest = DigestValue { algorithm, value: value(lines.next()?)? };
    let mut same = Same::as_in(xml);
    write_result(&mut same, plain(uri.strip_suffix("#STEP0")?)?, &digest).ok()?;
    same.to_the_end().then_some((uri, digest))
}

/// The chain: its steps by their id.
pub(super) fn read_chain(xml: &[u8]) -> Option<Vec<(&str, Vec<Value<'_>>)>> {
    let mut lines = lines(xml)?;
    let (_declaration, _root) = (lines.next()?, lines.next()?);
    let default = algorithm(between(&mut lines, "<ns2:DefaultDigestMethod Algorithm=\"", "\"/>")?)?;
    let (mut steps, mut writer) = (Vec::with_capacity(8), ChainWriter::new(default, Same::as_in(xml)));
    loop {
        let line = lines.next()?.trim_start();
        if line == "</ns2:HashChain>" {
            break;
        }
        let id = inside(line, "<ns2:HashStep id=\"", "\">")?;
        writer.begin_step();
        steps.push((id, read_step(&mut lines, default, &mut writer)?));
        writer.end_step();
    }
    writer.finish().to_the_end().then_some(steps)
}

/// Its children up to its end, each written anew.
fn read_step<'a>(
    lines: &mut Lines<'a>,
    default: DigestAlgorithm,
    writer: &mut ChainWriter<Same<'_>>,
) -> Option<Vec<Value<'a>>> {
    let mut values = Vec::with_capacity(2);
    loop {
        let line = lines.next()?.trim_start();
        if line == "</ns2:HashStep>" {
            return Some(values);
        }
        if line == "<ns2:HashValue>" {
            let digest = read_digest(lines, default)?;
            writer.hash_value(digest.algorithm, &digest.value);
            values.push(Value::Hash(digest));
        } else if let Some(uri) = inside(line, "<ns2:StepRef URI=\"", "\"/>") {
            writer.step_ref(uri.strip_prefix("#STEP")?.parse().ok()?);
            values.push(Value::Step { uri, algorithm: default });
        } else {
            let uri = plain(inside(line, "<ns2:DataRef URI=\"", "\">")?)?;
            let digest = read_digest(lines, default)?;
            writer.data_ref(uri, digest.algorithm, &digest.value);
            values.push(Value::Data { uri, transform: None, digest });
        }
    }
}

/// A digest, its algorithm when it is another than the default, and the end tag around both.
fn read_digest(lines: &mut Lines<'_>, default: DigestAlgorithm) -> Option<DigestValue> {
    let mut line = lines.next()?;
    let mut own = default;
    if let Some(uri) = inside(line.trim_start(), "<DigestMethod Algorithm=\"", "\"/>") {
        own = algorithm(uri)?;
        line = lines.next()?;
    }
    let digest = DigestValue { algorithm: own, value: value(line)? };
    lines.next()?;
    Some(digest)
}

fn lines(xml: &[u8]) -> Option<Lines<'_>> {
    (xml.len() <= MAX_BYTES).then(|| std::str::from_utf8(xml).ok().map(str::lines)).flatten()
}

fn inside<'a>(line: &'a str, before: &str, after: &str) -> Option<&'a str> {
    line.strip_prefix(before)?.strip_suffix(after)
}

fn between<'a>(lines: &mut Lines<'a>, before: &str, after: &str) -> Option<&'a str> {
    inside(lines.next()?.trim_start(), before, after)
}

fn algorithm(uri: &str) -> Option<DigestAlgorithm> {
    DigestAlgorithm::from_uri(uri).and_then(DigestAlgorithm::for_signatures)
}

fn value(line: &str) -> Option<Vec<u8>> {
    STANDARD.decode(inside(line.trim_start(), "<DigestValue>", "</DigestValue>")?).ok()
}

/// A text that stands in an attribute as it is: nothing in it is escaped, normalised or forbidden.
fn plain(uri: &str) -> Option<&str> {
    let means_itself = |byte: u8| byte.is_ascii_graphic() && !b"&<>\"'".contains(&byte);
    uri.bytes().all(means_itself).then_some(uri)
}

/// Bytes that something written anew must be the same as.
struct Same<'a> {
    /// `None` from the first difference on.
    rest: Option<&'a [u8]>,
}

impl<'a> Same<'a> {
    fn as_in(xml: &'a [u8]) -> Self {
        Self { rest: Some(xml) }
    }
    /// Nothing differs, and nothing is left.
    fn to_the_end(&self) -> bool {
        self.rest.is_some_and(<[u8]>::is_empty)
    }
}

impl fmt::Write for Same<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.rest = self.rest.and_then(|rest| rest.strip_prefix(text.as_bytes()));
        if self.rest.is_some() { Ok(()) } else { Err(fmt::Error) }
    }
}

#[cfg(test)]
mod tests {
    use proto::xml;

    use super::super::{LIMITS, MESSAGE_URI, Parts, SIGNATURE_CHAIN_URI, Tree};
    use super::*;

    fn message(parts: usize, algorithm: DigestAlgorithm) -> Parts {
        let uri = |n: usize| if n == 0 { MESSAGE_URI.to_owned() } else { format!("/attachment{n}") };
        (0..parts).map(|n| (uri(n), algorithm.digest(&[n.to_le_bytes()[0]]))).collect()
    }

    fn trees() -> Vec<Tree> {
        let batches = [vec![1, 1], vec![1, 2, 1], vec![3], vec![1; 9]];
        let tree = |parts: &Vec<usize>| {
            let messages = parts.iter().map(|parts| message(*parts, DigestAlgorithm::Sha512)).collect();
            Tree::build(DigestAlgorithm::Sha512, SIGNATURE_CHAIN_URI, messages)
        };
        let mut trees: Vec<Tree> = batches.iter().map(tree).collect();
        // Parts that are digested otherwise than the steps.
        let mixed = vec![message(2, DigestAlgorithm::Sha256), message(1, DigestAlgorithm::Sha512)];
        trees.push(Tree::build(DigestAlgorithm::Sha512, SIGNATURE_CHAIN_URI, mixed));
        trees
    }

    /// As XML, when it can be read so.
    fn slowly_chain(text: &[u8]) -> Option<String> {
        let tree = xml::tree(text, &LIMITS).ok()?;
        let steps = super::super::read_chain(tree.root_element()).ok()?;
        Some(said(steps))
    }

    fn slowly_result(text: &[u8]) -> Option<String> {
        let tree = xml::tree(text, &LIMITS).ok()?;
        super::super::read_result(tree.root_element()).ok().map(|found| format!("{found:?}"))
    }

    fn said(mut steps: Vec<(&str, Vec<Value<'_>>)>) -> String {
        steps.sort_by_key(|(id, _)| *id);
        format!("{steps:?}")
    }

    #[test]
    fn what_is_written_so_is_read_so() {
        for tree in trees() {
            assert!(read_result(tree.result_xml()).is_some());
            for index in 0..9 {
                let chain = tree.chain_xml(index);
                let read = read_chain(&chain).map(said);
                assert!(read.is_some() || chain.is_empty(), "{}", String::from_utf8_lossy(&chain));
                assert_eq!(read, slowly_chain(&chain));
            }
        }
    }

    /// Whatever is changed, the fast reading is the slow one or none.
    #[test]
    fn no_change_is_read_otherwise_than_as_xml() {
        for tree in trees() {
            for (document, is_chain) in [(tree.chain_xml(0), true), (tree.result_xml().to_vec(), false)] {
                for at in 0..document.len() {
                    for byte in [b'0', b'A', b' ', b'\t', b'\r', b'\n', b'"', b'&', b'<', b'>', b'/', 1, 0xff]
                    {
                        let mut changed = document.clone();
                        changed[at] = byte;
                        let fast = match is_chain {
                            true => read_chain(&changed).map(said),
                            false => read_result(&changed).map(|found| format!("{found:?}")),
                        };
                        if fast.is_some() {
                            let slow =
                                if is_chain { slowly_chain(&changed) } else { slowly_result(&changed) };
                            assert_eq!(fast, slow, "{}", String::from_utf8_lossy(&changed));
                        }
                    }
                }
            }
        }
    }
}
