//! Trees to sync: the same bytes in every run, and none that compress.

use crate::Numbers;
use anyhow::{Context, Result, ensure};
use std::fs::{self, File};
use std::io::{BufReader, Read, Write};
use std::path::Path;

/// Files in one directory.
const PER_DIR: u64 = 50;
/// Bytes written at once.
const BLOCK: usize = 1 << 20;
/// What landropic keeps for itself inside a folder.
const PRIVATE_DIR: &str = ".landropic";

/// One file of `bytes` at `dir/large`.
///
/// # Errors
/// The disk's.
pub fn large(dir: &Path, bytes: u64) -> Result<()> {
    fs::create_dir_all(dir)?;
    let mut file = File::create(dir.join("large")).context("cannot make the large file")?;
    let (mut numbers, mut block, mut left) = (Numbers(1), vec![0; BLOCK], bytes);
    while left > 0 {
        let len = usize::try_from(left).map_or(BLOCK, |left| left.min(BLOCK));
        numbers.fill(&mut block[..len]);
        file.write_all(&block[..len])?;
        left -= len as u64;
    }
    Ok(())
}

/// `count` files of 1 to 16 KiB, every doubling equally likely, fifty in a directory. Returns their bytes.
///
/// # Errors
/// The disk's.
pub fn small(dir: &Path, count: u64) -> Result<u64> {
    let (mut numbers, mut total) = (Numbers(2), 0);
    for n in 0..count {
        let dir = dir.join(format!("dir-{:03}", n / PER_DIR));
        if n % PER_DIR == 0 {
            fs::create_dir_all(&dir)?;
        }
        let mut bytes = vec![0; numbers.log_uniform(10.0, 14.0)];
        numbers.fill(&mut bytes);
        total += bytes.len() as u64;
        fs::write(dir.join(format!("file-{n:05}")), bytes)?;
    }
    Ok(total)
}

/// Checks that two trees hold the same names and bytes, landropic's own directory apart.
///
/// # Errors
/// They do not, or cannot be read.
pub fn check_equal(a: &Path, b: &Path) -> Result<()> {
    let (left, right) = (names(a)?, names(b)?);
    ensure!(left == right, "{} and {} hold different names", a.display(), b.display());
    for name in left {
        let (a, b) = (a.join(&name), b.join(&name));
        if a.is_dir() {
            check_equal(&a, &b)?;
        } else {
            ensure!(same_bytes(&a, &b)?, "{} and {} differ", a.display(), b.display());
        }
    }
    Ok(())
}

fn names(dir: &Path) -> Result<Vec<std::ffi::OsString>> {
    let entries = fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))?;
    let mut names: Vec<_> = entries.map(|entry| Ok(entry?.file_name())).collect::<Result<_>>()?;
    names.retain(|name| name != PRIVATE_DIR);
    names.sort();
    Ok(names)
}

/// Whether two files hold the same bytes.
///
/// # Errors
/// They cannot be read.
pub fn same_bytes(a: &Path, b: &Path) -> Result<bool> {
    let open = |path: &Path| File::open(path).map(|file| BufReader::with_capacity(BLOCK, file));
    let (mut left, mut right) = (open(a)?, open(b)?);
    let (mut x, mut y) = (vec![0; BLOCK], vec![0; BLOCK]);
    loop {
        let (m, n) = (read_full(&mut left, &mut x)?, read_full(&mut right, &mut y)?);
        if x[..m] != y[..n] {
            return Ok(false);
        }
        if m < BLOCK {
            return Ok(true);
        }
    }
}

fn read_full(from: &mut impl Read, out: &mut [u8]) -> Result<usize> {
    let mut filled = 0;
    loop {
        match from.read(&mut out[filled..])? {
            0 => return Ok(filled),
            n => filled += n,
        }
        if filled == out.len() {
            return Ok(filled);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn trees_are_equal_only_with_the_same_names_and_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        for tree in [&a, &b] {
            small(tree, 60).unwrap();
            large(tree, BLOCK as u64 + 1).unwrap();
        }
        fs::create_dir(a.join(PRIVATE_DIR)).unwrap();
        check_equal(&a, &b).unwrap();
        let victim = b.join("dir-001/file-00055");
        let mut bytes = fs::read(&victim).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&victim, bytes).unwrap();
        assert!(check_equal(&a, &b).unwrap_err().to_string().contains("differ"));
        fs::remove_file(&victim).unwrap();
        assert!(check_equal(&a, &b).unwrap_err().to_string().contains("different names"));
    }
}
