//! Rows: what this device writes, what others bring, and what the tree shows of both.

use super::Folder;
use super::disk::dir_mode;
use crate::context::Context;
use crate::id::DeviceId;
use crate::index::{
    Base, Body, ConflictKind, Dot, Index, Key, Loser, Member, MemberState, Policy, PolicyChoice, Projection, Row, Stat,
    Value, Vector, conflict_kind, may_purge, merge, project, reissue, unnumbered, winner,
};
use crate::output::{Conflict, Event};
use crate::path::RelPath;
use crate::plan::Wanted;
use crate::proving::{Mutant, Point, is_mutant, sometimes};
use crate::time::WallTime;
use crate::wire::WireRow;
use alloc::{collections::BTreeSet, format, string::String, vec::Vec};

/// Above this many losers the oldest are settled, so that a row stays small.
const MAX_LOSERS: usize = 16;
/// Paths held in memory for planning; beyond them the index alone remembers.
const MAX_PLAN: usize = 8_192;
/// Rows looked at in one step of a walk over all of them.
const PAGE: usize = 256;

/// What came of a batch of another device's rows.
#[derive(Default)]
pub(crate) struct Arrival {
    /// Keys that were deleted and forgotten here.
    pub(crate) gone: Vec<Key>,
    /// Change numbers that only repeat what the sender holds.
    pub(crate) echoes: Vec<u64>,
    /// Whether a member's record changed.
    pub(crate) members: bool,
}

impl Folder {
    pub(super) fn row<I: Index>(&self, path: &RelPath, index: &mut I) -> Result<Row, I::Error> {
        Ok(index.row(self.id(), &Key::Path(path.clone()))?.unwrap_or_default())
    }

    fn put<I: Index>(&mut self, key: &Key, row: &Row, index: &mut I) -> Result<u64, I::Error> {
        let rev = self.next_rev();
        index.put_row(self.id(), key, row, rev)?;
        Ok(rev)
    }

    /// What a row shows.
    fn projection<I: Index>(&self, path: &RelPath, row: &Row, index: &mut I) -> Result<Projection, I::Error> {
        let is_dir = matches!(winner(row, &self.state.policy), Some((_, Value { body: Body::Dir { .. }, .. })));
        let live_below = !is_dir && index.live_below(self.id(), path)?;
        Ok(project(row, live_below, &self.state.policy))
    }

    /// What shall be at `path`.
    pub(super) fn wanted<I: Index>(&self, path: &RelPath, index: &mut I) -> Result<Wanted, I::Error> {
        let row = self.row(path, index)?;
        if let Some((dot, body)) = self.projection(path, &row, index)?.main {
            return Ok(Wanted::Present { dot, body });
        }
        Ok(match self.copies.body_at(path) {
            Some((dot, body)) => Wanted::Present { dot: Some(dot), body: body.clone() },
            None => Wanted::Absent,
        })
    }

    /// Notes that `path` may differ from what is wanted.
    pub(super) fn mark<I: Index>(&mut self, path: &RelPath, index: &mut I) -> Result<(), I::Error> {
        if !is_mutant(Mutant::PendingUnstored) && index.mark_pending(self.id(), path)? {
            self.pending_count += 1;
        }
        if self.plan.len() < MAX_PLAN {
            self.plan.insert(path.clone());
        } else {
            sometimes(Point::PlanOverflowed);
            self.pending_again = true;
            self.pending_after.get_or_insert(None);
        }
        Ok(())
    }

