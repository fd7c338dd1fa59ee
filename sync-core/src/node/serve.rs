//! Requests of peers for contents.

use super::Node;
use crate::error::FetchError;
use crate::id::{AskId, ContentId, DeviceId, FolderId, LinkId};
use crate::index::Index;
use crate::output::{Output, Serve, Source};
use crate::proving::{Mutant, Point, is_mutant, sometimes};
use crate::transfer::SCHEME;
use crate::wire::{ListWant, MAX_WANT_ITEMS, Message, Want, decode};
use alloc::{format, vec::Vec};

/// Places looked at for a content that is asked for.
const HOLDERS: usize = 16;

impl Node {
    // Whatever is neither request is out of place here, messages of later versions too.
    #[allow(clippy::wildcard_enum_match_arm)]
    pub(super) fn asked<I: Index>(
        &mut self,
        link: LinkId,
        ask: AskId,
        frame: &[u8],
        index: &mut I,
    ) -> Result<(), I::Error> {
        let Some(l) = self.links.get_mut(&link).filter(|l| !l.closing) else { return Ok(()) };
        let (device, ready, busy) =
            (l.device, l.is_ready(), l.asks >= self.cx.config.limits.asks && !is_mutant(Mutant::AsksUnbounded));
        let message = match decode(frame) {
            Ok(message) if ready => message,
            Ok(message) => return self.misbehaved(link, &format!("{} before hello", message.name()), index),
            Err(error) => return self.misbehaved(link, &format!("{error}"), index),
        };
        let answer = match message {
            _ if busy => {
                sometimes(Point::AsksRefused);
                Serve::Refuse(FetchError::Busy)
            }
            Message::Want(want) if want.items.len() > MAX_WANT_ITEMS => {
                return self.misbehaved(link, "a request of too many items", index);
            }
            Message::Want(want) => self.ranges(device, &want, index)?,
            Message::ListWant(want) => self.list(device, want, index)?,
            other => {
                return self.misbehaved(link, &format!("{} is out of place on the data lane", other.name()), index);
            }
        };
        if let Some(l) = self.links.get_mut(&link) {
            l.asks += 1;
            self.asks.insert(ask, link);
        }
        self.cx.emit(Output::Serve { ask, answer });
        Ok(())
    }

    pub(super) fn answered(&mut self, ask: AskId, bytes: u64) {
        self.cx.counters.served_bytes += bytes;
        if let Some(l) = self.asks.remove(&ask).and_then(|link| self.links.get_mut(&link)) {
            l.asks = l.asks.saturating_sub(1);
        }
    }

    fn ranges<I: Index>(&self, device: DeviceId, want: &Want, index: &mut I) -> Result<Serve, I::Error> {
        if !self.serves(want.folder, device) {
            return Ok(Serve::Refuse(FetchError::Refused));
        }
        let mut out = Vec::with_capacity(want.items.len());
        for item in &want.items {
            let found = self.source(want.folder, item.content, index)?;
            let end = item.offset.checked_add(item.len);
            let source = match (found, end) {
                (Some(source), Some(end)) if end <= source.expect.size => Ok(source),
                (Some(_), _) => Err(FetchError::Refused),
                (None, _) => {
                    sometimes(Point::NothingToServe);
                    Err(FetchError::NotFound)
                }
            };
            if source.is_ok() || !is_mutant(Mutant::AnswersShifted) {
                out.push((source, item.offset..end.unwrap_or(item.offset)));
            }
        }
        Ok(Serve::Ranges(out))
    }

    fn list<I: Index>(&self, device: DeviceId, want: ListWant, index: &mut I) -> Result<Serve, I::Error> {
        if !self.serves(want.folder, device) || want.scheme != SCHEME {
            return Ok(Serve::Refuse(FetchError::Refused));
        }
        let source = self.source(want.folder, want.content, index)?;
        Ok(source.map_or(Serve::Refuse(FetchError::NotFound), |source| {
            Serve::List(source, want.known.map_or_else(Vec::new, |known| known.0))
        }))
    }

    fn serves(&self, folder: FolderId, device: DeviceId) -> bool {
        self.folders.get(&folder).is_some_and(|f| f.has_member(device))
    }

    /// A file of the folder that holds `content`. Other folders' files are nothing to this folder's members.
    fn source<I: Index>(
        &self,
        folder: FolderId,
        content: ContentId,
        index: &mut I,
    ) -> Result<Option<Source>, I::Error> {
        let here = |(f, ..): &(FolderId, _, _)| *f == folder;
        let mut holder = index.holders(content, HOLDERS)?.into_iter().find(here);
        if holder.is_none() {
            // Other folders may have so many that this one's come later.
            holder = index.holders(content, usize::MAX)?.into_iter().find(here);
        }
        Ok(holder.map(|(folder, path, base)| Source { folder, path, expect: base.stat, content }))
    }
}
