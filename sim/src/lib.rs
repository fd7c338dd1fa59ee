//! What the simulator is made of: models of the ports behind which the shipping code does its work, and a world in
//! which nodes of the shipping core live with people, disks, a network and all their faults.

pub mod dice;
pub mod disk;
pub mod index;
mod jobs;
pub mod net;
pub mod oracle;
pub mod run;
pub mod scenario;
pub mod user;
pub mod world;
