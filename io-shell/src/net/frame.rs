//! Frames of the long-lived lanes and of requests.
//!
//! On a lane: `u32` length (little-endian), one byte of flags, then so many bytes. A request on the data lane is the
//! same without flags. Every length is checked before anything is allocated for it.

use bytes::Bytes;
use quinn::{ReadError, ReadExactError, RecvStream};
use sync_core::input::Lane;
use sync_core::wire::{MAX_CONTROL_FRAME, MAX_INDEX_FRAME};

/// The frame is compressed with zstd and says how long it was.
const FLAG_ZSTD: u8 = 1;
/// Frames up to this many bytes are sent as they are: compression would not pay for its header.
const COMPRESS_ABOVE: usize = 512;
/// Batches of rows shrink to a third at this level; higher ones cost more time than a local network needs.
const ZSTD_LEVEL: i32 = 1;
/// How much is reserved for a frame before its bytes have come.
const RESERVE: usize = 16 << 10;

/// Why no frame was read.
#[derive(Debug, thiserror::Error)]
pub(super) enum FrameError {
    /// The peer broke the rules of framing.
    #[error("{0}")]
    Violation(String),
    /// The stream or its connection is gone.
    #[error("the stream is gone: {0}")]
    Gone(ReadError),
}

/// The longest frame of a lane, bytes, once decompressed.
fn max_frame(lane: Lane) -> usize {
    match lane {
        Lane::Control => MAX_CONTROL_FRAME,
        Lane::Index => MAX_INDEX_FRAME,
    }
}

/// The byte that names a lane at the start of its stream.
pub(super) fn lane_byte(lane: Lane) -> u8 {
    match lane {
        Lane::Control => 0,
        Lane::Index => 1,
    }
}

/// The lane that a byte names.
pub(super) fn lane_of_byte(byte: u8) -> Option<Lane> {
    match byte {
        0 => Some(Lane::Control),
        1 => Some(Lane::Index),
        _ => None,
    }
}

/// A frame as it goes on a lane: header and body.
pub(super) fn encode(lane: Lane, frame: Vec<u8>) -> [Bytes; 2] {
    let packed = match lane {
        Lane::Control => None,
        Lane::Index => compress(&frame),
    };
    let (flags, body) = packed.map_or((0, frame), |packed| (FLAG_ZSTD, packed));
    let mut header = Vec::with_capacity(5);
    header.extend_from_slice(&length(&body).to_le_bytes());
    header.push(flags);
    [Bytes::from(header), Bytes::from(body)]
}

/// A request as it goes on the data lane: header and body.
pub(super) fn encode_ask(frame: Vec<u8>) -> [Bytes; 2] {
    [Bytes::copy_from_slice(&length(&frame).to_le_bytes()), Bytes::from(frame)]
}

/// The length of a body of ours, which is far below `u32::MAX`: senders check against the limits.
fn length(body: &[u8]) -> u32 {
    u32::try_from(body.len()).unwrap_or(u32::MAX)
}

/// The compressed form, where that is shorter.
fn compress(frame: &[u8]) -> Option<Vec<u8>> {
    if frame.len() <= COMPRESS_ABOVE {
        return None;
    }
    match zstd::bulk::compress(frame, ZSTD_LEVEL) {
        Ok(packed) => (packed.len() < frame.len()).then_some(packed),
        Err(error) => {
            tracing::warn!(%error, "a batch of rows goes uncompressed");
            None
        }
    }
}

/// The next frame of a lane, or `None` where the stream ends between frames.
///
/// # Errors
/// The stream is gone, or the peer breaks the rules of the lane.
pub(super) async fn read(lane: Lane, recv: &mut RecvStream) -> Result<Option<Vec<u8>>, FrameError> {
    let mut header = [0; 5];
    if !read_header(recv, &mut header).await? {
        return Ok(None);
    }
    let [a, b, c, d, flags] = header;
    let len = check_length(u32::from_le_bytes([a, b, c, d]), max_frame(lane))?;
    let compressed = check_flags(lane, flags)?;
    let body = read_body(recv, len).await?;
    if compressed { decompress(&body).map(Some) } else { Ok(Some(body)) }
}

/// The request of a stream of the data lane, which ends after it.
///
/// # Errors
/// The stream is gone, or the peer breaks the rules of the data lane.
pub(super) async fn read_ask(recv: &mut RecvStream) -> Result<Vec<u8>, FrameError> {
    let mut header = [0; 4];
    if !read_header(recv, &mut header).await? {
        return Err(FrameError::Violation("a request stream without a request".into()));
    }
    let len = check_length(u32::from_le_bytes(header), MAX_CONTROL_FRAME)?;
    let body = read_body(recv, len).await?;
    match recv.read_chunk(1, true).await.map_err(FrameError::Gone)? {
        None => Ok(body),
        Some(_) => Err(FrameError::Violation("bytes after a request".into())),
    }
}

/// Fills `header`; `false` if the stream ends before its first byte.
async fn read_header(recv: &mut RecvStream, header: &mut [u8]) -> Result<bool, FrameError> {
    match recv.read_exact(header).await {
        Ok(()) => Ok(true),
        Err(ReadExactError::FinishedEarly(0)) => Ok(false),
        Err(ReadExactError::FinishedEarly(_)) => Err(truncated()),
        Err(ReadExactError::ReadError(error)) => Err(FrameError::Gone(error)),
    }
}