    /// A version of the user's.
    pub(super) fn write_local<I: Index>(
        &mut self,
        path: &RelPath,
        body: Body,
        stat: Stat,
        saw: Option<Dot>,
        cx: &mut Context,
        index: &mut I,
    ) -> Result<(), I::Error> {
        let base = index.base(self.id(), path)?;
        let copied = self.copy_shown(path, base.as_ref(), index)?;
        self.ensure_parents(path, cx, index)?;
        let key = Key::Path(path.clone());
        let mut row = self.row(path, index)?;
        let dot = self.next_dot();
        let mtime = match &body {
            Body::File { mtime_ns, .. } => WallTime(*mtime_ns),
            // A link is as old as the disk says, as a file is: one that was found anew has replaced nothing that came later.
            Body::Symlink { .. } => WallTime(stat.mtime_ns),
            // A directory's time is that of what is in it.
            Body::Dir { .. } | Body::Tomb | Body::Member(_) | Body::Policy(_) => cx.at.wall,
        };
        row.write(dot, body.clone(), saw, mtime, cx.at.wall);
        self.put(&key, &row, index)?;
        index.put_base(self.id(), path, &Base { dot: Some(dot), body, stat })?;
        self.after_row(path, &row, cx, index)?;
        if row.siblings.len() > 1 {
            self.mark(path, index)?;
        }
        // An edited copy is an ordinary file from now on, and its version is no loser any more.
        if let Some((source, loser)) = copied {
            sometimes(Point::CopyEdited);
            self.settle_loser(&source, loser, cx, index)?;
        }
        Ok(())
    }

    /// The copy that a person has before his eyes at `path`, by its bytes: where it comes from, and its version. A
    /// version that is merely to show there is not it: whoever writes there only takes its name.
    pub(super) fn copy_shown<I: Index>(
        &self,
        path: &RelPath,
        base: Option<&Base>,
        index: &mut I,
    ) -> Result<Option<(RelPath, Dot)>, I::Error> {
        let Some(base) = base else { return Ok(None) };
        let here = self.copies.at(path).filter(|(_, loser)| base.body.same_content(&loser.value.body));
        if let Some((source, loser)) = here {
            return Ok(Some((source.clone(), loser.dot)));
        }
        // It may be about to show under another name, unless it does already.
        let source = |dot: Dot| self.copies.source_of(dot).filter(|source| *source != path);
        let Some((dot, source)) = base.dot.and_then(|dot| Some((dot, source(dot)?))) else { return Ok(None) };
        let moved = match self.copies.place(source, dot).filter(|place| *place != path) {
            Some(place) => index.base(self.id(), place)?.is_some_and(|b| b.body.same_content(&base.body)),
            None => false,
        };
        Ok((!moved).then(|| (source.clone(), dot)))
    }

    /// The user deleted the path's version `saw`, or a directory that its descendants implied.
    pub(super) fn delete_local<I: Index>(
        &mut self,
        path: &RelPath,
        saw: Option<Dot>,
        cx: &mut Context,
        index: &mut I,
    ) -> Result<(), I::Error> {
        index.remove_base(self.id(), path)?;
        // A directory that is left empty stays, unless it is gone as well.
        self.ensure_parents(path, cx, index)?;
        let mut row = self.row(path, index)?;
        let body = saw.and_then(|saw| row.siblings.get(&saw)).map(|v| v.body.clone());
        let is_winner = |(_, v): (Dot, &Value)| body.as_ref().is_some_and(|b| b.same_content(&v.body));
        let had_name = saw.is_none() || winner(&row, &self.state.policy).is_some_and(is_winner);
        let losers = if had_name { self.held_copies(path, index)? } else { Vec::new() };
        let dot = self.next_dot();
        row.write(dot, Body::Tomb, saw, cx.at.wall, cx.at.wall);
        for (_, loser) in &losers {
            self.take_out(path, &mut row, loser.dot, index)?;
        }
        self.put(&Key::Path(path.clone()), &row, index)?;
        self.after_row(path, &row, cx, index)?;
        // Another version may come into its own.
        self.mark(path, index)?;
        for (copy, loser) in losers {
            self.make_ordinary(&copy, &loser, cx, index)?;
        }
        Ok(())
    }

