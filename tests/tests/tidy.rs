//! The rules of the house, as far as neither the compiler nor a lint keeps them.
//!
//! Every rule is a function from the sources to what breaks it. The last test plants a violation of each, so that a
//! rule that has gone blind is noticed.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use toml::{Table, Value};

/// What stands at the top, beside dotfiles and `target`.
const TOP: [&str; 13] = [
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "benches",
    "fuzz",
    "io-shell",
    "sim",
    "sync-core",
    "tests",
    "target",
];
/// Our packages, and which of ours each may import.
const ROOMS: [(&str, &[&str]); 6] = [
    ("sync-core", &[]),
    ("io-shell", &["sync-core"]),
    ("sim", &["sync-core", "io-shell"]),
    ("tests", &["sync-core", "io-shell", "sim"]),
    ("benches", &["sync-core", "io-shell", "sim"]),
    ("fuzz", &["sync-core", "io-shell", "sim"]),
];
/// What the core may import. Anything more is a decision about its purity, to be made here.
const CORE_IMPORTS: [&str; 4] = ["blake3", "minicbor", "serde", "thiserror"];
/// Crates that bring clocks, sockets, files, threads or randomness: not even through others. The lock file also has what
/// build scripts need, so whatever compiles C cannot be told from what is linked.
const IMPURE: [&str; 17] = [
    "async-std",
    "axum",
    "chrono",
    "futures-executor",
    "hyper",
    "jiff",
    "mio",
    "notify",
    "parking_lot",
    "quinn",
    "quinn-proto",
    "rand",
    "rusqlite",
    "rustix",
    "rustls",
    "socket2",
    "tokio",
];
/// Crates that must not come in at all, with the first version that may, and why.
const NEVER: [(&str, Option<Version>, &str); 5] = [
    ("bincode", None, "it is unmaintained: RUSTSEC-2025-0141"),
    ("rkyv", None, "it is unsafe on bytes from peers"),
    ("backoff", None, "it is unmaintained, and reads clocks itself"),
    ("quinn-proto", Some((0, 11, 15)), "a peer could exhaust memory"),
    ("rmcp", Some((1, 4, 0)), "it is open to DNS rebinding"),
];
/// Major, minor, patch.
type Version = (u64, u64, u64);
/// The attribute that leaves a test out, spelt such that this file does not hold it.
const IGNORE: &str = concat!("ign", "ore");
/// Longest codemap, lines.
const MAX_CODEMAP: usize = 300;
/// Longest source file, lines.
const MAX_SOURCE: usize = 1_000;

/// The sources: text by path from the top.
#[derive(Clone, Default)]
struct Tree {
    top: BTreeSet<String>,
    files: BTreeMap<String, String>,
}

impl Tree {
    fn load() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let names = fs::read_dir(root).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        let mut tree = Self { top: names.collect(), files: BTreeMap::new() };
        tree.read_dir(root, "");
        tree
    }

    fn read_dir(&mut self, dir: &Path, prefix: &str) {
        for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
            let Ok(name) = entry.file_name().into_string() else { continue };
            let path = format!("{prefix}{name}");
            let kind = entry.file_type().unwrap();
            if kind.is_dir() && name != "target" && !name.starts_with('.') {
                self.read_dir(&entry.path(), &format!("{path}/"));
            } else if kind.is_file() && [".rs", ".toml", ".md", "Cargo.lock"].iter().any(|end| name.ends_with(end)) {
                self.files.insert(path, fs::read_to_string(entry.path()).unwrap());
            }
        }
    }

    fn sources(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().filter(|(path, _)| path.ends_with(".rs")).map(|(path, text)| (path.as_str(), text.as_str()))
    }

    fn manifest(&self, room: &str) -> Table {
        let text = self.files.get(&format!("{room}/Cargo.toml")).unwrap_or_else(|| panic!("{room} has a manifest"));
        text.parse().unwrap()
    }

    /// The module tree below `root`: its files, each with the path it is declared by.
    fn modules(&self, root: &str) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut open = vec![(root.to_owned(), parent(root).to_owned())];
        while let Some((file, dir)) = open.pop() {
            let Some(text) = self.files.get(&file).filter(|_| found.insert(file.clone())) else { continue };
            let mut at = None;
            for line in text.lines() {
                if let Some(path) = line.trim().strip_prefix("#[path = \"").and_then(|rest| rest.strip_suffix("\"]")) {
                    at = Some(format!("{}{path}", parent(&file)));
                } else if let Some(name) = declared_module(line) {
                    let flat = at.take().unwrap_or_else(|| format!("{dir}{name}.rs"));
                    let nested = format!("{dir}{name}/mod.rs");
                    let below = format!("{dir}{name}/");
                    open.push((if self.files.contains_key(&nested) { nested } else { flat }, below));
                }
            }
        }
        found
    }
}

