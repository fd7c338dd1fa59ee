//! Who this device is: one Ed25519 key in the home, from which the device's id follows.

use crate::world::Net;
use anyhow::{Context, Result, anyhow};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use sync_core::DeviceId;
use sync_core::id::PublicKey;

/// The key's file in the home.
pub const KEY_FILE: &str = "identity.key";
/// Where a new key is written before it has its name.
const NEW_KEY_FILE: &str = "identity.key.new";
/// Longest key file that is read, bytes; a PKCS#8 Ed25519 key has 48 to 83.
const MAX_KEY_FILE: u64 = 4_096;

/// The device's key pair.
#[derive(Clone)]
pub struct Identity {
    pkcs8: Vec<u8>,
    public: PublicKey,
}

impl Identity {
    /// The identity in `home`, made on first use from `net`'s randomness.
    ///
    /// # Errors
    /// The key's file cannot be read, written, or is no Ed25519 key. A file that is there is never replaced: peers know
    /// the device by it.
    pub fn load_or_create(home: &Path, net: &dyn Net) -> Result<Self> {
        let path = home.join(KEY_FILE);
        match File::open(&path) {
            Ok(file) => Self::load(file, &path),
            Err(error) if error.kind() == ErrorKind::NotFound => Self::create(home, net),
            Err(error) => Err(error).with_context(|| {
                format!("cannot read the device's key {}: make it readable for the user of landropic", path.display())
            }),
        }
    }

    /// A new identity that is stored nowhere.
    ///
    /// # Errors
    /// The cryptography refuses the key, which does not happen with 32 random bytes.
    pub fn generate(net: &dyn Net) -> Result<Self> {
        let mut seed = [0; 32];
        net.fill_random(&mut seed);
        let pair =
            Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|e| anyhow!("cannot make an Ed25519 key: {e}"))?;
        let document = pair.to_pkcs8v1().map_err(|e| anyhow!("cannot encode an Ed25519 key: {e}"))?;
        Self::of_pkcs8(document.as_ref().to_vec())
    }

    /// The device that this key makes.
    pub fn device_id(&self) -> DeviceId {
        DeviceId::of_key(&self.public)
    }

    /// The public half.
    pub fn public_key(&self) -> PublicKey {
        self.public
    }

    /// The private half, for TLS.
    pub fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.pkcs8.clone()))
    }

    fn load(file: File, path: &Path) -> Result<Self> {
        let name = path.display();
        let mode = file.metadata().with_context(|| format!("cannot look at {name}"))?.permissions().mode();
        if mode & 0o077 != 0 {
            tracing::warn!(path = %name, "other users may read this device's key: chmod 600 it");
        }
        let mut pkcs8 = Vec::new();
        std::io::Read::read_to_end(&mut std::io::Read::take(file, MAX_KEY_FILE), &mut pkcs8)
            .with_context(|| format!("cannot read the device's key {name}"))?;
        Self::of_pkcs8(pkcs8).with_context(|| {
            format!(
                "{name} is damaged: restore it from a backup, or move it away to start as a new device that has to be \
                 paired again"
            )
        })
    }

    fn create(home: &Path, net: &dyn Net) -> Result<Self> {
        let identity = Self::generate(net)?;
        store(home, &identity.pkcs8).with_context(|| format!("cannot write the device's key in {}", home.display()))?;
        Ok(identity)
    }

    fn of_pkcs8(pkcs8: Vec<u8>) -> Result<Self> {
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&pkcs8)
            .map_err(|e| anyhow!("not an Ed25519 key in PKCS#8: {e}"))?;
        let public = <[u8; 32]>::try_from(pair.public_key().as_ref())?;
        Ok(Self { pkcs8, public: PublicKey(public) })
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("public", &self.public).finish_non_exhaustive()
    }
}

/// Writes the key so that after a crash there is all of it or none, and never a key of others is overwritten.
fn store(home: &Path, pkcs8: &[u8]) -> std::io::Result<()> {
    let (new, path) = (home.join(NEW_KEY_FILE), home.join(KEY_FILE));
    match fs::remove_file(&new) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(pkcs8)?;
    file.sync_all()?;
    // A link, unlike a rename, does not replace the key of a daemon that was started at the same time.
    if let Err(error) = fs::hard_link(&new, &path) {
        if error.kind() == ErrorKind::AlreadyExists {
            return Err(error);
        }
        // Some file systems have no links.
        fs::rename(&new, &path)?;
    }
    match fs::remove_file(&new) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    File::open(home)?.sync_all()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::net::world::RealNet;

    #[test]
    fn an_identity_persists_and_only_its_user_may_read_it() {
        let home = tempfile::tempdir().unwrap();
        let first = Identity::load_or_create(home.path(), &RealNet).unwrap();
        let second = Identity::load_or_create(home.path(), &RealNet).unwrap();
        assert_eq!(first.public_key(), second.public_key());
        assert_eq!(first.device_id(), DeviceId::of_key(&second.public_key()));
        let mode = fs::metadata(home.path().join(KEY_FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(!home.path().join(NEW_KEY_FILE).exists());
    }

    #[test]
    fn two_homes_are_two_devices() {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let first = Identity::load_or_create(a.path(), &RealNet).unwrap();
        let second = Identity::load_or_create(b.path(), &RealNet).unwrap();
        assert_ne!(first.device_id(), second.device_id());
    }

    #[test]
    fn a_damaged_key_is_reported_and_left_alone() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join(KEY_FILE);
        fs::write(&path, b"not a key").unwrap();
        let error = Identity::load_or_create(home.path(), &RealNet).unwrap_err();
        assert!(format!("{error:#}").contains("is damaged"), "{error:#}");
        assert_eq!(fs::read(&path).unwrap(), b"not a key");
    }

    #[test]
    fn a_new_key_that_was_never_named_is_written_again() {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join(NEW_KEY_FILE), b"half").unwrap();
        let identity = Identity::load_or_create(home.path(), &RealNet).unwrap();
        assert_eq!(Identity::load_or_create(home.path(), &RealNet).unwrap().public_key(), identity.public_key());
    }
}
