//! What the node asks for, carried out: connections by the network, disk work by the pool, answers by their channels.

use crate::api::handle::StampedEvent;
use crate::data::{DataLane, RangeFetch};
use crate::driver::Effects;
use crate::folders::Folders;
use crate::fs::{self, Found, Root, StageError};
use crate::net::Network;
use crate::world::{Clock, Work};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use sync_core::id::{EffectId, RequestId};
use sync_core::input::CopyError;
use sync_core::output::{Answer, Event, Make, Op, Refusal};
use sync_core::{ContentId, FolderId, Input, ItemError, ItemErrorKind, Output, RelPath};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{broadcast, mpsc, oneshot};

/// Entries of a directory told at once.
const SPAN: usize = 1_000;

/// Where answers to requests go.
#[derive(Clone, Default)]
pub struct Replies(Arc<Mutex<Waiting>>);

#[derive(Default)]
struct Waiting {
    last: u64,
    by_id: BTreeMap<RequestId, oneshot::Sender<Result<Answer, Refusal>>>,
}

impl Replies {
    fn lock(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new request, whose answer goes to `reply`.
    pub fn expect(&self, reply: oneshot::Sender<Result<Answer, Refusal>>) -> RequestId {
        let mut waiting = self.lock();
        waiting.last += 1;
        let id = RequestId(waiting.last);
        waiting.by_id.insert(id, reply);
        id
    }

    /// Nobody will answer what has been asked.
    fn refuse_all(&self, reason: &str) {
        for (_, reply) in std::mem::take(&mut self.lock().by_id) {
            drop(reply.send(Err(Refusal { reason: reason.into() })));
        }
    }

    fn answer(&self, id: RequestId, answer: Result<Answer, Refusal>) {
        if let Some(reply) = self.lock().by_id.remove(&id) {
            // Whoever asked may have gone away.
            drop(reply.send(answer));
        }
    }
}

/// The effects of the running daemon.
pub struct Shell {
    /// Time, for events.
    pub clock: Arc<dyn Clock>,
    /// Where blocking work goes.
    pub work: Arc<dyn Work>,
    /// Where results go.
    pub inbox: mpsc::Sender<Input>,
    /// Connections.
    pub network: Network,
    /// The data lane.
    pub data: DataLane,
    /// Folders in use.
    pub folders: Folders,
    /// Answers.
    pub replies: Replies,
    /// Events.
    pub events: broadcast::Sender<Arc<StampedEvent>>,
}

impl Effects for Shell {
    fn perform(&mut self, output: Output) {
        match output {
            Output::Reply { request, answer } => self.replies.answer(request, answer),
            Output::Event(event) => self.tell(event),
            Output::Dial { dial, key, addrs, peer: _ } => self.network.dial(dial, key, addrs),
            Output::Admit { link } => self.network.admit(link),
            Output::Send { link, lane, frame } => self.network.send(link, lane, frame),
            Output::HangUp { link, code, reason } => self.network.hang_up(link, code, reason),
            Output::Scan { scan, folder, within } => self.scan(scan, folder, within),
            Output::Probe { probe, folder, paths } => {
                let lists = self.data.lists().clone();
                self.on_root(folder, move |root| {
                    let outcome = root.and_then(|root| fs::probe(&root, &paths, &lists));
                    Input::Probed { probe, outcome }
                });
            }
            Output::Apply { apply, folder, ops } => {
                let now = self.clock.wall();
                self.on_root(folder, move |root| {
                    let outcome = root.and_then(|root| {
                        stage_empty(&root, &ops)?;
                        fs::apply(&root, &ops, now)
                    });
                    Input::Applied { apply, outcome }
                });
            }
            Output::OpenFolder { folder, root, staged } => {
                let path = PathBuf::from(OsString::from_vec(root.into_vec()));
                self.folders.open(folder, path, staged.into_iter().collect());
                // Finding the root may take long, and begins to watch it.
                let folders = self.folders.clone();
                self.work.run(Box::new(move || drop(folders.root(folder))));
            }
            Output::CloseFolder { folder } => {
                self.data.close_all(|of| of == folder);
                self.folders.close(folder);
            }
            Output::Copy { copy, folder, content, from_folder, from, expect } => {
                let folders = self.folders.clone();
                self.on_root(folder, move |root| {
                    let disk = |error: ItemError| CopyError::Disk(error);
                    let outcome = root.map_err(disk).and_then(|to| {
                        let source = folders.root(from_folder).map_err(|_| CopyError::Source)?;
                        fs::copy(&to, content, &source, &from, expect)
                    });
                    Input::Copied { copy, outcome }
                });
            }
            Output::Reuse { reuse, folder, content, chunks, kept, basis } => {
                let data = self.data.clone();
                self.on_root(folder, move |root| {
                    let found = || data.reuse((folder, content), &chunks, &kept, &basis);
                    Input::Reused { reuse, outcome: root.map_err(CopyError::Disk).and_then(|_| found()) }
                });
            }
            Output::Salvage { salvage, folder, contents } => {
                contents.iter().for_each(|(content, _)| drop(self.data.close(folder, *content)));
                self.on_root(folder, move |root| {
                    let outcome = root.and_then(|root| fs::salvage(&root, &contents));
                    Input::Salvaged { salvage, outcome }
                });
            }
            Output::FetchList { fetch, link, folder, content, size, basis } => {
                let (data, inbox) = (self.data.clone(), self.inbox.clone());
                tokio::spawn(async move {
                    let outcome = data.fetch_list(link, folder, content, size, basis).await;
                    put(&inbox, Input::ListFetched { fetch, outcome }).await;
                });
            }
            Output::FetchBatch { fetch, link, folder, items } => {
                let (data, inbox) = (self.data.clone(), self.inbox.clone());
                tokio::spawn(async move {
                    let outcomes = data.fetch_batch(link, folder, &items).await;
                    put(&inbox, Input::BatchFetched { fetch, outcomes }).await;
                });
            }
            Output::FetchRange { fetch, link, folder, content, size, offset, chunks } => {
                let (data, inbox) = (self.data.clone(), self.inbox.clone());
                tokio::spawn(async move {
                    let range = RangeFetch { folder, content, size, offset, chunks };
                    let (chunks, error) = data.fetch_range(link, range).await;
                    put(&inbox, Input::RangeFetched { fetch, chunks, error }).await;
                });
            }
            Output::Seal { seal, folder, content } => self.on_root(folder, move |root| {
                let outcome = root.and_then(|root| fs::seal(&root, content));
                Input::Sealed { seal, outcome }
            }),
            Output::Finish { finish, folder, content, size } => {
                let open = self.data.close(folder, content);
                self.on_root(folder, move |root| {
                    let outcome = root.and_then(|root| fs::finish(&root, content, size, open()));
                    Input::Finished { finish, outcome }
                });
            }
            Output::Unstage { folder, content } => self.unstage(folder, content),
            Output::Serve { ask, answer } => {
                let (data, inbox, stream) = (self.data.clone(), self.inbox.clone(), self.network.take_ask(ask));
                tokio::spawn(async move {
                    let bytes = match stream {
                        Some(stream) => data.serve(stream, answer).await,
                        None => 0,
                    };
                    put(&inbox, Input::Answered { ask, bytes }).await;
                });
            }
            // The driver ends its loop on this one.
            Output::Stop => {}
        }
    }

