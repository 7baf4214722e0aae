//! The command lines of `barograph tsdb`, with promtool's options.

use std::path::PathBuf;

use barograph_model::{Matcher, TimeRange};
use barograph_query::parse_selector;
use clap::{Arg, ArgAction, ArgMatches, Command};

use super::Invocation;
use crate::tools::Storage;

/// Where the data is when nobody says.
const DEFAULT_PATH: &str = "data/";

/// `tsdb list`, `analyze`, `dump`, `dump-openmetrics`, `verify`, `export` and
/// `create-blocks-from openmetrics`.
pub(super) fn command() -> Command {
    let path = || {
        Arg::new("path")
            .default_value(DEFAULT_PATH)
            .value_name("DIRECTORY")
            .help("A data directory, of Barograph or of Prometheus")
    };
    let human = || {
        Arg::new("human-readable")
            .short('r')
            .long("human-readable")
            .help("Times as dates, sizes with units")
            .action(ArgAction::SetTrue)
    };
    let range = |command: Command| {
        let time = |name: &'static str, help: &'static str| {
            Arg::new(name)
                .long(name)
                .value_name("MILLISECONDS")
                .help(help)
                .allow_negative_numbers(true)
                .value_parser(clap::value_parser!(i64))
        };
        command
            .arg(time("min-time", "From this time on, since 1970"))
            .arg(time("max-time", "Up to this time, inclusive"))
            .arg(
                Arg::new("match")
                    .long("match")
                    .value_name("SELECTOR")
                    .help("Only series that the selector finds; may be repeated")
                    .action(ArgAction::Append),
            )
    };
    let sandbox = || {
        Arg::new("sandbox-dir-root")
            .long("sandbox-dir-root")
            .value_name("DIRECTORY")
            .help("Where temporary files go; they are removed")
    };
    let list = Command::new("list")
        .about("The blocks of a directory")
        .arg(human())
        .arg(path());
    let analyze = Command::new("analyze")
        .about("Churn and cardinality of a block")
        .arg(
            Arg::new("limit")
                .long("limit")
                .value_name("NUMBER")
                .help("Most items of each list")
                .default_value("20")
                .value_parser(clap::value_parser!(usize)),
        )
        .arg(
            Arg::new("extended")
                .long("extended")
                .help("How full chunks are, too")
                .action(ArgAction::SetTrue),
        )
        .arg(
            Arg::new("match")
                .long("match")
                .value_name("SELECTOR")
                .help("Only series that the selector finds"),
        )
        .arg(path())
        .arg(
            Arg::new("block")
                .value_name("BLOCK")
                .help("The last one without it"),
        );
    let dump = range(Command::new("dump"))
        .about("Every sample as a line of text")
        .arg(sandbox())
        .arg(
            Arg::new("format")
                .long("format")
                .value_parser(["prom", "seriesjson"])
                .default_value("prom")
                .help("Samples, or labels of series"),
        )
        .arg(path());
    let dump_openmetrics = range(Command::new("dump-openmetrics"))
        .about("Every float as OpenMetrics")
        .arg(sandbox())
        .arg(path());
    let verify = Command::new("verify")
        .about("Reads every block whole, for its checksums")
        .arg(path());
    let export = range(Command::new("export"))
        .about("Writes what a directory holds as blocks of Prometheus")
        .arg(sandbox())
        .arg(
            Arg::new("format")
                .long("format")
                .value_parser(["prometheus"])
                .default_value("prometheus")
                .help("The format of the blocks"),
        )
        .arg(human())
        .arg(path().required(true).default_value(None))
        .arg(
            Arg::new("out")
                .required(true)
                .value_name("OUT")
                .help("Where the blocks go"),
        );
    let open_metrics = Command::new("openmetrics")
        .about("Writes the samples of an OpenMetrics text as blocks that both read")
        .arg(human())
        .arg(
            Arg::new("quiet")
                .short('q')
                .long("quiet")
                .help("Do not list the blocks")
                .action(ArgAction::SetTrue),
        )
        .arg(
            Arg::new("label")
                .long("label")
                .value_name("NAME=VALUE")
                .help("A label for every series; may be repeated")
                .action(ArgAction::Append),
        )
        .arg(
            Arg::new("max-block-duration")
                .long("max-block-duration")
                .value_name("DURATION")
                .help("Longest span of a block")
                .hide(true),
        )
        .arg(Arg::new("input").required(true).value_name("FILE"))
        .arg(path());
    let create = Command::new("create-blocks-from")
        .about("Writes blocks from other formats")
        .subcommand_required(true)
        .subcommand(open_metrics);
    Command::new("tsdb")
        .about(
            "Looks into data directories, of Barograph and of Prometheus; a server may run on them",
        )
        .subcommand_required(true)
        .subcommands([
            list,
            analyze,
            dump,
            dump_openmetrics,
            verify,
            export,
            create,
        ])
}

