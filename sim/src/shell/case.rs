//! A case of the turmoil world: its plan written out, so that it can be made smaller and outlives the generator.

use super::plan::Plan;
use super::world::World;
use crate::cli::WorldKind;
use crate::outcome::Outcome;
use crate::run::guarded;
use serde::{Deserialize, Serialize};

/// The format of case files of this world.
const FORMAT: u32 = 1;

/// Everything a run depends on, besides the code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// The format of this file.
    pub format: u32,
    /// Always the turmoil world: it tells the file from one of the core world.
    pub world: WorldKind,
    /// Decides what the plan leaves open.
    pub seed: u64,
    /// What was found with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// The seeded fault of our own code that it finds; the code as it is must hold it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mutant: Option<String>,
    /// What happens.
    pub plan: Plan,
}

impl Case {
    /// The case that `seed` stands for.
    pub fn of(seed: u64) -> Self {
        Self { format: FORMAT, world: WorldKind::Turmoil, seed, note: None, mutant: None, plan: Plan::of(seed) }
    }

    /// Reads a case file.
    ///
    /// # Errors
    /// What is wrong with the text, and where.
    pub fn parse(text: &str) -> Result<Self, String> {
        let case: Self =
            serde_json::from_str(text).map_err(|e| format!("not a case file of the turmoil world: {e}"))?;
        if case.format != FORMAT {
            return Err(format!("a case file of format {}, where {FORMAT} is known", case.format));
        }
        if !(2..=16).contains(&case.plan.hosts) {
            return Err("a case of the turmoil world has 2 to 16 devices".into());
        }
        Ok(case)
    }

    /// The case file.
    pub fn to_text(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }

    /// Lives through it.
    pub fn live(&self) -> Outcome {
        guarded(|| World::new(self.seed, self.plan.clone()).run())
    }
}
