//! The command lines of queries and tests.

use std::path::PathBuf;

use barograph_model::Pattern;
use barograph_model::duration::parse_duration_ms;
use barograph_query::script::RunOptions;
use barograph_query::{EngineOptions, ParseOptions};
use clap::{Arg, ArgAction, ArgGroup, ArgMatches, Command};

use super::Invocation;
use crate::chart::{Look, Theme, Unit};
use crate::config::RuleReading;
use crate::tools::{Access, Format, Pictures, PromqlTest, Query, Question, RulesTest, Source};

/// `query instant`, `query range`, `query series` and `query labels`.
pub(super) fn query_command() -> Command {
    let source = || {
        Arg::new("source")
            .required(true)
            .value_name("URL|DIRECTORY")
            .help(
                "A server with Prometheus's HTTP API, or a data directory, which one may have open",
            )
    };
    let expression = || Arg::new("expr").required(true).value_name("EXPRESSION");
    let time = |name: &'static str, help: &'static str| {
        Arg::new(name)
            .long(name)
            .value_name("TIME")
            .help(help)
            .allow_negative_numbers(true)
    };
    let bounds = |command: Command| {
        command
            .arg(time(
                "start",
                "From this time on: seconds since 1970 or RFC 3339",
            ))
            .arg(time("end", "Up to this time"))
    };
    let common = |command: Command| {
        command
            .arg(
                Arg::new("format")
                    .long("format")
                    .short('o')
                    .value_name("FORMAT")
                    .value_parser(["table", "json", "csv"])
                    .default_value("table")
                    .help("How the answer is shown"),
            )
            .arg(
                Arg::new("header")
                    .long("header")
                    .value_name("NAME: VALUE")
                    .help("A header for requests to the server; may be repeated")
                    .action(ArgAction::Append),
            )
            .arg(
                Arg::new("http.config.file")
                    .long("http.config.file")
                    .value_name("FILE")
                    .help("Credentials and TLS for the server, in Prometheus's format")
                    .value_parser(clap::value_parser!(PathBuf)),
            )
    };
    let selectors = || {
        Arg::new("match")
            .long("match")
            .value_name("SELECTOR")
            .help("Only series that the selector finds; may be repeated")
            .action(ArgAction::Append)
    };
    let profile = || {
        Arg::new("profile")
            .long("profile")
            .help("Shows where the time went")
            .action(ArgAction::SetTrue)
    };
    let instant = Command::new("instant")
        .about("The value of an expression at one time")
        .arg(source())
        .arg(expression())
        .arg(profile())
        .arg(time(
            "time",
            "At this time: seconds since 1970 or RFC 3339; now without it",
        ));
    let range = Command::new("range")
        .about("The values of an expression over time")
        .arg(source())
        .arg(expression())
        .arg(profile())
        .arg(
            Arg::new("step")
                .long("step")
                .value_name("DURATION")
                .help("Distance of values"),
        )
        .arg(
            Arg::new("plot")
                .long("plot")
                .help("Draws them in the terminal")
                .action(ArgAction::SetTrue),
        )
        .arg(
            Arg::new("stacked")
                .long("stacked")
                .help("Adds the series up in the picture")
                .requires("picture")
                .action(ArgAction::SetTrue),
        );
    let series = Command::new("series")
        .about("The series that selectors find")
        .arg(source())
        .arg(selectors().required(true));
    let labels = Command::new("labels")
        .about("The names of labels, or the values of one")
        .arg(source())
        .arg(Arg::new("name").value_name("NAME"))
        .arg(selectors());
    Command::new("query")
        .about("Asks a server or a data directory, and exits")
        .subcommand_required(true)
        .subcommand(common(picture_arguments(instant)))
        .subcommand(common(picture_arguments(bounds(range))))
        .subcommand(common(bounds(series)))
        .subcommand(common(bounds(labels)))
}

/// The arguments of `--png` and `--svg`.
fn picture_arguments(command: Command) -> Command {
    let file = |name: &'static str, help: &'static str| {
        Arg::new(name)
            .long(name)
            .value_name("FILE")
            .help(help)
            .value_parser(clap::value_parser!(PathBuf))
    };
    let number = |name: &'static str, help: &'static str| {
        Arg::new(name)
            .long(name)
            .value_name("NUMBER")
            .help(help)
            .requires("picture")
            .value_parser(clap::value_parser!(u32))
    };
    let text = |name: &'static str, value_name: &'static str, help: &'static str| {
        let arg = Arg::new(name).long(name).value_name(value_name).help(help);
        arg.requires("picture")
    };
    command
        .next_help_heading("Pictures")
        .group(ArgGroup::new("picture").args(["png", "svg"]).multiple(true))
        .arg(file("png", "Draws the answer as PNG; - is standard output"))
        .arg(file("svg", "Draws the answer as SVG; - is standard output"))
        .arg(number("width", "Points across [default: 1000]"))
        .arg(number(
            "height",
            "Points down; what suits the answer without it",
        ))
        .arg(number("scale", "Pixels of a PNG per point [default: 1]"))
        .arg(text("theme", "THEME", "Colours [default: light]").value_parser(["light", "dark"]))
        .arg(text(
            "title",
            "TEXT",
            "What stands above; the expression without it",
        ))
        .arg(
            text(
                "unit",
                "UNIT",
                "What values measure; told by the metrics' names without it",
            )
            .value_parser(Unit::NAMES),
        )
}

