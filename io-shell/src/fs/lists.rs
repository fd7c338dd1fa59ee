//! Chunk lists of contents that were read, sent or received lately: making one reads the whole file.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use sync_core::ContentId;
use sync_core::transfer::{ChunkList, scheme_sizes};

/// Bytes of lists that are kept: those of about 50 GiB of files of the smallest scheme.
const CAPACITY: usize = 32 << 20;

/// The lists. Clones are the same ones.
#[derive(Clone, Debug, Default)]
pub struct Lists(Arc<Mutex<Kept>>);

/// A content, and the average size of the chunks it is cut into.
type Cut = (ContentId, u32);

#[derive(Debug, Default)]
struct Kept {
    lists: BTreeMap<Cut, Arc<ChunkList>>,
    /// Oldest first.
    order: VecDeque<Cut>,
    bytes: usize,
}

impl Lists {
    /// The list of `content`, cut as files of `size` bytes are.
    pub fn get(&self, content: ContentId, size: u64) -> Option<Arc<ChunkList>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).lists.get(&cut(content, size)).cloned()
    }

    /// Keeps the list of `content`, cut as files of `size` bytes are, until newer ones take its place.
    pub fn keep(&self, content: ContentId, size: u64, list: Arc<ChunkList>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (key, bytes) = (cut(content, size), list.as_bytes().len());
        if bytes > CAPACITY || kept.lists.contains_key(&key) {
            return;
        }
        while kept.bytes + bytes > CAPACITY {
            let Some(oldest) = kept.order.pop_front() else { break };
            kept.bytes -= kept.lists.remove(&oldest).map_or(0, |list| list.as_bytes().len());
        }
        kept.bytes += bytes;
        kept.order.push_back(key);
        kept.lists.insert(key, list);
    }
}

fn cut(content: ContentId, size: u64) -> Cut {
    (content, scheme_sizes(size).1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_lists_make_room() {
        let lists = Lists::default();
        let list = |chunks: usize| {
            let mut list = ChunkList::default();
            (0..chunks).for_each(|_| list.push(1, [0; 32]));
            Arc::new(list)
        };
        let third = CAPACITY / ChunkList::ENTRY / 3;
        let name = |n: u8| ContentId([n; 32]);
        (0..3).for_each(|n| lists.keep(name(n), 1, list(third)));
        assert!((0..3).all(|n| lists.get(name(n), 1).is_some()));
        assert_eq!(lists.get(name(0), 1 << 40), None, "cut otherwise");
        lists.keep(name(3), 1, list(10));
        assert_eq!(lists.get(name(0), 1), None);
        assert!((1..4).all(|n| lists.get(name(n), 1).is_some()));
        lists.keep(name(4), 1, list(4 * third));
        assert_eq!(lists.get(name(4), 1), None, "larger than all that is kept");
    }
}
