//! The laws of merging rows, on arbitrary rows and on small histories with purges, against a plain account of which
//! version replaced which.

use arbitrary::{Result, Unstructured};
use std::collections::{BTreeMap, BTreeSet};
use sync_core::id::Actor;
use sync_core::index::{Body, Dot, Row, Value, Vector, may_purge, merge};
use sync_core::{ContentId, WallTime};

/// Replicas of a history.
const REPLICAS: usize = 3;
/// Keys of a history.
const KEYS: u8 = 2;
/// Steps of a history.
const STEPS: usize = 96;

/// Merges three rows in every order, or lives through a small history.
pub fn row_merge(bytes: &[u8]) {
    let mut u = Unstructured::new(bytes);
    // Reading never fails: bytes that have run out are zeros.
    let _ = match u.arbitrary::<bool>() {
        Ok(true) => arbitrary_rows(&mut u),
        Ok(false) | Err(_) => history(&mut u),
    };
}

/// A row and what its side knows beside it.
type Side = (Row, Vector);

fn arbitrary_rows(u: &mut Unstructured<'_>) -> Result<()> {
    let sides = [side(u)?, side(u)?, side(u)?];
    check_laws(&sides);
    Ok(())
}

fn side(u: &mut Unstructured<'_>) -> Result<Side> {
    let mut row = Row::default();
    for _ in 0..u.int_in_range(0..=5_u8)? {
        let dot = small_dot(u)?;
        row.ctx.insert(dot);
        if u.arbitrary()? {
            row.siblings.insert(dot, value_of(dot));
        }
    }
    let mut known = Vector::default();
    for _ in 0..u.int_in_range(0..=3_u8)? {
        known.insert(small_dot(u)?);
    }
    Ok((row, known))
}

/// Few actors and numbers, so that sides have dots in common; now and then one at the end of what a number can be.
fn small_dot(u: &mut Unstructured<'_>) -> Result<Dot> {
    let byte: u8 = u.arbitrary()?;
    let seq = u64::from(byte >> 2 & 7) + 1;
    Ok(Dot { actor: Actor(u64::from(byte & 3)), seq: if byte >= 0xf8 { u64::MAX } else { seq } })
}

/// A dot stands for one version wherever it is.
fn value_of(dot: Dot) -> Value {
    let content = ContentId::of(&dot.seq.to_le_bytes());
    let stamp = i64::try_from(dot.actor.0).unwrap_or(i64::MAX);
    let body =
        if dot.seq % 4 == 3 { Body::Tomb } else { Body::File { content, size: dot.seq, mtime_ns: stamp, mode: 0o644 } };
    Value { body, prev: [0; 8], stamp: WallTime(stamp) }
}

/// What a side has seen.
fn seen((row, known): &Side) -> Vector {
    let mut seen = row.ctx.clone();
    seen.join(known);
    seen
}

/// The two sides as one. The mark that keeps a row from being skipped is a matter of who has told whom: it is no part of
/// what they hold.
fn joined(a: &Side, b: &Side) -> Side {
    let mut known = a.1.clone();
    known.join(&b.1);
    let row = merge(&a.0, &a.1, &b.0, &b.1).row;
    (Row { noskip: false, ..row }, known)
}

fn check_laws(sides: &[Side; 3]) {
    let [a, b, c] = sides;
    for (a, b) in [(a, b), (b, c), (c, a)] {
        check_pair(a, b);
    }
    assert_eq!(joined(&joined(a, b), c), joined(a, &joined(b, c)), "in whatever order three are merged: {sides:?}");
}

