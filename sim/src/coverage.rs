//! Did it happen? Points of the shipping code that runs must reach: a world that never gets there has not tested it.
//!
//! Points are counted for the whole process, whatever seeds it runs.

use sync_core::proving::{Point, reached};

/// Why the core world need not reach a point, if so.
#[allow(clippy::wildcard_enum_match_arm)] // Whatever point is new is to be reached.
pub fn waived(point: Point) -> Option<&'static str> {
    match point {
        _ if point.needs_shell() => Some("only the shell gets there: the turmoil world and real processes do"),
        Point::CopyNowhere => Some("nobody has paths of thousands of bytes: `plan/copies.rs` and the shell's tests do"),
        Point::LosersSettled => Some("no run has seventeen versions of one file at once: the property suite does"),
        Point::PlanOverflowed => Some("no run has eight thousand paths: the benches do"),
        Point::ExposureReached => Some("no file is as large as what a crash may cost: `transfer/ranges.rs` tests it"),
        Point::NotStaged => Some("the model disk loses no staged file of a device that runs: `fs/apply` tests it"),
        Point::LeftoverAdopted => {
            Some("nobody is heard before the first look at the disk, so nothing can be a leftover")
        }
        _ => None,
    }
}

/// Points that were reached since the process began, and how often.
pub fn hit() -> Vec<(Point, u64)> {
    reached().filter(|(_, times)| *times > 0).collect()
}

/// Points that the core world must reach and has not.
pub fn missed() -> Vec<Point> {
    reached().filter(|(point, times)| *times == 0 && waived(*point).is_none()).map(|(point, _)| point).collect()
}
