//! Deflate for the small documents of containers: one block, one pass, a code made beforehand [RFC 1951].
//!
//! A general deflater makes a code for each document and clears tables of hundreds of kilobytes before it, which for a kilobyte of
//! XML costs more than everything else that is done for it. Here the code is the same for all: Base64 takes little more than the six
//! bits that are in it, markup repeats what stood before, and what is rare in such documents is long. Documents that are short, or
//! have other bytes than printable ASCII and line ends, get the fixed code of §3.2.6, and those that deflate to nothing less are
//! stored (§3.2.4).
//!
//! Takes at most [`MAX_BYTES`], so that every place in the document is within the window; larger ones are not for this.

use std::sync::LazyLock;

/// Largest document: the window of §2.
pub(super) const MAX_BYTES: usize = 32 << 10;
/// Shorter documents would pay more for the description of [`TEXT`] than it gains them.
const TEXT_FROM: usize = 400;
/// Places that are remembered, by a hash of the four bytes there.
const PLACES: usize = 1 << 12;
const MIN_MATCH: usize = 4;
const MAX_MATCH: usize = 258;
/// Literals and lengths; distances.
const LITERALS: usize = 286;
const DISTANCES: usize = 30;
const END: usize = 256;
/// In which order the lengths of the code for lengths are written, §3.2.7.
const ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

static FIXED: LazyLock<Code> = LazyLock::new(Code::fixed);
static TEXT: LazyLock<Code> = LazyLock::new(Code::text);

/// A symbol as it is written: from its lowest bit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Symbol {
    bits: u32,
    length: u32,
}

/// Literals, lengths of matches with their extra bits, and distances, each with what to write.
struct Code {
    /// The block's beginning.
    head: Vec<Symbol>,
    literals: Vec<Symbol>,
    /// By the match's length.
    lengths: Vec<Symbol>,
    distances: Vec<Symbol>,
}

/// Deflates one document after the other; what it keeps in between is memory alone.
pub(super) struct Deflater {
    /// Where four bytes of this hash stood last, counted from 1.
    places: Box<[u16; PLACES]>,
}

impl Default for Deflater {
    fn default() -> Self {
        Self { places: Box::new([0; PLACES]) }
    }
}

impl Deflater {
    /// The document, deflated; `None` when it is larger than [`MAX_BYTES`].
    pub(super) fn deflate(&mut self, document: &[u8]) -> Option<Vec<u8>> {
        if document.len() > MAX_BYTES {
            return None;
        }
        let mut bits = Bits { out: Vec::with_capacity(document.len() / 2 + 64), held: 0, count: 0 };
        let is_text = document.len() >= TEXT_FROM && self.block(document, &TEXT, &mut bits).is_some();
        if !is_text {
            bits.clear();
            // It has every byte.
            self.block(document, &FIXED, &mut bits)?;
        }
        let deflated = bits.finish();
        Some(if deflated.len() < document.len() + 5 { deflated } else { stored(document) })
    }

    /// One block; `None` when the code does not have a byte of it.
    fn block(&mut self, document: &[u8], code: &Code, bits: &mut Bits) -> Option<()> {
        self.places.fill(0);
        code.head.iter().for_each(|symbol| bits.put(*symbol));
        let (mut at, mut from, mut misses) = (0, 0, 0);
        while let Some(four) = document.get(at..at + MIN_MATCH) {
            let place = &mut self.places[hash(four)];
            let before = usize::from(std::mem::replace(place, at as u16 + 1));
            let found =
                before.checked_sub(1).filter(|before| document[*before..*before + MIN_MATCH] == *four);
            let Some(before) = found else {
                // Base64 does not repeat: the longer nothing was found, the larger the steps.
                misses += 1;
                at += 1 + (misses / 16).min(7);
                continue;
            };
            let missed = common_end(&document[from..at], &document[..before]);
            let length =
                missed + MIN_MATCH + common(&document[before + MIN_MATCH..], &document[at + MIN_MATCH..]);
            bits.literals(&document[from..at - missed], code)?;
            bits.repeat(length, at - before, code);
            at += length - missed;
            (from, misses) = (at, 0);
        }
        bits.literals(&document[from..], code)?;
        bits.put(code.literals[END]);
        Some(())
    }
}

fn hash(four: &[u8]) -> usize {
    let number = four.iter().rev().fold(0, |number: u32, byte| number << 8 | u32::from(*byte));
    (number.wrapping_mul(2_654_435_761) >> (32 - PLACES.ilog2())) as usize
}

