//! The run as a picture: rate and CPU of each row beside what the bare relays come to, on a logarithmic scale, as SVG.

use std::fmt::Write;

use proto::xml::escape_text;

use crate::report::{Report, Side};

const ROW: usize = 46;
const BAR: usize = 12;
const LABELS: usize = 250;
const WIDTH: usize = 560;
const COLOURS: [(&str, &str); 3] = [("ours", "#1b6ca8"), ("nginx", "#9aa5b1"), ("direct", "#d8dde3")];

/// The picture.
pub(crate) fn svg(report: &Report) -> String {
    let height = 70 + ROW * report.rows.len();
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{}\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n<text x=\"10\" y=\"20\">Exchanges per second, {}, commit {}</text>\n",
        LABELS + WIDTH + 130,
        escape_text(&report.machine),
        escape_text(&report.commit),
    );
    for (number, (name, colour)) in COLOURS.iter().enumerate() {
        let x = 10 + number * 90;
        let _ = writeln!(
            out,
            "<rect x=\"{x}\" y=\"32\" width=\"12\" height=\"12\" fill=\"{colour}\"/><text x=\"{}\" y=\"43\">{name}</text>",
            x + 18
        );
    }
    for (number, row) in report.rows.iter().enumerate() {
        let y = 60 + number * ROW;
        let keys = row.keys.to_lowercase().replace(['(', ')'], "");
        let label = format!("{} · {} at once · {keys}", row.name, row.concurrency);
        let _ = writeln!(out, "<text x=\"10\" y=\"{}\">{}</text>", y + 22, escape_text(&label));
        let sides = [Some(&row.ours), row.nginx.as_ref(), row.direct.as_ref()];
        for (place, (side, (_, colour))) in sides.into_iter().zip(COLOURS).enumerate() {
            if let Some(side) = side {
                bar(&mut out, side, colour, y + place * (BAR + 1));
            }
        }
    }
    out.push_str("</svg>\n");
    out
}

fn bar(out: &mut String, side: &Side, colour: &str, y: usize) {
    // From 0.01 to 100,000 a second.
    let share = ((side.exchanges_per_second.max(0.01).log10() + 2.0) / 7.0).clamp(0.0, 1.0);
    let width = share * WIDTH as f64;
    let _ = writeln!(
        out,
        "<rect x=\"{LABELS}\" y=\"{y}\" width=\"{width:.1}\" height=\"{BAR}\" fill=\"{colour}\"/>\
         <text x=\"{:.1}\" y=\"{}\" font-size=\"10\">{:.1}/s, p99 {:.1} ms</text>",
        LABELS as f64 + width + 4.0,
        y + 10,
        side.exchanges_per_second,
        side.p99_ms,
    );
}
