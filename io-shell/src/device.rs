//! A device: everything of one home put together on a world. The daemon runs one on the machine's own, the simulator
//! several on one that it makes up.

use crate::api::handle::{DaemonRequest, Invitation, Joined, StampedEvent};
use crate::data::DataLane;
use crate::driver::{Driver, Ended, INBOX};
use crate::folders::Folders;
use crate::fs::{self, Root, RootError};
use crate::identity::Identity;
use crate::net::pairing::{CODE_LIFETIME, Invites, Paired, PairingEvent, join};
use crate::net::{Code, Network};
use crate::perform::{Replies, Shell};
use crate::store::Store;
use crate::world::{HintSink, Net, World, block};
use anyhow::Context as _;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use sync_core::input::Hint;
use sync_core::output::{Answer, Refusal};
use sync_core::status::Status;
use sync_core::{Command, Config, DeviceId, FolderId, Input, Limits};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::task::{JoinError, JoinHandle};

/// The index's file in the home.
const INDEX_FILE: &str = "index.db";
/// The file in the home that keeps the device's name.
pub(crate) const NAME_FILE: &str = "name";
/// Events a slow listener may fall behind.
const EVENTS: usize = 4_096;
/// Pairings waiting to be noted.
const PAIRINGS: usize = 64;
/// How long a folder whose hints found no room waits before it is looked at.
const MISSED_PAUSE: Duration = Duration::from_millis(200);

/// What a device is put together from.
#[derive(Clone, Debug)]
pub struct DeviceConfig {
    /// Where it keeps its state; exists.
    pub home: PathBuf,
    /// What it is called.
    pub name: String,
    /// Where to listen, over UDP.
    pub listen: SocketAddr,
    /// Bounds of the core.
    pub limits: Limits,
    /// Bounds of the trash.
    pub trash: TrashLimits,
    /// Names this run of the operating system: dots of a run that ended in a power loss may be lost.
    pub boot_id: String,
    /// Names this installation of the operating system: a cloned one must not write as its original.
    pub machine_id: String,
}

/// How much trash is kept.
#[derive(Clone, Copy, Debug)]
pub struct TrashLimits {
    /// What is older goes.
    pub max_age: Duration,
    /// Bytes in all of one folder; beyond them the oldest goes.
    pub max_bytes: u64,
    /// How often it is looked through; not zero.
    pub every: Duration,
}

/// A running device, for whoever asks something of it.
pub struct Device {
    world: World,
    inbox: mpsc::Sender<Input>,
    replies: Replies,
    network: Network,
    invites: Arc<Invites>,
    folders: Folders,
    status: watch::Receiver<Arc<Status>>,
    events: broadcast::Sender<Arc<StampedEvent>>,
    name: String,
    home: PathBuf,
    id: DeviceId,
}

/// What runs a device: held by one, who serves it until it ends.
pub struct Running {
    driving: JoinHandle<(Ended, Store)>,
    pairings: mpsc::Receiver<PairingEvent>,
}

