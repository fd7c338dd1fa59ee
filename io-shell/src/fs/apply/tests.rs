//! What an apply promises, on a real disk.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::fs::stat::{if_any, stat_at};
use crate::fs::{finish, list_trash, stage_small};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;
use sync_core::{ContentId, FolderId};

struct Folder {
    _home: tempfile::TempDir,
    root: Root,
}

impl Folder {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let root = Root::create(&home.path().join("root"), FolderId([7; 16])).unwrap();
        Self { _home: home, root }
    }

    fn at(&self, path: &[u8]) -> PathBuf {
        self.root.path().join(OsStr::from_bytes(path))
    }

    fn write(&self, path: &[u8], bytes: &[u8]) -> Stat {
        std::fs::write(self.at(path), bytes).unwrap();
        self.stat(path).unwrap()
    }

    fn stat(&self, path: &[u8]) -> Option<Stat> {
        let dir = self.root.enter().unwrap();
        let path = rel(path);
        let parent = Dirs::new(&dir).unwrap().parent(&path).unwrap();
        if_any(stat_at(&*parent, path.name().as_bytes(), dir.device())).unwrap()
    }

    fn apply(&self, ops: &[Op]) -> Vec<Done> {
        apply(&self.root, ops, WallTime(1_000)).unwrap()
    }

    fn one(&self, path: &[u8], expect: Option<Stat>, make: Make) -> Done {
        self.apply(&[op(path, expect, make)]).remove(0)
    }

    /// Stages `bytes` and returns what makes a file of them.
    fn staged(&self, bytes: &[u8]) -> Make {
        stage_small(&self.root, ContentId::of(bytes), bytes).unwrap();
        file(bytes)
    }

    fn read(&self, path: &[u8]) -> Vec<u8> {
        std::fs::read(self.at(path)).unwrap()
    }

    /// Paths and bytes of the files in the trash.
    fn trash(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let place = |t: &str| self.root.path().join(".landropic/trash").join(t);
        let list = list_trash(&self.root).unwrap();
        list.into_iter().map(|t| (t.path.as_bytes().to_vec(), std::fs::read(place(&t.place)).unwrap())).collect()
    }

    /// How many directories the trash has and how many files the staging area.
    fn leftovers(&self) -> (usize, usize) {
        let count = |dir: &str| std::fs::read_dir(self.root.path().join(".landropic").join(dir)).unwrap().count();
        (count("trash"), count("stage"))
    }
}

fn rel(path: &[u8]) -> RelPath {
    RelPath::new(path).unwrap()
}

fn op(path: &[u8], expect: Option<Stat>, make: Make) -> Op {
    Op { path: rel(path), expect, make }
}

const MTIME: i64 = 1_234_567_890_123_456_789;

fn file(bytes: &[u8]) -> Make {
    Make::File { content: ContentId::of(bytes), size: bytes.len() as u64, mtime_ns: MTIME, mode: 0o644 }
}

fn kind_of(done: &Done) -> Option<ItemErrorKind> {
    match done {
        Done::Failed(error) | Done::Volatile(_, error) => Some(error.kind),
        Done::Made(_) | Done::Unexpected | Done::NotStaged => None,
    }
}

/// Runs a check with atomic exchange and on a file system that is said to lack it.
fn both_ways(check: impl Fn(&Folder)) {
    check(&Folder::new());
    let weak = Folder::new();
    weak.root.set_weak();
    check(&weak);
}

