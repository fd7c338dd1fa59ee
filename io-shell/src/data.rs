//! The data lane: contents asked of peers and written to the staging area, and contents of this device sent to them.

use crate::folders::Folders;
use crate::fs::{
    Buffer, Buffers, Lists, StageError, StageFile, basis_list, open_source, reuse, source_list, stage_small,
};
use crate::net::{Network, fetch_error, stream_code};
use crate::world::{Work, block};
use bytes::Bytes;
use quinn::{RecvStream, SendStream};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use sync_core::id::PageId;
use sync_core::input::{CopyError, FetchFailure};
use sync_core::output::{Serve, Source};
use sync_core::proving::{Mutant, Point, is_mutant, sometimes};
use sync_core::transfer::{Bits, ChunkList, SCHEME};
use sync_core::wire::{KnownPages, ListWant, MAX_KNOWN_PAGES, Message, Want, WantItem, encode};
use sync_core::{ContentId, FetchError, FolderId};
use tokio::sync::oneshot;

/// How long an answer may go without a byte.
const STALL: Duration = Duration::from_secs(30);
/// Bytes read from a file for one write to a stream.
const PIECE: u64 = 512 << 10;
/// Bytes of a chunk list read at once.
const LIST_PIECE: usize = 1 << 20;

/// Moves contents. Clones are the same lane.
#[derive(Clone)]
pub struct DataLane {
    network: Network,
    folders: Folders,
    work: Arc<dyn Work>,
    /// Staged files being written.
    open: Arc<Mutex<OpenFiles>>,
    lists: Lists,
    buffers: Buffers,
}

/// Each behind a lock of its own, for as long as it is being opened.
type OpenFiles = BTreeMap<(FolderId, ContentId), Arc<Mutex<Option<Arc<StageFile>>>>>;

/// A range of a large content to be fetched.
#[derive(Debug)]
pub struct RangeFetch {
    /// Into which folder.
    pub folder: FolderId,
    /// The content.
    pub content: ContentId,
    /// Bytes of the whole.
    pub size: u64,
    /// Where the range starts, bytes.
    pub offset: u64,
    /// Its chunks.
    pub chunks: ChunkList,
}

impl DataLane {
    /// A lane over `network` into and out of `folders`.
    pub fn new(network: Network, folders: Folders, work: Arc<dyn Work>) -> Self {
        Self { network, folders, work, open: Arc::default(), lists: Lists::default(), buffers: Buffers::default() }
    }

    /// The chunk lists that are kept.
    pub fn lists(&self) -> &Lists {
        &self.lists
    }