/// How many bytes the two begin with together.
fn common(one: &[u8], other: &[u8]) -> usize {
    one.iter().zip(other).take_while(|(one, other)| one == other).count()
}

fn common_end(one: &[u8], other: &[u8]) -> usize {
    one.iter().rev().zip(other.iter().rev()).take_while(|(one, other)| one == other).count()
}

/// One block of the document as it is.
fn stored(document: &[u8]) -> Vec<u8> {
    let length = document.len() as u16;
    [&[1][..], &length.to_le_bytes(), &(!length).to_le_bytes(), document].concat()
}

/// Bits in the order of §3.1.1.
struct Bits {
    out: Vec<u8>,
    held: u64,
    /// Bits that are held, fewer than 32 between calls.
    count: u32,
}

impl Bits {
    fn put(&mut self, Symbol { bits, length }: Symbol) {
        self.held |= u64::from(bits) << self.count;
        self.count += length;
        if self.count >= 32 {
            self.out.extend_from_slice(&(self.held as u32).to_le_bytes());
            self.held >>= 32;
            self.count -= 32;
        }
    }

    fn literals(&mut self, bytes: &[u8], code: &Code) -> Option<()> {
        for byte in bytes {
            let symbol = code.literals[usize::from(*byte)];
            if symbol.length == 0 {
                return None;
            }
            self.put(symbol);
        }
        Some(())
    }

    /// `length` bytes as they stood `distance` before.
    fn repeat(&mut self, mut length: usize, distance: usize, code: &Code) {
        while length > 0 {
            // What is left must not be too short for a match of its own.
            let part = if length > MAX_MATCH { MAX_MATCH.min(length - MIN_MATCH) } else { length };
            self.put(code.lengths[part]);
            let (slot, extra) = distance_slot(distance);
            self.put(code.distances[slot]);
            self.put(extra);
            length -= part;
        }
    }

    fn clear(&mut self) {
        self.out.clear();
        (self.held, self.count) = (0, 0);
    }

    fn finish(mut self) -> Vec<u8> {
        let bytes = self.count.div_ceil(8) as usize;
        self.out.extend_from_slice(&self.held.to_le_bytes()[..bytes]);
        self.out
    }
}

/// §3.2.5: number of the code, and extra bits.
fn distance_slot(distance: usize) -> (usize, Symbol) {
    let from_zero = distance - 1;
    if from_zero < 4 {
        return (from_zero, Symbol::default());
    }
    let length = from_zero.ilog2() - 1;
    let bits = (from_zero & ((1 << length) - 1)) as u32;
    (2 * (length as usize + 1) + (from_zero >> length & 1), Symbol { bits, length })
}

/// The same for a length.
fn length_slot(length: usize) -> (usize, Symbol) {
    let from_zero = length - 3;
    if length == MAX_MATCH {
        return (LITERALS - 1, Symbol::default());
    }
    if from_zero < 8 {
        return (END + 1 + from_zero, Symbol::default());
    }
    let extra = from_zero.ilog2() - 2;
    let bits = (from_zero & ((1 << extra) - 1)) as u32;
    (END + 1 + 4 * (extra as usize + 1) + (from_zero >> extra & 3), Symbol { bits, length: extra })
}

impl Code {
    fn new(head: Vec<Symbol>, literals: &[u32], distances: &[u32]) -> Self {
        let literals = symbols(literals);
        let lengths = (0..=MAX_MATCH).map(|length| {
            if length < 3 {
                return Symbol::default();
            }
            let (slot, extra) = length_slot(length);
            let Symbol { bits, length } = literals[slot];
            Symbol { bits: bits | extra.bits << length, length: length + extra.length }
        });
        Self { head, lengths: lengths.collect(), literals, distances: symbols(distances) }
    }

    /// §3.2.6. The last block.
    fn fixed() -> Self {
        let literals: Vec<u32> = (0..288)
            .map(|symbol| match symbol {
                0..144 => 8,
                144..256 => 9,
                256..280 => 7,
                _ => 8,
            })
            .collect();
        Self::new(vec![Symbol { bits: 0b011, length: 3 }], &literals, &[5; DISTANCES])
    }

    /// For XML with Base64 in it, and header lines. The last block, §3.2.7.
    fn text() -> Self {
        let weight = |symbol: usize| match symbol {
            END => 6,
            257 => 1,
            258..LITERALS => 12,
            _ => match symbol as u8 {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'+' | b'/' => 64,
                b'<' | b'>' | b'"' | b'=' | b' ' | b'\n' | b':' | b'#' | b'.' | b'-' | b',' => 20,
                b'\t' | b'\r' | b'!'..=b'~' => 4,
                _ => 0,
            },
        };
        let literals = code_lengths(&(0..LITERALS).map(weight).collect::<Vec<_>>());
        let distances = code_lengths(&[1; DISTANCES]);
        let head = described(&literals, &distances);
        Self::new(head, &literals, &distances)
    }
}

