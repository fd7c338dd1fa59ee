//! What has been measured, and how it is shown.

pub mod json;
pub mod plot;
pub mod table;

use crate::percentile;
use crate::versus::args::Args;
use crate::versus::measure::{Metric, Sample};
use crate::versus::peers::{Absent, landropic};
use crate::versus::work::Work;
use std::collections::BTreeMap;

/// Trials from which on a 95th percentile says something.
const MANY: usize = 12;

/// All results so far.
#[derive(Clone, Debug, Default)]
pub struct Report {
    rounds: u32,
    scale: f64,
    absent: Vec<Absent>,
    rows: Vec<Row>,
    failures: Vec<String>,
}

/// One thing that was done, by several peers.
#[derive(Clone, Debug)]
struct Row {
    name: &'static str,
    what: String,
    peers: Vec<Results>,
}

/// What one peer needed for it.
#[derive(Clone, Debug)]
struct Results {
    peer: &'static str,
    figures: BTreeMap<Metric, Vec<f64>>,
}

impl Report {
    /// An empty one.
    pub fn new(args: &Args, absent: Vec<Absent>) -> Self {
        Self { rounds: args.rounds, scale: args.scale, absent, ..Self::default() }
    }

    /// Announces the rows of a workload.
    pub fn begin(&mut self, work: &dyn Work) {
        self.rows.extend(work.rows().into_iter().map(|(name, what)| Row { name, what, peers: Vec::new() }));
    }

    /// Takes note of a trial; one of a row that was not announced is not shown.
    pub fn add(&mut self, peer: &'static str, sample: Sample) {
        let Some(row) = self.rows.iter_mut().find(|row| row.name == sample.row) else { return };
        let at = row.peers.iter().position(|results| results.peer == peer).unwrap_or_else(|| {
            row.peers.push(Results { peer, figures: BTreeMap::new() });
            row.peers.len() - 1
        });
        for (metric, figure) in sample.figures {
            row.peers[at].figures.entry(metric).or_default().push(figure);
        }
    }

    /// Takes note of a trial that came to nothing.
    pub fn failed(&mut self, workload: &str, peer: &str, error: &anyhow::Error) {
        self.failures.push(format!("{workload}: {peer} failed: {error:#}"));
    }
}

impl Row {
    /// Our median time as a share of another's.
    fn ratio(&self, results: &Results) -> Option<f64> {
        let ours = self.peers.iter().find(|results| results.peer == landropic::NAME)?;
        Some(ours.median(Metric::Seconds)? / results.median(Metric::Seconds)?)
    }

    /// What was measured of anybody.
    fn metrics(&self) -> Vec<Metric> {
        let mut found: Vec<Metric> = self.peers.iter().flat_map(|results| results.figures.keys().copied()).collect();
        found.sort_unstable();
        found.dedup();
        found
    }
}

impl Results {
    fn median(&self, metric: Metric) -> Option<f64> {
        self.figures.get(&metric).and_then(|figures| median(figures))
    }

    /// Of the time: the least, the most, and what 95 of 100 trials keep to, where there are many.
    fn spread(&self) -> Option<(f64, f64, Option<f64>)> {
        let times = self.figures.get(&Metric::Seconds).filter(|times| !times.is_empty())?;
        let p95 = (times.len() >= MANY).then(|| percentile(times, 95.0));
        Some((percentile(times, 0.0), percentile(times, 100.0), p95))
    }
}

/// The one in the middle, or half way between the two that are.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let high = *sorted.get(sorted.len() / 2)?;
    let low = sorted[(sorted.len() - 1) / 2];
    Some((low + high) / 2.0)
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Two peers, two rounds, of which one knows nothing about the wire.
    pub(crate) fn example() -> Report {
        let absent = vec![Absent { peer: "unison".into(), program: "unison", package: "unison" }];
        let row = Row { name: "W1", what: "one <file>".into(), peers: Vec::new() };
        let mut report = Report { rounds: 2, scale: 0.5, absent, rows: vec![row], failures: Vec::new() };
        for (ours, theirs) in [(1.0, 2.0), (2.0, 6.0)] {
            let sample = |s| Sample { row: "W1", figures: vec![(Metric::Seconds, s), (Metric::Cpu, s * 2.0)] };
            report.add(landropic::NAME, sample(ours).with(Metric::Wire, Some(3e6)));
            report.add("cp", sample(theirs));
        }
        report.failed("w2", "cp", &anyhow::anyhow!("alas"));
        report
    }

    #[test]
    fn a_median_is_in_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0]), Some(2.5));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn ratios_are_ours_as_a_share_of_theirs() {
        let report = example();
        let row = &report.rows[0];
        assert_eq!(row.ratio(&row.peers[0]), Some(1.0));
        assert_eq!(row.ratio(&row.peers[1]), Some(1.5 / 4.0));
        assert_eq!(row.metrics(), [Metric::Seconds, Metric::Cpu, Metric::Wire]);
        assert_eq!(row.peers[1].spread(), Some((2.0, 6.0, None)));
    }
}
