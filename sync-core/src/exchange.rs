//! What two devices tell each other about a folder: rows in one direction, and where each stands.

mod outgoing;

pub use outgoing::{Outgoing, Position};
