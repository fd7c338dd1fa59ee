//! From wanted entries to the disk: what differs is planned, path by path, and applied in batches.

use super::Folder;
use crate::context::{Context, Effect, Planned};
use crate::error::{ItemError, ItemErrorKind};
use crate::id::ContentId;
use crate::index::{Base, Body, Index, Stat, StatKind};
use crate::input::Done;
use crate::output::{Event, Make, Op, Output};
use crate::path::{DirPath, RelPath};
use crate::plan::{Step, Wanted, step};
use crate::proving::{Mutant, Point, is_mutant, sometimes};
use alloc::{collections::BTreeSet, vec::Vec};

/// Operations gathered for one apply.
#[derive(Default)]
struct Batch {
    ops: Vec<Op>,
    planned: Vec<Planned>,
    /// Directories that an earlier operation of the batch makes.
    makes: BTreeSet<RelPath>,
    /// Contents that the batch puts in place.
    places: BTreeSet<ContentId>,
}

/// What became of one path.
enum Outcome {
    /// Nothing is left to do.
    Settled,
    /// An operation was added.
    Added,
    /// It takes bytes away: it comes after everything else.
    Displaces,
    /// It waits for another path.
    Blocked(RelPath),
    /// It waits for a content, or for the time to try again.
    Later,
}

impl Folder {
    /// Plans paths and starts an apply if there is one to start.
    pub(super) fn plan_step<I: Index>(&mut self, cx: &mut Context, index: &mut I) -> Result<(), I::Error> {
        let limits = cx.config.limits.clone();
        if !self.is_open || self.state.paused || self.root_error.is_some() || self.applies >= limits.applies {
            return Ok(());
        }
        if self.plan.is_empty() && self.transfers.hopeful() < limits.transfers {
            self.load_pending(limits.plan_paths, index)?;
        }
        // Bytes go only after everything that may want them elsewhere has been looked at.
        let all_seen = self.pending_after.is_none() || self.transfers.hopeful() >= limits.transfers;
        let may_displace = self.plan.is_empty() && all_seen;
        let mut batch = Batch::default();
        for _ in 0..limits.plan_paths {
            if batch.ops.len() >= limits.apply_ops {
                break;
            }
            let next = if may_displace { self.displacing.pop_first() } else { self.plan.pop_first() };
            let Some(path) = next else { break };
            match self.plan_path(&path, may_displace, &mut batch, cx, index)? {
                Outcome::Settled => self.settled(&path, index)?,
                Outcome::Displaces => drop(self.displacing.insert(path)),
                Outcome::Blocked(by) => drop(self.blocked.entry(by).or_default().insert(path)),
                Outcome::Added => drop(self.locks.insert(path)),
                Outcome::Later => {}
            }
        }
        let is_walking = self.pending_after.is_some() && self.transfers.hopeful() < limits.transfers;
        cx.more |= !self.plan.is_empty() || !self.displacing.is_empty() || is_walking;
        if batch.ops.is_empty() {
            return Ok(());
        }
        self.placing.extend(batch.places.into_iter().map(|content| (content, BTreeSet::new())));
        let apply = cx.start(Effect::Apply(self.id(), batch.planned));
        cx.emit(Output::Apply { apply, folder: self.id(), ops: batch.ops });
        self.applies += 1;
        Ok(())
    }

    /// Takes up the next page of stored pending paths.
    fn load_pending<I: Index>(&mut self, limit: usize, index: &mut I) -> Result<(), I::Error> {
        let Some(after) = &self.pending_after else { return Ok(()) };
        let page = index.pending(self.id(), after.as_ref(), limit)?;
        self.pending_after = (page.len() == limit).then(|| page.last().cloned());
        if self.pending_after.is_none() && core::mem::take(&mut self.pending_again) {
            self.pending_after = Some(None);
        }
        self.plan.extend(page);
        Ok(())
    }

    fn settled<I: Index>(&mut self, path: &RelPath, index: &mut I) -> Result<(), I::Error> {
        if index.clear_pending(self.id(), path)? {
            self.pending_count -= 1;
        }
        if self.trouble.get(path).is_some_and(super::Trouble::ends_with_plan) {
            self.recovered(path);
        }
        self.wait_for(path, None, index)?;
        self.wake(path);
        Ok(())
    }

