//! What the proving ground, `sim`, switches on and counts in this crate and in the shell: seeded faults of our own code,
//! and points that must be reached. Without the feature `proving`, as in the product, all of it is nothing.
//!
//! The choice of a mutant is one for the whole process, so that one build has them all.

use crate::error::CloseCode;
use crate::link::Health;

/// Declares an enumeration, the list of its values and what each is.
macro_rules! table {
    ($(#[$doc:meta])* $name:ident { $($(#[doc = $text:literal])+ $item:ident,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum $name { $($(#[doc = $text])+ $item,)+ }

        impl $name {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$item),+];

            /// Its name.
            pub fn name(self) -> &'static str {
                match self { $(Self::$item => stringify!($item),)+ }
            }

            /// What it is.
            pub fn about(self) -> &'static str {
                match self { $(Self::$item => concat!($($text),+),)+ }
            }
        }
    };
}

table! {
    /// A seeded fault of our own code: what the simulator has to find.
    Mutant {
        /// A tombstone is forgotten as soon as the own disk has applied it.
        PurgeOnOwnApplied,
        /// A tombstone is forgotten when its dots are applied everywhere, whatever it replaced.
        PurgeOnDots,
        /// Tombstones are forgotten while a connected device has not been told of them.
        PurgeUnheard,
        /// Own dots that nobody confirmed keep their numbers after a rollback.
        DotsKeptAfterRollback,
        /// A database that may have forgotten dots goes on as the same actor.
        ActorReused,
        /// A new actor counts changes in the epoch of the old one.
        EpochKept,
        /// A peer that knows writes of ours which we do not is no sign of a rollback.
        RollbackUnnoticed,
        /// An absent row does not speak for the deletions that it stands for.
        MergeByContextAlone,
        /// A row that lost a version without a dot of its own to say so is skipped when streamed.
        UnspokenSkipped,
        /// A version that replaced the winner's content counts as the winner's history.
        SymmetricPrev,
        /// A write replaces every version with an older stamp, seen or not.
        ClockDecides,
        /// A write under a slow clock ranks below what it replaces.
        StampNotAbove,
        /// A file of the same size counts as unchanged.
        SizeAloneTells,
        /// A conflict copy is placed at a name that an entry has.
        CopyTakesName,
        /// An edit replaces the version that the rows show, not the one the person had on disk.
        SawTheWinner,
        /// A touch of a version that somebody has replaced counts as an edit.
        TouchRevives,
        /// A hint about a path that is being looked at is dropped.
        HintDropped,
        /// The periodic scan never comes.
        RescanNever,
        /// A path is looked at while it is being changed.
        LocksIgnored,
        /// What was looked at while the root was gone counts as gone.
        LostRootIsEmpty,
        /// What could not be read counts as gone.
        UnreadIsGone,
        /// After a start the disk is taken for news as a whole.
        BaseForgotten,
        /// A directory is taken for gone before what was in it.
        ChildrenOutlive,
        /// A copy that is done away with settles its version while the disk holds that at the lost name.
        HeldCopySettled,
        /// What happens at a name whose version shows as a copy already happens to that version.
        KeptIsTouched,
        /// Others are heard before the disk has been looked at.
        OpenUnlooked,
        /// An item that failed is tried again without a pause.
        RetryAtOnce,
        /// An item that failed is never tried again.
        FailedForGood,
        /// The status says synced before the peer has applied every change.
        SyncedEarly,
        /// What is about to be looked at is acted upon before.
        UnsureActedOn,
        /// Bytes of a losing version go before its copy shows.
        CopyNotAwaited,
        /// What was found against expectation is not looked at again.
        UnexpectedUnlooked,
        /// What a crash left of an apply is an edit if somebody has deleted or replaced it meanwhile.
        LeftoverIsEdit,
        /// What remains to be done is not remembered over a crash.
        PendingUnstored,
        /// Which versions show as copies is not remembered over a crash.
        CopiesUnstored,
        /// A policy that another device chose is not followed.
        PolicyUnfollowed,
        /// A deletion is answered that the peer was not told to be known.
        GoneUnclaimed,
        /// Rows that were deleted and forgotten here are not answered.
        GoneUnanswered,
        /// A forgotten deletion takes versions away that its teller never saw.
        GoneTakesAll,
        /// A row that came from a peer is not sent back though it was merged.
        EchoHidesNews,
        /// What is known counts as applied at once.
        AppliedEarly,
        /// The node asks to be woken at a time that has passed.
        DeadlinePast,
        /// What is staged of a file is not resumed from.
        ResumeForgotten,
        /// The trash is never searched for the last bytes of a version.
        TrashUnsearched,
        /// A version is written off before every member has said that it misses it.
        LossFacedAlone,
        /// Outcomes of a batch are matched with its items after some were left out.
        OutcomesShifted,
        /// A file whose chunks are all there counts as whole without its hash.
        WholeUnchecked,
        /// What an earlier attempt at a content staged counts for the present one.
        StaleAttempt,
        /// A device that lacked a content is never asked for it again.
        LacksForGood,
        /// A peer is asked for more than its window.
        WindowIgnored,
        /// What could not be made durable counts as durable.
        SealFailureIgnored,
        /// What was written after a seal began counts as sealed.
        UnsealedCounts,
        /// Chunks taken from an earlier version count as durable at once.
        ReusedIsSealed,
        /// A full walk leaves out what the peer claims to know.
        WalkSkipsKnown,
        /// What changes during a full walk is not sent after it.
        WalkMissesChanges,
        /// Knowledge is told before every deletion has been answered.
        CaughtUnanswered,
        /// A peer's knowledge is taken over before its rows.
        KnownAtStart,
        /// The cursor is stored ahead of the rows.
        CursorAhead,
        /// A cursor is honoured though it counts in another epoch.
        EpochIgnored,
        /// A cursor from before a purge is honoured.
        PurgeIgnored,
        /// A session forgives failed dials as soon as it begins.
        ForgivenEarly,
        /// A failed dial is tried again without a pause.
        DialAtOnce,
        /// A dormant peer is never probed.
        DormantForEver,
        /// A device that is not paired is let in.
        PinUnchecked,
        /// A mute peer is waited for.
        MuteForEver,
        /// An offer that comes before the hello is lost.
        EarlyOfferLost,
        /// What a person was told is done may be lost with the power.
        PromiseUndurable,
        /// What a peer lacks is left out of an answer instead of named.
        AnswersShifted,
        /// A peer may have any number of requests open.
        AsksUnbounded,
        /// An actor is drawn from something that the seed does not decide.
        ChanceUnseeded,
        /// An operation does not look at its target before it changes it.
        PreImageUnchecked,
        /// A file is moved into place over whatever has come there since the last look.
        ReplacesUnlooked,
        /// Small files are staged without their hash being checked.
        SmallUnverified,
        /// Chunks are written without their hash being checked.
        ChunkUnverified,
        /// A local copy is staged whatever the source holds by now.
        CopyUnverified,
        /// What could not be looked at passes for nothing there.
        VanishedUnread,
        /// The folder's private directory is one like any other.
        PrivateShown,
        /// The start of a run removes staged files that it should resume from.
        SweptAll,
        /// Trash that somebody still wrote to is purged.
        ChangedTrashPurged,
        /// A batch that is to survive a power loss is committed like any other.
        CommitNotDurable,
        /// A dial accepts whoever answers.
        AnyKeyAnswers,
    }
}

