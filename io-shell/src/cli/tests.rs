//! The command line from words to words, with a daemon that only answers.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::api::fake::{FOLDER, Fake};
use std::process::ExitCode;

fn words(line: &str) -> impl Iterator<Item = OsString> {
    std::iter::once("landropic").chain(line.split_whitespace()).map(OsString::from).collect::<Vec<_>>().into_iter()
}

fn question(line: &str) -> Ask {
    match Cli::try_parse_from(words(line)).unwrap().command {
        Command::Ask(question) => question,
        other @ (Command::Up(_) | Command::Demo(_) | Command::Completions(_) | Command::Man(_)) => panic!("{other:?}"),
    }
}

/// Exit, stdout and stderr of a command line.
async fn ask_fake(fake: &Fake, line: &str) -> (Exit, String, String) {
    let question = question(line);
    let (mut data, mut prose) = (Vec::new(), Vec::new());
    let mut out = Out::plain(&mut data, &mut prose);
    let exit = ask(question, &fake.client, &mut out).await.unwrap_or_else(|failure| {
        out.note(&failure.to_string()).unwrap();
        failure.exit()
    });
    drop(out);
    (exit, String::from_utf8(data).unwrap(), String::from_utf8(prose).unwrap())
}

#[test]
fn command_lines_are_accepted_or_not() {
    let check = |line: &str, fine: bool| assert_eq!(Cli::try_parse_from(words(line)).is_ok(), fine, "{line}");
    check("up", true);
    check("up p --name n --device-name d --listen 127.0.0.1:0 --no-discovery --home /h", true);
    check("--home /h up p --join c --at h:1", true);
    check("up --join c --at h:1", false);
    check("up p --at h:1", false);
    check("up --name n", false);
    check("up p --join c --name n --at h:1", false);
    check("up p --listen here", false);
    check("up p --http 127.0.0.1:80", false);
    check("invite photos --json", true);
    check("join c", false);
    check("folder", false);
    check("folder set photos policy=prefer:a,b", true);
    check("folder set photos policy=first", false);
    check("device rename a b", true);
    check("status --json --watch -vv", true);
    check("wait --timeout 0.5", true);
    check("wait --timeout never", false);
    check("wait --timeout -1", false);
    check("conflicts", true);
    check("conflicts --json", true);
    check("conflicts list --folder a --json", true);
    check("audit --limit 0", false);
    check("completions zsh", true);
    check("", false);
}

#[test]
fn joining_needs_an_address_and_says_why() {
    let args = |line: &str| match Cli::try_parse_from(words(line)).unwrap().command {
        Command::Up(flags) => up::UpArgs::try_from(flags),
        other @ (Command::Ask(_) | Command::Demo(_) | Command::Completions(_) | Command::Man(_)) => panic!("{other:?}"),
    };
    let failure = args("up p --join c").unwrap_err();
    assert_eq!(failure.exit(), Exit::Usage);
    assert!(failure.to_string().contains("--at HOST:PORT"), "{failure}");
    let fine = args("up /p --join c --at h:1 --listen 127.0.0.1:5").unwrap();
    assert_eq!(fine.path, Some(PathBuf::from("/p")));
    assert_eq!(fine.join, Some(("c".to_owned(), "h:1".to_owned())));
    assert_eq!(fine.listen, Some("127.0.0.1:5".parse().unwrap()));
    assert!(args("up relative").unwrap().path.unwrap().is_absolute());
}

#[test]
fn main_ends_with_the_documented_codes() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path().to_str().unwrap();
    // `ExitCode` has no equality of its own.
    let same = |got: ExitCode, want: Exit| assert_eq!(format!("{got:?}"), format!("{:?}", ExitCode::from(want)));
    same(main(words(&format!("--home {home} up"))), Exit::Usage);
    same(main(words(&format!("--home {home} wait"))), Exit::NoDaemon);
    same(main(words("up --frobnicate")), Exit::Usage);
}

