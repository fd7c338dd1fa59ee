//! The rules as the histories call them: the real ones, and broken variants that the suite must catch.

use sync_core::Actor;
use sync_core::WallTime;
use sync_core::index::{Body, Dot, Loser, Policy, Projection, Row, Value, Vector, may_purge, merge, project, reissue};

type Write = fn(&mut Row, Dot, Body, Option<Dot>, WallTime, WallTime);
type Merge = fn(&Row, &Vector, &Row, &Vector) -> Row;
type Purge = fn(&Row, &[(Vector, Vector)]) -> bool;
type Reissue = fn(&mut Row, Actor, u64, &mut dyn FnMut() -> Dot) -> bool;
type Project = fn(&Row, bool, &Policy) -> Projection;

/// What a history runs on.
#[derive(Clone, Copy)]
pub struct Rules {
    pub name: &'static str,
    pub write: Write,
    pub merge: Merge,
    /// The row, then knowledge and applied of each member.
    pub may_purge: Purge,
    pub reissue: Reissue,
    pub project: Project,
    /// Whether a row goes unsent to a peer of this knowledge.
    pub skip: fn(&Row, &Vector) -> bool,
    /// Whether knowledge is joined before the exchange is complete.
    pub join_early: bool,
    /// Whether a file without a base replaces the version that has its name.
    pub baseless_replaces: bool,
    /// Whether a file without a base stays away from the tombstone of its own content.
    pub heeds_tombs: bool,
    /// Whether that goes for a device that has forgotten nothing, too.
    pub distrusts_files_put_back: bool,
    /// Whether a restored database writes under a new actor.
    pub renews_actor: bool,
    /// Whether rows that were deleted and purged here are answered.
    pub answers_gone: bool,
    /// Whether a side says that it has caught up before it has answered for every row of the peer.
    pub caught_before_gone: bool,
    /// Whether a session goes on after a purge of rows that it has not come to.
    pub purges_under_sessions: bool,
    /// Whether a cursor from before a purge reconciles in full.
    pub heeds_purge_rev: bool,
    /// Whether new dots of a touched but superseded version are written.
    pub touches_superseded: bool,
}

/// The rules as they ship.
pub const REAL: Rules = Rules {
    name: "the rules as they are",
    write: Row::write,
    merge: |a, ka, b, kb| merge(a, ka, b, kb).row,
    may_purge: |row, members| may_purge(row, members.iter().map(|(_, applied)| applied)),
    reissue: |row, old, acked, next| reissue(row, old, acked, next),
    project,
    skip: |row, known| !row.noskip && known.covers(&row.ctx),
    join_early: false,
    baseless_replaces: false,
    heeds_tombs: true,
    distrusts_files_put_back: false,
    renews_actor: true,
    answers_gone: true,
    caught_before_gone: false,
    purges_under_sessions: false,
    heeds_purge_rev: true,
    touches_superseded: false,
};

/// Each breaks one rule.
pub const MUTANTS: &[Rules] = &[
    Rules { name: "merge ignores knowledge", merge: merge_without_knowledge, ..REAL },
    Rules { name: "merge keeps what either holds", merge: merge_by_union, ..REAL },
    Rules { name: "purge looks at the dots alone", may_purge: purge_on_dots, ..REAL },
    Rules { name: "purge looks at knowledge, not at what is applied", may_purge: purge_on_knowledge, ..REAL },
    Rules { name: "prev counts in both directions", project: project_symmetric, ..REAL },
    Rules { name: "prev counts for nothing", project: project_without_prev, ..REAL },
    Rules { name: "only the winner's prev counts", project: project_winner_prev, ..REAL },
    Rules { name: "a write replaces all siblings", write: write_over_all, ..REAL },
    Rules { name: "a write leaves what was hidden by what it saw", write: write_over_seen, ..REAL },
    Rules { name: "a touch ranks as new", write: write_fresh_stamp, ..REAL },
    Rules { name: "a touch of a superseded version is written", touches_superseded: true, ..REAL },
    Rules { name: "a restored database goes on as the same actor", renews_actor: false, ..REAL },
    Rules { name: "own dots of a restored database keep their numbers", reissue: |_, _, _, _| false, ..REAL },
    Rules { name: "a file without a base replaces the winner", baseless_replaces: true, ..REAL },
    Rules { name: "a file without a base ignores the tombstone of its content", heeds_tombs: false, ..REAL },
    Rules { name: "a file put back is taken for the one deleted", distrusts_files_put_back: true, ..REAL },
    Rules {
        name: "rows that lost a version by knowledge are skipped",
        skip: |row, known| known.covers(&row.ctx),
        ..REAL
    },
    Rules { name: "knowledge is joined before the exchange is complete", join_early: true, ..REAL },
    Rules { name: "purged rows are not answered", answers_gone: false, ..REAL },
    Rules { name: "knowledge is joined before deletions are answered", caught_before_gone: true, ..REAL },
    Rules { name: "a session goes on over a purge", purges_under_sessions: true, ..REAL },
    Rules { name: "a cursor from before a purge goes on", heeds_purge_rev: false, ..REAL },
];