    fn plan_path<I: Index>(
        &mut self,
        path: &RelPath,
        may_displace: bool,
        batch: &mut Batch,
        cx: &mut Context,
        index: &mut I,
    ) -> Result<Outcome, I::Error> {
        // What is about to be looked at is not acted upon before: the look may change what base says.
        self.wishes.remove(path);
        if self.is_unsure(path) && !is_mutant(Mutant::UnsureActedOn) {
            if let Wanted::Present { body: Body::File { content, .. }, .. } = self.wanted(path, index)? {
                self.wishes.insert(path.clone(), content);
            }
            return Ok(Outcome::Blocked(path.clone()));
        }
        if self.retries.get(path).is_some() {
            return Ok(Outcome::Later);
        }
        let base = index.base(self.id(), path)?;
        let wanted = self.wanted(path, index)?;
        let next = step(&wanted, base.as_ref());
        let content = match (&next, &wanted) {
            (Step::Stage(_) | Step::Clear, Wanted::Present { body: Body::File { content, size, .. }, .. }) => {
                Some((*content, *size))
            }
            _ => None,
        };
        self.wait_for(path, content.map(|(content, _)| content), index)?;
        let is_staged = match content {
            // Even behind a directory in the way: its bytes may be about to go elsewhere.
            Some((content, size)) if size > 0 => self.staged_or_begun(content, size, path, cx, index)?,
            _ => true,
        };
        let make = match next {
            Step::Settled => return Ok(Outcome::Settled),
            Step::Rebase(base) => {
                index.put_base(self.id(), path, &base)?;
                return Ok(Outcome::Settled);
            }
            Step::Clear => match self.first_child(path, index)? {
                Some(child) => {
                    self.plan.insert(child.clone());
                    return Ok(Outcome::Blocked(child));
                }
                None => Make::Absent,
            },
            Step::Make(make) => make,
            Step::Stage(_) if !is_staged => return Ok(Outcome::Later),
            Step::Stage(make) => make,
        };
        let takes_bytes = base.as_ref().is_some_and(|b| b.content().is_some()) && !matches!(make, Make::Meta { .. });
        if takes_bytes && !may_displace {
            return Ok(Outcome::Displaces);
        }
        if let Some(error) = self.hides_for_good(path, &make, base.as_ref()) {
            sometimes(Point::CopyNowhere);
            self.fail(path, error, cx);
            return Ok(Outcome::Later);
        }
        if let Some(blocker) = self.blocker(path, &make, base.as_ref(), batch, index)? {
            return Ok(Outcome::Blocked(blocker));
        }
        let places = if let Make::File { content, .. } = &make { Some(*content) } else { None };
        if let Some(content) = places {
            // Two applies would give the one staged file two modes and times, and move it to two places.
            if let Some(waiting) = self.placing.get_mut(&content) {
                sometimes(Point::PlacedInTurn);
                waiting.insert(path.clone());
                return Ok(Outcome::Later);
            }
            batch.places.insert(content);
        }
        if matches!(make, Make::Dir { .. }) {
            batch.makes.insert(path.clone());
        }
        let expect: Option<Stat> = base.as_ref().map(|b| b.stat);
        // A directory in the way goes first; what is wanted in its place is planned again after that.
        let wanted = if make == Make::Absent { Wanted::Absent } else { wanted };
        batch.ops.push(Op { path: path.clone(), expect, make });
        let trashes = base.as_ref().and_then(Base::content).filter(|_| takes_bytes);
        batch.planned.push(Planned { path: path.clone(), wanted, places, replaces: base.is_some(), trashes });
        Ok(Outcome::Added)
    }

    /// Whether base may be about to change: the path is being changed, or to be looked at.
    fn is_unsure(&self, path: &RelPath) -> bool {
        self.locks.contains(path) || self.suspects.contains_key(path) || self.missing.get(path).is_some()
    }

    pub(super) fn first_child<I: Index>(&self, path: &RelPath, index: &mut I) -> Result<Option<RelPath>, I::Error> {
        let dir = DirPath::from(path.clone());
        let page = index.base_children(self.id(), &dir, None, 1)?;
        Ok(page.first().and_then(|(name, _)| dir.join(name).ok()))
    }

    /// Trouble where base's version lost the path and its copy's path would be too long: its bytes have nowhere to go.
    fn hides_for_good(&self, path: &RelPath, make: &Make, base: Option<&Base>) -> Option<ItemError> {
        let dot = base.filter(|_| !matches!(make, Make::Meta { .. }))?.dot?;
        let is_nowhere = self.copies.source_of(dot) == Some(path) && self.copies.place(path, dot).is_none();
        let reason = "its path is too long for a conflict copy beside it".into();
        is_nowhere.then_some(ItemError { kind: ItemErrorKind::Name, reason })
    }

