//! The daemon: everything of one home put together, run until it is told to stop.

use crate::api::HomeLock;
use crate::api::handle::{DaemonHandle, DaemonRequest, Invitation, Joined};
use crate::api::{self, ControlListener};
use crate::data::DataLane;
use crate::driver::{Driver, Ended, INBOX};
use crate::folders::Folders;
use crate::fs::{self, FsWatch, Root, RootError};
use crate::identity::Identity;
use crate::net::pairing::{CODE_LIFETIME, Invites, Paired, PairingEvent, join};
use crate::net::world::RealNet;
use crate::net::{Code, Network};
use crate::perform::{Replies, Shell};
use crate::settings::{Settings, host_name};
use crate::store::Store;
use crate::world::{BlockingPool, HintSink, Net, SystemClock, World};
use anyhow::Context as _;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use sync_core::input::Hint;
use sync_core::output::{Answer, Refusal};
use sync_core::status::Status;
use sync_core::{Command, Config, DeviceId, FolderId, Input, Limits};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{broadcast, mpsc, oneshot, watch};

/// The index's file in the home.
const INDEX_FILE: &str = "index.db";
/// The file in the home that keeps the device's name.
const NAME_FILE: &str = "name";
/// Events a slow listener may fall behind.
const EVENTS: usize = 4_096;
/// Requests waiting for the daemon.
const REQUESTS: usize = 64;
/// Threads for the network, and for everything else that does not block.
const ASYNC_THREADS: usize = 2;
/// Threads for work that blocks.
const BLOCKING_THREADS: usize = 8;
/// How long answers on the control socket may take at the end.
const LAST_ANSWERS: Duration = Duration::from_secs(1);
/// How soon a folder is looked at whose hints found no room.
const MISSED_PAUSE: Duration = Duration::from_millis(200);
/// How often trash is looked through.
const TRASH_INTERVAL: Duration = Duration::from_secs(3_600);

/// The folder of the command line is refused: a wrong code, or a place that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);

/// What the daemon is started with.
#[derive(Debug)]
pub struct UpConfig {
    /// Where it keeps its state; exists.
    pub home: PathBuf,
    /// The home is this process's as long as this lives: drop it last, after the control socket.
    pub lock: HomeLock,
    /// A folder to share, or to join into; absolute. One that is already shared is no error.
    pub path: Option<PathBuf>,
    /// The name of a folder that is new; the last component of the path if `None`.
    pub folder_name: Option<String>,
    /// The device's name as asked for. `None` keeps the name the home has; a new home takes
    /// [`host_name`].
    pub device_name: Option<String>,
    /// Code and `host:port` of an invitation to join at `path`.
    pub join: Option<(String, String)>,
    /// Where to listen, over UDP.
    pub listen: SocketAddr,
    /// Everything else.
    pub settings: Settings,
}

/// Runs the daemon of a home until it is told to stop. `show` may follow the snapshots beside it.
///
/// # Errors
/// Whatever keeps it from starting: a port or home in use, an index that cannot be read, a folder that cannot be made,
/// an invitation that is refused.
pub fn run(config: UpConfig, show: impl AsyncFnOnce(watch::Receiver<Arc<Status>>)) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(ASYNC_THREADS)
        .max_blocking_threads(BLOCKING_THREADS)
        .enable_all()
        .build()
        .context("cannot start threads")?;
    let result = runtime.block_on(serve(config, show));
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

/// What requests need.
struct Daemon {
    world: World,
    inbox: mpsc::Sender<Input>,
    replies: Replies,
    network: Network,
    invites: Arc<Invites>,
    folders: Folders,
    status: watch::Receiver<Arc<Status>>,
    name: String,
    home: PathBuf,
    device: DeviceId,
}

