//! Whoever is not invited, or does not keep to the protocol, is refused by the documented code, noted once, and
//! changes nothing.

#![allow(clippy::unwrap_used)]

use io_shell::identity::Identity;
use io_shell::net::world::RealNet;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::Duration;
use sync_core::id::Actor;
use sync_core::index::{Body, Dot, Key, Row};
use sync_core::wire::{MAX_CONTROL_FRAME, MAX_INDEX_FRAME, Message, Rows, WireRow, encode};
use sync_core::{CloseCode, ContentId, DeviceId, FolderId, RelPath, WallTime};
use tests::stranger::{CONTROL, INDEX, Stranger, announced, framed};
use tests::tree::write;
use tests::{Daemon, Lab, Pair, Tree};

fn lab() -> Lab {
    Lab::new(Duration::from_secs(90))
}

fn pair(lab: &Lab) -> Pair<'_> {
    Pair::new(lab, |root| write(&root.join("dir/file"), "file"))
}

/// All that a refused attempt must leave as it is.
#[derive(Debug, PartialEq)]
struct Untouched {
    tree: Tree,
    folder: BTreeMap<PathBuf, u64>,
    home: Vec<PathBuf>,
    known: Vec<(String, String)>,
}

impl Untouched {
    fn of(daemon: &Daemon<'_>) -> Self {
        let status = daemon.status();
        let names = |list: &str| status[list].as_array().cloned().unwrap_or_default();
        let known = [names("folders"), names("peers")].concat();
        Self {
            tree: Tree::read(&daemon.root),
            folder: tests::tree::listing(&daemon.root),
            // The database's own files grow with the audit.
            home: tests::tree::listing(&daemon.home).into_keys().collect(),
            known: known.iter().map(|k| (k["id"].to_string(), k["name"].to_string())).collect(),
        }
    }
}

/// Lets `attempt` have a go at `daemon`: it is noted once, in words that contain `noted`, and nothing else changes.
fn refuses<T>(lab: &Lab, daemon: &Daemon<'_>, noted: &str, attempt: impl FnOnce() -> T) -> T {
    let (before, audit) = (Untouched::of(daemon), daemon.audit());
    let outcome = attempt();
    let new = lab.wait_for("the attempt is noted", || {
        let now = daemon.audit();
        if now.len() > audit.len() { Ok(now) } else { Err(format!("{} entries", now.len())) }
    });
    assert_eq!(new.len(), audit.len() + 1, "{new:?}");
    assert!(new[0]["detail"].as_str().unwrap().contains(noted), "{noted:?} is not in {}", new[0]);
    assert_eq!(Untouched::of(daemon), before);
    outcome
}

/// A peer with the key of the second daemon, which is down.
fn impersonate(lab: &Lab, pair: &mut Pair<'_>) -> Stranger {
    if pair.b.is_up() {
        pair.b.terminate();
    }
    lab.wait_for("the first sees the second go", || if pair.a.is_connected() { Err("not yet".into()) } else { Ok(()) });
    Stranger::with_key_of(&pair.b.home, pair.a.listen)
}

/// As [`impersonate`], greeted as it should be.
fn impersonate_politely(lab: &Lab, pair: &mut Pair<'_>) -> Stranger {
    let mut stranger = impersonate(lab, pair);
    let device = stranger.identity.device_id();
    stranger.hello(device);
    lab.wait_for("the greeting is taken", || if pair.a.is_connected() { Ok(()) } else { Err("not yet".into()) });
    stranger
}

#[test]
fn a_device_that_was_never_paired_is_closed_with_code_4() {
    let lab = lab();
    let pair = pair(&lab);
    refuses(&lab, &pair.a, "code 4", || {
        let mut stranger = Stranger::unknown(pair.a.listen);
        let own = stranger.identity.device_id();
        stranger.hello(own);
        let (code, reason) = stranger.closed();
        assert_eq!(code, CloseCode::NotAuthorised, "{reason}");
    });
    assert!(pair.a.is_connected(), "the paired device is not disturbed");
}

