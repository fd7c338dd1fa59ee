//! An ssh server of our own, with keys of its own.

use crate::versus::peers::programs::{Process, find, free_port};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Where sshd, when root runs it, wants an empty directory.
const PRIVSEP_DIR: &str = "/run/sshd";
/// The fastest cipher on processors that know AES.
const CIPHER: &str = "aes128-gcm@openssh.com";

/// The server, on 127.0.0.1. It ends when this is dropped.
#[derive(Debug)]
pub struct Sshd {
    dir: PathBuf,
    port: u16,
    /// Its process: those of what it runs are below.
    pub process: Process,
}

impl Sshd {
    /// Starts one that keeps its files in `dir`.
    ///
    /// # Errors
    /// It does not start.
    pub fn start(dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir)?;
        if rustix::process::geteuid().is_root() {
            fs::create_dir_all(PRIVSEP_DIR).context("sshd needs /run/sshd")?;
        }
        for name in ["host", "client"] {
            let mut command = Command::new("ssh-keygen");
            command.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(dir.join(name));
            let status = command.stdin(Stdio::null()).status().context("cannot run ssh-keygen")?;
            ensure!(status.success(), "ssh-keygen ended with {status}");
        }
        let port = free_port()?;
        fs::write(dir.join("sshd_config"), config(dir, port))?;
        let mut command = Command::new(find("sshd").context("sshd is not installed")?);
        command.args(["-D", "-e", "-f"]).arg(dir.join("sshd_config"));
        let mut process = Process::start(&mut command, &dir.join("log"))?;
        process.until(Duration::from_millis(10), || Ok(TcpStream::connect(("127.0.0.1", port)).ok()))?;
        Ok(Self { dir: dir.into(), port, process })
    }

    /// Arguments for a client, in which no word has a space.
    pub fn client(&self) -> Vec<String> {
        let dir = self.dir.display();
        let mut args: Vec<String> = ["-F", "none", "-x", "-c", CIPHER].map(str::to_owned).into();
        args.extend(["-p".to_owned(), self.port.to_string(), "-i".to_owned(), format!("{dir}/client")]);
        let options = ["IdentitiesOnly=yes", "IdentityAgent=none", "StrictHostKeyChecking=no", "Compression=no"];
        let options = options.map(str::to_owned).into_iter();
        for option in options.chain([format!("UserKnownHostsFile={dir}/known"), "LogLevel=ERROR".to_owned()]) {
            args.extend(["-o".to_owned(), option]);
        }
        args
    }
}

/// A shell that takes itself for another's child reads no settings of its user, who may start what takes longer than all
/// the rest.
fn config(dir: &Path, port: u16) -> String {
    let dir = dir.display();
    let path = std::env::var("PATH").unwrap_or_default();
    format!(
        "ListenAddress 127.0.0.1:{port}\nHostKey {dir}/host\nAuthorizedKeysFile {dir}/client.pub\nPidFile none\n\
         StrictModes no\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
         PermitRootLogin prohibit-password\nUseDNS no\nPrintMotd no\nLogLevel ERROR\nMaxStartups 100\n\
         SetEnv SHLVL=1 \"PATH={path}\"\n"
    )
}
