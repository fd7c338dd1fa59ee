//! From the disk to rows: hints and scans name suspects, probes tell what they hold.

use super::{Folder, Trouble};
use crate::context::{Context, Effect};
use crate::error::{ItemError, ItemErrorKind};
use crate::id::EffectId;
use crate::index::{Base, Body, Dot, Index, Row, Stat, StatKind};
use crate::input::{Hint, Seen};
use crate::output::{Event, Output};
use crate::path::{DirPath, Name, RelPath};
use crate::plan::{LocalChange, Wanted, local_change};
use crate::proving::{Mutant, Point, is_mutant, sometimes};
use crate::time::{Instant, Timer};
use alloc::vec::Vec;
use core::{ops::Bound, time::Duration};

/// Bases read at once while comparing a directory.
const PAGE: usize = 1_000;
/// A path that keeps being hinted is looked at after this many quiet periods all the same.
const MAX_QUIET_PERIODS: u32 = 10;
/// How long a path that seems gone waits for the rest of a move to be seen.
const MOVE_WINDOW: Duration = Duration::from_secs(1);

impl Folder {
    /// Something may have changed.
    pub(crate) fn hint(&mut self, hint: Hint, cx: &Context) {
        match hint {
            Hint::Everything => drop(self.scans_due.insert(None)),
            Hint::Path(path) => {
                let (now, quiet) = (cx.now(), cx.config.limits.settle);
                let first = *self.hinted_since.entry(path.clone()).or_insert(now);
                self.hints.set(path, (now + quiet).min(first + quiet * MAX_QUIET_PERIODS));
            }
        }
    }

    /// Reads every file of the folder again.
    pub(crate) fn verify(&mut self) {
        self.verifying = true;
        self.scans_due.insert(None);
    }

    /// When something on the disk side is due.
    pub(super) fn disk_deadline(&self, now: Instant) -> Option<(Instant, Timer)> {
        if let Some((_, at)) = &self.root_error {
            return Some((*at, Timer::Retry)).filter(|(at, _)| *at > now);
        }
        let agendas = [(&self.hints, Timer::Settle), (&self.missing, Timer::Settle), (&self.retries, Timer::Retry)];
        let due = agendas.into_iter().filter_map(|(agenda, why)| Some((agenda.next_after(now)?, why)));
        due.chain([(self.next_rescan, Timer::Rescan)]).min()
    }

    /// Does what is due: settled hints, retries, scans, probes.
    pub(super) fn look<I: Index>(&mut self, cx: &mut Context, index: &mut I) -> Result<(), I::Error> {
        let now = cx.now();
        if self.root_error.as_ref().is_some_and(|(_, at)| *at > now) || self.state.paused {
            return Ok(());
        }
        if self.root_error.is_some() && self.scan.is_none() && self.probes == 0 {
            // A root that is back says nothing: somebody has to look.
            self.scans_due.insert(None);
        }
        while let Some(path) = self.hints.pop_due(now) {
            self.hinted_since.remove(&path);
            // A file that is being written is read again when its pause is over, however often it is named meanwhile.
            let is_busy = self.trouble.get(&path).is_some_and(|t| t.error.kind == ItemErrorKind::Busy);
            let is_lost = is_mutant(Mutant::HintDropped) && self.locks.contains(&path);
            if (!is_busy || self.retries.get(&path).is_none()) && !is_lost {
                self.suspects.insert(path, true);
            }
        }
        while let Some(path) = self.retries.pop_due(now) {
            sometimes(Point::ItemRetried);
            self.suspects.entry(path.clone()).or_insert(false);
            self.plan.insert(path);
        }
        if self.next_rescan <= now {
            self.next_rescan = now + cx.config.limits.rescan;
            if !is_mutant(Mutant::RescanNever) {
                sometimes(Point::RescanDue);
                self.scans_due.insert(None);
            }
        }
        self.start_scan(cx);
        while self.probes < cx.config.limits.probes && self.start_probe(cx, index)? {}
        Ok(())
    }

    fn start_scan(&mut self, cx: &mut Context) {
        if self.scan.is_some() {
            return;
        }
        // `None`, everything, sorts first and stands for all the others.
        let Some(within) = self.scans_due.pop_first() else { return };
        if within.is_none() {
            self.scans_due.clear();
        }
        let id = cx.start(Effect::Scan(self.id()));
        cx.emit(Output::Scan { scan: id, folder: self.id(), within });
        self.scan = Some(id);
    }

