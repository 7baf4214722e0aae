//! The rules of this tree that a compiler does not know: which crate may use which, how long a file
//! may be, where `unsafe` may stand, and that `ARCHITECTURE.md` speaks of what exists.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// What each crate may use, of ours. The root package may use everything but the benches.
const MAY_USE: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("instrument", &["model"]),
    ("tsdb", &["model", "instrument"]),
    ("scraper", &["model", "instrument", "tsdb"]),
    ("query", &["model", "instrument", "tsdb"]),
    ("alerting", &["model", "instrument", "tsdb", "query"]),
    ("exporters", &["model", "instrument"]),
    ("ui", &[]),
    ("examples/axum-app", &["instrument"]),
    (
        "benches",
        &[
            "model",
            "instrument",
            "tsdb",
            "scraper",
            "query",
            "alerting",
            "exporters",
        ],
    ),
];

/// Longest source file, lines.
const LENGTH_LIMIT_LINES: usize = 800;

/// Files that may be longer, each with the length it must not exceed and why.
const LONG_FILES: &[(&str, usize, &str)] = &[];

/// Words that mark unfinished work.
const UNFINISHED: &[&str] = &[
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("todo", "!("),
    concat!("unimplemented", "!("),
    concat!("dbg", "!("),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every file below `dir` with one of `extensions`, build output and dependencies apart.
fn files(dir: &Path, extensions: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut stack = vec![dir.to_owned()];
    while let Some(dir) = stack.pop() {
        let entries = fs::read_dir(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
        for entry in entries {
            let path = entry.expect("a directory entry").path();
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            if path.is_dir() && !name.ends_with("/bin") {
                let foreign = ["target", "node_modules", "dist", "data"].contains(&name.as_str());
                if !foreign && !name.starts_with('.') {
                    stack.push(path);
                }
            } else if extensions
                .iter()
                .any(|e| path.extension().is_some_and(|have| have == *e))
            {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root())
        .unwrap_or(path)
        .to_string_lossy()
        .into_owned()
}

/// The members of the workspace, as its manifest lists them.
fn members() -> Vec<String> {
    let manifest = read(&root().join("Cargo.toml"));
    let list = manifest.split_once("members = [").expect("a member list").1;
    let list = list.split_once(']').expect("the list's end").0;
    list.split(',')
        .map(|member| member.trim().trim_matches('"').to_owned())
        .filter(|member| !member.is_empty())
        .collect()
}

/// The keys of `[section]` in a manifest that name crates of ours, without the prefix.
fn own_dependencies(manifest: &str, section: &str) -> BTreeSet<String> {
    let mut inside = false;
    let mut found = BTreeSet::new();
    for line in manifest.lines() {
        let line = line.trim();
        if line.starts_with('[') {
            inside = line == format!("[{section}]");
        } else if inside && let Some(rest) = line.strip_prefix("barograph-") {
            let end = rest.find(['.', ' ', '=']).unwrap_or(rest.len());
            found.insert(rest[..end].to_owned());
        }
    }
    found
}

#[test]
fn dependencies_point_one_way() {
    let allowed: BTreeMap<&str, &[&str]> = MAY_USE.iter().copied().collect();
    let members = members();
    assert!(members.len() >= 8, "the member list was read: {members:?}");
    for member in &members {
        let may = allowed.get(member.as_str()).unwrap_or_else(|| {
            panic!(
                "{member} is a new crate: say in tests/tidy.rs and ARCHITECTURE.md what it may use"
            )
        });
        let manifest = read(&root().join(member).join("Cargo.toml"));
        for used in own_dependencies(&manifest, "dependencies") {
            assert!(may.contains(&used.as_str()), "{member} must not use {used}");
        }
        assert!(
            manifest.contains("[lints]\nworkspace = true"),
            "{member}/Cargo.toml must inherit the workspace's lints"
        );
        assert!(
            manifest.contains("rust-version.workspace = true"),
            "{member}/Cargo.toml must inherit rust-version"
        );
    }
    let tsdb = own_dependencies(&read(&root().join("tsdb/Cargo.toml")), "dependencies");
    assert!(
        tsdb.contains("model"),
        "the manifests were read: tsdb uses model"
    );
}

#[test]
fn files_stay_short() {
    let sources = files(root(), &["rs", "ts", "tsx"]);
    assert!(sources.len() > 20, "the tree was read");
    for path in sources {
        let name = relative(&path);
        let lines = read(&path).lines().count();
        let limit = LONG_FILES
            .iter()
            .find(|(long, ..)| *long == name)
            .map_or(LENGTH_LIMIT_LINES, |(_, limit, _)| *limit);
        assert!(
            lines <= limit,
            "{name} has {lines} lines; the limit is {limit}: split it by noun"
        );
    }
    for (name, ..) in LONG_FILES {
        assert!(
            root().join(name).exists(),
            "{name} is gone: take it off the list"
        );
    }
}

#[test]
fn unsafe_is_fenced_and_argued() {
    for member in members().iter().map(String::as_str).chain(["src"]) {
        let mut fences = Vec::new();
        for path in files(&root().join(member), &["rs"]) {
            let text = read(&path);
            // rustfmt may put the lint on a line of its own.
            let dense: String = text.split_whitespace().collect();
            if dense.contains("#![allow(unsafe_code") || dense.contains("#![expect(unsafe_code") {
                // A test program is a crate of its own.
                let is_test = relative(&path).contains("/tests/");
                fences.extend((!is_test).then(|| relative(&path)));
            }
            let lines: Vec<&str> = text.lines().collect();
            for (index, line) in lines.iter().enumerate() {
                let code = line.split("//").next().unwrap_or_default();
                if code.contains("unsafe {") || code.contains("unsafe impl") {
                    let above = &lines[index.saturating_sub(8)..=index];
                    assert!(
                        above.iter().any(|line| line.contains("SAFETY:")),
                        "{}:{}: an unsafe block without its SAFETY argument",
                        relative(&path),
                        index + 1
                    );
                }
            }
        }
        assert!(
            fences.len() <= 1,
            "{member}: more than one fenced module: {fences:?}"
        );
    }
}

#[test]
fn nothing_is_marked_unfinished() {
    for path in files(root(), &["rs", "ts", "tsx"]) {
        let text = read(&path);
        for mark in UNFINISHED {
            assert!(!text.contains(mark), "{} contains {mark}", relative(&path));
        }
    }
}

#[test]
fn the_map_matches_the_tree() {
    let text = read(&root().join("ARCHITECTURE.md"));
    let map = text.split_once("## Map").expect("a section 'Map'").1;
    let map = map.split_once("```").expect("the map's block").1;
    let map = map.split_once("```").expect("the block's end").0;
    let mut listed = BTreeSet::new();
    for line in map.lines().filter(|line| !line.trim().is_empty()) {
        let path = line.split_whitespace().next().expect("a path");
        assert!(
            root().join(path).exists(),
            "the map lists {path}, which does not exist"
        );
        listed.insert(path.trim_end_matches('/').to_owned());
    }
    for member in members() {
        assert!(
            listed.contains(&member),
            "the map does not list the crate {member}"
        );
    }
    for entry in fs::read_dir(root()).expect("the root") {
        let entry = entry.expect("a directory entry");
        let name = entry.file_name().to_string_lossy().into_owned();
        let ours = entry.path().is_dir()
            && !name.starts_with('.')
            && !["target", "data", "node_modules"].contains(&name.as_str());
        assert!(
            !ours || listed.contains(&name),
            "the map does not list {name}/"
        );
    }
    // Every module directory and file of a crate's first level.
    for member in members() {
        let source = root().join(&member).join("src");
        for entry in fs::read_dir(&source).into_iter().flatten() {
            let path = entry.expect("a directory entry").path();
            let name = relative(&path);
            if path.is_dir() && !name.ends_with("/bin") {
                assert!(listed.contains(&name), "the map does not list {name}/");
            }
        }
    }
}

#[test]
fn lockfiles_record_no_addresses() {
    for path in files(root(), &["json"]) {
        if path
            .file_name()
            .is_some_and(|name| name == "package-lock.json")
        {
            let text = read(&path);
            assert!(
                !text.contains("\"resolved\": \"http"),
                "{}: npm config set omit-lockfile-registry-resolved true, then npm install",
                relative(&path)
            );
        }
    }
}