#[test]
fn a_copied_device_id_with_another_key_is_closed_with_code_4() {
    let lab = lab();
    let pair = pair(&lab);
    let copied = DeviceId::parse(&pair.b.id()).unwrap();
    refuses(&lab, &pair.a, "code 4", || {
        let mut stranger = Stranger::unknown(pair.a.listen);
        stranger.hello(copied);
        let (code, reason) = stranger.closed();
        assert_eq!(code, CloseCode::NotAuthorised, "{reason}");
    });
    assert!(pair.a.is_connected(), "the device whose id was copied is not disturbed");
}

#[test]
fn a_paired_device_that_says_it_is_another_is_closed_with_code_4() {
    let lab = lab();
    let mut pair = pair(&lab);
    let other = Identity::generate(&RealNet).unwrap().device_id();
    for device in [other, DeviceId::parse(&pair.a.id()).unwrap()] {
        let mut stranger = impersonate(&lab, &mut pair);
        refuses(&lab, &pair.a, "names another device", || {
            stranger.hello(device);
            let (code, reason) = stranger.closed();
            assert_eq!(code, CloseCode::NotAuthorised, "{reason}");
        });
    }
}

/// What a paired device is told that sends these bytes on a stream of its own after a proper greeting.
fn is_a_protocol_error(lab: &Lab, pair: &mut Pair<'_>, bytes: &[u8]) -> String {
    let mut stranger = impersonate_politely(lab, pair);
    let words = refuses(lab, &pair.a, "code 3", || {
        stranger.send(bytes);
        let (code, reason) = stranger.closed();
        assert_eq!(code, CloseCode::ProtocolError, "{reason}");
        reason
    });
    drop(stranger);
    words
}

#[test]
fn a_message_on_the_wrong_lane_is_closed_with_code_3() {
    let lab = lab();
    let mut pair = pair(&lab);
    let ping = is_a_protocol_error(&lab, &mut pair, &framed(INDEX, &encode(&Message::Ping(1))));
    assert!(ping.contains("Ping"), "{ping}");
    let mut stranger = impersonate(&lab, &mut pair);
    refuses(&lab, &pair.a, "code 3", || {
        let folder = FolderId::parse(pair.a.folder()["id"].as_str().unwrap()).unwrap();
        let rows = Message::Rows(Rows { folder, rows: Vec::new(), upto: None });
        stranger.send(&framed(CONTROL, &encode(&rows)));
        let (code, reason) = stranger.closed();
        assert_eq!(code, CloseCode::ProtocolError, "{reason}");
    });
}

#[test]
fn an_oversized_frame_is_closed_with_code_3_before_it_is_read() {
    let lab = lab();
    let mut pair = pair(&lab);
    let words = is_a_protocol_error(&lab, &mut pair, &announced(INDEX, u32::try_from(MAX_INDEX_FRAME).unwrap() + 1));
    assert!(words.contains("are allowed"), "{words}");
    is_a_protocol_error(&lab, &mut pair, &announced(INDEX, u32::MAX));
    let mut stranger = impersonate(&lab, &mut pair);
    refuses(&lab, &pair.a, "code 3", || {
        stranger.send(&announced(CONTROL, u32::try_from(MAX_CONTROL_FRAME).unwrap() + 1));
        let (code, reason) = stranger.closed();
        assert_eq!(code, CloseCode::ProtocolError, "{reason}");
    });
}

#[test]
fn what_is_no_message_is_closed_with_code_3() {
    let lab = lab();
    let mut pair = pair(&lab);
    is_a_protocol_error(&lab, &mut pair, &framed(INDEX, b"\xff\xff\xff"));
    is_a_protocol_error(&lab, &mut pair, &framed(INDEX, b""));
    is_a_protocol_error(&lab, &mut pair, b"\x07");
}

/// A frame that says somebody made a file at `path`, whatever that is.
fn row_at(folder: FolderId, path: &[u8]) -> Vec<u8> {
    let placeholder = vec![b'x'; path.len()];
    let mut row = Row::default();
    let body = Body::File { content: ContentId::of(b"evil"), size: 4, mtime_ns: 1, mode: 0o644 };
    row.write(Dot { actor: Actor(77), seq: 1 }, body, None, WallTime(1), WallTime(1));
    let key = Key::Path(RelPath::new(&placeholder).unwrap());
    let rows = Message::Rows(Rows { folder, rows: vec![WireRow { key, row }], upto: None });
    let frame = encode(&rows);
    let at = frame.windows(placeholder.len()).position(|w| w == placeholder).unwrap();
    [&frame[..at], path, &frame[at + path.len()..]].concat()
}

