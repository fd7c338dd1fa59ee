//! What a host's disk is busy with, step by step, so that people and crashes come between any two steps.

use crate::core::disk::{Disk, Entry, content_of};
use crate::core::world::World;
use crate::outcome::Invariant;
use sync_core::id::{AskId, EffectId};
use sync_core::index::Stat;
use sync_core::input::{CopyError, Done, Seen};
use sync_core::output::{Op, Serve, Source};
use sync_core::transfer::{Bits, ChunkList};
use sync_core::{ContentId, DirPath, Input, ItemError, ItemErrorKind, RelPath};

/// An effect under way.
#[derive(Debug)]
pub(super) enum Job {
    Scan { scan: EffectId, left: Vec<DirPath> },
    Probe { probe: EffectId, paths: Vec<(RelPath, Option<Stat>)>, answers: Vec<Result<Seen, ItemError>>, lost: bool },
    Apply { apply: EffectId, ops: Vec<Op>, done: Vec<Done>, undo: Vec<(RelPath, Option<Entry>)> },
    Copy { copy: EffectId, content: ContentId, from: RelPath, expect: Stat },
    Reuse { reuse: EffectId, content: ContentId, chunks: ChunkList, kept: Bits, basis: Source },
    Salvage { salvage: EffectId, contents: Vec<(ContentId, u64)> },
    Seal { seal: EffectId, content: ContentId },
    Finish { finish: EffectId, content: ContentId, size: u64 },
    Serve { ask: AskId, answer: Serve },
}

impl Job {
    pub(super) fn scan(scan: EffectId, within: Option<RelPath>) -> Self {
        Self::Scan { scan, left: vec![within.map_or(DirPath::ROOT, DirPath::from)] }
    }

    pub(super) fn probe(probe: EffectId, paths: Vec<(RelPath, Option<Stat>)>) -> Self {
        Self::Probe { probe, paths, answers: Vec::new(), lost: false }
    }

    pub(super) fn apply(apply: EffectId, ops: Vec<Op>) -> Self {
        Self::Apply { apply, ops, done: Vec::new(), undo: Vec::new() }
    }
}

impl World {
    /// One step of a job. What is left of it, if anything.
    pub(super) fn work_on(&mut self, host: usize, job: Job) -> Option<Job> {
        match job {
            Job::Scan { scan, left } => self.scan_step(host, scan, left),
            Job::Probe { probe, paths, answers, lost } => self.probe_step(host, probe, paths, answers, lost),
            Job::Apply { apply, ops, done, undo } => self.apply_step(host, apply, ops, done, undo),
            Job::Copy { copy, content, from, expect } => {
                let outcome = match self.hosts[host].disk.copy(&from, &expect, content) {
                    None => Err(CopyError::Source),
                    Some(outcome) => outcome.map_err(CopyError::Disk),
                };
                if outcome.is_ok() {
                    self.hosts[host].kept.replaced(content);
                }
                self.complete_job(host, Input::Copied { copy, outcome })
            }
            Job::Reuse { reuse, content, chunks, kept, basis } => {
                let outcome = match self.hosts[host].disk.reuse(content, &chunks, &kept, &basis) {
                    None => Err(CopyError::Source),
                    Some(outcome) => outcome.map_err(CopyError::Disk),
                };
                outcome.iter().flat_map(Bits::iter).for_each(|_| self.one_more_part(host));
                self.complete_job(host, Input::Reused { reuse, outcome })
            }
            Job::Salvage { salvage, contents } => {
                let outcome = self.hosts[host].disk.salvage(&contents);
                let kept = &mut self.hosts[host].kept;
                outcome.iter().flatten().for_each(|content| kept.replaced(*content));
                self.complete_job(host, Input::Salvaged { salvage, outcome })
            }
            Job::Seal { seal, content } => {
                let outcome = self.hosts[host].disk.seal(content);
                self.complete_job(host, Input::Sealed { seal, outcome })
            }
            Job::Finish { finish, content, size } => {
                let outcome = self.hosts[host].disk.finish(content, size);
                if outcome == Ok(false)
                    && self.hosts[host].disk.is_staged(content)
                    && !self.oracle.has_endured_hostility()
                    && let Err(what) = self.hosts[host].kept.came_to_nothing(content)
                {
                    self.oracle.fail(Invariant::Resume, format!("host {host}: {what}"));
                }
                if outcome != Ok(true) {
                    self.hosts[host].kept.dropped(content);
                }
                self.complete_job(host, Input::Finished { finish, outcome })
            }
            Job::Serve { ask, answer } => {
                self.serve(host, ask, answer);
                None
            }
        }
    }

    fn complete_job(&mut self, host: usize, input: Input) -> Option<Job> {
        let after = self.hosts[host].disk_dice.range(5, 800);
        self.tell_later(host, after, input);
        None
    }