    /// Forgets the open file of a staged content, at once; what is returned gives it, and may wait while it is being opened.
    pub fn close(
        &self,
        folder: FolderId,
        content: ContentId,
    ) -> impl FnOnce() -> Option<Arc<StageFile>> + Send + use<> {
        let place = self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&(folder, content));
        move || place?.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Forgets the open files of folders.
    pub fn close_all(&self, of: impl Fn(FolderId) -> bool) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).retain(|(folder, _), _| !of(*folder));
    }

    /// Runs `job` where it may block.
    async fn block<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        block(self.work.as_ref(), job).await
    }

    /// The chunk list of a content of `size` bytes; of a long one, only the pages that `basis` does not have are sent.
    pub async fn fetch_list(
        &self,
        link: sync_core::id::LinkId,
        folder: FolderId,
        content: ContentId,
        size: u64,
        basis: Option<Source>,
    ) -> Result<ChunkList, FetchFailure> {
        let known = match basis {
            Some(basis) => self.pages_of(basis, size).await,
            None => None,
        };
        let ids = known.as_ref().map(|known| KnownPages(known.ids()));
        let want = Message::ListWant(ListWant { folder, content, scheme: SCHEME, known: ids });
        let mut answer = Answer(self.network.ask(link, &encode(&want)).await.map_err(FetchFailure::Peer)?);
        answer.code().await?;
        let list = answer.list(size, known.as_ref()).await?;
        self.lists.keep(content, size, Arc::new(list.clone()));
        Ok(list)
    }

    async fn pages_of(&self, basis: Source, size: u64) -> Option<Pages> {
        let (folders, lists) = (self.folders.clone(), self.lists.clone());
        let read = move || folders.root(basis.folder).ok().and_then(|root| basis_list(&root, &basis, size, &lists));
        self.block(read).await.flatten().map(Pages::of)
    }

    /// Writes what `basis` holds of a content into its staged file. Returns which chunks are there now that were not.
    pub fn reuse(
        &self,
        (folder, content): (FolderId, ContentId),
        chunks: &ChunkList,
        kept: &Bits,
        basis: &Source,
    ) -> Result<Bits, CopyError> {
        let to = self.stage_file(folder, content, chunks.bytes()).map_err(CopyError::Disk)?;
        let root = self.folders.root(basis.folder).map_err(|_| CopyError::Source)?;
        reuse(&to, chunks, kept, &root, basis, (&self.lists, &self.buffers))
    }

    /// Whole small contents, verified and staged: one outcome each, in order.
    pub async fn fetch_batch(
        &self,
        link: sync_core::id::LinkId,
        folder: FolderId,
        items: &[(ContentId, u64)],
    ) -> Vec<Result<(), FetchFailure>> {
        let mut arrived: Vec<Result<(ContentId, Vec<u8>), FetchError>> = Vec::with_capacity(items.len());
        let whole = items.iter().map(|(content, size)| WantItem { content: *content, offset: 0, len: *size });
        let want = Message::Want(Want { folder, items: whole.collect() });
        match self.network.ask(link, &encode(&want)).await {
            Err(error) => arrived.resize(items.len(), Err(error)),
            Ok(stream) => {
                let mut answer = Answer(stream);
                for (content, size) in items {
                    let one = answer.item(*size).await;
                    let broken = matches!(one, Err(FetchFailure::Peer(FetchError::Broken)));
                    arrived.push(one.map(|bytes| (*content, bytes)).map_err(|failure| match failure {
                        FetchFailure::Peer(error) => error,
                        FetchFailure::Disk(_) => FetchError::Broken,
                    }));
                    if broken {
                        break;
                    }
                }
            }
        }
        arrived.resize(items.len(), Err(FetchError::Broken));
        let folders = self.folders.clone();
        let staged = self.block(move || stage_batch(&folders, folder, arrived)).await;
        staged.unwrap_or_else(|| vec![Err(FetchFailure::Peer(FetchError::Broken)); items.len()])
    }

    /// A range of a large content, verified chunk by chunk and written at its place. Returns how many chunks are
    /// written, and why no more.
    pub async fn fetch_range(&self, link: sync_core::id::LinkId, fetch: RangeFetch) -> (u32, Option<FetchFailure>) {
        let len = fetch.chunks.bytes();
        let item = WantItem { content: fetch.content, offset: fetch.offset, len };
        let want = Message::Want(Want { folder: fetch.folder, items: vec![item] });
        let mut answer = match self.network.ask(link, &encode(&want)).await {
            Ok(stream) => Answer(stream),
            Err(error) => return (0, Some(FetchFailure::Peer(error))),
        };
        if let Err(failure) = answer.code().await {
            return (0, Some(failure));
        }
        let mut bytes = self.buffers.take(fetch.offset, usize::try_from(len).unwrap_or(0));
        let (got, failure) = answer.fill(&mut bytes).await;
        bytes.truncate(got);
        let lane = self.clone();
        let written = self.block(move || lane.write_range(&fetch, bytes)).await;
        let (chunks, trouble) = written.unwrap_or((0, Some(FetchFailure::Peer(FetchError::Broken))));
        (chunks, trouble.or(failure))
    }

    fn write_range(&self, fetch: &RangeFetch, mut bytes: Buffer) -> (u32, Option<FetchFailure>) {
        let file = match self.stage_file(fetch.folder, fetch.content, fetch.size) {
            Ok(file) => file,
            Err(error) => return (0, Some(FetchFailure::Disk(error))),
        };
        let mut at = 0;
        let mut verified = 0;
        let mut wrong = None;
        for (len, hash) in fetch.chunks.iter() {
            let Some(chunk) = bytes.get(at..at + len as usize) else { break };
            if *blake3::hash(chunk).as_bytes() != hash && !is_mutant(Mutant::ChunkUnverified) {
                sometimes(Point::ShellChunkWrong);
                wrong = Some(FetchFailure::Peer(FetchError::BadHash));
                break;
            }
            at += len as usize;
            verified += 1;
        }
        bytes.truncate(at);
        match file.write(fetch.offset, bytes) {
            Ok(()) => (verified, wrong),
            Err(error) => (0, Some(FetchFailure::Disk(error))),
        }
    }

    fn stage_file(
        &self,
        folder: FolderId,
        content: ContentId,
        size: u64,
    ) -> Result<Arc<StageFile>, sync_core::ItemError> {
        let place = {
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            open.entry((folder, content)).or_default().clone()
        };
        // One at a time opens it: what another one makes and gives up would be taken for the file.
        let mut held = place.lock().unwrap_or_else(PoisonError::into_inner);
        // One that was unlinked meanwhile would take the bytes with it.
        if let Some(file) = held.as_ref().filter(|file| file.is_linked()) {
            return Ok(file.clone());
        }
        if held.is_some() {
            sometimes(Point::ShellStageRelinked);
        }
        let root = self.folders.root(folder)?;
        let file = Arc::new(StageFile::open(&root, content, size)?);
        *held = Some(file.clone());
        Ok(file)
    }

    /// Answers a request of a peer. Returns the content bytes sent.
    pub async fn serve(&self, mut stream: SendStream, answer: Serve) -> u64 {
        let mut sent = 0;
        let end = match answer {
            Serve::Refuse(error) => write(&mut stream, vec![error as u8]).await,
            Serve::List(source, known) => self.send_list(&mut stream, source, &known).await,
            Serve::Ranges(items) => self.send_ranges(&mut stream, items, &mut sent).await,
        };
        // A peer that goes away now has what it wants, or wants no more.
        match end {
            Ok(()) => drop(stream.finish()),
            Err(Cut::Peer) => {}
            Err(Cut::Source(error)) => drop(stream.reset(stream_code(error))),
        }
        sent
    }

    async fn send_list(&self, stream: &mut SendStream, source: Source, known: &[PageId]) -> Result<(), Cut> {
        let (folders, lists) = (self.folders.clone(), self.lists.clone());
        let read = move || {
            let root = folders.root(source.folder).map_err(|_| FetchError::Busy)?;
            source_list(&root, &source, &lists)
        };
        match self.block(read).await.unwrap_or(Err(FetchError::Busy)) {
            Ok(list) => write(stream, list_answer(&list, known)).await,
            Err(error) => write(stream, vec![error as u8]).await,
        }
    }

    /// Sends ranges piece by piece: each piece is read, and the next one while it is sent, so that neither disk nor
    /// wire waits, and memory holds two pieces.
    async fn send_ranges(
        &self,
        stream: &mut SendStream,
        items: Vec<(Result<Source, FetchError>, Range<u64>)>,
        sent: &mut u64,
    ) -> Result<(), Cut> {
        let mut reader = Reader { folders: self.folders.clone(), items: items.into(), current: None };
        let mut next = self.read_ahead(reader);
        loop {
            let Ok((back, piece)) = next.await else { return Err(Cut::Source(FetchError::Busy)) };
            reader = back;
            let Some((bytes, content)) = piece.map_err(Cut::Source)? else { return Ok(()) };
            next = self.read_ahead(reader);
            write(stream, bytes).await?;
            *sent += content;
        }
    }

    fn read_ahead(&self, mut reader: Reader) -> oneshot::Receiver<(Reader, Piece)> {
        let (done, result) = oneshot::channel();
        self.work.run(Box::new(move || {
            let piece = reader.piece();
            drop(done.send((reader, piece)));
        }));
        result
    }
}

