//! What is accepted, what is refused, and that no way of cutting the input changes what is read.
use proptest::prelude::*;

use super::*;

type Part = (Vec<(String, String)>, Vec<u8>, bool);

/// Parts, and whether the closing delimiter came.
fn read(chunks: &[&[u8]], limits: Limits) -> Result<(Vec<Part>, bool), MultipartError> {
    let mut decoder = Decoder::new("multipart/mixed; boundary=B", limits)?;
    let mut parts: Vec<Part> = Vec::new();
    let mut chunks = chunks.iter();
    loop {
        match decoder.poll()? {
            None => match chunks.next() {
                Some(chunk) => decoder.feed(Bytes::copy_from_slice(chunk)),
                None => decoder.finish(),
            },
            Some(Event::Head(head)) => parts.push((head.headers, Vec::new(), false)),
            Some(Event::Data(data)) => {
                assert!(!data.is_empty());
                parts.last_mut().expect("a head came first").1.extend_from_slice(&data);
            }
            Some(Event::PartEnd { delimited }) => parts.last_mut().expect("a head came first").2 = delimited,
            Some(Event::End { closed }) => {
                assert_eq!(decoder.poll(), Ok(None));
                return Ok((parts, closed));
            }
        }
    }
}

/// Contents only, of input cut in every one of three ways.
fn contents(input: &[u8]) -> (Vec<String>, bool) {
    let whole = read(&[input], Limits::default()).expect("nothing here breaks a bound");
    let bytes: Vec<&[u8]> = input.chunks(1).collect();
    assert_eq!(read(&bytes, Limits::default()).as_ref(), Ok(&whole), "byte by byte");
    let threes: Vec<&[u8]> = input.chunks(3).collect();
    assert_eq!(read(&threes, Limits::default()).as_ref(), Ok(&whole), "in threes");
    let text = |part: &Part| String::from_utf8(part.1.clone()).expect("the test writes text");
    (whole.0.iter().map(text).collect(), whole.1)
}

#[test]
fn parts_are_found_where_the_reference_finds_them() {
    let cases: &[(&str, &str, &[&str], bool)] = &[
        ("plain", "--B\r\n\r\none\r\n--B\r\n\r\ntwo\r\n--B--\r\n", &["one", "two"], true),
        ("line feeds", "--B\n\none\n--B--\n", &["one"], true),
        ("preamble and epilogue", "hello\r\n--B\r\n\r\none\r\n--B--\r\nbye\r\n--B\r\n", &["one"], true),
        ("an empty line first", "\r\n--B\r\n\r\none\r\n--B--\r\n", &["one"], true),
        ("no last line end", "--B\r\n\r\none\r\n--B--", &["one"], true),
        ("no closing delimiter", "--B\r\n\r\none\r\n", &["one\r\n"], false),
        ("blanks after delimiters", "--B \t\r\n\r\none\r\n--B-- \r\n", &["one"], true),
        ("an empty part", "--B\r\n\r\n\r\n--B--\r\n", &[""], true),
        ("an empty part that shares its line end", "--B\r\n\r\n--B--\r\n", &[""], true),
        ("a part without empty line", "--B\r\na: b\r\n--B--\r\n", &[""], true),
        ("a part without anything", "--B\r\n--B--\r\n", &[""], true),
        ("a longer boundary is content", "--B\r\n\r\none\r\n--Bx\r\n--B--\r\n", &["one\r\n--Bx"], true),
        (
            "text after the boundary is content",
            "--B\r\n\r\none\r\n--B x\r\n--B-\r\n--B--\r\n",
            &["one\r\n--B x\r\n--B-"],
            true,
        ),
        ("a delimiter inside a line is content", "--B\r\n\r\none--B--\r\n--B--\r\n", &["one--B--"], true),
        ("carriage returns are content", "--B\r\n\r\n\r\r\r\n--B\r\r\n--B--", &["\r\r\r\n--B\r"], true),
        ("the content's own line end stays", "--B\r\n\r\none\r\n\r\n--B--\r\n", &["one\r\n"], true),
        ("a delimiter of other case is content", "--b\r\n\r\none\r\n--b--\r\n", &[], false),
        ("nothing", "", &[], false),
        ("a delimiter and nothing", "--B", &[], false),
        ("a part cut in its headers", "--B\r\n\r\none\r\n--B\r\na: b\r\n", &["one"], false),
        ("only the end", "--B--", &[], true),
    ];
    for (name, input, expected, closed) in cases {
        let expected: Vec<String> = expected.iter().map(|s| (*s).to_owned()).collect();
        assert_eq!(contents(input.as_bytes()), (expected, *closed), "{name}");
    }
}

