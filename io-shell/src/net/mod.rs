//! Connections to other devices: QUIC with raw public keys, lanes of frames, and pairing with a code.
//!
//! [`Network`] turns what the core asks for into streams, and what peers do into inputs. It decides nothing: who is
//! admitted, answered or hung up on is the core's business. Frames are not decoded here, only bounded.

mod code;
mod endpoint;
mod frame;
mod lanes;
mod link;
pub mod pairing;
pub mod tls;
mod transport;
pub mod world;

pub use code::{Code, CodeError};
pub use endpoint::{DIAL_TIMEOUT, MAX_UNADMITTED, Network};
pub use lanes::{MAX_PARKED, fetch_error, stream_code};
pub use link::{InputSink, MAX_QUEUED};

#[cfg(test)]
mod tests;