    /// The path that must change before this operation may be carried out.
    fn blocker<I: Index>(
        &mut self,
        path: &RelPath,
        make: &Make,
        base: Option<&Base>,
        batch: &Batch,
        index: &mut I,
    ) -> Result<Option<RelPath>, I::Error> {
        if *make != Make::Absent
            && let Some(parent) = path.parent_path()
            && !batch.makes.contains(&parent)
            && (self.is_unsure(&parent) || index.base(self.id(), &parent)?.is_none_or(|b| b.stat.kind != StatKind::Dir))
        {
            self.mark(&parent, index)?;
            return Ok(Some(parent));
        }
        let Some(base) = base.filter(|_| !matches!(make, Make::Meta { .. })) else { return Ok(None) };
        // A version that is nobody's history yet shows as a copy before its bytes may go.
        if let Some(copy) = base.dot.and_then(|dot| self.copies.place(path, dot)).cloned() {
            let kept = index.base(self.id(), &copy)?.is_some_and(|b| b.body.same_content(&base.body));
            // After a look that failed another is due: until then base may be out of date.
            let is_unsure = self.is_unsure(&copy) || self.retries.get(&copy).is_some();
            if (!kept || is_unsure) && !is_mutant(Mutant::CopyNotAwaited) {
                sometimes(Point::CopyAwaited);
                self.mark(&copy, index)?;
                return Ok(Some(copy));
            }
        }
        // A version that moves to another name, such as a copy to the name it has won, stays until it shows there.
        if let Some(place) = self.next_place(path, base, index)? {
            sometimes(Point::BytesAwaited);
            return Ok(Some(place));
        }
        // Bytes that are about to be copied elsewhere stay until they are: a move costs nothing on the wire.
        let needed = base.content().filter(|c| self.transfers.needs(*c));
        let waits_for = needed.and_then(|c| self.transfers.get(c)).and_then(|t| t.paths.first()).filter(|p| *p != path);
        // So do those that a path may want which is about to be looked at, and is planned only then.
        let held = base.content();
        let is_wish = |(p, c): &(&RelPath, &ContentId)| *p != path && Some(**c) == held && self.is_unsure(p);
        let waits_for = waits_for.or_else(|| self.wishes.iter().find(is_wish).map(|(p, _)| p));
        if waits_for.is_some() {
            sometimes(Point::BytesAwaited);
        }
        Ok(waits_for.cloned())
    }

    /// Where base's version at `path` is about to show instead: at the path it comes from, or beside it. A path that
    /// shows a copy itself waits for none, so that no two paths wait for each other.
    fn next_place<I: Index>(&self, path: &RelPath, base: &Base, index: &mut I) -> Result<Option<RelPath>, I::Error> {
        let Some(transfer) = base.content().and_then(|content| self.transfers.get(content)) else { return Ok(None) };
        if base.dot.is_none() || self.copies.at(path).is_some() {
            return Ok(None);
        }
        for place in transfer.paths.iter().filter(|place| *place != path && place.parent() == path.parent()) {
            if matches!(self.wanted(place, index)?, Wanted::Present { dot, .. } if dot == base.dot) {
                return Ok(Some(place.clone()));
            }
        }
        Ok(None)
    }

    /// Operations were carried out, or not.
    pub(crate) fn applied<I: Index>(
        &mut self,
        planned: Vec<Planned>,
        outcome: Result<Vec<Done>, ItemError>,
        cx: &mut Context,
        index: &mut I,
    ) -> Result<(), I::Error> {
        self.applies -= 1;
        for content in planned.iter().filter_map(|p| p.places) {
            self.plan.extend(self.placing.remove(&content).unwrap_or_default());
        }
        match outcome {
            Err(error) => {
                sometimes(Point::ApplyRootLost);
                self.set_root(Err(error), cx);
                for p in planned {
                    self.unlock(&p.path);
                    self.plan.insert(p.path);
                }
            }
            Ok(done) => {
                for (p, done) in planned.into_iter().zip(done) {
                    self.locks.remove(&p.path);
                    self.done(p, done, cx, index)?;
                }
            }
        }
        Ok(())
    }

