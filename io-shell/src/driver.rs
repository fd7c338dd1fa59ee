//! The driver: one loop that feeds the node, commits the index and performs what follows. It is the same in production
//! and in the simulator; what differs is behind [`Effects`] and [`World`](crate::world::World).

use crate::store::{Store, StoreError};
use crate::world::Clock;
use std::sync::Arc;
use std::time::Duration;
use sync_core::status::Status;
use sync_core::{Command, Config, Input, Instant, Moment, Node, Output};
use tokio::sync::{mpsc, watch};

/// Inputs that wait for the driver; whoever adds more waits.
pub const INBOX: usize = 4_096;
/// Inputs handled in one transaction.
const MAX_BATCH: usize = 512;
/// Shortest time between two snapshots.
const STATUS_PAUSE: Duration = Duration::from_millis(50);
/// Pause after the index has failed.
const INDEX_PAUSE: Duration = Duration::from_secs(1);

/// Performs what the node asks for. `perform` never blocks: results come back as inputs.
pub trait Effects {
    /// Carries out one output.
    fn perform(&mut self, output: Output);
    /// The node was dropped with all it knew of links and effects: end them.
    fn reset(&mut self);
}

/// Why the loop ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The node said [`Output::Stop`].
    Stopped,
    /// Nobody can send inputs any more.
    Abandoned,
}

/// The loop and what it owns.
pub struct Driver<E> {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// The index.
    pub store: Store,
    /// Who this device is.
    pub config: Config,
    /// Draws the seed of each node.
    pub seed: Box<dyn FnMut() -> u64 + Send>,
    /// Whether the database may have issued dots that it has forgotten.
    pub fresh_actor: bool,
    /// Where inputs come from.
    pub inbox: mpsc::Receiver<Input>,
    /// Where outputs go.
    pub effects: E,
    /// Where snapshots go.
    pub status: watch::Sender<Arc<Status>>,
}

/// How one batch went.
enum Turn {
    Goes,
    Stops,
}

impl<E: Effects> Driver<E> {
    /// Runs until the node stops or everybody who could send inputs is gone. Returns the index as well.
    pub async fn run(mut self) -> (Ended, Store) {
        let mut node = self.fresh_node();
        let mut ready = vec![Input::Start { fresh_actor: self.fresh_actor }];
        let mut status_at = Instant(0);
        loop {
            let now = self.clock.now();
            let wants_status = status_at <= now;
            match self.turn(&mut node, &mut ready, wants_status) {
                Ok(Turn::Stops) => return (Ended::Stopped, self.store),
                Ok(Turn::Goes) => {
                    if wants_status {
                        status_at = now + STATUS_PAUSE;
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "the index failed: starting again from what is stored");
                    if let Err(error) = self.store.rollback() {
                        tracing::error!(%error, "the failed batch could not be rolled back");
                    }
                    self.effects.reset();
                    tokio::time::sleep(INDEX_PAUSE).await;
                    if self.forget_inputs() {
                        return (Ended::Stopped, self.store);
                    }
                    node = self.fresh_node();
                    ready = vec![Input::Start { fresh_actor: self.fresh_actor }];
                    continue;
                }
            }
            if !self.gather(&node, &mut ready, status_at).await {
                return (Ended::Abandoned, self.store);
            }
        }
    }

    /// Drops what waits: it was for the node that is gone. Returns whether somebody wants to stop.
    fn forget_inputs(&mut self) -> bool {
        let mut stops = false;
        while let Ok(input) = self.inbox.try_recv() {
            stops |= matches!(input, Input::Request { command: Command::Shutdown, .. });
        }
        stops
    }

    fn fresh_node(&mut self) -> Node {
        Node::new(self.config.clone(), (self.seed)())
    }

    /// Handles a batch in one transaction, and performs what follows from it once it is committed.
    fn turn(&mut self, node: &mut Node, batch: &mut Vec<Input>, wants_status: bool) -> Result<Turn, StoreError> {
        let at = Moment { now: self.clock.now(), wall: self.clock.wall() };
        self.store.begin()?;
        let starts = matches!(batch.first(), Some(Input::Start { .. }));
        // Whoever has been answered finds what was done in the next snapshot.
        let wants_status = wants_status || batch.iter().any(|input| matches!(input, Input::Request { .. }));
        for input in batch.drain(..) {
            node.handle(input, at, &mut self.store)?;
        }
        let status = if wants_status { Some(node.status(&mut self.store)?) } else { None };
        if starts && self.fresh_actor {
            self.store.recovered()?;
        }
        self.store.commit()?;
        self.fresh_actor &= !starts;
        if let Some(status) = status {
            self.status.send_replace(Arc::new(status));
        }
        while let Some(output) = node.poll_output() {
            if matches!(output, Output::Stop) {
                return Ok(Turn::Stops);
            }
            self.effects.perform(output);
        }
        Ok(Turn::Goes)
    }

    /// Waits for the first input or the deadline, then takes everything else that is ready.
    async fn gather(&mut self, node: &Node, ready: &mut Vec<Input>, status_at: Instant) -> bool {
        let now = self.clock.now();
        let deadline = node.poll_timeout().map_or(status_at, |(at, _)| at);
        // A snapshot that is due is made with the next batch; without one it is soon enough when the pause is over.
        let wait = deadline.min(status_at.max(now + STATUS_PAUSE)).since(now);
        let room = MAX_BATCH;
        if wait.is_zero() {
            while ready.len() < room {
                match self.inbox.try_recv() {
                    Ok(input) => ready.push(input),
                    Err(mpsc::error::TryRecvError::Empty) => break,
                    Err(mpsc::error::TryRecvError::Disconnected) => return false,
                }
            }
            tokio::task::yield_now().await;
        } else {
            let received = tokio::time::timeout(wait, self.inbox.recv_many(ready, room)).await;
            if received == Ok(0) {
                return false;
            }
        }
        if ready.is_empty() {
            ready.push(Input::Wake);
        }
        true
    }
}