#[tokio::test]
async fn invite_prints_the_code_alone_on_stdout() {
    let fake = Fake::start();
    let (exit, data, prose) = ask_fake(&fake, "invite photos").await;
    assert_eq!((exit, data.as_str()), (Exit::Yes, "7-cobalt-heron\n"));
    assert!(prose.contains("within 10 min") && prose.contains("--at HOST:9876"), "{prose}");
    assert_eq!(fake.take_asked(), [format!("Invite Some(\"{FOLDER}\")")]);
    let (_, data, prose) = ask_fake(&fake, "invite --json").await;
    assert_eq!(data, "{\"code\":\"7-cobalt-heron\",\"folder_name\":\"photos\",\"expires_secs\":600}\n");
    assert_eq!(prose, "");
}

#[tokio::test]
async fn join_and_folder_add_send_absolute_paths() {
    let fake = Fake::start();
    let here = std::env::current_dir().unwrap().join("p");
    let (exit, _, prose) = ask_fake(&fake, "join c p --at h:1").await;
    assert!(exit == Exit::Yes && prose.contains("joined 'photos' of desk"), "{prose}");
    assert_eq!(fake.take_asked(), [format!("Join c {here:?} h:1")]);
    let (exit, data, _) = ask_fake(&fake, "folder add p --name n").await;
    assert_eq!((exit, data), (Exit::Yes, format!("{FOLDER}\n")));
    assert_eq!(fake.take_asked(), [format!("ShareFolder {here:?} Some(\"n\")")]);
    let (exit, _, prose) = ask_fake(&fake, "join wrong p --at h:1").await;
    assert!(exit == Exit::Refused && prose.contains("the code is wrong"), "{prose}");
    assert_eq!(ask_fake(&fake, "join c p").await.0, Exit::Usage);
}

#[tokio::test]
async fn folders_and_devices_are_managed_by_name() {
    let fake = Fake::start();
    let check = async |line: &str, exit: Exit, asked: &[&str]| {
        let (got, _, prose) = ask_fake(&fake, line).await;
        assert_eq!(got, exit, "{line}: {prose}");
        assert_eq!(fake.take_asked(), asked, "{line}");
    };
    check("folder pause photos", Exit::Yes, &["PauseFolder(f0f0f0f0, true)"]).await;
    check("folder resume f0f0", Exit::Yes, &["PauseFolder(f0f0f0f0, false)"]).await;
    check("folder verify photos", Exit::Yes, &["VerifyFolder(f0f0f0f0)"]).await;
    check("folder remove photos", Exit::Yes, &["RemoveFolder(f0f0f0f0)"]).await;
    let order = "SetPolicy(f0f0f0f0, Prefer([d0d0d0d0, e0e0e0e0]))";
    check("folder set photos policy=prefer:laptop,desk", Exit::Yes, &[order]).await;
    check("folder set photos policy=prefer:nobody", Exit::Usage, &[]).await;
    check("folder pause nothing", Exit::Usage, &[]).await;
    check("device rename laptop x", Exit::Yes, &["RenameDevice(d0d0d0d0, \"x\")"]).await;
    check("device remove desk", Exit::Yes, &["RemoveDevice(e0e0e0e0)"]).await;
    check("device remove laptop", Exit::Usage, &[]).await;
    check("device retire desk", Exit::Refused, &["RetireDevice(e0e0e0e0)"]).await;
    let listed = ask_fake(&fake, "device list").await.1;
    assert_eq!(listed.lines().map(|l| l.split_whitespace().next().unwrap()).collect::<Vec<_>>(), ["laptop", "desk"]);
}

#[tokio::test]
async fn status_is_a_page_for_people_and_a_document_for_programs() {
    let fake = Fake::start();
    let (exit, data, _) = ask_fake(&fake, "status").await;
    let want = "\
This device: laptop (d0d0d0d0d0d0), listening on 0.0.0.0:9876

Folders
  photos  syncing  3 files, 2.0 KiB  needs 1 item, 1.0 KiB  /srv/photos

Devices
  desk  e0e0e0e0e0e0  connected  good  1.2 ms  sent 10 B  received 20 B

Not in sync:
  photos: 1 item from desk
";
    assert_eq!((exit, data.as_str()), (Exit::Yes, want));
    let (_, data, prose) = ask_fake(&fake, "status --json").await;
    let json: serde_json::Value = serde_json::from_str(&data).unwrap();
    assert_eq!((json["folders"][0]["need_bytes"].as_u64(), data.lines().count()), (Some(1024), 1));
    assert_eq!(prose, "");
}