#[test]
fn headers_are_unfolded_and_odd_lines_passed_over() {
    let input = b" stray\r\nContent-Type: text/xml;\r\n\tcharset=utf-8 \r\nno colon\r\n fold of it\r\nX-\xe4:\xf6\r\n:none\r\nA:\r\n\r\nbody";
    let input = [b"--B\r\n".as_slice(), input].concat();
    let (parts, _) = read(&[&input], Limits::default()).expect("no bound is broken");
    let headers: Vec<_> = parts[0].0.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    assert_eq!(headers, [("Content-Type", "text/xml;\tcharset=utf-8"), ("X-ä", "ö"), ("A", "")]);
    let head = PartHead { headers: parts[0].0.clone() };
    assert_eq!((head.get("CONTENT-type"), head.get("b")), (Some("text/xml;\tcharset=utf-8"), None));
    assert_eq!(PartHead::default().content_type(), "text/plain");
}

#[test]
fn every_bound_holds() {
    let limits = Limits { parts: 2, header_line_bytes: 10, header_bytes: 30, outside_bytes: 20 };
    let cases = [
        ("--B\r\n123456789:\r\n\r\n--B--".to_owned(), Ok(())),
        ("--B\r\n1234567890:\r\n\r\n--B--".to_owned(), Err(MultipartError::HeaderLine { limit: 10 })),
        (format!("--B\r\n{}", "x".repeat(12)), Err(MultipartError::HeaderLine { limit: 10 })),
        (format!("--B\r\n{}\r\n", "1234:\r\n".repeat(4)), Ok(())),
        (format!("--B\r\n{}\r\n", "1234:\r\n".repeat(5)), Err(MultipartError::HeaderBytes { limit: 30 })),
        ("--B\r\n\r\n--B\r\n\r\n--B--".to_owned(), Ok(())),
        ("--B\r\n\r\n--B\r\n\r\n--B\r\n\r\n--B--".to_owned(), Err(MultipartError::Parts { limit: 2 })),
        (format!("--B\r\n\r\n\r\n--B{}\r\n", " ".repeat(10)), Ok(())),
    ];
    for (input, expected) in cases {
        let bytes: Vec<&[u8]> = input.as_bytes().chunks(1).collect();
        assert_eq!(read(&[input.as_bytes()], limits).map(|_| ()), expected, "{input:?}");
        assert_eq!(read(&bytes, limits).map(|_| ()), expected, "{input:?}, byte by byte");
    }
}

#[test]
fn boundaries_are_taken_from_the_type() {
    let cases = [
        ("multipart/mixed; boundary=\"a b\"", true),
        ("multipart/mixed; charset=UTF-8; boundary=xtopABC", true),
        ("multipart/mixed", false),
        ("multipart/mixed; boundary=", false),
        ("multipart/mixed; boundary=\"a \"", false),
        ("multipart/mixed; boundary=\"a\r\nb\"", false),
    ];
    for (content_type, usable) in cases {
        assert_eq!(Decoder::new(content_type, Limits::default()).is_ok(), usable, "{content_type}");
    }
    assert!(Decoder::new(&format!("a/b; boundary={}", "x".repeat(201)), Limits::default()).is_err());
}

/// Bytes leave as slices of what came in.
#[test]
fn content_is_not_copied() {
    let input = Bytes::from_static(b"--B\r\n\r\nsome content\r\n--B--");
    let mut decoder = Decoder::new("a/b; boundary=B", Limits::default()).expect("there is a boundary");
    decoder.feed(input.clone());
    assert!(matches!(decoder.poll(), Ok(Some(Event::Head(_)))));
    let Ok(Some(Event::Data(data))) = decoder.poll() else { panic!("data comes next") };
    assert!(input.as_ptr_range().contains(&data.as_ptr()));
}