    /// Copies of `path` whose bytes are on this disk. Of the others somebody may have done away with the last bytes
    /// meanwhile: they stay what they are.
    fn held_copies<I: Index>(&self, path: &RelPath, index: &mut I) -> Result<Vec<(RelPath, Loser)>, I::Error> {
        let mut held = Vec::new();
        for loser in self.copies.of(path) {
            let Some(copy) = self.copies.place(path, loser.dot) else { continue };
            if index.base(self.id(), copy)?.is_some_and(|b| b.dot == Some(loser.dot)) {
                held.push((copy.clone(), loser.clone()));
            }
        }
        Ok(held)
    }

    /// A copy whose winner was deleted is an ordinary file at its own name.
    fn make_ordinary<I: Index>(
        &mut self,
        copy: &RelPath,
        loser: &Loser,
        cx: &mut Context,
        index: &mut I,
    ) -> Result<(), I::Error> {
        sometimes(Point::CopyMadeOrdinary);
        let mut row = self.row(copy, index)?;
        let dot = self.next_dot();
        row.write(dot, loser.value.body.clone(), None, loser.value.stamp, cx.at.wall);
        self.put(&Key::Path(copy.clone()), &row, index)?;
        self.rebase_dot(copy, loser.dot, dot, index)?;
        self.after_row(copy, &row, cx, index)?;
        self.mark(copy, index)
    }

    /// One loser of `source` counts as seen from now on: a person did away with its copy. The winner keeps its dot:
    /// whoever replaces it meanwhile replaces the same version. While this disk has the loser at the name it lost, its
    /// copy was moved there, or was never all that is left of it: then it stays a loser.
    pub(super) fn settle_loser<I: Index>(
        &mut self,
        source: &RelPath,
        loser: Dot,
        cx: &mut Context,
        index: &mut I,
    ) -> Result<(), I::Error> {
        let mut row = self.row(source, index)?;
        let main = self.projection(source, &row, index)?.main.and_then(|(dot, _)| dot);
        let Some(value) = row.siblings.get(&loser).cloned() else { return Ok(()) };
        if main == Some(loser) {
            return Ok(());
        }
        let is_held = index.base(self.id(), source)?.is_some_and(|b| b.body.same_content(&value.body));
        if is_held && !is_mutant(Mutant::HeldCopySettled) {
            sometimes(Point::HeldCopySpared);
            return self.mark(source, index);
        }
        let (prev, stamp) = (value.body.content_prefix(), WallTime(value.stamp.0.saturating_add(1)));
        self.take_out(source, &mut row, loser, index)?;
        let dot = self.next_dot();
        row.settle(dot, Value { body: Body::Tomb, prev, stamp }, &[]);
        self.put(&Key::Path(source.clone()), &row, index)?;
        self.place_copies(source, index)?;
        cx.audit(index, "conflict-settled", format!("folder {}: {}", self.state.name, source.display()))?;
        self.mark(source, index)
    }

    /// The bytes of the version `lost` are nowhere. What it hid shows again.
    pub(super) fn write_off<I: Index>(
        &mut self,
        path: &RelPath,
        lost: Dot,
        cx: &mut Context,
        index: &mut I,
    ) -> Result<(), I::Error> {
        let mut row = self.row(path, index)?;
        let Some(value) = row.siblings.get(&lost).cloned() else { return Ok(()) };
        let equal = row.siblings.iter().filter(|(_, v)| v.body.same_content(&value.body)).map(|(dot, _)| *dot);
        let replaced: Vec<Dot> = equal.collect();
        let stamp = newest_stamp(&row, cx.at.wall);
        let dot = self.next_dot();
        row.settle(dot, Value { body: Body::Tomb, prev: value.body.content_prefix(), stamp }, &replaced);
        self.put(&Key::Path(path.clone()), &row, index)?;
        self.after_row(path, &row, cx, index)?;
        let detail = format!("folder {}: no device has the bytes of a version of {}", self.state.name, path.display());
        cx.audit(index, "version-lost", detail)?;
        self.mark(path, index)
    }

