//! Both sides change while apart: nothing is lost, and both come to the same.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::time::Duration;
use tests::tree::{Entry, ago, set_mtime, write};
use tests::{Lab, Pair, Tree};

fn lab() -> Lab {
    Lab::new(Duration::from_secs(120))
}

/// Writes a file whose edit happened `secs` seconds ago.
fn edit(path: &Path, text: &str, secs: u64) {
    write(path, text);
    set_mtime(path, ago(secs));
}

/// Two daemons with a note and a directory of an hour ago.
fn pair(lab: &Lab) -> Pair<'_> {
    Pair::new(lab, |root| {
        edit(&root.join("notes.txt"), "the note\n", 3_600);
        edit(&root.join("dir/one.txt"), "one\n", 3_600);
        edit(&root.join("dir/two.txt"), "two\n", 3_600);
    })
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The only conflict copy of a tree, whose name is made from that of `stem` and `extension` and from `loser`.
fn only_copy(tree: &Tree, stem: &str, extension: &str, loser: &[u8]) -> String {
    let copies = tree.copies();
    assert_eq!(copies.len(), 1, "{copies:?}");
    let middle = copies[0].strip_prefix(&format!("{stem}.conflict-")).and_then(|rest| rest.strip_suffix(extension));
    let parts: Vec<&str> = middle.unwrap_or_else(|| panic!("{copies:?}")).split('-').collect();
    let (hash, actor) = (parts[parts.len() - 1], parts[parts.len() - 2]);
    assert_eq!(hash, &blake3::hash(loser).to_hex()[..8], "{copies:?}");
    assert_eq!(actor.len(), 7, "{copies:?}");
    copies[0].clone()
}

#[test]
fn edits_of_both_sides_have_the_same_winner_and_the_same_copy_on_both() {
    let lab = lab();
    let mut pair = pair(&lab);
    pair.apart(|a, b| {
        edit(&a.join("notes.txt"), "by a\n", 20);
        edit(&b.join("notes.txt"), "by b, later\n", 10);
    });
    let settled = pair.settle();
    let copy = only_copy(&settled, "notes", ".txt", b"by a\n");
    for side in [&pair.a, &pair.b] {
        assert_eq!(text(&side.root.join("notes.txt")), "by b, later\n", "{}", side.name);
        assert_eq!(text(&side.root.join(&copy)), "by a\n", "{}", side.name);
        assert_eq!(side.folder()["conflicts"], 1);
        let list = side.conflicts();
        assert_eq!(list.len(), 1, "{list:?}");
        assert_eq!((&list[0]["path"], &list[0]["kind"]), (&"notes.txt".into(), &"content".into()), "{list:?}");
        assert_eq!((&list[0]["winner"], &list[0]["copies"][0]["path"]), (&"b".into(), &copy.clone().into()));
        let prose = side.cli(&["conflicts", "list"]).yes().stdout;
        assert!(prose.contains("notes.txt") && prose.contains(&copy), "{prose}");
    }
}

#[test]
fn the_later_edit_wins_whichever_side_made_it() {
    let lab = lab();
    let mut pair = pair(&lab);
    pair.apart(|a, b| {
        edit(&a.join("notes.txt"), "by a, later\n", 10);
        edit(&b.join("notes.txt"), "by b\n", 20);
    });
    let copy = only_copy(&pair.settle(), "notes", ".txt", b"by b\n");
    assert_eq!(text(&pair.b.root.join("notes.txt")), "by a, later\n");
    assert_eq!(text(&pair.a.root.join(copy)), "by b\n");
}

#[test]
fn deleting_the_copy_settles_the_conflict_on_both_sides() {
    let lab = lab();
    let mut pair = pair(&lab);
    pair.apart(|a, b| {
        edit(&a.join("notes.txt"), "by a\n", 20);
        edit(&b.join("notes.txt"), "by b\n", 10);
    });
    let copy = only_copy(&pair.settle(), "notes", ".txt", b"by a\n");
    fs::remove_file(pair.a.root.join(copy)).unwrap();
    pair.settle_to(&Tree::read(&pair.a.root));
    for side in [&pair.a, &pair.b] {
        assert!(side.conflicts().is_empty(), "{}: {:?}", side.name, side.conflicts());
        assert_eq!(side.folder()["conflicts"], 0);
        assert_eq!(text(&side.root.join("notes.txt")), "by b\n");
    }
    // And it stays so when both have started anew.
    pair.a.terminate();
    pair.apart(|_, _| {});
    pair.a.restart();
    assert_eq!(pair.settle().copies(), Vec::<String>::new());
}

