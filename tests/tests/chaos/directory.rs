//! A real folder as the oracle sees it.

use sim::oracle::{Face, Shows};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use sync_core::{ContentId, RelPath};
use tests::tree::{Entry, PRIVATE, Tree};

/// What a folder shows, and what its trash holds, at one moment.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    faces: BTreeMap<RelPath, Face>,
    trash: BTreeMap<RelPath, ContentId>,
}

impl Directory {
    /// Reads what the folder at `root` shows, but not its trash.
    pub(crate) fn shown(root: &Path) -> Self {
        Self { faces: faces(root), trash: BTreeMap::new() }
    }

    /// Reads the folder at `root` and its trash.
    pub(crate) fn read(root: &Path) -> Self {
        let trash = faces(&root.join(PRIVATE).join("trash"));
        // The first of each batch tells where the others were.
        let is_index = |path: &RelPath| path.name().as_bytes() == b"index" && path.components().count() == 2;
        let trash = trash.into_iter().filter(|(path, _)| !is_index(path));
        let trash = trash.filter_map(|(path, face)| Some((path, face.content()?))).collect();
        Self { trash, ..Self::shown(root) }
    }

    /// Every path with what it shows.
    pub(crate) fn faces(&self) -> &BTreeMap<RelPath, Face> {
        &self.faces
    }

    /// What is in the trash, by its place there.
    pub(crate) fn trash(&self) -> &BTreeMap<RelPath, ContentId> {
        &self.trash
    }
}

impl Shows for Directory {
    fn paths(&self) -> impl Iterator<Item = &RelPath> {
        self.faces.keys()
    }

    fn face(&self, path: &RelPath) -> Option<Face> {
        self.faces.get(path).cloned()
    }

    fn holds(&self) -> BTreeSet<ContentId> {
        self.faces.values().filter_map(Face::content).chain(self.trash.values().copied()).collect()
    }
}

/// Everything below `root`.
fn faces(root: &Path) -> BTreeMap<RelPath, Face> {
    let tree = Tree::read(root).0;
    tree.into_iter().map(|(path, entry)| (RelPath::new(&path).unwrap(), face_of(&entry))).collect()
}

fn face_of(entry: &Entry) -> Face {
    match entry {
        Entry::Dir { mode } => Face::Dir(*mode),
        Entry::File { mode, mtime_ns, hash, .. } => {
            Face::File(ContentId(*hash.as_bytes()), *mode, i64::try_from(*mtime_ns).unwrap())
        }
        Entry::Symlink { target } => Face::Symlink(target.clone()),
        Entry::Other => {
            panic!("the folder holds what is neither file, directory nor link, and nobody made such a thing")
        }
    }
}
