//! Runs of cases, with panics as violations.

use crate::case::Case;
use crate::cli::WorldKind;
use crate::core::world::World;
use crate::outcome::{Invariant, Outcome, Violation};
use crate::shell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// Lives through the case of one seed.
pub fn run(seed: u64, trace: bool) -> Outcome {
    run_case(Case::of(seed), trace)
}

/// Lives through a case.
pub fn run_case(case: Case, trace: bool) -> Outcome {
    guarded(|| World::new(case, trace).run())
}

/// A case of either world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AnyCase {
    /// A tape of the core world.
    Core(Case),
    /// A plan of the turmoil world.
    Turmoil(shell::case::Case),
}

impl AnyCase {
    /// The case that `seed` stands for.
    pub fn of(world: WorldKind, seed: u64) -> Self {
        match world {
            WorldKind::Core => Self::Core(Case::of(seed)),
            WorldKind::Turmoil => Self::Turmoil(shell::case::Case::of(seed)),
        }
    }

    /// Reads a case file. One of the turmoil world says so.
    ///
    /// # Errors
    /// What is wrong with the text, and where.
    pub fn parse(text: &str) -> Result<Self, String> {
        let raw: serde_json::Value = serde_json::from_str(text).map_err(|e| format!("not a case file: {e}"))?;
        match raw.get("world") {
            None => Case::parse(text).map(Self::Core),
            Some(_) => shell::case::Case::parse(text).map(Self::Turmoil),
        }
    }

    /// The cases that are kept in `sim/cases`, with the names of their files.
    ///
    /// # Errors
    /// One of them cannot be read, or is no case.
    pub fn committed() -> Result<Vec<(String, Self)>, String> {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases");
        let entries = std::fs::read_dir(&dir).map_err(|e| format!("cannot read {}: {e}", dir.display()))?;
        let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        files.sort();
        let name = |file: &Path| file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        files.iter().map(|file| Ok((name(file), Self::read(file)?))).collect()
    }

    /// Reads a case file.
    ///
    /// # Errors
    /// It cannot be read, or is no case file.
    pub fn read(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
        Self::parse(&text).map_err(|e| format!("{}: {e}", path.display()))
    }

    /// The case file.
    pub fn to_text(&self) -> String {
        match self {
            Self::Core(case) => case.to_text(),
            Self::Turmoil(case) => case.to_text(),
        }
    }

    /// The seeded fault that it finds.
    pub fn mutant(&self) -> Option<&str> {
        match self {
            Self::Core(case) => case.mutant.as_deref(),
            Self::Turmoil(case) => case.mutant.as_deref(),
        }
    }

    /// Lives through it. With `trace`, what happens goes to the terminal.
    pub fn live(&self, trace: bool) -> Outcome {
        match self {
            Self::Core(case) => run_case(case.clone(), trace),
            Self::Turmoil(case) => {
                let _log = trace.then(shell::clock::log_to_stderr);
                case.live()
            }
        }
    }
}

/// Lives through something that may panic, which nothing of ours may do whatever happens to it.
pub fn guarded(live: impl FnOnce() -> Outcome) -> Outcome {
    catch_unwind(AssertUnwindSafe(live)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).into())).unwrap_or_default();
        let what = format!("panic: {text}");
        let violation = Violation { invariant: Invariant::Containment, at_us: 0, event: 0, what };
        Outcome { violations: vec![violation], ..Outcome::default() }
    })
}

/// How to see a run again.
pub fn replay_command(world: &str, seed: u64) -> String {
    format!("cargo run --release -p sim -- replay --world {world} --seed {seed} --trace")
}
