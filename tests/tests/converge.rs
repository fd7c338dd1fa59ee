//! Two daemons bring two folders to the same state, whatever happens to either.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};
use tests::tree::{Entry, assert_diff_finds_nothing, set_mtime, write};
use tests::{Daemon, Lab, Pair, Rng, Tree, change, source};

/// How long a change may take to get across while the machine is busy.
const SOON: Duration = Duration::from_secs(60);

fn minutes(count: u64) -> Duration {
    Duration::from_secs(60 * count)
}

/// Both folders, and the daemons' own idea of them.
fn assert_equal_without_conflicts(pair: &Pair<'_>) {
    let (a, b) = (Tree::read(&pair.a.root), Tree::read(&pair.b.root));
    a.same(&b).unwrap();
    assert_diff_finds_nothing(&pair.a.root, &pair.b.root);
    assert_eq!(a.copies(), Vec::<String>::new());
    for side in [&pair.a, &pair.b] {
        // The status is a snapshot of a moment ago.
        side.lab.wait_within(SOON, "the status says so", || {
            let folder = side.folder();
            let counts = ["files", "conflicts", "need_files"].map(|field| folder[field].as_u64());
            let wanted = [u64::try_from(a.files()).ok(), Some(0), Some(0)];
            let fine = counts == wanted && folder["errors"] == serde_json::json!([]);
            if fine { Ok(()) } else { Err(format!("{} has {} files: {folder}", side.name, a.files())) }
        });
        assert_eq!(side.conflicts(), Vec::<serde_json::Value>::new());
    }
}

#[test]
fn a_source_tree_of_ten_thousand_files_is_kept_the_same_through_every_kind_of_change() {
    let lab = Lab::new(minutes(6));
    let (mut a, mut b) = (Daemon::new(&lab, "a"), Daemon::new(&lab, "b"));
    source::grow(&a.root);
    let original = Tree::read(&a.root);
    assert!(original.files() > 10_000);
    a.up();
    let began = Instant::now();
    b.join(&a);
    // The first says when it has looked at everything, the second when it has all of that.
    a.wait(minutes(2)).yes();
    b.wait(minutes(2)).yes();
    eprintln!("{} files were the same after {:.2} s", original.files(), began.elapsed().as_secs_f64());
    original.same(&Tree::read(&a.root)).unwrap();
    original.same(&Tree::read(&b.root)).unwrap();
    let pair = Pair::of(&lab, a, b);
    assert_equal_without_conflicts(&pair);

    change_one_side(&pair.a.root, &pair, "client");
    change_one_side(&pair.b.root, &pair, "server");
    change_both_sides_at_once(&pair);
    change_fifty_files_all_the_time(&pair);
    assert_equal_without_conflicts(&pair);
}

fn change_one_side(root: &Path, pair: &Pair<'_>, top: &str) {
    let began = Instant::now();
    change::everything(root, top);
    pair.settle_to(&Tree::read(root));
    eprintln!("every kind of change in {top} got across in {:.2} s", began.elapsed().as_secs_f64());
    assert_equal_without_conflicts(pair);
}

fn change_both_sides_at_once(pair: &Pair<'_>) {
    std::thread::scope(|scope| {
        scope.spawn(|| change::everything(&pair.a.root, "docs"));
        scope.spawn(|| change::everything(&pair.b.root, "tools"));
    });
    let (docs, tools) = (Tree::read(&pair.a.root).below("docs"), Tree::read(&pair.b.root).below("tools"));
    let settled = pair.settle();
    docs.same(&settled.below("docs")).unwrap();
    tools.same(&settled.below("tools")).unwrap();
    assert_equal_without_conflicts(pair);
}

/// Twenty-five files on each side, rewritten in place, by rename, and deleted and made again.
fn change_fifty_files_all_the_time(pair: &Pair<'_>) {
    std::thread::scope(|scope| {
        scope.spawn(|| churn(&pair.a.root.join("busy/a"), 2));
        scope.spawn(|| churn(&pair.b.root.join("busy/b"), 3));
    });
    let (a, b) = (Tree::read(&pair.a.root).below("busy/a"), Tree::read(&pair.b.root).below("busy/b"));
    let settled = pair.settle();
    assert_eq!((a.files(), b.files()), (25, 25));
    a.same(&settled.below("busy/a")).unwrap();
    b.same(&settled.below("busy/b")).unwrap();
}