#[tokio::test]
async fn wait_answers_by_its_exit_code() {
    let fake = Fake::start();
    let (exit, data, prose) = ask_fake(&fake, "wait --timeout 0").await;
    assert_eq!((exit, data.as_str()), (Exit::No, ""));
    assert!(prose.contains("photos: 1 item from desk"), "{prose}");
    fake.set_synced();
    assert_eq!(ask_fake(&fake, "wait").await, (Exit::Yes, String::new(), String::new()));
    assert_eq!(ask_fake(&fake, "wait --json").await.1, "{\"missing\":[],\"synced\":true}\n");
}

#[tokio::test]
async fn why_conflicts_and_audit_show_what_the_daemon_says() {
    let fake = Fake::start();
    let (exit, data, _) = ask_fake(&fake, "why /srv/photos/a/b").await;
    assert_eq!((exit, data.as_str()), (Exit::No, "a/b: not in sync: because\n  do it\n"));
    assert_eq!(ask_fake(&fake, "why fine --folder photos").await.0, Exit::Yes);
    assert_eq!(ask_fake(&fake, "why /etc/passwd").await.0, Exit::Usage);
    assert_eq!(ask_fake(&fake, "why --folder photos ../x").await.0, Exit::Usage);
    let (exit, data, _) = ask_fake(&fake, "conflicts").await;
    let want = "photos: a\u{fffd}: content, desk's version has the name\n  also kept as a.copy\n";
    assert_eq!((exit, data.as_str()), (Exit::Yes, want));
    assert_eq!(ask_fake(&fake, "audit").await.1, "  1970-01-01T00:00:00Z  pairing  desk\n");
}

#[tokio::test]
async fn events_follow_until_the_daemon_stops() {
    let fake = Fake::start();
    let question = question("events");
    let (mut data, mut prose) = (Vec::new(), Vec::new());
    let mut out = Out::plain(&mut data, &mut prose);
    let client = fake.client.clone();
    let feed = async move {
        while fake.events.receiver_count() == 0 {
            tokio::task::yield_now().await;
        }
        fake.emit("one");
        fake.stop.send(()).unwrap();
        fake.served.await.unwrap().unwrap();
    };
    let (exit, ()) = tokio::join!(ask(question, &client, &mut out), feed);
    drop(out);
    assert_eq!(exit.unwrap(), Exit::Yes);
    assert_eq!(String::from_utf8(data).unwrap(), "1970-01-01T00:00:00Z audit detail=detail kind=one\n");
}

#[test]
fn completions_and_the_manual_are_made() {
    let made = |line: &str| {
        let mut data = Vec::new();
        let mut out = Out::plain(&mut data, std::io::sink());
        match Cli::try_parse_from(words(line)).unwrap().command {
            Command::Completions(args) => packaging::completions(args, &mut out).unwrap(),
            Command::Man(args) => packaging::man(args, &mut out).unwrap(),
            other @ (Command::Up(_) | Command::Demo(_) | Command::Ask(_)) => panic!("{other:?}"),
        };
        drop(out);
        String::from_utf8(data).unwrap()
    };
    assert!(made("completions bash").contains("landropic"));
    assert!(made("man").contains(".TH landropic"));
    let dir = tempfile::tempdir().unwrap();
    made(&format!("man {}", dir.path().display()));
    assert!(dir.path().join("landropic-folder-add.1").exists());
}

/// Long help of every command, as a terminal of a hundred columns shows it.
fn help(command: &mut clap::Command, name: &str, text: &mut String) {
    text.push_str(&format!("$ {name} --help\n{}\n\n", command.render_long_help().to_string().trim_end()));
    for sub in command.get_subcommands_mut() {
        if sub.get_name() != "help" {
            let name = format!("{name} {}", sub.get_name());
            help(sub, &name, text);
        }
    }
}

#[test]
fn help_is_as_committed() {
    let mut command = command().term_width(100);
    command.build();
    let mut text = String::new();
    help(&mut command, "landropic", &mut text);
    let text = format!("{}\n", text.trim_end());
    let golden = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/cli/help.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&golden, &text).unwrap();
    }
    let committed = std::fs::read_to_string(&golden).unwrap();
    assert_eq!(text, committed, "if the change is meant, write it with UPDATE_GOLDEN=1");
}
