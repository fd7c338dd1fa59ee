//! A daemon that only answers, for tests of the socket and the command line.
#![allow(clippy::unwrap_used)]

use crate::api::{Client, ControlListener, DaemonHandle, DaemonRequest, Invitation, Joined, StampedEvent, serve};
use std::sync::Arc;
use std::sync::Mutex;
use sync_core::index::ConflictKind;
use sync_core::output::{Answer, Conflict, Event, Refusal, Why};
use sync_core::status::{DeviceStatus, FolderStatus, PeerStatus, Status};
use sync_core::{Command, DeviceId, FolderId, RelPath, WallTime};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::task::JoinHandle;

/// The folder every fake daemon has.
pub(crate) const FOLDER: FolderId = FolderId([0xf0; 16]);
/// This device.
pub(crate) const DEVICE: DeviceId = DeviceId([0xd0; 32]);
/// The other device.
pub(crate) const PEER: DeviceId = DeviceId([0xe0; 32]);

/// A served fake daemon and the knobs a test turns.
pub(crate) struct Fake {
    pub(crate) home: tempfile::TempDir,
    pub(crate) client: Client,
    pub(crate) status: watch::Sender<Arc<Status>>,
    pub(crate) events: broadcast::Sender<Arc<StampedEvent>>,
    /// Requests as `Debug` prints them, without their replies.
    pub(crate) asked: Arc<Mutex<Vec<String>>>,
    pub(crate) stop: oneshot::Sender<()>,
    pub(crate) served: JoinHandle<std::io::Result<()>>,
}

impl Fake {
    pub(crate) fn start() -> Self {
        let home = tempfile::tempdir().unwrap();
        let listener = ControlListener::bind(home.path()).unwrap();
        let (requests, inbox) = mpsc::channel(4);
        let (status, snapshots) = watch::channel(Arc::new(some_status()));
        let events = broadcast::Sender::new(4);
        let asked = Arc::default();
        tokio::spawn(answer_all(inbox, Arc::clone(&asked)));
        let (stop, stopped) = oneshot::channel::<()>();
        let handle = DaemonHandle { requests, status: snapshots, events: events.clone() };
        let served = tokio::spawn(serve(listener, handle, async { stopped.await.unwrap_or(()) }));
        let client = Client::new(home.path());
        Self { home, client, status, events, asked, stop, served }
    }

    pub(crate) fn set_synced(&self) {
        self.status.send_modify(|s| {
            let status = Arc::make_mut(s);
            status.synced = true;
            status.missing.clear();
        });
    }

    pub(crate) fn emit(&self, kind: &str) {
        let event = Event::Audit { kind: kind.to_owned(), detail: "detail".to_owned() };
        // Nobody listening is fine: that is what some tests are about.
        drop(self.events.send(Arc::new(StampedEvent { at: WallTime(0), event })));
    }

    pub(crate) fn take_asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

fn some_status() -> Status {
    let folder = FolderStatus {
        id: FOLDER,
        name: "photos".to_owned(),
        path: "/srv/photos".to_owned(),
        path_bytes: b"/srv/photos"[..].into(),
        mode: "send-receive",
        state: "syncing",
        files: 3,
        bytes: 2048,
        need_files: 1,
        need_bytes: 1024,
        conflicts: 0,
        errors: Vec::new(),
        members: vec![DEVICE, PEER],
    };
    let peer = PeerStatus {
        id: PEER,
        name: "desk".to_owned(),
        state: "connected",
        health: "good",
        rtt_ms: 1.25,
        loss: 0.0,
        connections: 1,
        sent_bytes: 10,
        received_bytes: 20,
        reason: String::new(),
    };
    Status {
        device: Some(DeviceStatus { id: DEVICE, name: "laptop".to_owned(), listen: "0.0.0.0:9876".to_owned() }),
        folders: vec![folder],
        peers: vec![peer],
        missing: vec!["photos: 1 item from desk".to_owned()],
        ..Status::default()
    }
}

async fn answer_all(mut inbox: mpsc::Receiver<DaemonRequest>, asked: Arc<Mutex<Vec<String>>>) {
    while let Some(request) = inbox.recv().await {
        let note = |text: String| asked.lock().unwrap().push(text);
        // A client that has gone away does not hear its answer.
        match request {
            DaemonRequest::Core { command, reply } => {
                note(format!("{command:?}"));
                drop(reply.send(answer(command)));
            }
            DaemonRequest::Invite { folder, reply } => {
                note(format!("Invite {folder:?}"));
                let code = "7-cobalt-heron".to_owned();
                drop(reply.send(Ok(Invitation { code, folder_name: "photos".to_owned(), expires_secs: 600 })));
            }
            DaemonRequest::Join { code, path, at, reply } => {
                note(format!("Join {code} {path:?} {at}"));
                let joined = Joined { folder_name: "photos".to_owned(), device_name: "desk".to_owned() };
                let wrong = Refusal { reason: "the code is wrong".to_owned() };
                drop(reply.send(if code == "wrong" { Err(wrong) } else { Ok(joined) }));
            }
            DaemonRequest::ShareFolder { path, name, reply } => {
                note(format!("ShareFolder {path:?} {name:?}"));
                drop(reply.send(Ok(FOLDER)));
            }
            DaemonRequest::Shutdown => note("Shutdown".to_owned()),
        }
    }
}

fn answer(command: Command) -> Result<Answer, Refusal> {
    if let Command::Why(_, path) = command {
        let in_sync = path.as_bytes() == b"fine";
        return Ok(Answer::Why(Why { path, in_sync, reason: "because".to_owned(), remedy: "do it".to_owned() }));
    }
    if let Command::Audits(_) = command {
        return Ok(Answer::Audits(vec![(WallTime(0), "pairing".to_owned(), "desk".to_owned())]));
    }
    if let Command::Conflicts(_) = command {
        let conflict = Conflict {
            path: RelPath::new(b"a\xff").unwrap(),
            kind: ConflictKind::Content,
            winner: "desk".to_owned(),
            copies: vec![RelPath::new(b"a.copy").unwrap()],
        };
        return Ok(Answer::Conflicts(vec![conflict]));
    }
    if let Command::RetireDevice(_) = command {
        return Err(Refusal { reason: "it is connected".to_owned() });
    }
    Ok(Answer::Ok)
}
