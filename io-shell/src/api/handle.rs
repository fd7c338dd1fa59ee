//! The running daemon, as the control socket sees it: requests in, snapshots and events out.

use crate::api::path::JsonPath;
use serde::{Deserialize, Serialize, Serializer};
use std::path::PathBuf;
use std::sync::Arc;
use sync_core::output::{Answer, Event, Refusal};
use sync_core::status::Status;
use sync_core::{Command, FolderId, WallTime};
use tokio::sync::{broadcast, mpsc, oneshot, watch};

/// The running daemon, as the control socket sees it.
#[derive(Clone)]
pub struct DaemonHandle {
    /// Where requests go. Each is answered once, or its reply is dropped when the daemon stops.
    pub requests: mpsc::Sender<DaemonRequest>,
    /// The newest snapshot.
    pub status: watch::Receiver<Arc<Status>>,
    /// What happens from the moment of subscription on. A subscriber that is too slow loses the oldest.
    pub events: broadcast::Sender<Arc<StampedEvent>>,
}

/// Where the answer to a request goes.
pub type Reply<T> = oneshot::Sender<Result<T, Refusal>>;

/// What can be asked of the daemon.
#[derive(Debug)]
pub enum DaemonRequest {
    /// Something the core answers.
    Core {
        /// What.
        command: Command,
        /// The core's answer.
        reply: Reply<Answer>,
    },
    /// Offer a folder to a device that has no part in it.
    Invite {
        /// Which: a folder's id in hexadecimal. `None` is the only folder, and refused if there are several.
        folder: Option<String>,
        /// The one-time code.
        reply: Reply<Invitation>,
    },
    /// Join a folder that another device offers.
    Join {
        /// The code of its invitation.
        code: String,
        /// Where the folder shall be here: an absolute path.
        path: PathBuf,
        /// Where the other device listens, `host:port`.
        at: String,
        /// What was joined, once pairing has succeeded.
        reply: Reply<Joined>,
    },
    /// Share a folder that is new to the world.
    ShareFolder {
        /// Where it is: an absolute path.
        path: PathBuf,
        /// Its name; the last component of the path if `None`.
        name: Option<String>,
        /// Its id. Sharing a path that is already shared answers the folder it is.
        reply: Reply<FolderId>,
    },
    /// Say goodbye to every peer and end.
    Shutdown,
}

/// An offer of a folder, good for one device and a short time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invitation {
    /// What the other person types.
    pub code: String,
    /// The folder's name.
    pub folder_name: String,
    /// Seconds for which the code is good.
    pub expires_secs: u64,
}

/// What was joined.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joined {
    /// The folder's name.
    pub folder_name: String,
    /// The name of the device that offered it.
    pub device_name: String,
}

/// Something that happened, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StampedEvent {
    /// When, as this device believes.
    pub at: WallTime,
    /// What.
    pub event: Event,
}

impl StampedEvent {
    /// The path it is about, where the event has it as bytes.
    fn path(&self) -> Option<&[u8]> {
        match &self.event {
            Event::LocalChange { path, .. } | Event::RemoteChange { path, .. } | Event::ConflictFound { path, .. } => {
                Some(path.as_bytes())
            }
            Event::PeerConnected { .. }
            | Event::PeerDisconnected { .. }
            | Event::Refused { .. }
            | Event::DialFailed { .. }
            | Event::FolderState { .. }
            | Event::ItemFailed { .. }
            | Event::TransferCompleted { .. }
            | Event::Audit { .. } => None,
        }
    }
}

/// The event's own fields, with `at` before them and `path_base64` behind where the path is not UTF-8.
impl Serialize for StampedEvent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Line<'a> {
            at: String,
            #[serde(flatten)]
            event: &'a Event,
            #[serde(skip_serializing_if = "Option::is_none")]
            path_base64: Option<String>,
        }
        let path_base64 = self.path().and_then(|bytes| JsonPath::from(bytes).path_base64);
        Line { at: rfc3339(self.at), event: &self.event, path_base64 }.serialize(serializer)
    }
}

/// RFC 3339 in UTC, to the nanosecond where there are any.
pub(super) fn rfc3339(at: WallTime) -> String {
    // Every i64 of nanoseconds lies between 1677 and 2262: the fallback cannot be reached.
    jiff::Timestamp::from_nanosecond(i128::from(at.0)).map_or_else(|_| at.0.to_string(), |t| t.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use sync_core::RelPath;

    fn json(event: Event) -> String {
        serde_json::to_string(&StampedEvent { at: WallTime(1_795_219_449_000_000_000), event }).unwrap()
    }

    #[test]
    fn an_event_is_one_flat_object_with_its_time() {
        let event = Event::Audit { kind: "pairing".into(), detail: "wrong code".into() };
        let want = r#"{"at":"2026-11-21T00:04:09Z","event":"audit","kind":"pairing","detail":"wrong code"}"#;
        assert_eq!(json(event), want);
    }

    #[test]
    fn a_path_that_is_not_utf8_comes_as_base64_too() {
        let change = |path: &[u8]| Event::LocalChange {
            folder: FolderId([7; 16]),
            path: RelPath::new(path).unwrap(),
            change: "created",
        };
        assert!(json(change(b"a\xff")).ends_with(r#""change":"created","path_base64":"Yf8="}"#));
        assert!(!json(change(b"a")).contains("base64"));
    }
}
