//! Paths relative to a folder's root: opaque bytes, parsed once, never wrong afterwards.
//!
//! A path that would leave the folder, name its staging area or exceed a limit does not exist as a value, so nothing
//! downstream has to check again.

use crate::proving::{Mutant, is_mutant};
use alloc::{boxed::Box, string::String, vec::Vec};
use core::fmt;
use minicbor::{Decode, Decoder, Encode, Encoder, decode, encode};

/// Longest path in bytes (Linux `PATH_MAX`).
pub const MAX_PATH: usize = 4096;
/// Longest component in bytes (Linux `NAME_MAX`).
pub const MAX_NAME: usize = 255;
/// The directory inside a folder that is landropic's own: staging, trash, marker. Excluded from sync.
pub const PRIVATE_DIR: &str = ".landropic";

/// Whether a name in a folder's root is that of landropic's own directory, in any case.
pub fn is_private(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(PRIVATE_DIR.as_bytes()) && !is_mutant(Mutant::PrivateShown)
}

/// Why bytes are not a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// No bytes, or a component without any.
    #[error("a path component is empty")]
    Empty,
    /// A `.` or `..` component.
    #[error("a path component is '.' or '..'")]
    Dots,
    /// A NUL byte, or a slash where one component is asked for.
    #[error("a path holds a byte that no file name may have")]
    Byte,
    /// Longer than `MAX_PATH`, or a component longer than `MAX_NAME`.
    #[error("a path or a component of it is too long")]
    TooLong,
    /// The first component is landropic's own directory, in any case.
    #[error("the path is inside landropic's own directory")]
    Private,
}

/// One component of a path.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Box<[u8]>);

impl Name {
    /// Parses one component.
    ///
    /// # Errors
    /// Whatever makes it no file name; `Private` is a matter of position and does not occur here.
    pub fn new(bytes: &[u8]) -> Result<Self, PathError> {
        check_name(bytes)?;
        Ok(Self(bytes.into()))
    }

    /// The bytes, as the file system has them.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

fn check_name(bytes: &[u8]) -> Result<(), PathError> {
    match bytes {
        b"" => Err(PathError::Empty),
        b"." | b".." => Err(PathError::Dots),
        long if long.len() > MAX_NAME => Err(PathError::TooLong),
        other if other.iter().any(|b| matches!(b, 0 | b'/')) => Err(PathError::Byte),
        _ => Ok(()),
    }
}

/// A path below a folder's root: at least one component.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelPath(Box<[u8]>);

impl RelPath {
    /// Parses components separated by single slashes.
    ///
    /// # Errors
    /// Absolute paths, empty components, `.`, `..`, NUL, anything too long, and landropic's own directory.
    pub fn new(bytes: &[u8]) -> Result<Self, PathError> {
        if bytes.len() > MAX_PATH {
            return Err(PathError::TooLong);
        }
        let mut components = bytes.split(|b| *b == b'/');
        let first = components.next().unwrap_or_default();
        check_name(first)?;
        if is_private(first) {
            return Err(PathError::Private);
        }
        components.try_for_each(check_name)?;
        Ok(Self(bytes.into()))
    }

    /// The bytes, components separated by single slashes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The directory that holds this entry.
    pub fn parent(&self) -> DirPath {
        DirPath(self.parent_path())
    }

    /// The directory that holds this entry, unless it is the root.
    pub fn parent_path(&self) -> Option<Self> {
        let slash = self.0.iter().rposition(|b| *b == b'/')?;
        Some(Self(self.0[..slash].into()))
    }

    /// The last component.
    pub fn name(&self) -> Name {
        let start = self.0.iter().rposition(|b| *b == b'/').map_or(0, |slash| slash + 1);
        Name(self.0[start..].into())
    }

    /// The components, first to last.
    pub fn components(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|b| *b == b'/')
    }

    /// Every proper ancestor below the root, nearest first.
    pub fn ancestors(&self) -> impl Iterator<Item = Self> {
        core::iter::successors(self.parent_path(), Self::parent_path)
    }

