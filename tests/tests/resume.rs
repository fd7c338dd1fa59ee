//! Daemons that are killed go on where they were, and never show anything half done.

#![allow(clippy::unwrap_used)]

use serde_json::Value;
use std::fs::{self, File};
use std::io::{BufWriter, ErrorKind, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tests::tree::{hash_file, write};
use tests::{Daemon, Lab, Pair, Rng, Tree};

/// Times either side is killed.
const KILLS: u64 = 20;
/// What one interruption may cost, bytes.
const ALLOWANCE: i64 = 32 << 20;
/// The file's name.
const BIG: &str = "big.bin";

/// The size of the file: `LANDROPIC_RESUME_MIB` MiB, else 1 GiB.
fn size() -> u64 {
    let given = std::env::var("LANDROPIC_RESUME_MIB").ok().map(|text| text.parse::<u64>().unwrap());
    given.unwrap_or(1_024) << 20
}

/// Makes a file that does not compress, and returns its hash.
fn make_noise(path: &Path, size: u64, rng: &mut Rng) -> blake3::Hash {
    let mut out = BufWriter::new(File::create(path).unwrap());
    let mut hasher = blake3::Hasher::new();
    let mut block = vec![0; 1 << 20];
    for _ in 0..size >> 20 {
        rng.fill(&mut block);
        hasher.update(&block);
        out.write_all(&block).unwrap();
    }
    out.into_inner().unwrap();
    hasher.finalize()
}

/// How far the receiver says it is.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    done: i64,
    resumed: i64,
    fetched: i64,
}

fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// What `status` says of the one transfer, once there is one.
fn progress(receiver: &Daemon<'_>) -> Result<Progress, String> {
    let status = receiver.status();
    assert!(!receiver.root.join(BIG).exists(), "the transfer was over before all kills: raise LANDROPIC_RESUME_MIB");
    let transfer = &status["transfers"][0];
    if transfer.is_null() || transfer["step"] == "listing" {
        return Err(format!("no transfer runs: {} {}", status["missing"], status["peers"][0]["state"]));
    }
    Ok(Progress {
        done: number(&transfer["done_bytes"]),
        resumed: number(&transfer["resumed_bytes"]),
        fetched: number(&status["counters"]["fetched_bytes"]),
    })
}

/// Ends a watch, however its test ends.
struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Looks at the folder all the time: the file is absent, or it is all there; and nothing else is.
fn watch_for_parts(root: &Path, size: u64, hash: blake3::Hash, stop: &AtomicBool) -> Result<u64, String> {
    let mut looks = 0;
    while !stop.load(Ordering::Relaxed) {
        looks += 1;
        for entry in fs::read_dir(root).map_err(|e| e.to_string())? {
            let name = entry.map_err(|e| e.to_string())?.file_name();
            if name != BIG && name != ".landropic" {
                return Err(format!("{name:?} is visible in the folder"));
            }
        }
        match fs::symlink_metadata(root.join(BIG)) {
            Ok(meta) if meta.len() != size => return Err(format!("a part of {} bytes is visible", meta.len())),
            Ok(_) => {
                let found = hash_file(&root.join(BIG)).map_err(|e| e.to_string())?;
                return if found == hash { Ok(looks) } else { Err("other bytes are visible".to_owned()) };
            }
            Err(e) if e.kind() == ErrorKind::NotFound => std::thread::sleep(Duration::from_micros(200)),
            Err(e) => return Err(e.to_string()),
        }
    }
    Err("the watch ended before the file came".to_owned())
}

