//! Who keeps the name of a conflict.

use crate::id::{Actor, DeviceId};
use alloc::{collections::BTreeMap, vec::Vec};
use minicbor::{Decode, Encode};

/// Which of several concurrent files keeps the name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Encode, Decode)]
pub enum Policy {
    /// The one with the newest stamp.
    #[default]
    #[n(0)]
    Newest,
    /// The largest, then the newest.
    #[n(1)]
    Largest,
    /// That of the first device listed, then the newest.
    #[n(2)]
    Prefer {
        /// Actors of the preferred devices with their rank, lower first.
        #[n(0)]
        rank: BTreeMap<Actor, u32>,
    },
}

/// A policy as a person chooses it, and as devices tell each other. Devices become actors where it is used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Encode, Decode)]
pub enum PolicyChoice {
    /// Newest stamp.
    #[default]
    #[n(0)]
    Newest,
    /// Largest file.
    #[n(1)]
    Largest,
    /// These devices, in order.
    #[n(2)]
    Prefer(#[n(0)] Vec<DeviceId>),
}

impl PolicyChoice {
    /// The policy, given each device's actors.
    pub fn resolve(&self, actors: impl Fn(DeviceId) -> Vec<Actor>) -> Policy {
        match self {
            Self::Newest => Policy::Newest,
            Self::Largest => Policy::Largest,
            Self::Prefer(order) => Policy::prefer(order, actors),
        }
    }
}

impl Policy {
    /// The policy that prefers devices in the order given, from each one's actors.
    pub fn prefer(order: &[DeviceId], actors: impl Fn(DeviceId) -> Vec<Actor>) -> Self {
        let ranked = order.iter().zip(0..).flat_map(|(d, rank)| actors(*d).into_iter().map(move |a| (a, rank)));
        Self::Prefer { rank: ranked.collect() }
    }
}
