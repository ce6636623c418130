//! Where ours answers otherwise than the recorded servers on purpose: which cases, what instead, and the heading of
//! `docs/differences.md` that says why.
//!
//! A case without a rule must come out the same. A case with one must come out as the rule says, and not as recorded.

use std::path::Path;

use super::compare::Outcome;

pub mod table;

/// What ours does instead.
#[derive(Clone, Copy)]
pub enum Ours {
    /// Another status, fault code, or number of calls.
    Gives(Option<u16>, Option<&'static str>, usize),
    /// The same but for the aspects that begin so.
    But(&'static [&'static str]),
    /// The same in everything that is compared, and this besides.
    Also(fn(&Outcome) -> bool),
}

/// One rule of ours and the cases where it shows.
pub struct Rule {
    /// A heading of `docs/differences.md`.
    pub heading: &'static str,
    pub area: &'static str,
    pub ours: Ours,
    pub cases: &'static [&'static str],
}

/// Equal, or different as a rule says.
///
/// # Errors
/// What is otherwise.
pub fn judge(area: &str, name: &str, ours: &Outcome, differences: &[String]) -> Result<(), String> {
    let list = |found: &[&str]| format!("\n    {}", found.join("\n    "));
    let all: Vec<&str> = differences.iter().map(|found| &found[..]).collect();
    let Some(rule) = rule(area, name) else {
        return if all.is_empty() { Ok(()) } else { Err(list(&all)) };
    };
    match rule.ours {
        Ours::Also(holds) if all.is_empty() => {
            if holds(ours) {
                Ok(())
            } else {
                Err(format!("{:?} is not as the rule says", ours.calls))
            }
        }
        Ours::Also(_) => Err(list(&all)),
        _ if all.is_empty() => Err("answered as stock servers do, against what the rules say".into()),
        Ours::Gives(status, code, calls) => {
            let expected = (status, code.map(str::to_owned), calls);
            let found = ours.summary();
            if found == expected { Ok(()) } else { Err(format!("{found:?} against the rule {expected:?}")) }
        }
        Ours::But(aspects) => {
            let other: Vec<&str> = all
                .into_iter()
                .filter(|found| !aspects.iter().any(|aspect| found.starts_with(aspect)))
                .collect();
            if other.is_empty() { Ok(()) } else { Err(list(&other)) }
        }
    }
}

/// The rule for a case.
pub fn rule(area: &str, name: &str) -> Option<&'static Rule> {
    table::RULES.iter().find(|rule| rule.area == area && rule.cases.contains(&name))
}

/// Every rule is in the list that people read, and no case has two.
///
/// # Panics
/// One is not, or has.
pub fn check() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/differences.md");
    let text = std::fs::read_to_string(file).unwrap();
    let headings: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| line.trim_start_matches('#').trim())
        .collect();
    for rule in table::RULES {
        assert!(headings.contains(&rule.heading), "docs/differences.md has no heading \"{}\"", rule.heading);
        for case in rule.cases {
            let rules =
                table::RULES.iter().filter(|other| other.area == rule.area && other.cases.contains(case));
            assert_eq!(rules.count(), 1, "{}: {case}", rule.area);
        }
    }
}