#[test]
fn a_transfer_whose_sides_are_killed_twenty_times_resumes_and_is_never_visible_in_part() {
    let lab = Lab::new(Duration::from_secs(420));
    let seed = Rng::any_seed();
    eprintln!("LANDROPIC_SEED={seed}");
    let mut rng = Rng::new(seed);
    let size = size();
    let (mut a, mut b) = (Daemon::new(&lab, "a"), Daemon::new(&lab, "b"));
    let hash = make_noise(&a.root.join(BIG), size, &mut rng);
    a.up();
    lab.wait_for("the file has been read", || match a.status()["folders"][0].clone() {
        folder if folder["files"] == 1 && folder["state"] == "idle" => Ok(()),
        folder => Err(folder.to_string()),
    });
    b.join(&a);
    let root = b.root.clone();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let stop_at_end = StopAtEnd(&stop);
        let watch = scope.spawn(|| watch_for_parts(&root, size, hash, &stop));
        let refetched = kill_both_in_turn(&lab, &mut a, &mut b, &mut rng, i64::try_from(size).unwrap());
        eprintln!(
            "{} bytes were fetched twice, {} an interruption",
            refetched,
            refetched / i64::try_from(KILLS).unwrap()
        );
        assert!(refetched <= i64::try_from(KILLS).unwrap() * ALLOWANCE);
        let looks = watch.join().unwrap().unwrap();
        drop(stop_at_end);
        eprintln!("the folder was looked at {looks} times");
    });
    let pair = Pair::of(&lab, a, b);
    pair.settle_to(&Tree::read(&pair.a.root));
    assert_eq!(hash_file(&pair.b.root.join(BIG)).unwrap(), hash);
    let left: u64 = tests::tree::listing(&pair.b.root.join(".landropic")).values().sum();
    assert!(left < 1 << 20, "{left} bytes are left in the staging area");
}

/// Kills receiver and sender in turn, and returns how many bytes crossed more than once.
///
/// Whichever side survives a kill was started at the kill before: its counter tells what crossed in between.
fn kill_both_in_turn(lab: &Lab, a: &mut Daemon<'_>, b: &mut Daemon<'_>, rng: &mut Rng, size: i64) -> i64 {
    let (mut crossed, mut reached, mut last) = (0, 0, Progress::default());
    for kill in 1..=KILLS {
        let left = i64::try_from(KILLS - kill + 2).unwrap();
        let step = (size - reached) / left * i64::try_from(5 + rng.below(60)).unwrap() / 100;
        let began = Instant::now();
        last = lab.wait_for("the transfer goes on", || {
            let now = progress(b)?;
            if now.done >= reached + step { Ok(now) } else { Err(format!("{now:?}, wanted {}", reached + step)) }
        });
        std::thread::sleep(Duration::from_micros(rng.below(3_000)));
        let (segment, kept) = if kill % 2 == 1 {
            b.kill9();
            let served = number(&a.status()["counters"]["served_bytes"]);
            b.restart();
            let resumed = lab.wait_for("the transfer resumes", || progress(b)).resumed;
            let lost = last.done - resumed;
            assert!(lost <= ALLOWANCE, "kill {kill}: {lost} bytes that were there are gone: {last:?}, {resumed}");
            last = Progress::default();
            (served, resumed)
        } else {
            a.kill9();
            last = progress(b).unwrap();
            a.restart();
            (last.fetched, last.done)
        };
        let again = segment - (kept - reached);
        eprintln!(
            "kill {kill:2} of the {} after {:.2} s: {:4} MiB are kept, {again} bytes crossed for nothing",
            if kill % 2 == 1 { "receiver" } else { "sender  " },
            began.elapsed().as_secs_f64(),
            kept >> 20,
        );
        assert!(again <= ALLOWANCE, "kill {kill}: {again} bytes have to cross again");
        crossed += segment;
        reached = kept;
    }
    lab.wait_for("the file is there", || if b.root.join(BIG).exists() { Ok(()) } else { Err(progress_text(b)) });
    crossed + number(&b.status()["counters"]["fetched_bytes"]) - last.fetched - size
}

fn progress_text(receiver: &Daemon<'_>) -> String {
    let status = receiver.status();
    format!("{} {}", status["transfers"], status["missing"])
}

