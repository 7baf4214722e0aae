//! The command lines of checks, and of changes to expressions.

use std::path::PathBuf;

use barograph_model::{MatchOp, Matcher};
use barograph_query::ParseOptions;
use clap::{Arg, ArgAction, ArgMatches, Command};

use super::{Invocation, paths};
use crate::config::RuleReading;
use crate::tools::{Change, Check, Lint, MetricsCheck, Promql};

/// What can be linted of rules, and of configurations.
const RULE_LINTS: [&str; 3] = ["all", "duplicate-rules", "none"];
const CONFIG_LINTS: [&str; 4] = ["all", "duplicate-rules", "none", "too-long-scrape-interval"];

/// `--ignore-unknown-fields`.
pub(super) fn ignore_unknown_fields() -> Arg {
    Arg::new("ignore-unknown-fields")
        .long("ignore-unknown-fields")
        .help("Passes over fields that nobody knows; a server refuses them")
        .action(ArgAction::SetTrue)
}

/// `check config`, `check rules`, `check web-config`, `check metrics`, `check healthy` and `check
/// ready`.
pub(super) fn check_command() -> Command {
    let files = |required: bool| {
        Arg::new("file")
            .required(required)
            .num_args(1..)
            .value_parser(clap::value_parser!(PathBuf))
            .action(ArgAction::Append)
    };
    let lints = |command: Command, known: &'static [&'static str], usual: &'static str| {
        command
            .arg(
                Arg::new("lint")
                    .long("lint")
                    .value_name("NAMES")
                    .help("What to look for that is valid but could be better")
                    .value_delimiter(',')
                    .value_parser(clap::builder::PossibleValuesParser::new(known))
                    .default_value(usual),
            )
            .arg(
                Arg::new("lint-fatal")
                    .long("lint-fatal")
                    .help("Exits with code 3 where something could be better")
                    .action(ArgAction::SetTrue),
            )
            .arg(ignore_unknown_fields())
            .arg(super::tools::features_argument())
    };
    let config = Command::new("config")
        .about("Checks configuration files and the files they name")
        .arg(files(true))
        .arg(
            Arg::new("syntax-only")
                .long("syntax-only")
                .help("Leaves the files they name alone")
                .action(ArgAction::SetTrue),
        );
    let rules = Command::new("rules")
        .about("Checks rule files, or standard input")
        .arg(files(false));
    let metrics = Command::new("metrics")
        .about("Checks an exposition text on standard input; exits with code 3 where it could be better")
        .arg(
            Arg::new("extended")
                .long("extended")
                .help("Says how many series each family has")
                .action(ArgAction::SetTrue),
        )
        .arg(
            Arg::new("lint")
                .long("lint")
                .value_name("NAMES")
                .help("What to look for")
                .value_parser(["all", "none"])
                .default_value("all"),
        );
    let web_config = Command::new("web-config")
        .about("Checks files for the --web.config.file of Prometheus: TLS, passwords and headers of a server")
        .arg(files(true));
    let server = |name: &'static str, about: &'static str| {
        Command::new(name).about(about).arg(
            Arg::new("url")
                .long("url")
                .value_name("URL")
                .help("The server")
                .default_value("http://localhost:9090"),
        )
    };
    Command::new("check")
        .about("Checks files, or whether a server is there, and exits")
        .subcommand_required(true)
        .subcommand(lints(config, &CONFIG_LINTS, "duplicate-rules"))
        .subcommand(lints(rules, &RULE_LINTS, "duplicate-rules"))
        .subcommand(web_config)
        .subcommand(metrics)
        .subcommand(server("healthy", "Checks whether a server is healthy"))
        .subcommand(server("ready", "Checks whether a server is ready"))
}