#[test]
fn a_new_file_has_its_bytes_mode_and_time_and_its_fingerprint_is_told() {
    both_ways(|f| {
        for mode in [0o755, 0o444, 0o000, 0o600] {
            let name = format!("f{mode:o}");
            let bytes = name.as_bytes();
            let Make::File { content, size, .. } = f.staged(bytes) else { unreachable!() };
            let made = f.one(bytes, None, Make::File { content, size, mtime_ns: MTIME + i64::from(mode), mode });
            assert_eq!(made, Done::Made(f.stat(bytes)));
            let meta = std::fs::metadata(f.at(bytes)).unwrap();
            assert_eq!(meta.permissions().mode() & 0o7777, mode);
            assert_eq!(meta.mtime() * 1_000_000_000 + meta.mtime_nsec(), MTIME + i64::from(mode));
            // Made readable for those who are not root.
            std::fs::set_permissions(f.at(bytes), PermissionsExt::from_mode(0o600)).unwrap();
            assert_eq!(f.read(bytes), bytes);
        }
        assert_eq!(f.leftovers(), (0, 0));
    });
}

#[test]
fn a_time_before_1970_is_kept() {
    let f = Folder::new();
    let Make::File { content, size, mode, .. } = f.staged(b"old") else { unreachable!() };
    f.one(b"old", None, Make::File { content, size, mtime_ns: -1_500_000_000, mode });
    assert_eq!(f.stat(b"old").unwrap().mtime_ns, -1_500_000_000);
}

#[test]
fn names_of_any_bytes_and_full_length_are_made_and_removed() {
    both_ways(|f| {
        let long = vec![b'n'; 255];
        for name in [&b"new\nline"[..], b"\xff\xfe", &long, b" "] {
            let Done::Made(stat) = f.one(name, None, f.staged(name)) else { panic!("{name:?}") };
            assert_eq!(f.one(name, stat, Make::Absent), Done::Made(None));
            assert_eq!(f.trash().pop(), Some((name.to_vec(), name.to_vec())));
        }
    });
}

#[test]
fn what_is_replaced_goes_to_the_trash() {
    both_ways(|f| {
        let old = f.write(b"f", b"old");
        assert_eq!(f.one(b"f", Some(old), f.staged(b"new")), Done::Made(f.stat(b"f")));
        assert_eq!(f.read(b"f"), b"new");
        assert_eq!(f.trash(), [(b"f".to_vec(), b"old".to_vec())]);
        assert_eq!(f.leftovers(), (1, 0));
    });
}

#[test]
fn nothing_is_replaced_where_nothing_was_expected() {
    both_ways(|f| {
        f.write(b"f", b"mine");
        for make in
            [f.staged(b"new"), Make::Dir { mode: 0o755 }, Make::Symlink { target: (*b"x").into() }, Make::Absent]
        {
            assert_eq!(f.one(b"f", None, make), Done::Unexpected);
        }
        assert_eq!(f.read(b"f"), b"mine");
        assert_eq!(f.leftovers(), (0, 1), "the staged content is still there for another try");
        assert_eq!(finish(&f.root, ContentId::of(b"new"), 3, None), Ok(true));
    });
}

#[test]
fn an_entry_edited_since_it_was_looked_at_is_left_alone() {
    both_ways(|f| {
        let old = f.write(b"f", b"old");
        f.write(b"f", b"edited");
        let meta = Make::Meta { mtime_ns: 1, mode: 0o600 };
        for make in [f.staged(b"new"), Make::Dir { mode: 0o755 }, Make::Absent, meta] {
            assert_eq!(f.one(b"f", Some(old), make), Done::Unexpected);
        }
        assert_eq!(f.read(b"f"), b"edited");
        assert_eq!(f.leftovers(), (0, 1));
    });
}

/// Runs the moves of one operation as if its last look at the target had still found `expect`.
fn raced(f: &Folder, path: &[u8], expect: Stat, make: Make) -> Done {
    let dir = f.root.enter().unwrap();
    let ops = [op(path, Some(expect), make)];
    let mut batch = Batch::prepare(&f.root, &dir, &ops, WallTime(2_000)).unwrap();
    let done = batch.carry_out_unchecked(&ops[0]);
    batch.settle().unwrap();
    match done {
        Ok(stat) => Done::Made(stat),
        Err(stop) => stop,
    }
}