#[test]
fn a_path_that_would_leave_the_folder_is_closed_with_code_3() {
    let lab = lab();
    let mut pair = pair(&lab);
    let folder = FolderId::parse(pair.a.folder()["id"].as_str().unwrap()).unwrap();
    let paths: [&[u8]; 8] = [
        b"../evil.txt",
        b"dir/../../evil.txt",
        b"dir/..",
        b"./evil.txt",
        b"/tmp/landropic-evil.txt",
        b"dir//evil.txt",
        b".Landropic/evil.txt",
        b"evil\0.txt",
    ];
    for path in paths {
        is_a_protocol_error(&lab, &mut pair, &framed(INDEX, &row_at(folder, path)));
    }
    assert!(!lab.path("evil.txt").exists());
}

#[test]
fn the_second_daemon_is_welcome_again_after_somebody_misused_its_key() {
    let lab = lab();
    let mut pair = pair(&lab);
    is_a_protocol_error(&lab, &mut pair, &framed(INDEX, b"\xff"));
    pair.b.restart();
    write(&pair.b.root.join("new"), "new");
    pair.settle_to(&Tree::read(&pair.b.root));
}

/// The code with another last word.
fn mistyped(code: &str) -> String {
    let (rest, last) = code.rsplit_once('-').unwrap();
    format!("{rest}-{}", if last == "acid" { "arch" } else { "acid" })
}

/// Runs `up --join` to its end and returns its exit code and what it printed.
fn fails_to_join(lab: &Lab, daemon: &mut Daemon<'_>, code: &str, at: &Daemon<'_>) -> (i32, String) {
    let (root, at) = (daemon.root.clone(), at.listen.to_string());
    let from = daemon.log().len();
    daemon.spawn(&[root.as_os_str(), "--join".as_ref(), code.as_ref(), "--at".as_ref(), at.as_ref()]);
    let status = lab.wait_for("up --join ends", || daemon.exited().ok_or_else(|| "it runs".to_owned()));
    daemon.kill9();
    (status.code().unwrap(), daemon.log()[from..].to_owned())
}

#[test]
fn a_wrong_code_lets_nobody_in() {
    let lab = lab();
    let pair = pair(&lab);
    let mut c = Daemon::new(&lab, "c");
    let code = pair.a.invite();
    let (exit, words) =
        refuses(&lab, &pair.a, "a wrong code", || fails_to_join(&lab, &mut c, &mistyped(&code), &pair.a));
    assert_eq!(exit, 4, "{words}");
    assert!(words.contains("the code is wrong"), "{words}");
    assert!(Tree::read(&c.root).0.is_empty());
    // A wrong try does not use the code up.
    c.start(&[
        c.root.clone().as_os_str(),
        "--join".as_ref(),
        code.as_ref(),
        "--at".as_ref(),
        pair.a.listen.to_string().as_ref(),
    ]);
    lab.wait_for(
        "the file comes",
        || if c.root.join("dir/file").exists() { Ok(()) } else { Err(c.status().to_string()) },
    );
}

#[test]
fn a_code_is_good_once() {
    let lab = lab();
    let (mut a, mut b, mut c) = (Daemon::new(&lab, "a"), Daemon::new(&lab, "b"), Daemon::new(&lab, "c"));
    write(&a.root.join("dir/file"), "file");
    a.up();
    let code = a.invite();
    let at = a.listen.to_string();
    b.start(&[b.root.clone().as_os_str(), "--join".as_ref(), code.as_ref(), "--at".as_ref(), at.as_ref()]);
    let pair = Pair::of(&lab, a, b);
    lab.wait_for("the file comes", || if pair.b.root.join("dir/file").exists() { Ok(()) } else { Err("no".into()) });
    pair.settle();
    let (exit, words) = refuses(&lab, &pair.a, "no open invitation", || fails_to_join(&lab, &mut c, &code, &pair.a));
    assert_eq!(exit, 4, "{words}");
    assert!(words.contains("the code was used already"), "{words}");
    assert!(Tree::read(&c.root).0.is_empty());
    assert_eq!(pair.a.status()["peers"].as_array().unwrap().len(), 1);
}

