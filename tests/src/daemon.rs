//! One daemon: a home, a folder, an address, and the process that comes and goes.

use crate::lab::{Lab, tail};
use crate::program::{Outcome, Running, landropic, run};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a daemon may take to answer after its start, and to end after it was asked to.
const START: Duration = Duration::from_secs(20);

/// A daemon that is up or down. Dropping it kills the process; a failing test has its log printed.
pub struct Daemon<'l> {
    /// Where it lives.
    pub lab: &'l Lab,
    /// What it is called in the lab.
    pub name: String,
    /// Where it keeps its state.
    pub home: PathBuf,
    /// The folder it shares.
    pub root: PathBuf,
    /// Where it listens.
    pub listen: SocketAddr,
    log: PathBuf,
    prefix: Vec<OsString>,
    process: Option<Running>,
}

impl<'l> Daemon<'l> {
    /// A daemon with an empty folder of its name in the lab, not yet started.
    pub fn new(lab: &'l Lab, name: &str) -> Self {
        let root = lab.path(name);
        fs::create_dir_all(&root).unwrap();
        Self {
            lab,
            name: name.to_owned(),
            home: lab.path(&format!("{name}.home")),
            root,
            listen: free_address(),
            log: lab.path(&format!("{name}.log")),
            prefix: Vec::new(),
            process: None,
        }
    }

    /// A command that runs the program from its arguments, such as one that changes the user first.
    pub fn through(mut self, prefix: &[&OsStr]) -> Self {
        self.prefix = prefix.iter().map(|part| (*part).to_owned()).collect();
        self
    }

    /// Starts it, sharing its folder.
    pub fn up(&mut self) {
        let root = self.root.clone();
        self.start(&[root.as_os_str()]);
    }

    /// Starts it, joining the folder that `other` offers, and waits until it is paired.
    pub fn join(&mut self, other: &Self) {
        let code = other.invite();
        let (root, at) = (self.root.clone(), other.listen.to_string());
        self.start(&[root.as_os_str(), "--join".as_ref(), code.as_ref(), "--at".as_ref(), at.as_ref()]);
        self.lab.wait_for("the folder is joined", || match self.status()["folders"].as_array().map(Vec::len) {
            Some(1) => Ok(()),
            other => Err(format!("{other:?} folders")),
        });
    }

    /// Starts it with what it knows.
    pub fn restart(&mut self) {
        self.start(&[]);
    }

    /// Starts it with these arguments after `up`, and waits until it answers.
    pub fn start(&mut self, args: &[&OsStr]) {
        self.spawn(args);
        let answers = |daemon: &mut Self| {
            if let Some(status) = daemon.exited() {
                panic!("{} ended with {status}", daemon.name);
            }
            let outcome = daemon.cli(&["status", "--json"]);
            if outcome.code == 0 { Ok(()) } else { Err(format!("{}: {}", outcome.code, outcome.stderr)) }
        };
        let lab = self.lab;
        lab.wait_within(START, "the daemon answers", || answers(self));
    }

    /// Starts the process with these arguments after `up`, and waits for nothing.
    pub fn spawn(&mut self, args: &[&OsStr]) {
        assert!(self.process.is_none(), "{} is up already", self.name);
        let log = OpenOptions::new().create(true).append(true).open(&self.log).unwrap();
        let mut command = self.command();
        command.arg("up").args(args).arg("--listen").arg(self.listen.to_string()).arg("--no-discovery");
        command.args(["--device-name", &self.name]);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let child = command.spawn().unwrap();
        self.lab.began(child.id(), &self.log);
        self.process = Some(Running { child });
    }