impl Device {
    /// Puts everything of a home together and sets it going.
    ///
    /// Must be called within a tokio runtime.
    ///
    /// # Errors
    /// A port in use, a key or an index that cannot be read.
    pub fn start(world: World, config: DeviceConfig) -> anyhow::Result<(Arc<Self>, Running)> {
        let DeviceConfig { home, name, listen, limits, trash, boot_id, machine_id } = config;
        let identity = Identity::load_or_create(&home, world.net.as_ref())?;
        let mut store = Store::open(&home.join(INDEX_FILE))?;
        let fresh_actor = store.recovery(&boot_id, &machine_id)?.fresh_actor;
        if let Some(cause) = fresh_actor {
            tracing::warn!(?cause, "writing under a new name from now on: this index may have forgotten writes");
        }

        let (inbox, inputs) = mpsc::channel(INBOX);
        let (pairings_in, pairings) = mpsc::channel(PAIRINGS);
        let invites = Arc::new(Invites::new(world.net.clone(), world.clock.clone(), name.clone(), pairings_in));
        let network = Network::bind(world.net.clone(), listen, &identity, inbox.clone(), invites.clone())?;
        let folders = Folders::new((world.watch)(hint_sink(&inbox)).context("cannot start the watcher")?);
        let replies = Replies::default();
        let (events, _) = broadcast::channel(EVENTS);
        let (status_in, status) = watch::channel(Arc::new(Status::default()));
        let shell = Shell {
            clock: world.clock.clone(),
            work: world.work.clone(),
            inbox: inbox.clone(),
            network: network.clone(),
            data: DataLane::new(network.clone(), folders.clone(), world.work.clone()),
            folders: folders.clone(),
            replies: replies.clone(),
            events: events.clone(),
        };
        let seeds = world.net.clone();
        let driver = Driver {
            clock: world.clock.clone(),
            store,
            config: Config {
                device: identity.device_id(),
                key: identity.public_key(),
                name: name.clone(),
                listen_port: network.listen_addr().port(),
                listen: network.listen_addr().to_string(),
                limits,
            },
            seed: Box::new(move || random_u64(seeds.as_ref())),
            fresh_actor: fresh_actor.is_some(),
            inbox: inputs,
            effects: shell,
            status: status_in,
        };
        let driving = tokio::spawn(driver.run());
        let id = identity.device_id();
        tracing::info!(listen = %network.listen_addr(), device = id.short(), name, "up");
        let device =
            Arc::new(Self { world, inbox, replies, network, invites, folders, status, events, name, home, id });
        tokio::spawn(device.clone().tidy_trash(trash));
        Ok((device, Running { driving, pairings }))
    }

    /// Who it is.
    pub fn id(&self) -> DeviceId {
        self.id
    }

    /// The newest snapshot.
    pub fn status(&self) -> watch::Receiver<Arc<Status>> {
        self.status.clone()
    }

    /// Where events are told.
    pub fn events(&self) -> &broadcast::Sender<Arc<StampedEvent>> {
        &self.events
    }

    /// Where it keeps its state.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// Its connections.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Asks the core.
    ///
    /// # Errors
    /// Its refusal, or that the daemon is stopping.
    pub async fn command(&self, command: Command) -> Result<Answer, Refusal> {
        let (reply, answer) = oneshot::channel();
        let request = self.replies.expect(reply);
        let sent = self.inbox.send(Input::Request { request, command }).await;
        if sent.is_err() {
            return Err(refusal("the daemon is stopping"));
        }
        answer.await.unwrap_or_else(|_| Err(refusal("the daemon is stopping")))
    }

    /// Lets the core say goodbye; the driver ends after that.
    pub fn begin_stop(self: &Arc<Self>) {
        let daemon = self.clone();
        tokio::spawn(async move { daemon.command(Command::Shutdown).await });
    }

    /// Answers a request.
    async fn answer(self: Arc<Self>, request: DaemonRequest) {
        // A caller that has gone away needs no answer.
        match request {
            DaemonRequest::Core { command: Command::RenameDevice(device, name), reply } if device == self.id => {
                drop(reply.send(self.rename(name).await));
            }
            DaemonRequest::Core { command: Command::RemoveFolder(folder), reply } => {
                self.invites.withdraw(folder);
                drop(reply.send(self.command(Command::RemoveFolder(folder)).await));
            }
            DaemonRequest::Core { command, reply } => drop(reply.send(self.command(command).await)),
            DaemonRequest::Invite { folder, reply } => drop(reply.send(self.invite(folder))),
            DaemonRequest::Join { code, path, at, reply } => drop(reply.send(self.join(&code, &path, &at).await)),
            DaemonRequest::ShareFolder { path, name, reply } => drop(reply.send(self.share(&path, name).await)),
            DaemonRequest::Shutdown => self.begin_stop(),
        }
    }

    /// Goes by another name from now on.
    async fn rename(&self, name: String) -> Result<Answer, Refusal> {
        let file = self.home.join(NAME_FILE);
        std::fs::write(&file, &name).map_err(|e| refusal(&format!("cannot write {}: {e}", file.display())))?;
        self.command(Command::RenameDevice(self.id, name)).await
    }

    /// The folder shared at exactly `path`.
    pub fn shared_at(&self, path: &Path) -> Option<FolderId> {
        let path = path.canonicalize().ok()?;
        self.folders.at(&path).filter(|(_, root)| *root == path).map(|(folder, _)| folder)
    }