    fn done<I: Index>(&mut self, p: Planned, done: Done, cx: &mut Context, index: &mut I) -> Result<(), I::Error> {
        let Planned { path, wanted, places, replaces, trashes } = p;
        match (done, wanted) {
            (Done::Made(stat), wanted) => {
                cx.counters.applied += 1;
                // It can be had from there.
                trashes.into_iter().for_each(|content| self.transfers.found(content));
                match (stat, wanted) {
                    (Some(stat), Wanted::Present { dot, body }) => {
                        // Another time or mode uses nothing up: what is staged of the content for another path stays staged.
                        if let Body::File { content, .. } = &body
                            && (places.is_some() || !self.transfers.is_staged(*content))
                        {
                            self.placed(*content, &path, index)?;
                        }
                        index.put_base(self.id(), &path, &Base { dot, body, stat })?;
                        self.tell_remote(&path, if replaces { "changed" } else { "created" }, cx);
                    }
                    (None, _) | (Some(_), Wanted::Absent) => {
                        index.remove_base(self.id(), &path)?;
                        self.tell_remote(&path, "deleted", cx);
                    }
                }
                self.plan.insert(path.clone());
            }
            // Base says what is there: what a person does next he does to that. Like what failed it is not in order, and no
            // copy counts as shown, before the path has been looked at once more.
            (Done::Volatile(stat, error), wanted) => {
                let p = Planned { path: path.clone(), wanted, places, replaces, trashes };
                self.done(p, Done::Made(stat), cx, index)?;
                self.fail(&path, error, cx);
                return Ok(());
            }
            (Done::Unexpected, _) => {
                sometimes(Point::Unexpected);
                // Where the directory it is in cannot be looked at, another look would only come to the same.
                let unread = path.parent_path().and_then(|dir| self.trouble.get(&dir)).filter(|t| t.from_disk);
                if let Some(error) = unread.map(|t| t.error.clone()) {
                    self.fail(&path, error, cx);
                    return Ok(());
                }
                // The path, or the directory it is in.
                let is_looked_at = |_: &RelPath| !is_mutant(Mutant::UnexpectedUnlooked);
                for path in path.parent_path().into_iter().chain([path.clone()]).filter(is_looked_at) {
                    self.suspects.entry(path).or_insert(false);
                }
                self.plan.insert(path.clone());
            }
            // The shell stages no bytes by itself, and could not: there is nobody to ask for them.
            (Done::NotStaged, Wanted::Present { body: Body::File { size: 0, .. }, .. }) => {
                let reason = alloc::format!("an empty file for '{}' could not be staged", path.display());
                self.fail(&path, ItemError { kind: ItemErrorKind::Io, reason }, cx);
                return Ok(());
            }
            (Done::NotStaged, wanted) => {
                sometimes(Point::NotStaged);
                if let Wanted::Present { body: Body::File { content, .. }, .. } = wanted {
                    self.transfers.enqueue(content, cx.config.limits.small_bytes);
                }
            }
            (Done::Failed(error), _) => {
                // Something is left that no scan has seen.
                if error.kind == ItemErrorKind::NotEmpty {
                    sometimes(Point::DirNotEmpty);
                    self.scans_due.insert(Some(path.clone()));
                }
                self.fail(&path, error, cx);
                // What waits for this path goes on waiting: it would only ask for it again.
                return Ok(());
            }
        }
        self.wake(&path);
        Ok(())
    }

    /// `path` waits for `content` from now on, and for no other. What nobody waits for any more is dropped;
    /// what is staged whole only when all that may want it have been planned.
    fn wait_for<I: Index>(
        &mut self,
        path: &RelPath,
        content: Option<ContentId>,
        index: &mut I,
    ) -> Result<(), I::Error> {
        let before = match content {
            Some(content) => self.waits_for.insert(path.clone(), content),
            None => self.waits_for.remove(path),
        };
        // Whoever waited for other bytes to show here need not any more.
        if before.is_some() && before != content {
            self.wake(path);
        }
        if let Some(before) = before.filter(|before| Some(*before) != content)
            && self.transfers.unwant(before, path)
        {
            if self.transfers.needs(before) {
                self.dropped.push(before);
            } else {
                self.spare.insert(before);
            }
            self.end_transfer(before);
            if self.staged.remove(&before).is_some() {
                index.remove_staged(self.id(), before)?;
            }
        }
        Ok(())
    }

    /// A content has been put in place, and nothing of it is staged any more: elsewhere it is copied from there.
    fn placed<I: Index>(&mut self, content: ContentId, path: &RelPath, index: &mut I) -> Result<(), I::Error> {
        let others = self.end_transfer(content);
        self.plan.extend(others.into_iter().filter(|p| p != path));
        if self.staged.remove(&content).is_some() {
            index.remove_staged(self.id(), content)?;
        }
        Ok(())
    }

    fn tell_remote(&self, path: &RelPath, change: &'static str, cx: &mut Context) {
        cx.event(Event::RemoteChange { folder: self.id(), path: path.clone(), change });
    }
}
