//! One connection from `LinkUp` to `LinkDown`, owned by one task.

use super::lanes::{Asks, Finish, Reader, Writer, check_task};
use quinn::{Connection, ConnectionError, VarInt};
use std::sync::Arc;
use std::time::Duration;
use sync_core::id::{EffectId, LinkId, PublicKey};
use sync_core::input::{Lane, LinkStats};
use sync_core::{CloseCode, Input};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::task::JoinSet;

/// Frames that may wait on a lane. The core sends the next index frames only after `Sent`, and little on the control
/// lane: a peer that lets this many pile up is not reading.
pub const MAX_QUEUED: usize = 4_096;
/// How long a hang-up waits for what was said before it.
const FLUSH: Duration = Duration::from_millis(200);
/// How often a connection is measured.
const STATS_EVERY: Duration = Duration::from_secs(1);
/// Requests of the peer that the transport lets in at once.
pub(super) const MAX_BIDI_STREAMS: u32 = 1_024;
/// Bytes of an admitted connection that may be under way to us.
pub(super) const CONNECTION_WINDOW: u32 = 64 << 20;

/// Where inputs go. Putting waits while it is full: that is what slows a fast peer down.
pub type InputSink = mpsc::Sender<Input>;

/// The sink, for those who cannot do anything about its end.
#[derive(Clone)]
pub(super) struct Inbox(pub(super) InputSink);

impl Inbox {
    /// Waits for room. Once the driver is gone inputs have no meaning, and the connections end with it.
    pub(super) async fn put(&self, input: Input) {
        let _ = self.0.send(input).await;
    }
}

/// What the owner of a connection is told to do.
pub(super) enum Order {
    Admit,
    HangUp(CloseCode, String),
}

/// The outside of a connection.
pub(super) struct Handle {
    pub(super) connection: Connection,
    pub(super) control: mpsc::Sender<Vec<u8>>,
    pub(super) index: mpsc::Sender<Vec<u8>>,
    orders: mpsc::Sender<Order>,
}

impl Handle {
    /// Tells the owner. If it is so far behind that its orders pile up, the connection ends at once.
    pub(super) fn order(&self, order: Order) {
        match self.orders.try_send(order) {
            // Its `LinkDown` is on the way.
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => {}
            Err(mpsc::error::TrySendError::Full(_)) => close(&self.connection, CloseCode::None, "too many orders"),
        }
    }
}

/// A connection whose peer has proved its key.
pub(super) struct Arrival {
    pub(super) link: LinkId,
    pub(super) connection: Connection,
    pub(super) key: PublicKey,
    pub(super) addr: String,
    pub(super) dial: Option<EffectId>,
    /// One of the places for connections that nobody has admitted.
    pub(super) place: Option<OwnedSemaphorePermit>,
}

/// The inside of a connection.
pub(super) struct Owner {
    arrival: Arrival,
    inbox: Inbox,
    asks: Arc<Asks>,
    orders: mpsc::Receiver<Order>,
    queues: Option<Queues>,
    finish: Option<oneshot::Sender<oneshot::Sender<()>>>,
    tasks: JoinSet<()>,
}

/// What is to be sent, until the connection is admitted.
struct Queues {
    control: mpsc::Receiver<Vec<u8>>,
    index: mpsc::Receiver<Vec<u8>>,
}

impl Owner {
    /// The two sides of a new connection.
    pub(super) fn new(arrival: Arrival, inbox: Inbox, asks: Arc<Asks>) -> (Handle, Self) {
        let (control, control_queue) = mpsc::channel(MAX_QUEUED);
        let (index, index_queue) = mpsc::channel(MAX_QUEUED);
        let (order, orders) = mpsc::channel(8);
        let handle = Handle { connection: arrival.connection.clone(), control, index, orders: order };
        let queues = Some(Queues { control: control_queue, index: index_queue });
        let owner = Self { arrival, inbox, asks, orders, queues, finish: None, tasks: JoinSet::new() };
        (handle, owner)
    }

    /// Runs the connection to its end: `LinkUp` first, `LinkDown` last. `gone` drops the handle.
    pub(super) async fn run(mut self, gone: impl FnOnce() + Send) {
        let Arrival { link, key, dial, .. } = self.arrival;
        self.inbox.put(Input::LinkUp { link, key, addr: self.arrival.addr.clone(), dial }).await;
        let end = self.serve().await;
        // The ends of the queues are with the handle: without it the writers stop waiting for more.
        gone();
        while let Some(outcome) = self.tasks.join_next().await {
            check_task(outcome, &self.arrival.connection);
        }
        self.asks.forget(link);
        let (code, reason) = describe(&end);
        self.inbox.put(Input::LinkDown { link, code, reason }).await;
    }

