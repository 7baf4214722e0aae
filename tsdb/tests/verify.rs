//! Whether a directory is whole: any byte that is not what it was is found.

use std::fs;
use std::path::{Path, PathBuf};

use barograph_tsdb::{Offline, Parts};

/// Bytes between two that are damaged in files of more than [`SMALL_BYTES`].
const STEP: usize = 13;
const SMALL_BYTES: usize = 200;

/// What is wrong in a directory, one line each.
fn wrong(directory: &Path, temporary: &Path) -> Vec<String> {
    let offline = match Offline::open(directory, Parts::Blocks, temporary) {
        Ok(offline) => offline,
        Err(error) => return vec![error.to_string()],
    };
    let blocks = 0..offline.blocks().len();
    let damaged = blocks.filter_map(|number| offline.verify(number).err());
    let unreadable = offline.unreadable_blocks();
    let mut wrong: Vec<String> = damaged.chain(unreadable).map(|e| e.to_string()).collect();
    let read = offline.verify_files(|report| {
        let places = report.damage.iter();
        wrong.extend(places.map(|(at, what)| format!("{} {at}: {what}", report.path.display())));
    });
    wrong.extend(read.err().map(|error| error.to_string()));
    wrong
}

/// Copies a directory; returns its files.
fn copy(from: &Path, to: &Path, files: &mut Vec<PathBuf>) {
    fs::create_dir_all(to).expect("creates");
    for entry in fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target, files);
        } else {
            fs::copy(entry.path(), &target).expect("copies");
            files.push(target);
        }
    }
}

#[test]
fn every_damaged_byte_of_a_store_is_found() {
    every_damaged_byte_is_found("store-1", 2500);
}

#[test]
fn every_damaged_byte_of_a_store_with_parity_is_found() {
    every_damaged_byte_is_found("store-2", 2500);
}

/// In a store of `tests/compat`, of which at least so many bytes are tried.
fn every_damaged_byte_is_found(store: &str, at_least: usize) {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/compat");
    let fixture = fixture.join(store);
    let temporary = tempfile::tempdir().expect("a temporary directory");
    let (store, scratch) = (
        temporary.path().join("store"),
        temporary.path().join("scratch"),
    );
    fs::create_dir_all(&scratch).expect("creates");
    let mut files = Vec::new();
    copy(&fixture, &store, &mut files);
    files.retain(|path| !path.ends_with("expected.txt"));
    assert_eq!(wrong(&store, &scratch), Vec::<String>::new());
    let mut damaged = 0;
    for path in &files {
        let bytes = fs::read(path).expect("the file");
        let step = if bytes.len() > SMALL_BYTES { STEP } else { 1 };
        for at in (0..bytes.len()).step_by(step) {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (at % 8);
            // A new file: the old one may be mapped.
            fs::remove_file(path).expect("removes");
            fs::write(path, flipped).expect("writes");
            let name = path.file_name().expect("a name").to_string_lossy();
            let found = wrong(&store, &scratch);
            let named = found.iter().any(|line| line.contains(&*name));
            assert!(named, "{} byte {at}: {found:?}", path.display());
            damaged += 1;
        }
        fs::write(path, &bytes).expect("writes");
    }
    assert!(damaged > at_least, "{damaged}");
    assert_eq!(wrong(&store, &scratch), Vec::<String>::new());
}