#[test]
fn editing_the_winner_leaves_the_copy_where_it_is() {
    let lab = lab();
    let mut pair = pair(&lab);
    pair.apart(|a, b| {
        edit(&a.join("notes.txt"), "by a\n", 20);
        edit(&b.join("notes.txt"), "by b\n", 10);
    });
    let copy = only_copy(&pair.settle(), "notes", ".txt", b"by a\n");
    edit(&pair.a.root.join("notes.txt"), "merged\n", 0);
    pair.settle_to(&Tree::read(&pair.a.root));
    assert_eq!(text(&pair.b.root.join("notes.txt")), "merged\n");
    assert_eq!(text(&pair.b.root.join(copy)), "by a\n");
}

#[test]
fn an_edited_copy_becomes_a_file_of_its_own() {
    let lab = lab();
    let mut pair = pair(&lab);
    pair.apart(|a, b| {
        edit(&a.join("notes.txt"), "by a\n", 20);
        edit(&b.join("notes.txt"), "by b\n", 10);
    });
    let copy = only_copy(&pair.settle(), "notes", ".txt", b"by a\n");
    edit(&pair.b.root.join(&copy), "by a, and then by b\n", 0);
    pair.settle_to(&Tree::read(&pair.b.root));
    for side in [&pair.a, &pair.b] {
        assert_eq!(text(&side.root.join(&copy)), "by a, and then by b\n");
        assert_eq!(text(&side.root.join("notes.txt")), "by b\n");
        assert!(side.conflicts().is_empty(), "{}: {:?}", side.name, side.conflicts());
    }
}

#[test]
fn deleting_the_winner_leaves_the_copy() {
    let lab = lab();
    let mut pair = pair(&lab);
    pair.apart(|a, b| {
        edit(&a.join("notes.txt"), "by a\n", 20);
        edit(&b.join("notes.txt"), "by b\n", 10);
    });
    let copy = only_copy(&pair.settle(), "notes", ".txt", b"by a\n");
    fs::remove_file(pair.a.root.join("notes.txt")).unwrap();
    let settled = lab.wait_for("the winner is gone from both", || {
        let settled = pair.settle();
        if settled.at("notes.txt").is_none() { Ok(settled) } else { Err(format!("{settled:?}")) }
    });
    assert_eq!(settled.copies(), std::slice::from_ref(&copy));
    assert_eq!(text(&pair.b.root.join(copy)), "by a\n");
}

#[test]
fn an_edit_survives_the_deletion_of_the_other_side() {
    let lab = lab();
    let mut pair = pair(&lab);
    pair.apart(|a, b| {
        fs::remove_file(a.join("notes.txt")).unwrap();
        edit(&b.join("notes.txt"), "edited by b\n", 10);
        edit(&a.join("dir/one.txt"), "edited by a\n", 10);
        fs::remove_file(b.join("dir/one.txt")).unwrap();
    });
    let settled = pair.settle();
    assert_eq!(settled.copies(), Vec::<String>::new());
    for side in [&pair.a, &pair.b] {
        assert_eq!(text(&side.root.join("notes.txt")), "edited by b\n", "{}", side.name);
        assert_eq!(text(&side.root.join("dir/one.txt")), "edited by a\n", "{}", side.name);
    }
}

#[test]
fn a_new_file_survives_in_a_directory_that_the_other_side_deleted() {
    let lab = lab();
    let mut pair = pair(&lab);
    pair.apart(|a, b| {
        fs::remove_dir_all(a.join("dir")).unwrap();
        edit(&b.join("dir/new.txt"), "new\n", 10);
    });
    let settled = pair.settle();
    assert_eq!(settled.paths(|p| p.starts_with("dir")), ["dir", "dir/new.txt"]);
}

#[test]
fn a_directory_keeps_the_name_against_a_file() {
    let lab = lab();
    let mut pair = pair(&lab);
    pair.apart(|a, b| {
        edit(&a.join("thing"), "a file\n", 5);
        edit(&b.join("thing/inside"), "in a directory\n", 20);
    });
    let settled = pair.settle();
    assert!(matches!(settled.at("thing"), Some(Entry::Dir { .. })), "{settled:?}");
    let copy = only_copy(&settled, "thing", "", b"a file\n");
    for side in [&pair.a, &pair.b] {
        assert_eq!(text(&side.root.join("thing/inside")), "in a directory\n");
        assert_eq!(text(&side.root.join(&copy)), "a file\n");
    }
}

