//! What tests of the store share.
#![allow(dead_code, reason = "each test uses a part")]

use std::path::Path;

use barograph_instrument::{Format, Registry};
use barograph_tsdb::BlockAccess;

/// The value of a metric; of one with labels, the first, unless the name has them.
pub(crate) fn metric(registry: &Registry, name: &str) -> f64 {
    let mut page = String::new();
    registry.encode(Format::Text004, &mut page);
    let is_it = |line: &&str| {
        let rest = line.strip_prefix(name);
        rest.is_some_and(|rest| rest.starts_with([' ', '{']))
    };
    let line = page.lines().find(is_it);
    let value = line.and_then(|line| line.rsplit(' ').next());
    value
        .unwrap_or_else(|| panic!("{name} is exposed"))
        .parse()
        .expect("a number")
}

/// How the stores of this run read their files: through maps, unless `BAROGRAPH_BLOCK_ACCESS` says
/// `pread`. `tests/run` runs the tests of stored files with both.
pub(crate) fn block_access() -> BlockAccess {
    match std::env::var("BAROGRAPH_BLOCK_ACCESS").as_deref() {
        Err(_) | Ok("mmap") => BlockAccess::Mmap,
        Ok("pread") => BlockAccess::Pread,
        Ok(other) => panic!("BAROGRAPH_BLOCK_ACCESS is mmap or pread, not {other:?}"),
    }
}

/// Copies a directory and all below it.
pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("makes");
    for entry in std::fs::read_dir(from).expect("lists") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("copies");
        }
    }
}