/// Lengths of a Huffman code; symbols without weight have none.
fn code_lengths(weights: &[u32]) -> Vec<u32> {
    let mut lengths = vec![0; weights.len()];
    let mut groups: Vec<(u32, Vec<usize>)> =
        weights.iter().enumerate().filter(|(_, w)| **w > 0).map(|(symbol, w)| (*w, vec![symbol])).collect();
    while groups.len() > 1 {
        // Equal ones keep their order, so that neighbours have equal lengths.
        groups.sort_by_key(|(weight, _)| std::cmp::Reverse(*weight));
        let rest = groups.split_off(groups.len() - 2);
        rest.iter().flat_map(|(_, symbols)| symbols).for_each(|symbol| lengths[*symbol] += 1);
        groups.push((
            rest.iter().map(|(weight, _)| weight).sum(),
            rest.into_iter().flat_map(|(_, symbols)| symbols).collect(),
        ));
    }
    lengths
}

/// §3.2.2: which bits belong to lengths.
fn symbols(lengths: &[u32]) -> Vec<Symbol> {
    let mut symbols = vec![Symbol::default(); lengths.len()];
    let mut next = 0;
    for length in 1..=15 {
        next <<= 1;
        for (symbol, of) in symbols.iter_mut().zip(lengths).filter(|(_, of)| **of == length) {
            let bits: u32 = next;
            *symbol = Symbol { bits: bits.reverse_bits() >> (32 - length), length: *of };
            next += 1;
        }
    }
    symbols
}

