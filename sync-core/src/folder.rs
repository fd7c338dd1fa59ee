//! One folder on this device: its rows, its disk, what is wanted and what is under way.
//!
//! Data flows one way: hints and scans name suspects, probes of suspects become rows; rows of this and other devices
//! become wanted entries; what differs is pending, is staged if it needs content, and is applied. Every effect on a
//! path holds that path's lock, so a look at the disk never races with a change of ours.

mod agenda;
mod apply;
mod disk;
mod fetch;
mod rows;
mod work;

use self::agenda::Agenda;
use crate::context::{Context, count};
use crate::error::{ItemError, ItemErrorKind};
use crate::id::{ContentId, DeviceId, EffectId, FolderId};
use crate::index::{Dot, FolderState, Index, Key, Member, MemberState, PeerFolder, Staged};
use crate::output::{Event, Output, Why};
use crate::path::RelPath;
use crate::plan::Copies;
use crate::proving::{Mutant, Point, is_mutant, sometimes};
use crate::status::{FolderStatus, ItemStatus, TransferStatus};
use crate::time::Instant;
use crate::transfer::{State, Transfer, Transfers};
use alloc::{collections::BTreeMap, collections::BTreeSet, collections::VecDeque, format, string::String, vec::Vec};

/// Items with trouble that `status` lists.
const SHOWN_ERRORS: usize = 100;
/// How often a lost root is looked for.
const ROOT_RETRY: core::time::Duration = core::time::Duration::from_secs(5);

/// How far anybody can have heard of this device.
#[derive(Clone, Copy)]
pub(crate) struct Said {
    /// The last own dot.
    pub(crate) seq: u64,
    /// The last change number.
    pub(crate) rev: u64,
}

/// A folder and all that goes on in it.
pub(crate) struct Folder {
    pub(crate) state: FolderState,
    /// Whether `state` is to be stored with this batch.
    changed: bool,
    pub(crate) members: BTreeMap<DeviceId, Member>,
    copies: Copies,

    /// Hinted paths and when they are looked at.
    hints: Agenda,
    /// When each of them was hinted first.
    hinted_since: BTreeMap<RelPath, Instant>,
    /// Walks that are due: below a path, or everywhere.
    scans_due: BTreeSet<Option<RelPath>>,
    /// The walk under way.
    scan: Option<EffectId>,
    next_rescan: Instant,
    /// Paths to look at: something is there that differs from base. `true` to walk what is below as well.
    suspects: BTreeMap<RelPath, bool>,
    /// Paths being looked at that are to be walked if they are directories.
    deep: BTreeSet<RelPath>,
    /// Paths to look at that seem gone, and since when: later than the others, so that a move is seen whole.
    missing: Agenda,
    probes: usize,
    /// Paths under an effect.
    locks: BTreeSet<RelPath>,
    /// Whether every file is to be read, changed or not.
    verifying: bool,

    /// Paths to plan.
    plan: BTreeSet<RelPath>,
    /// Paths whose operation takes bytes away, to be planned when all others have been.
    displacing: BTreeSet<RelPath>,
    /// Where the walk over stored pending paths stands; `None` when it has reached the end.
    pending_after: Option<Option<RelPath>>,
    /// Whether paths were noted in the index alone, so that another walk has to find them.
    pending_again: bool,
    pending_count: u64,
    /// Paths that wait for another path to change.
    blocked: BTreeMap<RelPath, BTreeSet<RelPath>>,
    /// What those want, as the rows stand, that are to be looked at before they are planned.
    wishes: BTreeMap<RelPath, ContentId>,
    applies: usize,
    /// Contents that applies under way put in place, each with the paths that want it next.
    placing: BTreeMap<ContentId, BTreeSet<RelPath>>,
    trouble: BTreeMap<RelPath, Trouble>,
    /// When items with trouble are tried again.
    retries: Agenda,
    root_error: Option<(ItemError, Instant)>,

    pub(crate) transfers: Transfers,
    /// Large files that came since the start, newest last.
    pub(crate) completed: VecDeque<TransferStatus>,
    /// The content each path waits for.
    waits_for: BTreeMap<RelPath, ContentId>,
    /// Staged contents that nobody waits for any more.
    dropped: Vec<ContentId>,
    /// Contents staged whole that no path waits for at present. One that is still to be planned may want them, and the
    /// bytes they were copied from may be gone by then.
    spare: BTreeSet<ContentId>,
    /// Whether the disk has been looked at since the start. Before that a crash may have left it ahead of base, what others
    /// say meanwhile would make their own bytes look like somebody's edit, and what people took away would be made again.
    pub(crate) is_open: bool,
    /// What the database held at the start, and what was said since. Whoever knows later writes or changes has them from a
    /// time which this database has forgotten, however much was written here meanwhile.
    pub(crate) said: Said,
    /// When the trash may be searched again for what devices lack; `None` while it is.
    next_salvage: Option<Instant>,
    /// Since when there has been no device to ask for contents; `None` while there is one.
    lonely_since: Option<Instant>,
    /// Large files on their way, as far as they are durable: what a restart resumes from.
    staged: BTreeMap<ContentId, Staged>,
    /// Contents that came from peers and can be served from now on.
    pub(crate) arrivals: Vec<ContentId>,
    /// Where the walk over purgeable tombstones stands; `None` when it has reached the end.
    purge_after: Option<Option<Key>>,
    shown_state: &'static str,
}

