//! The only dispatcher.

/// x
pub struct Node;