table! {
    /// A point that some run must reach: a run that never gets there has not tested it.
    Point {
        /// Two files differ at a path.
        ConflictOfContent,
        /// A file meets a directory, or a deletion an edit.
        ConflictStructural,
        /// Two versions differ in mode or time alone.
        ConflictOfMetadata,
        /// A conflict copy shows.
        CopyShown,
        /// A conflict copy shows by a second name, since the first is taken.
        CopyNumbered,
        /// A conflict copy cannot be shown, since its path would be too long.
        CopyNowhere,
        /// An operation waits for a conflict copy before it takes bytes away.
        CopyAwaited,
        /// A person deletes a conflict copy, which settles its version.
        CopyDeleted,
        /// A person edits a conflict copy, which settles its version.
        CopyEdited,
        /// A winner is deleted, and its copies become ordinary files.
        CopyMadeOrdinary,
        /// A settled version takes out what it had hidden.
        HiddenTakenOut,
        /// More versions lose than a row may hold, and the oldest are settled.
        LosersSettled,
        /// A write below a deleted directory brings it back.
        ParentsBroughtBack,
        /// What a crash left of an apply, where base was never told of it, is taken for a leftover, not for news.
        LeftoverAdopted,
        /// What an apply had put there before a crash is not taken for an edit.
        OwnApplyRecognised,
        /// A touch of a replaced version is nobody's edit.
        TouchOfOldAdopted,
        /// What happens at a name whose version shows as a copy happens to no version.
        KeptSpared,
        /// A copy that is done away with settles nothing while the disk holds its version at the lost name.
        HeldCopySpared,
        /// A look at a copy waits for what is under way at the name that its version lost.
        SourceAwaited,
        /// A periodic scan begins.
        RescanDue,
        /// A scan finds a change that no hint named.
        SeenByScanOnly,
        /// What seems gone waits for the other end of a move.
        GoneAwaited,
        /// A directory that is gone waits until what was in it is taken for gone.
        ChildrenGoFirst,
        /// A directory cannot be read.
        DirUnread,
        /// An item cannot be looked at.
        ItemUnread,
        /// An item that failed is tried again.
        ItemRetried,
        /// An item that failed is well again.
        ItemRecovered,
        /// The root of a folder is gone.
        RootLost,
        /// The root of a folder is back.
        RootBack,
        /// An operation finds something else than it expects.
        Unexpected,
        /// An operation misses a content that was staged.
        NotStaged,
        /// A directory that is to go still holds something.
        DirNotEmpty,
        /// One staged file is wanted in two places, one after the other.
        PlacedInTurn,
        /// Bytes stay until they have been copied elsewhere.
        BytesAwaited,
        /// More paths wait for a plan than are held in memory.
        PlanOverflowed,
        /// The root is gone when operations are to be carried out.
        ApplyRootLost,
        /// A tombstone that everybody has applied is forgotten.
        Purged,
        /// A database that may have forgotten dots goes on as a new actor.
        NewActor,
        /// Own dots that nobody confirmed are issued again.
        DotsReissued,
        /// A row that was deleted and forgotten here is answered.
        GoneAnswered,
        /// A row goes because a peer has deleted and forgotten it.
        GoneHeard,
        /// Who wins conflicts changes.
        PolicyFollowed,
        /// A member is retired.
        MemberRetired,
        /// A member is removed.
        MemberRemoved,
        /// A version goes by what a side knows, without a dot to say so.
        SpokenForByKnowledge,
        /// The trash is searched for what devices lack.
        TrashSearched,
        /// The trash holds what devices lack.
        TrashHolds,
        /// A device says that it misses a content.
        LossSpokenOf,
        /// A version whose bytes nobody has is written off.
        WrittenOff,
        /// A large file goes on from a half-full bitmap.
        Resumed,
        /// A range of chunks ends before its end.
        RangeCutShort,
        /// What could not be made durable is asked for again.
        SealTakenBack,
        /// Written chunks are durable.
        Sealed,
        /// As much is under way as a crash may cost, and nothing more is asked for.
        ExposureReached,
        /// One request asks for several chunks.
        ChunksAskedTogether,
        /// One request asks for several small files.
        SmallAskedTogether,
        /// A chunk list is asked for again after wrong bytes.
        ListDoubted,
        /// A doubted chunk list is confirmed, and what is here goes on.
        ListConfirmed,
        /// A device turns out to lack a content.
        PeerLacks,
        /// A device sends other bytes than it was asked for.
        BytesWrong,
        /// Every device has been asked for all that its window allows.
        WindowFull,
        /// Every chunk of a file matches its list, and the whole is another content.
        WholeWrong,
        /// A content is copied from a file of this device.
        CopiedLocally,
        /// The file to copy from is not what it was.
        CopySourceChanged,
        /// Chunks of a content are taken from an earlier version on this device.
        ChunksReused,
        /// The earlier version is not what it was.
        BasisChanged,
        /// The staging area cannot be written.
        StageFailed,
        /// What comes belongs to an earlier attempt, and does not count.
        AttemptOutdated,
        /// A peer has as many requests open as it may, and is told so.
        AsksRefused,
        /// A peer asks for what is not here.
        NothingToServe,
        /// Rows are streamed from a cursor.
        FlowByCursor,
        /// Rows are streamed in full.
        FlowInFull,
        /// A peer counts its changes in a new epoch.
        EpochChanged,
        /// A peer knows writes of this device that this device does not.
        RollbackNoticed,
        /// The index lane is full, and rows wait.
        LaneFull,
        /// Rows fill more than one batch.
        BatchSplit,
        /// Rows change while all of them are streamed.
        ChangedDuringWalk,
        /// An offer comes before the hello, or before the disk has been looked at.
        OfferEarly,
        /// A peer offers a folder that it has no part in here.
        FolderDeclined,
        /// A link is closed because versions or features do not fit.
        ClosedHandshakeFailed,
        /// A link is closed that said no hello.
        ClosedHandshakeTimeout,
        /// A link is closed whose peer broke the protocol.
        ClosedProtocolError,
        /// A link is closed whose peer is not paired.
        ClosedNotAuthorised,
        /// A link is closed because the daemon stops.
        ClosedShuttingDown,
        /// A link is closed for another one to the same device.
        ClosedSuperseded,
        /// A link is closed without a code: its peer is mute, or this device begins anew.
        ClosedMute,
        /// A link becomes degraded.
        HealthDegraded,
        /// A link becomes failing.
        HealthFailing,
        /// A link becomes unhealthy.
        HealthUnhealthy,
        /// A link becomes healthy again.
        HealthRegained,
        /// A standing link is doubted, since its peer offers another.
        LinkDoubted,
        /// A newer link to the same device takes over.
        LinkTakenOver,
        /// A silent link is pinged.
        Pinged,
        /// Dialling a peer has failed too often, and becomes a slow probe.
        DialDormant,
        /// A stable session forgives failed dials.
        DialForgiven,
        /// The shell puts back what an exchange displaced by surprise.
        ShellExchangedBack,
        /// The shell puts back what it moved to the trash by surprise.
        ShellPutBack,
        /// The file system can neither exchange nor keep from replacing.
        ShellRenamedWeakly,
        /// The shell opens a staged file anew that was unlinked meanwhile.
        ShellStageRelinked,
        /// The shell receives a chunk that is not what its list says.
        ShellChunkWrong,
        /// The shell is asked for a file that has changed.
        ShellSourceChanged,
        /// The shell removes staged files that an earlier run left behind.
        ShellSwept,
        /// The shell deletes old trash.
        ShellTrashPurged,
        /// The database takes a batch back.
        ShellRolledBack,
        /// Another device answers than the one that was dialled.
        ShellImpostor,
    }
}

