//! The control socket: how other processes of the same person ask the running daemon for things.
//!
//! [`handle`] is the daemon's side, [`server`] puts it on HTTP, [`client`] asks, [`view`] is what a client reads back.
//! Nothing here decides anything: requests go to the daemon, its answers come back.

pub mod client;
#[cfg(test)]
pub(crate) mod fake;
pub mod handle;
pub mod listener;
pub mod lock;
pub mod path;
pub mod server;
pub mod view;

pub use client::{Client, ClientError};
pub use handle::{DaemonHandle, DaemonRequest, Invitation, Joined, StampedEvent};
pub use listener::{CONTROL_SOCKET, ControlListener};
pub use lock::{HomeLock, LockError};
pub use server::serve;

#[cfg(test)]
mod tests;
