//! The command line's contract with scripts: exit codes, streams, and what commands do to running daemons.

#![allow(clippy::unwrap_used)]

use serde_json::Value;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};
use tests::tree::write;
use tests::{Daemon, Lab, Pair, Tree};

fn lab() -> Lab {
    Lab::new(Duration::from_secs(90))
}

fn pair(lab: &Lab) -> Pair<'_> {
    Pair::new(lab, |root| write(&root.join("dir/file"), "file"))
}

#[test]
fn without_a_daemon_every_question_ends_with_3() {
    let lab = lab();
    let nobody = Daemon::new(&lab, "nobody");
    let questions: [&[&str]; 14] = [
        &["status"],
        &["status", "--json"],
        &["wait", "--timeout", "1"],
        &["invite"],
        &["join", "1-acid-acid-acid", "somewhere", "--at", "127.0.0.1:1"],
        &["folder", "list"],
        &["folder", "add", "somewhere"],
        &["folder", "remove", "x"],
        &["device", "list"],
        &["device", "remove", "x"],
        &["why", "x"],
        &["conflicts"],
        &["audit"],
        &["events"],
    ];
    for question in questions {
        let outcome = nobody.cli(question).exits(3);
        assert!(outcome.stderr.contains("no daemon is running"), "{outcome:?}");
        assert_eq!(outcome.stdout, "");
    }
    assert!(!nobody.home.exists(), "a question makes no home");
}

#[test]
fn wrong_words_end_with_2_and_say_what_is_wrong() {
    let lab = lab();
    let mut a = Daemon::new(&lab, "a");
    a.up();
    let wrong: [&[&str]; 10] = [
        &[],
        &["frobnicate"],
        &["status", "--frobnicate"],
        &["wait", "--timeout", "soon"],
        &["join", "code"],
        &["join", "37-lamp-frog-tile", "somewhere"],
        &["join", "37-lamp-frog-tile", "somewhere", "--at", "nowhere"],
        &["folder", "remove", "unknown"],
        &["folder", "set", "a", "policy=oldest"],
        &["up", "--join", "37-lamp-frog-tile"],
    ];
    for words in wrong {
        let outcome = a.cli(words).exits(2);
        assert_ne!(outcome.stderr, "", "{words:?}");
        assert_eq!(outcome.stdout, "", "{words:?}");
    }
    a.cli(&["--help"]).exits(0);
    assert!(a.cli(&["--version"]).exits(0).stdout.starts_with("landropic "));
}

#[test]
fn what_the_daemon_will_not_do_ends_with_4() {
    let lab = lab();
    let mut a = Daemon::new(&lab, "a");
    write(&a.root.join("sub/file"), "file");
    a.up();
    let inside = a.root.join("sub");
    let refused = a.cli(&["folder", "add", inside.to_str().unwrap()]).exits(4);
    assert!(refused.stderr.contains("overlaps"), "{refused:?}");
    let second = lab.path("second");
    a.cli(&["folder", "add", second.to_str().unwrap()]).yes();
    let refused = a.cli(&["invite"]).exits(4);
    assert!(refused.stderr.contains("several folders"), "{refused:?}");
    a.cli(&["invite", "second"]).yes();
    let refused = a.cli(&["join", "no code", lab.path("x").to_str().unwrap(), "--at", "127.0.0.1:1"]).exits(4);
    assert!(refused.stderr.contains("a code looks like"), "{refused:?}");
}

#[test]
fn up_on_a_fresh_home_without_a_path_explains_itself() {
    let lab = lab();
    let a = Daemon::new(&lab, "a");
    let outcome = a.cli(&["up"]).exits(2);
    assert!(outcome.stderr.contains("landropic up PATH"), "{outcome:?}");
}

#[test]
fn a_second_daemon_on_a_home_is_refused_and_told_of_the_first() {
    let lab = lab();
    let mut a = Daemon::new(&lab, "a");
    a.up();
    let root = a.root.clone();
    let words: [&OsStr; 4] = ["up".as_ref(), root.as_os_str(), "--listen".as_ref(), "127.0.0.1:0".as_ref()];
    let outcome = a.cli_os(&words).exits(4);
    assert!(outcome.stderr.contains(&a.pid().to_string()), "{outcome:?}");
    assert_eq!(a.folder()["path"], root.to_str().unwrap());
    // The lock goes with the process, however it ends.
    a.kill9();
    a.restart();
}

