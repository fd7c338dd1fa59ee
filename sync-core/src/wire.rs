//! Messages between devices. `PROTOCOL.md` beside this crate has the table: message, lane, legal states, limits.

mod codec;
mod message;

pub use codec::{DecodeError, decode, encode};
pub use message::{
    Caught, Flow, FolderOffer, Have, Hello, KnownPages, ListWant, MAX_CONTROL_FRAME, MAX_INDEX_FRAME, MAX_KNOWN_PAGES,
    MAX_ROWS, MAX_WANT_ITEMS, Message, PROTOCOL_VERSION, Rows, SyncStart, Want, WantItem, WireRow,
};
