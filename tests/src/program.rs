//! The program under test, built once and run with bounds.

use serde_json::Value;
use std::fs::File;
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// The longest any question to a daemon may take, `wait` aside.
const PATIENCE: Duration = Duration::from_secs(30);

/// The program `landropic`: the release build beside the running test, made now if it is missing or stale.
pub fn landropic() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(build)
}

fn build() -> PathBuf {
    // `TARGET/PROFILE/deps/NAME-HASH` is this process.
    let own = std::env::current_exe().unwrap();
    let target = own.ancestors().nth(3).unwrap();
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("Cargo.toml");
    let output = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--release", "--package", "io-shell", "--bin", "landropic", "--manifest-path"])
        .arg(manifest)
        .arg("--target-dir")
        .arg(target)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "landropic does not build: {}", String::from_utf8_lossy(&output.stderr));
    target.join("release").join("landropic")
}

/// How a command ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Its exit code; -1 where a signal ended it.
    pub code: i32,
    /// What it printed as data.
    pub stdout: String,
    /// What it printed as prose.
    pub stderr: String,
}

impl Outcome {
    /// The outcome, if the command said yes.
    pub fn yes(self) -> Self {
        self.exits(0)
    }

    /// The outcome, if the command ended with `code`.
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "exit code\nstdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }

    /// The document on stdout.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e} in {:?}; {}", self.stdout, self.stderr))
    }

    /// The first line of stdout.
    pub fn first_line(&self) -> String {
        self.stdout.lines().next().unwrap_or_default().to_owned()
    }
}

/// Runs `command` to its end, or to `limit` after the usual patience.
pub fn run(command: &mut Command, limit: Duration) -> Outcome {
    let (mut out, mut err) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
    command.stdin(Stdio::null()).stdout(out.try_clone().unwrap()).stderr(err.try_clone().unwrap());
    let mut child = Running { child: command.spawn().unwrap() };
    let until = Instant::now() + limit + PATIENCE;
    let status = loop {
        if let Some(status) = child.child.try_wait().unwrap() {
            break status;
        }
        assert!(Instant::now() < until, "{command:?} does not end; stderr so far: {}", contents(&mut err));
        std::thread::sleep(Duration::from_millis(1));
    };
    Outcome { code: status.code().unwrap_or(-1), stdout: contents(&mut out), stderr: contents(&mut err) }
}

fn contents(file: &mut File) -> String {
    let mut bytes = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A child that does not outlive this value.
#[derive(Debug)]
pub struct Running {
    /// The process.
    pub child: Child,
}

impl Running {
    /// Ends it, if it has not ended, and collects it.
    pub fn kill(&mut self) -> ExitStatus {
        // An error means that it has ended already.
        let _sent = self.child.kill();
        self.child.wait().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}