async fn serve(config: UpConfig, show: impl AsyncFnOnce(watch::Receiver<Arc<Status>>)) -> anyhow::Result<ExitCode> {
    let UpConfig { home, lock, path, folder_name, device_name, join, listen, settings } = config;
    let world =
        World { clock: Arc::new(SystemClock::new()), net: Arc::new(RealNet), work: Arc::new(BlockingPool::new()) };
    let identity = Identity::load_or_create(&home, world.net.as_ref())?;
    let name = settle_name(&home, device_name)?;
    let index = home.join(INDEX_FILE);
    let mut store = Store::open(&index)?;
    let fresh_actor = store.recovery(&boot_id(), &machine_id())?.fresh_actor;
    if let Some(cause) = fresh_actor {
        tracing::warn!(?cause, "writing under a new name from now on: this index may have forgotten writes");
    }

    let (inbox, inputs) = mpsc::channel(INBOX);
    let (pairings_in, mut pairings) = mpsc::channel(REQUESTS);
    let invites = Arc::new(Invites::new(world.net.clone(), world.clock.clone(), name.clone(), pairings_in));
    let network = Network::bind(world.net.clone(), listen, &identity, inbox.clone(), invites.clone())?;
    let folders = Folders::new(Arc::new(FsWatch::new(hint_sink(&inbox)).context("cannot start the watcher")?));
    let data = DataLane::new(network.clone(), folders.clone(), world.work.clone());
    let replies = Replies::default();
    let (events, _) = broadcast::channel(EVENTS);
    let (status_in, status) = watch::channel(Arc::new(Status::default()));
    let shell = Shell {
        clock: world.clock.clone(),
        work: world.work.clone(),
        inbox: inbox.clone(),
        network: network.clone(),
        data,
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
            limits: limits(&settings),
        },
        seed: Box::new(move || random_u64(seeds.as_ref())),
        fresh_actor: fresh_actor.is_some(),
        inbox: inputs,
        effects: shell,
        status: status_in,
    };
    let mut driving = tokio::spawn(driver.run());

    let daemon = Arc::new(Daemon {
        world,
        inbox,
        replies,
        network: network.clone(),
        invites,
        folders,
        status: status.clone(),
        name,
        device: identity.device_id(),
        home,
    });
    tracing::info!(listen = %network.listen_addr(), device = identity.device_id().short(), name = daemon.name, "up");

    // Whoever is answered finds the folder that is shared. Joining may take long, and is watched meanwhile.
    let joins = join.is_some();
    let mut outcome = if joins { Ok(()) } else { first_folder(&daemon, path.clone(), folder_name.clone(), None).await };
    let control = ControlListener::bind(&daemon.home)
        .with_context(|| format!("cannot listen in home {}", daemon.home.display()))?;
    let (requests_in, mut requests) = mpsc::channel(REQUESTS);
    let handle = DaemonHandle { requests: requests_in, status: status.clone(), events };
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(api::serve(control, handle, async move { drop(stopped.await) }));
    if joins {
        outcome = first_folder(&daemon, path, folder_name, join).await;
    }
    if let Err(error) = outcome {
        daemon.command(Command::Shutdown).await.ok();
        network.close().await;
        finish(driving.await?)?;
        return Err(error);
    }
    tokio::spawn(daemon.clone().tidy_trash(settings));
    let mut signals = Signals::new()?;
    let mut showing = std::pin::pin!(show(status));
    let mut shows = true;
    let ended = loop {
        tokio::select! {
            biased;
            ended = &mut driving => break ended.context("the daemon's loop ended badly: please report the log above")?,
            () = signals.next() => daemon.begin_stop(),
            () = &mut showing, if shows => shows = false,
            Some(request) = requests.recv() => {
                tokio::spawn(daemon.clone().answer(request));
            }
            Some(event) = pairings.recv() => {
                tokio::spawn(daemon.clone().paired(event));
            }
        }
    };
    stop.send(()).ok();
    requests.close();
    while requests.try_recv().is_ok() {}
    network.close().await;
    finish(ended)?;
    // Somebody who reads events and stops reading would be waited for for ever.
    if let Ok(Ok(Err(error))) = tokio::time::timeout(LAST_ANSWERS, serving).await {
        tracing::warn!(%error, "the control socket ended badly");
    }
    tracing::info!("down");
    drop(lock);
    Ok(ExitCode::SUCCESS)
}

fn finish((ended, mut store): (Ended, Store)) -> anyhow::Result<()> {
    anyhow::ensure!(ended == Ended::Stopped, "the daemon's loop ended although nobody stopped it");
    store.mark_clean_stop()?;
    Ok(())
}

/// Shares or joins the folder that the command line names.
async fn first_folder(
    daemon: &Daemon,
    path: Option<PathBuf>,
    name: Option<String>,
    join: Option<(String, String)>,
) -> anyhow::Result<()> {
    // Once the core answers anything, the folders it knows are in use.
    daemon.command(Command::Audits(0)).await.map_err(|refusal| anyhow::anyhow!(refusal.reason))?;
    let outcome = match (path, join) {
        (None, _) => return Ok(()),
        (Some(path), Some((code, at))) => match daemon.shared_at(&path) {
            Some(folder) => {
                tracing::info!(%folder, path = %path.display(), "joined already");
                return Ok(());
            }
            None => daemon.join(&code, &path, &at).await.map(drop),
        },
        (Some(path), None) => daemon.share(&path, name).await.map(drop),
    };
    outcome.map_err(|refusal| Refused(refusal.reason).into())
}

impl Daemon {
    /// Asks the core.
    async fn command(&self, command: Command) -> Result<Answer, Refusal> {
        let (reply, answer) = oneshot::channel();
        let request = self.replies.expect(reply);
        let sent = self.inbox.send(Input::Request { request, command }).await;
        if sent.is_err() {
            return Err(refusal("the daemon is stopping"));
        }
        answer.await.unwrap_or_else(|_| Err(refusal("the daemon is stopping")))
    }

    /// Lets the core say goodbye; the driver ends after that.
    fn begin_stop(self: &Arc<Self>) {
        let daemon = self.clone();
        tokio::spawn(async move { daemon.command(Command::Shutdown).await });
    }

