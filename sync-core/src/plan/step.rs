//! The next step from what base says is on disk to what is wanted there.

use crate::index::{Base, Body, Dot, StatKind};
use crate::output::Make;

/// What shall be at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Nothing.
    Absent,
    /// This version; without a dot, a directory that only its descendants imply.
    Present {
        /// The version.
        dot: Option<Dot>,
        /// What it holds.
        body: Body,
    },
}

/// What to do about a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing at all.
    Settled,
    /// Only base changes: the same bytes go by another dot.
    Rebase(Base),
    /// Change the disk.
    Make(Make),
    /// Change the disk, once the wanted content is staged.
    Stage(Make),
    /// Empty a directory that stands in the way, or is not wanted, then remove it.
    Clear,
}

/// The step from `base` to `wanted`.
pub fn step(wanted: &Wanted, base: Option<&Base>) -> Step {
    let dir_in_the_way = base.is_some_and(|b| b.stat.kind == StatKind::Dir);
    let Wanted::Present { dot, body } = wanted else {
        return match base {
            None => Step::Settled,
            Some(_) if dir_in_the_way => Step::Clear,
            Some(_) => Step::Make(Make::Absent),
        };
    };
    match (base, body) {
        (Some(base), body) if base.body == *body && base.dot == *dot => Step::Settled,
        (Some(base), body) if base.body == *body => Step::Rebase(Base { dot: *dot, ..base.clone() }),
        (_, Body::Dir { mode }) => Step::Make(Make::Dir { mode: *mode }),
        (Some(_), Body::File { .. } | Body::Symlink { .. }) if dir_in_the_way => Step::Clear,
        (Some(base), Body::File { mtime_ns, mode, .. }) if base.body.same_content(body) => {
            Step::Make(Make::Meta { mtime_ns: *mtime_ns, mode: *mode })
        }
        (_, Body::File { content, size, mtime_ns, mode }) => {
            Step::Stage(Make::File { content: *content, size: *size, mtime_ns: *mtime_ns, mode: *mode })
        }
        (_, Body::Symlink { target }) => Step::Make(Make::Symlink { target: target.clone() }),
        // Records and tombstones are never wanted in the tree.
        (_, Body::Tomb | Body::Member(_) | Body::Policy(_)) => Step::Settled,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{Actor, ContentId};
    use crate::index::Stat;

    fn base(body: Body, kind: StatKind) -> Base {
        let stat = Stat { kind, inode: 1, size: 0, mtime_ns: 0, ctime_ns: 0, mode: 0o644 };
        Base { dot: Some(Dot { actor: Actor(1), seq: 1 }), body, stat }
    }

    fn file(text: &str, mode: u32) -> Body {
        Body::File { content: ContentId::of(text.as_bytes()), size: 1, mtime_ns: 0, mode }
    }

    fn present(seq: u64, body: Body) -> Wanted {
        Wanted::Present { dot: Some(Dot { actor: Actor(1), seq }), body }
    }

    #[test]
    fn each_difference_has_its_step() {
        let dir = || Body::Dir { mode: 0o755 };
        let check = |wanted: Wanted, base: Option<Base>, want: fn(&Step) -> bool| {
            let got = step(&wanted, base.as_ref());
            assert!(want(&got), "{wanted:?} from {base:?}: {got:?}");
        };
        let of_file = || Some(base(file("a", 0o644), StatKind::File));
        let of_dir = || Some(base(dir(), StatKind::Dir));
        check(Wanted::Absent, None, |s| *s == Step::Settled);
        check(Wanted::Absent, of_file(), |s| *s == Step::Make(Make::Absent));
        check(Wanted::Absent, of_dir(), |s| *s == Step::Clear);
        check(present(1, file("a", 0o644)), of_file(), |s| *s == Step::Settled);
        check(present(2, file("a", 0o644)), of_file(), |s| matches!(s, Step::Rebase(_)));
        check(present(2, file("a", 0o755)), of_file(), |s| matches!(s, Step::Make(Make::Meta { mode: 0o755, .. })));
        check(present(2, file("b", 0o644)), of_file(), |s| matches!(s, Step::Stage(_)));
        check(present(2, file("b", 0o644)), of_dir(), |s| *s == Step::Clear);
        check(present(2, dir()), of_file(), |s| matches!(s, Step::Make(Make::Dir { .. })));
    }
}