/// The directory of a file, with its slash.
fn parent(file: &str) -> &str {
    file.rfind('/').map_or("", |slash| &file[..=slash])
}

/// The name in `mod name;`, however visible.
fn declared_module(line: &str) -> Option<&str> {
    let line = line.trim();
    let bare = match line.strip_prefix("pub") {
        Some(rest) => rest.split_once(')').map_or(rest, |(_, rest)| rest).trim_start(),
        None => line,
    };
    bare.strip_prefix("mod ")?.strip_suffix(';')
}

/// Lines that are no comment, with their numbers.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    (1..).zip(text.lines()).filter(|(_, line)| !line.trim_start().starts_with("//"))
}

/// The names of a manifest's dependencies; `also_for_tests` takes those of tests and build scripts in.
fn dependencies(manifest: &Table, also_for_tests: bool) -> BTreeSet<String> {
    let kinds: &[&str] =
        if also_for_tests { &["dependencies", "dev-dependencies", "build-dependencies"] } else { &["dependencies"] };
    let targets = manifest.get("target").and_then(Value::as_table).into_iter().flat_map(Table::values);
    let tables = targets.filter_map(Value::as_table).chain([manifest]);
    let found = tables.flat_map(|table| kinds.iter().filter_map(|kind| table.get(*kind)?.as_table()));
    let name =
        |(name, value): (&String, &Value)| value.get("package").and_then(Value::as_str).unwrap_or(name).to_owned();
    found.flat_map(Table::iter).map(name).collect()
}

/// The packages of a lock file: name, version, names of dependencies.
fn locked(tree: &Tree, lock: &str) -> Vec<(String, String, Vec<String>)> {
    let lock: Table = tree.files[lock].parse().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let first_word = |value: &Value| value.as_str().unwrap().split(' ').next().unwrap().to_owned();
    let package = |package: &Value| {
        let needs = package.get("dependencies").and_then(Value::as_array);
        let needs = needs.map(|needs| needs.iter().map(first_word).collect()).unwrap_or_default();
        (text(&package["name"]), text(&package["version"]), needs)
    };
    lock["package"].as_array().unwrap().iter().map(package).collect()
}

type Broken = Vec<String>;

fn top_level(tree: &Tree) -> Broken {
    let strange = tree.top.iter().filter(|name| !name.starts_with('.') && !TOP.contains(&name.as_str()));
    let missing = TOP.iter().filter(|name| **name != "target" && !tree.top.contains(**name));
    let strange = strange.map(|name| format!("{name} has no place at the top level"));
    strange.chain(missing.map(|name| format!("{name} is missing at the top level"))).collect()
}

fn directions(tree: &Tree) -> Broken {
    let mut broken = Vec::new();
    for (room, allowed) in ROOMS {
        for name in dependencies(&tree.manifest(room), true) {
            if ROOMS.iter().any(|(ours, _)| *ours == name) && !allowed.contains(&name.as_str()) {
                broken.push(format!("{room} must not import {name}"));
            }
        }
    }
    broken
}