/// Near-delimiters in masses, whole and in single bytes, take the time that their length takes.
#[test]
fn hostile_content_is_read_in_linear_time() {
    let near = ["\r\n--", "\r\n--B x", "\r\n--B-\t", "\r", "\n", "\r\n--B \t \rx"];
    for pattern in near {
        let content = pattern.repeat((1 << 18) / pattern.len());
        let input = Bytes::from(format!("--B\r\n\r\nx{content}x\r\n--B--\r\n"));
        for size in [1, 7, 1 << 16, input.len()] {
            let mut decoder =
                Decoder::new("a/b; boundary=B", Limits::default()).expect("there is a boundary");
            let (mut seen, mut polls) = (0, 0);
            for start in (0..input.len()).step_by(size) {
                decoder.feed(input.slice(start..input.len().min(start + size)));
                while let Some(event) = decoder.poll().expect("no bound is broken") {
                    polls += 1;
                    if let Event::Data(data) = event {
                        seen += data.len();
                    }
                }
            }
            assert_eq!(seen, content.len() + 2, "{pattern:?} by {size}");
            assert!(polls <= input.len() + 4, "{pattern:?} by {size}: {polls} polls");
        }
    }
}

/// The plainest possible reader, over the whole input: lines, and which of them are delimiters.
fn model(input: &[u8]) -> (Vec<Vec<u8>>, bool) {
    let mut parts: Vec<Vec<u8>> = Vec::new();
    for line in input.split_inclusive(|b| *b == b'\n') {
        let bare = line.strip_suffix(b"\n").map_or(line, |l| l.strip_suffix(b"\r").unwrap_or(l));
        let bare = if line.ends_with(b"\n") { bare } else { line.strip_suffix(b"\r").unwrap_or(line) };
        let delimiter = bare.strip_prefix(b"--B").and_then(|rest| {
            let (close, rest) = rest.strip_prefix(b"--").map_or((false, rest), |rest| (true, rest));
            rest.iter().all(|b| matches!(b, b' ' | b'\t')).then_some(close)
        });
        if delimiter.is_some()
            && let Some(last) = parts.last_mut()
        {
            let end =
                last.strip_suffix(b"\n").map_or(last.len(), |l| l.strip_suffix(b"\r").unwrap_or(l).len());
            last.truncate(end);
        }
        match delimiter {
            Some(true) => return (parts, true),
            Some(false) => parts.push(Vec::new()),
            None => parts.iter_mut().last().into_iter().for_each(|last| last.extend_from_slice(line)),
        }
    }
    (parts, false)
}

/// What the model calls a part, without its headers; `None` when they do not end.
fn body(part: &[u8]) -> Option<Vec<u8>> {
    let mut at = 0;
    for line in part.split_inclusive(|b| *b == b'\n') {
        at += line.len();
        if line == b"\n" || line == b"\r\n" {
            return Some(part[at..].to_vec());
        }
    }
    None
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn agrees_with_a_plain_reader(
        pieces in proptest::collection::vec(
            prop::sample::select(vec!["\r\n", "\n", "\r", "--B", "--", "-", " ", "B", "x", "a: b", "\r\n--B\r\n", "\r\n\r\n", "\r\n--B--"]), 0..24),
        cuts in proptest::collection::vec(1usize..9, 0..24),
    ) {
        let input = pieces.concat().into_bytes();
        let (parts, closed) = model(&input);
        let mut rest = input.as_slice();
        let mut chunks = Vec::new();
        for cut in cuts {
            let (chunk, after) = rest.split_at(cut.min(rest.len()));
            chunks.push(chunk);
            rest = after;
        }
        chunks.push(rest);
        let found = read(&chunks, Limits::default());
        prop_assert!(found.is_ok());
        let (found, found_closed) = found.expect("just asserted");
        prop_assert_eq!(found_closed, closed);
        let found: Vec<_> = found.into_iter().map(|(_, content, _)| content).collect();
        let cut = !closed && parts.last().is_some_and(|part| body(part).is_none());
        let whole = parts.len() - usize::from(cut);
        let expected: Vec<_> = parts[..whole].iter().map(|part| body(part).unwrap_or_default()).collect();
        prop_assert_eq!(found, expected, "{:?}", String::from_utf8_lossy(&input));
    }

    #[test]
    fn takes_any_bytes(chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..8)) {
        let chunks: Vec<&[u8]> = chunks.iter().map(Vec::as_slice).collect();
        let _ = read(&chunks, Limits { parts: 3, header_line_bytes: 20, header_bytes: 60, outside_bytes: 1000 });
    }
}