fn merge_without_knowledge(a: &Row, _: &Vector, b: &Row, _: &Vector) -> Row {
    merge(a, &Vector::default(), b, &Vector::default()).row
}

fn merge_by_union(a: &Row, ka: &Vector, b: &Row, kb: &Vector) -> Row {
    let mut row = merge(a, ka, b, kb).row;
    row.siblings.extend(a.siblings.iter().chain(&b.siblings).map(|(d, v)| (*d, v.clone())));
    row
}

fn purge_on_dots(row: &Row, members: &[(Vector, Vector)]) -> bool {
    !row.is_live() && members.iter().all(|(_, applied)| row.siblings.keys().all(|d| applied.contains(*d)))
}

fn purge_on_knowledge(row: &Row, members: &[(Vector, Vector)]) -> bool {
    may_purge(row, members.iter().map(|(known, _)| known))
}

/// What the winner alone replaced is hidden, so that a third version brings it back.
fn project_winner_prev(row: &Row, below: bool, policy: &Policy) -> Projection {
    let out = project(row, below, policy);
    let top = out.main.as_ref().and_then(|(dot, _)| *dot).and_then(|d| row.siblings.get(&d));
    let mut unhidden = project_without_prev(row, below, policy);
    unhidden.losers.retain(|l| top.is_none_or(|t| t.prev != l.value.body.content_prefix()));
    unhidden
}

fn project_symmetric(row: &Row, below: bool, policy: &Policy) -> Projection {
    let mut out = project(row, below, policy);
    let main = out.main.as_ref().map_or([0; 8], |(_, body)| body.content_prefix());
    out.losers.retain(|l| main == [0; 8] || l.value.prev != main);
    out
}

fn project_without_prev(row: &Row, below: bool, policy: &Policy) -> Projection {
    let mut out = project(row, below, policy);
    let Some((main_dot, main)) = out.main.clone() else {
        return out;
    };
    for (dot, value) in &row.siblings {
        let file = matches!(value.body, Body::File { .. } | Body::Symlink { .. });
        let shown = out.losers.iter().any(|l| l.value.body.same_content(&value.body));
        if file && Some(*dot) != main_dot && !shown && !main.same_content(&value.body) {
            out.losers.push(Loser { dot: *dot, value: value.clone() });
        }
    }
    out
}

fn write_over_all(row: &mut Row, dot: Dot, body: Body, saw: Option<Dot>, mtime: WallTime, now: WallTime) {
    row.write(dot, body, saw, mtime, now);
    row.siblings.retain(|d, _| *d == dot);
}

fn write_over_seen(row: &mut Row, dot: Dot, body: Body, saw: Option<Dot>, mtime: WallTime, now: WallTime) {
    let before = row.siblings.clone();
    row.write(dot, body.clone(), saw, mtime, now);
    let other = |v: &Value| v.body.is_live() && !v.body.same_content(&body);
    row.siblings.extend(before.into_iter().filter(|(d, v)| Some(*d) != saw && other(v)));
}

fn write_fresh_stamp(row: &mut Row, dot: Dot, body: Body, saw: Option<Dot>, mtime: WallTime, now: WallTime) {
    row.write(dot, body, saw, mtime, now);
    if let Some(value) = row.siblings.get_mut(&dot) {
        value.stamp = value.stamp.max(mtime.min(now));
    }
}
