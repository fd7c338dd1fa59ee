//! Disks that are full, closed or gone: what is concerned says so and what to do, the rest goes on, nothing is taken
//! for a deletion, and all is well again once the cause is gone.

#![allow(clippy::unwrap_used)]

use serde_json::Value;
use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use tests::mount::Mount;
use tests::tree::{look, write};
use tests::{Daemon, Lab, Pair, Rng, Tree, program};

/// A user without rights: `nobody`.
const NOBODY: u32 = 65_534;

fn lab() -> Lab {
    Lab::new(Duration::from_secs(150))
}

/// Whether this process may do what only root may.
fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("SKIPPED: only root can make the fault that this test is about");
    }
    root
}

/// Waits until `daemon` reports trouble of this kind with `path`, with a remedy; an empty path is the folder.
fn reports(lab: &Lab, daemon: &Daemon<'_>, path: &str, kind: &str) -> Value {
    lab.wait_for(&format!("{kind} is reported for {path:?}"), || {
        let folder = daemon.folder();
        let errors = folder["errors"].as_array().cloned().unwrap_or_default();
        let found = errors.iter().find(|e| e["path"] == path && e["kind"] == kind);
        let found = found.cloned().ok_or_else(|| folder.to_string())?;
        assert_ne!((found["reason"].as_str(), found["remedy"].as_str()), (Some(""), Some("")), "{found}");
        Ok(found)
    })
}

/// Waits until `daemon` has nothing to complain of.
fn is_well(lab: &Lab, daemon: &Daemon<'_>) {
    lab.wait_for("all is well again", || {
        let folder = daemon.folder();
        if folder["errors"] == serde_json::json!([]) && folder["state"] == "idle" {
            Ok(())
        } else {
            Err(folder.to_string())
        }
    });
}

/// Waits until `to` has what `from` has at `path`.
fn arrives(lab: &Lab, from: &Daemon<'_>, to: &Daemon<'_>, path: &str) {
    let wanted = look(&from.root.join(path));
    assert!(wanted.is_some());
    lab.wait_for(&format!("{path} arrives"), || {
        let found = look(&to.root.join(path));
        if found == wanted { Ok(()) } else { Err(format!("{found:?}: {}", to.folder())) }
    });
}

#[test]
fn a_full_disk_is_reported_and_everything_that_fits_goes_on() {
    let lab = lab();
    let Some(_disk) = Mount::tmpfs(&lab.path("disk"), "24m") else { return };
    let (mut a, mut b) = (Daemon::new(&lab, "a"), Daemon::new(&lab, "b"));
    b.root = lab.path("disk/b");
    fs::create_dir(&b.root).unwrap();
    // Beside the folder, as other people's files are.
    write(&lab.path("disk/filler"), vec![1; 14 << 20]);
    let mut rng = Rng::new(1);
    write(&a.root.join("big.bin"), rng.bytes(12 << 20));
    for number in 0..100 {
        write(&a.root.join(format!("small/{number}")), rng.bytes(2_000));
    }
    a.up();
    b.join(&a);
    reports(&lab, &b, "big.bin", "disk_full");
    for number in 0..100 {
        arrives(&lab, &a, &b, &format!("small/{number}"));
    }
    // Both directions go on, and the person can ask why.
    write(&a.root.join("later"), "later");
    write(&b.root.join("of b"), "of b");
    arrives(&lab, &a, &b, "later");
    arrives(&lab, &b, &a, "of b");
    let why = b.cli(&["why", "--folder", "a", "big.bin"]).exits(1);
    assert!(why.stdout.contains("free space"), "{why:?}");
    let waited = b.wait(Duration::from_secs(1)).exits(1);
    assert!(!waited.stderr.is_empty());
    assert!(!b.root.join("big.bin").exists());

    fs::remove_file(lab.path("disk/filler")).unwrap();
    arrives(&lab, &a, &b, "big.bin");
    is_well(&lab, &b);
    Pair::of(&lab, a, b).settle();
}