    /// Takes a shown version out of a row, with what it hid there: whatever would show only now that it is gone.
    fn take_out<I: Index>(&self, path: &RelPath, row: &mut Row, dot: Dot, index: &mut I) -> Result<(), I::Error> {
        let shown = |p: &Projection| -> BTreeSet<Dot> {
            let main = p.main.as_ref().and_then(|(dot, _)| *dot);
            p.losers.iter().map(|l| l.dot).chain(main).collect()
        };
        let before = shown(&self.projection(path, row, index)?);
        row.siblings.remove(&dot);
        loop {
            let hidden: Vec<Dot> = shown(&self.projection(path, row, index)?).difference(&before).copied().collect();
            if hidden.is_empty() {
                return Ok(());
            }
            sometimes(Point::HiddenTakenOut);
            hidden.iter().for_each(|dot| drop(row.siblings.remove(dot)));
        }
    }

    /// A write or a deletion below a directory that the rows do not show brings the directory back.
    fn ensure_parents<I: Index>(&mut self, path: &RelPath, cx: &mut Context, index: &mut I) -> Result<(), I::Error> {
        for dir in path.ancestors() {
            let mut row = self.row(&dir, index)?;
            if matches!(winner(&row, &self.state.policy), Some((_, Value { body: Body::Dir { .. }, .. }))) {
                return Ok(());
            }
            let base = index.base(self.id(), &dir)?;
            if self.missing.get(&dir).is_some() {
                continue;
            }
            let (Some(base), Some(mode)) = (&base, dir_mode(base.as_ref())) else {
                // It has not been looked at yet, and writes its own row when it is. Before that nobody shall make it.
                self.suspects.entry(dir).or_insert(false);
                continue;
            };
            sometimes(Point::ParentsBroughtBack);
            let (dot, body) = (self.next_dot(), Body::Dir { mode });
            row.write(dot, body.clone(), base.dot, cx.at.wall, cx.at.wall);
            self.put(&Key::Path(dir.clone()), &row, index)?;
            index.put_base(self.id(), &dir, &Base { dot: Some(dot), body, stat: base.stat })?;
            self.after_row(&dir, &row, cx, index)?;
        }
        Ok(())
    }

    /// Takes over another device's rows. `known` is what that device knows, `claimed` what it was told is known here.
    pub(crate) fn arrive<I: Index>(
        &mut self,
        rows: Vec<WireRow>,
        known: &Vector,
        claimed: &Vector,
        cx: &mut Context,
        index: &mut I,
    ) -> Result<Arrival, I::Error> {
        let mut arrival = Arrival::default();
        for WireRow { key, row: theirs } in rows {
            if !theirs.fits(&key) {
                continue;
            }
            let mine = index.row(self.id(), &key)?;
            let absent = Row::default();
            let merged = merge(mine.as_ref().unwrap_or(&absent), &self.state.knowledge, &theirs, known);
            let forgotten = mine.is_none()
                && merged.row.siblings.is_empty()
                && (is_mutant(Mutant::GoneUnclaimed) || theirs.siblings.keys().all(|dot| claimed.contains(*dot)))
                && self.state.knowledge.covers(&merged.row.ctx);
            if forgotten {
                if !theirs.siblings.is_empty() && !is_mutant(Mutant::GoneUnanswered) {
                    sometimes(Point::GoneAnswered);
                    arrival.gone.push(key);
                }
                continue;
            }
            if !merged.mine_changed {
                continue;
            }
            cx.counters.rows_received += 1;
            let was_conflicted = mine.is_some_and(|m| m.is_conflicted());
            let rev = self.put(&key, &merged.row, index)?;
            if !merged.theirs_differs || is_mutant(Mutant::EchoHidesNews) {
                arrival.echoes.push(rev);
            }
            match &key {
                Key::Member(device) => {
                    self.set_member(*device, &merged.row);
                    self.follow_policy(index)?;
                    arrival.members = true;
                }
                Key::Policy if is_mutant(Mutant::PolicyUnfollowed) => {}
                Key::Policy => self.follow_policy(index)?,
                Key::Path(path) => {
                    self.after_row(path, &merged.row, cx, index)?;
                    self.mark(path, index)?;
                    if merged.row.is_conflicted() && !was_conflicted {
                        self.tell_conflict(path, &merged.row, cx, index)?;
                    }
                }
            }
        }
        Ok(arrival)
    }

