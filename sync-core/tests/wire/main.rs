//! The wire: what is committed stays readable, and nothing a peer sends does harm by being read.
//!
//! `golden/NAME.hex` is what this version says; `golden/NAME.future.hex` is the same message from a later version that
//! has appended fields everywhere it may. Files are added, never changed: devices in the field have sent them.
#![allow(clippy::unwrap_used)]

mod frames;

use frames::{Shape, folder, grow, message, one_file, samples, shape};
use minicbor::Encoder;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use sync_core::id::DeviceId;
use sync_core::index::{Body, Dot, Key, MAX_SIBLINGS, Row, Vector};
use sync_core::path::{MAX_NAME, MAX_PATH, RelPath};
use sync_core::wire::{
    MAX_CONTROL_FRAME, MAX_INDEX_FRAME, MAX_ROWS, MAX_WANT_ITEMS, Message, PROTOCOL_VERSION, Rows, Want, WireRow,
    decode, encode,
};
use sync_core::{Actor, CloseCode, FetchError};

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter(|c| !c.is_whitespace()).map(|c| c.to_digit(16).unwrap()).collect();
    digits.chunks(2).map(|pair| u8::try_from(pair[0] * 16 + pair[1]).unwrap()).collect()
}

fn hex(bytes: &[u8]) -> String {
    let lines: Vec<String> = bytes.chunks(48).map(|line| line.iter().map(|b| format!("{b:02x}")).collect()).collect();
    lines.join("\n") + "\n"
}

