//! The time and the place of one test.

use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How much longer than its limit a test may hang in something that does not look at the clock.
const GRACE: Duration = Duration::from_secs(30);
/// The longest pause between two looks at a condition.
const LONGEST_PAUSE: Duration = Duration::from_millis(50);
/// The end of a log that is printed when a test fails, bytes.
const LOG_TAIL: usize = 24 << 10;

/// Child processes that are running, each with its log.
type Children = Arc<Mutex<BTreeMap<u32, PathBuf>>>;

/// A directory for one test, and the time until which it must be over.
///
/// Every wait of a test goes through [`wait_for`](Self::wait_for) and fails at the deadline. Should a test hang
/// elsewhere, a watchdog prints the logs, kills the children and ends the process.
pub struct Lab {
    dir: tempfile::TempDir,
    deadline: Instant,
    children: Children,
    over: Option<Sender<()>>,
    watchdog: Option<JoinHandle<()>>,
}

impl Lab {
    /// A lab that is closed after `limit`.
    pub fn new(limit: Duration) -> Self {
        // Building is no part of any test's time.
        crate::program::landropic();
        let dir = tempfile::Builder::new().prefix("landropic-").tempdir().unwrap();
        let children = Children::default();
        let (over, end) = mpsc::channel();
        let watched = Arc::clone(&children);
        let watchdog = std::thread::spawn(move || {
            if end.recv_timeout(limit + GRACE) == Err(RecvTimeoutError::Timeout) {
                give_up(&watched);
            }
        });
        let deadline = Instant::now() + limit;
        Self { dir, deadline, children, over: Some(over), watchdog: Some(watchdog) }
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// When the test must be over.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Looks again and again until `probe` has an answer; its last complaint is what the test fails with at the deadline.
    pub fn wait_for<T>(&self, what: &str, probe: impl FnMut() -> Result<T, String>) -> T {
        self.wait_until(self.deadline, what, probe)
    }

    /// As [`wait_for`](Self::wait_for), for something that has to happen within `limit`.
    pub fn wait_within<T>(&self, limit: Duration, what: &str, probe: impl FnMut() -> Result<T, String>) -> T {
        self.wait_until(self.deadline.min(Instant::now() + limit), what, probe)
    }

    fn wait_until<T>(&self, until: Instant, what: &str, mut probe: impl FnMut() -> Result<T, String>) -> T {
        let started = Instant::now();
        let mut pause = Duration::from_millis(1);
        loop {
            match probe() {
                Ok(answer) => return answer,
                Err(complaint) if Instant::now() >= until => {
                    panic!("after {:.1} s still waiting until {what}: {complaint}", started.elapsed().as_secs_f64())
                }
                Err(_) => std::thread::sleep(pause),
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Notes a child, for the watchdog.
    pub(crate) fn began(&self, pid: u32, log: &Path) {
        self.children.lock().unwrap_or_else(PoisonError::into_inner).insert(pid, log.to_owned());
    }

    /// Notes that a child has been waited for.
    pub(crate) fn ended(&self, pid: u32) {
        self.children.lock().unwrap_or_else(PoisonError::into_inner).remove(&pid);
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        drop(self.over.take());
        if let Some(watchdog) = self.watchdog.take() {
            let _ended = watchdog.join();
        }
    }
}

/// The end of a log, for people.
pub fn tail(log: &Path) -> String {
    let bytes = std::fs::read(log).unwrap_or_default();
    let start = bytes.len().saturating_sub(LOG_TAIL);
    String::from_utf8_lossy(&bytes[start..]).into_owned()
}

fn give_up(children: &Children) {
    eprintln!("the test has not come to an end");
    for (pid, log) in children.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        eprintln!("=== {} (process {pid})\n{}", log.display(), tail(log));
        if let Some(pid) = i32::try_from(*pid).ok().and_then(Pid::from_raw) {
            let _gone = kill_process(pid, Signal::KILL);
        }
    }
    std::process::exit(101);
}