/// How a block with a code of its own begins: the code.
fn described(literals: &[u32], distances: &[u32]) -> Vec<Symbol> {
    let lengths = [literals, distances].concat();
    // Symbol and extra bits.
    let mut runs: Vec<(usize, Symbol)> = Vec::new();
    for run in lengths.chunk_by(|one, next| one == next) {
        let (value, mut left) = (run[0] as usize, run.len());
        if value != 0 {
            runs.push((value, Symbol::default()));
            left -= 1;
        }
        while left > 0 {
            let (symbol, from, most, extra) = match (value, left) {
                (0, 11..) => (18, 11, 138, 7),
                (0, 3..) => (17, 3, 10, 3),
                (_, 3..) => (16, 3, 6, 2),
                _ => (value, 1, 1, 0),
            };
            let count = left.min(most);
            runs.push((symbol, Symbol { bits: (count - from) as u32, length: extra }));
            left -= count;
        }
    }
    let mut weights = [0; ORDER.len()];
    // Never so unequal that a length of this code does not fit into three bits.
    runs.iter().for_each(|(symbol, _)| weights[*symbol] = (weights[*symbol] + 1).max(4));
    let code = code_lengths(&weights);
    let written = ORDER.iter().rposition(|symbol| code[*symbol] > 0).map_or(4, |last| last + 1);
    let number = |bits: usize, length| Symbol { bits: bits as u32, length };
    let mut head = vec![
        number(0b101, 3),
        number(literals.len() - 257, 5),
        number(distances.len() - 1, 5),
        number(written - 4, 4),
    ];
    head.extend(ORDER[..written].iter().map(|symbol| number(code[*symbol] as usize, 3)));
    let code = symbols(&code);
    head.extend(runs.into_iter().flat_map(|(symbol, extra)| [code[symbol], extra]));
    head
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use proptest::prelude::*;

    use super::*;

    fn inflated(deflated: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut inflater = flate2::bufread::DeflateDecoder::new(deflated);
        inflater.read_to_end(&mut out).expect("it is deflated");
        assert_eq!(inflater.total_in(), deflated.len() as u64, "nothing is left over");
        out
    }

    fn noise(length: usize, of: &[u8]) -> Vec<u8> {
        let mut state = 9_u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize
        };
        (0..length).map(|_| of[next() % of.len()]).collect()
    }

    const BASE64: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    #[test]
    fn codes_are_complete_and_short_enough() {
        for code in [&*TEXT, &*FIXED] {
            for symbols in [&code.literals, &code.distances] {
                let used: Vec<u32> =
                    symbols.iter().map(|symbol| symbol.length).filter(|length| *length > 0).collect();
                assert!(used.iter().all(|length| *length <= 15));
                let room: u32 = used.iter().map(|length| 1 << (15 - length)).sum();
                // Two of the fixed code's distances are never used.
                assert!(room == 1 << 15 || (room == 30 << 10 && used.len() == DISTANCES), "{used:?}");
            }
        }
        let base64: u32 = BASE64.iter().map(|byte| TEXT.literals[usize::from(*byte)].length).sum();
        assert!(base64 < 64 * 13 / 2, "{base64} bits for 64 characters");
    }

    #[test]
    fn slots_are_those_of_the_standard() {
        // First and last of several rows of both tables in §3.2.5.
        let lengths = [
            (3, 257, 0, 0),
            (10, 264, 0, 0),
            (11, 265, 0, 1),
            (12, 265, 1, 1),
            (19, 269, 0, 2),
            (257, 284, 30, 5),
            (258, 285, 0, 0),
        ];
        for (length, slot, bits, extra) in lengths {
            assert_eq!(length_slot(length), (slot, Symbol { bits, length: extra }), "{length}");
        }
        let distances = [
            (1, 0, 0, 0),
            (4, 3, 0, 0),
            (5, 4, 0, 1),
            (6, 4, 1, 1),
            (7, 5, 0, 1),
            (9, 6, 0, 2),
            (24577, 29, 0, 13),
            (32768, 29, 8191, 13),
        ];
        for (distance, slot, bits, length) in distances {
            assert_eq!(distance_slot(distance), (slot, Symbol { bits, length }), "{distance}");
        }
    }

    #[test]
    fn everything_comes_back_and_what_repeats_gets_small() {
        let step = |number: usize| {
            let digest = noise(86, BASE64);
            let digest = String::from_utf8_lossy(&digest[number..]).into_owned() + &"A".repeat(number);
            format!(
                "    <ns2:HashStep id=\"STEP{number}\">\n        <DigestValue>{digest}==</DigestValue>\n    </ns2:HashStep>\n"
            )
        };
        let chain: String = (0..14).map(step).collect();
        let all: Vec<u8> = (0..=255).collect();
        // Document, and how long it may get.
        let cases: [(&str, Vec<u8>, usize); 12] = [
            ("nothing", Vec::new(), 2),
            ("a byte", b"x".to_vec(), 3),
            ("a short one", b"application/vnd.etsi.asic-e+zip".to_vec(), 34),
            ("a chain", chain.clone().into_bytes(), chain.len() * 6 / 10),
            ("Base64", noise(8000, BASE64), 8000 * 82 / 100),
            ("one byte, thousands of times", vec![b'a'; MAX_BYTES], 300),
            ("a match and three bytes", vec![b'a'; 1 + 4 * MAX_MATCH + 3], 80),
            ("every byte", all.repeat(3), 400),
            ("noise", noise(MAX_BYTES, &all), MAX_BYTES + 5),
            ("UTF-8", "jäär ja öö ".repeat(100).into_bytes(), 200),
            (
                "one byte that text has not, at the end",
                [chain.as_bytes(), &[0xFF]].concat(),
                chain.len() * 8 / 10,
            ),
            ("another one behind it", b"12345678 12345678".to_vec(), 17),
        ];
        let mut deflater = Deflater::default();
        for (name, document, most) in cases {
            let deflated = deflater.deflate(&document).expect("it is small enough");
            assert_eq!(inflated(&deflated), document, "{name}");
            assert!(deflated.len() <= most, "{name}: {} of {}", deflated.len(), document.len());
        }
        assert_eq!(deflater.deflate(&vec![0; MAX_BYTES + 1]), None);
    }

    proptest! {
        #[test]
        fn any_document_comes_back(
            pieces in proptest::collection::vec((0_usize..8, proptest::collection::vec(any::<u8>(), 0..300)), 0..40)
        ) {
            let mut document = Vec::new();
            for (kind, bytes) in &pieces {
                match kind {
                    0 => document.extend_from_slice(bytes),
                    1 => document.extend(bytes.iter().map(|byte| BASE64[usize::from(byte % 64)])),
                    2 => document.extend_from_slice(b"<ds:DigestMethod Algorithm=\"http://www.w3.org/2001/04/xmlenc#sha512\"/>"),
                    more => document.extend_from_within(document.len() * more / 16..document.len() * more / 12),
                }
                document.truncate(MAX_BYTES);
            }
            let deflated = Deflater::default().deflate(&document).expect("it is small enough");
            prop_assert!(deflated.len() <= document.len() + 5);
            prop_assert_eq!(inflated(&deflated), document);
        }
    }
}
