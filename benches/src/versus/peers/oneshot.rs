//! Programs that are run anew for every change: cp, rsync and Unison.

use crate::versus::peers::programs::{Process, free_port, kill};
use crate::versus::peers::ssh::Sshd;
use crate::versus::peers::{Done, Pair, Peer, slashed};
use crate::versus::processes;
use crate::versus::site::Site;
use anyhow::{Context, Result, ensure};
use std::ffi::OsString;
use std::fs;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// `cp -a`.
pub struct Cp;

impl Peer for Cp {
    fn name(&self) -> &'static str {
        "cp"
    }

    fn is_daemon(&self) -> bool {
        false
    }

    fn has_wire(&self) -> bool {
        false
    }

    fn open(&self, site: &Site) -> Result<Box<dyn Pair>> {
        let args = vec!["-a".into(), site.source().into(), site.right.clone().into()];
        Ok(Box::new(OneShot::new("cp", args, site, None)))
    }
}

/// rsync to a daemon: as fast as it gets, without encryption.
pub struct RsyncDaemon;

impl Peer for RsyncDaemon {
    fn name(&self) -> &'static str {
        "rsync-daemon"
    }

    fn is_daemon(&self) -> bool {
        false
    }

    fn open(&self, site: &Site) -> Result<Box<dyn Pair>> {
        let port = free_port()?;
        // As root it would else become nobody.
        let user = if rustix::process::geteuid().is_root() { "uid = 0\ngid = 0\n" } else { "" };
        let module = format!("[right]\npath = {}\nread only = no\nuse chroot = no\n", site.right.display());
        let config = site.dir.join("rsyncd.conf");
        fs::write(&config, format!("{user}{module}"))?;
        let mut command = Command::new("rsync");
        command.args(["--daemon", "--no-detach", "--address=127.0.0.1", &format!("--port={port}")]);
        command.arg(format!("--config={}", config.display()));
        let mut server = Process::start(&mut command, &site.dir.join("rsyncd.log"))?;
        server.until(Duration::from_millis(10), || Ok(TcpStream::connect(("127.0.0.1", port)).ok()))?;
        let mut args = rsync_args(site);
        args.push(format!("rsync://127.0.0.1:{port}/right/").into());
        Ok(Box::new(OneShot::new("rsync", args, site, Some(server))))
    }
}

/// rsync over ssh.
pub struct RsyncSsh {
    /// Whether each file is made durable.
    pub is_durable: bool,
}

impl Peer for RsyncSsh {
    fn name(&self) -> &'static str {
        if self.is_durable { "rsync-ssh-fsync" } else { "rsync-ssh" }
    }

    fn is_daemon(&self) -> bool {
        false
    }

    fn open(&self, site: &Site) -> Result<Box<dyn Pair>> {
        let sshd = Sshd::start(&site.dir.join("ssh"))?;
        let mut args = rsync_args(site);
        args.extend(["-e".into(), format!("ssh {}", sshd.client().join(" ")).into()]);
        args.extend(self.is_durable.then(|| "--fsync".into()));
        args.push(format!("127.0.0.1:{}/", site.right.display()).into());
        Ok(Box::new(OneShot::new("rsync", args, site, Some(sshd.process))))
    }
}

fn rsync_args(site: &Site) -> Vec<OsString> {
    vec!["-a".into(), "--delete".into(), slashed(&site.left).into()]
}

/// Unison over ssh.
pub struct Unison;

impl Peer for Unison {
    fn name(&self) -> &'static str {
        "unison"
    }

    fn is_daemon(&self) -> bool {
        false
    }

    fn open(&self, site: &Site) -> Result<Box<dyn Pair>> {
        let sshd = Sshd::start(&site.dir.join("ssh"))?;
        let remote = format!("ssh://127.0.0.1/{}", site.right.display());
        let servercmd = format!("env UNISON={} unison", site.dir.join("unison-right").display());
        let mut args: Vec<OsString> = vec![site.left.clone().into(), remote.into()];
        args.extend(["-batch", "-auto", "-times", "-confirmbigdel=false", "-sshargs"].map(Into::into));
        args.push(sshd.client().join(" ").into());
        args.extend(["-servercmd".into(), servercmd.into(), "-logfile".into()]);
        args.push(site.dir.join("unison.log").into());
        let mut pair = OneShot::new("unison", args, site, Some(sshd.process));
        pair.state = Some(site.dir.join("unison-left"));
        Ok(Box::new(pair))
    }
}

/// A program, and how it is run.
struct OneShot {
    program: &'static str,
    args: Vec<OsString>,
    /// Where Unison keeps what it knows.
    state: Option<PathBuf>,
    log: PathBuf,
    running: Option<Process>,
    /// Below it the receiver runs.
    server: Option<Process>,
}

impl OneShot {
    fn new(program: &'static str, args: Vec<OsString>, site: &Site, server: Option<Process>) -> Self {
        Self { program, args, state: None, log: site.dir.join("output"), running: None, server }
    }

    fn succeed(&mut self) -> Result<()> {
        self.running.take().context("it does not run")?.succeed()
    }
}

impl Pair for OneShot {
    fn begin(&mut self) -> Result<()> {
        let mut command = Command::new(self.program);
        command.args(&self.args);
        if let Some(dir) = &self.state {
            command.env("UNISON", dir);
        }
        self.running = Some(Process::start(&mut command, &self.log)?);
        Ok(())
    }

    /// It says itself when it is done: it ends.
    fn finish(&mut self, _: &Done<'_>) -> Result<()> {
        self.succeed()
    }

    fn kill_receiver(&mut self) -> Result<()> {
        let server = self.server.as_ref().context("it has no receiver")?;
        let receivers = processes::below(server.pid()).into_iter().filter(|pid| processes::name(*pid) == self.program);
        // The first to go may take others along.
        let killed = receivers.filter(|pid| kill(*pid).is_ok()).count();
        ensure!(killed > 0, "no receiver runs");
        // That the sender then fails is how it should be.
        self.running.take().context("it does not run")?.end()
    }

    fn rouse(&mut self) -> Result<()> {
        self.begin()?;
        self.succeed()
    }
}