#[test]
fn daemons_killed_while_thousands_of_files_come_lose_nothing_and_show_no_part() {
    let lab = Lab::new(Duration::from_secs(240));
    let seed = Rng::any_seed();
    eprintln!("LANDROPIC_SEED={seed}");
    let mut rng = Rng::new(seed);
    let (mut a, mut b) = (Daemon::new(&lab, "a"), Daemon::new(&lab, "b"));
    for number in 0..4_000 {
        let len = usize::try_from(rng.below(9_000)).unwrap();
        write(&a.root.join(format!("dir {}/file {number}", number % 40)), rng.bytes(len));
    }
    let wanted = Tree::read(&a.root);
    a.up();
    b.join(&a);
    let mut files = 0;
    for kill in 1..=10_u64 {
        let goal = (files + usize::try_from(1 + rng.below(350)).unwrap()).min(wanted.files());
        lab.wait_for("more files are there", || {
            files = visible_files(&wanted, &b.root);
            if files >= goal { Ok(()) } else { Err(format!("{files} of {goal}: {}", progress_text(&b))) }
        });
        let victim = if kill % 2 == 1 { &mut b } else { &mut a };
        victim.kill9();
        files = visible_files(&wanted, &b.root);
        eprintln!("kill {kill}: {files} files are there");
        let victim = if kill % 2 == 1 { &mut b } else { &mut a };
        victim.restart();
    }
    let pair = Pair::of(&lab, a, b);
    pair.settle_to(&wanted);
    assert_eq!(Tree::read(&pair.b.root).copies(), Vec::<String>::new());
    assert!(pair.a.conflicts().is_empty());
}

/// Number of files that are there; each must be the one that is wanted, with all of its bytes.
fn visible_files(wanted: &Tree, root: &Path) -> usize {
    let found = Tree::read(root);
    for (path, entry) in &found.0 {
        let name = String::from_utf8_lossy(path);
        match (entry, wanted.0.get(path)) {
            (tests::tree::Entry::Dir { .. }, Some(_)) => {}
            (_, Some(want)) => assert_eq!(entry, want, "{name}"),
            (_, None) => panic!("{name} is visible and nobody made it"),
        }
    }
    found.files()
}

#[test]
fn edits_made_around_a_kill_are_kept() {
    let lab = Lab::new(Duration::from_secs(120));
    let mut pair = Pair::new(&lab, |root| {
        for number in 0..200 {
            write(&root.join(format!("file {number}")), format!("{number}"));
        }
    });
    for round in 0..6 {
        let (a, b) = (pair.a.root.clone(), pair.b.root.clone());
        for number in 0..50 {
            fs::write(a.join(format!("file {number}")), format!("{number} by a in {round}")).unwrap();
            fs::write(b.join(format!("file {}", number + 100)), format!("{number} by b in {round}")).unwrap();
        }
        fs::remove_file(a.join(format!("file {}", 60 + round))).unwrap();
        fs::remove_file(b.join(format!("file {}", 160 + round))).unwrap();
        let victim = if round % 2 == 0 { &mut pair.a } else { &mut pair.b };
        victim.kill9();
        fs::write(victim.root.join(format!("while down {round}")), "x").unwrap();
        victim.restart();
    }
    let settled = pair.settle();
    assert_eq!(settled.copies(), Vec::<String>::new());
    assert_eq!(settled.files(), 200 - 12 + 6);
    for number in 0..50 {
        assert_eq!(
            fs::read_to_string(pair.b.root.join(format!("file {number}"))).unwrap(),
            format!("{number} by a in 5")
        );
        let name = format!("file {}", number + 100);
        assert_eq!(fs::read_to_string(pair.a.root.join(name)).unwrap(), format!("{number} by b in 5"));
    }
}

