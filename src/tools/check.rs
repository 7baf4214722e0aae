//! `barograph check`: reads files as the server would, and says what it finds.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use barograph_alerting::{RULE_FILE_LIMIT_BYTES, RuleFile};
use barograph_model::relabel::relabel;
use barograph_model::{Labels, LabelsBuilder};
use barograph_scraper::{HttpSettings, Secret};

use super::lint::{LINT_CODE, MetricsCheck};
use crate::config::{Collectors, Config, ConfigError, RuleReading, parse_rules, read_rules};

/// What is checked, and how.
#[derive(Clone, Debug)]
pub(crate) enum Check {
    /// Configuration files, and the files they name.
    Config {
        files: Vec<PathBuf>,
        /// Leave the files they name alone.
        syntax_only: bool,
        lint: Lint,
    },
    /// Rule files; standard input where there are none.
    Rules { files: Vec<PathBuf>, lint: Lint },
    /// Files for `--web.config.file`.
    WebConfig { files: Vec<PathBuf> },
    /// An exposition text on standard input.
    Metrics(MetricsCheck),
    /// Whether a server answers at a path of its own.
    Server { url: String, path: &'static str },
}

/// What is said of files that are valid but could be better.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lint {
    /// Rules that write the same series, or alerts of the same name and labels.
    pub(crate) duplicate_rules: bool,
    /// Targets whose samples are stale before the next ones come.
    pub(crate) long_intervals: bool,
    /// Exit with code 3 where something could be better.
    pub(crate) fatal: bool,
    /// How rule files are read.
    pub(crate) reading: RuleReading,
}

/// Age at which a sample is no longer looked at, as queries have it unless told otherwise.
const LOOKBACK_MS: i64 = 300_000;

/// What checks came to.
#[derive(Default)]
struct Verdict {
    wrong: bool,
    better: bool,
}

impl Verdict {
    fn code(&self, lint: Lint) -> ExitCode {
        if self.wrong {
            ExitCode::FAILURE
        } else if self.better && lint.fatal {
            ExitCode::from(LINT_CODE)
        } else {
            ExitCode::SUCCESS
        }
    }

    fn error(&mut self, text: &dyn std::fmt::Display) {
        complain!("{text}");
        self.wrong = true;
    }

    fn advice(&mut self, text: &str) {
        complain!("lint: {text}");
        self.better = true;
    }
}

/// Checks: success where everything is valid.
pub(crate) fn run(check: &Check) -> ExitCode {
    let mut verdict = Verdict::default();
    match check {
        Check::Config {
            files,
            syntax_only,
            lint,
        } => {
            for file in files {
                config(file, *syntax_only, *lint, &mut verdict);
            }
            verdict.code(*lint)
        }
        Check::Rules { files, lint } => {
            if files.is_empty() {
                let name = Path::new("standard input");
                let text = standard_input().map_err(|text| ConfigError::whole(name, text));
                let read = text.and_then(|text| parse_rules(name, &text, lint.reading));
                rules(name, read, *lint, &mut verdict);
            }
            for file in files {
                rules(file, read_rules(file, lint.reading), *lint, &mut verdict);
            }
            verdict.code(*lint)
        }
        Check::WebConfig { files } => {
            // On standard error and in these words, as scripts know them.
            for file in files {
                match super::web_config::check(file) {
                    Ok(()) => eprintln!("{} SUCCESS", file.display()),
                    Err(error) => verdict.error(&format!("{} FAILED: {error}", file.display())),
                }
            }
            if verdict.wrong {
                ExitCode::FAILURE
            } else {
                ExitCode::SUCCESS
            }
        }
        Check::Metrics(check) => super::lint::run(*check),
        Check::Server { url, path } => match super::query::reach(url, path) {
            Ok(answer) => {
                say_line!("{}", answer.trim());
                ExitCode::SUCCESS
            }
            Err(error) => {
                complain!("barograph: {error}");
                ExitCode::FAILURE
            }
        },
    }
}

fn standard_input() -> Result<String, String> {
    let mut text = String::new();
    let limit = RULE_FILE_LIMIT_BYTES as u64 + 1;
    let read = std::io::stdin().take(limit).read_to_string(&mut text);
    read.map_err(|error| format!("cannot be read: {error}"))?;
    Ok(text)
}

