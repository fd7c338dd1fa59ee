//! Trees that only `versus` needs.

use crate::Numbers;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};

/// Files in one directory of tiny ones.
const PER_DIR: u64 = 250;
/// Bytes of one file of a directory that is renamed.
pub const FILE: u64 = 1 << 20;

/// `count` files of 100 to 300 bytes. Returns their bytes.
///
/// # Errors
/// The disk's.
pub fn tiny(dir: &Path, count: u64) -> Result<u64> {
    let (mut numbers, mut total) = (Numbers(3), 0);
    for n in 0..count {
        let dir = dir.join(format!("dir-{:04}", n / PER_DIR));
        if n % PER_DIR == 0 {
            fs::create_dir_all(&dir)?;
        }
        let mut bytes = vec![0; 100 + (numbers.draw() % 201) as usize];
        numbers.fill(&mut bytes);
        total += bytes.len() as u64;
        fs::write(dir.join(format!("file-{n:06}")), bytes)?;
    }
    Ok(total)
}

/// `count` files of [`FILE`] bytes in one directory.
///
/// # Errors
/// The disk's.
pub fn medium(dir: &Path, count: u64) -> Result<()> {
    fs::create_dir_all(dir)?;
    let mut bytes = vec![0; FILE as usize];
    for n in 0..count {
        Numbers(n + 1_000).fill(&mut bytes);
        fs::write(dir.join(format!("file-{n:05}")), &bytes)?;
    }
    Ok(())
}

/// A copy of the first `most` files of a source tree that is found on this machine. Returns where it was, and how many
/// files and bytes there are.
///
/// # Errors
/// There is none, or the disk's.
pub fn real(dir: &Path, most: u64) -> Result<(PathBuf, u64, u64)> {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let cargo = std::env::var_os("CARGO_HOME").map_or_else(|| home.join(".cargo"), PathBuf::from);
    let places = [cargo.join("registry/src"), "/usr/src".into(), "/usr/include".into(), "/usr/lib/python3".into()];
    let mut found = (PathBuf::new(), Vec::new());
    for place in places {
        let files = files(&place);
        if files.len() > found.1.len() && found.1.len() < most as usize {
            found = (place, files);
        }
    }
    let (from, mut files) = found;
    ensure!(!files.is_empty(), "there is no source tree on this machine");
    files.truncate(most as usize);
    let mut bytes = 0;
    for file in &files {
        let to = dir.join(file.strip_prefix(&from)?);
        fs::create_dir_all(to.parent().context("a file is in a directory")?)?;
        bytes += fs::copy(file, &to).with_context(|| format!("cannot copy {}", file.display()))?;
    }
    Ok((from, files.len() as u64, bytes))
}

/// Plain files below a directory, in order.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<_> = fs::read_dir(dir).into_iter().flatten().flatten().collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    let below = |entry: fs::DirEntry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => files(&entry.path()),
        Ok(kind) if kind.is_file() => vec![entry.path()],
        _ => Vec::new(),
    };
    entries.into_iter().flat_map(below).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn trees_have_as_many_files_as_they_say() {
        let dir = tempfile::tempdir().unwrap();
        let bytes = tiny(&dir.path().join("tiny"), 300).unwrap();
        medium(&dir.path().join("medium"), 2).unwrap();
        let tiny = files(&dir.path().join("tiny"));
        assert_eq!(tiny.iter().map(|file| file.metadata().unwrap().len()).sum::<u64>(), bytes);
        assert!(tiny.len() == 300 && (30_000..90_000).contains(&bytes));
        assert_eq!(files(&dir.path().join("medium")).len(), 2);
    }
}
