//! What is a path below a folder's root and what is not, against the contract written out again here.

use arbitrary::{Result, Unstructured};
use std::collections::BTreeSet;
use sync_core::id::Actor;
use sync_core::index::{Body, Dot, Key, Loser, Value, copy_name};
use sync_core::{ContentId, DirPath, Name, RelPath, WallTime};

/// Longest name, bytes.
const NAME: usize = 255;
/// Longest path, bytes.
const PATH: usize = 4_096;

/// Parses two paths and a name, and holds them against the contract and the laws of paths.
pub fn path_parse(bytes: &[u8]) {
    check_path(bytes);
    check_name(bytes);
    // Reading never fails: bytes that have run out are zeros.
    let _ = check_composed(&mut Unstructured::new(bytes));
}

/// The same with bytes that describe more than they are, so that lengths at the limits are within reach.
fn check_composed(u: &mut Unstructured<'_>) -> Result<()> {
    let (a, b, name) = (spelling(u)?, spelling(u)?, spelling(u)?);
    for bytes in [&a, &b, &name, &[&a[..], &b].concat(), &[&a[..], b"/", &b].concat()] {
        check_path(bytes);
        check_name(bytes);
    }
    let (a, b, name) = (RelPath::new(&a), RelPath::new(&b), Name::new(&name));
    if let (Ok(a), Ok(b)) = (&a, &b) {
        check_order(a, b);
        check_order(b, a);
    }
    if let Ok(name) = &name {
        let dirs = [&a, &b].into_iter().flatten().map(|p| DirPath::from(p.clone()));
        dirs.chain([DirPath::ROOT]).for_each(|dir| check_join(&dir, name));
        check_copies(name, &loser(u)?);
    }
    Ok(())
}

/// Up to some components, each of it plain bytes or one byte many times.
fn spelling(u: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    for _ in 0..=u.int_in_range(0..=7_u8)? {
        match u.int_in_range(0..=9_u8)? {
            0 => out.push(b'/'),
            1 => out.extend(b".."),
            2 => out.extend(b".landropic"),
            3 => out.extend(b".Landropic/"),
            4 => out.extend(b".conflict-"),
            5 => {
                let (byte, times) = (u.arbitrary::<u8>()?, u.int_in_range(0..=300_usize)?);
                out.extend(std::iter::repeat_n(byte, times));
            }
            6 => {
                let times = u.int_in_range(0..=2_100_usize)?;
                out.extend(b"a/".repeat(times));
            }
            7 => out.extend("\u{e9}".as_bytes()),
            _ => {
                let len = u.int_in_range(0..=15_usize)?.min(u.len());
                out.extend(u.bytes(len)?);
            }
        }
    }
    Ok(out)
}

fn is_name(bytes: &[u8]) -> bool {
    let is_dots = bytes == b"." || bytes == b"..";
    !bytes.is_empty() && bytes.len() <= NAME && !is_dots && !bytes.contains(&0) && !bytes.contains(&b'/')
}

fn is_path(bytes: &[u8]) -> bool {
    let mut components = bytes.split(|b| *b == b'/');
    let is_private = components.next().is_some_and(|first| first.eq_ignore_ascii_case(b".landropic"));
    bytes.len() <= PATH && !is_private && bytes.split(|b| *b == b'/').all(is_name)
}

fn check_name(bytes: &[u8]) {
    let name = Name::new(bytes);
    assert_eq!(name.is_ok(), is_name(bytes), "as a name: {:?}", String::from_utf8_lossy(bytes));
    if let Ok(name) = name {
        assert_eq!(name.as_bytes(), bytes);
    }
}

fn check_path(bytes: &[u8]) {
    let path = RelPath::new(bytes);
    assert_eq!(path.is_ok(), is_path(bytes), "as a path: {:?}", String::from_utf8_lossy(bytes));
    let key = Key::from_bytes(bytes);
    if let Some(key) = &key {
        assert_eq!(key.to_bytes(), bytes, "a key is said in one way");
    }
    assert_eq!(path.as_ref().ok(), key.as_ref().and_then(Key::as_path), "a key is a path or reserved");
    let Ok(path) = path else { return };
    assert_eq!(path.as_bytes(), bytes);
    let components: Vec<&[u8]> = path.components().collect();
    assert!(components.iter().all(|c| is_name(c)));
    assert_eq!(components.join(&b'/'), bytes, "nothing is lost between components");
    assert_eq!(path.parent().join(&path.name()).as_ref(), Ok(&path), "a path is its name in its parent");
    assert_eq!(path.parent().as_path(), path.parent_path().as_ref());
    let ancestors: Vec<RelPath> = path.ancestors().collect();
    assert_eq!(ancestors.len() + 1, components.len(), "one ancestor for every component but the last");
    assert!(ancestors.iter().all(|above| path.is_below(above) && !above.is_below(&path)));
    assert!(ancestors.windows(2).all(|pair| pair[0].is_below(&pair[1])), "nearest first");
    assert!(!path.is_below(&path), "nothing is below itself");
    assert!(path.display().chars().all(|c| !c.is_control()), "people are shown no control characters");
}

/// Being below is a matter of ancestors, and of the bounds within which everything below lies.
fn check_order(a: &RelPath, b: &RelPath) {
    let below = a.is_below(b);
    assert_eq!(below, a.ancestors().any(|above| above == *b), "{a:?} below {b:?}");
    let (from, to) = b.below_bounds();
    assert_eq!(below, a.as_bytes() >= &from[..] && a.as_bytes() < &to[..], "{a:?} within the bounds of {b:?}");
    assert!(!(below && b.is_below(a)));
    if below {
        assert!(a.ancestors().all(|above| above == *b || above.is_below(b) || b.is_below(&above)));
    }
}

fn check_join(dir: &DirPath, name: &Name) {
    let joined = match dir.as_path() {
        Some(dir) => [dir.as_bytes(), b"/", name.as_bytes()].concat(),
        None => name.as_bytes().to_vec(),
    };
    match dir.join(name) {
        Ok(path) => {
            assert_eq!(path.as_bytes(), joined);
            assert_eq!((path.parent(), path.name()), (dir.clone(), name.clone()));
        }
        Err(error) => assert!(!is_path(&joined), "{error}: {:?}", String::from_utf8_lossy(&joined)),
    }
}

fn loser(u: &mut Unstructured<'_>) -> Result<Loser> {
    let content = ContentId::of(&[u.arbitrary()?]);
    let body = Body::File { content, size: 1, mtime_ns: 0, mode: 0o644 };
    // Times far from today are longer to write.
    let stamp = u.arbitrary::<i64>()? >> u.int_in_range(0..=63_u8)?;
    let dot = Dot { actor: Actor(u.arbitrary()?), seq: 1 };
    Ok(Loser { dot, value: Value { body, prev: [0; 8], stamp: WallTime(stamp) } })
}

/// Names of copies are names, differ by their numbers, and do not grow when a copy comes to have copies.
fn check_copies(name: &Name, loser: &Loser) {
    let names: Vec<Name> = (1..=99).map(|again| copy_name(name, loser, again)).collect();
    for copy in &names {
        assert!(is_name(copy.as_bytes()), "{copy:?} of {name:?}");
        assert!(RelPath::new(copy.as_bytes()).is_ok(), "{copy:?} of {name:?} at the root");
        assert_eq!(copy_name(copy, loser, 1), names[0], "a copy of {copy:?}");
    }
    let distinct: BTreeSet<&Name> = names.iter().collect();
    assert_eq!(distinct.len(), names.len(), "numbers tell the copies of {name:?} apart");
}
