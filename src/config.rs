//! The configuration in two stages: as written ([`file`]), then resolved ([`Config`]): every
//! default filled in, every pattern compiled, every file it names read.

mod alerting;
mod builtin;
mod error;
mod file;
mod glob;
mod http;
mod opaque;
mod relabel;
mod resolve;
mod scalar;
mod shown;

use std::path::{Path, PathBuf};

use barograph_alerting::{AlertmanagerTarget, RoutingConfig, RuleFile};
use barograph_model::Labels;
use barograph_model::relabel::RelabelRule;
use barograph_query::ParseOptions;
use barograph_scraper::{Collector, ScrapeConfig, StartTimestamps};
use barograph_tsdb::Retention;

use crate::cli::Settings;

pub(crate) use builtin::Builtin;
pub(crate) use error::ConfigError;
pub(crate) use glob::files as glob_files;
pub(crate) use http::client_file as http_client_file;

/// Everything the parts of the server are told, all or nothing.
#[derive(Clone)]
pub(crate) struct Config {
    /// Jobs.
    pub(crate) jobs: Vec<ScrapeConfig>,
    /// Rules, file by file.
    pub(crate) rules: Vec<RuleFile>,
    /// Time between evaluations of groups that say nothing.
    pub(crate) evaluation_interval_ms: i64,
    /// How far back rules of groups that say nothing look.
    pub(crate) rule_query_offset_ms: i64,
    /// Labels of everything that leaves this server.
    pub(crate) external_labels: Labels,
    /// External Alertmanagers.
    pub(crate) alertmanagers: Vec<AlertmanagerTarget>,
    /// Rules alerts pass before they go to an Alertmanager.
    pub(crate) alert_relabel: Vec<RelabelRule>,
    /// Our own routing.
    pub(crate) routing: Option<RoutingConfig>,
    /// How much is kept, where the file says.
    pub(crate) retention: Option<Retention>,
    /// How much older than the newest sample a sample out of order may be; 0 takes none.
    pub(crate) out_of_order_window_ms: i64,
    /// Most exemplars kept.
    pub(crate) exemplars_limit: usize,
    /// The configuration as YAML, defaults filled in, secrets hidden.
    pub(crate) shown: String,
    /// What is accepted and not served.
    pub(crate) notices: Vec<Notice>,
    /// Every file that was read.
    pub(crate) files: Vec<PathBuf>,
    /// Rule files that are named without wildcards and are not there.
    pub(crate) missing_rule_files: Vec<PathBuf>,
}

/// Something accepted that has no effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Notice {
    /// What, and what follows from it.
    pub(crate) text: String,
    /// Whether something the user relies on is missing because of it: targets, notifications.
    pub(crate) loud: bool,
}

/// What jobs take from elsewhere than their file: the collectors that those of scheme `barograph`
/// may name, and what flags say of all.
#[derive(Clone)]
pub(crate) struct Collectors {
    /// `/host`: this host.
    pub(crate) host: Collector,
    /// `/self`: this server.
    pub(crate) own: Collector,
    /// What becomes of start timestamps.
    pub(crate) start_timestamps: StartTimestamps,
}

impl Config {
    /// Loads what `settings` ask for: the named file; else `./prometheus.yml` where there is one;
    /// else what is built in.
    ///
    /// # Errors
    /// The first thing that does not fit, in whichever file.
    pub(crate) fn load(
        settings: &Settings,
        builtin: &Builtin,
        collectors: &Collectors,
    ) -> Result<Self, ConfigError> {
        let mut config = match source(settings) {
            Some(path) => Self::read(&path, collectors, settings.language())?,
            None => resolve::config(
                Path::new(builtin::NAME),
                &builtin.text(),
                collectors,
                settings.language().into(),
            )?,
        };
        if let Some(path) = &settings.alerting_config_file {
            let text = read(path)?;
            let mut routing = RoutingConfig::parse(path, &text)
                .map_err(|error| located(path, &text, error.position, error.message))?;
            let warnings = std::mem::take(&mut routing.warnings);
            config
                .notices
                .extend(warnings.into_iter().map(|text| Notice { text, loud: true }));
            config.routing = Some(routing);
            config.files.push(path.clone());
        } else if let Some(url) = &settings.alerting_webhook_url {
            config.routing = Some(RoutingConfig::single_webhook(url));
        }
        Ok(config)
    }