/// An item that could not be brought into sync.
struct Trouble {
    error: ItemError,
    failures: u32,
    /// Whether a look at the disk found it, rather than an attempt to change it.
    from_disk: bool,
}

impl Folder {
    /// Takes up a folder that the index holds.
    pub(crate) fn load<I: Index>(state: FolderState, cx: &mut Context, index: &mut I) -> Result<Self, I::Error> {
        let id = state.id;
        let staged: BTreeMap<_, _> = index.staged(id)?.into_iter().map(|s| (s.content, s)).collect();
        let mut folder = Self {
            changed: false,
            members: BTreeMap::new(),
            copies: Copies::default(),
            hints: Agenda::default(),
            hinted_since: BTreeMap::new(),
            scans_due: BTreeSet::from([None]),
            scan: None,
            next_rescan: cx.now() + cx.config.limits.rescan,
            suspects: BTreeMap::new(),
            deep: BTreeSet::new(),
            missing: Agenda::default(),
            probes: 0,
            locks: BTreeSet::new(),
            verifying: false,
            plan: BTreeSet::new(),
            displacing: BTreeSet::new(),
            pending_after: Some(None),
            pending_again: false,
            pending_count: index.pending_count(id)?,
            blocked: BTreeMap::new(),
            wishes: BTreeMap::new(),
            applies: 0,
            placing: BTreeMap::new(),
            trouble: BTreeMap::new(),
            retries: Agenda::default(),
            root_error: None,
            transfers: Transfers::default(),
            completed: VecDeque::new(),
            waits_for: BTreeMap::new(),
            next_salvage: Some(cx.now()),
            lonely_since: Some(cx.now()),
            arrivals: Vec::new(),
            dropped: Vec::new(),
            spare: BTreeSet::new(),
            is_open: false,
            said: Said { seq: state.seq, rev: state.rev },
            purge_after: Some(None),
            shown_state: "",
            staged,
            state,
        };
        folder.load_members(index)?;
        for path in index.copied(id)? {
            folder.place_copies(&path, index)?;
        }
        // The walk that is due looks at them as at everything else.
        folder.suspects.clear();
        cx.emit(Output::OpenFolder {
            folder: id,
            root: folder.state.root.clone(),
            staged: folder.staged.keys().copied().collect(),
        });
        Ok(folder)
    }

    pub(crate) fn id(&self) -> FolderId {
        self.state.id
    }

    /// Stores the small state if this batch changed it.
    pub(crate) fn store<I: Index>(&mut self, index: &mut I) -> Result<(), I::Error> {
        if core::mem::take(&mut self.changed) {
            index.put_folder(&self.state)?;
        }
        Ok(())
    }

    /// What is known of `device` here, to be changed.
    pub(crate) fn peer_mut(&mut self, device: DeviceId) -> &mut PeerFolder {
        self.changed = true;
        self.state.peers.entry(device).or_default()
    }

    /// Notes that the small state was changed.
    pub(crate) fn touch(&mut self) {
        self.changed = true;
    }

    /// Whether no other device takes part that is expected to come.
    fn is_alone(&self) -> bool {
        self.members.values().filter(|m| m.state == MemberState::Active).count() <= 1
    }

    /// Whether `device` takes part.
    pub(crate) fn has_member(&self, device: DeviceId) -> bool {
        self.members.get(&device).is_some_and(|m| !matches!(m.state, MemberState::Removed { .. }))
    }

    /// The next dot of this device.
    fn next_dot(&mut self) -> Dot {
        self.state.seq += 1;
        self.changed = true;
        let dot = Dot { actor: self.state.actor, seq: self.state.seq };
        self.state.knowledge.insert(dot);
        dot
    }

    /// The next change number.
    fn next_rev(&mut self) -> u64 {
        self.state.rev += 1;
        self.changed = true;
        self.state.rev
    }

    /// Whether nothing of what is known remains to be put on disk.
    fn is_applied(&self) -> bool {
        self.pending_count == 0
            && self.plan.is_empty()
            && self.displacing.is_empty()
            && self.locks.is_empty()
            && self.transfers.is_empty()
    }

