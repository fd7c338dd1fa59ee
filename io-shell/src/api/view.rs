//! What a client reads back. Fields a newer daemon adds are ignored, those an older one lacks are empty.

use crate::api::path::JsonPath;
use serde::Deserialize;

/// The state of the whole node, as far as the command line shows it. The fields are those of
/// [`sync_core::status::Status`].
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct StatusView {
    /// This device.
    pub device: Option<DeviceView>,
    /// Folders.
    pub folders: Vec<FolderView>,
    /// Other devices.
    pub peers: Vec<PeerView>,
    /// Large files on their way.
    pub transfers: Vec<TransferView>,
    /// Large files that came since the start.
    pub completed: Vec<TransferView>,
    /// Whether all is applied equal everywhere.
    pub synced: bool,
    /// What is missing for that.
    pub missing: Vec<String>,
}

/// This device.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct DeviceView {
    /// Its id in hexadecimal.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Where it listens.
    pub listen: String,
}

/// One folder.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct FolderView {
    /// Its id in hexadecimal.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its root.
    #[serde(flatten)]
    pub root: JsonPath,
    /// Its state's name.
    pub state: String,
    /// Files on this disk.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Items still to come.
    pub need_files: u64,
    /// Their bytes.
    pub need_bytes: u64,
    /// Paths with several versions.
    pub conflicts: u64,
    /// Items with trouble.
    pub errors: Vec<ItemView>,
}

/// An item with trouble.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ItemView {
    /// Which; empty for the folder itself.
    #[serde(flatten)]
    pub path: JsonPath,
    /// What happened.
    pub reason: String,
    /// What to do.
    pub remedy: String,
}

/// Another device.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct PeerView {
    /// Its id in hexadecimal.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its state's name.
    pub state: String,
    /// Measured health of the link.
    pub health: String,
    /// Smoothed round-trip time in milliseconds.
    pub rtt_ms: f64,
    /// Bytes sent.
    pub sent_bytes: u64,
    /// Bytes received.
    pub received_bytes: u64,
    /// Why it is not connected.
    pub reason: String,
}

/// A large file on its way.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct TransferView {
    /// The folder's id.
    pub folder: String,
    /// The content's id.
    pub content: String,
    /// Where the file will be.
    pub path: String,
    /// Its state's name.
    pub state: String,
    /// What is being done.
    pub step: String,
    /// Bytes of the file.
    pub bytes: u64,
    /// Bytes verified and written.
    pub done_bytes: u64,
}

/// Whether all is in sync.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct WaitView {
    /// Whether it is.
    pub synced: bool,
    /// What is missing, one line each.
    pub missing: Vec<String>,
}

/// Why an item is as it is.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct WhyView {
    /// The item.
    #[serde(flatten)]
    pub path: JsonPath,
    /// Whether it is in sync.
    pub in_sync: bool,
    /// What is the matter.
    pub reason: String,
    /// What to do.
    pub remedy: String,
}

/// The conflicts of one or all folders.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ConflictsView {
    /// By folder and path.
    pub conflicts: Vec<ConflictView>,
}

/// A path with several versions.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ConflictView {
    /// The folder's name.
    pub folder_name: String,
    /// The path.
    #[serde(flatten)]
    pub path: JsonPath,
    /// How they disagree.
    pub kind: String,
    /// The device whose version has the name.
    pub winner: String,
    /// Copies of the others.
    pub copies: Vec<JsonPath>,
}

/// The audit.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct AuditView {
    /// Newest first.
    pub entries: Vec<AuditLine>,
}

/// One entry of the audit.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct AuditLine {
    /// When, RFC 3339.
    pub at: String,
    /// A word for filtering.
    pub kind: String,
    /// What happened.
    pub detail: String,
}
