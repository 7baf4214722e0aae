//! `barograph check`: reads files as the server would, and says what it finds.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use barograph_query::ParseOptions;

use crate::config::{Collectors, Config, read_rules};

/// Checks a configuration file and the rule files it names.
pub(crate) fn config(file: &Path, language: ParseOptions) -> ExitCode {
    match Config::read(file, &Collectors::none(), language) {
        Ok(config) => {
            for notice in &config.notices {
                println!("note: {}", notice.text);
            }
            println!(
                "{}: valid: {} scrape jobs, {} rule files, {} Alertmanagers",
                file.display(),
                config.jobs.len(),
                config.rules.len(),
                config.alertmanagers.len()
            );
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Checks rule files, every one of them.
pub(crate) fn rules(files: &[PathBuf], language: ParseOptions) -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    for file in files {
        match read_rules(file, language) {
            Ok(rules) => {
                let count: usize = rules.groups.iter().map(|group| group.rules.len()).sum();
                println!(
                    "{}: valid: {count} rules in {} groups",
                    file.display(),
                    rules.groups.len()
                );
            }
            Err(error) => {
                eprintln!("{error}");
                code = ExitCode::FAILURE;
            }
        }
    }
    code
}