#[test]
fn three_wrong_tries_end_an_invitation() {
    let lab = lab();
    let pair = pair(&lab);
    let mut c = Daemon::new(&lab, "c");
    c.up();
    let code = pair.a.invite();
    let at = pair.a.listen.to_string();
    let place = lab.path("place");
    let place = place.to_str().unwrap();
    for _ in 0..3 {
        let wrong = mistyped(&code);
        refuses(&lab, &pair.a, "a wrong code", || c.cli(&["join", &wrong, place, "--at", &at]).exits(4));
    }
    refuses(&lab, &pair.a, "no open invitation", || c.cli(&["join", &code, place, "--at", &at]).exits(4));
    assert_eq!(c.status()["folders"].as_array().unwrap().len(), 1);
}

#[test]
fn a_removed_device_is_refused() {
    let lab = lab();
    let mut pair = pair(&lab);
    pair.a.cli(&["device", "remove", "b"]).yes();
    lab.wait_for("the link is closed", || if pair.a.is_connected() { Err("it stands".into()) } else { Ok(()) });
    pair.b.terminate();
    let stranger = Stranger::with_key_of(&pair.b.home, pair.a.listen);
    refuses(&lab, &pair.a, "code 4", || {
        let again = Stranger::with_key_of(&pair.b.home, pair.a.listen);
        assert_eq!(again.closed().0, CloseCode::NotAuthorised);
    });
    assert_eq!(stranger.closed().0, CloseCode::NotAuthorised);
}

#[test]
fn a_link_that_points_outside_is_stored_and_never_followed() {
    let lab = lab();
    let outside = lab.path("outside");
    write(&outside.join("secret"), "secret");
    let pair = Pair::new(&lab, |root| {
        symlink(&outside, root.join("absolute")).unwrap();
        symlink("../outside", root.join("relative")).unwrap();
        symlink("../outside/secret", root.join("file")).unwrap();
    });
    let b = Tree::read(&pair.b.root);
    assert_eq!(b.0.len(), 3, "{b:?}");
    assert_eq!(fs::read_link(pair.b.root.join("relative")).unwrap(), PathBuf::from("../outside"));
    // What changes behind a link is nobody's business here.
    write(&outside.join("more"), "more");
    // A file of the link's name replaces the link, not what it points to.
    fs::remove_file(pair.a.root.join("file")).unwrap();
    write(&pair.a.root.join("file"), "a file of the folder");
    fs::remove_file(pair.a.root.join("relative")).unwrap();
    write(&pair.a.root.join("relative/inside"), "a directory of the folder");
    pair.settle_to(&Tree::read(&pair.a.root));
    assert_eq!(fs::read(outside.join("secret")).unwrap(), b"secret");
    assert_eq!(tests::tree::listing(&outside).len(), 2);
}

#[test]
fn a_directory_that_was_replaced_by_a_link_is_not_written_through() {
    let lab = lab();
    let outside = lab.path("outside");
    write(&outside.join("file"), "outside");
    let mut pair = pair(&lab);
    pair.apart(|a, b| {
        fs::remove_dir_all(b.join("dir")).unwrap();
        symlink(&outside, b.join("dir")).unwrap();
        write(&a.join("dir/new"), "new");
        write(&a.join("dir/file"), "edited");
    });
    let settled = pair.settle();
    assert_eq!(settled.paths(|p| p.starts_with("dir/")), ["dir/file", "dir/new"]);
    assert_eq!(fs::read(pair.b.root.join("dir/file")).unwrap(), b"edited");
    assert_eq!(tests::tree::listing(&outside).into_keys().collect::<Vec<_>>(), [outside.join("file")]);
    assert_eq!(fs::read(outside.join("file")).unwrap(), b"outside");
}

#[test]
fn the_home_is_closed_to_other_users() {
    use std::os::unix::fs::PermissionsExt;
    let lab = lab();
    let pair = pair(&lab);
    let mode = |name: &str| fs::metadata(pair.a.home.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(""), 0o700);
    assert_eq!((mode("identity.key"), mode("control.sock")), (0o600, 0o600));
}
