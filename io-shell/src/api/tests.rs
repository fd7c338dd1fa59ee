//! The socket from end to end, with a daemon that only answers.
#![allow(clippy::unwrap_used)]

use crate::api::client::query_part;
use crate::api::fake::{DEVICE, FOLDER, Fake, PEER};
use crate::api::view::{StatusView, WaitView};
use crate::api::{CONTROL_SOCKET, Client, ClientError};
use hyper::Method;
use serde_json::{Value, json};

#[tokio::test]
async fn a_client_reads_the_status_as_the_daemon_has_it() {
    let fake = Fake::start();
    let view: StatusView = fake.client.get("/v1/status").await.unwrap();
    assert_eq!(view.device.unwrap().id, DEVICE.to_string());
    assert_eq!((view.folders[0].name.as_str(), view.folders[0].root.path.as_str()), ("photos", "/srv/photos"));
    assert_eq!((view.peers[0].id.clone(), view.peers[0].rtt_ms), (PEER.to_string(), 1.25));
    let json: Value = fake.client.get("/v1/status").await.unwrap();
    assert_eq!(json["counters"]["fetched_bytes"], 0);
}

#[tokio::test]
async fn requests_reach_the_daemon_as_they_were_meant() {
    let fake = Fake::start();
    let check = async |method: Method, target: &str, body: Value, want: &str| {
        fake.client.send::<Value>(method, target, &body).await.unwrap();
        assert_eq!(fake.take_asked(), [want], "{target}");
    };
    let folder = format!("/v1/folders/{FOLDER}");
    let device = format!("/v1/devices/{PEER}");
    check(Method::POST, "/v1/invite", json!({}), "Invite None").await;
    check(Method::POST, "/v1/join", json!({"code": "c", "path": "/p", "at": "h:1"}), "Join c \"/p\" h:1").await;
    let share = json!({"path": "x", "path_base64": "L3D/", "name": "n"});
    check(Method::POST, "/v1/folders", share, "ShareFolder \"/p\\xFF\" Some(\"n\")").await;
    check(Method::DELETE, &folder, json!({}), "RemoveFolder(f0f0f0f0)").await;
    check(Method::POST, &format!("{folder}/pause"), json!({}), "PauseFolder(f0f0f0f0, true)").await;
    check(Method::POST, &format!("{folder}/resume"), json!({}), "PauseFolder(f0f0f0f0, false)").await;
    check(Method::POST, &format!("{folder}/verify"), json!({}), "VerifyFolder(f0f0f0f0)").await;
    let prefer = json!({"policy": {"prefer": [PEER.to_string()]}});
    check(Method::PUT, &format!("{folder}/policy"), prefer, "SetPolicy(f0f0f0f0, Prefer([e0e0e0e0]))").await;
    check(Method::DELETE, &device, json!({}), "RemoveDevice(e0e0e0e0)").await;
    check(Method::PUT, &format!("{device}/name"), json!({"name": "x"}), "RenameDevice(e0e0e0e0, \"x\")").await;
    check(Method::POST, "/v1/shutdown", json!({}), "Shutdown").await;
}

#[tokio::test]
async fn refusals_and_bad_requests_say_why_and_are_told_apart() {
    let fake = Fake::start();
    let join = async |body: Value| fake.client.send::<Value>(Method::POST, "/v1/join", &body).await.unwrap_err();
    let refused = join(json!({"code": "wrong", "path": "/p", "at": "h:1"})).await;
    assert!(matches!(&refused, ClientError::Refused(reason) if reason == "the code is wrong"), "{refused:?}");
    fake.take_asked();
    let bad = [
        json!({"code": "c", "path": "relative", "at": "h:1"}),
        json!({"code": "c", "path": "/p", "path_base64": "~", "at": "h:1"}),
        json!({"path": "/p"}),
        json!([]),
    ];
    for body in bad {
        let error = join(body.clone()).await;
        assert!(matches!(error, ClientError::Bad(_)), "{body}: {error:?}");
    }
    let targets = ["/v1/why?folder=zz&path=a", "/v1/why?path=a", "/v1/wait?timeout=-1", "/v1/conflicts?folder=1"];
    for target in targets {
        let error = fake.client.get::<Value>(target).await.unwrap_err();
        assert!(matches!(error, ClientError::Bad(_)), "{target}: {error:?}");
    }
    let outside = format!("/v1/why?folder={FOLDER}&path={}", query_part("../x"));
    assert!(matches!(fake.client.get::<Value>(&outside).await, Err(ClientError::Bad(_))));
    assert!(fake.take_asked().is_empty(), "nothing of it reached the daemon");
}

