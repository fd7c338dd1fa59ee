//! A member that says what it should not: authenticated, and out to break whoever listens.

use crate::dice::Dice;
use sync_core::id::{Actor, ContentId};
use sync_core::index::{Body, Dot, Key, Vector};
use sync_core::input::Lane;
use sync_core::wire::{Message, decode, encode};
use sync_core::{DeviceId, FolderId, WallTime};

/// What becomes of a frame that should be sent, and on which lane.
pub(super) fn twist(dice: &mut Dice, lane: Lane, frame: &[u8], now: u64) -> (Lane, Vec<Vec<u8>>) {
    let frames = match dice.range(0, 10) {
        0 => vec![frame.to_vec(), frame.to_vec()],
        1 => Vec::new(),
        2 => vec![flipped(dice, frame)],
        3 => vec![frame.to_vec(), frame[..dice.index(frame.len() + 1)].to_vec()],
        4..9 => vec![decode(frame).map_or_else(|_| frame.to_vec(), |message| encode(&bend(dice, message, now)))],
        _ => vec![frame.to_vec()],
    };
    let other = if lane == Lane::Control { Lane::Index } else { Lane::Control };
    (if dice.percent(3) { other } else { lane }, frames)
}

fn flipped(dice: &mut Dice, frame: &[u8]) -> Vec<u8> {
    let mut out = frame.to_vec();
    if !out.is_empty() {
        let at = dice.index(out.len());
        out[at] ^= 1 << dice.index(8);
    }
    out
}

/// A number that is likely to be trouble.
fn number(dice: &mut Dice, was: u64) -> u64 {
    [0, 1, was, was.saturating_add(1), was.wrapping_sub(1), u64::MAX, u64::MAX - 1, 1 << 63][dice.index(8)]
}

fn bend_vector(dice: &mut Dice, vector: &mut Vector) {
    let mut dots: Vec<Dot> = vector.iter().collect();
    if dots.is_empty() || dice.percent(20) {
        dots.push(Dot { actor: Actor(dice.draw()), seq: number(dice, 5) });
    }
    let at = dice.index(dots.len());
    dots[at].seq = number(dice, dots[at].seq);
    *vector = dots.into_iter().filter(|dot| dot.seq > 0).collect();
}

/// The same message, with something in it that is not true.
fn bend(dice: &mut Dice, message: Message, now: u64) -> Message {
    let mut message = message;
    match &mut message {
        Message::Hello(hello) => match dice.range(0, 3) {
            0 => hello.version = u32::try_from(number(dice, 1) & 0xffff).unwrap_or(0),
            1 => hello.device = DeviceId([1; 32]),
            _ => hello.name = "x".repeat(dice.index(10_000)),
        },
        Message::FolderOffer(offer) => match dice.range(0, 6) {
            0 => offer.folder = FolderId([9; 16]),
            1 => offer.epoch = number(dice, offer.epoch),
            2 => offer.max_rev = number(dice, offer.max_rev),
            3 => offer.cursor = number(dice, offer.cursor),
            4 => bend_vector(dice, &mut offer.knowledge),
            _ => bend_vector(dice, &mut offer.applied),
        },
        Message::SyncStart(start) => match dice.range(0, 2) {
            0 => start.epoch = number(dice, start.epoch),
            _ => bend_vector(dice, &mut start.knowledge),
        },
        Message::Caught(caught) => match dice.range(0, 3) {
            0 => caught.rev = number(dice, caught.rev),
            1 => bend_vector(dice, &mut caught.knowledge),
            _ => bend_vector(dice, &mut caught.applied),
        },
        Message::Rows(rows) => {
            rows.upto = rows.upto.map(|upto| if dice.percent(30) { number(dice, upto) } else { upto });
            for row in &mut rows.rows {
                bend_row(dice, &row.key, &mut row.row, now);
            }
        }
        Message::Have(have) => have.contents.push(ContentId([dice.draw() as u8; 32])),
        Message::Gone { keys, .. } => {
            let spare = keys.clone();
            keys.extend(spare);
        }
        Message::Ping(n) | Message::Pong(n) => *n = number(dice, *n),
        Message::FolderGone(_)
        | Message::Notice { .. }
        | Message::Goodbye
        | Message::Want(_)
        | Message::ListWant(_) => {}
    }
    message
}

fn bend_row(dice: &mut Dice, key: &Key, row: &mut sync_core::index::Row, now: u64) {
    // Members are left alone: whoever is one may remove the others.
    if key.as_path().is_none() || dice.percent(50) {
        return;
    }
    match dice.range(0, 5) {
        0 => bend_vector(dice, &mut row.ctx),
        1 => {
            let dot = Dot { actor: Actor(dice.draw()), seq: number(dice, now).max(1) };
            if let Some(value) = row.siblings.values().next().cloned() {
                row.siblings.insert(dot, value);
                row.ctx.insert(dot);
            }
        }
        _ => {
            for value in row.siblings.values_mut() {
                match (dice.range(0, 4), &mut value.body) {
                    (0, Body::File { size, .. }) => *size = number(dice, *size),
                    (1, Body::File { content, .. }) => *content = ContentId([dice.draw() as u8; 32]),
                    (2, Body::File { mtime_ns, .. }) => *mtime_ns = [i64::MIN, i64::MAX, 0, -1][dice.index(4)],
                    (3, body) => *body = Body::Dir { mode: u32::MAX },
                    (_, _) => value.stamp = WallTime([i64::MIN, i64::MAX, 0][dice.index(3)]),
                }
            }
        }
    }
}