/// A megabyte in and the file changes: what crosses is what is new, and pages of the chunk list.
#[test]
fn of_an_edited_file_only_what_is_new_crosses() {
    let lab = Lab::new(Duration::from_secs(120));
    let mut rng = Rng::new(1);
    let mut pair = Pair::new(&lab, |root| {
        make_noise(&root.join(BIG), 64 << 20, &mut rng);
    });
    let (a, b) = (pair.a.root.join(BIG), pair.b.root.join(BIG));
    let count = |pair: &Pair<'_>, what: &str| number(&pair.b.status()["counters"][what]);
    let before = |bytes: &[u8]| -> Vec<u8> { [b"in front", bytes].concat() };
    let amid = |bytes: &[u8]| -> Vec<u8> { [&bytes[..1 << 20], &[7; 4_096], &bytes[(1 << 20) + 4_096..]].concat() };
    for name in ["inserted", "overwritten"] {
        let fetched = count(&pair, "fetched_bytes");
        let whole = fs::read(&a).unwrap();
        let edited = if name == "inserted" { before(&whole) } else { amid(&whole) };
        // As editors save: written beside it, and renamed into place.
        let beside = a.with_file_name("..partial");
        fs::write(&beside, &edited).unwrap();
        fs::rename(&beside, &a).unwrap();
        pair.settle();
        assert_eq!(fs::read(&b).unwrap(), edited);
        let crossed = count(&pair, "fetched_bytes") - fetched;
        assert!(crossed < 2 << 20, "{crossed} bytes crossed for what was {name}");
    }
    assert!(count(&pair, "copied_bytes") > 120 << 20);
    // What is put together out of an earlier version outlasts a kill as well.
    fs::write(&a, before(&fs::read(&a).unwrap())).unwrap();
    pair.b.kill9();
    pair.b.restart();
    pair.settle();
    assert_eq!(hash_file(&a).unwrap(), hash_file(&b).unwrap());
}

#[test]
fn a_transfer_can_be_held_up_and_dropped_and_goes_on_when_told() {
    let lab = Lab::new(Duration::from_secs(120));
    let (a, mut b) = (Daemon::new(&lab, "a"), Daemon::new(&lab, "b"));
    let (mut a, mut rng) = (a, Rng::new(2));
    let hash = make_noise(&a.root.join(BIG), 512 << 20, &mut rng);
    a.up();
    b.join(&a);
    let transfer = |b: &Daemon<'_>| b.status()["transfers"][0].clone();
    lab.wait_for("the transfer has begun", || match transfer(&b) {
        running if running["done_bytes"].as_i64().unwrap_or(0) > 0 => Ok(()),
        other => Err(other.to_string()),
    });
    let code = |b: &Daemon<'_>, verb: &str| b.cli(&["transfer", verb, BIG]).code;
    assert_eq!(code(&b, "pause"), 0);
    // What is under way comes all the same, and then nothing more.
    lab.wait_for("nothing moves", || {
        let before = number(&transfer(&b)["done_bytes"]);
        std::thread::sleep(Duration::from_millis(500));
        let after = number(&transfer(&b)["done_bytes"]);
        if before == after { Ok(()) } else { Err(format!("{before}, then {after}")) }
    });
    b.kill9();
    b.restart();
    lab.wait_for("it is still paused", || match transfer(&b) {
        held if held["state"] == "paused" && number(&held["resumed_bytes"]) > 0 => Ok(()),
        other => Err(other.to_string()),
    });
    let why = b.cli(&["why", BIG]);
    assert!(why.stdout.contains("paused"), "{why:?}");
    assert_eq!(code(&b, "cancel"), 0);
    lab.wait_for("what had come is gone", || match transfer(&b) {
        empty if number(&empty["done_bytes"]) == 0 && empty["state"] == "paused" => Ok(()),
        other => Err(other.to_string()),
    });
    assert_eq!(code(&b, "resume"), 0);
    let pair = Pair::of(&lab, a, b);
    pair.settle_to(&Tree::read(&pair.a.root));
    assert_eq!(hash_file(&pair.b.root.join(BIG)).unwrap(), hash);
    assert_eq!(pair.b.status()["completed"][0]["path"], BIG);
    assert_eq!(code(&pair.b, "pause"), 2, "it is not on its way any more");
}