    /// Whether this lies strictly below `dir`.
    pub fn is_below(&self, dir: &Self) -> bool {
        self.0.len() > dir.0.len() && self.0.starts_with(&dir.0) && self.0[dir.0.len()] == b'/'
    }

    /// Everything strictly below this path, as byte bounds `[from, to)` in path order.
    pub fn below_bounds(&self) -> (Vec<u8>, Vec<u8>) {
        let with = |last: u8| [&self.0, &[last][..]].concat();
        (with(b'/'), with(b'/' + 1))
    }

    /// For people: lossy where it is not UTF-8, control characters escaped.
    pub fn display(&self) -> String {
        let mut out = String::new();
        for c in String::from_utf8_lossy(&self.0).chars() {
            if c.is_control() { out.extend(c.escape_default()) } else { out.push(c) }
        }
        out
    }
}

/// A directory of a folder: its root, or a path below it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DirPath(Option<RelPath>);

impl DirPath {
    /// The folder's root.
    pub const ROOT: Self = Self(None);

    /// The entry `name` in this directory.
    ///
    /// # Errors
    /// When the whole is too long, or is landropic's own directory.
    pub fn join(&self, name: &Name) -> Result<RelPath, PathError> {
        match &self.0 {
            None => RelPath::new(name.as_bytes()),
            Some(dir) => RelPath::new(&[dir.as_bytes(), b"/", name.as_bytes()].concat()),
        }
    }

    /// The path, unless this is the root.
    pub fn as_path(&self) -> Option<&RelPath> {
        self.0.as_ref()
    }

    /// The bytes; empty for the root.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_ref().map_or(b"", RelPath::as_bytes)
    }
}

impl From<RelPath> for DirPath {
    fn from(path: RelPath) -> Self {
        Self(Some(path))
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Debug for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Debug for DirPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(self.as_bytes()))
    }
}

impl<C> Encode<C> for RelPath {
    fn encode<W: encode::Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), encode::Error<W::Error>> {
        e.bytes(&self.0)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for RelPath {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        Self::new(d.bytes()?).map_err(|_| decode::Error::message("not a path inside a folder"))
    }
}

impl serde::Serialize for RelPath {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&String::from_utf8_lossy(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_leave_the_folder_is_no_path() {
        let check = |bytes: &[u8], why| assert_eq!(RelPath::new(bytes), Err(why), "{bytes:?}");
        check(b"", PathError::Empty);
        check(b"/etc/passwd", PathError::Empty);
        check(b"a//b", PathError::Empty);
        check(b"a/", PathError::Empty);
        check(b"..", PathError::Dots);
        check(b"a/../b", PathError::Dots);
        check(b"./a", PathError::Dots);
        check(b"a\0b", PathError::Byte);
        check(b".landropic/stage/x", PathError::Private);
        check(b".LANDROPIC", PathError::Private);
        check(&[b'x'; 256], PathError::TooLong);
        check(&b"a/".repeat(2100), PathError::TooLong);
        assert!(RelPath::new(b"a/.landropic").is_ok(), "only the first component is ours");
        assert!(RelPath::new(b"\xff\xfe\n x").is_ok(), "names are opaque bytes");
    }

    #[test]
    fn parents_and_bounds() {
        let path = RelPath::new(b"a/b/c").unwrap();
        assert_eq!(path.parent().as_bytes(), b"a/b");
        assert_eq!(path.name().as_bytes(), b"c");
        assert_eq!(path.ancestors().map(|p| p.display()).collect::<Vec<_>>(), ["a/b", "a"]);
        assert_eq!(path.parent().join(&path.name()), Ok(path.clone()));
        let (from, to) = RelPath::new(b"a/b").unwrap().below_bounds();
        assert!(path.as_bytes() >= &from[..] && path.as_bytes() < &to[..]);
        assert!(path.is_below(&RelPath::new(b"a").unwrap()));
        assert!(!RelPath::new(b"ab").unwrap().is_below(&RelPath::new(b"a").unwrap()));
    }
}