/// Bytes for the stream and how many of them are content, or `None` at the end.
type Piece = Result<Option<(Vec<u8>, u64)>, FetchError>;

/// Why an answer was cut short.
enum Cut {
    /// The peer does not listen any more.
    Peer,
    /// The file cannot be read to its end.
    Source(FetchError),
}

/// Reads the files of an answer, one piece at a time.
struct Reader {
    folders: Folders,
    items: VecDeque<(Result<Source, FetchError>, Range<u64>)>,
    current: Option<(File, Range<u64>)>,
}

impl Reader {
    fn piece(&mut self) -> Piece {
        let mut out = Vec::new();
        let mut content = 0;
        while content < PIECE {
            if self.current.is_none() {
                let Some((source, range)) = self.items.pop_front() else { break };
                match source.and_then(|source| self.open(&source)) {
                    Ok(file) => {
                        out.push(0);
                        self.current = Some((file, range));
                    }
                    Err(error) => out.push(error as u8),
                }
            }
            let Some((file, range)) = &mut self.current else { continue };
            let len = (range.end - range.start).min(PIECE - content);
            let at = out.len();
            out.resize(at + usize::try_from(len).unwrap_or(0), 0);
            // The code said that bytes follow, so a file that ends early ends the stream.
            file.read_exact_at(&mut out[at..], range.start).map_err(|_| FetchError::Changed)?;
            range.start += len;
            content += len;
            if range.start == range.end {
                self.current = None;
            }
        }
        Ok(Some((out, content)).filter(|(bytes, _)| !bytes.is_empty()))
    }

    fn open(&self, source: &Source) -> Result<File, FetchError> {
        let root = self.folders.root(source.folder).map_err(|_| FetchError::Busy)?;
        open_source(&root, source)
    }
}

/// The answer to a request for `list` of somebody who has the pages `known`.
fn list_answer(list: &ChunkList, known: &[PageId]) -> Vec<u8> {
    let places: HashMap<PageId, u32> = known.iter().copied().zip(0..).collect();
    let pages = list.pages();
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes();
    let mut out = vec![0];
    out.extend_from_slice(&number(pages.len()));
    for page in pages {
        match places.get(&list.page_id(page.clone())) {
            Some(place) => out.extend([number(0), place.to_le_bytes()].concat()),
            None => {
                out.extend_from_slice(&number(page.len()));
                out.extend_from_slice(list.slice(page).as_bytes());
            }
        }
    }
    out
}

