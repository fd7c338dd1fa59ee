//! Two daemons that share one folder.

use crate::daemon::Daemon;
use crate::lab::Lab;
use crate::tree::Tree;
use std::path::Path;

/// Two daemons, the first of which offered the folder.
pub struct Pair<'l> {
    lab: &'l Lab,
    /// Offered the folder.
    pub a: Daemon<'l>,
    /// Joined it.
    pub b: Daemon<'l>,
}

impl<'l> Pair<'l> {
    /// Starts both, the folder of the first having been filled by `fill`, and waits until they agree.
    pub fn new(lab: &'l Lab, fill: impl FnOnce(&Path)) -> Self {
        let (mut a, mut b) = (Daemon::new(lab, "a"), Daemon::new(lab, "b"));
        fill(&a.root);
        a.up();
        b.join(&a);
        let pair = Self { lab, a, b };
        pair.settle();
        pair
    }

    /// Both daemons, started by the test itself.
    pub fn of(lab: &'l Lab, a: Daemon<'l>, b: Daemon<'l>) -> Self {
        Self { lab, a, b }
    }

    /// Waits until both folders hold the same and both daemons say so; returns what they hold.
    pub fn settle(&self) -> Tree {
        self.lab.wait_for("both folders are the same", || {
            let (a, b) = (Tree::read(&self.a.root), Tree::read(&self.b.root));
            a.same(&b).map_err(|text| format!("{text}\n{}", self.words()))?;
            self.both_say_so()?;
            Ok(a)
        })
    }

    /// Waits until both folders hold `wanted` and both daemons say that they are in sync.
    pub fn settle_to(&self, wanted: &Tree) {
        self.lab.wait_for("both folders are as wanted", || {
            for side in [&self.b, &self.a] {
                let same = wanted.same(&Tree::read(&side.root));
                same.map_err(|text| format!("{} is not as wanted: {text}\n{}", side.name, self.words()))?;
            }
            self.both_say_so()
        });
    }

    /// What both daemons say of themselves.
    fn words(&self) -> String {
        let words = |side: &Daemon<'_>| {
            let status = side.status();
            let (missing, folder) = (&status["missing"], &status["folders"][0]);
            let (errors, transfers) = (&folder["errors"], &status["transfers"]);
            format!("{}: {} {missing} errors {errors} transfers {transfers}", side.name, folder["state"])
        };
        format!("{}\n{}", words(&self.a), words(&self.b))
    }

    fn both_say_so(&self) -> Result<(), String> {
        for side in [&self.a, &self.b] {
            let status = side.status();
            if status["synced"] != true {
                return Err(format!("{} says: {} {}", side.name, status["missing"], status["folders"][0]["errors"]));
            }
        }
        Ok(())
    }

    /// Stops the second daemon, lets both sides change, and starts it again.
    pub fn apart(&mut self, change: impl FnOnce(&Path, &Path)) {
        let (ended, _) = self.b.terminate();
        assert!(ended.success(), "b ended with {ended}");
        change(&self.a.root, &self.b.root);
        self.b.restart();
    }
}