    /// The peer has deleted and forgotten these keys.
    pub(crate) fn gone<I: Index>(
        &mut self,
        keys: Vec<Key>,
        known: &Vector,
        cx: &mut Context,
        index: &mut I,
    ) -> Result<(), I::Error> {
        for key in keys {
            // Reserved records are never deleted.
            let Key::Path(path) = &key else { continue };
            let Some(mine) = index.row(self.id(), &key)? else { continue };
            let known = if is_mutant(Mutant::GoneTakesAll) { &self.state.knowledge } else { known };
            let merged = merge(&mine, &self.state.knowledge, &Row::default(), known);
            if !merged.mine_changed {
                continue;
            }
            sometimes(Point::GoneHeard);
            self.put(&key, &merged.row, index)?;
            self.after_row(path, &merged.row, cx, index)?;
            self.mark(path, index)?;
        }
        Ok(())
    }

    fn tell_conflict<I: Index>(
        &self,
        path: &RelPath,
        row: &Row,
        cx: &mut Context,
        index: &mut I,
    ) -> Result<(), I::Error> {
        let kind = worst_kind(row);
        match kind {
            Some(ConflictKind::Metadata) => sometimes(Point::ConflictOfMetadata),
            Some(ConflictKind::Content) => sometimes(Point::ConflictOfContent),
            Some(ConflictKind::Structural) => sometimes(Point::ConflictStructural),
            None => {}
        }
        if let Some(kind) = kind.filter(|k| *k != ConflictKind::Metadata) {
            cx.event(Event::ConflictFound { folder: self.id(), path: path.clone(), kind });
        }
        let kind = kind.map_or_else(String::new, |k| format!("{k:?}").to_lowercase());
        cx.audit(index, "conflict", format!("folder {}: {kind} at {}", self.state.name, path.display()))
    }

    /// What follows from a changed row: copies, implied directories, names that are taken or free again.
    fn after_row<I: Index>(
        &mut self,
        path: &RelPath,
        row: &Row,
        cx: &mut Context,
        index: &mut I,
    ) -> Result<(), I::Error> {
        // A lone file loses its name too where something lives below it.
        if self.copies.has(path) || !self.projection(path, row, index)?.losers.is_empty() {
            self.place_copies(path, index)?;
            self.settle_oldest(path, cx, index)?;
        }
        self.free_or_take(path, index)?;
        for dir in path.ancestors() {
            let parent = self.row(&dir, index)?;
            if matches!(winner(&parent, &self.state.policy), Some((_, Value { body: Body::Dir { .. }, .. }))) {
                break;
            }
            self.place_copies(&dir, index)?;
            self.free_or_take(&dir, index)?;
            self.mark(&dir, index)?;
        }
        Ok(())
    }

    /// Finds where the losers of `source` show. Paths where that has changed are pending from now on.
    pub(super) fn place_copies<I: Index>(&mut self, source: &RelPath, index: &mut I) -> Result<(), I::Error> {
        let row = self.row(source, index)?;
        let losers = self.projection(source, &row, index)?.losers;
        let (had, has) = (self.copies.has(source), !losers.is_empty());
        if had != has && !is_mutant(Mutant::CopiesUnstored) {
            index.note_copied(self.id(), source, has)?;
        }
        let groups = self.copies.set(source, losers);
        groups.iter().try_for_each(|group| self.arrange(group, index))
    }

