//! The demo's story: numbered steps with the time each took, on standard output, or on standard error when that belongs to `--json`.
//!
//! While a step runs, a terminal shows it with a spinner; anything else gets whole lines only.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Between two pictures of the spinner.
const TICK: Duration = Duration::from_millis(80);
/// Column of the times.
const WIDTH: usize = 78;

/// Tells the story.
#[derive(Debug)]
pub(super) struct Story {
    to_stderr: bool,
    steps: u32,
    running: Option<(String, Instant, ProgressBar)>,
}

impl Story {
    /// On standard error when standard output belongs to something else.
    pub(super) fn new(to_stderr: bool) -> Self {
        Self { to_stderr, steps: 0, running: None }
    }

    /// A line of its own.
    pub(super) fn line(&self, text: &str) {
        // Who closed the pipe does not want to read on; the demo goes on all the same.
        let _ = if self.to_stderr {
            writeln!(std::io::stderr(), "{text}")
        } else {
            writeln!(std::io::stdout(), "{text}")
        };
    }

    /// The step before is done; this one begins.
    pub(super) fn step(&mut self, what: &str) {
        self.done();
        self.steps += 1;
        let what = format!("{:>2}  {what}", self.steps);
        let terminal =
            if self.to_stderr { std::io::stderr().is_terminal() } else { std::io::stdout().is_terminal() };
        let target = match (terminal, self.to_stderr) {
            (true, true) => ProgressDrawTarget::stderr(),
            (true, false) => ProgressDrawTarget::stdout(),
            (false, _) => ProgressDrawTarget::hidden(),
        };
        let style = ProgressStyle::with_template("{msg} {spinner}").expect("the template is well-formed");
        let bar = ProgressBar::with_draw_target(None, target).with_style(style).with_message(what.clone());
        bar.enable_steady_tick(TICK);
        self.running = Some((what, Instant::now(), bar));
    }

    /// The running step is done.
    pub(super) fn done(&mut self) {
        if let Some((what, began, bar)) = self.running.take() {
            bar.finish_and_clear();
            let dots = ".".repeat(WIDTH.saturating_sub(what.chars().count()).max(3));
            self.line(&format!("{what} {dots} {}", seconds(began.elapsed())));
        }
    }
}

/// `0.4 s`.
pub(super) fn seconds(elapsed: Duration) -> String {
    format!("{:.1} s", elapsed.as_secs_f64())
}
