//! What the simulator is made of: models of the ports behind which the shipping code does its work.

pub mod index;