/// What a command line of `tsdb` asks for.
pub(super) fn parse(tsdb: &ArgMatches) -> Result<Invocation, String> {
    let Some((name, matches)) = tsdb.subcommand() else {
        return Err("tsdb: which command? Try barograph tsdb --help".to_owned());
    };
    let path = |id: &str| PathBuf::from(text(matches, id).unwrap_or_default());
    let command = match name {
        "list" => Storage::List {
            path: path("path"),
            human: matches.get_flag("human-readable"),
        },
        "analyze" => Storage::Analyze {
            path: path("path"),
            block: text(matches, "block"),
            limit: matches.get_one("limit").copied().unwrap_or_default(),
            extended: matches.get_flag("extended"),
            selector: text(matches, "match"),
            matchers: match text(matches, "match") {
                Some(text) => selector(&text)?,
                None => Vec::new(),
            },
        },
        "dump" => Storage::Dump {
            path: path("path"),
            temporary: temporary(matches),
            range: range(matches),
            selectors: selectors(matches)?,
            series_only: text(matches, "format").as_deref() == Some("seriesjson"),
        },
        "dump-openmetrics" => Storage::DumpOpenMetrics {
            path: path("path"),
            temporary: temporary(matches),
            range: range(matches),
            selectors: selectors(matches)?,
        },
        "verify" => Storage::Verify { path: path("path") },
        "export" => Storage::Export {
            path: path("path"),
            out: path("out"),
            temporary: temporary(matches),
            range: range(matches),
            selectors: selectors(matches)?,
            human: matches.get_flag("human-readable"),
        },
        _ => create(matches)?,
    };
    Ok(Invocation::Storage(Box::new(command)))
}

fn create(matches: &ArgMatches) -> Result<Storage, String> {
    let Some((_, matches)) = matches.subcommand() else {
        return Err("create-blocks-from: from what? openmetrics".to_owned());
    };
    let mut labels = Vec::new();
    for label in matches.get_many::<String>("label").into_iter().flatten() {
        let (name, value) = label
            .split_once('=')
            .ok_or_else(|| format!("--label={label}: want NAME=VALUE"))?;
        labels.push((name.to_owned(), value.to_owned()));
    }
    let span_ms = match text(matches, "max-block-duration") {
        Some(text) => barograph_model::duration::parse_duration_ms(&text)
            .map_err(|error| format!("--max-block-duration={text}: {error}"))?,
        None => 0,
    };
    Ok(Storage::CreateFromOpenMetrics {
        input: text(matches, "input").unwrap_or_default().into(),
        out: text(matches, "path").unwrap_or_default().into(),
        labels,
        span_ms,
        human: matches.get_flag("human-readable"),
        quiet: matches.get_flag("quiet"),
    })
}

fn text(matches: &ArgMatches, id: &str) -> Option<String> {
    matches.get_one::<String>(id).cloned()
}

fn temporary(matches: &ArgMatches) -> PathBuf {
    let asked = text(matches, "sandbox-dir-root").map(PathBuf::from);
    asked.unwrap_or_else(std::env::temp_dir)
}

fn range(matches: &ArgMatches) -> TimeRange {
    let time = |id: &str| matches.get_one::<i64>(id).copied();
    TimeRange {
        start_ms: time("min-time").unwrap_or(i64::MIN),
        end_ms: time("max-time").unwrap_or(i64::MAX),
    }
}

fn selectors(matches: &ArgMatches) -> Result<Vec<Vec<Matcher>>, String> {
    let texts = matches.get_many::<String>("match").into_iter().flatten();
    texts.map(|text| selector(text)).collect()
}

fn selector(text: &str) -> Result<Vec<Matcher>, String> {
    parse_selector(text).map_err(|error| format!("--match={text}: {error}"))
}