/// A daemon that runs as `nobody`, whose folder is theirs.
fn of_nobody<'l>(lab: &'l Lab, name: &str) -> Option<Daemon<'l>> {
    fs::set_permissions(lab.dir(), Permissions::from_mode(0o755)).unwrap();
    // Where the build is, nobody may be allowed in.
    let program = lab.path("landropic");
    fs::copy(program::landropic(), &program).unwrap();
    let id = NOBODY.to_string();
    let setpriv = ["setpriv", "--reuid", &id, "--regid", &id, "--clear-groups"];
    let works = Command::new(setpriv[0]).args(&setpriv[1..]).arg("true").stderr(Stdio::null()).status();
    if !works.is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: setpriv cannot change the user here");
        return None;
    }
    let prefix: Vec<&OsStr> = setpriv.iter().map(OsStr::new).chain([program.as_os_str()]).collect();
    let daemon = Daemon::new(lab, name).through(&prefix);
    fs::create_dir(&daemon.home).unwrap();
    for dir in [&daemon.home, &daemon.root] {
        chown(dir, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    Some(daemon)
}

#[test]
fn a_directory_that_may_not_be_written_is_reported_and_others_go_on() {
    if !is_root() {
        return;
    }
    let lab = lab();
    let Some(mut b) = of_nobody(&lab, "b") else { return };
    let mut a = Daemon::new(&lab, "a");
    write(&a.root.join("closed/first"), "first");
    write(&a.root.join("open/first"), "first");
    a.up();
    b.join(&a);
    arrives(&lab, &a, &b, "closed/first");
    arrives(&lab, &a, &b, "open/first");
    chown(b.root.join("closed"), Some(0), Some(0)).unwrap();
    write(&a.root.join("closed/second"), "second");
    fs::remove_file(a.root.join("closed/first")).unwrap();
    write(&a.root.join("open/second"), "second");
    reports(&lab, &b, "closed/second", "permission_denied");
    arrives(&lab, &a, &b, "open/second");
    assert!(b.root.join("closed/first").exists() && !b.root.join("closed/second").exists());
    b.cli(&["why", "--folder", "a", "closed/second"]).exits(1);

    chown(b.root.join("closed"), Some(NOBODY), Some(NOBODY)).unwrap();
    arrives(&lab, &a, &b, "closed/second");
    is_well(&lab, &b);
    let settled = Pair::of(&lab, a, b).settle();
    assert!(settled.at("closed/first").is_none());
}

#[test]
fn a_file_that_may_not_be_read_is_reported_and_not_taken_for_a_deletion() {
    if !is_root() {
        return;
    }
    let lab = lab();
    let Some(mut b) = of_nobody(&lab, "b") else { return };
    let mut a = Daemon::new(&lab, "a");
    for name in ["secret", "dir/inside", "other"] {
        write(&a.root.join(name), name);
    }
    a.up();
    b.join(&a);
    for name in ["secret", "dir/inside", "other"] {
        arrives(&lab, &a, &b, name);
    }
    // The file is no longer theirs, and has changed; the directory cannot be listed.
    let closed = |path: &Path, mode| {
        chown(path, Some(0), Some(0)).unwrap();
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    };
    write(&b.root.join("secret"), "changed by root");
    closed(&b.root.join("secret"), 0o600);
    closed(&b.root.join("dir"), 0o700);
    write(&b.root.join("other"), "changed");
    reports(&lab, &b, "secret", "permission_denied");
    arrives(&lab, &b, &a, "other");
    b.terminate();
    b.restart();
    reports(&lab, &b, "secret", "permission_denied");
    reports(&lab, &b, "dir", "permission_denied");
    write(&a.root.join("of a"), "of a");
    arrives(&lab, &a, &b, "of a");
    assert_eq!(fs::read(a.root.join("secret")).unwrap(), b"secret");
    assert_eq!(fs::read(a.root.join("dir/inside")).unwrap(), b"dir/inside");

    for name in ["secret", "dir"] {
        chown(b.root.join(name), Some(NOBODY), Some(NOBODY)).unwrap();
    }
    arrives(&lab, &b, &a, "secret");
    is_well(&lab, &b);
    assert_eq!(Pair::of(&lab, a, b).settle().files(), 4);
}

/// Two daemons with twenty files.
fn pair(lab: &Lab) -> Pair<'_> {
    Pair::new(lab, |root| {
        for number in 0..20 {
            write(&root.join(format!("dir {}/file {number}", number % 3)), format!("{number}"));
        }
    })
}

/// With the second daemon's folder gone: it says so, the first keeps everything and goes on.
fn nothing_is_deleted(lab: &Lab, pair: &Pair<'_>, before: &Tree) {
    write(&pair.a.root.join("while it is gone"), "a");
    reports(lab, &pair.b, "", "root_lost");
    assert_eq!(pair.b.folder()["state"], "error");
    pair.b.wait(Duration::from_millis(100)).exits(1);
    let mut now = Tree::read(&pair.a.root);
    now.0.remove(b"while it is gone".as_slice());
    before.same(&now).unwrap();
}

