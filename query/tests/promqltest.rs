//! Runs PromQL test scripts: our own, and the public ones where they are at hand
//! (`../shared/promqltest` beside the repository, or below `BAROGRAPH_SHARED`).
//!
//! Prints per file how many queries passed, failed and are not supported. All pass.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use barograph_query::script::{self, EvalReport, RunOptions, Script, Verdict};

/// The public scripts and how many queries they ask: all of them pass.
const PUBLIC: &[(&str, usize)] = &[
    ("aggregators.test", 160),
    ("at_modifier.test", 78),
    ("collision.test", 2),
    ("duration_expression.test", 59),
    ("extended_vectors.test", 169),
    ("fill-modifier.test", 46),
    ("functions.test", 431),
    ("histograms.test", 185),
    ("info.test", 53),
    ("limit.test", 37),
    ("literals.test", 25),
    ("name_label_dropping.test", 30),
    ("native_histograms.test", 522),
    ("operators.test", 214),
    ("range_queries.test", 18),
    ("selectors.test", 31),
    ("staleness.test", 17),
    ("start_timestamps.test", 26),
    ("subquery.test", 34),
    ("trig_functions.test", 19),
    ("type_and_unit.test", 58),
];

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    passed: usize,
    failed: usize,
    unsupported: usize,
}

#[test]
fn public_scripts_pass() {
    let Some(directory) = public_scripts() else {
        println!("../shared/promqltest is absent: the public scripts were NOT run");
        return;
    };
    let files: Vec<PathBuf> = PUBLIC
        .iter()
        .map(|(name, _)| directory.join(name))
        .collect();
    let results = run_all(&files, &RunOptions::default());
    let mut faults = Vec::new();
    for ((name, queries), counts) in PUBLIC.iter().zip(&results) {
        if counts.passed != *queries || counts.failed + counts.unsupported > 0 {
            faults.push(format!("{name}: {counts:?}, {queries} should pass"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    let unknown: Vec<PathBuf> = scripts_in(&directory)
        .into_iter()
        .filter(|path| !PUBLIC.iter().any(|(name, _)| path.ends_with(name)))
        .collect();
    assert!(unknown.is_empty(), "{unknown:?} is not among them");
}

#[test]
fn own_scripts_pass_with_names_dropped_at_once_and_late() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/promql");
    let files = scripts_in(&directory);
    assert!(!files.is_empty(), "no script in {}", directory.display());
    for delayed_name_removal in [false, true] {
        let mut options = RunOptions::default();
        options.engine.delayed_name_removal = delayed_name_removal;
        for (file, counts) in files.iter().zip(run_all(&files, &options)) {
            assert!(
                counts.failed + counts.unsupported == 0,
                "{} (delayed name removal: {delayed_name_removal}): {counts:?}",
                file.display()
            );
        }
    }
}

/// Runs scripts side by side; prints what they yield, in order.
fn run_all(files: &[PathBuf], options: &RunOptions) -> Vec<Counts> {
    let next = Mutex::new(0);
    let reports: Vec<Mutex<Vec<EvalReport>>> = files.iter().map(|_| Mutex::default()).collect();
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                loop {
                    let index = {
                        let mut next = next.lock().expect("no panic holds it");
                        *next += 1;
                        *next - 1
                    };
                    let Some(file) = files.get(index) else { return };
                    *reports[index].lock().expect("no panic holds it") = run(file, options);
                }
            });
        }
    });
    let count = |(file, reports): (&PathBuf, Mutex<Vec<EvalReport>>)| {
        let reports = reports.into_inner().expect("no panic holds it");
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let mut counts = Counts::default();
        for report in &reports {
            match &report.verdict {
                Verdict::Passed => counts.passed += 1,
                Verdict::Failed(why) => {
                    counts.failed += 1;
                    println!("{name}:{} {}\n    {why}", report.line, report.expr);
                }
                Verdict::Unsupported(_) => counts.unsupported += 1,
            }
        }
        println!(
            "{name:28} {:4} passed {:3} failed {:4} not supported yet",
            counts.passed, counts.failed, counts.unsupported
        );
        counts
    };
    files.iter().zip(reports).map(count).collect()
}

fn run(path: &Path, options: &RunOptions) -> Vec<EvalReport> {
    let text =
        std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let script = Script::parse(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let directory = tempfile::tempdir().expect("a temporary directory");
    let reports = script::run(&script, directory.path(), options)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(
        reports.len(),
        script.eval_count(),
        "every query is reported"
    );
    reports
}

fn public_scripts() -> Option<PathBuf> {
    let shared = std::env::var_os("BAROGRAPH_SHARED").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared"),
        PathBuf::from,
    );
    Some(shared.join("promqltest")).filter(|path| path.is_dir())
}

fn scripts_in(directory: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(directory)
        .unwrap_or_else(|error| panic!("{}: {error}", directory.display()))
        .map(|entry| entry.expect("a readable directory").path())
        .filter(|path| path.extension().is_some_and(|e| e == "test"))
        .collect();
    files.sort();
    files
}