    fn reset(&mut self) {
        self.network.hang_up_all(sync_core::CloseCode::None, "the index of this device failed");
        self.replies.refuse_all("the index of this device failed: see the log");
        self.data.close_all(|_| true);
    }
}

impl Shell {
    /// Runs `job` on the pool with the folder's root; its input comes back. A root that turns out lost is looked for
    /// anew the next time.
    fn on_root(&self, folder: FolderId, job: impl FnOnce(Result<Arc<Root>, ItemError>) -> Input + Send + 'static) {
        let (folders, data, inbox) = (self.folders.clone(), self.data.clone(), self.inbox.clone());
        self.work.run(Box::new(move || {
            let input = job(folders.root(folder));
            if is_root_lost(&input) {
                data.close_all(|of| of == folder);
                folders.lost(folder);
            }
            put_blocking(&inbox, input);
        }));
    }

    fn scan(&self, scan: EffectId, folder: FolderId, within: Option<RelPath>) {
        let inbox = self.inbox.clone();
        self.on_root(folder, move |root| {
            let mut sink = |found| {
                put_blocking(
                    &inbox,
                    match found {
                        Found::Listed { dir, after, entries, last } => {
                            Input::Listed { scan, dir, after, entries, last }
                        }
                        Found::Unlisted { dir, error } => Input::Unlisted { scan, dir, error },
                    },
                )
            };
            let outcome = root.and_then(|root| fs::scan(&root, within.as_ref(), SPAN, &mut sink));
            Input::Scanned { scan, outcome }
        });
    }