    async fn answer(self: Arc<Self>, request: DaemonRequest) {
        // A caller that has gone away needs no answer.
        match request {
            DaemonRequest::Core { command: Command::RenameDevice(device, name), reply } if device == self.device => {
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
        self.command(Command::RenameDevice(self.device, name)).await
    }

    /// The folder shared at exactly `path`.
    fn shared_at(&self, path: &Path) -> Option<FolderId> {
        let path = path.canonicalize().ok()?;
        self.folders.at(&path).filter(|(_, root)| *root == path).map(|(folder, _)| folder)
    }

    async fn share(&self, path: &Path, name: Option<String>) -> Result<FolderId, Refusal> {
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
        match tokio::task::spawn_blocking(job).await {
            Ok(Ok(root)) => Ok(root.id()),
            Ok(Err(error)) => Err(refusal(&error.to_string())),
            Err(_) => Err(refusal("the folder could not be set up")),
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

    async fn join(&self, code: &str, path: &Path, at: &str) -> Result<Joined, Refusal> {
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
    async fn tidy_trash(self: Arc<Self>, settings: Settings) {
        let age = Duration::from_secs(settings.trash_max_age_days * 86_400);
        // Not at once: what is waited for is known when the folders have been looked at.
        let mut turns = tokio::time::interval_at(tokio::time::Instant::now() + TRASH_INTERVAL, TRASH_INTERVAL);
        loop {
            turns.tick().await;
            let now = self.world.clock.wall();
            let status = self.status.borrow().clone();
            let waits = |id| status.folders.iter().any(|f| f.id == id && f.need_bytes > 0);
            for root in self.folders.roots().into_iter().filter(|root| !waits(root.id())) {
                self.world.work.run(Box::new(move || {
                    match fs::purge_trash(&root, age, settings.trash_max_bytes, now) {
                        Ok(0) => {}
                        Ok(bytes) => tracing::info!(folder = %root.id(), bytes, "old trash removed"),
                        Err(error) => tracing::warn!(folder = %root.id(), reason = error.reason, "trash stays"),
                    }
                }));
            }
        }
    }
}

fn refusal(reason: &str) -> Refusal {
    Refusal { reason: reason.to_owned() }
}

fn limits(settings: &Settings) -> Limits {
    Limits {
        rescan: Duration::from_secs(settings.rescan_interval_secs),
        settle: Duration::from_millis(settings.settle_ms),
        ..Limits::default()
    }
}

/// Hands hints to the driver; where its inbox is full, the whole folder is hinted when there is room again.
fn hint_sink(inbox: &mpsc::Sender<Input>) -> HintSink {
    let inbox = inbox.clone();
    let missed: Arc<Mutex<BTreeSet<FolderId>>> = Arc::default();
    let lock = |missed: &Arc<Mutex<BTreeSet<FolderId>>>| {
        std::mem::take(&mut *missed.lock().unwrap_or_else(PoisonError::into_inner))
    };
    let (later, late) = (missed.clone(), inbox.downgrade());
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(MISSED_PAUSE).await;
            for folder in lock(&later) {
                let Some(inbox) = late.upgrade() else { return };
                drop(inbox.send(Input::Hint { folder, hint: Hint::Everything }).await);
            }
        }
    });
    // Called on the watcher's own thread: the driver may be waiting for it.
    Arc::new(move |folder, hint| {
        if let Err(TrySendError::Full(_)) = inbox.try_send(Input::Hint { folder, hint }) {
            missed.lock().unwrap_or_else(PoisonError::into_inner).insert(folder);
        }
    })
}

/// The name this device goes by: as asked for, else as before, else the host's.
fn settle_name(home: &Path, asked: Option<String>) -> anyhow::Result<String> {
    let file = home.join(NAME_FILE);
    let stored = std::fs::read_to_string(&file).ok().map(|s| s.trim().to_owned()).filter(|s| !s.is_empty());
    let name = asked.or_else(|| stored.clone()).unwrap_or_else(host_name);
    if stored.as_ref() != Some(&name) {
        std::fs::write(&file, &name).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(name)
}

fn last_component(path: &Path) -> String {
    path.file_name().map_or_else(|| "folder".to_owned(), |name| name.to_string_lossy().into_owned())
}

fn random_u64(net: &dyn Net) -> u64 {
    let mut bytes = [0; 8];
    net.fill_random(&mut bytes);
    u64::from_le_bytes(bytes)
}

/// Names this run of the operating system: dots of a run that ended in a power loss may be lost.
fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|s| s.trim().to_owned()).unwrap_or_default()
}

/// Names this installation of the operating system: a cloned one must not write as its original.
fn machine_id() -> String {
    std::fs::read_to_string("/etc/machine-id").map(|s| s.trim().to_owned()).unwrap_or_default()
}

/// The signals that stop the daemon.
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
