//! Chunks of a content that another file of this device holds, as an earlier version of it does.

use super::buffer::{Buffer, Buffers};
use super::chunk::chunk_list;
use super::lists::Lists;
use super::root::Root;
use super::serve::open_source;
use super::stage::StageFile;
use std::collections::HashMap;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use sync_core::input::CopyError;
use sync_core::output::Source;
use sync_core::transfer::{Bits, ChunkList};

/// Bytes written at once where neighbouring chunks are found side by side.
const RUN: usize = 4 << 20;

/// The chunks of the file that `basis` names, cut as a file of `size` bytes is. None if it cannot be read as it was.
pub fn basis_list(root: &Root, basis: &Source, size: u64, lists: &Lists) -> Option<Arc<ChunkList>> {
    let file = open_source(root, basis).ok()?;
    if let Some(list) = lists.get(basis.content, size) {
        return Some(list);
    }
    let list = Arc::new(chunk_list(&file, basis.expect.size, size).ok()?);
    // What it was made of is known only if nobody has written to it meanwhile.
    open_source(root, basis).ok()?;
    lists.keep(basis.content, size, list.clone());
    Some(list)
}

/// Writes into `to` those of its `chunks` that the file at `basis` holds, but for what is `kept` already. Every chunk is
/// verified as it is read. Returns which were found.
///
/// # Errors
/// `Source` when the file is not what it was and nothing of it is to be had; `Disk` when the staged file cannot be written.
pub fn reuse(
    to: &StageFile,
    chunks: &ChunkList,
    kept: &Bits,
    from_root: &Root,
    basis: &Source,
    (lists, buffers): (&Lists, &Buffers),
) -> Result<Bits, CopyError> {
    let held = basis_list(from_root, basis, chunks.bytes(), lists).ok_or(CopyError::Source)?;
    let file = open_source(from_root, basis).map_err(|_| CopyError::Source)?;
    let mut places = HashMap::with_capacity(held.len());
    let mut at = 0_u64;
    for (len, hash) in held.iter() {
        places.insert((hash, len), at);
        at += u64::from(len);
    }
    let mut copy = Copy { to, buffers, run: None };
    let mut found = Bits::new(chunks.len());
    let mut at = 0;
    for (i, (len, hash)) in chunks.iter().enumerate() {
        if let Some(from) = places.get(&(hash, len)).filter(|_| !kept.get(i)) {
            let bytes = copy.next(at, len as usize)?;
            let is_read = file.read_exact_at(bytes, *from).is_ok();
            if is_read && *blake3::hash(bytes).as_bytes() == hash {
                found.set(i);
            } else {
                // Somebody writes to it: its other chunks may still be good.
                copy.take_back(len as usize);
            }
        }
        at += u64::from(len);
    }
    copy.flush()?;
    Ok(found)
}

/// Chunks that follow each other, on their way into one write.
struct Copy<'a> {
    to: &'a StageFile,
    buffers: &'a Buffers,
    run: Option<Run>,
}

struct Run {
    /// Where it begins in the staged file.
    at: u64,
    buffer: Buffer,
    /// Bytes of the buffer that are filled.
    len: usize,
}

