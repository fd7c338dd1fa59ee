//! What the shell needs from the world, as four small traits, so that the simulator runs the shipping shell on
//! simulated time and a simulated network, repeatably.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use sync_core::input::Hint;
use sync_core::{FolderId, Instant, WallTime};
use tokio::sync::oneshot;

/// Time.
pub trait Clock: Send + Sync + 'static {
    /// Monotonic time since an origin that is fixed for the process.
    fn now(&self) -> Instant;
    /// Wall-clock time.
    fn wall(&self) -> WallTime;
}

/// The network, as quinn and rustls see it, and the randomness that goes with it.
pub trait Net: Send + Sync + 'static {
    /// Timers and tasks for quinn.
    fn runtime(&self) -> Arc<dyn quinn::Runtime>;
    /// A UDP socket.
    ///
    /// # Errors
    /// The operating system's.
    fn bind(&self, listen: SocketAddr) -> std::io::Result<Arc<dyn quinn::AsyncUdpSocket>>;
    /// Cryptography for TLS.
    fn provider(&self) -> Arc<rustls::crypto::CryptoProvider>;
    /// Random bytes fit for keys.
    fn fill_random(&self, out: &mut [u8]);
}

/// A piece of blocking or CPU-bound work.
pub type Job = Box<dyn FnOnce() + Send + 'static>;

/// Blocking and CPU work: a thread pool in production, inline in the simulator.
pub trait Work: Send + Sync + 'static {
    /// Runs `job` some time soon. Jobs may run at the same time as each other.
    fn run(&self, job: Job);
}

/// Where a watcher puts its hints. Called from any thread; never blocks.
pub type HintSink = Arc<dyn Fn(FolderId, Hint) + Send + Sync>;

/// Hints that something changed on disk.
pub trait Watch: Send + Sync + 'static {
    /// Watches the tree at `root` until `unwatch`. Hints go to the sink given at construction.
    ///
    /// # Errors
    /// A sentence for people, when it cannot be watched (limits, permissions); periodic scans go on regardless.
    fn watch(&self, folder: FolderId, root: &Path) -> Result<(), String>;
    /// Stops watching.
    fn unwatch(&self, folder: FolderId);
}

/// Starts to watch, with where the hints go.
pub type StartWatch = Arc<dyn Fn(HintSink) -> anyhow::Result<Arc<dyn Watch>> + Send + Sync>;

/// All that a device needs from outside.
#[derive(Clone)]
pub struct World {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Network.
    pub net: Arc<dyn Net>,
    /// Blocking work.
    pub work: Arc<dyn Work>,
    /// Hints.
    pub watch: StartWatch,
}

/// Runs `job` where it may block. `None`: it was dropped unrun, which happens only when the process is ending.
pub async fn block<T: Send + 'static>(work: &dyn Work, job: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (done, result) = oneshot::channel();
    work.run(Box::new(move || drop(done.send(job()))));
    result.await.ok()
}

/// The machine's clocks.
#[derive(Debug)]
pub struct SystemClock {
    origin: std::time::Instant,
}

impl SystemClock {
    /// A clock whose monotonic time begins here.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        Self { origin: std::time::Instant::now() }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Instant {
        Instant(u64::try_from(self.origin.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    fn wall(&self) -> WallTime {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        WallTime(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
    }
}

/// The blocking threads of the current tokio runtime, whose number it bounds.
#[derive(Debug)]
pub struct BlockingPool {
    runtime: tokio::runtime::Handle,
}

impl BlockingPool {
    /// The pool of the runtime this is called in.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        Self { runtime: tokio::runtime::Handle::current() }
    }
}

impl Work for BlockingPool {
    fn run(&self, job: Job) {
        self.runtime.spawn_blocking(job);
    }
}
