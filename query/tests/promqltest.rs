//! Runs PromQL test scripts: our own, and the public ones where they are at hand.

use std::path::{Path, PathBuf};

use barograph_query::script::{self, EvalReport, RunOptions, Script, Verdict};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    passed: usize,
    failed: usize,
    unsupported: usize,
}

fn counts(reports: &[EvalReport]) -> Counts {
    let mut counts = Counts::default();
    for report in reports {
        match report.verdict {
            Verdict::Passed => counts.passed += 1,
            Verdict::Failed(_) => counts.failed += 1,
            Verdict::Unsupported(_) => counts.unsupported += 1,
        }
    }
    counts
}

fn run(path: &Path) -> Vec<EvalReport> {
    let text = std::fs::read_to_string(path).expect("the script is readable");
    let script = Script::parse(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let directory = tempfile::tempdir().expect("a temporary directory");
    let reports = script::run(&script, directory.path(), &RunOptions::default())
        .unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    assert_eq!(reports.len(), script.eval_count());
    reports
}

fn shared() -> Option<PathBuf> {
    let from_env = std::env::var_os("BAROGRAPH_SHARED").map(PathBuf::from);
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    Some(from_env.unwrap_or_else(beside).join("promqltest")).filter(|path| path.is_dir())
}

#[test]
fn public_scripts() {
    let Some(directory) = shared() else {
        println!("../shared/promqltest is not there: the public scripts were NOT run");
        return;
    };
    let mut files: Vec<PathBuf> = std::fs::read_dir(&directory)
        .expect("readable")
        .map(|e| e.expect("entry").path())
        .filter(|p| p.extension().is_some_and(|e| e == "test"))
        .collect();
    files.sort();
    for file in files {
        let reports = run(&file);
        println!(
            "{:40} {:?}",
            file.file_name().unwrap().to_string_lossy(),
            counts(&reports)
        );
        for r in &reports {
            if let Verdict::Failed(why) = &r.verdict {
                println!("  line {} {}\n      {}", r.line, r.expr, why);
            }
        }
    }
}