impl Point {
    /// Whether only the shell can reach it.
    pub fn needs_shell(self) -> bool {
        self.name().starts_with("Shell")
    }

    /// A link is closed with `code`.
    pub(crate) fn closed(code: CloseCode) -> Self {
        match code {
            CloseCode::None => Self::ClosedMute,
            CloseCode::HandshakeFailed => Self::ClosedHandshakeFailed,
            CloseCode::HandshakeTimeout => Self::ClosedHandshakeTimeout,
            CloseCode::ProtocolError => Self::ClosedProtocolError,
            CloseCode::NotAuthorised => Self::ClosedNotAuthorised,
            CloseCode::ShuttingDown => Self::ClosedShuttingDown,
            CloseCode::Superseded => Self::ClosedSuperseded,
        }
    }

    /// A link's health becomes `health`.
    pub(crate) fn turned(health: Health) -> Self {
        match health {
            Health::Healthy => Self::HealthRegained,
            Health::Degraded => Self::HealthDegraded,
            Health::Failing => Self::HealthFailing,
            Health::Unhealthy => Self::HealthUnhealthy,
        }
    }
}

#[cfg(feature = "proving")]
mod on {
    use super::{Mutant, Point};
    use core::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};

    const NONE: u8 = u8::MAX;
    static ACTIVE: AtomicU8 = AtomicU8::new(NONE);
    static REACHED: [AtomicU64; Point::ALL.len()] = [const { AtomicU64::new(0) }; Point::ALL.len()];

    /// Switches to a mutant of the code, or back to the code as it is.
    pub fn mutate(mutant: Option<Mutant>) {
        ACTIVE.store(mutant.map_or(NONE, |m| m as u8), Relaxed);
    }

    /// Whether the code is this mutant of it.
    #[inline]
    pub fn is_mutant(mutant: Mutant) -> bool {
        ACTIVE.load(Relaxed) == mutant as u8
    }

    /// A number that no seed decides: a different one each time in the life of a process.
    pub fn unseeded() -> u64 {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        NEXT.fetch_add(1, Relaxed)
    }

    /// This point was reached.
    #[inline]
    pub fn sometimes(point: Point) {
        REACHED[point as usize].fetch_add(1, Relaxed);
    }

    /// How often each point was reached since the process began.
    pub fn reached() -> impl Iterator<Item = (Point, u64)> {
        Point::ALL.iter().map(|point| (*point, REACHED[*point as usize].load(Relaxed)))
    }
}

#[cfg(feature = "proving")]
pub use on::{is_mutant, mutate, reached, sometimes, unseeded};

/// Whether the code is this mutant of it: never, without the feature.
#[cfg(not(feature = "proving"))]
#[inline(always)]
pub const fn is_mutant(_: Mutant) -> bool {
    false
}

/// This point was reached: nobody counts, without the feature.
#[cfg(not(feature = "proving"))]
#[inline(always)]
pub const fn sometimes(_: Point) {}

/// A number that no seed decides: there is none without the feature.
#[cfg(not(feature = "proving"))]
#[inline(always)]
pub const fn unseeded() -> u64 {
    0
}
