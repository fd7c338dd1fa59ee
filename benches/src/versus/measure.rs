//! What a stretch of time has cost.

use crate::versus::processes;
use anyhow::Result;
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often memory is looked at. Peaks are kept by the kernel: only who ends within this time is missed.
const LOOK: Duration = Duration::from_millis(50);

/// One thing that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Metric {
    /// Wall time, seconds
    Seconds,
    /// CPU time of both ends, seconds
    Cpu,
    /// Bytes on the loopback, both directions, headers among them
    Wire,
    /// Bytes on the loopback beyond those of a copy that nothing interrupts
    Again,
    /// Largest peak resident memory of any one process, bytes
    Peak,
    /// Peak resident memory of the end that sends, bytes
    PeakLeft,
    /// Peak resident memory of the end that receives, bytes
    PeakRight,
    /// Resident memory at rest of the end that has the files, bytes
    Idle,
}

/// What one trial says about one row of the results.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The row.
    pub row: &'static str,
    /// The figures.
    pub figures: Vec<(Metric, f64)>,
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.row)?;
        let mut times = self.figures.iter().filter(|(metric, _)| *metric == Metric::Seconds);
        times.try_for_each(|(_, seconds)| write!(f, " {seconds:.3} s"))
    }
}

impl Sample {
    /// One with a single figure more.
    pub fn with(mut self, metric: Metric, figure: Option<f64>) -> Self {
        self.figures.extend(figure.map(|figure| (metric, figure)));
        self
    }

    /// The bytes that went over the loopback, if they were counted.
    pub fn wire_bytes(&self) -> Option<f64> {
        self.figures.iter().find(|(metric, _)| *metric == Metric::Wire).map(|(_, bytes)| *bytes)
    }
}

/// A measurement under way.
pub struct Meter {
    started: Instant,
    cpu_s: f64,
    wire: Option<u64>,
    memory: JoinHandle<u64>,
    stop: Sender<()>,
}

impl Meter {
    /// Starts one.
    pub fn start() -> Self {
        let (stop, stopped) = channel();
        let memory = std::thread::spawn(move || {
            let mut peaks = BTreeMap::new();
            loop {
                let ended = stopped.recv_timeout(LOOK) != Err(RecvTimeoutError::Timeout);
                let seen = processes::descendants().into_iter();
                peaks.extend(seen.filter_map(|pid| Some((pid, processes::peak_bytes(pid)?))));
                if ended {
                    return peaks.into_values().max().unwrap_or(0);
                }
            }
        });
        let (cpu_s, wire) = (processes::cpu_s(), wire_bytes());
        Self { cpu_s, wire, memory, stop, started: Instant::now() }
    }

    /// Ends it: what it has cost.
    ///
    /// # Errors
    /// The thread that looks at memory has panicked.
    pub fn stop(self, row: &'static str) -> Result<Sample> {
        let seconds = self.started.elapsed().as_secs_f64();
        let wire = wire_bytes().zip(self.wire).map(|(after, before)| (after - before) as f64);
        let cpu_s = processes::cpu_s() - self.cpu_s;
        drop(self.stop);
        let Ok(peak) = self.memory.join() else { anyhow::bail!("the look at memory went wrong") };
        let sample = Sample { row, figures: vec![(Metric::Seconds, seconds), (Metric::Cpu, cpu_s)] };
        Ok(sample.with(Metric::Wire, wire).with(Metric::Peak, Some(peak as f64)))
    }
}

/// Bytes that have gone over the loopback, if it is ours alone.
pub fn wire_bytes() -> Option<u64> {
    crate::versus::namespace::is_own().then(|| loopback(&fs::read_to_string("/proc/net/dev").ok()?)).flatten()
}

fn loopback(table: &str) -> Option<u64> {
    let line = table.lines().find_map(|line| line.trim_start().strip_prefix("lo:"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_loopback_is_found_in_the_table_of_interfaces() {
        let table = "Inter-|   Receive\n face |bytes    packets\n    lo: 1234 5 0 0 0 0 0 0 1234 5 0 0\n  eth0: 9 9\n";
        assert_eq!(loopback(table), Some(1_234));
        assert_eq!(loopback("eth0: 9"), None);
    }

    #[test]
    fn a_stretch_of_time_costs_at_least_that_time() {
        let meter = Meter::start();
        std::thread::sleep(Duration::from_millis(20));
        let sample = meter.stop("W1").unwrap();
        assert!(sample.figures.iter().any(|(metric, figure)| *metric == Metric::Seconds && *figure >= 0.02));
        assert_eq!(sample.wire_bytes(), None, "the loopback is everybody's here");
    }
}
