//! The control socket's file and who may connect to it.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use tokio::net::unix::SocketAddr;
use tokio::net::{UnixListener, UnixStream};

/// The socket's name in the home.
pub const CONTROL_SOCKET: &str = "control.sock";

/// The control socket: gone from the home when this is dropped.
#[derive(Debug)]
pub struct ControlListener {
    inner: UnixListener,
    path: PathBuf,
}

impl ControlListener {
    /// Listens in `home`. Whoever calls this holds the home's lock, so a socket that is already there is a dead
    /// process's and is replaced; any other kind of file is left alone.
    ///
    /// # Errors
    /// The operating system's, naming the socket.
    pub fn bind(home: &Path) -> io::Result<Self> {
        let path = home.join(CONTROL_SOCKET);
        let inner = bind(&path).map_err(|e| {
            let text = format!("the control socket {} cannot be made: {e}", path.display());
            io::Error::new(e.kind(), text)
        })?;
        Ok(Self { inner, path })
    }
}

fn bind(path: &Path) -> io::Result<UnixListener> {
    match path.symlink_metadata() {
        Ok(found) if found.file_type().is_socket() => std::fs::remove_file(path)?,
        Ok(_) => {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "something that is no socket is in its place"));
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(e),
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, Permissions::from_mode(0o600))?;
    Ok(listener)
}

impl Drop for ControlListener {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(path = %self.path.display(), %error, "the control socket could not be removed");
        }
    }
}

/// The file's mode already keeps others out; the peer's credentials hold even if someone changes it.
fn is_welcome(peer_uid: u32, own_uid: u32) -> bool {
    peer_uid == own_uid || peer_uid == 0
}

fn check_peer(stream: &UnixStream) -> Result<(), String> {
    let cred = stream.peer_cred().map_err(|e| format!("its credentials cannot be read: {e}"))?;
    let own = rustix::process::geteuid().as_raw();
    if is_welcome(cred.uid(), own) { Ok(()) } else { Err(format!("it belongs to user id {}", cred.uid())) }
}

impl axum::serve::Listener for ControlListener {
    type Io = UnixStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (UnixStream, SocketAddr) {
        loop {
            let (stream, addr) = axum::serve::Listener::accept(&mut self.inner).await;
            match check_peer(&stream) {
                Ok(()) => return (stream, addr),
                Err(reason) => tracing::warn!(reason, "a process was refused at the control socket"),
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_the_same_user_and_root_are_welcome() {
        assert!(is_welcome(1000, 1000));
        assert!(is_welcome(0, 1000));
        assert!(!is_welcome(1001, 1000));
        assert!(!is_welcome(1000, 0));
    }

    #[tokio::test]
    async fn a_dead_socket_is_replaced_and_a_file_is_not() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join(CONTROL_SOCKET);
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "a dead process leaves its socket behind");
        let listener = ControlListener::bind(home.path()).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        drop(listener);
        assert!(!path.exists());
        std::fs::write(&path, "mine").unwrap();
        assert!(ControlListener::bind(home.path()).unwrap_err().to_string().contains("no socket"));
        assert_eq!(std::fs::read(&path).unwrap(), b"mine");
    }
}