    /// Shares the directory at `path`, which is made if it is missing.
    ///
    /// # Errors
    /// The place cannot be used, or overlaps another folder.
    pub async fn share(&self, path: &Path, name: Option<String>) -> Result<FolderId, Refusal> {
        if let Some(folder) = self.shared_at(path) {
            return Ok(folder);
        }
        let path = self.vacant(path)?;
        let mut id = [0; 16];
        self.world.net.fill_random(&mut id);
        let folder = self.furnish(&path, FolderId(id), true).await?;
        let name = name.unwrap_or_else(|| last_component(&path));
        let root = path.as_os_str().as_bytes().into();
        self.command(Command::ShareFolder { folder, name, root }).await?;
        Ok(folder)
    }

    /// A path that no folder of this device overlaps, resolved; the directory is made.
    fn vacant(&self, path: &Path) -> Result<PathBuf, Refusal> {
        let resolve = || {
            std::fs::create_dir_all(path)?;
            path.canonicalize()
        };
        let path = resolve().map_err(|e| refusal(&format!("{} cannot be used as a folder: {e}", path.display())))?;
        match self.folders.at(&path) {
            Some((_, other)) => Err(refusal(&format!(
                "{} overlaps the folder at {}: choose a place outside of it",
                path.display(),
                other.display()
            ))),
            None => Ok(path),
        }
    }

    /// Makes `path` the root of a folder. A marker that is there from an earlier home is taken over if `adopt`.
    async fn furnish(&self, path: &Path, folder: FolderId, adopt: bool) -> Result<FolderId, Refusal> {
        let path = path.to_owned();
        let job = move || match Root::create(&path, folder) {
            Err(RootError::OtherFolder { other, .. }) if adopt => Root::create(&path, other),
            made => made,
        };
        match block(self.world.work.as_ref(), job).await {
            Some(Ok(root)) => Ok(root.id()),
            Some(Err(error)) => Err(refusal(&error.to_string())),
            None => Err(refusal("the folder could not be set up")),
        }
    }

    fn invite(&self, folder: Option<String>) -> Result<Invitation, Refusal> {
        let status = self.status.borrow().clone();
        let chosen = match &folder {
            Some(id) => status.folders.iter().find(|f| f.id.to_string() == *id),
            None => status.folders.first().filter(|_| status.folders.len() == 1),
        };
        let Some(chosen) = chosen else {
            return Err(refusal(match (folder, status.folders.len()) {
                (Some(_), _) => "no such folder: see 'landropic folder list'",
                (None, 0) => "there is no folder to offer: share one with 'landropic folder add PATH'",
                (None, _) => "there are several folders: name the one to offer",
            }));
        };
        let code = self.invites.offer(chosen.id, chosen.name.clone()).map_err(|e| refusal(&e.to_string()))?;
        let (code, folder_name) = (code.to_string(), chosen.name.clone());
        Ok(Invitation { code, folder_name, expires_secs: CODE_LIFETIME.as_secs() })
    }

    /// Joins the folder that the device at `at` (`host:port`) offers with `code`; it will be at `path`.
    ///
    /// # Errors
    /// The code, the connection or the place is refused.
    pub async fn join(&self, code: &str, path: &Path, at: &str) -> Result<Joined, Refusal> {
        let code = Code::parse(code).map_err(|e| refusal(&e.to_string()))?;
        let path = self.vacant(path)?;
        let paired = join(&self.network, at, &code, &self.name).await.map_err(|e| refusal(&e.to_string()))?;
        let Paired { device, key, name, addr: _, folder, folder_name } = paired;
        let known = self.status.borrow().folders.iter().find(|f| f.id == folder).map(|f| f.members.contains(&device));
        let root = match known {
            None => {
                self.furnish(&path, folder, false).await?;
                Some(path.as_os_str().as_bytes().into())
            }
            Some(true) => None,
            // It would become a member of a folder of ours by offering it.
            Some(false) => {
                let reason = "this folder is here already: offer it from here with 'landropic invite'";
                return Err(refusal(reason));
            }
        };
        let joined = Joined { folder_name: folder_name.clone(), device_name: name.clone() };
        // The address that has just worked is the one to remember.
        let addr = Some(at.to_owned());
        self.command(Command::Pair { device, key, name, addr, folder, folder_name, root }).await?;
        Ok(joined)
    }

