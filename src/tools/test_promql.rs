//! `barograph test promql`: scripts in Prometheus's `promqltest` language.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use barograph_model::{Clock, Pattern, SystemClock};
use barograph_query::script::{self, RunOptions, Script, Verdict};

use super::junit::{self, Case, Suite};

/// What to run, and how.
#[derive(Clone, Debug)]
pub(crate) struct PromqlTest {
    /// Scripts.
    pub(crate) files: Vec<PathBuf>,
    /// Only show queries in which one of these patterns finds something; all are run.
    pub(crate) run: Vec<Pattern>,
    /// Write results here as JUnit XML.
    pub(crate) junit: Option<PathBuf>,
    /// How scripts are run.
    pub(crate) options: RunOptions,
}

/// Runs the scripts: success where every query yields what is expected of it.
pub(crate) fn run(test: &PromqlTest) -> ExitCode {
    let mut suites = Vec::new();
    let mut code = ExitCode::SUCCESS;
    for file in &test.files {
        let suite = run_file(test, file);
        let failures: usize = suite.cases.iter().map(|case| case.failures.len()).sum();
        let total = suite.cases.len();
        match &suite.error {
            Some(error) => complain!("{}: {error}", file.display()),
            None if failures == 0 => say_line!("{}: {total} queries passed", file.display()),
            None => say_line!("{}: {failures} of {total} queries failed", file.display()),
        }
        if failures > 0 || suite.error.is_some() {
            code = ExitCode::FAILURE;
        }
        suites.push(suite);
    }
    if let Some(path) = &test.junit
        && let Err(error) = std::fs::write(path, junit::document(&suites))
    {
        complain!("{}: cannot write the results: {error}", path.display());
        return ExitCode::FAILURE;
    }
    code
}

fn run_file(test: &PromqlTest, file: &Path) -> Suite {
    let mut suite = Suite {
        name: file.display().to_string(),
        timestamp: crate::api::rfc3339(SystemClock.now_ms() / 1000 * 1000)
            .trim_end_matches('Z')
            .to_owned(),
        ..Suite::default()
    };
    let reports = match reports(test, file) {
        Ok(reports) => reports,
        Err(error) => {
            suite.error = Some(error);
            return suite;
        }
    };
    for report in reports {
        let name = format!("line {}: {}", report.line, report.expr);
        if !test.run.is_empty() && !test.run.iter().any(|p| p.is_match(&report.expr)) {
            continue;
        }
        let failures = match report.verdict {
            Verdict::Passed => Vec::new(),
            Verdict::Failed(why) => vec![why],
            // What is not evaluated has not passed.
            Verdict::Unsupported(what) => vec![format!("not evaluated: {what}")],
        };
        for failure in &failures {
            say_line!(
                "{}:{}: {}\n    {failure}",
                file.display(),
                report.line,
                report.expr
            );
        }
        suite.cases.push(Case { name, failures });
    }
    suite
}

fn reports(test: &PromqlTest, file: &Path) -> Result<Vec<script::EvalReport>, String> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("cannot be read: {error}"))?;
    let script = Script::parse(&text).map_err(|error| error.to_string())?;
    let directory = tempfile::tempdir()
        .map_err(|error| format!("cannot make a directory for samples: {error}"))?;
    script::run(&script, directory.path(), &test.options).map_err(|error| error.to_string())
}
