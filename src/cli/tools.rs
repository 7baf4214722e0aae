//! The command lines of tests.

use std::path::PathBuf;

use barograph_model::Pattern;
use barograph_query::script::RunOptions;
use barograph_query::{EngineOptions, ParseOptions};
use clap::{Arg, ArgAction, ArgMatches, Command};

use super::Invocation;
use crate::tools::{PromqlTest, RulesTest};

/// `test promql` and `test rules`.
pub(super) fn test_command() -> Command {
    let common = |command: Command| {
        command
            .arg(
                Arg::new("junit")
                    .long("junit")
                    .value_name("FILE")
                    .help("Writes results as JUnit XML")
                    .value_parser(clap::value_parser!(PathBuf)),
            )
            .arg(
                Arg::new("run")
                    .long("run")
                    .value_name("REGEX")
                    .help("Only tests in which the pattern finds something; may be repeated")
                    .action(ArgAction::Append),
            )
            .arg(
                Arg::new("enable-feature")
                    .long("enable-feature")
                    .value_name("NAMES")
                    .help("Features of PromQL to switch on, as for the server")
                    .value_delimiter(',')
                    .action(ArgAction::Append),
            )
            .arg(
                Arg::new("file")
                    .required(true)
                    .num_args(1..)
                    .value_parser(clap::value_parser!(PathBuf))
                    .action(ArgAction::Append),
            )
    };
    let rules = Command::new("rules")
        .about("Runs unit tests of rules, in promtool's format")
        .arg(
            Arg::new("diff")
                .long("diff")
                .help("Shows the lines that differ")
                .action(ArgAction::SetTrue),
        )
        .arg(
            Arg::new("debug")
                .long("debug")
                .help("Says how long each test took")
                .action(ArgAction::SetTrue),
        );
    let promql = Command::new("promql")
        .about("Runs PromQL test scripts; every feature is on unless --enable-feature is given");
    Command::new("test")
        .about("Tests rules and queries, and exits")
        .subcommand_required(true)
        .subcommand(common(rules))
        .subcommand(common(promql))
}

/// What a `test` command line asks for.
///
/// # Errors
/// A pattern or a feature that does not fit.
pub(super) fn test(matches: &ArgMatches) -> Result<Invocation, String> {
    let Some((kind, given)) = matches.subcommand() else {
        return Err("test rules or test promql?".to_owned());
    };
    let texts = |name: &str| -> Vec<String> {
        let texts = given.get_many::<String>(name).into_iter().flatten();
        texts.cloned().collect()
    };
    let run = texts("run")
        .iter()
        .map(|text| {
            // Anywhere in the name.
            Pattern::new(&format!(".*(?:{text}).*"))
                .map_err(|error| format!("--run={text}: {error}"))
        })
        .collect::<Result<Vec<_>, _>>()?;
    let features = texts("enable-feature");
    let (parse, delayed_name_removal) = language(&features)?;
    let files = super::paths(given);
    let junit = given.get_one::<PathBuf>("junit").cloned();
    if kind == "rules" {
        return Ok(Invocation::TestRules(Box::new(RulesTest {
            files,
            run,
            diff: given.get_flag("diff"),
            debug: given.get_flag("debug"),
            junit,
            parse,
            delayed_name_removal,
        })));
    }
    let options = if features.is_empty() {
        RunOptions::default()
    } else {
        RunOptions {
            engine: EngineOptions {
                delayed_name_removal,
                ..EngineOptions::default()
            },
            parse,
        }
    };
    Ok(Invocation::TestPromql(Box::new(PromqlTest {
        files,
        run,
        junit,
        options,
    })))
}

/// What of PromQL the named features switch on, and whether names are dropped late.
///
/// # Errors
/// A name that no feature has.
fn language(features: &[String]) -> Result<(ParseOptions, bool), String> {
    let mut parse = ParseOptions::default();
    let mut delayed_name_removal = false;
    for feature in features {
        match feature.as_str() {
            "promql-experimental-functions" => parse.experimental_functions = true,
            "promql-extended-range-selectors" => parse.extended_range_selectors = true,
            "promql-binop-fill-modifiers" => parse.fill_modifiers = true,
            "promql-delayed-name-removal" => delayed_name_removal = true,
            // Always on.
            "promql-duration-expr" | "promql-at-modifier" | "promql-negative-offset" => {}
            other => {
                return Err(format!(
                    "--enable-feature={other}: no such feature of PromQL: use promql-experimental-functions, promql-extended-range-selectors, promql-binop-fill-modifiers, promql-delayed-name-removal"
                ));
            }
        }
    }
    Ok((parse, delayed_name_removal))
}