#[test]
fn a_folder_that_is_moved_away_is_reported_and_recovers_when_it_is_back() {
    let lab = lab();
    let pair = pair(&lab);
    let before = Tree::read(&pair.a.root);
    let away = lab.path("away");
    fs::rename(&pair.b.root, &away).unwrap();
    nothing_is_deleted(&lab, &pair, &before);
    assert!(!pair.b.root.exists(), "nothing is made where the folder was");
    before.same(&Tree::read(&away)).unwrap();

    write(&away.join("edited while away"), "b");
    fs::rename(&away, &pair.b.root).unwrap();
    is_well(&lab, &pair.b);
    let settled = pair.settle();
    assert_eq!(settled.files(), 22);
}

#[test]
fn an_empty_directory_in_the_folders_place_is_not_taken_for_it() {
    let lab = lab();
    let mut pair = pair(&lab);
    let before = Tree::read(&pair.a.root);
    let away = lab.path("away");
    fs::rename(&pair.b.root, &away).unwrap();
    fs::create_dir(&pair.b.root).unwrap();
    nothing_is_deleted(&lab, &pair, &before);
    // Nor by a daemon that starts with it.
    pair.b.terminate();
    pair.b.restart();
    fs::remove_file(pair.a.root.join("while it is gone")).unwrap();
    nothing_is_deleted(&lab, &pair, &before);
    assert!(tests::tree::listing(&pair.b.root).is_empty(), "{:?}", tests::tree::listing(&pair.b.root));

    fs::remove_dir(&pair.b.root).unwrap();
    fs::rename(&away, &pair.b.root).unwrap();
    is_well(&lab, &pair.b);
    assert_eq!(pair.settle().files(), 21);
}

#[test]
fn a_folder_whose_disk_is_unmounted_is_reported_and_recovers_when_it_is_mounted() {
    let lab = lab();
    let (disk, place) = (lab.path("disk"), lab.path("place"));
    fs::create_dir_all(&disk).unwrap();
    let Some(mounted) = Mount::bind(&disk, &place) else { return };
    let (mut a, mut b) = (Daemon::new(&lab, "a"), Daemon::new(&lab, "b"));
    b.root = place.clone();
    write(&a.root.join("dir/file"), "file");
    a.up();
    b.join(&a);
    let pair = Pair::of(&lab, a, b);
    pair.settle();
    let before = Tree::read(&pair.a.root);
    drop(mounted);
    assert!(!place.join("dir").exists());
    nothing_is_deleted(&lab, &pair, &before);
    assert!(tests::tree::listing(&place).is_empty(), "{:?}", tests::tree::listing(&place));

    let _mounted = Mount::bind(&disk, &place).unwrap();
    is_well(&lab, &pair.b);
    assert_eq!(pair.settle().files(), 2);
    drop(pair);
}

#[test]
fn a_read_only_part_of_a_folder_is_reported_and_others_go_on() {
    let lab = lab();
    let (disk, pair) = (lab.path("disk"), pair(&lab));
    write(&pair.a.root.join("sub/file"), "file");
    arrives(&lab, &pair.a, &pair.b, "sub/file");
    // A mount inside the folder is no part of it: an error of that item alone.
    write(&disk.join("stranger"), "stranger");
    let Some(mounted) = Mount::bind(&disk, &pair.b.root.join("sub")) else { return };
    write(&pair.a.root.join("sub/second"), "second");
    write(&pair.a.root.join("other"), "other");
    arrives(&lab, &pair.a, &pair.b, "other");
    lab.wait_for("the mount is reported", || {
        let errors = pair.b.folder()["errors"].as_array().cloned().unwrap_or_default();
        if errors.iter().any(|e| e["path"].as_str().is_some_and(|p| p.starts_with("sub"))) {
            Ok(())
        } else {
            Err(format!("{errors:?}"))
        }
    });
    assert_eq!(fs::read(pair.a.root.join("sub/file")).unwrap(), b"file");
    assert!(!pair.a.root.join("sub/stranger").exists(), "what is on another disk stays there");
    assert!(!disk.join("second").exists());
    drop(mounted);
    arrives(&lab, &pair.a, &pair.b, "sub/second");
    is_well(&lab, &pair.b);
    assert_eq!(pair.settle().files(), 23);
}