#[test]
fn an_edit_in_the_very_instant_of_an_exchange_comes_back_to_its_name() {
    both_ways(|f| {
        let old = f.write(b"f", b"old");
        f.write(b"g", b"edited");
        std::fs::rename(f.at(b"g"), f.at(b"f")).unwrap();
        assert_eq!(raced(f, b"f", old, f.staged(b"new")), Done::Unexpected);
        assert_eq!(f.read(b"f"), b"edited");
        assert_eq!(f.leftovers(), (0, 1), "the staged content is back too");
        assert_eq!(finish(&f.root, ContentId::of(b"new"), 3, None), Ok(true));
    });
}

#[test]
fn an_edit_in_the_very_instant_of_a_removal_comes_back_to_its_name() {
    both_ways(|f| {
        let old = f.write(b"f", b"old");
        f.write(b"f", b"edited");
        assert_eq!(raced(f, b"f", old, Make::Absent), Done::Unexpected);
        assert_eq!(f.read(b"f"), b"edited");
        std::fs::remove_file(f.at(b"f")).unwrap();
        std::fs::create_dir(f.at(b"f")).unwrap();
        f.write(b"f/inside", b"kept");
        assert_eq!(raced(f, b"f", old, Make::Absent), Done::Unexpected, "a directory in its place");
        assert_eq!(f.read(b"f/inside"), b"kept");
        assert_eq!(f.leftovers(), (0, 0));
    });
}

#[test]
fn an_entry_removed_in_the_very_instant_is_unexpected_and_the_content_stays_staged() {
    both_ways(|f| {
        let old = f.write(b"f", b"old");
        std::fs::remove_file(f.at(b"f")).unwrap();
        assert_eq!(raced(f, b"f", old, f.staged(b"new")), Done::Unexpected);
        assert_eq!(raced(f, b"f", old, Make::Absent), Done::Unexpected);
        assert_eq!(f.leftovers(), (0, 1));
    });
}

#[test]
fn directories_are_made_changed_and_removed_only_when_empty() {
    let f = Folder::new();
    let made = f.one(b"d", None, Make::Dir { mode: 0o777 });
    assert_eq!(made, Done::Made(f.stat(b"d")));
    assert_eq!(f.stat(b"d").unwrap().mode, 0o777, "whatever the umask is");
    let changed = f.one(b"d", f.stat(b"d"), Make::Dir { mode: 0o711 });
    assert_eq!(changed, Done::Made(f.stat(b"d")));
    assert_eq!(f.stat(b"d").unwrap().mode, 0o711);
    f.write(b"d/f", b"x");
    let full = f.one(b"d", f.stat(b"d"), Make::Absent);
    assert_eq!(kind_of(&full), Some(ItemErrorKind::NotEmpty));
    let full = f.one(b"d", f.stat(b"d"), f.staged(b"new"));
    assert_eq!(kind_of(&full), Some(ItemErrorKind::NotEmpty));
    std::fs::remove_file(f.at(b"d/f")).unwrap();
    assert_eq!(f.one(b"d", f.stat(b"d"), Make::Absent), Done::Made(None));
    assert_eq!(f.stat(b"d"), None);
}

#[test]
fn special_bits_of_a_directory_survive_a_change_of_mode() {
    let f = Folder::new();
    std::fs::create_dir(f.at(b"d")).unwrap();
    std::fs::set_permissions(f.at(b"d"), PermissionsExt::from_mode(0o2755)).unwrap();
    f.one(b"d", f.stat(b"d"), Make::Dir { mode: 0o700 });
    assert_eq!(std::fs::metadata(f.at(b"d")).unwrap().permissions().mode() & 0o7777, 0o2700);
}

