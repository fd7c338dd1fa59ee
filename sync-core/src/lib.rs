//! The protocol of landropic as one pure state machine.
//!
//! [`Node`] is the only entry: feed it an [`Input`] with the time, drain its [`Output`]s, sleep until its deadline.
//! It knows no clock, socket, file, thread or randomness of its own: the shell (`io-shell`) or a simulator (`sim`)
//! supplies them, and the same inputs always give the same outputs. `no_std` makes the compiler keep it so.
#![no_std]

extern crate alloc;

pub mod config;
mod context;
pub mod error;
pub mod exchange;
mod folder;
pub mod id;
pub mod index;
pub mod input;
pub mod link;
mod node;
pub mod output;
pub mod path;
pub mod plan;
pub mod proving;
pub mod rng;
pub mod status;
pub mod time;
pub mod transfer;
pub mod wire;

pub use config::{Config, Limits};
pub use error::{CloseCode, FetchError, ItemError, ItemErrorKind};
pub use id::{Actor, ContentId, DeviceId, FolderId};
pub use input::{Command, Input};
pub use node::Node;
pub use output::{Event, Output};
pub use path::{DirPath, Name, RelPath};
pub use time::{Instant, Moment, Timer, WallTime};
