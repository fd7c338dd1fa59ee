//! The streams of one admitted connection: the two lanes each way, and the peer's requests.

use super::frame::{self, FrameError};
use super::link::Inbox;
use bytes::Bytes;
use quinn::{Connection, RecvStream, SendStream, VarInt};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use sync_core::id::{AskId, LinkId};
use sync_core::input::Lane;
use sync_core::{FetchError, Input};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;

/// Requests of one peer that may wait for their answer at once.
pub const MAX_PARKED: usize = 256;
/// How long a peer may take to say what it asks for.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);
/// Frames that are handed to the transport in one go.
const WRITE_BATCH: usize = 64;

/// The stream code that says why a request is not answered.
pub fn stream_code(error: FetchError) -> VarInt {
    VarInt::from_u32(match error {
        FetchError::NotFound => 1,
        FetchError::Changed => 2,
        FetchError::Busy => 3,
        FetchError::Refused => 4,
        FetchError::BadHash => 5,
        FetchError::Broken => 6,
    })
}

/// What the end of an answer means to who asked.
pub fn fetch_error(error: &quinn::ReadError) -> FetchError {
    match error {
        quinn::ReadError::Reset(code) if *code == stream_code(FetchError::Busy) => FetchError::Busy,
        quinn::ReadError::Reset(code) if *code == stream_code(FetchError::Refused) => FetchError::Refused,
        quinn::ReadError::Reset(_)
        | quinn::ReadError::ConnectionLost(_)
        | quinn::ReadError::ClosedStream
        | quinn::ReadError::IllegalOrderedRead
        | quinn::ReadError::ZeroRttRejected => FetchError::Broken,
    }
}

/// Requests that wait for their answer, of all connections.
#[derive(Default)]
pub(super) struct Asks {
    parked: Mutex<BTreeMap<AskId, Parked>>,
    last: AtomicU64,
}

struct Parked {
    link: LinkId,
    stream: SendStream,
    _place: OwnedSemaphorePermit,
}

impl Asks {
    /// The stream to answer on, once.
    pub(super) fn take(&self, ask: AskId) -> Option<SendStream> {
        self.lock().remove(&ask).map(|parked| parked.stream)
    }

    /// Forgets the requests of a connection.
    pub(super) fn forget(&self, link: LinkId) {
        self.lock().retain(|_, parked| parked.link != link);
    }