fn check_length(len: u32, max: usize) -> Result<usize, FrameError> {
    let too_long = || FrameError::Violation(format!("a frame of {len} bytes where {max} are allowed"));
    usize::try_from(len).ok().filter(|len| *len <= max).ok_or_else(too_long)
}

/// Whether the frame is compressed.
fn check_flags(lane: Lane, flags: u8) -> Result<bool, FrameError> {
    match (lane, flags) {
        (_, 0) => Ok(false),
        (Lane::Index, FLAG_ZSTD) => Ok(true),
        (Lane::Control | Lane::Index, _) => {
            Err(FrameError::Violation(format!("a frame with flags {flags:#04x} on the {lane:?} lane")))
        }
    }
}

async fn read_body(recv: &mut RecvStream, len: usize) -> Result<Vec<u8>, FrameError> {
    // The peer pays for memory with bytes: what it only announces costs little.
    let mut body = Vec::with_capacity(len.min(RESERVE));
    while body.len() < len {
        match recv.read_chunk(len - body.len(), true).await.map_err(FrameError::Gone)? {
            Some(chunk) => body.extend_from_slice(&chunk.bytes),
            None => return Err(truncated()),
        }
    }
    Ok(body)
}

fn truncated() -> FrameError {
    FrameError::Violation("a stream that ends within a frame".into())
}

/// The frame as it was, if it says how long that is and keeps to it.
fn decompress(packed: &[u8]) -> Result<Vec<u8>, FrameError> {
    let violation = |what: &str| FrameError::Violation(format!("a compressed frame {what}"));
    let declared = zstd::zstd_safe::get_frame_content_size(packed)
        .ok()
        .flatten()
        .ok_or_else(|| violation("that does not say its length"))?;
    let size = usize::try_from(declared)
        .ok()
        .filter(|size| *size <= MAX_INDEX_FRAME)
        .ok_or_else(|| violation(&format!("of {declared} bytes where {MAX_INDEX_FRAME} are allowed")))?;
    let frame =
        zstd::bulk::decompress(packed, size).map_err(|error| violation(&format!("that is damaged: {error}")))?;
    if frame.len() != size {
        return Err(violation("shorter than it says"));
    }
    Ok(frame)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn repetitive(len: usize) -> Vec<u8> {
        b"documents/report.txt".iter().copied().cycle().take(len).collect()
    }

    #[test]
    fn index_frames_are_compressed_when_that_helps_and_control_frames_never() {
        let frame = repetitive(100_000);
        let [header, body] = encode(Lane::Index, frame.clone());
        assert_eq!(header[4], FLAG_ZSTD);
        assert!(body.len() < frame.len() / 10);
        assert_eq!(decompress(&body).unwrap(), frame);
        assert_eq!(encode(Lane::Control, frame.clone())[1], frame);
        assert_eq!(encode(Lane::Index, repetitive(COMPRESS_ABOVE))[0][4], 0);
        let noise: Vec<u8> = blake3::Hasher::new().finalize_xof().take_bytes(10_000);
        assert_eq!(encode(Lane::Index, noise.clone())[1], noise);
    }

    trait TakeBytes {
        fn take_bytes(self, count: usize) -> Vec<u8>;
    }
    impl TakeBytes for blake3::OutputReader {
        fn take_bytes(mut self, count: usize) -> Vec<u8> {
            let mut out = vec![0; count];
            self.fill(&mut out);
            out
        }
    }

    #[test]
    fn a_bomb_is_refused_by_what_it_declares_and_by_what_it_holds() {
        let honest = zstd::bulk::compress(&vec![0; MAX_INDEX_FRAME + 1], 1).unwrap();
        assert!(honest.len() < 1_000);
        assert!(decompress(&honest).unwrap_err().to_string().contains("are allowed"));
        let two = [zstd::bulk::compress(&[0; 10], 1).unwrap(), zstd::bulk::compress(&vec![0; 1 << 20], 1).unwrap()];
        assert!(decompress(&two.concat()).is_err());
    }

    #[test]
    fn what_is_not_compressed_properly_is_a_violation() {
        assert!(decompress(b"not zstd").is_err());
        assert!(decompress(&[]).is_err());
        let mut damaged = zstd::bulk::compress(&repetitive(4_000), 1).unwrap();
        damaged.truncate(damaged.len() / 2);
        assert!(decompress(&damaged).is_err());
    }

    #[test]
    fn lengths_and_flags_are_checked_against_the_lane() {
        assert!(check_length(MAX_CONTROL_FRAME as u32, MAX_CONTROL_FRAME).is_ok());
        assert!(check_length(MAX_CONTROL_FRAME as u32 + 1, MAX_CONTROL_FRAME).is_err());
        assert!(check_flags(Lane::Index, FLAG_ZSTD).unwrap());
        assert!(check_flags(Lane::Control, FLAG_ZSTD).is_err());
        assert!(check_flags(Lane::Index, 2).is_err());
    }
}
