//! Pure decisions about one path: what the disk says of the past, and what it takes to make it as wanted.

mod copies;
mod local;
mod step;

pub use copies::Copies;
pub use local::{LocalChange, body_of, local_change};
pub use step::{Step, Wanted, step};