fn check_pair(a: &Side, b: &Side) {
    let (here, there) = (merge(&a.0, &a.1, &b.0, &b.1), merge(&b.0, &b.1, &a.0, &a.1));
    assert_eq!(here.row, there.row, "both sides come to hold the same: {a:?} {b:?}");
    assert_eq!(here.mine_changed, here.row != a.0, "{a:?} {b:?}");
    let row = &here.row;
    assert_eq!(here.theirs_differs, row.ctx != b.0.ctx || row.siblings != b.0.siblings, "{a:?} {b:?}");
    let mut ctx = a.0.ctx.clone();
    ctx.join(&b.0.ctx);
    assert_eq!(row.ctx, ctx, "contexts only grow");
    let dots: BTreeSet<Dot> = a.0.siblings.keys().chain(b.0.siblings.keys()).copied().collect();
    let (seen_a, seen_b) = (seen(a), seen(b));
    for dot in dots {
        let (at_a, at_b) = (a.0.siblings.contains_key(&dot), b.0.siblings.contains_key(&dot));
        // Whoever has seen a version and does not hold it knows that it was replaced.
        let replaced = at_a && !at_b && seen_b.contains(dot) || at_b && !at_a && seen_a.contains(dot);
        assert_eq!(row.siblings.contains_key(&dot), !replaced, "{dot:?} of {a:?} {b:?}");
        assert!(row.siblings.get(&dot).is_none_or(|v| *v == value_at(dot, a, b)), "{dot:?} is another version");
    }
    assert!(row.siblings.keys().all(|d| a.0.siblings.contains_key(d) || b.0.siblings.contains_key(d)));
    let again = merge(row, &a.1, row, &b.1);
    assert!(!again.mine_changed && !again.theirs_differs, "merging what is merged changes nothing");
    let behind = joined(&joined(a, b), a);
    assert_eq!(behind, joined(a, b), "what one side held is in what both hold: {a:?} {b:?}");
    // A version that leaves no trace in a context must not be taken for news nobody needs.
    let silent = |from: &Side, to: &Side| {
        from.0.siblings.keys().any(|d| !row.siblings.contains_key(d) && !to.0.ctx.contains(*d))
    };
    assert!(row.noskip || !(silent(a, b) || silent(b, a) || a.0.noskip || b.0.noskip), "{a:?} {b:?}");
}

fn value_at(dot: Dot, a: &Side, b: &Side) -> Value {
    let held = a.0.siblings.get(&dot).or_else(|| b.0.siblings.get(&dot));
    held.cloned().unwrap_or_else(|| value_of(dot))
}

/// One device of a history.
#[derive(Clone, Default)]
struct Replica {
    rows: BTreeMap<u8, Row>,
    known: Vector,
    applied: Vector,
    /// What the others said they have applied.
    told: BTreeMap<usize, Vector>,
    seq: u64,
}

impl Replica {
    fn side(&self, key: u8) -> Side {
        (self.rows.get(&key).cloned().unwrap_or_default(), self.known.clone())
    }

    fn take(&mut self, key: u8, theirs: &Side) {
        let mine = self.side(key);
        let merged = merge(&mine.0, &mine.1, &theirs.0, &theirs.1);
        if merged.mine_changed {
            self.rows.insert(key, merged.row);
        }
    }
}

/// What happened, in terms of versions alone.
#[derive(Default)]
struct Account {
    written: BTreeMap<Dot, (u8, Body)>,
    replaced: BTreeSet<Dot>,
}

fn history(u: &mut Unstructured<'_>) -> Result<()> {
    let mut replicas: Vec<Replica> = vec![Replica::default(); REPLICAS];
    let mut account = Account::default();
    for _ in 0..STEPS {
        if u.is_empty() {
            break;
        }
        step(u, &mut replicas, &mut account)?;
        for key in 0..KEYS {
            check_laws(&[replicas[0].side(key), replicas[1].side(key), replicas[2].side(key)]);
        }
    }
    // Everybody hears from everybody, purges, and hears again: nothing may come of that.
    for _ in 0..2 {
        for (a, b) in [(0, 1), (1, 2), (0, 2), (0, 1), (1, 2)] {
            exchange(&mut replicas, a, b);
            replicas.iter_mut().for_each(|r| r.applied = r.known.clone());
        }
        check_end(&replicas, &account);
        (0..REPLICAS).for_each(|at| purge(&mut replicas, at));
    }
    check_end(&replicas, &account);
    assert!(
        replicas.iter().all(|r| r.rows.values().all(Row::is_live)),
        "what all have applied is forgotten in the end"
    );
    Ok(())
}