/// What is to be drawn, and how.
fn pictures(kind: &str, given: &ArgMatches) -> Pictures {
    if !matches!(kind, "instant" | "range") {
        return Pictures::default();
    }
    let text = |name: &str| given.get_one::<String>(name);
    let number = |name: &str| given.get_one::<u32>(name).copied();
    let usual = Look::default();
    Pictures {
        png: given.get_one("png").cloned(),
        svg: given.get_one("svg").cloned(),
        look: Look {
            width: number("width").unwrap_or(usual.width),
            height: number("height"),
            scale: number("scale").unwrap_or(usual.scale),
            theme: text("theme")
                .and_then(|name| Theme::named(name))
                .unwrap_or_default(),
        },
        title: text("title").cloned(),
        unit: text("unit").and_then(|name| Unit::named(name)),
        stacked: kind == "range" && given.get_flag("stacked"),
    }
}

/// What a `query` command line asks for.
///
/// # Errors
/// A time or duration that is none.
pub(super) fn query(matches: &ArgMatches) -> Result<Invocation, String> {
    let Some((kind, given)) = matches.subcommand() else {
        return Err("query instant, range, series or labels?".to_owned());
    };
    let text = |name: &str| given.get_one::<String>(name).cloned();
    let texts = |name: &str| -> Vec<String> {
        let texts = given.get_many::<String>(name).into_iter().flatten();
        texts.cloned().collect()
    };
    let time = |name: &str| {
        let read = |text: String| {
            crate::tools::parse_time_ms(&text).ok_or_else(|| {
                format!(
                    "--{name}={text}: no time: write seconds since 1970 or 2006-01-02T15:04:05Z"
                )
            })
        };
        text(name).map(read).transpose()
    };
    let question = match kind {
        "instant" => Question::Instant {
            expr: text("expr").unwrap_or_default(),
            time_ms: time("time")?,
        },
        "range" => Question::Range {
            expr: text("expr").unwrap_or_default(),
            start_ms: time("start")?,
            end_ms: time("end")?,
            step_ms: text("step").map(|text| step_ms(&text)).transpose()?,
        },
        "series" => Question::Series {
            selectors: texts("match"),
            start_ms: time("start")?,
            end_ms: time("end")?,
        },
        _ => Question::Labels {
            name: text("name"),
            selectors: texts("match"),
            start_ms: time("start")?,
            end_ms: time("end")?,
        },
    };
    Ok(Invocation::Query(Box::new(Query {
        source: Source::new(&text("source").unwrap_or_default()),
        question,
        format: match text("format").as_deref() {
            Some("json") => Format::Json,
            Some("csv") => Format::Csv,
            _ => Format::Table,
        },
        plot: kind == "range" && given.get_flag("plot"),
        pictures: pictures(kind, given),
        profile: matches!(kind, "instant" | "range") && given.get_flag("profile"),
        access: Access {
            headers: texts("header"),
            config: given.get_one("http.config.file").cloned(),
        },
    })))
}

fn step_ms(text: &str) -> Result<i64, String> {
    let seconds: Option<f64> = text.parse().ok();
    let step_ms = match seconds {
        Some(seconds) => (seconds * 1000.0) as i64,
        None => parse_duration_ms(text).map_err(|error| format!("--step={text}: {error}"))?,
    };
    if step_ms <= 0 {
        return Err(format!("--step={text}: it must be above 0"));
    }
    Ok(step_ms)
}

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
            .arg(features_argument())
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
        .arg(super::check::ignore_unknown_fields())
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
    let features = features(given);
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
            reading: RuleReading {
                known_fields: given.get_flag("ignore-unknown-fields"),
                ..RuleReading::from(parse)
            },
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

/// `--enable-feature` of commands that read PromQL.
pub(super) fn features_argument() -> Arg {
    Arg::new("enable-feature")
        .long("enable-feature")
        .value_name("NAMES")
        .help("Features of PromQL to switch on, as for the server")
        .value_delimiter(',')
        .action(ArgAction::Append)
}

/// What [`features_argument`] was given.
pub(super) fn features(given: &ArgMatches) -> Vec<String> {
    let names = given.get_many::<String>("enable-feature");
    names.into_iter().flatten().cloned().collect()
}

/// What of PromQL the named features switch on, and whether names are dropped late.
///
/// # Errors
/// A name that no feature has.
pub(super) fn language(features: &[String]) -> Result<(ParseOptions, bool), String> {
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
