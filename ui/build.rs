//! Finds or builds the web UI and hands its folder to `src/lib.rs` as `OUT_DIR/embedded`.
//!
//! In this order: the folder that `UI_DIST_DIR` names; a packaged `dist` made from exactly these sources; a build
//! with npm from a copy in `OUT_DIR`; otherwise a small page that says what is missing. `UI_REQUIRED=1` turns the
//! last into a failure.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Everything that the built files depend on.
const SOURCES: [&str; 8] = [
    "app",
    "public",
    "scripts/finish.mjs",
    "index.html",
    "package.json",
    "package-lock.json",
    ".npmrc",
    "vite.config.ts",
];

/// The file of a packaged `dist` that names the sources it was made from.
const HASH_FILE: &str = ".source-hash";

fn main() {
    for source in SOURCES {
        println!("cargo::rerun-if-changed={source}");
    }
    println!("cargo::rerun-if-changed=build.rs");
    // A file that is not there would make every build run this again.
    if Path::new("dist").join(HASH_FILE).is_file() {
        println!("cargo::rerun-if-changed=dist/{HASH_FILE}");
    }
    for variable in ["UI_DIST_DIR", "UI_REQUIRED", "DOCS_RS"] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    println!("cargo::rustc-check-cfg=cfg(ui_built)");

    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let embedded = out.join("embedded");
    let built = find_or_build(&out).and_then(|dist| {
        replace_folder(&dist, &embedded)
            .map_err(|error| format!("cannot copy {}: {error}", dist.display()))
    });
    match built {
        Ok(()) => println!("cargo::rustc-cfg=ui_built"),
        Err(reason) if env::var("UI_REQUIRED").is_ok_and(|value| value == "1") => {
            println!("cargo::error=UI_REQUIRED=1, but the web UI cannot be built: {reason}");
        }
        Err(reason) => {
            println!(
                "cargo::warning=the web UI is not in this build, only the API: {reason}. Install Node.js 20.19 or \
                 newer with npm and build again, or name a folder with the built UI in UI_DIST_DIR."
            );
            let _ = fs::remove_dir_all(&embedded);
            fs::create_dir_all(&embedded).expect("OUT_DIR is writable");
        }
    }
}

/// The folder with the finished UI, or why there is none.
fn find_or_build(out: &Path) -> Result<PathBuf, String> {
    if let Some(folder) = env::var_os("UI_DIST_DIR").filter(|folder| !folder.is_empty()) {
        let folder = PathBuf::from(folder);
        println!("cargo::rerun-if-changed={}", folder.display());
        return if folder.join("index.html").is_file() {
            Ok(folder)
        } else {
            Err(format!(
                "UI_DIST_DIR is {}, which has no index.html",
                folder.display()
            ))
        };
    }
    if env::var_os("DOCS_RS").is_some() {
        return Err("documentation needs none".to_owned());
    }
    let hash = source_hash().map_err(|error| format!("cannot read the UI's sources: {error}"))?;
    let packaged = Path::new("dist");
    if fs::read_to_string(packaged.join(HASH_FILE)).is_ok_and(|text| text.trim() == hash) {
        return Ok(packaged.to_path_buf());
    }
    build_with_npm(&out.join("ui"), &hash)
}

/// Builds in a copy, so that a build never writes among the sources.
fn build_with_npm(work: &Path, hash: &str) -> Result<PathBuf, String> {
    let dist = work.join("dist");
    if fs::read_to_string(dist.join(HASH_FILE)).is_ok_and(|text| text == hash) {
        return Ok(dist);
    }
    let _ = fs::remove_dir_all(&dist);
    for source in SOURCES {
        let from = Path::new(source);
        let copied = if from.is_dir() {
            replace_folder(from, &work.join(from))
        } else {
            copy_file(from, &work.join(from))
        };
        copied.map_err(|error| format!("cannot copy {source}: {error}"))?;
    }

    let lock = fs::read("package-lock.json").map_err(|error| error.to_string())?;
    let installed = work.join("node_modules").join(".installed-lock");
    if fs::read(&installed).map_or(true, |old| old != lock) {
        run(
            work,
            "npm",
            &[
                "ci",
                "--ignore-scripts",
                "--no-audit",
                "--no-fund",
                "--omit=dev",
            ],
        )?;
        fs::write(&installed, &lock).map_err(|error| error.to_string())?;
    }
    run(work, "npm", &["run", "--silent", "build"])?;
    fs::write(dist.join(HASH_FILE), hash).map_err(|error| error.to_string())?;
    Ok(dist)
}

/// Runs a command in `folder`; its output is part of the reason where it fails.
fn run(folder: &Path, program: &str, arguments: &[&str]) -> Result<(), String> {
    let name = if cfg!(windows) {
        format!("{program}.cmd")
    } else {
        program.to_owned()
    };
    let output = Command::new(&name)
        .args(arguments)
        .current_dir(folder)
        // A parent npm or a CI setting must not change what is installed.
        .env_remove("NODE_ENV")
        .env_remove("npm_config_production")
        .output()
        .map_err(|error| format!("{program} does not run ({error})"))?;
    if output.status.success() {
        return Ok(());
    }
    let text = [output.stdout, output.stderr]
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .join(" ");
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let tail = words
        .chars()
        .rev()
        .take(600)
        .collect::<Vec<_>>()
        .into_iter()
        .rev()
        .collect::<String>();
    Err(format!(
        "`{program} {}` failed ({}): {tail}",
        arguments.join(" "),
        output.status
    ))
}

/// FNV-1a over every source's path and bytes, 128 bits as hexadecimal: an identity, not a defence.
/// `scripts/package.mjs` computes the same.
fn source_hash() -> io::Result<String> {
    let mut hash: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    let mut eat = |bytes: &[u8]| {
        for byte in bytes {
            hash ^= u128::from(*byte);
            hash = hash.wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
        }
    };
    let mut files = Vec::new();
    for source in SOURCES {
        list_files(Path::new(source), &mut files)?;
    }
    files.sort();
    for file in files {
        eat(file.as_bytes());
        eat(&[0]);
        eat(&fs::read(&file)?);
        eat(&[0]);
    }
    let mut text = String::new();
    let _ = write!(text, "{hash:032x}");
    Ok(text)
}

/// The files at or under `path`, with forward slashes.
fn list_files(path: &Path, files: &mut Vec<String>) -> io::Result<()> {
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            list_files(&entry?.path(), files)?;
        }
    } else {
        files.push(path.to_string_lossy().replace('\\', "/"));
    }
    Ok(())
}

/// Makes `to` a copy of `from`, without what `to` held before.
fn replace_folder(from: &Path, to: &Path) -> io::Result<()> {
    match fs::remove_dir_all(to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    copy_folder(from, to)
}

fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::copy(from, to).map(drop)
}
