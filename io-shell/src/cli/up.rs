//! `up`: the daemon in the foreground.

use crate::api::HomeLock;
use crate::api::lock::LOCK_FILE;
use crate::cli::exit::Failure;
use crate::cli::out::Out;
use crate::cli::progress::first_scan;
use crate::daemon::UpConfig;
use crate::settings::{SETTINGS_FILE, Settings};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The flags as they were typed.
#[derive(Debug, clap::Args)]
pub struct UpFlags {
    /// The folder to share, or with --join where to put the folder that is joined; made if it is missing
    path: Option<PathBuf>,
    /// What to call the folder [default: the last part of PATH]
    #[arg(long, value_name = "FOLDER", conflicts_with = "join", requires = "path")]
    name: Option<String>,
    /// What to call this device [default: as before, at first the host's name]
    #[arg(long, value_name = "NAME")]
    device_name: Option<String>,
    /// Join the folder that another device offers with this code, as printed by its `invite`
    #[arg(long, value_name = "CODE", requires = "path")]
    join: Option<String>,
    /// Where the device that offers the folder listens
    #[arg(long, value_name = "HOST:PORT", requires = "join")]
    at: Option<String>,
    /// Listen here for other devices, over UDP [default: 0.0.0.0:9876]
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<SocketAddr>,
    /// Reach other devices only at addresses that were given or have worked before
    #[arg(long)]
    no_discovery: bool,
}

/// What `up` is asked to do, every part checked.
#[derive(Debug, PartialEq, Eq)]
pub struct UpArgs {
    /// The folder, absolute.
    pub path: Option<PathBuf>,
    /// Its name.
    pub folder_name: Option<String>,
    /// This device's name.
    pub device_name: Option<String>,
    /// Code and address of an invitation.
    pub join: Option<(String, String)>,
    /// Where to listen.
    pub listen: Option<SocketAddr>,
}

impl TryFrom<UpFlags> for UpArgs {
    type Error = Failure;

    fn try_from(flags: UpFlags) -> Result<Self, Failure> {
        // Without discovery every daemon keeps to known addresses: the flag promises what holds anyway.
        let UpFlags { path, name, device_name, join, at, listen, no_discovery: _ } = flags;
        let join = match (join, at) {
            (None, _) => None,
            (Some(code), Some(at)) => Some((code, host_port(&at)?)),
            (Some(_), None) => return Err(Failure::Usage(NEEDS_AT.to_owned())),
        };
        Ok(Self {
            path: path.map(|p| absolute(&p)).transpose()?,
            folder_name: name.map(|n| name_of("--name", n)).transpose()?,
            device_name: device_name.map(|n| name_of("--device-name", n)).transpose()?,
            join,
            listen,
        })
    }
}

/// What is missing when a code comes without an address.
pub const NEEDS_AT: &str = "joining needs --at HOST:PORT, the address of the device that printed the code: \
    devices do not find each other by themselves yet";

/// An absolute path; nothing is looked up.
///
/// # Errors
/// An empty path.
pub fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|e| Failure::Usage(format!("'{}' is no path: {e}", path.display())))
}

/// A host and a port; the host is looked up when it is dialled.
///
/// # Errors
/// Anything without a port from 1 to 65535.
pub fn host_port(text: &str) -> Result<String, Failure> {
    let port = |text: &str| text.parse::<u16>().is_ok_and(|port| port > 0);
    match text.rsplit_once(':') {
        Some((host, digits)) if !host.is_empty() && port(digits) => Ok(text.to_owned()),
        Some(_) | None => Err(Failure::Usage(format!("'{text}' is no HOST:PORT: write it like 192.168.1.10:9876"))),
    }
}

/// A name fit for people: not empty, not long, nothing that steers a terminal.
///
/// # Errors
/// Any other, naming where it came from.
pub fn name_of(what: &str, name: String) -> Result<String, Failure> {
    let fine = !name.trim().is_empty() && name.len() <= 255 && !name.contains(char::is_control);
    if fine {
        return Ok(name);
    }
    let shown = crate::api::path::printable(&name);
    Err(Failure::Usage(format!("{what} '{shown}' is no name: use 1 to 255 bytes without control characters")))
}

