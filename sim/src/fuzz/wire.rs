//! Whatever a peer sends is a message within its limits or an error, and a message has one canonical form.

use sync_core::RelPath;
use sync_core::index::{Body, Key, Row};
use sync_core::wire::{Message, decode, encode};

/// Decodes a frame. What it says is within the limits of `PROTOCOL.md`, and saying it again changes nothing.
pub fn wire_decode(frame: &[u8]) {
    let Ok(message) = decode(frame) else { return };
    check_limits(&message);
    let canonical = encode(&message);
    let again = decode(&canonical);
    assert_eq!(again.as_ref(), Ok(&message), "{} changed on its second way", message.name());
    assert_eq!(encode(&message), canonical, "{} is said in two ways", message.name());
    // Only what an earlier version left out may be added.
    let room = frame.len() + added(&message);
    assert!(canonical.len() <= room, "{}: {} bytes came, {} go", message.name(), frame.len(), canonical.len());
}

/// Fields that may be missing on the wire and are always said here: what a member misses, one byte if it is nothing, and
/// the length of the list that then is longer.
fn added(message: &Message) -> usize {
    match message {
        Message::Rows(rows) => rows.rows.iter().map(|r| r.row.siblings.len()).sum(),
        Message::Hello(_)
        | Message::FolderOffer(_)
        | Message::FolderGone(_)
        | Message::SyncStart(_)
        | Message::Caught(_)
        | Message::Gone { .. }
        | Message::Have(_)
        | Message::Ping(_)
        | Message::Pong(_)
        | Message::Notice { .. }
        | Message::Goodbye
        | Message::Want(_)
        | Message::ListWant(_) => 0,
    }
}

/// The limits as `PROTOCOL.md` has them, in its numbers.
fn check_limits(message: &Message) {
    match message {
        Message::Rows(rows) => {
            assert!(rows.rows.len() <= 1_000, "{} rows", rows.rows.len());
            for row in &rows.rows {
                check_key(&row.key);
                check_row(&row.row);
            }
        }
        Message::Gone { keys, .. } => {
            assert!(keys.len() <= 1_000, "{} keys", keys.len());
            keys.iter().for_each(check_key);
        }
        Message::Want(want) => assert!(want.items.len() <= 1_024, "{} items", want.items.len()),
        Message::Hello(_)
        | Message::FolderOffer(_)
        | Message::FolderGone(_)
        | Message::SyncStart(_)
        | Message::Caught(_)
        | Message::Have(_)
        | Message::Ping(_)
        | Message::Pong(_)
        | Message::Notice { .. }
        | Message::Goodbye
        | Message::ListWant(_) => {}
    }
}

fn check_key(key: &Key) {
    if let Some(path) = key.as_path() {
        assert_eq!(RelPath::new(path.as_bytes()).as_ref(), Ok(path), "a path that could not be made here");
    }
    assert_eq!(Key::from_bytes(&key.to_bytes()).as_ref(), Some(key));
}

fn check_row(row: &Row) {
    assert!(row.siblings.len() <= 1_024, "{} siblings", row.siblings.len());
    for (dot, value) in &row.siblings {
        assert!(row.ctx.contains(*dot), "{dot:?} is no part of its row's context");
        match &value.body {
            Body::Symlink { target } => assert!(target.len() <= 4_096, "a target of {} bytes", target.len()),
            Body::Member(m) => {
                assert!(m.name.len() <= 1_024, "a name of {} bytes", m.name.len());
                assert!(m.misses.len() <= 256, "{} contents missed", m.misses.len());
            }
            Body::Dir { .. } | Body::File { .. } | Body::Tomb | Body::Policy(_) => {}
        }
    }
}
