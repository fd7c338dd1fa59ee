//! Reading what peers ask for.

use super::chunk::chunk_list;
use super::door::{self, Step};
use super::errors::is_gone;
use super::lists::Lists;
use super::root::Root;
use super::stat::stat_fd;
use rustix::fs::OFlags;
use rustix::io::Errno;
use std::fs::File;
use std::sync::Arc;
use sync_core::FetchError;
use sync_core::index::StatKind;
use sync_core::output::Source;
use sync_core::proving::{Point, sometimes};
use sync_core::transfer::ChunkList;

/// Opens a file to be served. What is read from it may still change meanwhile: the receiver verifies.
///
/// # Errors
/// `Changed` when it is gone, may not be read, or no longer looks as expected; `Busy` when the root is not there at present
/// or this process is out of descriptors.
pub fn open_source(root: &Root, source: &Source) -> Result<File, FetchError> {
    let dir = root.enter().map_err(|error| {
        tracing::debug!(reason = error.reason, "a source is not served");
        FetchError::Busy
    })?;
    let fail = |errno| match errno {
        errno if is_gone(errno) => FetchError::Changed,
        Errno::MFILE | Errno::NFILE | Errno::NOMEM => FetchError::Busy,
        errno => {
            tracing::debug!(path = source.path.display(), %errno, "a source is not served");
            FetchError::Changed
        }
    };
    let fd = door::pass(Step::Read)
        .and_then(|()| dir.open_beneath(source.path.as_bytes(), OFlags::RDONLY | OFlags::NONBLOCK))
        .map_err(fail)?;
    let stat = stat_fd(&fd, dir.device()).map_err(fail)?;
    if stat.kind == StatKind::File && stat == source.expect {
        return Ok(File::from(fd));
    }
    sometimes(Point::ShellSourceChanged);
    Err(FetchError::Changed)
}

/// The chunk list of a file to be served.
///
/// # Errors
/// As [`open_source`], and `Changed` when the file changed while it was read.
pub fn source_list(root: &Root, source: &Source, lists: &Lists) -> Result<Arc<ChunkList>, FetchError> {
    let (file, size) = (open_source(root, source)?, source.expect.size);
    if let Some(list) = lists.get(source.content, size) {
        return Ok(list);
    }
    let list = chunk_list(&file, size, size);
    // The fingerprint settles it: a list of bytes that were never one version would be blamed on this device.
    let dir = root.enter().map_err(|_| FetchError::Busy)?;
    let stat = stat_fd(&file, dir.device()).map_err(|_| FetchError::Changed)?;
    let list = list.ok().filter(|_| stat == source.expect).map(Arc::new).ok_or(FetchError::Changed)?;
    lists.keep(source.content, size, list.clone());
    Ok(list)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::fs::probe;
    use std::io::Read;
    use sync_core::input::Seen;
    use sync_core::path::RelPath;
    use sync_core::{ContentId, FolderId};

    #[test]
    fn a_source_is_served_while_it_is_what_it_was() {
        let home = tempfile::tempdir().unwrap();
        let folder = FolderId([7; 16]);
        let root = Root::create(home.path(), folder).unwrap();
        let at = home.path().join("f");
        std::fs::write(&at, b"abc").unwrap();
        let path = RelPath::new(b"f").unwrap();
        let Ok(Seen::File(expect, Some(content))) =
            probe(&root, &[(path.clone(), None)], &Lists::default()).unwrap().remove(0)
        else {
            panic!()
        };
        let source = Source { folder, path, expect, content };
        let mut text = String::new();
        open_source(&root, &source).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "abc");
        let list = source_list(&root, &source, &Lists::default()).unwrap();
        assert_eq!(list.iter().collect::<Vec<_>>(), [(3, ContentId::of(b"abc").0)]);

        std::fs::write(&at, b"other").unwrap();
        assert_eq!(open_source(&root, &source).unwrap_err(), FetchError::Changed);
        assert_eq!(source_list(&root, &source, &Lists::default()), Err(FetchError::Changed));
        std::fs::remove_file(&at).unwrap();
        assert_eq!(open_source(&root, &source).unwrap_err(), FetchError::Changed);
        std::os::unix::fs::symlink("/etc/passwd", &at).unwrap();
        assert_eq!(open_source(&root, &source).unwrap_err(), FetchError::Changed);
    }
}
