//! Did it happen? Points of the shipping code that runs must reach: a world that never gets there has not tested it.
//!
//! Points are counted for the whole process, whatever seeds it runs.

use crate::cli::WorldKind;
use sync_core::proving::{Point, reached};

/// Why runs of a world need not reach a point, if so.
#[allow(clippy::wildcard_enum_match_arm)] // Whatever point is new is to be reached.
pub fn waived(point: Point, world: WorldKind) -> Option<&'static str> {
    match (world, point) {
        (WorldKind::Core, _) if point.needs_shell() => Some("only the shell gets there: the turmoil world does"),
        (WorldKind::Turmoil, _) if !point.needs_shell() => Some("the core world gets there, much faster"),
        (_, Point::CopyNowhere) => Some("nobody has paths of thousands of bytes, and no test has yet"),
        (_, Point::LosersSettled) => Some("no run has seventeen versions of one file: the property suite does"),
        (_, Point::PlanOverflowed) => Some("no run has eight thousand paths: the benches do"),
        (_, Point::ExposureReached) => Some("no file is as large as what a crash may cost: `tests/tests/resume.rs` is"),
        (_, Point::NotStaged) => Some("the model disk loses no staged file of a device that runs: `fs/apply` does"),
        (_, Point::ShellRenamedWeakly) => Some("every host's file system can exchange: tests of `fs/apply` do without"),
        (_, Point::ShellStageRelinked) => {
            Some("a race of two transfers of one content, which one thread does not have")
        }
        (_, Point::ShellChunkWrong) => Some("TLS lets no wrong byte through, and no test has a member that lies yet"),
        (_, Point::ShellRolledBack) => Some("no database fails there: tests of `store` make it, and the core world"),
        _ => None,
    }
}

/// Points that were reached since the process began, and how often.
pub fn hit() -> impl Iterator<Item = (Point, u64)> {
    reached().filter(|(_, times)| *times > 0)
}

/// Points that runs of a world must reach and that were not, since the process began.
pub fn missed(world: WorldKind) -> Vec<Point> {
    reached().filter(|(point, times)| *times == 0 && waived(*point, world).is_none()).map(|(point, _)| point).collect()
}