#[tokio::test]
async fn paths_of_any_bytes_travel_both_ways() {
    let fake = Fake::start();
    let target = format!("/v1/why?folder={FOLDER}&path=&path_base64={}", query_part("YSD/JiY="));
    let why: Value = fake.client.get(&target).await.unwrap();
    assert_eq!((why["path"].as_str(), why["path_base64"].as_str()), (Some("a \u{fffd}&&"), Some("YSD/JiY=")));
    let found: Value = fake.client.get("/v1/conflicts").await.unwrap();
    let want = json!({"conflicts": [{
        "folder": FOLDER, "folder_name": "photos", "path": "a\u{fffd}", "path_base64": "Yf8=", "kind": "content",
        "winner": "desk", "copies": [{"path": "a.copy"}],
    }]});
    assert_eq!(found, want);
}

#[tokio::test]
async fn wait_ends_when_all_is_in_sync_and_at_its_time_otherwise() {
    let fake = Fake::start();
    let view: WaitView = fake.client.get("/v1/wait?timeout=0").await.unwrap();
    assert_eq!((view.synced, view.missing.len()), (false, 1));
    let client = fake.client.clone();
    let waiting = tokio::spawn(async move { client.get::<WaitView>("/v1/wait").await });
    fake.set_synced();
    assert!(waiting.await.unwrap().unwrap().synced);
    assert!(fake.client.get::<WaitView>("/v1/wait?timeout=0").await.unwrap().synced);
}

#[tokio::test]
async fn events_stream_as_lines_and_a_slow_reader_learns_what_it_missed() {
    let fake = Fake::start();
    let mut lines = fake.client.lines("/v1/events").await.unwrap();
    fake.emit("first");
    let line = lines.next().await.unwrap().unwrap();
    let event: Value = serde_json::from_str(&line).unwrap();
    assert_eq!((event["at"].as_str(), event["kind"].as_str()), (Some("1970-01-01T00:00:00Z"), Some("first")));
    // One thread: the server cannot read between these, and the channel holds four.
    (0..10).for_each(|n| fake.emit(&n.to_string()));
    assert_eq!(lines.next().await.unwrap().unwrap(), r#"{"event":"lagged","missed":6}"#);
    assert!(lines.next().await.unwrap().unwrap().contains(r#""kind":"6""#));
}

#[tokio::test]
async fn shutdown_ends_streams_and_waits_and_removes_the_socket() {
    let fake = Fake::start();
    let mut lines = fake.client.lines("/v1/events").await.unwrap();
    let client = fake.client.clone();
    let waiting = tokio::spawn(async move { client.get::<WaitView>("/v1/wait").await });
    fake.client.get::<Value>("/v1/status").await.unwrap();
    fake.stop.send(()).unwrap();
    assert_eq!(lines.next().await.unwrap(), None);
    // How far the wait had come decides which error it is; that it ends is what counts.
    assert!(waiting.await.unwrap().is_err());
    fake.served.await.unwrap().unwrap();
    assert!(!fake.home.path().join(CONTROL_SOCKET).exists());
}

#[tokio::test]
async fn without_a_daemon_the_home_is_named_and_the_way_to_start_one() {
    let home = tempfile::tempdir().unwrap();
    let check = async || {
        let error = Client::new(home.path()).get::<Value>("/v1/status").await.unwrap_err();
        assert!(matches!(error, ClientError::NoDaemon(_)), "{error:?}");
        let text = error.to_string();
        assert!(text.contains(&home.path().display().to_string()) && text.contains("landropic up PATH"), "{text}");
    };
    check().await;
    drop(std::os::unix::net::UnixListener::bind(home.path().join(CONTROL_SOCKET)).unwrap());
    check().await;
}