#[test]
fn every_kind_turns_into_every_other() {
    both_ways(|f| {
        let link = Make::Symlink { target: (*b"/etc/passwd").into() };
        let dir = Make::Dir { mode: 0o755 };
        for (i, (from, to)) in [(0, 1), (1, 0), (0, 2), (2, 0), (1, 2), (2, 1), (2, 2), (0, 0)].into_iter().enumerate()
        {
            let name = format!("t{i}");
            let make = |which, text: &str| match which {
                0 => f.staged(text.as_bytes()),
                1 => dir.clone(),
                _ => link.clone(),
            };
            let first = f.one(name.as_bytes(), None, make(from, "a"));
            let Done::Made(Some(stat)) = first else { panic!("{name}: {first:?}") };
            let second = f.one(name.as_bytes(), Some(stat), make(to, "b"));
            assert_eq!(second, Done::Made(f.stat(name.as_bytes())), "{name}");
            let kinds = [StatKind::File, StatKind::Dir, StatKind::Symlink];
            assert_eq!(f.stat(name.as_bytes()).unwrap().kind, kinds[to], "{name}");
        }
        assert_eq!(std::fs::read_link(f.at(b"t2")).unwrap(), PathBuf::from("/etc/passwd"));
        assert_eq!(f.leftovers().1, 0);
    });
}

#[test]
fn a_tree_is_made_and_unmade_in_one_batch_each() {
    let f = Folder::new();
    let make = [
        op(b"a", None, Make::Dir { mode: 0o755 }),
        op(b"a/b", None, Make::Dir { mode: 0o755 }),
        op(b"a/b/f", None, f.staged(b"1")),
        op(b"a/g", None, f.staged(b"2")),
    ];
    assert!(f.apply(&make).iter().all(|done| matches!(done, Done::Made(Some(_)))));
    let paths = [&b"a/b/f"[..], b"a/b", b"a/g", b"a"];
    let mut unmake: Vec<Op> = paths.iter().map(|path| op(path, f.stat(path), Make::Absent)).collect();
    unmake.push(op(b"a", None, f.staged(b"3")));
    assert_eq!(f.apply(&unmake)[..4], [const { Done::Made(None) }; 4]);
    assert_eq!(f.read(b"a"), b"3");
    assert_eq!(f.trash().len(), 2);
}

#[test]
fn links_on_the_way_are_not_followed() {
    let f = Folder::new();
    let outside = f.root.path().with_file_name("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("f"), b"theirs").unwrap();
    std::fs::create_dir(f.at(b"d")).unwrap();
    let known = f.write(b"d/f", b"theirs");
    std::fs::rename(f.at(b"d"), f.at(b"e")).unwrap();
    symlink(&outside, f.at(b"d")).unwrap();
    assert_eq!(f.one(b"d/new", None, f.staged(b"x")), Done::Unexpected);
    for make in [Make::Absent, Make::Meta { mtime_ns: 1, mode: 0o600 }, f.staged(b"x")] {
        assert_eq!(f.one(b"d/f", Some(known), make), Done::Unexpected);
    }
    assert_eq!(f.one(b"d/sub", None, Make::Dir { mode: 0o755 }), Done::Unexpected);
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 1);
    assert_eq!(std::fs::read(outside.join("f")).unwrap(), b"theirs");
}

#[test]
fn a_missing_parent_is_said_to_be_missing() {
    let f = Folder::new();
    let Done::Failed(error) = f.one(b"no/f", None, f.staged(b"x")) else { panic!() };
    assert_eq!(error.kind, ItemErrorKind::Io);
    assert!(error.reason.contains("parent directory"), "{}", error.reason);
    assert_eq!(f.one(b"no/f", None, Make::Absent), Done::Made(None));
    let gone = f.write(b"f", b"x");
    assert_eq!(f.one(b"no/f", Some(gone), Make::Absent), Done::Unexpected);
}

#[test]
fn a_content_that_is_not_staged_whole_is_asked_for_again() {
    let f = Folder::new();
    assert_eq!(f.one(b"f", None, file(b"never")), Done::NotStaged);
    let name = ContentId::of(b"whole").to_string();
    std::fs::write(f.root.path().join(".landropic/stage").join(name), b"who").unwrap();
    assert_eq!(f.one(b"f", None, file(b"whole")), Done::NotStaged);
    let old = f.write(b"g", b"old");
    assert_eq!(f.one(b"g", Some(old), file(b"never")), Done::NotStaged);
    assert_eq!(f.read(b"g"), b"old");
}

