//! How often devices dial: pauses double from a second to the fifth failure, and only a session of a minute, a restart or
//! a person's wish shortens them.

use std::collections::BTreeMap;
use sync_core::DeviceId;

/// Nominal pauses after so many failures in a row, seconds; the last one is for all that follow.
const PAUSES: [u64; 6] = [0, 1, 2, 4, 8, 300];
/// How long a session must last to be a success, microseconds.
const STABLE_US: u64 = 60_000_000;

/// What is known of one device's dials to another.
#[derive(Clone, Copy, Debug, Default)]
struct Line {
    failures: usize,
    failed_at: u64,
    connected_at: Option<u64>,
    is_dialing: bool,
    /// Whether the next dial may come at any time.
    is_free: bool,
    /// When a person last wished for it: what happens in that instant may come before the wish or after it.
    wished_at: Option<u64>,
}

/// Every dial of one run.
#[derive(Debug, Default)]
pub struct Dials(BTreeMap<(usize, DeviceId), Line>);

impl Dials {
    /// `host` starts anew.
    pub fn started(&mut self, host: usize) {
        self.0.retain(|(h, _), _| *h != host);
    }

    /// A person at `host` wants `peer` dialled.
    pub fn wished(&mut self, host: usize, peer: DeviceId, now: u64) {
        let line = self.line(host, peer, 0);
        (line.is_free, line.wished_at) = (true, Some(now));
    }

    fn line(&mut self, host: usize, peer: DeviceId, failed_at: u64) -> &mut Line {
        self.0.entry((host, peer)).or_insert_with(|| Line { failed_at, is_free: true, ..Line::default() })
    }

    /// `host` dials `peer`.
    ///
    /// # Errors
    /// It did so too soon.
    pub fn dialled(&mut self, host: usize, peer: DeviceId, now: u64) -> Result<(), String> {
        let line = self.line(host, peer, now);
        let pause = PAUSES[line.failures.min(PAUSES.len() - 1)] * 1_000_000;
        // Nine tenths, as the jitter has it.
        let soonest = line.failed_at + if pause > 60_000_000 { pause } else { pause / 10 * 9 };
        if !line.is_free && now < soonest {
            let waited = (now - line.failed_at) as f64 / 1e6;
            return Err(format!("host {host} dials again {waited:.3} s after failure {}", line.failures));
        }
        (line.is_free, line.is_dialing) = (line.wished_at == Some(now), true);
        Ok(())
    }

    /// A dial of `host` came to nothing.
    pub fn failed(&mut self, host: usize, peer: DeviceId, now: u64) {
        let line = self.line(host, peer, now);
        // Where the peer's own dial has succeeded meanwhile, ours is of no account.
        if std::mem::take(&mut line.is_dialing) {
            (line.failures, line.failed_at) = (line.failures + 1, now);
        }
    }

    /// `host` has a session with `peer`.
    pub fn connected(&mut self, host: usize, peer: DeviceId, now: u64) {
        let line = self.line(host, peer, now);
        line.is_dialing = false;
        line.connected_at.get_or_insert(now);
    }

    /// `host` has it no more.
    pub fn disconnected(&mut self, host: usize, peer: DeviceId, now: u64) {
        let line = self.line(host, peer, now);
        if line.connected_at.take().is_some_and(|since| now - since >= STABLE_US) {
            line.failures = 0;
        }
        (line.failures, line.failed_at) = (line.failures + 1, now);
    }
}