/// The pages of a list that is at hand, by their place in a request.
struct Pages {
    list: Arc<ChunkList>,
    pages: Vec<Range<usize>>,
}

impl Pages {
    fn of(list: Arc<ChunkList>) -> Self {
        let mut pages = list.pages();
        pages.truncate(MAX_KNOWN_PAGES);
        Self { list, pages }
    }

    fn ids(&self) -> Vec<PageId> {
        self.pages.iter().map(|page| self.list.page_id(page.clone())).collect()
    }

    fn entries(&self, place: u32) -> Option<ChunkList> {
        let page = self.pages.get(usize::try_from(place).ok()?)?;
        Some(self.list.slice(page.clone()))
    }
}

async fn write(stream: &mut SendStream, bytes: Vec<u8>) -> Result<(), Cut> {
    stream.write_chunk(Bytes::from(bytes)).await.map_err(|_| Cut::Peer)
}

/// The answer to a request, as it comes.
struct Answer(RecvStream);

impl Answer {
    /// The code before each item: 0, or why no bytes follow.
    async fn code(&mut self) -> Result<(), FetchFailure> {
        let mut code = [0];
        self.read(&mut code).await?;
        let error = match code[0] {
            0 => return Ok(()),
            1 => FetchError::NotFound,
            2 => FetchError::Changed,
            3 => FetchError::Busy,
            _ => FetchError::Refused,
        };
        Err(FetchFailure::Peer(error))
    }

    async fn number(&mut self) -> Result<u32, FetchFailure> {
        let mut number = [0; 4];
        self.read(&mut number).await?;
        Ok(u32::from_le_bytes(number))
    }

    /// A chunk list of a content of `size` bytes.
    async fn list(&mut self, size: u64, known: Option<&Pages>) -> Result<ChunkList, FetchFailure> {
        let wrong = || FetchFailure::Peer(FetchError::BadHash);
        let most = usize::try_from(ChunkList::max_len(size)).unwrap_or(usize::MAX).saturating_mul(ChunkList::ENTRY);
        let mut entries = Vec::new();
        for _ in 0..self.number().await? {
            let chunks = self.number().await?;
            if chunks == 0 {
                let place = self.number().await?;
                let page = known.and_then(|known| known.entries(place)).ok_or_else(wrong)?;
                entries.extend_from_slice(page.as_bytes());
            }
            let end = entries.len().saturating_add((chunks as usize).saturating_mul(ChunkList::ENTRY));
            if end > most {
                return Err(wrong());
            }
            // What a peer promises is not reserved before it comes.
            while entries.len() < end {
                let (at, piece) = (entries.len(), LIST_PIECE.min(end - entries.len()));
                entries.resize(at + piece, 0);
                self.read(&mut entries[at..]).await?;
            }
        }
        ChunkList::parse(entries, size).map_err(|error| FetchFailure::Peer(error.into()))
    }

    async fn item(&mut self, size: u64) -> Result<Vec<u8>, FetchFailure> {
        self.code().await?;
        let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
        self.read(&mut bytes).await?;
        Ok(bytes)
    }

    async fn read(&mut self, out: &mut [u8]) -> Result<(), FetchFailure> {
        match self.fill(out).await {
            (_, None) => Ok(()),
            (_, Some(failure)) => Err(failure),
        }
    }

    /// Reads until `out` is full. Returns how much came, and why no more.
    async fn fill(&mut self, out: &mut [u8]) -> (usize, Option<FetchFailure>) {
        let broken = Some(FetchFailure::Peer(FetchError::Broken));
        let mut at = 0;
        while at < out.len() {
            match tokio::time::timeout(STALL, self.0.read(&mut out[at..])).await {
                Ok(Ok(Some(n))) => at += n,
                Ok(Ok(None)) | Err(_) => return (at, broken),
                Ok(Err(error)) => return (at, Some(FetchFailure::Peer(fetch_error(&error)))),
            }
        }
        (at, None)
    }
}

fn stage_batch(
    folders: &Folders,
    folder: FolderId,
    arrived: Vec<Result<(ContentId, Vec<u8>), FetchError>>,
) -> Vec<Result<(), FetchFailure>> {
    let root = folders.root(folder);
    let stage = |item: Result<(ContentId, Vec<u8>), FetchError>| {
        let (content, bytes) = item.map_err(FetchFailure::Peer)?;
        let root = root.as_ref().map_err(|error| FetchFailure::Disk(error.clone()))?;
        stage_small(root, content, &bytes).map_err(|error| match error {
            StageError::BadHash => FetchFailure::Peer(FetchError::BadHash),
            StageError::Disk(error) => FetchFailure::Disk(error),
        })
    };
    arrived.into_iter().map(stage).collect()
}