    fn unstage(&self, folder: FolderId, content: ContentId) {
        drop(self.data.close(folder, content));
        let folders = self.folders.clone();
        self.work.run(Box::new(move || {
            let outcome = folders.root(folder).and_then(|root| fs::unstage(&root, content));
            if let Err(error) = outcome {
                tracing::debug!(%folder, reason = error.reason, "a staged file stays until the next start");
            }
        }));
    }

    /// Logs and publishes an event.
    fn tell(&self, event: Event) {
        log(&event);
        // Without a listener there is nobody to miss it.
        drop(self.events.send(Arc::new(StampedEvent { at: self.clock.wall(), event })));
    }
}

/// Nobody is asked for no bytes: an empty content is staged where it is needed.
fn stage_empty(root: &Root, ops: &[Op]) -> Result<(), ItemError> {
    let is_empty = |op: &Op| matches!(op.make, Make::File { size: 0, .. });
    if !ops.iter().any(is_empty) {
        return Ok(());
    }
    match fs::stage_small(root, ContentId::of(&[]), &[]) {
        Ok(()) => Ok(()),
        Err(StageError::Disk(error)) if error.kind == ItemErrorKind::RootLost => Err(error),
        // Each operation that finds it missing says so.
        Err(StageError::Disk(_) | StageError::BadHash) => Ok(()),
    }
}

/// Whether a completion says that the folder's root is not there.
fn is_root_lost(input: &Input) -> bool {
    let (Input::Copied { outcome: Err(CopyError::Disk(error)), .. }
    | Input::Reused { outcome: Err(CopyError::Disk(error)), .. }
    | Input::Scanned { outcome: Err(error), .. }
    | Input::Probed { outcome: Err(error), .. }
    | Input::Applied { outcome: Err(error), .. }
    | Input::Salvaged { outcome: Err(error), .. }
    | Input::Sealed { outcome: Err(error), .. }
    | Input::Finished { outcome: Err(error), .. }) = input
    else {
        return false;
    };
    error.kind == ItemErrorKind::RootLost
}

/// Hands an input to the driver. Returns whether there still is one.
fn put_blocking(inbox: &mpsc::Sender<Input>, input: Input) -> bool {
    match inbox.try_send(input) {
        Ok(()) => true,
        Err(TrySendError::Closed(_)) => false,
        // Only a thread of its own can wait.
        Err(TrySendError::Full(input)) => inbox.blocking_send(input).is_ok(),
    }
}

async fn put(inbox: &mpsc::Sender<Input>, input: Input) {
    // Without a driver the daemon is ending.
    drop(inbox.send(input).await);
}

fn log(event: &Event) {
    match event {
        Event::PeerConnected { peer, addr } => tracing::info!(device = peer.short(), addr, "connected"),
        Event::PeerDisconnected { peer, reason } => tracing::info!(device = peer.short(), reason, "disconnected"),
        Event::Refused { peer, code, reason } => {
            let device = peer.map(|p| p.short()).unwrap_or_default();
            tracing::warn!(device, code = *code as u8, reason, "refused");
        }
        Event::DialFailed { peer, attempt, reason } => {
            tracing::info!(device = peer.short(), attempt, reason, "dial failed");
        }
        Event::FolderState { folder, state } => tracing::debug!(folder = folder.short(), state, "folder"),
        Event::LocalChange { folder, path, change } => {
            tracing::debug!(folder = folder.short(), path = path.display(), change, "local change");
        }
        Event::RemoteChange { folder, path, change } => {
            tracing::debug!(folder = folder.short(), path = path.display(), change, "remote change");
        }
        Event::ConflictFound { folder, path, kind } => {
            tracing::warn!(folder = folder.short(), path = path.display(), ?kind, "conflict");
        }
        Event::ItemFailed { folder, path, error } => {
            let remedy = error.kind.remedy();
            tracing::warn!(folder = folder.short(), path, reason = error.reason, remedy, "item not in sync");
        }
        Event::TransferCompleted { folder, content, bytes } => {
            tracing::debug!(folder = folder.short(), content = content.short(), bytes, "transfer completed");
        }
        Event::Audit { kind, detail } => tracing::info!(kind, detail, "audit"),
    }
}
