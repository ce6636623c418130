//! What the project wants to reach on two shared cores with everything on them, beside what this run found.
//!
//! A figure that the run has no row for is not measured, and neither met nor missed. Goals that hold by construction and have no figure
//! (a body is hashed once and read back at most once) are not here.

use std::fmt::Write;

use serde::Serialize;

use crate::report::{Report, Row, round};

/// One goal.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Goal {
    pub(crate) figure: String,
    pub(crate) unit: &'static str,
    /// The bound.
    pub(crate) goal: f64,
    /// The bound that would be better still.
    pub(crate) stretch: Option<f64>,
    pub(crate) measured: Option<f64>,
    /// `None` when it was not measured.
    pub(crate) met: Option<bool>,
    pub(crate) stretch_met: Option<bool>,
    /// What the figure is made of, or which rule it is judged by.
    pub(crate) note: String,
}

#[derive(Clone, Copy, PartialEq)]
enum Better {
    Less,
    More,
}

/// All goals, in the order of the project's table.
pub(crate) fn of(report: &Report) -> Vec<Goal> {
    let small = |concurrency| rsa2048(report, "REST without body", concurrency);
    let headline = small(64);
    let mut goals = vec![
        goal(
            "CPU per small REST exchange, RSA-2048, 64 at once, both servers",
            "ms",
            Better::Less,
            0.40,
            Some(0.28),
        )
        .found(headline.map(|row| row.cpu_ms_per_exchange.servers)),
    ];
    for concurrency in [64, 256] {
        let ratio = small(concurrency).and_then(|row| row.ratio_to_nginx);
        goals.push(
            goal(&format!("ratio to nginx, {concurrency} at once"), "", Better::More, 0.20, Some(0.30))
                .found(ratio.map(|ratio| ratio.median)),
        );
    }
    let work = headline.map(|row| row.per_exchange);
    goals.push(
        goal("private-key operations per exchange, 64 at once", "", Better::Less, 0.25, Some(0.17))
            .found(work.map(|work| work.private_key_operations)),
    );
    goals.push(
        goal("fsyncs per exchange, 64 at once", "", Better::Less, 0.3, Some(0.2))
            .found(work.map(|work| work.fsyncs)),
    );
    goals.push(added_alone(report, small(1)));
    goals.push(added_at_half_rate(rsa2048(report, "REST, half the rate", 256)));
    goals.extend(bodies(report));
    goals.extend(memory(report));
    let start = report.start.filter(|start| start.members >= 1_000);
    goals.push(
        goal("start to first exchange, 1,000 members known", "s", Better::Less, 1.0, Some(0.3))
            .found(start.map(|start| start.to_first_exchange_seconds)),
    );
    goals.extend(registry(report));
    goals.extend(soak(report));
    goals
}

fn rsa2048<'a>(report: &'a Report, name: &str, concurrency: usize) -> Option<&'a Row> {
    let is = |row: &&Row| row.name == name && row.concurrency == concurrency && row.keys == "Rsa(2048)";
    report.rows.iter().find(is)
}

fn added_alone(report: &Report, row: Option<&Row>) -> Goal {
    let added = row.and_then(|row| Some(row.ours.p50_ms - row.direct?.p50_ms));
    let floor = report.floor.map_or(0.0, |floor| floor.exchange_ms());
    let figure = "latency added, 1 at once, beyond two signatures, two verifications, four commits";
    let goal = goal(figure, "ms", Better::Less, 1.0, Some(0.5));
    let found = goal.found(added.filter(|_| report.floor.is_some()).map(|added| added - floor));
    let note =
        added.map_or(String::new(), |added| format!("{added:.2} ms added, {floor:.2} ms of it the floor"));
    Goal { note, ..found }
}

fn added_at_half_rate(row: Option<&Row>) -> Goal {
    let sides = row.and_then(|row| Some((row, row.direct?)));
    let note = sides.map_or(String::new(), |(row, direct)| {
        let nginx = row.nginx.map_or("-".to_owned(), |nginx| format!("{:.1}", nginx.p99_ms));
        let (ours, rate) = (row.ours.p99_ms, row.offered_per_second.unwrap_or_default());
        format!("at {rate:.0}/s: ours {ours:.1}, nginx {nginx}, backend {:.1}", direct.p99_ms)
    });
    let goal = goal("p99 added at half of the highest rate", "ms", Better::Less, 10.0, Some(5.0));
    Goal { note, ..goal.found(sides.map(|(row, direct)| row.ours.p99_ms - direct.p99_ms)) }
}

fn bodies(report: &Report) -> [Goal; 2] {
    let row = rsa2048(report, "REST 100 MiB", 4);
    let speed = row.and_then(|row| row.body_mib_per_second);
    let limit = report.floor.map(|floor| floor.body_mib_per_second);
    let ratio = goal(
        "four parallel 100 MiB bodies, relative to hashing and sealing them",
        "",
        Better::More,
        0.5,
        Some(0.7),
    );
    let note = match (speed, limit) {
        (Some(speed), Some(limit)) => format!("{speed:.0} of {limit:.0} MiB/s"),
        _ => String::new(),
    };
    let logged = rsa2048(report, "REST 100 MiB, logged", 4).or(row);
    [
        Goal { note, ..ratio.found(speed.zip(limit).map(|(speed, limit)| speed / limit)) },
        // Pages of files are counted whole; the log has more in it than bodies, and an index.
        goal("written to files for each byte of a body, each server", "", Better::Less, 1.05, None)
            .found(logged.and_then(|row| row.written_per_body_byte)),
    ]
}

