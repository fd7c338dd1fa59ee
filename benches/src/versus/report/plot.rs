//! For the eye: one HTML file that needs nothing else.

use super::table::number;
use super::{Report, Row};
use crate::versus::measure::Metric;
use crate::versus::peers::landropic;
use std::fmt::Write;

/// Height of a bar with its gap, pixels.
const STEP: usize = 24;
/// Where bars begin, pixels.
const LEFT: f64 = 140.0;
/// How long the longest bar is, pixels.
const LONGEST: f64 = 560.0;
/// What stands around the pictures.
const HEAD: &str = "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>landropic versus</title>\n\
    <style>body{font:15px system-ui,sans-serif;max-width:900px;margin:2em auto;color:#222;background:#fff}\
    h2{font-size:1em;margin:2em 0 .3em}svg text{font:13px system-ui,sans-serif;fill:#222}\
    .bar{fill:#9db4c8}.ours{fill:#d9662b}.range{stroke:#222;stroke-width:1}</style>\n<h1>landropic versus</h1>\n";

impl Report {
    /// A page with a picture of every row: bars are median times, lines reach from the least to the most.
    pub fn plot(&self) -> String {
        let mut out = HEAD.to_owned();
        let what = format!("Seconds, median of {} rounds, scale {}. Shorter is better.", self.rounds, self.scale);
        out.push_str(&format!("<p>{what} The thin line reaches from the fastest to the slowest trial.</p>\n"));
        self.rows.iter().filter(|row| !row.peers.is_empty()).for_each(|row| out.push_str(&picture(row)));
        let notes = self.absent.iter().map(ToString::to_string).chain(self.failures.iter().cloned());
        notes.for_each(|note| out.push_str(&format!("<p>{}</p>\n", escape(&note))));
        out + "</html>\n"
    }
}

fn picture(row: &Row) -> String {
    let most = row.peers.iter().filter_map(|results| results.spread()).map(|(_, max, _)| max).fold(0.0, f64::max);
    let scale = if most > 0.0 { LONGEST / most } else { 0.0 };
    let mut out = format!("<h2>{}: {}</h2>\n", escape(row.name), escape(&row.what));
    let height = STEP * row.peers.len();
    out.push_str(&format!("<svg width=\"860\" height=\"{height}\" role=\"img\">\n"));
    for (n, results) in row.peers.iter().enumerate() {
        let (Some(median), Some((min, max, _))) = (results.median(Metric::Seconds), results.spread()) else { continue };
        let class = if results.peer == landropic::NAME { "ours" } else { "bar" };
        let (top, middle, base) = (n * STEP + 3, n * STEP + 12, n * STEP + 17);
        let (from, to) = (LEFT + min * scale, LEFT + max * scale);
        let label = row.ratio(results).map_or_else(String::new, |ratio| format!(" (ours/it {})", number(ratio)));
        // Writing to a string does not fail.
        let _ = writeln!(
            out,
            "<text x=\"0\" y=\"{base}\">{}</text><rect class=\"{class}\" x=\"{LEFT}\" y=\"{top}\" width=\"{:.1}\" \
             height=\"18\"/><line class=\"range\" x1=\"{from:.1}\" x2=\"{to:.1}\" y1=\"{middle}\" y2=\"{middle}\"/>\
             <text x=\"{:.1}\" y=\"{base}\">{} s{label}</text>",
            escape(results.peer),
            median * scale,
            to + 6.0,
            number(median),
        );
    }
    out + "</svg>\n"
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use crate::versus::report::tests::example;

    #[test]
    fn a_page_has_a_bar_for_every_peer_and_needs_no_other_file() {
        let page = example().plot();
        assert_eq!(page.matches("<rect").count(), 2);
        assert!(page.contains("one &lt;file&gt;") && page.contains("class=\"ours\"") && page.contains("apt install"));
        assert!(!page.contains("http") && !page.contains("src="));
    }
}