    /// Starts one probe if there is something to look at. Returns whether it did.
    fn start_probe<I: Index>(&mut self, cx: &mut Context, index: &mut I) -> Result<bool, I::Error> {
        let limit = cx.config.limits.probe_paths;
        let free = |path: &&RelPath| !self.locks.contains(*path) || is_mutant(Mutant::LocksIgnored);
        let mut paths = self.without_source_locked(self.suspects.keys().filter(free), limit, index)?;
        if paths.is_empty() {
            paths = self.gone_paths(cx.now(), limit, index)?;
        }
        if paths.is_empty() {
            return Ok(false);
        }
        let mut asked = Vec::with_capacity(paths.len());
        for path in &paths {
            let deep = self.suspects.remove(path).unwrap_or(false);
            if deep {
                self.deep.insert(path.clone());
            }
            self.locks.insert(path.clone());
            let known = if self.verifying { None } else { index.base(self.id(), path)?.map(|b| b.stat) };
            asked.push((path.clone(), known));
        }
        let probe = cx.start(Effect::Probe(self.id(), paths));
        cx.emit(Output::Probe { probe, folder: self.id(), paths: asked });
        self.probes += 1;
        Ok(true)
    }

    /// The first of `paths`, but for copies whose source is under an effect. Whether this disk still has their version there,
    /// and so whether what a person did to them settles it, shows only when that has ended.
    fn without_source_locked<'a, I: Index>(
        &self,
        paths: impl Iterator<Item = &'a RelPath>,
        limit: usize,
        index: &mut I,
    ) -> Result<Vec<RelPath>, I::Error> {
        if self.locks.is_empty() || self.copies.is_empty() {
            return Ok(paths.take(limit).cloned().collect());
        }
        let mut first = Vec::new();
        for path in paths {
            if first.len() == limit {
                break;
            }
            let base = index.base(self.id(), path)?;
            match self.copy_shown(path, base.as_ref(), index)? {
                Some((source, _)) if self.locks.contains(&source) => sometimes(Point::SourceAwaited),
                _ => first.push(path.clone()),
            }
        }
        Ok(first)
    }

    /// Paths that seem gone and may be taken for deleted.
    fn gone_paths<I: Index>(&self, now: Instant, limit: usize, index: &mut I) -> Result<Vec<RelPath>, I::Error> {
        let is_quiet = self.is_quiet();
        if !is_quiet && self.missing.earliest().is_none_or(|at| at > now) {
            return Ok(Vec::new());
        }
        let is_gone = |path: &&RelPath| {
            let is_due = |at: Instant| is_quiet || at <= now;
            self.missing.get(path).is_some_and(is_due) && !self.locks.contains(*path) && !self.is_locked_below(path)
        };
        // Conflict copies first: what goes beside them may give their versions other names. A directory at the name of one
        // waits for what is in it as everywhere: until then another look at it would only come to the same.
        let is_copy = |path: &&RelPath| is_gone(path) && !self.missing.has_below(path);
        let copies = self.without_source_locked(self.copies.paths().filter(is_copy), limit, index)?;
        if !copies.is_empty() {
            return Ok(copies);
        }
        // Backwards: what is in a directory before the directory.
        self.without_source_locked(self.missing.paths().rev().filter(is_gone), limit, index)
    }

    /// Whether something below `path` is under an effect. It is judged first: until then another look at the directory
    /// would only come to the same.
    fn is_locked_below(&self, path: &RelPath) -> bool {
        // Names such as `a-b` come between `a` and what is below it.
        let after = self.locks.range::<RelPath, _>((Bound::Excluded(path), Bound::Unbounded));
        let mut alike = after.take_while(|lock| lock.as_bytes().starts_with(path.as_bytes()));
        alike.any(|lock| lock.is_below(path))
    }

    /// Whether what else is new has been seen: then what seems gone was not moved.
    fn is_quiet(&self) -> bool {
        let walked = self.scan.is_none() && self.scans_due.is_empty();
        walked && self.suspects.is_empty() && self.probes == 0 && self.hints.is_empty()
    }

    /// Part of a directory: what differs from base is suspect.
    pub(crate) fn listed<I: Index>(
        &mut self,
        dir: &DirPath,
        after: Option<Name>,
        entries: &[(Name, Stat)],
        last: bool,
        cx: &mut Context,
        index: &mut I,
    ) -> Result<(), I::Error> {
        let end = entries.last().map(|(name, _)| name.clone()).filter(|_| !last);
        let mut bases: alloc::collections::BTreeMap<Name, Base> = alloc::collections::BTreeMap::new();
        let mut from = after;
        loop {
            let page = index.base_children(self.id(), dir, from.as_ref(), PAGE)?;
            let is_end =
                page.len() < PAGE || end.as_ref().is_some_and(|end| page.last().is_some_and(|(n, _)| n >= end));
            from = page.last().map(|(n, _)| n.clone());
            bases.extend(page.into_iter().filter(|(n, _)| end.as_ref().is_none_or(|end| n <= end)));
            if is_end {
                break;
            }
        }
        for (name, stat) in entries {
            let base = bases.remove(name);
            match dir.join(name) {
                Err(_) => self.fail_name(dir, name, cx),
                Ok(path) if stat.kind == StatKind::Other => self.fail_from_disk(&path, unsupported(), cx),
                Ok(path) => {
                    let reread = self.verifying && stat.kind == StatKind::File;
                    if reread || base.is_none_or(|b| b.stat.differs(stat)) {
                        if self.is_open && self.hints.get(&path).is_none() && !self.suspects.contains_key(&path) {
                            sometimes(Point::SeenByScanOnly);
                        }
                        self.suspects.entry(path).or_insert(false);
                    }
                }
            }
        }
        for path in bases.keys().filter_map(|name| dir.join(name).ok()) {
            self.missing.set_once(path, cx.now() + MOVE_WINDOW);
        }
        Ok(())
    }

    /// A directory could not be read.
    pub(crate) fn unlisted(&mut self, dir: &DirPath, error: ItemError, cx: &mut Context) {
        match dir.as_path() {
            Some(path) => {
                sometimes(Point::DirUnread);
                self.fail_from_disk(&path.clone(), error, cx);
            }
            None => self.set_root(Err(error), cx),
        }
    }

    /// A walk has ended.
    pub(crate) fn scanned(&mut self, id: EffectId, outcome: Result<(), ItemError>, cx: &mut Context) {
        if self.scan.take_if(|scan| *scan == id).is_some() {
            self.set_root(outcome, cx);
        }
    }

    /// Probed paths hold this.
    pub(crate) fn probed<I: Index>(
        &mut self,
        paths: Vec<RelPath>,
        outcome: Result<Vec<Result<Seen, ItemError>>, ItemError>,
        cx: &mut Context,
        index: &mut I,
    ) -> Result<(), I::Error> {
        self.probes -= 1;
        let answers = match outcome {
            Ok(answers) => answers,
            Err(_) if is_mutant(Mutant::LostRootIsEmpty) => paths.iter().map(|_| Ok(Seen::Absent)).collect(),
            Err(error) => {
                self.set_root(Err(error), cx);
                for path in paths {
                    self.unlock(&path);
                    let deep = self.deep.remove(&path);
                    self.suspects.insert(path, deep);
                }
                return Ok(());
            }
        };
        self.set_root(Ok(()), cx);
        // What is gone is judged last: the other end of a move may be among the rest.
        let is_gone = |(_, answer): &(RelPath, Result<Seen, ItemError>)| matches!(answer, Ok(Seen::Absent));
        let (gone, here): (Vec<_>, Vec<_>) = paths.into_iter().zip(answers).partition(is_gone);
        for (path, answer) in here.into_iter().chain(gone) {
            let mut deep = self.deep.remove(&path);
            match answer.or_else(|e| if is_mutant(Mutant::UnreadIsGone) { Ok(Seen::Absent) } else { Err(e) }) {
                Ok(seen) => {
                    if self.trouble.get(&path).is_some_and(|t| t.from_disk) {
                        // It may be what is in it that could not be read.
                        deep = true;
                        self.recovered(&path);
                    }
                    if deep && matches!(seen, Seen::Dir(_)) {
                        self.scans_due.insert(Some(path.clone()));
                    }
                    self.seen(&path, &seen, cx, index)?;
                }
                Err(error) => {
                    sometimes(Point::ItemUnread);
                    self.missing.remove(&path);
                    self.fail_from_disk(&path, error, cx);
                }
            }
            self.unlock(&path);
        }
        Ok(())
    }

    fn seen<I: Index>(&mut self, path: &RelPath, seen: &Seen, cx: &mut Context, index: &mut I) -> Result<(), I::Error> {
        let base = index.base(self.id(), path)?.filter(|_| self.is_open || !is_mutant(Mutant::BaseForgotten));
        // A directory comes before what is in it: nobody would look for a base below one that has none.
        if *seen != Seen::Absent
            && let Some(dir) = self.outermost_unseen(path, index)?
        {
            self.missing.remove(path);
            self.suspects.insert(dir, true);
            return Ok(());
        }
        if *seen == Seen::Absent && base.is_some() {
            // The other end of a move may not have been seen yet: look again when it has.
            self.missing.set_once(path.clone(), cx.now() + MOVE_WINDOW);
            if !self.is_quiet() && self.missing.get(path).is_none_or(|at| at > cx.now()) {
                sometimes(Point::GoneAwaited);
                return Ok(());
            }
        }
        let was_dir = base.as_ref().is_some_and(|b| b.stat.kind == StatKind::Dir);
        let is_dir = matches!(seen, Seen::Dir(_));
        let may_hold = was_dir && !is_dir || *seen == Seen::Absent;
        if may_hold && !is_mutant(Mutant::ChildrenOutlive) && self.lose_children(path, cx, index)? {
            sometimes(Point::ChildrenGoFirst);
            return Ok(());
        }
        self.missing.remove(path);
        let wanted = self.wanted(path, index)?;
        let shows_copy = self.copies.at(path).is_some() || self.copy_shown(path, base.as_ref(), index)?.is_some();
        let change = if shows_copy {
            self.copy_change(path, base.as_ref(), seen, &wanted, index)?
        } else {
            let row = self.row(path, index)?;
            let is_read = !matches!(seen, Seen::File(_, None));
            // What was still to be done here when the process ended may have been done.
            let may_be_ours = !self.is_open
                && !row.siblings.is_empty()
                && index.is_pending(self.id(), path)?
                && !is_mutant(Mutant::LeftoverIsEdit);
            match base.as_ref() {
                Some(base) if is_read && !is_mutant(Mutant::KeptIsTouched) && self.is_kept(path, base, index)? => {
                    sometimes(Point::KeptSpared);
                    if *seen == Seen::Absent {
                        LocalChange::Forget
                    } else {
                        local_change(&row, None, seen, &wanted, may_be_ours)
                    }
                }
                base => local_change(&row, base, seen, &wanted, may_be_ours),
            }
        };
        let existed = base.is_some();
        match change {
            LocalChange::None => {}
            LocalChange::Adopt(base) => {
                // The copy of a version that turns up at the name it lost may have been moved there.
                if let Some(copy) = base.dot.and_then(|dot| self.copies.place(path, dot)) {
                    self.suspects.entry(copy.clone()).or_insert(false);
                }
                index.put_base(self.id(), path, &base)?;
                self.mark(path, index)?;
            }
            // A directory that was there for what was in it has no version to delete: what it had hidden stays beside it.
            LocalChange::Forget if was_dir && self.copies.has(path) => {
                self.delete_local(path, None, cx, index)?;
                self.tell_local(path, "deleted", cx);
            }
            LocalChange::Forget => {
                index.remove_base(self.id(), path)?;
                self.mark(path, index)?;
            }
            LocalChange::Write { body, stat, saw } => {
                self.write_local(path, body, stat, saw, cx, index)?;
                self.tell_local(path, if existed { "changed" } else { "created" }, cx);
            }
            LocalChange::Settle { source, loser } => {
                sometimes(Point::CopyDeleted);
                index.remove_base(self.id(), path)?;
                self.settle_loser(&source, loser, cx, index)?;
                self.mark(path, index)?;
                self.tell_local(path, "deleted", cx);
            }
            LocalChange::Delete { saw } => {
                self.delete_local(path, Some(saw), cx, index)?;
                self.tell_local(path, "deleted", cx);
            }
        }
        self.wake(path);
        Ok(())
    }

    /// The outermost directory around `path` that has to be looked at before it. That alone is walked then: a look at one
    /// between them would only come to the same, and while the outermost is under an effect, again and again.
    fn outermost_unseen<I: Index>(&self, path: &RelPath, index: &mut I) -> Result<Option<RelPath>, I::Error> {
        let mut outermost = None;
        for dir in path.ancestors() {
            // One that was made in place of a file, and is still to be seen, is none yet.
            if index.base(self.id(), &dir)?.is_some_and(|b| b.stat.kind == StatKind::Dir) {
                break;
            }
            outermost = Some(dir);
        }
        Ok(outermost)
    }

    /// Whether base's version shows as a copy as well. Then an apply was about to give its name to another, and may have
    /// done so before a crash: what happens here happens to no version for sure.
    fn is_kept<I: Index>(&self, path: &RelPath, base: &Base, index: &mut I) -> Result<bool, I::Error> {
        let Some(copy) = base.dot.and_then(|dot| self.copies.place(path, dot)) else { return Ok(false) };
        Ok(index.base(self.id(), copy)?.is_some_and(|b| b.body.same_content(&base.body)))
    }

    /// What a look at a path means where a conflict copy shows. The copy's version lives in another row.
    fn copy_change<I: Index>(
        &self,
        path: &RelPath,
        base: Option<&Base>,
        seen: &Seen,
        wanted: &Wanted,
        index: &mut I,
    ) -> Result<LocalChange, I::Error> {
        if *seen != Seen::Absent || base.is_none() {
            return Ok(local_change(&Row::default(), base, seen, wanted, false));
        }
        Ok(match self.copy_shown(path, base, index)? {
            Some((source, loser)) => LocalChange::Settle { source, loser },
            None => LocalChange::Forget,
        })
    }

    /// What was in a directory that is gone is gone too, and is taken for gone first: while the rows still show some of
    /// it they imply the directory, and it would be made again. Returns whether there is any; the directory then waits.
    fn lose_children<I: Index>(&mut self, path: &RelPath, cx: &Context, index: &mut I) -> Result<bool, I::Error> {
        let Some(first) = self.first_child(path, index)? else { return Ok(false) };
        let at = self.missing.get(path).unwrap_or_else(|| cx.now() + MOVE_WINDOW);
        self.missing.set_once(path.clone(), at);
        if let Some(later) = self.missing.get(&first) {
            // Before that is looked at, another look here would only come to the same.
            self.missing.set(path.clone(), at.max(later));
            return Ok(true);
        }
        let dir = DirPath::from(path.clone());
        let mut after: Option<Name> = None;
        loop {
            let page = index.base_children(self.id(), &dir, after.as_ref(), PAGE)?;
            for child in page.iter().filter_map(|(name, _)| dir.join(name).ok()) {
                self.missing.set_once(child, at);
            }
            after = page.last().map(|(name, _)| name.clone());
            if page.len() < PAGE {
                return Ok(true);
            }
        }
    }

    fn tell_local(&self, path: &RelPath, change: &'static str, cx: &mut Context) {
        cx.event(Event::LocalChange { folder: self.id(), path: path.clone(), change });
    }

    fn fail_from_disk(&mut self, path: &RelPath, error: ItemError, cx: &mut Context) {
        self.fail(path, error, cx);
        if let Some(trouble) = self.trouble.get_mut(path) {
            trouble.from_disk = true;
        }
    }

    fn fail_name(&mut self, dir: &DirPath, name: &Name, cx: &mut Context) {
        let reason = alloc::format!("the path of {name:?} is too long to be synced");
        if let Some(dir) = dir.as_path() {
            self.fail_from_disk(&dir.clone(), ItemError { kind: ItemErrorKind::Name, reason }, cx);
        }
    }

    /// Releases a path; whatever waited for it is planned again.
    pub(super) fn unlock(&mut self, path: &RelPath) {
        self.locks.remove(path);
        self.wake(path);
    }

    /// Plans again what waits for `path`.
    pub(super) fn wake(&mut self, path: &RelPath) {
        if let Some(waiting) = self.blocked.remove(path) {
            self.plan.extend(waiting);
        }
    }

    /// The first full scan since the start has ended once everything it found has been looked at.
    pub(super) fn end_first_scan(&mut self) {
        let looked = self.scan.is_none() && !self.scans_due.contains(&None) && self.suspects.is_empty();
        self.is_open |= looked && self.probes == 0 && self.root_error.is_none() || is_mutant(Mutant::OpenUnlooked);
        if self.verifying && self.is_looked_at() && self.probes == 0 {
            self.verifying = false;
        }
    }

    /// Where base says a version shows: what a local change replaces.
    pub(super) fn rebase_dot<I: Index>(
        &self,
        path: &RelPath,
        from: Dot,
        to: Dot,
        index: &mut I,
    ) -> Result<(), I::Error> {
        if let Some(base) = index.base(self.id(), path)?.filter(|b| b.dot == Some(from)) {
            index.put_base(self.id(), path, &Base { dot: Some(to), ..base })?;
        }
        Ok(())
    }
}

impl Trouble {
    /// Whether the item can be taken for settled by a plan that has nothing left to do.
    pub(super) fn ends_with_plan(&self) -> bool {
        !self.from_disk
    }
}

fn unsupported() -> ItemError {
    ItemError { kind: ItemErrorKind::Unsupported, reason: "not a file, directory or symbolic link".into() }
}

/// A directory's body, where base says it is one.
pub(super) fn dir_mode(base: Option<&Base>) -> Option<u32> {
    match base.map(|b| &b.body) {
        Some(Body::Dir { mode }) => Some(*mode),
        _ => None,
    }
}