fn step(u: &mut Unstructured<'_>, replicas: &mut [Replica], account: &mut Account) -> Result<()> {
    let at = u.int_in_range(0..=REPLICAS - 1)?;
    let other = (at + 1 + usize::from(u.arbitrary::<bool>()?)) % REPLICAS;
    let key = u.int_in_range(0..=KEYS - 1)?;
    match u.int_in_range(0..=6_u8)? {
        0..=2 => write(u, &mut replicas[at], at, key, account)?,
        // One row alone: an exchange that stops half-way.
        3 => {
            let theirs = replicas[other].side(key);
            replicas[at].take(key, &theirs);
        }
        4 => exchange(replicas, at, other),
        5 => replicas[at].applied = replicas[at].known.clone(),
        _ => purge(replicas, at),
    }
    Ok(())
}

fn write(u: &mut Unstructured<'_>, r: &mut Replica, at: usize, key: u8, account: &mut Account) -> Result<()> {
    let row = r.rows.entry(key).or_default();
    let dots: Vec<Dot> = row.siblings.keys().copied().collect();
    let pick: u8 = u.arbitrary()?;
    let saw = if pick == 0 { None } else { dots.get(usize::from(pick) % dots.len().max(1)).copied() };
    let content: u8 = u.arbitrary()?;
    let body = match content & 7 {
        // Only what is seen can be deleted.
        7 if saw.is_some() => Body::Tomb,
        6 => Body::Dir { mode: 0o755 },
        n => Body::File { content: ContentId::of(&[n]), size: u64::from(n), mtime_ns: i64::from(content), mode: 0o644 },
    };
    r.seq += 1;
    let dot = Dot { actor: Actor(at as u64), seq: r.seq };
    row.write(dot, body.clone(), saw, WallTime(i64::from(content)), WallTime(100));
    account.written.insert(dot, (key, body));
    account.replaced.extend(dots.iter().filter(|d| !row.siblings.contains_key(*d)));
    r.known.insert(dot);
    Ok(())
}

/// A complete exchange: all rows both ways, then what each knows and has applied.
fn exchange(replicas: &mut [Replica], a: usize, b: usize) {
    let before = (replicas[a].clone(), replicas[b].clone());
    for key in 0..KEYS {
        replicas[a].take(key, &before.1.side(key));
        replicas[b].take(key, &before.0.side(key));
    }
    for (at, from, other) in [(a, b, &before.1), (b, a, &before.0)] {
        replicas[at].known.join(&other.known);
        replicas[at].told.insert(from, other.applied.clone());
    }
}

/// Forgets tombstones that everybody has applied, as far as `at` has heard.
fn purge(replicas: &mut [Replica], at: usize) {
    let nothing = Vector::default();
    let r = &replicas[at];
    let heard = (0..REPLICAS).map(|m| if m == at { &r.applied } else { r.told.get(&m).unwrap_or(&nothing) });
    let applied: Vec<&Vector> = heard.collect();
    let gone: Vec<u8> =
        r.rows.iter().filter(|(_, row)| may_purge(row, applied.iter().copied())).map(|(key, _)| *key).collect();
    gone.iter().for_each(|key| drop(replicas[at].rows.remove(key)));
}

/// Everybody holds exactly the versions that nobody has replaced, tombstones apart.
fn check_end(replicas: &[Replica], account: &Account) {
    for key in 0..KEYS {
        let written = account.written.iter().filter(|(_, (k, body))| *k == key && body.is_live());
        let due: BTreeSet<Dot> = written.map(|(d, _)| *d).filter(|d| !account.replaced.contains(d)).collect();
        for (at, r) in replicas.iter().enumerate() {
            let held = r.rows.get(&key).into_iter().flat_map(|row| &row.siblings);
            let live: BTreeSet<Dot> = held.filter(|(_, v)| v.body.is_live()).map(|(d, _)| *d).collect();
            assert_eq!(live, due, "replica {at} at key {key}");
        }
    }
}
