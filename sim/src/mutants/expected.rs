//! Which invariant each seeded fault breaks, and which world has to show it.

use super::Sign::{self, Broken, Unrepeatable};
use crate::cli::WorldKind;
use crate::outcome::Invariant::*;
use sync_core::proving::Mutant;

/// What a fault is expected to come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// What gives it away: one of these.
    pub signs: &'static [Sign],
    /// The cheapest world that shows it.
    pub world: WorldKind,
    /// Why not the core world, if so.
    pub why: &'static str,
}

const fn core(signs: &'static [Sign]) -> Expected {
    Expected { signs, world: WorldKind::Core, why: "" }
}

const fn turmoil(signs: &'static [Sign], why: &'static str) -> Expected {
    Expected { signs, world: WorldKind::Turmoil, why }
}

/// What `mutant` is expected to come to.
pub fn expected(mutant: Mutant) -> Expected {
    const CONVERGENCE: Sign = Broken(Convergence);
    const RETURN: Sign = Broken(NoResurrection);
    const LOSS: Sign = Broken(NoSilentLoss);
    const PHANTOM: Sign = Broken(NoPhantomDelete);
    const PRE_IMAGE: Sign = Broken(PreImage);
    const DURABLE: Sign = Broken(Durability);
    const BUSY: Sign = Broken(BoundedRetry);
    const TRUTH: Sign = Broken(HealthTruth);
    const RESUME: Sign = Broken(Resume);
    const VISIBLE: Sign = Broken(AtomicVisibility);
    const BOUNDS: Sign = Broken(ResourceBounds);
    const STRANGER: Sign = Broken(NoUnauthenticatedEffect);
    const LIVENESS: Sign = Broken(Liveness);
    match mutant {
        Mutant::PurgeOnOwnApplied
        | Mutant::PurgeOnDots
        | Mutant::PurgeUnheard
        | Mutant::EpochKept
        | Mutant::MergeByContextAlone
        | Mutant::UnspokenSkipped
        | Mutant::TouchRevives
        | Mutant::GoneUnclaimed
        | Mutant::GoneUnanswered
        | Mutant::CaughtUnanswered
        | Mutant::WalkSkipsKnown
        | Mutant::EpochIgnored
        | Mutant::LeftoverIsEdit
        | Mutant::PurgeIgnored => core(&[CONVERGENCE, RETURN, LOSS, PHANTOM, LIVENESS, TRUTH]),
        Mutant::ActorReused => core(&[CONVERGENCE, RETURN, LOSS, PHANTOM, DURABLE, LIVENESS, TRUTH]),
        Mutant::SymmetricPrev
        | Mutant::ClockDecides
        | Mutant::StampNotAbove
        | Mutant::SawTheWinner
        | Mutant::GoneTakesAll
        | Mutant::LossFacedAlone
        | Mutant::HeldCopySettled
        | Mutant::KeptIsTouched
        | Mutant::CopiesUnstored => core(&[LOSS, CONVERGENCE, PHANTOM, LIVENESS, TRUTH]),
        Mutant::SizeAloneTells | Mutant::LocksIgnored | Mutant::UnsureActedOn => {
            core(&[CONVERGENCE, LOSS, PHANTOM, PRE_IMAGE, BUSY, LIVENESS, TRUTH])
        }
        Mutant::CopyTakesName | Mutant::FailedForGood | Mutant::UnexpectedUnlooked => {
            core(&[BUSY, CONVERGENCE, LIVENESS, TRUTH])
        }
        Mutant::RetryAtOnce | Mutant::DeadlinePast | Mutant::ForgivenEarly | Mutant::DialAtOnce => core(&[BUSY]),
        Mutant::RescanNever
        | Mutant::HintDropped
        | Mutant::PolicyUnfollowed
        | Mutant::ChildrenOutlive
        | Mutant::EchoHidesNews
        | Mutant::AppliedEarly
        | Mutant::PendingUnstored
        | Mutant::KnownAtStart
        | Mutant::CursorAhead
        | Mutant::WalkMissesChanges
        | Mutant::EarlyOfferLost
        | Mutant::TrashUnsearched
        | Mutant::LacksForGood
        | Mutant::AnswersShifted
        | Mutant::DormantForEver => core(&[CONVERGENCE, TRUTH, LIVENESS]),
        Mutant::CopyNotAwaited => core(&[LOSS]),
        Mutant::LostRootIsEmpty | Mutant::UnreadIsGone => core(&[PHANTOM, LOSS]),
        Mutant::BaseForgotten | Mutant::OpenUnlooked => {
            core(&[CONVERGENCE, LOSS, RETURN, PHANTOM, BUSY, LIVENESS, TRUTH])
        }
        Mutant::SyncedEarly => core(&[TRUTH]),
        Mutant::ResumeForgotten
        | Mutant::OutcomesShifted
        | Mutant::SealFailureIgnored
        | Mutant::UnsealedCounts
        | Mutant::ReusedIsSealed => core(&[RESUME]),
        Mutant::StaleAttempt | Mutant::ChunkUnverified | Mutant::SweptAll => core(&[RESUME, VISIBLE]),
        Mutant::WholeUnchecked | Mutant::SmallUnverified => core(&[VISIBLE]),
        Mutant::CopyUnverified => core(&[VISIBLE, CONVERGENCE, LIVENESS, TRUTH]),
        Mutant::WindowIgnored | Mutant::AsksUnbounded => core(&[BOUNDS]),
        Mutant::PinUnchecked => core(&[STRANGER]),
        Mutant::MuteForEver => core(&[LIVENESS, CONVERGENCE, TRUTH, BUSY]),
        Mutant::PromiseUndurable | Mutant::CommitNotDurable => core(&[DURABLE]),
        Mutant::ChanceUnseeded => core(&[Unrepeatable]),
        Mutant::PreImageUnchecked => core(&[PRE_IMAGE, LOSS, CONVERGENCE, LIVENESS, TRUTH]),
        Mutant::DotsKeptAfterRollback | Mutant::RollbackUnnoticed => core(&[DURABLE, LOSS, CONVERGENCE]),
        Mutant::ReplacesUnlooked => turmoil(&[PRE_IMAGE, LOSS], "the model disk moves files in one instant"),
        Mutant::VanishedUnread => turmoil(&[PHANTOM], "the model disk tells by itself what failed from what is gone"),
        Mutant::PrivateShown => {
            turmoil(&[Broken(Containment), CONVERGENCE], "the model disk keeps what is private elsewhere")
        }
        Mutant::ChangedTrashPurged => {
            turmoil(&[LOSS], "nothing is ever purged from the model trash, and nobody has its files open")
        }
        Mutant::AnyKeyAnswers => turmoil(&[STRANGER], "the model network knows who is who"),
    }
}