impl Copy<'_> {
    /// Room for `len` bytes that belong at `at`.
    fn next(&mut self, at: u64, len: usize) -> Result<&mut [u8], CopyError> {
        let goes_on = |run: &Run| run.at + run.len as u64 == at && run.len + len <= run.buffer.len();
        if !self.run.as_ref().is_some_and(goes_on) {
            self.flush()?;
        }
        let fresh = || Run { at, buffer: self.buffers.take(at, RUN.max(len)), len: 0 };
        let run = self.run.get_or_insert_with(fresh);
        run.len += len;
        Ok(&mut run.buffer[run.len - len..run.len])
    }

    fn take_back(&mut self, len: usize) {
        self.run.iter_mut().for_each(|run| run.len -= len);
    }

    fn flush(&mut self) -> Result<(), CopyError> {
        let Some(Run { at, mut buffer, len }) = self.run.take() else { return Ok(()) };
        buffer.truncate(len);
        self.to.write(at, buffer).map_err(CopyError::Disk)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::fs::{finish, probe};
    use sync_core::input::Seen;
    use sync_core::path::RelPath;
    use sync_core::{ContentId, FolderId};

    const FOLDER: FolderId = FolderId([7; 16]);

    fn noise(len: usize) -> Vec<u8> {
        let mut out = vec![0; len];
        blake3::Hasher::new().finalize_xof().fill(&mut out);
        out
    }

    fn source(root: &Root, lists: &Lists) -> Source {
        let path = RelPath::new(b"f").unwrap();
        let Ok(Seen::File(expect, Some(content))) = probe(root, &[(path.clone(), None)], lists).unwrap().remove(0)
        else {
            panic!()
        };
        Source { folder: FOLDER, path, expect, content }
    }

    #[test]
    fn an_edited_file_is_put_together_from_the_old_one_and_what_is_new() {
        let home = tempfile::tempdir().unwrap();
        let root = Root::create(home.path(), FOLDER).unwrap();
        let old = noise(10 << 20);
        std::fs::write(home.path().join("f"), &old).unwrap();
        let new = [b"new", &old[..5 << 20], b"also new", &old[5 << 20..]].concat();
        let (content, size) = (ContentId::of(&new), new.len() as u64);
        let chunks = chunk_list(&new[..], size, size).unwrap();
        let (lists, buffers) = (Lists::default(), Buffers::default());
        let basis = source(&root, &lists);
        let staged = Arc::new(StageFile::open(&root, content, size).unwrap());
        let mut kept = Bits::new(chunks.len());
        kept.set(5);
        let found = reuse(&staged, &chunks, &kept, &root, &basis, (&lists, &buffers)).unwrap();
        let missing: Vec<usize> = (0..chunks.len()).filter(|i| !found.get(*i)).collect();
        assert!(missing.len() <= 6 && missing.contains(&5), "{missing:?}");
        let mut at = 0_usize;
        for (i, (len, _)) in chunks.iter().enumerate() {
            let end = at + len as usize;
            if missing.contains(&i) {
                let mut part = buffers.take(at as u64, end - at);
                part.copy_from_slice(&new[at..end]);
                staged.write(at as u64, part).unwrap();
            }
            at = end;
        }
        assert_eq!(finish(&root, content, size, Some(staged.clone())), Ok(true));
    }

    #[test]
    fn a_basis_that_is_written_to_gives_what_is_still_good_or_nothing() {
        let home = tempfile::tempdir().unwrap();
        let root = Root::create(home.path(), FOLDER).unwrap();
        let bytes = noise(2 << 20);
        let (content, size) = (ContentId::of(&bytes), bytes.len() as u64);
        std::fs::write(home.path().join("f"), &bytes).unwrap();
        let (lists, buffers) = (Lists::default(), Buffers::default());
        let before = source(&root, &lists);
        let chunks = chunk_list(&bytes[..], size, size).unwrap();
        lists.keep(content, size, Arc::new(chunks.clone()));
        let file = std::fs::File::options().write(true).open(home.path().join("f")).unwrap();
        file.write_all_at(&[0; 16], 1 << 20).unwrap();
        let staged = StageFile::open(&root, content, size).unwrap();
        let find = |basis: &Source| reuse(&staged, &chunks, &Bits::new(chunks.len()), &root, basis, (&lists, &buffers));
        assert_eq!(find(&before), Err(CopyError::Source), "it does not look as it did");
        // As if it had been written to after it was looked at.
        let unaware = Source { expect: source(&root, &lists).expect, ..before };
        let found = find(&unaware).unwrap();
        let changed: Vec<usize> = (0..chunks.len()).filter(|i| !found.get(*i)).collect();
        assert_eq!(changed.len(), 1, "{changed:?}");
        let at: u64 = (0..changed[0]).map(|i| chunks.chunk_len(i)).sum();
        assert!((at..at + chunks.chunk_len(changed[0])).contains(&(1 << 20)));
    }
}