    /// An entry has come to or gone from `path`, which may be the name of a copy.
    fn free_or_take<I: Index>(&mut self, path: &RelPath, index: &mut I) -> Result<(), I::Error> {
        let first = unnumbered(&path.name()).and_then(|name| path.parent().join(&name).ok());
        match first.filter(|first| self.copies.is_group(first)) {
            Some(group) => self.arrange(&group, index),
            None => Ok(()),
        }
    }

    fn arrange<I: Index>(&mut self, group: &RelPath, index: &mut I) -> Result<(), I::Error> {
        let id = self.id();
        let changed = self.copies.arrange(group, |copy| {
            let row = index.row(id, &Key::Path(copy.clone()))?;
            Ok(row.is_some_and(|row| row.is_live()) || index.live_below(id, copy)?)
        })?;
        for copy in &changed {
            // Where base has its bytes already a person may have moved them away, such as over the version that won: before
            // they count for the version that shows there from now on somebody looks.
            let shown = self.copies.at(copy).map(|(_, loser)| &loser.value.body);
            let base = index.base(id, copy)?;
            if base.is_some_and(|base| shown.is_some_and(|body| base.body.same_content(body))) {
                self.suspects.entry(copy.clone()).or_insert(false);
            }
            self.mark(copy, index)?;
        }
        Ok(())
    }

    /// Keeps a row from growing without end: above a bound the oldest losers count as seen. They stay in the trash.
    fn settle_oldest<I: Index>(&mut self, path: &RelPath, cx: &mut Context, index: &mut I) -> Result<(), I::Error> {
        let mut losers: Vec<(WallTime, Dot)> = self.copies.of(path).map(|l| (l.value.stamp, l.dot)).collect();
        losers.sort_unstable();
        let extra = losers.len().saturating_sub(MAX_LOSERS);
        if extra == 0 {
            return Ok(());
        }
        sometimes(Point::LosersSettled);
        let oldest: Vec<Dot> = losers.into_iter().take(extra).map(|(_, dot)| dot).collect();
        let mut row = self.row(path, index)?;
        let (dot, stamp) = (self.next_dot(), newest_stamp(&row, cx.at.wall));
        row.settle(dot, Value { body: Body::Tomb, prev: [0; 8], stamp }, &oldest);
        self.put(&Key::Path(path.clone()), &row, index)?;
        self.place_copies(path, index)?;
        let detail = format!("folder {}: {extra} of the oldest versions of {}", self.state.name, path.display());
        cx.audit(index, "conflict-settled", detail)
    }

    /// The folder's conflicts, by path.
    pub(crate) fn conflicts<I: Index>(
        &self,
        index: &mut I,
        name_of: impl Fn(crate::id::Actor) -> String,
    ) -> Result<Vec<Conflict>, I::Error> {
        let sources: Vec<RelPath> = self.copies.sources().cloned().collect();
        let mut out = Vec::new();
        for path in sources {
            let row = self.row(&path, index)?;
            let winner = winner(&row, &self.state.policy).map_or_else(String::new, |(dot, _)| name_of(dot.actor));
            let kind = worst_kind(&row).unwrap_or(ConflictKind::Structural);
            let copies = self.copies.of(&path).filter_map(|l| self.copies.place(&path, l.dot)).cloned().collect();
            out.push(Conflict { kind, winner, copies, path });
        }
        Ok(out)
    }

    /// Writes who wins conflicts, for every device of the folder.
    pub(crate) fn choose_policy<I: Index>(
        &mut self,
        choice: PolicyChoice,
        cx: &Context,
        index: &mut I,
    ) -> Result<(), I::Error> {
        self.write_record(&Key::Policy, Body::Policy(choice), cx, index)?;
        self.follow_policy(index)
    }