fn config(file: &Path, syntax_only: bool, lint: Lint, verdict: &mut Verdict) {
    let reading = RuleReading {
        skipped: syntax_only,
        ..lint.reading
    };
    let config = match Config::read(file, &Collectors::none(), reading) {
        Ok(config) => config,
        Err(error) => return verdict.error(&error),
    };
    for notice in &config.notices {
        say_line!("note: {}", notice.text);
    }
    let wrong_before = verdict.wrong;
    if !syntax_only {
        for text in bad_addresses(&config) {
            let text = format!("{}: {text}", file.display());
            verdict.error(&text);
        }
        for missing in missing_files(&config) {
            let text = format!("{}: {missing}", file.display());
            verdict.error(&text);
        }
        for job in &config.jobs {
            if lint.long_intervals && job.interval_ms >= LOOKBACK_MS {
                verdict.advice(&format!(
                    "{}: job {:?} is scraped every {}: queries look back 5m, and find nothing in between",
                    file.display(),
                    job.job_name,
                    barograph_model::duration::format_duration_ms(job.interval_ms)
                ));
            }
        }
        for rules in &config.rules {
            duplicates(&rules.path, rules, lint, verdict);
        }
    }
    if verdict.wrong == wrong_before {
        say_line!(
            "{}: valid: {} scrape jobs, {} rule files, {} Alertmanagers",
            file.display(),
            config.jobs.len(),
            config.rules.len(),
            config.alertmanagers.len()
        );
    }
}

/// Targets of static lists that are no addresses even after relabelling, in words.
fn bad_addresses(config: &Config) -> Vec<String> {
    const ADDRESS: &str = "__address__";
    let mut bad = Vec::new();
    for job in &config.jobs {
        for group in &job.static_targets {
            for target in &group.targets {
                let mut labels: LabelsBuilder = group.labels.to_builder();
                labels.set(ADDRESS, target).set("job", &job.job_name);
                if relabel(&job.relabel, &mut labels) && labels.get(ADDRESS).contains('/') {
                    bad.push(format!(
                        "job {:?}: {:?} is not a valid hostname: let relabelling make host:port of it",
                        job.job_name,
                        labels.get(ADDRESS)
                    ));
                }
            }
        }
    }
    bad
}

/// Files that a configuration names and that are not there, in words.
fn missing_files(config: &Config) -> Vec<String> {
    let mut missing: Vec<String> = config
        .missing_rule_files
        .iter()
        .map(|path| format!("rule file {} does not exist", path.display()))
        .collect();
    for job in &config.jobs {
        for (what, path) in files_of(&job.http) {
            if !path.exists() {
                missing.push(format!(
                    "job {:?}: {what} {} does not exist",
                    job.job_name,
                    path.display()
                ));
            }
        }
    }
    missing
}

/// The files that settings of an HTTP client name.
fn files_of(http: &HttpSettings) -> Vec<(&'static str, &Path)> {
    fn file(secret: Option<&Secret>) -> Option<&PathBuf> {
        match secret {
            Some(Secret::File(path)) => Some(path),
            _ => None,
        }
    }
    let password = http.basic_auth.as_ref().map(|auth| &auth.password);
    let credentials = http.authorization.as_ref().map(|(_, secret)| secret);
    [
        ("password file", file(password)),
        ("credentials file", file(credentials)),
        ("CA file", http.tls.ca_file.as_ref()),
        ("certificate file", http.tls.cert_file.as_ref()),
        ("key file", http.tls.key_file.as_ref()),
    ]
    .into_iter()
    .filter_map(|(what, path)| Some((what, path?.as_path())))
    .collect()
}

fn rules(name: &Path, read: Result<RuleFile, ConfigError>, lint: Lint, verdict: &mut Verdict) {
    let file = match read {
        Ok(file) => file,
        Err(error) => return verdict.error(&error),
    };
    duplicates(name, &file, lint, verdict);
    let count: usize = file.groups.iter().map(|group| group.rules.len()).sum();
    say_line!(
        "{}: valid: {count} rules in {} groups",
        name.display(),
        file.groups.len()
    );
}

fn duplicates(name: &Path, file: &RuleFile, lint: Lint, verdict: &mut Verdict) {
    if !lint.duplicate_rules {
        return;
    }
    // Names of rules and their labels, with the groups that hold them.
    let mut seen: BTreeMap<(&str, Labels), Vec<&str>> = BTreeMap::new();
    for group in &file.groups {
        for rule in &group.rules {
            let mut labels: LabelsBuilder = rule.labels.to_builder();
            for dropped in &rule.dropped_labels {
                labels.remove(dropped);
            }
            let key = (rule.name(), labels.build());
            seen.entry(key).or_default().push(&group.name);
        }
    }
    for ((rule, labels), groups) in seen.iter().filter(|(_, groups)| groups.len() > 1) {
        let labels = if labels.is_empty() {
            String::new()
        } else {
            labels.to_string()
        };
        verdict.advice(&format!(
            "{}: rule {rule}{labels} stands there {} times, in groups {}: what they yield may collide",
            name.display(),
            groups.len(),
            groups.join(", ")
        ));
    }
}