    fn scan_step(&mut self, host: usize, scan: EffectId, mut left: Vec<DirPath>) -> Option<Job> {
        let disk = &self.hosts[host].disk;
        if let Some(error) = disk.root_error() {
            return self.complete_job(host, Input::Scanned { scan, outcome: Err(error) });
        }
        let Some(dir) = left.pop() else {
            return self.complete_job(host, Input::Scanned { scan, outcome: Ok(()) });
        };
        if !disk.is_dir(&dir) {
            return Some(Job::Scan { scan, left });
        }
        if disk.faults.read && dir.as_path().is_some() {
            let error = ItemError { kind: ItemErrorKind::Io, reason: "cannot read the directory".into() };
            self.tell_later(host, 0, Input::Unlisted { scan, dir, error });
            return Some(Job::Scan { scan, left });
        }
        let entries = disk.children(&dir);
        let is_dir = |stat: &Stat| stat.kind == sync_core::index::StatKind::Dir;
        left.extend(entries.iter().filter(|(_, s)| is_dir(s)).filter_map(|(n, _)| dir.join(n).ok()).map(DirPath::from));
        let span = self.hosts[host].disk_dice.index(8) + 1;
        let mut after = None;
        let mut parts = entries.chunks(span).peekable();
        if parts.peek().is_none() {
            self.tell_later(host, 0, Input::Listed { scan, dir, after: None, entries: Vec::new(), last: true });
            return Some(Job::Scan { scan, left });
        }
        while let Some(part) = parts.next() {
            let (dir, last) = (dir.clone(), parts.peek().is_none());
            let from = std::mem::replace(&mut after, part.last().map(|(n, _)| n.clone()));
            self.tell_later(host, 0, Input::Listed { scan, dir, after: from, entries: part.to_vec(), last });
        }
        Some(Job::Scan { scan, left })
    }

    fn probe_step(
        &mut self,
        host: usize,
        probe: EffectId,
        paths: Vec<(RelPath, Option<Stat>)>,
        mut answers: Vec<Result<Seen, ItemError>>,
        lost: bool,
    ) -> Option<Job> {
        let error = self.hosts[host].disk.root_error();
        let lost = lost || error.is_some();
        if lost {
            let error =
                error.unwrap_or_else(|| ItemError { kind: ItemErrorKind::RootLost, reason: "the root went".into() });
            return self.complete_job(host, Input::Probed { probe, outcome: Err(error) });
        }
        let Some((path, known)) = paths.get(answers.len()) else {
            return self.complete_job(host, Input::Probed { probe, outcome: Ok(answers) });
        };
        let busy = self.chance(|c| c.busy);
        let busy = self.hosts[host].disk_dice.percent(busy / 4);
        answers.push(if busy {
            Err(ItemError { kind: ItemErrorKind::Busy, reason: "it changes while it is read".into() })
        } else {
            self.hosts[host].disk.probe(path, known.as_ref())
        });
        Some(Job::Probe { probe, paths, answers, lost })
    }

    fn apply_step(
        &mut self,
        host: usize,
        apply: EffectId,
        ops: Vec<Op>,
        mut done: Vec<Done>,
        mut undo: Vec<(RelPath, Option<Entry>)>,
    ) -> Option<Job> {
        if done.is_empty()
            && let Some(error) = self.hosts[host].disk.root_error()
        {
            return self.complete_job(host, Input::Applied { apply, outcome: Err(error) });
        }
        let Some(op) = ops.get(done.len()) else {
            self.use_up(host, &ops, &done);
            let done = done.into_iter().map(|done| self.hosts[host].disk.settle(done)).collect();
            return self.complete_job(host, Input::Applied { apply, outcome: Ok(done) });
        };
        let before = self.hosts[host].disk.get(&op.path).cloned();
        let outcome = if self.hosts[host].disk.lost {
            Done::Failed(ItemError { kind: ItemErrorKind::Io, reason: "the root went".into() })
        } else {
            self.hosts[host].disk.carry_out(op)
        };
        self.tell_trace(host, |_| format!("{op:?}: {outcome:?}"));
        match &outcome {
            Done::Made(_) | Done::Volatile(..) => {
                self.made(host, op, before.as_ref());
                undo.push((op.path.clone(), before));
            }
            Done::NotStaged => op.make.content().into_iter().for_each(|c| self.hosts[host].kept.dropped(c)),
            Done::Unexpected | Done::Failed(_) => self.oracle.failed(host, &op.path),
        }
        done.push(outcome);
        Some(Job::Apply { apply, ops, done, undo })
    }

    /// An operation was carried out where `before` was.
    fn made(&mut self, host: usize, op: &Op, before: Option<&Entry>) {
        self.hosts[host].unheard.insert(op.path.clone());
        // Where there are no large files to die amid, it is the changes of the tree.
        if !self.case.scenario.is_bulky() {
            self.one_more_part(host);
        }
        let now = self.hosts[host].disk.get(&op.path).and_then(content_of);
        if let Some(content) = now {
            self.oracle.placed(host, &op.path, content);
            self.hosts[host].kept.begun_anew(content);
        }
        match before.and_then(content_of) {
            Some(content) if now != Some(content) => {
                self.oracle.displaced(host, &op.path, content);
                let disks: Vec<&Disk> = self.hosts.iter().map(|host| &host.disk).collect();
                self.oracle.took_away(host, &op.path, content, &disks);
            }
            Some(_) | None => {}
        }
        if self.hosts[host].watcher.percent(50) {
            self.hint(host, op.path.clone());
        }
    }

    /// Staged files that were put in place are there no more.
    fn use_up(&mut self, host: usize, ops: &[Op], done: &[Done]) {
        let made = |(op, done): (&Op, &Done)| op.make.content().filter(|_| matches!(done, Done::Made(_)));
        for content in ops.iter().zip(done).filter_map(made) {
            self.hosts[host].disk.use_up(content);
            self.hosts[host].kept.dropped(content);
        }
    }
}