    fn park(&self, link: LinkId, stream: SendStream, place: OwnedSemaphorePermit) -> AskId {
        let ask = AskId(self.last.fetch_add(1, Ordering::Relaxed) + 1);
        self.lock().insert(ask, Parked { link, stream, _place: place });
        ask
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<AskId, Parked>> {
        self.parked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the readers of one connection need.
#[derive(Clone)]
pub(super) struct Reader {
    pub(super) link: LinkId,
    pub(super) connection: Connection,
    pub(super) inbox: Inbox,
    pub(super) asks: Arc<Asks>,
}

impl Reader {
    /// Reads the lanes of the peer until the connection ends.
    pub(super) async fn read_lanes(self) {
        let taken: Arc<[AtomicBool; 2]> = Arc::default();
        let mut streams = JoinSet::new();
        while let Ok(recv) = self.connection.accept_uni().await {
            streams.spawn(self.clone().read_lane(recv, taken.clone()));
        }
        join_all(streams, &self.connection).await;
    }

    async fn read_lane(self, mut recv: RecvStream, taken: Arc<[AtomicBool; 2]>) {
        if let Err(FrameError::Violation(reason)) = self.relay_lane(&mut recv, &taken).await {
            self.misbehaved(reason).await;
        }
    }

    async fn relay_lane(&self, recv: &mut RecvStream, taken: &[AtomicBool; 2]) -> Result<(), FrameError> {
        let lane = claim_lane(recv, taken).await?;
        loop {
            match frame::read(lane, recv).await {
                Ok(Some(frame)) => self.inbox.put(Input::Received { link: self.link, lane, frame }).await,
                Ok(None) => return Ok(()),
                Err(FrameError::Gone(quinn::ReadError::Reset(_))) => {
                    return Err(FrameError::Violation(format!("the {lane:?} lane was reset: frames are missing")));
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads the requests of the peer until the connection ends.
    pub(super) async fn read_asks(self) {
        let places = Arc::new(Semaphore::new(MAX_PARKED));
        let mut streams = JoinSet::new();
        while let Ok((mut send, mut recv)) = self.connection.accept_bi().await {
            while streams.try_join_next().is_some() {}
            match places.clone().try_acquire_owned() {
                Ok(place) => {
                    streams.spawn(self.clone().read_ask(send, recv, place));
                }
                Err(_) => refuse(&mut send, &mut recv, FetchError::Busy),
            }
        }
        join_all(streams, &self.connection).await;
    }

    async fn read_ask(self, mut send: SendStream, mut recv: RecvStream, place: OwnedSemaphorePermit) {
        match tokio::time::timeout(ASK_TIMEOUT, frame::read_ask(&mut recv)).await {
            Ok(Ok(frame)) => {
                let ask = self.asks.park(self.link, send, place);
                self.inbox.put(Input::Asked { link: self.link, ask, frame }).await;
            }
            Ok(Err(FrameError::Violation(reason))) => self.misbehaved(reason).await,
            // The peer has changed its mind, or is gone.
            Ok(Err(FrameError::Gone(_))) => {}
            Err(_) => refuse(&mut send, &mut recv, FetchError::Broken),
        }
    }

    async fn misbehaved(&self, reason: String) {
        self.inbox.put(Input::Misbehaved { link: self.link, reason }).await;
    }
}

/// The lane that a new stream is for, if no other stream has it.
async fn claim_lane(recv: &mut RecvStream, taken: &[AtomicBool; 2]) -> Result<Lane, FrameError> {
    let mut byte = [0; 1];
    recv.read_exact(&mut byte).await.map_err(|error| match error {
        quinn::ReadExactError::ReadError(error) => FrameError::Gone(error),
        quinn::ReadExactError::FinishedEarly(_) => FrameError::Violation("a stream that names no lane".into()),
    })?;
    let lane = frame::lane_of_byte(byte[0])
        .ok_or_else(|| FrameError::Violation(format!("a stream for the unknown lane {}", byte[0])))?;
    if taken[usize::from(byte[0])].swap(true, Ordering::Relaxed) {
        return Err(FrameError::Violation(format!("a second stream for the {lane:?} lane")));
    }
    Ok(lane)
}

/// Gives a request up in both directions.
fn refuse(send: &mut SendStream, recv: &mut RecvStream, why: FetchError) {
    // A stream that is closed already needs no code.
    let _ = send.reset(stream_code(why));
    let _ = recv.stop(stream_code(why));
}

/// Waits for the readers of a connection; one that panicked takes the connection with it, and nothing else.
pub(super) async fn join_all(mut tasks: JoinSet<()>, connection: &Connection) {
    while let Some(outcome) = tasks.join_next().await {
        check_task(outcome, connection);
    }
}

/// Closes the connection of a task that panicked.
pub(super) fn check_task(outcome: Result<(), tokio::task::JoinError>, connection: &Connection) {
    if let Err(error) = outcome {
        tracing::error!(%error, "a task of a connection failed: the connection is closed");
        connection.close(VarInt::from_u32(0), b"internal error");
    }
}

/// How a lane learns that nothing more will be said on it: the message carries where to report that all arrived.
pub(super) struct Finish(pub(super) Option<oneshot::Receiver<oneshot::Sender<()>>>);

impl Finish {
    /// Comes at most once; never for a lane that ends with its connection.
    async fn asked(&mut self) -> Option<oneshot::Sender<()>> {
        match &mut self.0 {
            // Without a sender there is nobody to tell, and the connection is about to end.
            Some(finish) => finish.await.ok(),
            None => std::future::pending().await,
        }
    }
}

/// Writes one lane of ours.
pub(super) struct Writer {
    pub(super) link: LinkId,
    pub(super) lane: Lane,
    pub(super) connection: Connection,
    pub(super) inbox: Inbox,
    pub(super) queue: mpsc::Receiver<Vec<u8>>,
}

impl Writer {
    /// Writes until the connection ends, or `finish` comes and all that was queued before it has reached the peer.
    pub(super) async fn run(mut self, mut finish: Finish) {
        let mut stream = None;
        let mut finished = None;
        let mut batch = Vec::new();
        loop {
            let count = tokio::select! {
                biased;
                done = finish.asked(), if finished.is_none() => {
                    self.queue.close();
                    finished = Some(done);
                    continue;
                }
                count = self.queue.recv_many(&mut batch, WRITE_BATCH) => count,
            };
            if count == 0 {
                break;
            }
            if self.write(&mut stream, &mut batch).await.is_err() {
                return;
            }
        }
        if let Some(stream) = &mut stream {
            flush(stream).await;
        }
        if let Some(done) = finished.flatten() {
            // Who hangs up has stopped waiting if this fails.
            let _ = done.send(());
        }
    }

    async fn write(&self, stream: &mut Option<SendStream>, batch: &mut Vec<Vec<u8>>) -> Result<(), quinn::WriteError> {
        let frames = u64::try_from(batch.len()).unwrap_or(u64::MAX);
        let mut chunks: Vec<Bytes> = batch.drain(..).flat_map(|frame| frame::encode(self.lane, frame)).collect();
        let stream = match stream {
            Some(stream) => stream,
            None => {
                chunks.insert(0, Bytes::copy_from_slice(&[frame::lane_byte(self.lane)]));
                stream.insert(self.open().await?)
            }
        };
        stream.write_all_chunks(&mut chunks).await?;
        match self.lane {
            Lane::Control => {}
            Lane::Index => {
                for _ in 0..frames {
                    self.inbox.put(Input::Sent { link: self.link }).await;
                }
            }
        }
        Ok(())
    }

    async fn open(&self) -> Result<SendStream, quinn::WriteError> {
        let stream = self.connection.open_uni().await.map_err(quinn::WriteError::ConnectionLost)?;
        let priority = match self.lane {
            Lane::Control => 2,
            Lane::Index => 1,
        };
        // Only a closed stream has no priority, and the write that follows says so.
        let _ = stream.set_priority(priority);
        Ok(stream)
    }
}

/// Ends a stream and waits until the peer has all of it, or will not have it.
async fn flush(stream: &mut SendStream) {
    if stream.finish().is_ok() {
        // Either answer means that there is nothing left to wait for.
        let _ = stream.stopped().await;
    }
}
