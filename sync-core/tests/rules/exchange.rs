//! Sessions at the level of rows: cursor flow where history is shared, all rows by key where it is not, messages in
//! flight, and an end at any moment.

use crate::replica::{Device, Peer, Shared};
use std::collections::VecDeque;
use std::ops::Bound;
use sync_core::RelPath;
use sync_core::index::{Row, Vector};

enum Message {
    Row {
        path: RelPath,
        row: Row,
        cursor: Option<u64>,
    },
    Gone(RelPath),
    /// Every key has been sent.
    Listed,
    Caught {
        rev: u64,
        knowledge: Vector,
        applied: Vector,
    },
}

#[derive(Clone)]
enum Phase {
    /// All rows by key, after this one; then by change number from what it was at the start.
    Keys(Option<RelPath>, u64),
    Revs(u64),
}

struct Lane {
    /// What the receiver knew at the start, as it said.
    known: Vector,
    /// What the sender knew at the start, as it said.
    claimed: Vector,
    phase: Phase,
    full: bool,
    queue: VecDeque<Message>,
    /// Whether the receiver has been through every key of the sender, and has queued its `Gone`s.
    listed: bool,
    caught: Option<(u64, Vector, Vector)>,
}

/// Two devices talking. Lane 0 carries what `ends[0]` sends.
pub struct Session {
    pub ends: [usize; 2],
    lanes: [Lane; 2],
}

fn pair(devices: &mut [Device], i: usize, j: usize) -> (&mut Device, &mut Device) {
    assert_ne!(i, j);
    if i < j {
        let (low, high) = devices.split_at_mut(j);
        (&mut low[i], &mut high[0])
    } else {
        let (low, high) = devices.split_at_mut(i);
        (&mut high[0], &mut low[j])
    }
}

fn greet(me: &mut Device, peer: &Device, shared: &mut Shared) {
    let confirmed = peer.db.knowledge.seq(me.actor());
    if confirmed > me.db.seq {
        me.renew(true, shared);
    } else {
        me.db.acked = me.db.acked.max(confirmed);
    }
}

fn hear(me: &mut Device, from: usize, knowledge: &Vector, applied: &Vector) {
    let peer = &mut me.db.peers[from];
    (peer.knowledge, peer.applied) = (knowledge.clone(), applied.clone());
}

impl Session {
    pub fn open(devices: &mut [Device], i: usize, j: usize, shared: &mut Shared) -> Self {
        let (a, b) = pair(devices, i, j);
        greet(a, b, shared);
        greet(b, a, shared);
        hear(a, j, &b.db.knowledge, &b.db.applied);
        hear(b, i, &a.db.knowledge, &a.db.applied);
        let heeds = shared.rules.heeds_purge_rev;
        let is_void = |s: &Device, Peer { epoch, cursor, .. }: &Peer| {
            *epoch != s.db.epoch || heeds && *cursor < s.db.purge_rev || *cursor > s.db.rev
        };
        let full = is_void(a, &b.db.peers[i]) || is_void(b, &a.db.peers[j]);
        let lane = |s: &Device, r: &Device| Lane {
            known: r.db.knowledge.clone(),
            claimed: s.db.knowledge.clone(),
            phase: match full {
                true => Phase::Keys(None, s.db.rev),
                false => Phase::Revs(r.db.peers[s.id].cursor),
            },
            full,
            queue: VecDeque::new(),
            listed: !full || shared.rules.caught_before_gone,
            caught: None,
        };
        Self { ends: [i, j], lanes: [lane(a, b), lane(b, a)] }
    }

    /// Whether `device`, which has just purged, has yet to send what it changed until then: what it purged will not be
    /// among it.
    pub fn is_behind_purge(&self, device: &Device) -> bool {
        let lane = self.ends.iter().position(|end| *end == device.id).map(|n| &self.lanes[n]);
        lane.is_some_and(|lane| match lane.phase {
            Phase::Keys(..) => true,
            Phase::Revs(at) => at < device.db.purge_rev,
        })
    }