    /// Reads one file and those it names.
    ///
    /// # Errors
    /// The first thing that does not fit, in whichever file.
    pub(crate) fn read(
        path: &Path,
        collectors: &Collectors,
        rules: impl Into<RuleReading>,
    ) -> Result<Self, ConfigError> {
        resolve::config(path, &read(path)?, collectors, rules.into())
    }
}

/// How rule files are read.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RuleReading {
    /// What expressions may use.
    pub(crate) language: ParseOptions,
    /// Fields that nobody knows are passed over.
    pub(crate) known_fields: bool,
    /// The files are left alone.
    pub(crate) skipped: bool,
}

impl From<ParseOptions> for RuleReading {
    fn from(language: ParseOptions) -> Self {
        Self {
            language,
            ..Self::default()
        }
    }
}

/// Reads one rule file.
///
/// # Errors
/// It cannot be read, or does not fit.
pub(crate) fn read_rules(
    path: &Path,
    reading: impl Into<RuleReading>,
) -> Result<RuleFile, ConfigError> {
    let text = read(path).map_err(|error| ConfigError {
        in_rules: true,
        ..error
    })?;
    parse_rules(path, &text, reading.into())
}

/// Reads the text of a rule file.
///
/// # Errors
/// It does not fit.
pub(crate) fn parse_rules(
    path: &Path,
    text: &str,
    reading: RuleReading,
) -> Result<RuleFile, ConfigError> {
    let fail = |error: ConfigError| ConfigError {
        in_rules: true,
        ..error
    };
    let parsed = if reading.known_fields {
        RuleFile::parse_known(path, text, reading.language)
    } else {
        RuleFile::parse_all(path, text, reading.language)
    };
    parsed.map_err(|errors| {
        let mut errors = errors.into_iter();
        let Some(first) = errors.next() else {
            return fail(ConfigError::whole(path, "BUG: refused without a reason"));
        };
        let mut error = located(path, text, first.position, first.message);
        for further in errors {
            error.message.push_str("\nalso ");
            error.message.push_str(&further.to_string());
        }
        fail(error)
    })
}

fn located(
    path: &Path,
    text: &str,
    position: Option<(usize, usize)>,
    message: String,
) -> ConfigError {
    match position {
        Some(position) => ConfigError::at(path, text, position, message),
        None => ConfigError::whole(path, message),
    }
}

/// The file the configuration comes from; `None` is what is built in.
pub(crate) fn source(settings: &Settings) -> Option<PathBuf> {
    settings.config_file.clone().or_else(|| {
        let default = PathBuf::from("prometheus.yml");
        default.exists().then_some(default)
    })
}

fn read(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path).map_err(|error| {
        let advice = match error.kind() {
            std::io::ErrorKind::NotFound => {
                ": check the path, or leave --config.file out to scrape this server and this host"
            }
            std::io::ErrorKind::PermissionDenied => ": let the user this server runs as read it",
            std::io::ErrorKind::InvalidData => ": it must be UTF-8 text",
            _ => "",
        };
        ConfigError::whole(path, format!("cannot read the file: {error}{advice}"))
    })
}

impl Collectors {
    /// Collectors that collect nothing, for checking a configuration without running it.
    pub(crate) fn none() -> Self {
        let none: Collector = std::sync::Arc::new(|_: &mut String| {});
        Self {
            host: none.clone(),
            own: none,
            start_timestamps: StartTimestamps::default(),
        }
    }
}

#[cfg(test)]
mod tests;