fn golden(name: &str) -> Vec<u8> {
    let path = here("tests/golden").join(format!("{name}.hex"));
    unhex(&fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}

/// The names of the golden files, without their extension.
fn golden_names() -> BTreeSet<String> {
    let files = fs::read_dir(here("tests/golden")).unwrap();
    files.map(|file| file.unwrap().file_name().into_string().unwrap().replace(".hex", "")).collect()
}

/// The number of a message on the wire.
fn number(message: &Message) -> u64 {
    let frame = encode(message);
    let mut decoder = minicbor::Decoder::new(&frame);
    assert_eq!(decoder.array().unwrap(), Some(2));
    decoder.u64().unwrap()
}

#[test]
fn every_message_encodes_to_its_golden_frame_and_back() {
    for (name, message) in samples() {
        let frame = encode(&message);
        assert_eq!(hex(&frame), hex(&golden(name)), "{name}: golden frames never change: add a message instead");
        assert_eq!(decode(&frame).unwrap(), message, "{name}");
    }
}

#[test]
fn fields_of_a_later_version_are_skipped() {
    for (name, message) in samples() {
        let frame = golden(&format!("{name}.future"));
        assert_ne!(frame, encode(&message), "{name}: it must hold something new");
        assert_eq!(decode(&frame).unwrap(), message, "{name}");
    }
}

#[test]
fn every_golden_file_belongs_to_a_message() {
    let expected = samples().into_iter().flat_map(|(name, _)| [name.to_owned(), format!("{name}.future")]);
    assert_eq!(golden_names(), expected.collect());
}

#[test]
fn the_samples_leave_no_message_out() {
    let sampled: BTreeSet<u64> = samples().iter().map(|(_, message)| number(message)).collect();
    // A number that nobody has is refused for itself; one that somebody has, for its missing fields.
    let is_known = |n: &u64| {
        let mut frame = Encoder::new(Vec::new());
        frame.array(2).unwrap().u64(*n).unwrap().array(0).unwrap();
        decode(frame.writer()).map_or_else(|error| !error.to_string().contains("unknown enum variant"), |_| true)
    };
    assert_eq!(sampled, (0..1_000).filter(is_known).collect());
}

#[test]
fn the_table_of_the_protocol_names_every_message_with_its_number() {
    let text = fs::read_to_string(here("PROTOCOL.md")).unwrap();
    let section = text.split("## Messages").nth(1).and_then(|rest| rest.split("\n## ").next()).unwrap();
    let rows = section.lines().filter_map(|line| {
        let mut cells = line.split('|').map(str::trim).skip(1);
        let number: u64 = cells.next()?.parse().ok()?;
        Some((number, cells.next()?.trim_matches('`').to_owned()))
    });
    let described: BTreeMap<u64, String> = rows.collect();
    let spoken: BTreeMap<u64, String> = samples().iter().map(|(_, m)| (number(m), m.name().to_owned())).collect();
    assert_eq!(described, spoken);
}

#[test]
fn the_protocol_states_the_numbers_that_the_code_has() {
    let text = fs::read_to_string(here("PROTOCOL.md")).unwrap();
    let rows = [
        ("protocol version", PROTOCOL_VERSION.to_string()),
        ("control frame", format!("{MAX_CONTROL_FRAME} bytes")),
        ("index frame", format!("{MAX_INDEX_FRAME} bytes")),
        ("rows in one `Rows`", MAX_ROWS.to_string()),
        ("items in one `Want`", MAX_WANT_ITEMS.to_string()),
        ("siblings of a row", MAX_SIBLINGS.to_string()),
        ("path", format!("{MAX_PATH} bytes")),
        ("path component", format!("{MAX_NAME} bytes")),
    ];
    for (what, value) in rows {
        let row = format!("| {what} | {value} |");
        assert!(text.contains(&row), "PROTOCOL.md lacks: {row}");
    }
    let codes = [
        CloseCode::None,
        CloseCode::HandshakeFailed,
        CloseCode::HandshakeTimeout,
        CloseCode::ProtocolError,
        CloseCode::NotAuthorised,
        CloseCode::ShuttingDown,
        CloseCode::Superseded,
    ];
    for code in codes {
        let row = format!("| {} | `{code:?}` |", code as u8);
        assert!(text.contains(&row), "PROTOCOL.md lacks: {row}");
    }
    let answers =
        [FetchError::NotFound, FetchError::Changed, FetchError::Busy, FetchError::Refused, FetchError::BadHash];
    for answer in answers {
        let number = answer as u8;
        assert_eq!(minicbor::to_vec(answer).unwrap(), [number], "{answer:?}");
        let row = format!("| {number} | `{answer:?}` |");
        assert!(text.contains(&row), "PROTOCOL.md lacks: {row}");
    }
}

#[test]
fn the_corpus_of_the_fuzzer_holds_every_golden_frame_and_breaks_nothing() {
    let corpus = here("../fuzz/corpus/wire_decode");
    let mut names = BTreeSet::new();
    for file in fs::read_dir(&corpus).unwrap() {
        let file = file.unwrap();
        let name = file.file_name().into_string().unwrap();
        let bytes = fs::read(file.path()).unwrap();
        if let Ok(message) = decode(&bytes) {
            assert_eq!(decode(&encode(&message)).unwrap(), message, "{name}");
        }
        names.insert(name);
    }
    let missing: Vec<String> = golden_names().into_iter().filter(|name| !names.contains(name)).collect();
    assert!(missing.is_empty(), "{} lacks {missing:?}", corpus.display());
    for name in golden_names() {
        assert_eq!(fs::read(corpus.join(&name)).unwrap(), golden(&name), "{name}");
    }
}

/// A frame that `Rows` has, with the bytes of one key as given.
fn rows_at(key: &[u8]) -> Vec<u8> {
    let row = minicbor::to_vec(one_file()).unwrap();
    let mut e = Encoder::new(Vec::new());
    e.array(2).unwrap().u8(4).unwrap().array(1).unwrap();
    e.array(2).unwrap().bytes(&folder().0).unwrap().array(1).unwrap();
    e.array(2).unwrap().bytes(key).unwrap();
    let mut frame = e.into_writer();
    frame.extend_from_slice(&row);
    frame
}

#[test]
fn keys_that_lead_out_of_the_folder_do_not_decode() {
    let fine: [&[u8]; 9] = [
        b"a",
        b"a/b",
        b"...",
        b"..a/b..",
        b".landropic2",
        b"a/.landropic",
        b"new\nline",
        &[0xff, 0xfe],
        &[b'a'; MAX_NAME],
    ];
    for key in fine {
        let message = Message::Rows(Rows {
            folder: folder(),
            rows: vec![WireRow { key: Key::Path(RelPath::new(key).unwrap()), row: one_file() }],
            upto: None,
        });
        assert_eq!(decode(&rows_at(key)).unwrap(), message, "{key:?}");
    }
    let long_name = [b'a'; MAX_NAME + 1];
    let long_path = b"a/".repeat(MAX_PATH / 2 + 1);
    let cut_member = [&b"\0m"[..], &[1; 31]].concat();
    let hostile: [&[u8]; 22] = [
        b"",
        b".",
        b"..",
        b"../a",
        b"a/..",
        b"a/../b",
        b"a/./b",
        b"/",
        b"/etc/passwd",
        b"a//b",
        b"a/",
        b"a\0",
        b"a/b\0c",
        b"\0",
        b"\0x",
        b".landropic",
        b".landropic/staged/x",
        b".LanDropic/x",
        &long_name,
        &long_path[..MAX_PATH + 1],
        &cut_member,
        b"\0m",
    ];
    for key in hostile {
        assert!(decode(&rows_at(key)).is_err(), "{:?}", String::from_utf8_lossy(key));
    }
}

fn rows_of(row: Row) -> Message {
    let row = WireRow { key: Key::Path(RelPath::new(b"a").unwrap()), row };
    Message::Rows(Rows { folder: folder(), rows: vec![row], upto: None })
}

#[test]
fn a_row_of_too_many_siblings_does_not_decode() {
    let value = one_file().siblings.into_values().next().unwrap();
    let row = |count: usize| {
        let dots: Vec<Dot> = (1..=count as u64).map(|seq| Dot { actor: Actor(7), seq }).collect();
        let siblings = dots.iter().map(|dot| (*dot, value.clone())).collect();
        rows_of(Row { ctx: dots.into_iter().collect(), siblings, noskip: false })
    };
    assert_eq!(decode(&encode(&row(MAX_SIBLINGS))).unwrap(), row(MAX_SIBLINGS));
    assert!(decode(&encode(&row(MAX_SIBLINGS + 1))).is_err());
}

#[test]
fn a_file_larger_than_any_does_not_decode() {
    let with_size = |size| {
        let mut row = one_file();
        let Some(Body::File { size: was, .. }) = row.siblings.values_mut().next().map(|v| &mut v.body) else {
            unreachable!("it has one file")
        };
        *was = size;
        rows_of(row)
    };
    assert!(decode(&encode(&with_size(1 << 53))).is_ok());
    assert!(decode(&encode(&with_size((1 << 53) + 1))).is_err());
}

#[test]
fn a_row_whose_context_lacks_a_sibling_does_not_decode() {
    let row = one_file();
    assert!(decode(&encode(&rows_of(row.clone()))).is_ok());
    let below: Vector = row.ctx.iter().map(|dot| Dot { seq: dot.seq - 1, ..dot }).collect();
    assert!(decode(&encode(&rows_of(Row { ctx: below, ..row.clone() }))).is_err());
    assert!(decode(&encode(&rows_of(Row { ctx: Vector::default(), ..row }))).is_err());
}

#[test]
fn lists_longer_than_their_limit_do_not_decode() {
    let row = WireRow { key: Key::Member(DeviceId([1; 32])), row: Row::default() };
    let rows = |count| Message::Rows(Rows { folder: folder(), rows: vec![row.clone(); count], upto: None });
    assert!(decode(&encode(&rows(MAX_ROWS))).is_ok());
    assert!(decode(&encode(&rows(MAX_ROWS + 1))).is_err());
    let gone = |count| Message::Gone { folder: folder(), keys: vec![Key::Member(DeviceId([1; 32])); count] };
    assert!(decode(&encode(&gone(MAX_ROWS))).is_ok());
    assert!(decode(&encode(&gone(MAX_ROWS + 1))).is_err());
    let Some((_, Message::Want(want))) = samples().into_iter().find(|(name, _)| *name == "want") else {
        panic!("there is a sample of every message");
    };
    let wants = |count: usize| {
        Message::Want(Want { items: want.items.iter().cycle().take(count).cloned().collect(), ..want.clone() })
    };
    assert!(decode(&encode(&wants(MAX_WANT_ITEMS))).is_ok());
    assert!(decode(&encode(&wants(MAX_WANT_ITEMS + 1))).is_err());
}

#[test]
fn a_length_that_no_bytes_back_up_is_refused_without_being_reserved() {
    // An array of 2^63 rows, a byte string of 2^63 bytes, a text of as many, a map of as many.
    for head in [0x9b, 0x5b, 0x7b, 0xbb_u8] {
        let mut frame = rows_at(b"a");
        let at = frame.iter().rposition(|b| *b == b'a').unwrap();
        frame.truncate(at - 1);
        frame.push(head);
        frame.extend_from_slice(&(1_u64 << 63).to_be_bytes());
        assert!(decode(&frame).is_err(), "{head:#x}");
    }
}

#[test]
fn nothing_may_precede_follow_or_be_missing_from_a_message() {
    for (name, message) in samples() {
        let frame = encode(&message);
        assert!(decode(&[&frame[..], &[0]].concat()).is_err(), "{name}: a byte follows");
        assert!(decode(&[&frame[..], &frame].concat()).is_err(), "{name}: a message follows");
        assert!(decode(&[&[0], &frame[..]].concat()).is_err(), "{name}: a byte precedes");
        for len in 0..frame.len() {
            assert!(decode(&frame[..len]).is_err(), "{name}: cut at {len}");
        }
    }
}

#[test]
fn ids_of_another_length_do_not_decode() {
    for len in [0, 15, 17, 32] {
        let mut e = Encoder::new(Vec::new());
        e.array(2).unwrap().u8(2).unwrap().array(1).unwrap().bytes(&vec![1; len]).unwrap();
        assert!(decode(e.writer()).is_err(), "{len}");
    }
}

#[test]
fn deep_nesting_in_an_unknown_field_is_skipped_without_recursion() {
    // FolderGone with a second field of 60,000 nested arrays.
    let mut e = Encoder::new(Vec::new());
    e.array(2).unwrap().u8(2).unwrap().array(2).unwrap().bytes(&folder().0).unwrap();
    let mut frame = e.into_writer();
    frame.extend_from_slice(&[0x81; 60_000]);
    frame.push(0);
    assert_eq!(decode(&frame).unwrap(), Message::FolderGone(folder()));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_message_survives_the_wire(message in message()) {
        prop_assert_eq!(decode(&encode(&message)).unwrap(), message);
    }

    #[test]
    fn every_message_of_a_later_version_reads_as_this_version_has_it(message in message()) {
        let frame = grow(&encode(&message));
        prop_assert_eq!(decode(&frame).unwrap(), message);
    }

    #[test]
    fn arbitrary_bytes_are_a_message_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        if let Ok(message) = decode(&bytes) {
            prop_assert_eq!(decode(&encode(&message)).unwrap(), message);
        }
    }

    #[test]
    fn mutated_messages_are_a_message_or_an_error(
        message in message(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4_u8), 1..8),
    ) {
        let mut frame = encode(&message);
        for (at, byte, how) in edits {
            if frame.is_empty() {
                break;
            }
            let at = at.index(frame.len());
            match how {
                0 => frame[at] = byte,
                1 => frame.insert(at, byte),
                2 => drop(frame.remove(at)),
                _ => frame.truncate(at),
            }
        }
        if let Ok(message) = decode(&frame) {
            prop_assert_eq!(decode(&encode(&message)).unwrap(), message);
        }
    }
}

#[test]
fn the_shape_that_grows_frames_knows_every_message() {
    let Shape::OneOf(variants) = shape() else { panic!("messages are one of several") };
    let numbers: BTreeSet<u64> = samples().iter().map(|(_, message)| number(message)).collect();
    assert_eq!(variants.len(), numbers.len());
}
