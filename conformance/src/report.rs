//! What a run found: for people, for programs (JSON), for build servers (JUnit XML).

use serde_json::{Value, json};

use crate::run::{Result, Verdict};

/// How many cases came out how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// All of them.
    pub cases: usize,
    /// All held.
    pub passed: usize,
    /// Something did not.
    pub failed: usize,
    /// Something did not, as is known.
    pub known: usize,
    /// Not run.
    pub skipped: usize,
}

impl Tally {
    /// Counts.
    pub fn of(results: &[Result]) -> Self {
        let mut tally = Self { cases: results.len(), ..Self::default() };
        for result in results {
            match result.verdict {
                Verdict::Passed => tally.passed += 1,
                Verdict::Failed(_) => tally.failed += 1,
                Verdict::Known(..) => tally.known += 1,
                Verdict::Skipped(_) => tally.skipped += 1,
            }
        }
        tally
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { cases, passed, failed, known, skipped } = self;
        write!(
            f,
            "{cases} cases: {passed} passed, {failed} failed, {known} known differences, {skipped} skipped"
        )
    }
}

/// One line for a case, more when it did not pass.
pub fn line(result: &Result) -> String {
    let case = result.case;
    let (word, rest) = match &result.verdict {
        Verdict::Passed => ("ok", String::new()),
        Verdict::Failed(problems) => ("FAILED", indented(problems)),
        Verdict::Known(problems, reason) => {
            ("known", format!("\n      known: {reason}{}", indented(problems)))
        }
        Verdict::Skipped(reason) => ("skipped", format!("\n      {reason}")),
    };
    format!("{word:<7} {} {:<5} {}{rest}\n", case.document, case.clause, case.title)
}

fn indented(problems: &[String]) -> String {
    problems.iter().map(|problem| format!("\n      {}", printable(problem))).collect()
}

/// Text out of a server's answer, made harmless for a terminal and for XML.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() || c == '\u{fffe}' || c == '\u{ffff}' { '\u{fffd}' } else { c })
        .collect()
}

/// An object with a tally and an array of cases.
pub fn json(results: &[Result]) -> Value {
    let tally = Tally::of(results);
    let cases: Vec<_> = results
        .iter()
        .map(|result| {
            let (verdict, problems, reason) = match &result.verdict {
                Verdict::Passed => ("passed", vec![], None),
                Verdict::Failed(problems) => ("failed", problems.clone(), None),
                Verdict::Known(problems, reason) => ("known", problems.clone(), Some(reason.as_str())),
                Verdict::Skipped(reason) => ("skipped", vec![], Some(*reason)),
            };
            json!({
                "id": result.case.id(),
                "document": result.case.document,
                "clause": result.case.clause,
                "title": result.case.title,
                "verdict": verdict,
                "problems": problems,
                "reason": reason,
                "milliseconds": u64::try_from(result.took.as_millis()).unwrap_or(u64::MAX),
            })
        })
        .collect();
    json!({
        "cases": tally.cases,
        "passed": tally.passed,
        "failed": tally.failed,
        "known": tally.known,
        "skipped": tally.skipped,
        "results": cases,
    })
}

/// One suite per document; known differences count as skipped, with their reason.
pub fn junit(results: &[Result]) -> String {
    let mut documents: Vec<&str> = results.iter().map(|result| result.case.document).collect();
    documents.dedup();
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
    for document in documents {
        let of: Vec<Result> = results.iter().filter(|r| r.case.document == document).cloned().collect();
        let tally = Tally::of(&of);
        xml += &format!(
            "  <testsuite name=\"{document}\" tests=\"{}\" failures=\"{}\" skipped=\"{}\">\n",
            tally.cases,
            tally.failed,
            tally.known + tally.skipped
        );
        for result in &of {
            let name = escape(&format!("{} {}", result.case.clause, result.case.title));
            xml += &format!(
                "    <testcase classname=\"{document}\" name=\"{name}\" time=\"{:.3}\">",
                result.took.as_secs_f64()
            );
            xml += &match &result.verdict {
                Verdict::Passed => String::new(),
                Verdict::Failed(problems) => {
                    format!("<failure message=\"{}\"/>", escape(&printable(&problems.join("; "))))
                }
                Verdict::Known(_, reason) => format!("<skipped message=\"{}\"/>", escape(reason)),
                Verdict::Skipped(reason) => format!("<skipped message=\"{}\"/>", escape(reason)),
            };
            xml += "</testcase>\n";
        }
        xml += "  </testsuite>\n";
    }
    xml + "</testsuites>\n"
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn every_verdict_is_reported_everywhere() {
        let cases: Vec<_> = crate::cases::all().take(4).collect();
        let verdicts = [
            Verdict::Passed,
            Verdict::Failed(vec!["status \"500\" <&> \u{1b}[31m".to_owned()]),
            Verdict::Known(vec!["x".to_owned()], "ours is stricter".to_owned()),
            Verdict::Skipped("no stranger"),
        ];
        let results: Vec<_> = cases
            .into_iter()
            .zip(verdicts)
            .map(|(case, verdict)| Result { case, verdict, took: Duration::from_millis(5) })
            .collect();
        let tally = Tally { cases: 4, passed: 1, failed: 1, known: 1, skipped: 1 };
        assert_eq!(Tally::of(&results), tally);
        let value = json(&results);
        assert_eq!(
            (&value["failed"], &value["results"][2]["reason"]),
            (&json!(1), &json!("ours is stricter"))
        );
        let xml = junit(&results);
        let read = roxmltree::Document::parse(&xml).unwrap();
        let counted = |name: &str| read.descendants().filter(|node| node.has_tag_name(name)).count();
        assert_eq!((counted("testcase"), counted("failure"), counted("skipped")), (4, 1, 2));
        let text: String = results.iter().map(line).collect();
        assert!(text.contains("FAILED") && !text.contains('\u{1b}'), "{text}");
    }
}
