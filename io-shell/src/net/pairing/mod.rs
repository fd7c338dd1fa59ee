//! Pairing with a one-time code: SPAKE2 over a connection of its own protocol.
//!
//! ```text
//! joiner                                   inviter
//!   Open    nameplate, pake        ->
//!                                  <-      Answer  pake
//!   Confirm mac                    ->      a wrong code ends here, and is counted
//!                                  <-      Reveal  mac, folder, names, port
//!   Agree   mac, name, port        ->      a wrong mac ends before this, unanswered
//!                                  <-      Done
//! ```
//! Each mac covers its step, the TLS session, both keys and the nameplate; from the moment the joiner knows the folder,
//! that too. Somebody in the middle has two TLS sessions and one guess.

mod exchange;
mod invites;
mod join;

pub use invites::{CODE_LIFETIME, Invites, MAX_INVITES, MAX_PAIRINGS, TooManyInvites};
pub use join::join;

use std::time::Duration;
use sync_core::id::PublicKey;
use sync_core::{DeviceId, FolderId};

/// How long a pairing may take from the connection to the end.
pub const PAIR_TIMEOUT: Duration = Duration::from_secs(10);
/// The close code that says: too many pairings at once, come again.
const CODE_BUSY: u32 = 16;

/// Two devices know each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paired {
    /// The other device.
    pub device: DeviceId,
    /// Its key.
    pub key: PublicKey,
    /// Its name: one line, never empty.
    pub name: String,
    /// Where it can be dialled: the address it is seen at, with the port it says it listens on.
    pub addr: String,
    /// The folder that is to be shared.
    pub folder: FolderId,
    /// The folder's name: one line, never empty.
    pub folder_name: String,
}

/// How an attempt of somebody else to pair with this device ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PairingEvent {
    /// With success.
    Paired(Paired),
    /// With nothing changed, except that the code may be used up.
    Failed {
        /// From where, `host:port`.
        addr: String,
        /// Why, for the audit.
        reason: String,
    },
}

/// Why a pairing failed, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PairError {
    /// Nobody answered.
    #[error(
        "cannot reach the other device ({0}): check that landropic runs there and that UDP to its port is let through"
    )]
    Unreachable(String),
    /// The nameplate names no open invitation.
    #[error(
        "the code was used already, was tried wrongly three times, or is older than ten minutes: ask for a new one with \
         'landropic invite'"
    )]
    NotOpen,
    /// The secret is not the one that was shown.
    #[error(
        "the code is wrong: read it again from the other device; after three wrong tries ask for a new one with \
         'landropic invite'"
    )]
    WrongCode,
    /// Too many pairings at once.
    #[error("the other device is busy with other pairings: try again in ten seconds")]
    Busy,
    /// The inviter did not prove that it knows the code.
    #[error(
        "the device that answers does not know the code: check the address; if it is right, somebody may be in between. \
         Ask for a new code with 'landropic invite'"
    )]
    Unconfirmed,
    /// The peer does not keep to the protocol.
    #[error("the other device does not follow the pairing protocol ({0}): use the same version of landropic on both")]
    Misbehaved(String),
    /// The connection ended too early.
    #[error("the connection was lost ({0}): the code may be used up, ask for a new one with 'landropic invite'")]
    Broken(String),
    /// It took too long.
    #[error("the other device did not answer in time: try again, or ask for a new code with 'landropic invite'")]
    Timeout,
    /// Our own cryptography or connection failed.
    #[error("pairing failed on this device: {0}")]
    Internal(String),
}

#[cfg(test)]
mod tests;