/// What a `check` command line asks for.
///
/// # Errors
/// A feature that is none.
pub(super) fn check(matches: &ArgMatches) -> Result<Invocation, String> {
    let Some((kind, given)) = matches.subcommand() else {
        return Err("check config, rules, web-config, metrics, healthy or ready?".to_owned());
    };
    let language = match kind {
        "config" | "rules" => super::tools::language(&super::tools::features(given))?.0,
        _ => ParseOptions::default(),
    };
    let names = || given.get_many::<String>("lint").into_iter().flatten();
    let lint = || Lint {
        duplicate_rules: names().any(|name| name == "all" || name == "duplicate-rules"),
        long_intervals: names().any(|name| name == "all" || name == "too-long-scrape-interval"),
        fatal: given.get_flag("lint-fatal"),
        reading: RuleReading {
            known_fields: given.get_flag("ignore-unknown-fields"),
            ..RuleReading::from(language)
        },
    };
    let server = |path: &'static str| Check::Server {
        url: given.get_one::<String>("url").cloned().unwrap_or_default(),
        path,
    };
    let check = match kind {
        "config" => Check::Config {
            files: paths(given),
            syntax_only: given.get_flag("syntax-only"),
            lint: lint(),
        },
        "rules" => Check::Rules {
            files: paths(given),
            lint: lint(),
        },
        "web-config" => Check::WebConfig {
            files: paths(given),
        },
        "metrics" => Check::Metrics(MetricsCheck {
            lint: names().any(|name| name == "all"),
            extended: given.get_flag("extended"),
        }),
        "healthy" => server("/-/healthy"),
        _ => server("/-/ready"),
    };
    Ok(Invocation::Check(Box::new(check)))
}

/// `promql format` and `promql label-matchers`.
pub(super) fn promql_command() -> Command {
    let text = |name: &'static str, value_name: &'static str| {
        Arg::new(name).required(true).value_name(value_name)
    };
    let set = Command::new("set")
        .about("Gives every selector a matcher for a label")
        .arg(text("expr", "EXPRESSION"))
        .arg(text("name", "NAME"))
        .arg(text("value", "VALUE"))
        .arg(
            Arg::new("type")
                .long("type")
                .short('t')
                .value_name("OPERATOR")
                .help("How the value is compared")
                .value_parser(["=", "!=", "=~", "!~"])
                .default_value("="),
        );
    let delete = Command::new("delete")
        .about("Takes the matchers for a label from every selector")
        .arg(text("expr", "EXPRESSION"))
        .arg(text("name", "NAME"));
    Command::new("promql")
        .about("Formats and changes expressions, and exits")
        .subcommand_required(true)
        .subcommand(
            Command::new("format")
                .about("Prints an expression in its canonical form")
                .arg(text("expr", "EXPRESSION")),
        )
        .subcommand(
            Command::new("label-matchers")
                .about("Changes the matchers of selectors")
                .subcommand_required(true)
                .subcommand(set)
                .subcommand(delete),
        )
}

/// What a `promql` command line asks for.
///
/// # Errors
/// A pattern that is none.
pub(super) fn promql(matches: &ArgMatches) -> Result<Invocation, String> {
    let missing = || "promql format or promql label-matchers?".to_owned();
    let (kind, given) = matches.subcommand().ok_or_else(missing)?;
    let (kind, given) = match kind {
        "format" => (kind, given),
        _ => given.subcommand().ok_or_else(missing)?,
    };
    let text = |name: &str| given.get_one::<String>(name).cloned().unwrap_or_default();
    let change = match kind {
        "format" => Change::Nothing,
        "delete" => Change::DeleteMatcher(text("name")),
        _ => {
            let op = match text("type").as_str() {
                "!=" => MatchOp::NotEqual,
                "=~" => MatchOp::Regex,
                "!~" => MatchOp::NotRegex,
                _ => MatchOp::Equal,
            };
            let matcher = Matcher::new(&text("name"), op, &text("value"));
            Change::SetMatcher(matcher.map_err(|error| format!("{}: {error}", text("value")))?)
        }
    };
    Ok(Invocation::Promql(Box::new(Promql {
        expr: text("expr"),
        change,
    })))
}