fn members(tree: &Tree) -> Broken {
    let manifest: Table = tree.files["Cargo.toml"].parse().unwrap();
    let names = |key: &str| -> BTreeSet<String> {
        let list = manifest["workspace"].get(key).and_then(Value::as_array);
        list.into_iter().flatten().map(|name| name.as_str().unwrap().to_owned()).collect()
    };
    let expected = |rooms: &[&str]| rooms.iter().map(|room| (*room).to_owned()).collect::<BTreeSet<_>>();
    let mut broken = Vec::new();
    if names("members") != expected(&["sync-core", "io-shell", "sim", "tests", "benches"]) {
        broken.push("the workspace has other members than its rooms".to_owned());
    }
    if names("default-members") != expected(&["sync-core", "io-shell"]) {
        broken.push("the product is sync-core and io-shell: nothing else is built by default".to_owned());
    }
    broken
}

fn core_imports(tree: &Tree) -> Broken {
    let direct = dependencies(&tree.manifest("sync-core"), false);
    let packages = locked(tree, "Cargo.lock");
    let mut broken: Broken = direct
        .iter()
        .filter(|name| !CORE_IMPORTS.contains(&name.as_str()))
        .map(|name| format!("sync-core must not import {name}"))
        .collect();
    let mut open: Vec<String> = direct.into_iter().collect();
    let mut seen = BTreeSet::new();
    while let Some(name) = open.pop() {
        let needs = packages.iter().filter(|(other, ..)| *other == name).flat_map(|(.., needs)| needs);
        if seen.insert(name.clone()) {
            open.extend(needs.cloned());
        }
    }
    broken.extend(
        seen.iter()
            .filter(|name| IMPURE.contains(&name.as_str()))
            .map(|name| format!("sync-core comes to need {name}")),
    );
    broken
}

fn core_is_pure(tree: &Tree) -> Broken {
    let mut broken = Vec::new();
    if !tree.files["sync-core/src/lib.rs"].lines().any(|line| line == "#![no_std]") {
        broken.push("sync-core/src/lib.rs does not say #![no_std]".to_owned());
    }
    for (path, text) in tree.sources().filter(|(path, _)| path.starts_with("sync-core/src/")) {
        for (number, line) in code(text) {
            let names_std = line.match_indices("std").any(|(at, _)| {
                let before = line[..at].chars().next_back();
                !before.is_some_and(|c| c.is_alphanumeric() || c == '_') && line[at + 3..].starts_with("::")
            });
            if names_std || line.contains("extern crate std") {
                broken.push(format!("{path}:{number} uses std"));
            }
        }
    }
    broken
}

/// The roots of a room's targets, those of tests first.
fn targets(tree: &Tree, room: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let manifest = tree.manifest(room);
    let explicit = |key: &str| -> BTreeSet<String> {
        let list = manifest.get(key).and_then(Value::as_array).into_iter().flatten();
        list.filter_map(|target| Some(format!("{room}/{}", target.get("path")?.as_str()?))).collect()
    };
    let found = |dir: &str| -> BTreeSet<String> {
        let prefix = format!("{room}/{dir}/");
        let below = tree.sources().filter_map(|(path, _)| Some((path, path.strip_prefix(&prefix)?)));
        let is_root = |rest: &str| match rest.split_once('/') {
            None => true,
            Some((_, file)) => file == "main.rs",
        };
        below.filter(|(_, rest)| is_root(rest)).map(|(path, _)| path.to_owned()).collect()
    };
    let mut tests = found("tests");
    tests.extend(explicit("test"));
    let mut others: BTreeSet<String> = ["src/lib.rs", "src/main.rs", "build.rs"].map(|p| format!("{room}/{p}")).into();
    others.extend(["src/bin", "benches", "examples"].iter().flat_map(|dir| found(dir)));
    others.extend(["bin", "bench", "example"].iter().flat_map(|key| explicit(key)));
    (tests, others)
}

fn forgotten_files(tree: &Tree) -> Broken {
    let mut reached = BTreeSet::new();
    for (room, _) in ROOMS {
        let (tests, others) = targets(tree, room);
        reached.extend(tests.iter().chain(&others).flat_map(|root| tree.modules(root)));
    }
    let forgotten = tree.sources().filter(|(path, _)| !reached.contains(*path));
    forgotten.map(|(path, _)| format!("{path} belongs to no target: nothing compiles it")).collect()
}