    /// Takes up the policy that the rows hold: whatever has several versions is looked at again.
    fn follow_policy<I: Index>(&mut self, index: &mut I) -> Result<(), I::Error> {
        let row = index.row(self.id(), &Key::Policy)?.unwrap_or_default();
        let actors = |d: DeviceId| self.members.get(&d).map(|m| m.actors.iter().copied().collect()).unwrap_or_default();
        let policy = match winner(&row, &Policy::Newest) {
            Some((_, Value { body: Body::Policy(choice), .. })) => choice.resolve(actors),
            _ => Policy::Newest,
        };
        if policy == self.state.policy {
            return Ok(());
        }
        sometimes(Point::PolicyFollowed);
        self.state.policy = policy;
        self.touch();
        for path in index.conflicted(self.id())? {
            self.place_copies(&path, index)?;
            self.mark(&path, index)?;
        }
        Ok(())
    }

    /// Writes a reserved record over all its versions.
    fn write_record<I: Index>(&mut self, key: &Key, body: Body, cx: &Context, index: &mut I) -> Result<Row, I::Error> {
        let mut row = index.row(self.id(), key)?.unwrap_or_default();
        let replaced: Vec<Dot> = row.siblings.keys().copied().collect();
        let stamp = newest_stamp(&row, cx.at.wall);
        let dot = self.next_dot();
        row.settle(dot, Value { body, prev: [0; 8], stamp }, &replaced);
        self.put(key, &row, index)?;
        Ok(row)
    }

    /// Reads the member rows.
    pub(super) fn load_members<I: Index>(&mut self, index: &mut I) -> Result<(), I::Error> {
        // Reserved keys come before every path.
        let mut after: Option<Key> = None;
        loop {
            let page = index.rows_after(self.id(), after.as_ref(), PAGE)?;
            after = page.last().map(|v| v.key.clone());
            let is_last = page.len() < PAGE;
            for v in page {
                match v.key {
                    Key::Member(device) => self.set_member(device, &v.row),
                    Key::Policy => {}
                    Key::Path(_) => return Ok(()),
                }
            }
            if is_last {
                return Ok(());
            }
        }
    }

    fn set_member(&mut self, device: DeviceId, row: &Row) {
        match row.member() {
            Some(member) => {
                match member.state {
                    MemberState::Active => {}
                    MemberState::Retired => sometimes(Point::MemberRetired),
                    MemberState::Removed { .. } => sometimes(Point::MemberRemoved),
                }
                self.members.insert(device, member);
            }
            None => drop(self.members.remove(&device)),
        }
        self.purge_after = Some(None);
    }

    /// Writes a member's record, unless it says so already.
    pub(crate) fn write_member<I: Index>(
        &mut self,
        device: DeviceId,
        member: Member,
        cx: &Context,
        index: &mut I,
    ) -> Result<(), I::Error> {
        if self.members.get(&device) == Some(&member) {
            return Ok(());
        }
        let row = self.write_record(&Key::Member(device), Body::Member(member), cx, index)?;
        self.set_member(device, &row);
        self.follow_policy(index)
    }

    /// Forgets a page of tombstones that everybody has applied. Returns whether there is more to look at.
    pub(super) fn purge_step<I: Index>(&mut self, cx: &Context, index: &mut I) -> Result<bool, I::Error> {
        let Some(after) = self.purge_after.take() else { return Ok(false) };
        let me = cx.config.device;
        let active = self.members.iter().filter(|(_, m)| m.state == MemberState::Active).map(|(d, _)| *d);
        let unknown = Vector::default();
        let applied: Vec<Vector> = active
            .map(|d| match self.state.peers.get(&d) {
                _ if d == me => &self.state.applied,
                Some(peer) => &peer.applied,
                None => &unknown,
            })
            .cloned()
            .collect();
        if applied.iter().any(Vector::is_empty) {
            return Ok(false);
        }
        let page = index.tombs_after(self.id(), after.as_ref(), PAGE)?;
        let last = page.last().cloned();
        let is_end = page.len() < PAGE;
        for key in page {
            let Some(path) = key.as_path() else { continue };
            let Some(row) = index.row(self.id(), &key)? else { continue };
            if may_purge(&row, applied.iter()) && index.base(self.id(), path)?.is_none() {
                sometimes(Point::Purged);
                index.remove_row(self.id(), &key)?;
                self.state.purge_rev = self.state.rev;
                self.touch();
            }
        }
        self.purge_after = Some(last).filter(|_| !is_end);
        Ok(!is_end)
    }