#[test]
fn up_with_a_path_that_is_shared_already_is_no_error() {
    let lab = lab();
    let mut a = Daemon::new(&lab, "a");
    a.up();
    let id = a.folder()["id"].clone();
    a.terminate();
    a.up();
    assert_eq!(a.folder()["id"], id);
}

#[test]
fn a_root_that_is_no_text_is_named_by_its_bytes_as_well() {
    let lab = lab();
    let mut a = Daemon::new(&lab, "a");
    a.root = a.root.join(OsStr::from_bytes(b"r\xff"));
    write(&a.root.join("file"), "file");
    a.up();
    assert!(a.folder()["path_base64"].is_string(), "{}", a.folder());
    let file = a.root.join("file");
    lab.wait_for("the file is known", || {
        let why = a.cli_os(&[OsStr::new("why"), file.as_os_str()]);
        if why.code == 0 { Ok(()) } else { Err(format!("{why:?}")) }
    });
}

#[test]
fn wait_says_what_is_missing_and_keeps_to_its_timeout() {
    let lab = lab();
    let mut pair = pair(&lab);
    pair.a.wait(Duration::from_secs(5)).yes();
    pair.b.terminate();
    let began = Instant::now();
    let outcome = lab.wait_for("a sees that b is gone", || match pair.a.wait(Duration::from_secs(1)) {
        outcome if outcome.code == 1 => Ok(outcome),
        outcome => Err(format!("{outcome:?}")),
    });
    assert!(began.elapsed() < Duration::from_secs(20));
    assert!(outcome.stderr.contains("no device is connected"), "{outcome:?}");
    let json = pair.a.cli(&["wait", "--timeout", "0", "--json"]).exits(1).json();
    assert_eq!((&json["synced"], &json["missing"][0]), (&false.into(), &"no device is connected".into()));
}