fn tests_run(tree: &Tree) -> Broken {
    let mut broken = Vec::new();
    for (room, _) in ROOMS {
        for root in targets(tree, room).0 {
            let texts = tree.modules(&root).into_iter().filter_map(|file| tree.files.get(&file));
            let is_test = |(_, line): (usize, &str)| {
                let line = line.trim();
                ["#[test]", "#[tokio::test"].iter().any(|mark| line.starts_with(mark))
            };
            if !texts.into_iter().any(|text| code(text).any(is_test)) {
                broken.push(format!("{root} holds no test"));
            }
        }
        let manifest = tree.manifest(room);
        if manifest["package"].get("autotests") == Some(&Value::Boolean(false)) {
            broken.push(format!("{room} switches the discovery of tests off"));
        }
        for target in manifest.get("test").and_then(Value::as_array).into_iter().flatten() {
            let off = ["test", "harness"].iter().any(|key| target.get(key) == Some(&Value::Boolean(false)));
            if off || target.get("required-features").is_some() {
                broken.push(format!("{room} has a test target that does not run by itself"));
            }
        }
    }
    for (path, text) in tree.sources() {
        // Unless it is too slow without optimisation: the gate runs release builds.
        let slow = concat!("#[cfg_attr(debug_assertions, ", "ignore");
        let is_skip = |line: &str| {
            let attribute = line.trim().strip_prefix("#[").is_some_and(|rest| rest.contains(IGNORE));
            attribute && !line.trim().starts_with(slow)
        };
        let skips = code(text).filter(|(_, line)| is_skip(line));
        broken.extend(skips.map(|(number, _)| format!("{path}:{number} leaves a test out")));
    }
    broken
}

fn no_stubs(tree: &Tree) -> Broken {
    let stubs = [concat!("to", "do!("), concat!("unimple", "mented!("), concat!("db", "g!("), concat!("TO", "DO")];
    let mut broken = Vec::new();
    for (path, text) in tree.sources() {
        for (number, line) in (1..).zip(text.lines()) {
            let found = stubs.iter().filter(|stub| line.contains(**stub));
            broken.extend(found.map(|stub| format!("{path}:{number} holds {stub}")));
        }
    }
    broken
}

fn lengths(tree: &Tree) -> Broken {
    let limits = tree.files.iter().filter_map(|(path, text)| match path.as_str() {
        "ARCHITECTURE.md" => Some((path, text, MAX_CODEMAP)),
        source if source.ends_with(".rs") => Some((path, text, MAX_SOURCE)),
        _ => None,
    });
    let over = limits.map(|(path, text, limit)| (path, text.lines().count(), limit)).filter(|(_, n, limit)| n > limit);
    over.map(|(path, n, limit)| format!("{path} has {n} lines where {limit} are allowed")).collect()
}

fn modules_have_docs(tree: &Tree) -> Broken {
    let mut broken = Vec::new();
    for (path, text) in tree.sources() {
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        for (at, line) in lines.iter().enumerate() {
            let Some(rest) = line.strip_prefix("pub mod ") else { continue };
            let above = lines[..at].iter().rev().find(|above| !above.starts_with("#["));
            let name = rest.trim_end_matches([';', '{', ' ']);
            let is_root = ["lib.rs", "main.rs", "mod.rs"].iter().any(|root| path.ends_with(root));
            let dir = if is_root { parent(path).to_owned() } else { format!("{}/", path.trim_end_matches(".rs")) };
            let files = [format!("{dir}{name}.rs"), format!("{dir}{name}/mod.rs")];
            let inner = files.iter().find_map(|file| tree.files.get(file)).is_some_and(|text| text.starts_with("//!"));
            if !inner && !above.is_some_and(|above| above.starts_with("///")) {
                broken.push(format!("{path}:{} declares {name}, which does not say what it is", at + 1));
            }
        }
    }
    broken
}

fn lints_are_shared(tree: &Tree) -> Broken {
    let ours = ROOMS.iter().map(|(room, _)| *room).filter(|room| *room != "fuzz");
    let inherits = |room: &&str| tree.manifest(room).get("lints").and_then(|lints| lints.get("workspace")?.as_bool());
    ours.filter(|room| inherits(room) != Some(true)).map(|room| format!("{room} has lints of its own")).collect()
}