    async fn serve(&mut self) -> ConnectionError {
        let connection = self.arrival.connection.clone();
        let mut measure = tokio::time::interval(STATS_EVERY);
        loop {
            tokio::select! {
                biased;
                end = connection.closed() => return end,
                order = self.orders.recv() => match order {
                    Some(Order::Admit) => self.admit(),
                    Some(Order::HangUp(code, reason)) => self.hang_up(code, &reason).await,
                    None => close(&connection, CloseCode::ShuttingDown, "the daemon is stopping"),
                },
                Some(outcome) = self.tasks.join_next() => check_task(outcome, &connection),
                _ = measure.tick() => self.measure(),
            }
        }
    }

    /// Opens the door: everything before this waits in the transport, within small windows.
    fn admit(&mut self) {
        let Some(queues) = self.queues.take() else { return };
        self.arrival.place = None;
        let (link, connection) = (self.arrival.link, &self.arrival.connection);
        connection.set_receive_window(VarInt::from_u32(CONNECTION_WINDOW));
        connection.set_max_concurrent_bi_streams(VarInt::from_u32(MAX_BIDI_STREAMS));
        let (inbox, asks) = (self.inbox.clone(), self.asks.clone());
        let reader = Reader { link, connection: connection.clone(), inbox: inbox.clone(), asks };
        let (finish, finish_control) = oneshot::channel();
        self.finish = Some(finish);
        // The index lane ends with its connection: what is left on it is said again on the next one.
        let lanes =
            [(Lane::Control, queues.control, Finish(Some(finish_control))), (Lane::Index, queues.index, Finish(None))];
        for (lane, queue, finish) in lanes {
            let writer = Writer { link, lane, connection: connection.clone(), inbox: inbox.clone(), queue };
            self.tasks.spawn(writer.run(finish));
        }
        self.tasks.spawn(reader.clone().read_lanes());
        self.tasks.spawn(reader.read_asks());
    }

    /// Closes the connection, but first gives what was said on the control lane a moment to arrive.
    async fn hang_up(&mut self, code: CloseCode, reason: &str) {
        if let Some(finish) = self.finish.take() {
            let (done, told) = oneshot::channel();
            if finish.send(done).is_ok() {
                // Too late or too broken: it is closed either way.
                let _ = tokio::time::timeout(FLUSH, told).await;
            }
        }
        close(&self.arrival.connection, code, reason);
    }

    /// Measurements are about now: where there is no room for them they are dropped.
    fn measure(&self) {
        let stats = stats(&self.arrival.connection);
        let _ = self.inbox.0.try_send(Input::LinkStats { link: self.arrival.link, stats });
    }
}

/// Closes with one of our codes.
pub(super) fn close(connection: &Connection, code: CloseCode, reason: &str) {
    connection.close(VarInt::from_u32(code as u32), reason.as_bytes());
}

fn stats(connection: &Connection) -> LinkStats {
    let stats = connection.stats();
    LinkStats {
        rtt_us: u64::try_from(stats.path.rtt.as_micros()).unwrap_or(u64::MAX),
        packets_sent: stats.path.sent_packets,
        packets_lost: stats.path.lost_packets,
        bytes_sent: stats.udp_tx.bytes,
        bytes_received: stats.udp_rx.bytes,
    }
}

/// The peer's code, and a sentence.
pub(super) fn describe(end: &ConnectionError) -> (CloseCode, String) {
    match end {
        ConnectionError::ApplicationClosed(close) => {
            let code = CloseCode::from_wire(close.error_code.into_inner());
            (code, String::from_utf8_lossy(&close.reason).into_owned())
        }
        ConnectionError::LocallyClosed => (CloseCode::None, "closed here".into()),
        ConnectionError::TimedOut => (CloseCode::None, "the peer does not answer any more".into()),
        ConnectionError::Reset => (CloseCode::None, "the peer does not know this connection: it was restarted".into()),
        ConnectionError::VersionMismatch
        | ConnectionError::TransportError(_)
        | ConnectionError::ConnectionClosed(_)
        | ConnectionError::CidsExhausted => (CloseCode::None, end.to_string()),
    }
}