    /// Looks for tombstones to forget once more.
    pub(crate) fn purge_again(&mut self) {
        self.purge_after = Some(None);
    }

    /// Goes on as a new actor in a new epoch: this database may have issued dots that it has forgotten. What it
    /// holds is what it once said, so nothing else changes as long as it has not written since.
    pub(crate) fn renew(&mut self, cx: &mut Context) {
        sometimes(Point::NewActor);
        self.state.actor = cx.draw_actor();
        self.state.epoch = if is_mutant(Mutant::EpochKept) { self.state.epoch } else { cx.rng.next_u64() };
        self.state.seq = 0;
        self.state.acked = 0;
        self.said.seq = 0;
        self.touch();
    }

    /// Goes on as a new actor where writes were made before it was noticed that dots are forgotten: own dots that no
    /// peer has confirmed may name other writes elsewhere, and are issued again.
    pub(crate) fn renew_late<I: Index>(&mut self, cx: &mut Context, index: &mut I) -> Result<(), I::Error> {
        let (old, acked) = (self.state.actor, self.state.acked);
        self.renew(cx);
        self.state.knowledge.truncate(old, acked);
        self.state.applied.truncate(old, acked);
        let mut after: Option<Key> = None;
        loop {
            let page = index.rows_after(self.id(), after.as_ref(), PAGE)?;
            after = page.last().map(|v| v.key.clone());
            let is_end = page.len() < PAGE;
            for mut v in page {
                let doubtful: Vec<Dot> =
                    v.row.siblings.keys().filter(|d| d.actor == old && d.seq > acked).copied().collect();
                let mut issued = Vec::new();
                let changed = reissue(&mut v.row, old, acked, || {
                    let dot = self.next_dot();
                    issued.push(dot);
                    dot
                });
                if changed {
                    sometimes(Point::DotsReissued);
                    self.put(&v.key, &v.row, index)?;
                    if let Key::Path(path) = &v.key {
                        for (from, to) in doubtful.iter().zip(&issued) {
                            self.rebase_dot(path, *from, *to, index)?;
                        }
                        self.place_copies(path, index)?;
                        self.mark(path, index)?;
                    }
                }
            }
            if is_end {
                break;
            }
        }
        Ok(())
    }

    /// Tells of the new actor.
    pub(crate) fn tell_actor<I: Index>(&self, cx: &mut Context, index: &mut I) -> Result<(), I::Error> {
        let detail = format!("folder {}: writing as {} from now on", self.state.name, self.state.actor);
        cx.audit(index, "new-actor", detail)
    }
}

/// The most serious disagreement among live versions, with the deletions beside them.
fn worst_kind(row: &Row) -> Option<ConflictKind> {
    let bodies: Vec<&Body> = row.siblings.values().map(|v| &v.body).collect();
    let pairs = bodies.iter().enumerate().flat_map(|(i, a)| bodies[i + 1..].iter().map(move |b| conflict_kind(a, b)));
    pairs.max()
}

/// A stamp that ranks above everything here.
fn newest_stamp(row: &Row, now: WallTime) -> WallTime {
    let newest = row.siblings.values().map(|v| WallTime(v.stamp.0.saturating_add(1))).max();
    newest.map_or(now, |n| n.max(now))
}