    /// Whether the disk has been looked at as far as is known.
    fn is_looked_at(&self) -> bool {
        self.scan.is_none()
            && self.scans_due.is_empty()
            && self.hints.is_empty()
            && self.suspects.is_empty()
            && self.missing.is_empty()
    }

    /// One word for `status`.
    fn state_name(&self) -> &'static str {
        match () {
            () if self.root_error.is_some() => "error",
            () if self.state.paused => "paused",
            () if !self.is_applied() => "syncing",
            () if !self.is_looked_at() => "scanning",
            () => "idle",
        }
    }

    /// What stands between this folder and being in sync with `peers`, one line each.
    pub(crate) fn missing_for(&self, connected: &[(DeviceId, String, bool)]) -> Vec<String> {
        let name = &self.state.name;
        let mut out = Vec::new();
        if self.state.paused {
            out.push(format!("folder {name}: paused"));
            return out;
        }
        if let Some((error, _)) = &self.root_error {
            out.push(format!("folder {name}: {}", error.reason));
        }
        if !self.is_looked_at() {
            out.push(format!("folder {name}: still looking at the disk"));
        }
        if !self.is_applied() {
            let items = count(self.pending_count.max(self.locks.len() as u64), "item", "items");
            out.push(format!("folder {name}: {items} still to bring here"));
        }
        for (device, device_name, caught) in connected.iter().filter(|(d, ..)| self.has_member(*d)) {
            let unknown = PeerFolder::default();
            let peer = self.state.peers.get(device).unwrap_or(&unknown);
            if !caught {
                out.push(format!("folder {name}: comparing with {device_name}"));
            } else if !self.state.applied.covers(&peer.knowledge) {
                out.push(format!("folder {name}: changes of {device_name} are still to come"));
            } else if !peer.applied.covers(&self.state.knowledge) && !is_mutant(Mutant::SyncedEarly) {
                out.push(format!("folder {name}: {device_name} has not applied every change yet"));
            }
        }
        out
    }

    /// Tells people when the state's name changes.
    fn show_state(&mut self, cx: &mut Context) {
        let state = self.state_name();
        if state != self.shown_state {
            self.shown_state = state;
            cx.event(Event::FolderState { folder: self.id(), state });
        }
    }

    /// The snapshot for `status`. `totals` are files and bytes on this disk.
    pub(crate) fn status(&self, totals: (u64, u64)) -> FolderStatus {
        let of_root = self.root_error.iter().map(|(error, _)| (&[][..], error));
        let of_items = self.trouble.iter().map(|(path, t)| (path.as_bytes(), &t.error));
        let item = |(path, error): (&[u8], &ItemError)| ItemStatus {
            path: String::from_utf8_lossy(path).into_owned(),
            path_bytes: path.into(),
            error: error.clone(),
            remedy: error.kind.remedy(),
        };
        let errors = of_root.chain(of_items).take(SHOWN_ERRORS).map(item).collect();
        let outstanding = |t: &Transfer| t.size.saturating_sub(t.progress().0);
        FolderStatus {
            id: self.id(),
            name: self.state.name.clone(),
            path: String::from_utf8_lossy(&self.state.root).into_owned(),
            path_bytes: self.state.root.clone(),
            mode: "send-receive",
            state: self.state_name(),
            files: totals.0,
            bytes: totals.1,
            need_files: self.pending_count,
            // Sizes are what other devices say they are.
            need_bytes: self.transfers.iter().map(|(_, t)| outstanding(t)).fold(0, u64::saturating_add),
            conflicts: self.copies.len() as u64,
            errors,
            members: self.members.keys().filter(|d| self.has_member(**d)).copied().collect(),
        }
    }

    /// Large files on their way, for `status`.
    pub(crate) fn transfer_status(&self, small_bytes: u64) -> impl Iterator<Item = TransferStatus> {
        let is_large = move |(_, t): &(&ContentId, &Transfer)| t.size > small_bytes;
        self.transfers.iter().filter(is_large).filter_map(|(content, _)| self.transfer_of(*content))
    }

    /// How far the transfer of `content` is.
    fn transfer_of(&self, content: ContentId) -> Option<TransferStatus> {
        let t = self.transfers.get(content)?;
        let (done_bytes, resumed_bytes) = t.progress();
        let is_here = matches!(t.state, State::Ready | State::Written(_));
        let state = if self.transfers.is_paused(content) {
            "paused"
        } else if t.paths.iter().any(|path| self.trouble.contains_key(path)) {
            "failed"
        } else if self.lonely_since.is_some() && !is_here {
            "interrupted"
        } else {
            "active"
        };
        Some(TransferStatus {
            folder: self.id(),
            content,
            path: t.paths.first().map_or_else(String::new, RelPath::display),
            state,
            step: t.state_name(),
            bytes: t.size,
            done_bytes,
            resumed_bytes,
        })
    }

    /// The disk's answer shows that the root is not the folder's, or is again.
    fn set_root(&mut self, outcome: Result<(), ItemError>, cx: &mut Context) {
        match outcome {
            Ok(()) => {
                if self.root_error.take().is_some() {
                    sometimes(Point::RootBack);
                    self.scans_due.insert(None);
                    self.pending_after = Some(None);
                }
            }
            Err(error) => {
                if self.root_error.is_none() {
                    sometimes(Point::RootLost);
                    let (folder, path) = (self.id(), String::new());
                    cx.event(Event::ItemFailed { folder, path, error: error.clone() });
                }
                self.root_error = Some((error, cx.now() + ROOT_RETRY));
            }
        }
    }

    /// An item is well again.
    fn recovered(&mut self, path: &RelPath) {
        if self.trouble.remove(path).is_some() {
            sometimes(Point::ItemRecovered);
            self.retries.remove(path);
            // Whatever was to be done there waited for the retry.
            self.plan.insert(path.clone());
        }
    }

    /// Why an item is as it is: the trouble, or what it waits for.
    pub(crate) fn why<I: Index>(&self, path: &RelPath, index: &mut I) -> Result<Why, I::Error> {
        let say =
            |in_sync, reason: String, remedy: &str| Why { path: path.clone(), in_sync, reason, remedy: remedy.into() };
        if let Some((error, _)) = &self.root_error {
            return Ok(say(false, error.reason.clone(), error.kind.remedy()));
        }
        if self.state.paused {
            return Ok(say(false, "the folder is paused".into(), "landropic folder resume"));
        }
        if let Some(trouble) = self.trouble.get(path) {
            return Ok(say(false, trouble.error.reason.clone(), trouble.error.kind.remedy()));
        }
        if let Some(transfer) = self.waits_for.get(path).and_then(|c| self.transfers.get(*c)) {
            let (done, _) = transfer.progress();
            return Ok(match transfer.state_name() {
                _ if self.waits_for.get(path).is_some_and(|content| self.transfers.is_paused(*content)) => say(
                    false,
                    format!("its transfer is paused: {done} of {} bytes are here", transfer.size),
                    "landropic transfer resume",
                ),
                "waiting" => say(
                    false,
                    "its bytes are not here yet, and no connected device has been asked for them".into(),
                    ItemErrorKind::NoSource.remedy(),
                ),
                state => say(
                    false,
                    format!("its bytes are on their way ({state}): {done} of {} bytes", transfer.size),
                    "wait",
                ),
            });
        }
        if let Some((by, _)) = self.blocked.iter().find(|(_, waiting)| waiting.contains(path)) {
            return Ok(say(false, format!("it waits for {}", by.display()), "ask why that one is not in sync"));
        }
        let looked_at =
            !self.suspects.contains_key(path) && self.hints.get(path).is_none() && !self.locks.contains(path);
        if !looked_at || self.plan.contains(path) {
            return Ok(say(false, "it is being looked at".into(), "wait"));
        }
        let base = index.base(self.id(), path)?;
        let wanted = self.wanted(path, index)?;
        Ok(match (crate::plan::step(&wanted, base.as_ref()), base) {
            (crate::plan::Step::Settled, None) => say(true, "no device has it".into(), ""),
            (crate::plan::Step::Settled, Some(_)) => say(true, "this device shows what is wanted".into(), ""),
            _ => say(false, "it is about to be changed".into(), "wait"),
        })
    }

    /// Notes trouble with an item; it is tried again after a pause that doubles.
    fn fail(&mut self, path: &RelPath, error: ItemError, cx: &mut Context) {
        let failures = self.trouble.get(path).map_or(0, |t| t.failures) + 1;
        let (first, longest) = cx.config.limits.retry;
        let first = if is_mutant(Mutant::RetryAtOnce) { core::time::Duration::ZERO } else { first };
        let pause = first.saturating_mul(1 << (failures - 1).min(16)).min(longest);
        if failures == 1 {
            cx.event(Event::ItemFailed { folder: self.id(), path: path.display(), error: error.clone() });
        }
        let pause = if error.kind == ItemErrorKind::Busy { pause / 10 } else { pause };
        self.trouble.insert(path.clone(), Trouble { error, failures, from_disk: false });
        if !is_mutant(Mutant::FailedForGood) {
            self.retries.set(path.clone(), cx.now() + pause);
        }
    }
}
