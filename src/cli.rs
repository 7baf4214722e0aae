//! The command line: read by the table of [`table`], then resolved into typed [`Settings`].

mod check;
mod settings;
mod size;
mod storage;
mod table;
mod tools;

use std::fmt::Write as _;

use clap::{Arg, ArgAction, ArgMatches, Command, error::ContextKind, error::ErrorKind};

pub(crate) use settings::Settings;
pub(crate) use size::{format_size_bytes, parse_size_bytes};
pub(crate) use table::closest;
use table::{FLAGS, Flag, Kind};

/// What the command line asks for.
#[derive(Debug)]
pub(crate) enum Invocation {
    /// Run the server.
    Serve(Box<Settings>),
    /// Check files, or whether a server is there.
    Check(Box<crate::tools::Check>),
    /// Format an expression, or change its matchers.
    Promql(Box<crate::tools::Promql>),
    /// Ask a server or a data directory.
    Query(Box<crate::tools::Query>),
    /// Look into a data directory.
    Storage(Box<crate::tools::Storage>),
    /// Run unit tests of rules.
    TestRules(Box<crate::tools::RulesTest>),
    /// Run PromQL test scripts.
    TestPromql(Box<crate::tools::PromqlTest>),
}

/// Why the program does not go on.
#[derive(Debug)]
pub(crate) struct Stop {
    /// What to print.
    pub(crate) text: String,
    /// Whether it was asked for (`--help`, `--version`) and is no error.
    pub(crate) asked_for: bool,
}

/// The version this program reports of itself.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Reads a command line, program name included.
///
/// # Errors
/// Help or version was asked for, or the line does not fit; the text says which.
pub(crate) fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Invocation, Stop> {
    let matches = command()
        .try_get_matches_from(arguments)
        .map_err(|error| stop(&error))?;
    let fail = |text: String| Stop {
        text: format!("barograph: {text}"),
        asked_for: false,
    };
    match matches.subcommand() {
        Some(("check", given)) => check::check(given).map_err(fail),
        Some(("promql", given)) => check::promql(given).map_err(fail),
        Some(("test", given)) => tools::test(given).map_err(fail),
        Some(("tsdb", given)) => storage::parse(given).map_err(fail),
        Some(("query", given)) => tools::query(given).map_err(fail),
        _ => Settings::resolve(&matches)
            .map(|settings| Invocation::Serve(Box::new(settings)))
            .map_err(fail),
    }
}

fn command() -> Command {
    let mut command = Command::new("barograph")
        .about("Scrapes, stores, queries, alerts and draws: a monitoring stack in one binary")
        .version(VERSION)
        .args_conflicts_with_subcommands(true)
        .subcommand(check::check_command())
        .subcommand(check::promql_command())
        .subcommand(storage::command())
        .subcommand(tools::query_command())
        .subcommand(tools::test_command());
    for flag in FLAGS {
        command = command.arg(argument(flag));
        if flag.kind == Kind::Bool {
            let name = format!("no-{}", flag.name);
            let negation = Arg::new(name.clone())
                .long(name)
                .action(ArgAction::SetTrue)
                .overrides_with(flag.name)
                .hide(true);
            command = command.arg(negation);
        }
    }
    command
}

fn argument(flag: &Flag) -> Arg {
    let arg = Arg::new(flag.name)
        .long(flag.name)
        .hide(flag.hidden)
        .help(help(flag));
    // The last one counts, except where values add up.
    let arg = if flag.kind == Kind::List {
        arg
    } else {
        arg.overrides_with(flag.name)
    };
    match flag.kind {
        Kind::Bool => arg
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
            .value_parser(["true", "false"])
            .hide_possible_values(true)
            .value_name("BOOL")
            .action(ArgAction::Set),
        Kind::List => arg.action(ArgAction::Append).value_name("TEXT"),
        Kind::Text => arg.value_name("TEXT"),
        Kind::Duration => arg.value_name("DURATION"),
        Kind::Size => arg.value_name("SIZE"),
        Kind::Number | Kind::Float => arg.value_name("NUMBER").allow_negative_numbers(true),
    }
}

fn help(flag: &Flag) -> String {
    let mut text = flag.help.to_owned();
    if flag.support == table::Support::NotBuilt {
        text.push_str(" Accepted, not built yet.");
    }
    if !flag.default.is_empty() {
        let _ = write!(text, " [default: {}]", flag.default);
    }
    text
}

fn paths(matches: &ArgMatches) -> Vec<std::path::PathBuf> {
    matches
        .get_many("file")
        .map(|files| files.cloned().collect())
        .unwrap_or_default()
}

fn stop(error: &clap::Error) -> Stop {
    let asked_for = matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    );
    if error.kind() == ErrorKind::UnknownArgument
        && let Some(typed) = error.get(ContextKind::InvalidArg)
    {
        let typed = typed.to_string();
        if !typed.starts_with('-') {
            return Stop {
                text: error.to_string().trim_end().to_owned(),
                asked_for,
            };
        }
        let bare = typed.trim_start_matches('-');
        let bare = bare.split_once('=').map_or(bare, |(name, _)| name);
        let advice = match closest(bare, FLAGS.iter().map(|flag| flag.name)) {
            Some(name) => format!("did you mean --{name}?"),
            None => "run barograph --help for the list".to_owned(),
        };
        return Stop {
            text: format!("barograph: unknown flag --{bare}: {advice}"),
            asked_for,
        };
    }
    Stop {
        text: error.to_string().trim_end().to_owned(),
        asked_for,
    }
}

#[cfg(test)]
mod tests;