fn churn(dir: &Path, seed: u64) {
    let mut rng = Rng::new(seed);
    for round in 0..40 {
        for number in 0..25 {
            let path = dir.join(format!("file {number}"));
            let len = usize::try_from(rng.below(100_000)).unwrap();
            let bytes = rng.bytes(len);
            match rng.below(4) {
                0 if round > 0 => change::save_like_an_editor(&path, &bytes),
                1 if round > 0 => {
                    fs::remove_file(&path).unwrap();
                    fs::write(&path, &bytes).unwrap();
                }
                _ => write(&path, &bytes),
            }
        }
        // So that the changes last longer than it takes to notice the first of them.
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn single_changes_get_across_one_after_the_other_in_both_directions() {
    let lab = Lab::new(minutes(3));
    let pair = Pair::new(&lab, |root| {
        for number in 0..8 {
            write(&root.join(format!("dir/file {number}")), format!("{number}"));
        }
        fs::create_dir(root.join("empty")).unwrap();
    });
    let (a, b) = (pair.a.root.clone(), pair.b.root.clone());
    let step = |what: &str, root: &Path, act: &dyn Fn(&Path)| {
        act(root);
        eprintln!("{what}");
        pair.settle_to(&Tree::read(root));
    };
    step("a file is edited", &a, &|r| fs::write(r.join("dir/file 0"), "by a").unwrap());
    step("and edited back", &b, &|r| fs::write(r.join("dir/file 0"), "0").unwrap());
    step("a file is renamed", &b, &|r| fs::rename(r.join("dir/file 1"), r.join("renamed")).unwrap());
    step("and put back", &a, &|r| fs::rename(r.join("renamed"), r.join("dir/file 1")).unwrap());
    step("a directory is renamed", &a, &|r| fs::rename(r.join("dir"), r.join("moved")).unwrap());
    step("and put back", &b, &|r| fs::rename(r.join("moved"), r.join("dir")).unwrap());
    step("a file is deleted", &a, &|r| fs::remove_file(r.join("dir/file 2")).unwrap());
    step("and made again", &b, &|r| fs::write(r.join("dir/file 2"), "2").unwrap());
    step("a file becomes a directory", &b, &|r| {
        fs::remove_file(r.join("dir/file 3")).unwrap();
        write(&r.join("dir/file 3/inside"), "3");
    });
    step("and a file", &a, &|r| {
        fs::remove_dir_all(r.join("dir/file 3")).unwrap();
        fs::write(r.join("dir/file 3"), "3").unwrap();
    });
    step("a directory is deleted", &b, &|r| fs::remove_dir_all(r.join("dir")).unwrap());
    step("an empty directory is deleted", &a, &|r| fs::remove_dir(r.join("empty")).unwrap());
    assert!(Tree::read(&a).0.is_empty());
    step("and all begins again", &a, &|r| write(&r.join("dir/one/two"), "three"));
    assert_equal_without_conflicts(&pair);
}

#[test]
fn a_folder_with_content_joins_without_conflicts_where_both_have_the_same() {
    let lab = Lab::new(minutes(2));
    let (mut a, mut b) = (Daemon::new(&lab, "a"), Daemon::new(&lab, "b"));
    let mut rng = Rng::new(5);
    for number in 0..300 {
        let (path, bytes) = (format!("both/{}/file {number}", number % 7), rng.bytes(500 + number * 300));
        for root in [&a.root, &b.root] {
            write(&root.join(&path), &bytes);
            set_mtime(&root.join(&path), 1_600_000_000_000_000_000);
        }
        // Some were copied without their times.
        if number % 3 == 0 {
            set_mtime(&b.root.join(&path), 1_650_000_000_000_000_000);
        }
    }
    write(&a.root.join("only a/file"), "a");
    write(&b.root.join("only b/file"), "b");
    for root in [&a.root, &b.root] {
        std::os::unix::fs::symlink("both", root.join("link")).unwrap();
        fs::create_dir(root.join("empty")).unwrap();
    }
    a.up();
    b.join(&a);
    let pair = Pair::of(&lab, a, b);
    let settled = pair.settle();
    assert_equal_without_conflicts(&pair);
    assert_eq!(settled.files(), 302);
    let fetched = pair.b.status()["counters"]["fetched_bytes"].as_u64().unwrap();
    assert!(fetched < 1_000, "what both had was fetched all the same: {fetched} bytes");
}

#[test]
fn a_folder_with_other_content_joins_and_nothing_is_lost() {
    let lab = Lab::new(minutes(2));
    let (mut a, mut b) = (Daemon::new(&lab, "a"), Daemon::new(&lab, "b"));
    write(&a.root.join("notes.txt"), "of a");
    write(&b.root.join("notes.txt"), "of b");
    set_mtime(&a.root.join("notes.txt"), 1_600_000_000_000_000_000);
    set_mtime(&b.root.join("notes.txt"), 1_700_000_000_000_000_000);
    a.up();
    b.join(&a);
    let pair = Pair::of(&lab, a, b);
    let settled = pair.settle();
    assert_eq!(fs::read(pair.a.root.join("notes.txt")).unwrap(), b"of b");
    let copies = settled.copies();
    assert_eq!(copies.len(), 1, "{copies:?}");
    assert_eq!(fs::read(pair.b.root.join(&copies[0])).unwrap(), b"of a");
}

#[test]
fn changes_made_while_a_daemon_is_down_get_across_when_it_is_back() {
    let lab = Lab::new(minutes(2));
    let mut pair = Pair::new(&lab, |root| {
        for number in 0..50 {
            write(&root.join(format!("dir {}/file {number}", number % 5)), format!("{number}"));
        }
    });
    pair.apart(|a, b| {
        fs::remove_dir_all(b.join("dir 0")).unwrap();
        fs::rename(b.join("dir 1"), b.join("moved by b")).unwrap();
        write(&b.join("dir 2/new of b"), "b");
        write(&a.join("dir 2/new of a"), "a");
        fs::write(a.join("dir 3/file 3"), "edited by a").unwrap();
        fs::remove_file(a.join("dir 3/file 8")).unwrap();
    });
    let settled = pair.settle();
    assert_eq!(settled.files(), 50 - 10 + 2 - 1);
    assert!(settled.at("dir 0").is_none() && settled.at("dir 1").is_none());
    assert!(settled.at("moved by b/file 1").is_some() && settled.at("dir 3/file 8").is_none());
    assert_eq!(fs::read(pair.b.root.join("dir 3/file 3")).unwrap(), b"edited by a");
    assert_equal_without_conflicts(&pair);
}

#[test]
fn a_file_that_moves_costs_no_content() {
    let lab = Lab::new(minutes(2));
    let noise = Rng::new(9).bytes(8 << 20);
    let pair = Pair::new(&lab, |root| write(&root.join("big"), &noise));
    let fetched = || pair.b.status()["counters"]["fetched_bytes"].as_u64().unwrap();
    let before = fetched();
    assert!(before >= 8 << 20);
    fs::create_dir(pair.a.root.join("elsewhere")).unwrap();
    fs::rename(pair.a.root.join("big"), pair.a.root.join("elsewhere/big")).unwrap();
    pair.settle_to(&Tree::read(&pair.a.root));
    fs::copy(pair.a.root.join("elsewhere/big"), pair.a.root.join("copy")).unwrap();
    pair.settle_to(&Tree::read(&pair.a.root));
    assert_eq!(fetched(), before);
}

#[test]
fn a_file_that_is_written_slowly_arrives_whole() {
    use std::io::Write;
    let lab = Lab::new(minutes(2));
    let pair = Pair::new(&lab, |_| {});
    let path = pair.a.root.join("growing");
    let mut rng = Rng::new(4);
    let mut file = fs::File::create(&path).unwrap();
    for _ in 0..50 {
        file.write_all(&rng.bytes(40_000)).unwrap();
        file.flush().unwrap();
        std::thread::sleep(Duration::from_millis(10));
    }
    drop(file);
    pair.settle_to(&Tree::read(&pair.a.root));
    assert_equal_without_conflicts(&pair);
}

#[test]
fn what_is_neither_file_nor_directory_nor_link_is_reported_and_stops_nothing() {
    let lab = Lab::new(minutes(1));
    let pair = Pair::new(&lab, |root| write(&root.join("file"), "file"));
    let pipe = pair.a.root.join("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o644.into(), 0).unwrap();
    write(&pair.a.root.join("other"), "other");
    lab.wait_within(SOON, "the pipe is reported and the file is there", || {
        let errors = pair.a.folder()["errors"].clone();
        let reported = errors.as_array().is_some_and(|list| {
            list.iter().any(|e| e["path"] == "pipe" && e["kind"] == "unsupported" && e["remedy"] != "")
        });
        let arrived = pair.b.root.join("other").exists();
        if reported && arrived { Ok(()) } else { Err(format!("{errors}, other arrived: {arrived}")) }
    });
    assert!(!pair.b.root.join("pipe").exists());
    fs::remove_file(&pipe).unwrap();
    lab.wait_within(SOON, "the report goes with the pipe", || match &pair.a.folder()["errors"] {
        errors if errors.as_array().is_some_and(Vec::is_empty) => Ok(()),
        errors => Err(errors.to_string()),
    });
    assert!(matches!(pair.settle().at("other"), Some(Entry::File { .. })));
}
