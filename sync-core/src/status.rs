//! A plain snapshot for the command line and the web: the contract of `status --json`.

use crate::error::ItemError;
use crate::id::{ContentId, DeviceId, FolderId};
use alloc::{boxed::Box, string::String, vec::Vec};
use serde::Serialize;

/// The state of the whole node.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Status {
    /// This device; `listen` is filled in by the shell.
    pub device: Option<DeviceStatus>,
    /// Folders by name.
    pub folders: Vec<FolderStatus>,
    /// Other devices by name.
    pub peers: Vec<PeerStatus>,
    /// Large files on their way.
    pub transfers: Vec<TransferStatus>,
    /// Large files that came since the start, newest last, the older ones left out.
    pub completed: Vec<TransferStatus>,
    /// Whether at least one device is connected and every folder is applied equal to every connected device's.
    pub synced: bool,
    /// What is missing for that, one line each.
    pub missing: Vec<String>,
    /// Counters since the start.
    pub counters: Counters,
}

/// This device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeviceStatus {
    /// Its id.
    pub id: DeviceId,
    /// Its name.
    pub name: String,
    /// The address it listens on.
    pub listen: String,
}

/// One folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FolderStatus {
    /// Its id.
    pub id: FolderId,
    /// Its name.
    pub name: String,
    /// Its root, lossy where it is not UTF-8.
    pub path: String,
    /// Its root.
    #[serde(skip)]
    pub path_bytes: Box<[u8]>,
    /// How it takes part: `send-receive`.
    pub mode: &'static str,
    /// `scanning`, `syncing`, `idle`, `paused` or `error`.
    pub state: &'static str,
    /// Files on this disk.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Items that differ from what is wanted.
    pub need_files: u64,
    /// Bytes still to come for them.
    pub need_bytes: u64,
    /// Paths with several live versions.
    pub conflicts: u64,
    /// The first hundred items with trouble.
    pub errors: Vec<ItemStatus>,
    /// Devices that share it.
    pub members: Vec<DeviceId>,
}

/// An item with trouble.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ItemStatus {
    /// Which, lossy where it is not UTF-8; empty for the folder itself.
    pub path: String,
    /// Which.
    #[serde(skip)]
    pub path_bytes: Box<[u8]>,
    /// What happened.
    #[serde(flatten)]
    pub error: ItemError,
    /// What to do.
    pub remedy: &'static str,
}

/// Another device.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PeerStatus {
    /// Its id.
    pub id: DeviceId,
    /// Its name.
    pub name: String,
    /// `connected`, `handshake`, `dialing`, `backoff`, `dormant`, `idle` or `removed`.
    pub state: &'static str,
    /// Measured health of the link.
    pub health: &'static str,
    /// Smoothed round-trip time in milliseconds.
    pub rtt_ms: f64,
    /// Share of packets lost, 0 to 1.
    pub loss: f64,
    /// Open connections.
    pub connections: u32,
    /// Bytes sent on the wire since the start.
    pub sent_bytes: u64,
    /// Bytes received on the wire since the start.
    pub received_bytes: u64,
    /// Why it is not connected, if it is not.
    pub reason: String,
}

/// A large file on its way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TransferStatus {
    /// Into which folder.
    pub folder: FolderId,
    /// The content.
    pub content: ContentId,
    /// Where the file will be, or the first place of several.
    pub path: String,
    /// `active`, `interrupted` while there is nobody to ask, `paused` by a person, `failed` and to be tried again, or
    /// `completed`.
    pub state: &'static str,
    /// What is being done: `waiting`, `listing`, `copying`, `reusing`, `active`, `verifying` or `ready`.
    pub step: &'static str,
    /// Bytes of the file.
    pub bytes: u64,
    /// Bytes verified and written.
    pub done_bytes: u64,
    /// Bytes of that which were here before this start.
    pub resumed_bytes: u64,
}

/// Counters since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Content bytes that arrived and were verified.
    pub fetched_bytes: u64,
    /// Content bytes that were copied from files of this device instead.
    pub copied_bytes: u64,
    /// Content bytes sent to other devices.
    pub served_bytes: u64,
    /// Requests refused or answered with an error.
    pub fetch_errors: u64,
    /// Rows taken over from other devices.
    pub rows_received: u64,
    /// Rows sent to other devices.
    pub rows_sent: u64,
    /// Operations carried out on this disk.
    pub applied: u64,
    /// Connections refused.
    pub refused: u64,
}