    /// One message is sent or received, on either lane. False once there is nothing to do.
    pub fn step(&mut self, devices: &mut [Device], shared: &mut Shared) -> bool {
        let choice = shared.below(4);
        (0..4).any(|n| {
            let (lane, sends) = ((choice + n) % 2, (choice / 2 + n / 2).is_multiple_of(2));
            match sends {
                true => self.lanes[lane].queue.len() < 3 && self.send(lane, devices, shared),
                false => self.receive(lane, devices, shared),
            }
        })
    }

    fn send(&mut self, n: usize, devices: &[Device], shared: &Shared) -> bool {
        let sender = &devices[self.ends[n]].db;
        let answered = self.lanes[1 - n].listed;
        let lane = &mut self.lanes[n];
        if let Phase::Keys(after, start) = &lane.phase {
            let bound = after.clone().map_or(Bound::Unbounded, Bound::Excluded);
            let Some((path, (row, _))) = sender.rows.range((bound, Bound::Unbounded)).next() else {
                lane.phase = Phase::Revs(*start);
                lane.queue.push_back(Message::Listed);
                return true;
            };
            lane.phase = Phase::Keys(Some(path.clone()), *start);
            lane.queue.push_back(Message::Row { path: path.clone(), row: row.clone(), cursor: None });
            return true;
        }
        let Phase::Revs(mut at) = lane.phase.clone() else { return false };
        loop {
            let next = sender.rows.iter().filter(|(_, (_, rev))| *rev > at).min_by_key(|(_, (_, rev))| *rev);
            let Some((path, (row, rev))) = next else { break };
            at = *rev;
            lane.phase = Phase::Revs(at);
            if !(shared.rules.skip)(row, &lane.known) {
                let cursor = (!lane.full).then_some(at);
                lane.queue.push_back(Message::Row { path: path.clone(), row: row.clone(), cursor });
                return true;
            }
        }
        if !answered {
            // The receiver would take this side's knowledge for a row that it still holds and that is gone here.
            return false;
        }
        let caught = (sender.rev, sender.knowledge.clone(), sender.applied.clone());
        if lane.caught.as_ref() == Some(&caught) {
            return false;
        }
        lane.caught = Some(caught.clone());
        lane.queue.push_back(Message::Caught { rev: caught.0, knowledge: caught.1, applied: caught.2 });
        true
    }

    fn receive(&mut self, n: usize, devices: &mut [Device], shared: &mut Shared) -> bool {
        let (from, to) = (self.ends[n], self.ends[1 - n]);
        let epoch = devices[from].db.epoch;
        let me = &mut devices[to];
        let claimed = self.lanes[n].claimed.clone();
        let Some(message) = self.lanes[n].queue.pop_front() else { return false };
        match message {
            Message::Row { path, row, cursor } => {
                if shared.rules.join_early {
                    me.db.knowledge.join(&claimed);
                }
                let lacks = !me.db.rows.contains_key(&path);
                // `Gone` speaks for the knowledge this side has claimed: the peer merges under that.
                let known = row.siblings.keys().all(|d| self.lanes[1 - n].claimed.contains(*d));
                if lacks && known && self.lanes[n].full {
                    if shared.rules.answers_gone {
                        self.lanes[1 - n].queue.push_back(Message::Gone(path));
                    }
                } else {
                    integrate(me, &path, &row, &claimed, shared);
                }
                if let Some(cursor) = cursor {
                    me.db.peers[from].cursor = cursor;
                }
            }
            Message::Listed => self.lanes[n].listed = true,
            Message::Gone(path) => integrate(me, &path, &Row::default(), &claimed, shared),
            Message::Caught { rev, knowledge, applied } => {
                hear(me, from, &knowledge, &applied);
                me.db.acked = me.db.acked.max(knowledge.seq(me.actor()));
                me.db.knowledge.join(&knowledge);
                (me.db.peers[from].epoch, me.db.peers[from].cursor) = (epoch, rev);
            }
        }
        true
    }
}

fn integrate(me: &mut Device, path: &RelPath, theirs: &Row, claimed: &Vector, shared: &Shared) {
    let mine = me.db.rows.get(path).map_or_else(Row::default, |(row, _)| row.clone());
    let merged = (shared.rules.merge)(&mine, &me.db.knowledge, theirs, claimed);
    if merged != mine {
        me.put(path, merged);
    }
}
