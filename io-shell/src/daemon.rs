//! The daemon: the device of one home, run on this machine until it is told to stop.

use crate::api::HomeLock;
use crate::api::handle::DaemonHandle;
use crate::api::{self, ControlListener};
use crate::device::{Device, DeviceConfig, NAME_FILE, TrashLimits};
use crate::driver::Ended;
use crate::fs::FsWatch;
use crate::net::world::RealNet;
use crate::settings::{Settings, host_name};
use crate::store::Store;
use crate::world::{BlockingPool, SystemClock, World};
use anyhow::Context as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use sync_core::status::Status;
use sync_core::{Command, Limits};
use tokio::sync::{mpsc, oneshot, watch};

/// How often trash is looked through.
const TRASH_INTERVAL: Duration = Duration::from_secs(3_600);
/// Requests waiting for the daemon.
const REQUESTS: usize = 64;
/// Threads for the network, and for everything else that does not block.
const ASYNC_THREADS: usize = 2;
/// Threads for work that blocks.
const BLOCKING_THREADS: usize = 8;
/// How long answers on the control socket may take at the end.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

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

async fn serve(config: UpConfig, show: impl AsyncFnOnce(watch::Receiver<Arc<Status>>)) -> anyhow::Result<ExitCode> {
    let UpConfig { home, lock, path, folder_name, device_name, join, listen, settings } = config;
    let world = World {
        clock: Arc::new(SystemClock::new()),
        net: Arc::new(RealNet),
        work: Arc::new(BlockingPool::new()),
        watch: Arc::new(|hints| Ok(Arc::new(FsWatch::new(hints)?))),
    };
    let name = settle_name(&home, device_name)?;
    let trash = TrashLimits {
        max_age: Duration::from_secs(settings.trash_max_age_days * 86_400),
        max_bytes: settings.trash_max_bytes,
        every: TRASH_INTERVAL,
    };
    let (boot_id, machine_id) = (boot_id(), machine_id());
    let config = DeviceConfig { home, name, listen, limits: limits(&settings), trash, boot_id, machine_id };
    let (device, mut running) = Device::start(world, config)?;

    // Whoever is answered finds the folder that is shared. Joining may take long, and is watched meanwhile.
    let joins = join.is_some();
    let mut outcome = if joins { Ok(()) } else { first_folder(&device, path.clone(), folder_name.clone(), None).await };
    let control = ControlListener::bind(device.home())
        .with_context(|| format!("cannot listen in home {}", device.home().display()))?;
    let (requests_in, mut requests) = mpsc::channel(REQUESTS);
    let handle = DaemonHandle { requests: requests_in, status: device.status(), events: device.events().clone() };
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(api::serve(control, handle, async move { drop(stopped.await) }));
    if joins {
        outcome = first_folder(&device, path, folder_name, join).await;
    }
    if outcome.is_err() {
        device.begin_stop();
    }
    let mut signals = Signals::new()?;
    let ended = {
        let mut running = std::pin::pin!(running.serve(&device, &mut requests));
        let mut showing = std::pin::pin!(show(device.status()));
        let mut shows = outcome.is_ok();
        loop {
            tokio::select! {
                biased;
                ended = &mut running => break ended.context("the daemon's loop ended badly: please report the log above")?,
                () = signals.next() => device.begin_stop(),
                () = &mut showing, if shows => shows = false,
            }
        }
    };
    stop.send(()).ok();
    requests.close();
    while requests.try_recv().is_ok() {}
    device.network().close().await;
    finish(ended)?;
    outcome?;
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
    device: &Device,
    path: Option<PathBuf>,
    name: Option<String>,
    join: Option<(String, String)>,
) -> anyhow::Result<()> {
    // Once the core answers anything, the folders it knows are in use.
    device.command(Command::Audits(0)).await.map_err(|refusal| anyhow::anyhow!(refusal.reason))?;
    let outcome = match (path, join) {
        (None, _) => return Ok(()),
        (Some(path), Some((code, at))) => match device.shared_at(&path) {
            Some(folder) => {
                tracing::info!(%folder, path = %path.display(), "joined already");
                return Ok(());
            }
            None => device.join(&code, &path, &at).await.map(drop),
        },
        (Some(path), None) => device.share(&path, name).await.map(drop),
    };
    outcome.map_err(|refusal| Refused(refusal.reason).into())
}

fn limits(settings: &Settings) -> Limits {
    Limits {
        rescan: Duration::from_secs(settings.rescan_interval_secs),
        settle: Duration::from_millis(settings.settle_ms),
        ..Limits::default()
    }
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
