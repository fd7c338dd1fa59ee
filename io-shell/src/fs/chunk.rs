//! Cutting a file into content-defined chunks.

use fastcdc::v2020::FastCDC;
use std::io::{self, Read};
use sync_core::transfer::{ChunkList, scheme_sizes};

/// Least bytes read ahead of the cut.
const WINDOW: usize = 8 << 20;

/// The chunk list of a content of `size` bytes, cut as a file of `like` bytes is: FastCDC (2020) under the sizes of the
/// scheme, with the BLAKE3 of each chunk. The same bytes give the same list, however the reader portions them. Memory is
/// 8 MiB, or twice the largest chunk of the scheme where that is more.
///
/// # Errors
/// The reader's; `UnexpectedEof` when it does not yield exactly `size` bytes.
pub fn chunk_list(mut reader: impl Read, size: u64, like: u64) -> io::Result<ChunkList> {
    let (least, average, most) = sizes(like)?;
    let capacity = WINDOW.max(2 * most).min(usize::try_from(size).unwrap_or(usize::MAX).max(1));
    let mut window = vec![0; capacity];
    let (mut held, mut total, mut list) = (0, 0_u64, ChunkList::default());
    loop {
        let read = fill(&mut reader, &mut window[held..])?;
        held += read;
        total += as_u64(read);
        let ended = held < window.len() || total >= size;
        let mut at = 0;
        // A cut depends on the bytes up to the largest chunk: none is made before they are here.
        while at < held && (ended || held - at >= most) {
            let rest = &window[at..held];
            let (_, end) = FastCDC::new(rest, least, average, most).cut(0, rest.len());
            let chunk = &rest[..end];
            list.push(u32::try_from(end).map_err(io::Error::other)?, *blake3::hash(chunk).as_bytes());
            at += end;
        }
        window.copy_within(at..held, 0);
        held -= at;
        if ended {
            break;
        }
    }
    let surplus = fill(&mut reader, &mut [0])?;
    if total + as_u64(surplus) == size { Ok(list) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

fn sizes(size: u64) -> io::Result<(usize, usize, usize)> {
    let (least, average, most) = scheme_sizes(size);
    let of = |bytes: u32| usize::try_from(bytes).map_err(io::Error::other);
    Ok((of(least)?, of(average)?, of(most)?))
}

/// Reads until `out` is full or the reader ends.
fn fill(reader: &mut impl Read, out: &mut [u8]) -> io::Result<usize> {
    let mut held = 0;
    while held < out.len() {
        match reader.read(&mut out[held..]) {
            Ok(0) => break,
            Ok(read) => held += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(held)
}

fn as_u64(len: usize) -> u64 {
    len as u64
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn noise(len: usize) -> Vec<u8> {
        let mut out = vec![0; len];
        blake3::Hasher::new().finalize_xof().fill(&mut out);
        out
    }

    /// Gives at most `step` bytes a read.
    struct Drip<'a>(&'a [u8], usize);

    impl Read for Drip<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let step = out.len().min(self.1);
            self.0.read(&mut out[..step])
        }
    }

    #[test]
    fn the_list_is_that_of_the_whole_file_in_memory_however_it_is_read() {
        let bytes = noise(20 << 20);
        let size = as_u64(bytes.len());
        let list = chunk_list(&bytes[..], size, size).unwrap();
        let (least, average, most) = sizes(size).unwrap();
        let whole: Vec<_> = FastCDC::new(&bytes, least, average, most)
            .map(|c| (c.length as u32, *blake3::hash(&bytes[c.offset..c.offset + c.length]).as_bytes()))
            .collect();
        assert_eq!(list.iter().collect::<Vec<_>>(), whole);
        assert_eq!(chunk_list(Drip(&bytes, 10_007), size, size).unwrap(), list);
        assert_eq!(ChunkList::parse(list.as_bytes().to_vec(), size), Ok(list));
    }

    #[test]
    fn an_insertion_leaves_most_chunks_as_they_were() {
        let bytes = noise(4 << 20);
        let edited = [b"new", &bytes[..]].concat();
        let hashes = |bytes: &[u8]| -> std::collections::BTreeSet<[u8; 32]> {
            chunk_list(bytes, as_u64(bytes.len()), 0).unwrap().iter().map(|(_, hash)| hash).collect()
        };
        assert!(hashes(&edited).difference(&hashes(&bytes)).count() <= 3);
    }

    #[test]
    fn a_file_of_another_size_has_no_list() {
        let check = |len: usize, size| assert!(chunk_list(&noise(len)[..], size, size).is_err(), "{len} for {size}");
        check(10, 11);
        check(10, 9);
        check(0, 1);
        check(9 << 20, 10 << 20);
        assert!(chunk_list(&b""[..], 0, 0).unwrap().is_empty());
        assert_eq!(chunk_list(&b"abc"[..], 3, 3).unwrap().len(), 1);
    }
}