/// Runs the daemon until it is told to stop.
///
/// # Errors
/// Wrong arguments or settings, a home in use, or whatever keeps the daemon from running.
pub fn run(flags: UpFlags, home: &Path, verbose: u8) -> Result<ExitCode, Failure> {
    let args = UpArgs::try_from(flags)?;
    let settings = Settings::load(home).map_err(|e| Failure::Usage(e.to_string()))?;
    crate::telemetry::init(verbose, settings.log.as_deref())?;
    if args.path.is_none() && is_fresh(home)? {
        return Err(Failure::Usage(welcome(home)));
    }
    let lock = HomeLock::acquire(home)?;
    Settings::write_template(home)?;
    let device_name = match args.device_name {
        Some(name) => Some(name),
        None => settings.device_name.clone().map(|n| name_of("the setting device_name", n)).transpose()?,
    };
    let config = UpConfig {
        home: home.to_owned(),
        lock,
        path: args.path,
        folder_name: args.folder_name,
        device_name,
        join: args.join,
        listen: args.listen.unwrap_or(settings.listen),
        settings,
    };
    Ok(crate::daemon::run(config, async |status| {
        // A terminal that is gone is no reason to stop.
        first_scan(status, &mut Out::std()).await.ok();
    })?)
}

/// Whether no daemon has lived here: what `up` itself leaves before it starts one does not count.
fn is_fresh(home: &Path) -> Result<bool, Failure> {
    let unreadable = |e| anyhow::anyhow!("home {} cannot be read: {e}", home.display());
    let entries = match std::fs::read_dir(home) {
        Ok(entries) => entries,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(true),
        Err(e) => return Err(unreadable(e).into()),
    };
    for entry in entries {
        let name = entry.map_err(unreadable)?.file_name();
        if ![SETTINGS_FILE, LOCK_FILE].iter().any(|own| name == *own) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn welcome(home: &Path) -> String {
    format!(
        "there is nothing to do yet: home {} knows no folder.\n\
         To share a folder:           landropic up PATH\n\
         then, in another terminal:   landropic invite\n\
         and on the other device:     landropic up PATH --join CODE --at HOST:PORT",
        home.display()
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::cli::exit::Exit;

    #[test]
    fn a_home_is_fresh_until_a_daemon_has_lived_there() {
        let dir = tempfile::tempdir().unwrap();
        assert!(is_fresh(&dir.path().join("missing")).unwrap());
        Settings::write_template(dir.path()).unwrap();
        drop(HomeLock::acquire(dir.path()).unwrap());
        assert!(is_fresh(dir.path()).unwrap());
        std::fs::write(dir.path().join("index.db"), "").unwrap();
        assert!(!is_fresh(dir.path()).unwrap());
    }

    #[test]
    fn addresses_need_a_host_and_a_port() {
        let check = |text, fine| assert_eq!(host_port(text).is_ok(), fine, "{text}");
        check("desk.local:9876", true);
        check("[::1]:9876", true);
        check("desk.local", false);
        check(":9876", false);
        check("desk:0", false);
        check("desk:99999", false);
    }

    #[test]
    fn names_cannot_be_empty_or_steer_a_terminal() {
        let check = |name: &str, fine| assert_eq!(name_of("--name", name.to_owned()).is_ok(), fine, "{name:?}");
        check("my photos", true);
        check(" ", false);
        check("a\x1b[2J", false);
        check(&"x".repeat(256), false);
    }

    #[test]
    fn a_wrong_setting_is_a_usage_error() {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join(SETTINGS_FILE), "colour = 1").unwrap();
        let flags = UpFlags {
            path: None,
            name: None,
            device_name: None,
            join: None,
            at: None,
            listen: None,
            no_discovery: false,
        };
        assert_eq!(run(flags, home.path(), 0).unwrap_err().exit(), Exit::Usage);
    }
}