#[test]
fn wait_without_a_timeout_ends_when_all_is_there() {
    let lab = lab();
    let (mut a, mut b) = (Daemon::new(&lab, "a"), Daemon::new(&lab, "b"));
    for number in 0..500 {
        write(&a.root.join(format!("file {number}")), vec![7; 3_000]);
    }
    a.up();
    let mut waiting = a.stream(&["wait", "--json"], &lab.path("waited"));
    b.join(&a);
    let status = lab.wait_for("the wait is over", || waiting.child.try_wait().unwrap().ok_or_else(|| "no".to_owned()));
    assert!(status.success());
    Tree::read(&a.root).same(&Tree::read(&b.root)).unwrap();
    assert!(fs::read_to_string(lab.path("waited")).unwrap().contains(r#""synced":true"#));
}

#[test]
fn status_has_every_field_of_its_contract() {
    let lab = lab();
    let pair = pair(&lab);
    let status = pair.a.status();
    let has = |value: &Value, fields: &[&str]| {
        for field in fields {
            assert!(value.get(*field).is_some_and(|v| !v.is_null()), "{field} is missing in {value}");
        }
    };
    has(&status, &["device", "folders", "peers", "transfers"]);
    has(&status["device"], &["id", "name", "listen"]);
    assert_eq!(status["device"]["listen"], pair.a.listen.to_string());
    let folder =
        ["id", "name", "path", "mode", "state", "files", "bytes", "need_files", "need_bytes", "conflicts", "errors"];
    has(&status["folders"][0], &folder);
    let peer = ["id", "name", "state", "health", "rtt_ms", "loss", "connections", "sent_bytes", "received_bytes"];
    has(&status["peers"][0], &peer);
    assert_eq!((&status["peers"][0]["name"], &status["peers"][0]["state"]), (&"b".into(), &"connected".into()));
    assert_eq!((&status["folders"][0]["files"], &status["folders"][0]["bytes"]), (&1.into(), &4.into()));
    let prose = pair.a.cli(&["status"]).yes().stdout;
    assert!(prose.contains('b') && prose.contains("connected"), "{prose}");
}

#[test]
fn both_daemons_find_each_other_again_by_remembered_addresses() {
    let lab = lab();
    let mut pair = pair(&lab);
    pair.a.terminate();
    pair.b.terminate();
    write(&pair.a.root.join("of a"), "of a");
    write(&pair.b.root.join("of b"), "of b");
    pair.b.restart();
    pair.a.restart();
    assert_eq!(pair.settle().files(), 3);
}

#[test]
fn a_daemon_that_was_killed_is_connected_again_soon_after_its_return() {
    let lab = lab();
    let mut pair = pair(&lab);
    for round in 0..4 {
        let victim = if round % 2 == 0 { &mut pair.a } else { &mut pair.b };
        victim.kill9();
        victim.restart();
        let began = Instant::now();
        write(&pair.a.root.join("round"), format!("{round}"));
        pair.settle_to(&Tree::read(&pair.a.root));
        eprintln!("in step again after {:.2} s", began.elapsed().as_secs_f64());
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    }
}

#[test]
fn a_daemon_that_is_asked_to_stop_does_so_within_three_seconds() {
    let lab = lab();
    let mut pair = pair(&lab);
    let (ended, took) = pair.b.terminate();
    assert!(ended.success(), "{ended}");
    assert!(took < Duration::from_secs(3), "{took:?}");
    // The other one is told rather than left to guess.
    lab.wait_within(Duration::from_secs(3), "a has heard of it", || {
        if pair.a.is_connected() { Err("it has not".into()) } else { Ok(()) }
    });
    assert!(!pair.b.home.join("control.sock").exists() || pair.b.cli(&["status"]).code == 3);
    let (ended, took) = pair.a.terminate();
    assert!(ended.success() && took < Duration::from_secs(3), "{ended} {took:?}");
}

#[test]
fn why_answers_for_items_in_sync_and_not() {
    let lab = lab();
    let mut pair = pair(&lab);
    let file = pair.a.root.join("dir/file");
    let fine = pair.a.cli_os(&["why".as_ref(), file.as_os_str()]).exits(0);
    assert!(fine.stdout.contains("in sync"), "{fine:?}");
    let json = pair.a.cli(&["why", "--folder", "a", "dir/file", "--json"]).exits(0).json();
    assert_eq!((&json["in_sync"], &json["path"]), (&true.into(), &"dir/file".into()));
    pair.a.cli(&["why", "/etc/passwd"]).exits(2);
    pair.a.cli(&["why", "--folder", "a", "../file"]).exits(2);
    // What nobody can send is named, with what to do.
    pair.a.terminate();
    pair.b.cli(&["folder", "pause", "a"]).yes();
    let paused = pair.b.cli(&["why", "--folder", "a", "dir/file"]).exits(1);
    assert!(paused.stdout.contains("paused") && paused.stdout.contains("folder resume"), "{paused:?}");
}

#[test]
fn events_tell_what_happens_as_lines_of_json() {
    let lab = lab();
    let mut pair = pair(&lab);
    let log = lab.path("events");
    let mut events = pair.b.stream(&["events", "--json"], &log);
    let lines = |log: &Path| -> Vec<Value> {
        let text = fs::read_to_string(log).unwrap();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
    };
    // A stream tells what happens once it runs: something happens until it is told of it.
    let mut number = 0;
    lab.wait_for("a change of the other side is told", || {
        number += 1;
        write(&pair.a.root.join(format!("new/{number}")), format!("{number}"));
        let found = lines(&log).iter().any(|e| {
            e["event"] == "remote_change" && e["path"].as_str().is_some_and(|p| p.starts_with("new/")) && e["at"] != ""
        });
        if found { Ok(()) } else { Err(format!("{:?}", lines(&log))) }
    });
    write(&pair.b.root.join("own"), "own");
    lab.wait_for("a change of this side is told", || {
        let found = lines(&log).iter().any(|e| e["event"] == "local_change" && e["path"] == "own");
        if found { Ok(()) } else { Err(format!("{:?}", lines(&log))) }
    });
    pair.a.terminate();
    lab.wait_for("the end of the link is told", || {
        let found = lines(&log).iter().any(|e| e["event"] == "peer_disconnected");
        if found { Ok(()) } else { Err(format!("{:?}", lines(&log))) }
    });
    pair.b.terminate();
    let status = lab.wait_for("the stream ends", || events.child.try_wait().unwrap().ok_or_else(|| "no".to_owned()));
    assert!(status.success());
}

#[test]
fn a_removed_folder_keeps_its_files_and_takes_no_more_part() {
    let lab = lab();
    let pair = pair(&lab);
    let before = Tree::read(&pair.b.root);
    pair.b.cli(&["folder", "remove", "a"]).yes();
    assert_eq!(pair.b.status()["folders"], serde_json::json!([]));
    write(&pair.a.root.join("after"), "after");
    fs::remove_file(pair.a.root.join("dir/file")).unwrap();
    // Another folder shows that the link works and that time has passed.
    let (more_a, more_b) = (lab.path("more a"), lab.path("more b"));
    write(&more_a.join("file"), "file");
    pair.a.cli(&["folder", "add", more_a.to_str().unwrap(), "--name", "more"]).yes();
    let code = pair.a.cli(&["invite", "more"]).yes().first_line();
    let at = pair.a.listen.to_string();
    pair.b.cli(&["join", &code, more_b.to_str().unwrap(), "--at", &at]).yes();
    lab.wait_for("the other folder is synced", || {
        if more_b.join("file").exists() { Ok(()) } else { Err(pair.b.status().to_string()) }
    });
    before.same(&Tree::read(&pair.b.root)).unwrap();
}

#[test]
fn a_removed_device_is_disconnected_at_once_and_gets_nothing_more() {
    let lab = lab();
    let pair = pair(&lab);
    pair.a.cli(&["device", "remove", "b"]).yes();
    lab.wait_within(Duration::from_secs(3), "b is disconnected", || {
        if pair.b.is_connected() { Err(pair.b.status()["peers"].to_string()) } else { Ok(()) }
    });
    write(&pair.a.root.join("after"), "after");
    pair.a.cli(&["device", "list"]).yes();
    lab.wait_for("b has tried again and was refused", || {
        let refused = pair.a.audit().iter().any(|e| e["detail"].as_str().is_some_and(|d| d.contains("code 4")));
        if refused { Ok(()) } else { Err(pair.b.status()["peers"].to_string()) }
    });
    assert!(!pair.b.root.join("after").exists());
    assert!(pair.b.root.join("dir/file").exists());
    let audit = pair.a.audit();
    assert!(audit.iter().any(|e| e["kind"] == "device-removed"), "{audit:?}");
}

#[test]
fn a_device_can_be_given_another_name() {
    let lab = lab();
    let pair = pair(&lab);
    pair.a.cli(&["device", "rename", "b", "the other one"]).yes();
    assert_eq!(pair.a.status()["peers"][0]["name"], "the other one");
    let id = pair.b.id();
    pair.b.cli(&["device", "rename", &id, "desk"]).yes();
    assert_eq!(pair.b.status()["device"]["name"], "desk");
}

#[test]
fn one_daemon_shares_several_folders() {
    let lab = lab();
    let pair = pair(&lab);
    let (more_a, more_b) = (lab.path("more a"), lab.path("more b"));
    write(&more_a.join("file"), "file");
    pair.a.cli(&["folder", "add", more_a.to_str().unwrap(), "--name", "more"]).yes();
    let code = pair.a.cli(&["invite", "more"]).yes().first_line();
    let at = pair.a.listen.to_string();
    pair.b.cli(&["join", &code, more_b.to_str().unwrap(), "--at", &at]).yes();
    pair.b.wait(Duration::from_secs(20)).yes();
    pair.a.wait(Duration::from_secs(20)).yes();
    assert_eq!(fs::read(more_b.join("file")).unwrap(), b"file");
    write(&more_b.join("back"), "back");
    write(&pair.b.root.join("back"), "back");
    lab.wait_for("both folders go on", || {
        if more_a.join("back").exists() && pair.a.root.join("back").exists() { Ok(()) } else { Err("no".into()) }
    });
    assert_eq!(pair.a.status()["folders"].as_array().unwrap().len(), 2);
}