fn never(tree: &Tree) -> Broken {
    let mut broken = Vec::new();
    for lock in ["Cargo.lock", "fuzz/Cargo.lock"] {
        for (name, version, _) in locked(tree, lock) {
            let rule = NEVER.iter().find(|(never, ..)| *never == name);
            if let Some((_, since, why)) = rule
                && since.is_none_or(|since| parse_version(&version) < since)
            {
                broken.push(format!("{lock} holds {name} {version}: {why}"));
            }
            // What is not released is not reviewed by anybody.
            if name == "rustls" && version.contains('-') {
                broken.push(format!("{lock} holds {name} {version}, which is not released"));
            }
        }
    }
    broken
}

fn parse_version(version: &str) -> Version {
    let core = version.split(['-', '+']).next().unwrap();
    let mut parts = core.split('.').map(|part| part.parse().unwrap());
    (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap())
}

fn check(rule: fn(&Tree) -> Broken) {
    let broken = rule(&Tree::load());
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

#[test]
fn the_top_level_holds_what_the_design_gives_it() {
    check(top_level);
}

#[test]
fn rooms_import_only_in_the_allowed_direction() {
    check(directions);
    check(members);
}

#[test]
fn the_core_imports_no_runtime() {
    check(core_imports);
}

#[test]
fn the_core_knows_no_std() {
    check(core_is_pure);
}

#[test]
fn every_source_file_belongs_to_a_target() {
    check(forgotten_files);
}

#[test]
fn every_test_runs() {
    check(tests_run);
}

#[test]
fn nothing_is_a_stub() {
    check(no_stubs);
}

#[test]
fn files_are_short_enough_to_be_read() {
    check(lengths);
}

#[test]
fn every_public_module_says_what_it_is() {
    check(modules_have_docs);
}

#[test]
fn every_room_keeps_the_lints_of_the_house() {
    check(lints_are_shared);
}

#[test]
fn the_lock_files_hold_nothing_that_is_known_to_be_unsafe() {
    check(never);
}

/// Something added to a file, made if it is missing, and what the rule then says.
struct Plant {
    rule: fn(&Tree) -> Broken,
    file: &'static str,
    text: String,
    says: &'static str,
}

fn plant(rule: fn(&Tree) -> Broken, file: &'static str, text: impl Into<String>, says: &'static str) -> Plant {
    Plant { rule, file, text: text.into(), says }
}

fn plants() -> Vec<Plant> {
    let locked = |name: &str, version: &str| format!("\n[[package]]\nname = \"{name}\"\nversion = \"{version}\"\n");
    let ignored = concat!("#[", "ignore]\n#[test]\nfn f() {}\n");
    vec![
        plant(top_level, "NOTES.md", "", "NOTES.md has no place"),
        plant(
            directions,
            "sync-core/Cargo.toml",
            "\n[build-dependencies]\nio-shell = \"1\"\n",
            "sync-core must not import io-shell",
        ),
        plant(
            directions,
            "io-shell/Cargo.toml",
            "\n[build-dependencies]\nx = { package = \"sim\" }\n",
            "io-shell must not import sim",
        ),
        plant(
            directions,
            "sim/Cargo.toml",
            "\n[target.'cfg(unix)'.dependencies]\ntests = \"1\"\n",
            "sim must not import tests",
        ),
        plant(
            directions,
            "benches/Cargo.toml",
            "\n[target.'cfg(unix)'.dependencies]\nfuzz = \"1\"\n",
            "benches must not import fuzz",
        ),
        plant(
            core_imports,
            "sync-core/Cargo.toml",
            "\n[target.'cfg(unix)'.dependencies]\nlibc = \"1\"\n",
            "must not import libc",
        ),
        plant(
            core_imports,
            "sync-core/Cargo.toml",
            "\n[target.'cfg(unix)'.dependencies]\nnotify = \"1\"\n",
            "comes to need mio",
        ),
        plant(core_is_pure, "sync-core/src/time.rs", "use std::time::SystemTime;\n", "time.rs"),
        plant(core_is_pure, "sync-core/src/time.rs", "extern crate std;\n", "time.rs"),
        plant(forgotten_files, "sync-core/src/orphan.rs", "", "orphan.rs belongs to no target"),
        plant(forgotten_files, "tests/tests/common/mod.rs", "", "common/mod.rs belongs to no target"),
        plant(forgotten_files, "sync-core/tests/wire/orphan.rs", "", "orphan.rs belongs to no target"),
        plant(tests_run, "tests/tests/empty.rs", "//! Nothing.\n// #[test]\n", "empty.rs holds no test"),
        plant(tests_run, "sim/tests/world/main.rs", "mod orphan;\n", "main.rs holds no test"),
        plant(tests_run, "sim/src/lib.rs", ignored, "leaves a test out"),
        plant(tests_run, "sim/src/lib.rs", concat!("#[cfg_attr(all(), ", "ignore)]\n"), "leaves a test out"),
        plant(
            tests_run,
            "sim/Cargo.toml",
            "\n[[test]]\nname = \"x\"\nrequired-features = [\"x\"]\n",
            "does not run by itself",
        ),
        plant(no_stubs, "sim/src/lib.rs", concat!("fn f() { to", "do!() }\n"), "sim/src/lib.rs"),
        plant(no_stubs, "sim/src/lib.rs", concat!("fn f() { unimple", "mented!() }\n"), "sim/src/lib.rs"),
        plant(no_stubs, "sim/src/lib.rs", concat!("fn f() { db", "g!(1); }\n"), "sim/src/lib.rs"),
        plant(lengths, "ARCHITECTURE.md", "line\n".repeat(MAX_CODEMAP + 1), "ARCHITECTURE.md has"),
        plant(lengths, "sim/src/lib.rs", "// line\n".repeat(MAX_SOURCE + 1), "sim/src/lib.rs has"),
        plant(modules_have_docs, "sim/src/lib.rs", "\npub mod silent;\n", "declares silent"),
        plant(modules_have_docs, "sim/src/lib.rs", "\npub mod silent {\n}\n", "declares silent"),
        plant(never, "Cargo.lock", locked("bincode", "3.0.0"), "holds bincode"),
        plant(never, "fuzz/Cargo.lock", locked("quinn-proto", "0.11.14"), "a peer could exhaust memory"),
        plant(never, "Cargo.lock", locked("rustls", "0.24.0-dev.0"), "is not released"),
    ]
}

#[test]
fn each_rule_sees_what_it_forbids() {
    let tree = Tree::load();
    for Plant { rule, file, text, says } in plants() {
        let mut planted = tree.clone();
        planted.top.insert(file.split('/').next().unwrap().to_owned());
        planted.files.entry(file.to_owned()).or_default().push_str(&text);
        let before = rule(&tree);
        let seen = rule(&planted).into_iter().any(|line| line.contains(says) && !before.contains(&line));
        assert!(seen, "planted in {file}, not seen: {text}");
    }
}

#[test]
fn rules_about_what_is_missing_see_that_too() {
    let tree = Tree::load();
    let without = |file: &str, what: &str| {
        let mut changed = tree.clone();
        let text = changed.files.get_mut(file).unwrap();
        assert!(text.contains(what), "{file} holds {what}");
        *text = text.replace(what, "");
        changed
    };
    assert_eq!(core_is_pure(&without("sync-core/src/lib.rs", "#![no_std]")).len(), 1);
    assert_eq!(members(&without("Cargo.toml", "default-members = [\"sync-core\", \"io-shell\"]")).len(), 1);
    assert_eq!(members(&without("Cargo.toml", "\"sim\", ")).len(), 1);
    assert_eq!(lints_are_shared(&without("sim/Cargo.toml", "[lints]\nworkspace = true")).len(), 1);
    let mut bare = tree.clone();
    bare.top.remove("LICENSE");
    assert!(top_level(&bare).contains(&"LICENSE is missing at the top level".to_owned()));
}