    /// Somebody used, or tried to use, an invitation.
    async fn paired(self: Arc<Self>, event: PairingEvent) {
        let command = match event {
            PairingEvent::Paired(Paired { device, key, name, addr, folder, folder_name }) => {
                Command::Pair { device, key, name, addr: Some(addr), folder, folder_name, root: None }
            }
            PairingEvent::Failed { addr, reason } => {
                Command::Audit { kind: "pairing-failed".into(), detail: format!("from {addr}: {reason}") }
            }
        };
        if let Err(refusal) = self.command(command).await {
            tracing::warn!(reason = refusal.reason, "a pairing came to nothing");
        }
    }

    /// Keeps every folder's trash within its age and size. While a folder waits for contents nothing goes: its trash is
    /// searched for them.
    async fn tidy_trash(self: Arc<Self>, limits: TrashLimits) {
        // Not at once: what is waited for is known when the folders have been looked at.
        let mut turns = tokio::time::interval_at(tokio::time::Instant::now() + limits.every, limits.every);
        loop {
            turns.tick().await;
            let now = self.world.clock.wall();
            let status = self.status.borrow().clone();
            let waits = |id| status.folders.iter().any(|f| f.id == id && f.need_bytes > 0);
            for root in self.folders.roots().into_iter().filter(|root| !waits(root.id())) {
                self.world.work.run(Box::new(move || {
                    match fs::purge_trash(&root, limits.max_age, limits.max_bytes, now) {
                        Ok(0) => {}
                        Ok(bytes) => tracing::info!(folder = %root.id(), bytes, "old trash removed"),
                        Err(error) => tracing::warn!(folder = %root.id(), reason = error.reason, "trash stays"),
                    }
                }));
            }
        }
    }
}

impl Running {
    /// Answers requests and takes note of pairings until the device has stopped.
    ///
    /// # Errors
    /// The loop of the core panicked, or was cancelled.
    pub async fn serve(
        &mut self,
        device: &Arc<Device>,
        requests: &mut mpsc::Receiver<DaemonRequest>,
    ) -> Result<(Ended, Store), JoinError> {
        loop {
            tokio::select! {
                biased;
                ended = &mut self.driving => return ended,
                Some(request) = requests.recv() => {
                    tokio::spawn(device.clone().answer(request));
                }
                Some(event) = self.pairings.recv() => {
                    tokio::spawn(device.clone().paired(event));
                }
            }
        }
    }
}

fn refusal(reason: &str) -> Refusal {
    Refusal { reason: reason.to_owned() }
}

/// Hands hints to the driver; where its inbox is full, the whole folder is hinted when there is room again.
fn hint_sink(inbox: &mpsc::Sender<Input>) -> HintSink {
    let (inbox, late) = (inbox.clone(), inbox.downgrade());
    let (missed, mut later) = watch::channel(BTreeSet::<FolderId>::new());
    let missed = Arc::new(missed);
    let taken = missed.clone();
    tokio::spawn(async move {
        while later.wait_for(|folders| !folders.is_empty()).await.is_ok() {
            // A storm of changes is answered with few whole looks, not with one for each hint without room.
            tokio::time::sleep(MISSED_PAUSE).await;
            for folder in taken.send_replace(BTreeSet::new()) {
                let Some(inbox) = late.upgrade() else { return };
                drop(inbox.send(Input::Hint { folder, hint: Hint::Everything }).await);
            }
        }
    });
    // Called on the watcher's own thread: the driver may be waiting for it.
    Arc::new(move |folder, hint| {
        if let Err(TrySendError::Full(_)) = inbox.try_send(Input::Hint { folder, hint }) {
            missed.send_modify(|folders| {
                folders.insert(folder);
            });
        }
    })
}

fn last_component(path: &Path) -> String {
    path.file_name().map_or_else(|| "folder".to_owned(), |name| name.to_string_lossy().into_owned())
}

fn random_u64(net: &dyn Net) -> u64 {
    let mut bytes = [0; 8];
    net.fill_random(&mut bytes);
    u64::from_le_bytes(bytes)
}
