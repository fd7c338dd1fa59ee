//! What the simulator is made of: worlds in which the shipping code lives with people, disks, a network and all their
//! faults, and one oracle that judges them.

pub mod case;
pub mod cli;
pub mod conditions;
pub mod core;
pub mod coverage;
pub mod dice;
pub mod fuzz;
pub mod mutants;
pub mod oracle;
pub mod outcome;
pub mod report;
pub mod run;
pub mod scenario;
pub mod scenarios;
pub mod shell;
pub mod shrink;
