//! What devices told each other: a dot stands for one write for ever, and what a device once claimed to know it knows.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use sync_core::FolderId;
use sync_core::index::{Dot, Key, Value, Vector};
use sync_core::wire::{Caught, Message};

/// Everything that was said in one run.
#[derive(Debug, Default)]
pub struct Sayings {
    writes: BTreeMap<(FolderId, Dot), (Key, Value)>,
    /// What each device has claimed to know since its index last forgot something.
    known: BTreeMap<(usize, FolderId), Vector>,
    /// What each device has last claimed to have applied.
    applied: BTreeMap<(usize, FolderId), Vector>,
}

impl Sayings {
    /// `host` sends a message.
    ///
    /// # Errors
    /// What contradicts what was said before.
    pub fn said(&mut self, host: usize, message: &Message) -> Result<(), String> {
        match message {
            Message::Rows(rows) => rows.rows.iter().try_for_each(|row| {
                row.row
                    .siblings
                    .iter()
                    .try_for_each(|(dot, value)| self.wrote(host, rows.folder, *dot, &row.key, value))
            }),
            Message::SyncStart(start) => self.claims(host, start.folder, &start.knowledge),
            Message::Caught(caught) => self.claims(host, caught.folder, &caught.knowledge),
            Message::Hello(_)
            | Message::FolderOffer(_)
            | Message::FolderGone(_)
            | Message::Gone { .. }
            | Message::Have(_)
            | Message::Ping(_)
            | Message::Pong(_)
            | Message::Notice { .. }
            | Message::Goodbye
            | Message::Want(_)
            | Message::ListWant(_) => Ok(()),
        }
    }

    fn wrote(&mut self, host: usize, folder: FolderId, dot: Dot, key: &Key, value: &Value) -> Result<(), String> {
        match self.writes.entry((folder, dot)) {
            Entry::Vacant(entry) => {
                entry.insert((key.clone(), value.clone()));
            }
            Entry::Occupied(entry) if *entry.get() == (key.clone(), value.clone()) => {}
            Entry::Occupied(entry) => {
                let (other_key, other) = entry.get();
                return Err(format!(
                    "host {host}: {dot:?} is {value:?} at {key:?}, and was {other:?} at {other_key:?}"
                ));
            }
        }
        Ok(())
    }

    fn claims(&mut self, host: usize, folder: FolderId, knowledge: &Vector) -> Result<(), String> {
        let known = self.known.entry((host, folder)).or_default();
        if !knowledge.covers(known) {
            return Err(format!("host {host}: it knew {known:?} and now claims {knowledge:?}"));
        }
        known.join(knowledge);
        Ok(())
    }

    /// `host` claims to have applied what `caught` says. Returns what it claimed last.
    pub fn applied(&mut self, host: usize, caught: &Caught) -> Vector {
        self.applied.insert((host, caught.folder), caught.applied.clone()).unwrap_or_default()
    }

    /// The index of `host` has forgotten something.
    pub fn forgot(&mut self, host: usize) {
        self.known.retain(|(h, _), _| *h != host);
        self.applied.retain(|(h, _), _| *h != host);
    }
}
