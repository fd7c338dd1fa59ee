//! One host: a home and a folder in a temporary directory, and the device that runs on them between two deaths.

use super::clock::HostClock;
use super::crypto;
use super::disk::HostDisk;
use super::links::Links;
use super::net::HostNet;
use crate::dice::{Dice, Domain};
use io_shell::api::handle::{DaemonRequest, Reply, StampedEvent};
use io_shell::device::{Device, DeviceConfig, TrashLimits};
use io_shell::driver::Ended;
use io_shell::world::{HintSink, Watch, World};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use sync_core::id::PublicKey;
use sync_core::input::Hint;
use sync_core::output::{Event, Refusal};
use sync_core::status::Status;
use sync_core::{DeviceId, FolderId, Limits, RelPath};
use tokio::sync::{broadcast, mpsc, oneshot, watch};

/// Where every host listens.
pub const PORT: u16 = 9_876;
/// Requests that may wait for a host.
const REQUESTS: usize = 64;

/// One host, as the world sees it.
pub struct Host {
    /// Its name, in the network and as a device.
    pub name: String,
    /// Its address.
    pub ip: IpAddr,
    /// Its clocks.
    pub clock: HostClock,
    /// Its disk.
    pub disk: HostDisk,
    /// Its folder.
    pub root: PathBuf,
    home: PathBuf,
    seed: u64,
    number: u64,
    limits: Limits,
    trash: TrashLimits,
    links: Arc<Links>,
    starts: Rc<Cell<u64>>,
    desk: Rc<RefCell<Option<Desk>>>,
}

/// What can be reached of a device while it runs. It holds nothing of the device itself: what is alive outside would keep
/// a dead host's port taken.
struct Desk {
    id: DeviceId,
    key: PublicKey,
    requests: mpsc::Sender<DaemonRequest>,
    status: watch::Receiver<Arc<Status>>,
    hints: Arc<Hints>,
    events: broadcast::Receiver<Arc<StampedEvent>>,
}

/// Watches what it is told to, and sees only what the world shows it.
struct Hints {
    sink: HintSink,
    roots: Mutex<BTreeMap<FolderId, PathBuf>>,
}

impl Hints {
    fn roots(&self) -> std::sync::MutexGuard<'_, BTreeMap<FolderId, PathBuf>> {
        self.roots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watch for Hints {
    fn watch(&self, folder: FolderId, root: &Path) -> Result<(), String> {
        self.roots().insert(folder, root.into());
        Ok(())
    }

    fn unwatch(&self, folder: FolderId) {
        self.roots().remove(&folder);
    }
}

impl Host {
    /// Host number `number` at `ip`, with its files below `base`.
    ///
    /// # Errors
    /// The directories cannot be made.
    pub fn new(
        (seed, number): (u64, u64),
        ip: IpAddr,
        base: &Path,
        limits: Limits,
        trash: TrashLimits,
        links: Arc<Links>,
    ) -> std::io::Result<Self> {
        let name = format!("h{number}");
        let (home, root) = (base.join(&name).join("home"), base.join(&name).join("folder"));
        std::fs::create_dir_all(&home)?;
        std::fs::create_dir_all(&root)?;
        let (clock, starts, desk) = (HostClock::default(), Rc::default(), Rc::default());
        let disk = HostDisk::new(seed, number, &root, HostClock::clone(&clock));
        Ok(Self { name, ip, clock, disk, root, home, seed, number, limits, trash, links, starts, desk })
    }