fn memory(report: &Report) -> [Goal; 3] {
    let idle = Some(report.idle_rss_mb.most()).filter(|most| *most > 0.0);
    let is_small = |row: &&Row| row.body_mib_per_second.is_none() && row.keys == "Rsa(2048)";
    let small = report.rows.iter().filter(is_small).map(|row| row.rss_mb.most()).reduce(f64::max);
    let largest = rsa2048(report, "REST 10 GiB", 1).map(|row| row.rss_mb.most());
    [
        goal("resident memory of a server, idle", "MB", Better::Less, 50.0, None).found(idle),
        goal("the same at full small load", "MB", Better::Less, 150.0, None).found(small),
        goal("the same with a 10 GiB body", "MB", Better::Less, 100.0, None).found(largest),
    ]
}

fn registry(report: &Report) -> [Goal; 3] {
    let large = report.registry.as_ref().filter(|large| large.start.members >= 100_000);
    let cost = large.and_then(|large| large.lookup_ns.last().copied());
    let known = "100,000 members and 10,000 servers known";
    let lookups = goal(&format!("{known}: a lookup"), "µs", Better::Less, 4.0, None);
    let p99 =
        goal(&format!("{known}: p99 during a reload, relative to without"), "", Better::Less, 2.0, None);
    let note = large
        .map_or(String::new(), |large| format!("{:.1} and {:.1} ms", large.reloading_p99_ms, large.p99_ms));
    [
        goal(&format!("{known}: memory"), "MB", Better::Less, 300.0, None)
            .found(large.map(|large| large.rss_mb.most())),
        Goal {
            note: "constant: what caches no longer hold stays below 1 % of an exchange".to_owned(),
            ..lookups.found(cost.map(|ns| ns / 1000.0))
        },
        Goal { note, ..p99.found(large.map(|large| large.reloading_p99_ms / large.p99_ms)) },
    ]
}

/// The first slice is where caches and buffers fill; the last is compared with the second.
fn soak(report: &Report) -> [Goal; 2] {
    let long = report.soak.len() > 2 && report.soak.iter().map(|slice| slice.seconds).sum::<f64>() >= 179.0;
    let ends = report.soak.get(1).zip(report.soak.last()).filter(|_| long);
    let name = "three minutes at full load, log cut by size";
    [
        goal(&format!("{name}: memory, last half minute relative to second"), "", Better::Less, 1.1, None)
            .found(ends.map(|(second, last)| last.rss_mb.most() / second.rss_mb.most())),
        goal(&format!("{name}: p99, the same"), "", Better::Less, 1.25, None)
            .found(ends.map(|(second, last)| last.p99_ms / second.p99_ms)),
    ]
}

/// A goal that nothing is known of yet.
fn goal(figure: &str, unit: &'static str, better: Better, goal: f64, stretch: Option<f64>) -> Judged {
    let goal = Goal {
        figure: figure.to_owned(),
        unit,
        goal,
        stretch,
        measured: None,
        met: None,
        stretch_met: None,
        note: String::new(),
    };
    Judged(goal, better)
}

struct Judged(Goal, Better);

impl Judged {
    fn found(self, measured: Option<f64>) -> Goal {
        let Self(goal, better) = self;
        let measured = measured.filter(|figure| figure.is_finite()).map(|figure| round(figure, 3));
        let reaches = |bound: f64| {
            measured.map(|figure| if better == Better::Less { figure <= bound } else { figure >= bound })
        };
        let stretch_met = goal.stretch.and_then(reaches);
        Goal { met: reaches(goal.goal), stretch_met, measured, ..goal }
    }
}

/// For people.
pub(crate) fn table(goals: &[Goal], text: &mut String) {
    let _ = writeln!(text, "\n{:<82} {:>10} {:>10}  ", "Goals", "goal", "found");
    for Goal { figure, unit, goal, measured, met, stretch_met, note, .. } in goals {
        let found = measured.map_or("-".to_owned(), |figure| format!("{figure}"));
        let verdict = match (met, stretch_met) {
            (None, _) => "not measured",
            (Some(false), _) => "NOT MET",
            (Some(true), Some(true)) => "met, stretch too",
            (Some(true), _) => "met",
        };
        let bound = format!("{goal} {unit}");
        let note = if note.is_empty() { String::new() } else { format!(" ({note})") };
        let _ = writeln!(text, "{figure:<82} {:>10} {found:>10}  {verdict}{note}", bound.trim());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_is_met_missed_or_not_measured() {
        let less = |figure| goal("x", "ms", Better::Less, 0.40, Some(0.28)).found(figure);
        assert_eq!((less(Some(0.4)).met, less(Some(0.4)).stretch_met), (Some(true), Some(false)));
        assert_eq!((less(Some(0.41)).met, less(Some(0.2)).stretch_met), (Some(false), Some(true)));
        assert_eq!((less(None).met, less(Some(f64::NAN)).met), (None, None));
        let more = goal("x", "", Better::More, 0.2, None).found(Some(0.3));
        assert_eq!((more.met, more.stretch_met), (Some(true), None));
    }

    #[test]
    fn a_run_without_rows_meets_nothing_and_misses_nothing() {
        let report = Report::new(crate::relay::Extent::Smoke, crate::report::Found::default());
        assert!(report.goals.iter().all(|goal| goal.met.is_none()), "{:?}", report.goals);
        assert!(report.headline.is_none());
    }
}
