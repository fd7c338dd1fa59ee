//! Links to other devices: when to dial, and how well a link does.

mod dial;
mod health;

pub use dial::{BackoffPolicy, DialState, Dialer};
pub use health::{Health, health};