#[test]
fn one_staged_content_serves_every_path_of_a_batch() {
    let f = Folder::new();
    let make = f.staged(b"same");
    f.write(b"taken", b"");
    let ops = [&b"a"[..], b"taken", b"c"].map(|path| op(path, None, make.clone()));
    let done = f.apply(&ops);
    assert!(matches!(done[..], [Done::Made(Some(_)), Done::Unexpected, Done::Made(Some(_))]), "{done:?}");
    assert_eq!((f.read(b"a"), f.read(b"c")), (b"same".to_vec(), b"same".to_vec()));
    assert_ne!(f.stat(b"a").unwrap().inode, f.stat(b"c").unwrap().inode);
    assert_eq!(f.leftovers(), (0, 1), "the unused copy is left under its content's name");
}

#[test]
fn metadata_alone_is_set_on_the_same_file() {
    let f = Folder::new();
    let old = f.write(b"f", b"x");
    let made = f.one(b"f", Some(old), Make::Meta { mtime_ns: MTIME, mode: 0o000 });
    let now = f.stat(b"f").unwrap();
    assert_eq!(made, Done::Made(Some(now)));
    assert_eq!((now.inode, now.mtime_ns, now.mode, now.size), (old.inode, MTIME, 0, 1));
    let back = f.one(b"f", Some(now), Make::Meta { mtime_ns: MTIME, mode: 0o755 });
    assert!(matches!(back, Done::Made(Some(stat)) if stat.mode == 0o755 && stat.mtime_ns == MTIME));
}

#[test]
fn a_batch_larger_than_few_is_made_whole() {
    let f = Folder::new();
    let ops: Vec<Op> = (0..100_u32)
        .flat_map(|i| {
            let dir = format!("d{i}");
            let file = format!("d{i}/f");
            let make = f.staged(file.as_bytes());
            [op(dir.as_bytes(), None, Make::Dir { mode: 0o755 }), op(file.as_bytes(), None, make)]
        })
        .collect();
    assert!(f.apply(&ops).iter().all(|done| matches!(done, Done::Made(Some(_)))));
    assert_eq!(f.read(b"d99/f"), b"d99/f");
}

#[cfg(feature = "proving")]
#[test]
fn what_cannot_be_made_durable_is_made_all_the_same() {
    let f = Folder::new();
    let (old, make) = (f.write(b"f", b"old"), f.staged(b"new"));
    // The first time it is the staged file, the second the directory.
    let syncs = std::cell::Cell::new(0);
    let fails = move |step| {
        syncs.set(syncs.get() + u32::from(step == Step::Sync));
        (step == Step::Sync && syncs.get() == 2).then_some(Errno::IO.raw_os_error())
    };
    let mut done = None;
    door::on_disk(Rc::new(fails), || done = Some(f.one(b"f", Some(old), make)));
    let Some(Done::Volatile(stat, error)) = done else { panic!("{done:?}") };
    assert_eq!((stat, error.kind), (f.stat(b"f"), ItemErrorKind::Io));
    assert_eq!((f.read(b"f"), f.trash()), (b"new".to_vec(), vec![(b"f".to_vec(), b"old".to_vec())]));
}

#[test]
fn a_lost_root_is_told_and_nothing_is_done() {
    let f = Folder::new();
    let ops = [op(b"f", None, f.staged(b"x"))];
    let aside = f.root.path().with_file_name("aside");
    std::fs::rename(f.root.path(), &aside).unwrap();
    std::fs::create_dir(f.root.path()).unwrap();
    assert_eq!(apply(&f.root, &ops, WallTime(1)).unwrap_err().kind, ItemErrorKind::RootLost);
    assert!(!f.at(b"f").exists() && !aside.join("f").exists());
}
