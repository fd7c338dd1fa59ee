//! What a node is told at its birth, and every limit it keeps.

use crate::id::{DeviceId, PublicKey};
use alloc::string::String;
use core::time::Duration;

/// Who this device is and what it keeps to.
#[derive(Clone, Debug)]
pub struct Config {
    /// This device.
    pub device: DeviceId,
    /// The key it authenticates with.
    pub key: PublicKey,
    /// The name its person gave it.
    pub name: String,
    /// The UDP port it listens on, told to peers so that they can dial back.
    pub listen_port: u16,
    /// The address it listens on, for `status`.
    pub listen: String,
    /// Bounds on everything that could grow.
    pub limits: Limits,
}

/// Every queue, loop and retry has its bound here. Units are in the names or types.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Rows in one batch on the index lane.
    pub batch_rows: usize,
    /// Encoded bytes after which a batch of rows is closed.
    pub batch_bytes: usize,
    /// Paths in one probe.
    pub probe_paths: usize,
    /// Probes at once per folder.
    pub probes: usize,
    /// Operations in one apply.
    pub apply_ops: usize,
    /// Applies at once per folder.
    pub applies: usize,
    /// Paths the planner looks at in one `handle`.
    pub plan_paths: usize,
    /// Contents on their way at once per folder.
    pub transfers: usize,
    /// Files up to this many bytes have no chunk list and travel whole, in batches.
    pub small_bytes: u64,
    /// Bytes asked for in one request.
    pub request_bytes: u64,
    /// Items in one request.
    pub request_items: usize,
    /// Bytes asked for and not yet here, per peer.
    pub peer_window_bytes: u64,
    /// Verified bytes of a staged file that may not be durable yet.
    pub unsealed_bytes: u64,
    /// Bytes of a staged file that are asked for and not durable: what a crash may cost.
    pub exposed_bytes: u64,
    /// Longest time verified bytes stay undurable.
    pub unsealed_for: Duration,
    /// Requests a peer may have open with us.
    pub asks: usize,
    /// How long a hinted path must be quiet before it is probed.
    pub settle: Duration,
    /// First and longest pause before a failed item is tried again.
    pub retry: (Duration, Duration),
    /// How often everything is scanned, watcher or not.
    pub rescan: Duration,
    /// How long a peer may take to say `Hello`.
    pub handshake: Duration,
    /// How often a silent link is pinged.
    pub heartbeat: Duration,
    /// How long a peer may be mute.
    pub mute: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            batch_rows: 1_000,
            batch_bytes: 1 << 20,
            probe_paths: 128,
            probes: 4,
            apply_ops: 256,
            applies: 2,
            plan_paths: 512,
            transfers: 4_096,
            small_bytes: 64 << 10,
            request_bytes: 4 << 20,
            request_items: 256,
            peer_window_bytes: 16 << 20,
            unsealed_bytes: 8 << 20,
            exposed_bytes: 24 << 20,
            unsealed_for: Duration::from_secs(1),
            asks: 64,
            settle: Duration::from_millis(5),
            retry: (Duration::from_secs(1), Duration::from_secs(60)),
            rescan: Duration::from_secs(3_600),
            handshake: Duration::from_secs(10),
            heartbeat: Duration::from_secs(3),
            mute: Duration::from_secs(10),
        }
    }
}
