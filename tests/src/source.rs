//! A tree like that of a large source repository, the same every time.

use crate::rng::Rng;
use crate::tree::set_mtime;
use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// The directories at the top.
pub const TOPS: [&str; 4] = ["client", "server", "docs", "tools"];
/// Modules in each.
pub const MODULES: usize = 14;
/// Parts of each module.
pub const PARTS: usize = 6;
/// Files in each part.
pub const FILES: usize = 30;

/// Seconds since 1970 of the oldest file.
const OLDEST: i64 = 1_500_000_000;
/// What many files begin with, and some consist of.
const NOTICE: &str = "// This file is part of a tree that nobody wrote. Copy, change and delete it as you like.\n";

/// Where a file of the tree is.
pub fn file(top: &str, module: usize, part: usize, file: usize) -> PathBuf {
    part_dir(top, module, part).join(format!("file_{file:02}.rs"))
}

/// Where a part of the tree is.
pub fn part_dir(top: &str, module: usize, part: usize) -> PathBuf {
    module_dir(top, module).join(format!("part_{part}"))
}

/// Where a module of the tree is.
pub fn module_dir(top: &str, module: usize) -> PathBuf {
    Path::new(top).join(format!("mod_{module:02}"))
}

/// Makes 10,080 files in 340 directories below `root`, and everything a file system can be asked to hold beside them.
pub fn grow(root: &Path) {
    let mut rng = Rng::new(1);
    for top in TOPS {
        for module in 0..MODULES {
            for part in 0..PARTS {
                fs::create_dir_all(root.join(part_dir(top, module, part))).unwrap();
                for number in 0..FILES {
                    let path = root.join(file(top, module, part, number));
                    write_one(&path, &mut rng);
                }
            }
        }
        odd_names(&root.join(top).join("odd"));
        links(&root.join(top).join("links"));
        empties(&root.join(top).join("empties"));
    }
    deep(root);
    large(root, &mut rng);
}

fn write_one(path: &Path, rng: &mut Rng) {
    let bytes = match rng.below(100) {
        0..5 => Vec::new(),
        5..20 => NOTICE.as_bytes().to_vec(),
        20..96 => code(rng, 200, 6_000),
        96..99 => code(rng, 6_000, 60_000),
        _ => code(rng, 60_000, 300_000),
    };
    fs::write(path, bytes).unwrap();
    let mode = match rng.below(100) {
        0..8 => 0o755,
        8..12 => 0o600,
        12..14 => 0o444,
        14..15 => 0o777,
        _ => 0o644,
    };
    let age = i64::try_from(rng.below(200_000_000)).unwrap();
    let nanos = i64::try_from(rng.below(1_000_000_000)).unwrap();
    set_mtime(path, (OLDEST + age) * 1_000_000_000 + nanos);
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Text with the notice at its head, from `least` to `most` bytes, that compresses as sources do.
fn code(rng: &mut Rng, least: u64, most: u64) -> Vec<u8> {
    let len = usize::try_from(least + rng.below(most - least)).unwrap();
    let mut text = NOTICE.to_owned();
    while text.len() < len {
        let (name, value) = (rng.below(500), rng.next_u64());
        text.push_str(&format!("    let value_{name} = compute_{}({value:#x})?;\n", name % 37));
    }
    text.truncate(len);
    text.into_bytes()
}

fn odd_names(dir: &Path) {
    fs::create_dir_all(dir).unwrap();
    let long = "x".repeat(255);
    let long_wide = "ä".repeat(127);
    let names: [&[u8]; 24] = [
        b"with a space",
        b" leading and trailing ",
        b"line\nbreak",
        b"tab\tand\rreturn",
        b"quote'double\"back\\slash`",
        b"$HOME * ? [a-z] {x,y} | & ; < > ( ) ! #",
        b"-rf",
        b"--help",
        b"~",
        b"file~2",
        b"trailing.",
        b"...",
        b".hidden",
        b".landropic",
        b"NUL.txt",
        b"Readme",
        b"README",
        b"\xff\xfe not utf-8",
        b"caf\xe9.txt",
        b"\x01\x7f control",
        "caf\u{e9} composed".as_bytes(),
        "cafe\u{301} decomposed".as_bytes(),
        long.as_bytes(),
        long_wide.as_bytes(),
    ];
    for name in names {
        let inside = dir.join(OsStr::from_bytes(&[b"dir ", &name[..name.len().min(240)]].concat()));
        fs::write(dir.join(OsStr::from_bytes(name)), name).unwrap();
        fs::create_dir(&inside).unwrap();
        fs::write(inside.join(OsStr::from_bytes(name)), b"inside").unwrap();
    }
}

fn links(dir: &Path) {
    fs::create_dir_all(dir.join("real")).unwrap();
    fs::write(dir.join("real/file"), "pointed at").unwrap();
    symlink("real/file", dir.join("to a file")).unwrap();
    symlink("real", dir.join("to a directory")).unwrap();
    symlink("nowhere/at all", dir.join("dangling")).unwrap();
    symlink("/etc/hostname", dir.join("absolute and outside")).unwrap();
    symlink("../../../../../../../etc", dir.join("relative and outside")).unwrap();
    symlink("to itself", dir.join("to itself")).unwrap();
    symlink(".", dir.join("to here")).unwrap();
    symlink(OsStr::from_bytes(b"not \xff utf-8\n"), dir.join("to bytes")).unwrap();
    symlink("y".repeat(3_000), dir.join("to somewhere long")).unwrap();
}

fn empties(dir: &Path) {
    for name in ["empty", "nested/empty/directories", "closed", "open to all"] {
        fs::create_dir_all(dir.join(name)).unwrap();
    }
    fs::set_permissions(dir.join("closed"), Permissions::from_mode(0o700)).unwrap();
    fs::set_permissions(dir.join("open to all"), Permissions::from_mode(0o777)).unwrap();
    fs::write(dir.join("file"), "").unwrap();
    fs::write(dir.join("script"), "").unwrap();
    fs::set_permissions(dir.join("script"), Permissions::from_mode(0o755)).unwrap();
}

fn deep(root: &Path) {
    let mut dir = root.join("deep");
    for level in 0..60 {
        dir = dir.join(format!("level {level} {}", "z".repeat(30)));
    }
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("bottom"), "the bottom").unwrap();
}

/// Files that travel in chunks, two of them with the same bytes.
fn large(root: &Path, rng: &mut Rng) {
    let dir = root.join("large");
    fs::create_dir(&dir).unwrap();
    let bytes = rng.bytes(5 << 20);
    fs::write(dir.join("noise"), &bytes).unwrap();
    fs::write(dir.join("the same noise"), &bytes).unwrap();
    fs::write(dir.join("zeros"), vec![0; 3 << 20]).unwrap();
    // Just below, at and above the size up to which a file travels whole.
    for size in [65_535, 65_536, 65_537] {
        fs::write(dir.join(format!("{size} bytes")), &bytes[..size]).unwrap();
    }
}