    /// What runs on it, from one start until it ends or dies.
    pub fn software(&self) -> impl Fn() -> std::pin::Pin<Box<dyn Future<Output = turmoil::Result>>> + 'static {
        let config = DeviceConfig {
            home: self.home.clone(),
            name: self.name.clone(),
            listen: SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), PORT),
            limits: self.limits.clone(),
            trash: self.trash,
            boot_id: "one boot".into(),
            machine_id: self.name.clone(),
        };
        let (seed, number, ip, links) = (self.seed, self.number, self.ip, self.links.clone());
        let (clock, disk) = (self.clock.clone(), self.disk.clone());
        let (starts, desk) = (self.starts.clone(), self.desk.clone());
        move || {
            starts.set(starts.get() + 1);
            let random = Dice::new(seed, Domain::ShellHosts, number << 32 | starts.get()).draw();
            let net = HostNet::new(ip, links.clone(), random);
            let parts = (net, clock.clone(), disk.clone());
            Box::pin(live(parts, config.clone(), desk.clone()))
        }
    }

    /// The world has ended what ran on it.
    pub fn dead(&self) {
        self.desk.replace(None);
    }

    /// Whether a device answers.
    pub fn is_up(&self) -> bool {
        self.desk.borrow().is_some()
    }

    /// How often it was started.
    pub fn starts(&self) -> u64 {
        self.starts.get()
    }

    /// The device that runs on it, and its key.
    pub fn device(&self) -> Option<(DeviceId, PublicKey)> {
        self.desk.borrow().as_ref().map(|desk| (desk.id, desk.key))
    }

    /// Where others reach it, `host:port`.
    pub fn addr(&self) -> String {
        SocketAddr::new(self.ip, PORT).to_string()
    }

    /// The newest snapshot.
    pub fn status(&self) -> Option<Arc<Status>> {
        self.desk.borrow().as_ref().map(|desk| desk.status.borrow().clone())
    }

    /// What the device has told since this was asked last.
    pub fn take_events(&self) -> Vec<Event> {
        let mut desk = self.desk.borrow_mut();
        let Some(events) = desk.as_mut().map(|desk| &mut desk.events) else { return Vec::new() };
        std::iter::from_fn(|| events.try_recv().ok()).map(|stamped| stamped.event.clone()).collect()
    }

    /// Asks the device for something; nothing if it does not run.
    pub fn ask<T>(
        &self,
        make: impl FnOnce(Reply<T>) -> DaemonRequest,
    ) -> Option<oneshot::Receiver<Result<T, Refusal>>> {
        let (reply, answer) = oneshot::channel();
        let desk = self.desk.borrow();
        desk.as_ref()?.requests.try_send(make(reply)).ok().map(|()| answer)
    }

    /// The watcher notices that `path`, relative to the folder, has changed.
    pub fn hint(&self, path: &str) {
        let desk = self.desk.borrow();
        let Some(hints) = desk.as_ref().map(|desk| &desk.hints) else { return };
        let Ok(path) = RelPath::new(path.as_bytes()) else { return };
        let watched: Vec<FolderId> = hints.roots().keys().copied().collect();
        watched.into_iter().for_each(|folder| (hints.sink)(folder, Hint::Path(path.clone())));
    }
}

async fn live(
    (net, clock, disk): (HostNet, HostClock, HostDisk),
    config: DeviceConfig,
    desk: Rc<RefCell<Option<Desk>>>,
) -> turmoil::Result {
    let watching: Arc<Mutex<Option<Arc<Hints>>>> = Arc::default();
    let slot = watching.clone();
    let world = World {
        clock: Arc::new(clock),
        net: Arc::new(net),
        work: Arc::new(disk),
        watch: Arc::new(move |sink| {
            let hints = Arc::new(Hints { sink, roots: Mutex::default() });
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(hints.clone());
            Ok(hints)
        }),
    };
    let (device, mut running) = Device::start(world, config)?;
    let hints = watching.lock().unwrap_or_else(PoisonError::into_inner).take();
    let (requests, mut asked) = mpsc::channel(REQUESTS);
    let (id, key, status) = (device.id(), device.network().public_key(), device.status());
    let events = device.events().subscribe();
    desk.replace(hints.map(|hints| Desk { id, key, requests, status, hints, events }));
    let (ended, mut store) = running.serve(&device, &mut asked).await?;
    device.network().close().await;
    desk.replace(None);
    if ended == Ended::Stopped {
        store.mark_clean_stop()?;
    }
    Ok(())
}

/// Seeds everything of this thread that belongs to a run.
pub fn seed_thread(seed: u64) {
    crypto::seed_tls(Dice::new(seed, Domain::ShellHosts, u64::MAX).draw());
}
