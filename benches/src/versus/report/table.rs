//! For people.

use super::{Report, Results, Row};
use crate::versus::measure::Metric;

impl Report {
    /// A table of every row, and what is missing.
    pub fn table(&self) -> String {
        let mut out = format!(
            "median of {} rounds, scale {}; 'ours/it' is landropic's time as a share of each one's\n",
            self.rounds, self.scale
        );
        self.rows.iter().for_each(|row| out.push_str(&rows(row)));
        let absent = self.absent.iter().map(|absent| format!("left out: {absent}\n"));
        let notes: String = absent.chain(self.failures.iter().map(|line| format!("{line}\n"))).collect();
        if !notes.is_empty() {
            out.push('\n');
            out.push_str(&notes);
        }
        out
    }
}

fn rows(row: &Row) -> String {
    let metrics = row.metrics();
    let has_p95 = row.peers.iter().any(|results| results.spread().is_some_and(|(_, _, p95)| p95.is_some()));
    let mut lines = vec![format!("\n{}: {}", row.name, row.what)];
    let mut head = vec![String::new(), "s".into(), "min".into(), "max".into()];
    head.extend(has_p95.then(|| "p95".into()));
    head.push("ours/it".into());
    head.extend(metrics.iter().skip(1).map(|metric| title(*metric).to_owned()));
    lines.push(line(&head));
    lines.extend(row.peers.iter().map(|results| line(&cells(row, results, &metrics, has_p95))));
    lines.join("\n") + "\n"
}

fn cells(row: &Row, results: &Results, metrics: &[Metric], has_p95: bool) -> Vec<String> {
    let figure = |figure: Option<f64>| figure.map_or_else(|| "–".to_owned(), number);
    let spread = results.spread();
    let mut cells = vec![results.peer.to_owned(), figure(results.median(Metric::Seconds))];
    cells.extend([figure(spread.map(|(min, ..)| min)), figure(spread.map(|(_, max, _)| max))]);
    cells.extend(has_p95.then(|| figure(spread.and_then(|(.., p95)| p95))));
    cells.push(figure(row.ratio(results)));
    let others = metrics.iter().skip(1);
    cells.extend(others.map(|metric| figure(results.median(*metric).map(|value| value / unit(*metric)))));
    cells
}

fn line(cells: &[String]) -> String {
    let (first, rest) = cells.split_first().map_or(("", &[][..]), |(first, rest)| (first.as_str(), rest));
    let rest: String = rest.iter().map(|cell| format!(" {cell:>9}")).collect();
    format!("  {first:<16}{rest}")
}

/// Three digits that count.
pub(crate) fn number(value: f64) -> String {
    match value.abs() {
        at if at >= 100.0 => format!("{value:.0}"),
        at if at >= 10.0 => format!("{value:.1}"),
        at if at >= 1.0 => format!("{value:.2}"),
        at if at >= 0.1 || at == 0.0 => format!("{value:.3}"),
        _ => format!("{value:.4}"),
    }
}

fn title(metric: Metric) -> &'static str {
    match metric {
        Metric::Seconds => "s",
        Metric::Cpu => "CPU s",
        Metric::Wire => "wire MB",
        Metric::Again => "again MB",
        Metric::Peak => "peak MB",
        Metric::PeakLeft => "sender MB",
        Metric::PeakRight => "recv. MB",
        Metric::Idle => "idle MB",
    }
}

/// What a value is divided by to be shown.
fn unit(metric: Metric) -> f64 {
    match metric {
        Metric::Seconds | Metric::Cpu => 1.0,
        Metric::Wire | Metric::Again => 1e6,
        Metric::Peak | Metric::PeakLeft | Metric::PeakRight | Metric::Idle => 1e6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::versus::report::tests::example;

    #[test]
    fn a_table_has_a_column_for_whatever_was_measured_of_anybody() {
        let expected = "\
median of 2 rounds, scale 0.5; 'ours/it' is landropic's time as a share of each one's

W1: one <file>
                           s       min       max   ours/it     CPU s   wire MB
  landropic             1.50      1.00      2.00      1.00      3.00      3.00
  cp                    4.00      2.00      6.00     0.375      8.00         –

left out: unison needs unison: apt install unison
w2: cp failed: alas
";
        assert_eq!(example().table(), expected);
    }

    #[test]
    fn numbers_have_the_digits_that_count() {
        let shown = [0.0, 0.01234, 0.1234, 1.234, 12.34, 123.4].map(number);
        assert_eq!(shown, ["0.000", "0.0123", "0.123", "1.23", "12.3", "123"]);
    }
}