#[test]
fn a_link_and_a_file_are_both_kept() {
    let lab = lab();
    let mut pair = pair(&lab);
    pair.apart(|a, b| {
        std::os::unix::fs::symlink("notes.txt", a.join("thing")).unwrap();
        edit(&b.join("thing"), "a file\n", 10);
    });
    let settled = pair.settle();
    let things: Vec<_> = settled.0.iter().filter(|(path, _)| path.starts_with(b"thing")).map(|(_, e)| e).collect();
    assert_eq!(things.len(), 2, "{things:?}");
    let target = b"notes.txt".to_vec();
    assert!(things.contains(&&Entry::Symlink { target }), "{things:?}");
    assert!(things.iter().any(|e| matches!(e, Entry::File { size: 7, .. })), "{things:?}");
}

#[test]
fn equal_edits_are_no_conflict() {
    let lab = lab();
    let mut pair = pair(&lab);
    pair.apart(|a, b| {
        edit(&a.join("notes.txt"), "the same edit\n", 20);
        edit(&b.join("notes.txt"), "the same edit\n", 10);
        edit(&a.join("new.txt"), "the same new file\n", 20);
        edit(&b.join("new.txt"), "the same new file\n", 10);
        fs::remove_file(a.join("dir/one.txt")).unwrap();
        fs::remove_file(b.join("dir/one.txt")).unwrap();
        fs::create_dir(a.join("dir/new")).unwrap();
        fs::create_dir(b.join("dir/new")).unwrap();
    });
    let settled = pair.settle();
    assert_eq!(settled.copies(), Vec::<String>::new());
    assert_eq!(settled.files(), 3);
    for side in [&pair.a, &pair.b] {
        assert!(side.conflicts().is_empty(), "{}: {:?}", side.name, side.conflicts());
    }
}

#[test]
fn a_file_renamed_by_one_and_edited_by_the_other_is_kept_under_both_names() {
    let lab = lab();
    let mut pair = pair(&lab);
    pair.apart(|a, b| {
        fs::rename(a.join("notes.txt"), a.join("renamed.txt")).unwrap();
        edit(&b.join("notes.txt"), "edited by b\n", 10);
    });
    pair.settle();
    for side in [&pair.a, &pair.b] {
        assert_eq!(text(&side.root.join("renamed.txt")), "the note\n", "{}", side.name);
        assert_eq!(text(&side.root.join("notes.txt")), "edited by b\n", "{}", side.name);
    }
}

#[test]
fn both_sides_edit_hundreds_of_files_and_every_version_is_kept() {
    let lab = lab();
    let names: Vec<String> = (0..300).map(|n| format!("many/{}/file {n}.txt", n % 10)).collect();
    let mut pair = Pair::new(&lab, |root| names.iter().for_each(|n| edit(&root.join(n), "before\n", 3_600)));
    pair.apart(|a, b| {
        for (number, name) in names.iter().enumerate() {
            let (first, second) = if number % 2 == 0 { (20, 10) } else { (10, 20) };
            edit(&a.join(name), &format!("{number} by a\n"), first);
            edit(&b.join(name), &format!("{number} by b\n"), second);
        }
    });
    let settled = pair.settle();
    assert_eq!((settled.files(), settled.copies().len()), (600, 300));
    for (number, name) in names.iter().enumerate() {
        let winner = if number % 2 == 0 { "b" } else { "a" };
        assert_eq!(text(&pair.a.root.join(name)), format!("{number} by {winner}\n"));
    }
    let all: std::collections::BTreeSet<String> =
        settled.paths(|p| p.ends_with(".txt")).iter().map(|p| text(&pair.b.root.join(p))).collect();
    assert_eq!(all.len(), 600, "every version is there once");
}

#[test]
fn a_paused_folder_stands_still_and_then_catches_up() {
    let lab = lab();
    let pair = pair(&lab);
    pair.b.cli(&["folder", "pause", "a"]).yes();
    assert_eq!(pair.b.folder()["state"], "paused");
    edit(&pair.a.root.join("notes.txt"), "by a\n", 20);
    edit(&pair.b.root.join("notes.txt"), "by b\n", 10);
    edit(&pair.a.root.join("new.txt"), "new\n", 0);
    lab.wait_for("a has seen its edits", || {
        let reason = pair.a.cli(&["why", "--folder", "a", "new.txt"]);
        if reason.code == 0 { Ok(()) } else { Err(reason.stdout) }
    });
    pair.b.cli(&["folder", "resume", "a"]).yes();
    let copy = only_copy(&pair.settle(), "notes", ".txt", b"by a\n");
    assert_eq!(text(&pair.b.root.join(copy)), "by a\n");
    assert_eq!(text(&pair.b.root.join("new.txt")), "new\n");
}
