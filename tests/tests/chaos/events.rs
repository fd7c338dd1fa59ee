//! The daemons' own logs of events, handed to the ledger.

use crate::ledger::Ledger;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use sync_core::RelPath;
use tests::Daemon;
use tests::program::Running;

/// What one daemon tells, over all its lives.
pub(crate) struct Events {
    host: usize,
    lives: usize,
    stream: Option<Running>,
    log: PathBuf,
    consumed: usize,
    /// How often it told of what.
    pub(crate) counts: BTreeMap<String, u64>,
}

impl Events {
    /// Nothing so far.
    pub(crate) fn new(host: usize) -> Self {
        Self { host, lives: 0, stream: None, log: PathBuf::new(), consumed: 0, counts: BTreeMap::new() }
    }

    /// Listens to a daemon that is up, unless it does so already.
    pub(crate) fn listen(&mut self, daemon: &Daemon<'_>, ledger: &mut Ledger) {
        if self.stream.as_mut().is_some_and(|stream| stream.child.try_wait().unwrap().is_none()) {
            return;
        }
        self.hear(ledger);
        self.lives += 1;
        self.log = daemon.lab.path(&format!("{}.events.{}", daemon.name, self.lives));
        self.consumed = 0;
        self.stream = Some(daemon.stream(&["events", "--json"], &self.log));
    }

    /// Hands what it told since to the ledger.
    pub(crate) fn hear(&mut self, ledger: &mut Ledger) {
        let text = fs::read(&self.log).unwrap_or_default();
        let fresh = &text[self.consumed..];
        // The last line may still be on its way.
        let whole = fresh.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        self.consumed += whole;
        for line in fresh[..whole].split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
            let event: Value = serde_json::from_slice(line).unwrap();
            let kind = event["event"].as_str().unwrap_or_default();
            *self.counts.entry(kind.to_owned()).or_default() += 1;
            if kind == "local_change" && event["change"] == "deleted" {
                let path = RelPath::new(event["path"].as_str().unwrap().as_bytes()).unwrap();
                ledger.counts_as_deleted(self.host, &path);
            }
        }
    }
}