    /// The program with this daemon's home, to be given a command.
    pub fn command(&self) -> Command {
        let words: Vec<&OsStr> = match self.prefix.is_empty() {
            true => vec![landropic().as_os_str()],
            false => self.prefix.iter().map(OsString::as_os_str).collect(),
        };
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).arg("--home").arg(&self.home).env_remove("LANDROPIC_STORAGE");
        command
    }

    /// Runs a command against this daemon.
    pub fn cli(&self, args: &[&str]) -> Outcome {
        self.cli_os(&args.iter().map(OsStr::new).collect::<Vec<_>>())
    }

    /// Runs a command whose arguments are not all text.
    pub fn cli_os(&self, args: &[&OsStr]) -> Outcome {
        run(self.command().args(args), Duration::ZERO)
    }

    /// `wait --timeout`.
    pub fn wait(&self, timeout: Duration) -> Outcome {
        let secs = timeout.as_secs_f64().to_string();
        run(self.command().args(["wait", "--timeout", &secs]), timeout)
    }

    /// A code for the folder.
    pub fn invite(&self) -> String {
        self.cli(&["invite"]).yes().first_line()
    }

    /// `status --json`.
    pub fn status(&self) -> Value {
        self.cli(&["status", "--json"]).yes().json()
    }

    /// The status of the folder, which must be the only one.
    pub fn folder(&self) -> Value {
        let folders = self.status()["folders"].as_array().cloned().unwrap_or_default();
        assert_eq!(folders.len(), 1, "{} has not one folder: {folders:?}", self.name);
        folders[0].clone()
    }

    /// This device's id.
    pub fn id(&self) -> String {
        self.status()["device"]["id"].as_str().unwrap().to_owned()
    }

    /// What the audit holds, newest first.
    pub fn audit(&self) -> Vec<Value> {
        self.cli(&["audit", "--json", "--limit", "10000"]).yes().json()["entries"].as_array().cloned().unwrap()
    }

    /// The conflicts of all folders.
    pub fn conflicts(&self) -> Vec<Value> {
        self.cli(&["conflicts", "list", "--json"]).yes().json()["conflicts"].as_array().cloned().unwrap()
    }

    /// Ends the process at once, as a power switch would.
    pub fn kill9(&mut self) {
        let mut process = self.process.take().unwrap();
        let pid = process.child.id();
        process.kill();
        self.lab.ended(pid);
    }

    /// Asks the process to end, and returns how and after what time it did.
    pub fn terminate(&mut self) -> (ExitStatus, Duration) {
        let began = Instant::now();
        let mut process = self.process.take().unwrap();
        let pid = process.child.id();
        kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), Signal::TERM).unwrap();
        let ended = self.lab.wait_within(START, "the daemon stops", || {
            process.child.try_wait().unwrap().ok_or_else(|| "it is still running".to_owned())
        });
        self.lab.ended(pid);
        (ended, began.elapsed())
    }

    /// How the process ended by itself, if it has.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.process.as_mut().and_then(|process| process.child.try_wait().unwrap())
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.process.as_ref().unwrap().child.id()
    }

    /// Whether it is up.
    pub fn is_up(&self) -> bool {
        self.process.is_some()
    }

    /// All it has logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Whether some other device is connected.
    pub fn is_connected(&self) -> bool {
        self.status()["peers"].as_array().is_some_and(|peers| peers.iter().any(|p| p["state"] == "connected"))
    }

    /// A running command whose output goes to `to`.
    pub fn stream(&self, args: &[&str], to: &Path) -> Running {
        let mut command = self.command();
        command.args(args).stdin(Stdio::null()).stdout(File::create(to).unwrap()).stderr(Stdio::null());
        Running { child: command.spawn().unwrap() }
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        if self.process.is_some() {
            self.kill9();
        }
        if std::thread::panicking() {
            eprintln!("=== the log of {} ends with\n{}", self.name, tail(&self.log));
        }
    }
}

/// A loopback address that nobody listens on. It is below the ports that the system gives out by itself, so that it
/// stays free while its daemon is down.
pub fn free_address() -> SocketAddr {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    let first = 12_000 + u16::try_from(std::process::id() % 1_900).unwrap() * 10;
    let free = |port: &u16| !given.contains(port) && UdpSocket::bind(("127.0.0.1", *port)).is_ok();
    let port = (first..32_000).chain(12_000..first).find(free).expect("some port is free");
    given.insert(port);
    SocketAddr::from(([127, 0, 0, 1], port))
}
