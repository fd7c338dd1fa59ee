//! Every kind of change that a person or program makes to a tree.

use crate::rng::Rng;
use crate::source::{FILES, file, module_dir, part_dir};
use crate::tree::{set_mtime, write};
use std::fs::{self, OpenOptions, Permissions};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

/// Makes each kind of change below one of the tops of the source tree at `root`; a second round needs another top.
pub fn everything(root: &Path, top: &str) {
    edit(root, top);
    rename(root, top);
    delete(root, top);
    change_type(root, top);
    change_metadata(root, top);
    create(root, top);
}

fn edit(root: &Path, top: &str) {
    for number in 0..FILES {
        append(&root.join(file(top, 0, 0, number)), b"// appended\n");
    }
    fs::write(root.join(file(top, 0, 1, 0)), "").unwrap();
    fs::write(root.join(file(top, 0, 1, 1)), "all new\n").unwrap();
    overwrite_in_place(&root.join(file(top, 0, 1, 2)), b"same place");
    save_like_an_editor(&root.join(file(top, 0, 1, 3)), b"saved by rename\n");
    fs::write(root.join(top).join("empties/file"), "not empty any more").unwrap();
}

fn append(path: &Path, bytes: &[u8]) {
    let mut open = OpenOptions::new().append(true).open(path).unwrap();
    open.write_all(bytes).unwrap();
}

fn overwrite_in_place(path: &Path, bytes: &[u8]) {
    let mut open = OpenOptions::new().write(true).open(path).unwrap();
    open.seek(SeekFrom::Start(0)).unwrap();
    open.write_all(bytes).unwrap();
}

/// Writes a new file beside the old one and renames it over that.
pub fn save_like_an_editor(path: &Path, bytes: &[u8]) {
    let name = path.file_name().unwrap().to_str().unwrap();
    let new = path.with_file_name(format!(".{name}.swp"));
    fs::write(&new, bytes).unwrap();
    fs::rename(&new, path).unwrap();
}

fn rename(root: &Path, top: &str) {
    let moved = root.join(top).join("moved");
    fs::create_dir(&moved).unwrap();
    fs::rename(root.join(file(top, 1, 0, 0)), root.join(file(top, 1, 0, 0)).with_extension("renamed")).unwrap();
    fs::rename(root.join(file(top, 1, 0, 1)), moved.join("from elsewhere")).unwrap();
    fs::rename(root.join(module_dir(top, 2)), moved.join("a whole module")).unwrap();
    fs::rename(root.join(part_dir(top, 3, 0)), root.join(part_dir(top, 3, 0)).with_extension("renamed")).unwrap();
    fs::rename(root.join(top).join("links/dangling"), moved.join("dangling")).unwrap();
    // Over another file, and two files that change places.
    fs::rename(root.join(file(top, 1, 1, 0)), root.join(file(top, 1, 1, 1))).unwrap();
    let (one, other) = (root.join(file(top, 1, 1, 2)), root.join(file(top, 1, 1, 3)));
    fs::rename(&one, moved.join("between")).unwrap();
    fs::rename(&other, &one).unwrap();
    fs::rename(moved.join("between"), &other).unwrap();
}

fn delete(root: &Path, top: &str) {
    fs::remove_file(root.join(file(top, 4, 0, 0))).unwrap();
    fs::remove_dir_all(root.join(part_dir(top, 4, 1))).unwrap();
    fs::remove_dir_all(root.join(module_dir(top, 5))).unwrap();
    fs::remove_file(root.join(top).join("links/to itself")).unwrap();
    fs::remove_dir(root.join(top).join("empties/empty")).unwrap();
    // Gone and back with other bytes.
    fs::remove_file(root.join(file(top, 4, 0, 1))).unwrap();
    fs::write(root.join(file(top, 4, 0, 1)), "back again").unwrap();
}

fn change_type(root: &Path, top: &str) {
    let part = |number| root.join(part_dir(top, 6, number));
    let replaced = |number| root.join(file(top, 6, 0, number));
    fs::remove_file(replaced(0)).unwrap();
    write(&replaced(0).join("child of what was a file"), "child");
    fs::remove_file(replaced(1)).unwrap();
    symlink("file_02.rs", replaced(1)).unwrap();
    fs::remove_dir_all(part(1)).unwrap();
    fs::write(part(1), "was a directory").unwrap();
    fs::remove_dir_all(part(2)).unwrap();
    symlink("part_3", part(2)).unwrap();
    let links = root.join(top).join("links");
    fs::remove_file(links.join("to a file")).unwrap();
    fs::write(links.join("to a file"), "was a link").unwrap();
    fs::remove_file(links.join("to a directory")).unwrap();
    write(&links.join("to a directory/inside"), "was a link to a directory");
    fs::remove_file(links.join("to here")).unwrap();
    symlink("real/file", links.join("to here")).unwrap();
}

fn change_metadata(root: &Path, top: &str) {
    let set_mode = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    set_mode(&root.join(file(top, 7, 0, 0)), 0o755);
    set_mode(&root.join(file(top, 7, 0, 1)), 0o400);
    set_mode(&root.join(part_dir(top, 7, 1)), 0o700);
    set_mode(&root.join(top).join("empties/closed"), 0o755);
    set_mtime(&root.join(file(top, 7, 0, 2)), 1_700_000_000_123_456_789);
    set_mtime(&root.join(file(top, 7, 0, 3)), 1_000_000_000);
}

fn create(root: &Path, top: &str) {
    let new = root.join(top).join("new");
    write(&new.join("one/two/three/four"), "deep");
    fs::create_dir_all(new.join("empty")).unwrap();
    for number in 0..100 {
        write(&new.join(format!("burst/{number}")), format!("file {number} of {top}"));
    }
    write(&new.join("copy"), fs::read(root.join(file(top, 8, 0, 0))).unwrap());
    let seed = u64::try_from(top.len()).unwrap();
    write(&new.join("noise"), Rng::new(seed).bytes(2 << 20));
    symlink("noise", new.join("link")).unwrap();
}
