//! The command lines of `barograph tsdb`, with promtool's options.

use std::path::PathBuf;

use barograph_model::{Clock, Matcher, SystemClock, TimeRange};
use barograph_query::parse_selector;
use clap::{Arg, ArgAction, ArgMatches, Command};

use super::Invocation;
use crate::tools::{Backfill, Storage, Target};

/// Where the data is when nobody says.
const DEFAULT_PATH: &str = "data/";

/// `tsdb list`, `analyze`, `dump`, `dump-openmetrics`, `verify`, `export` and
/// `create-blocks-from`.
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
        .about("Reads every block, log and checkpoint whole, for their checksums")
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
    let create = Command::new("create-blocks-from")
        .about("Writes blocks from other formats, or of what rules yield")
        .subcommand_required(true)
        .subcommand(open_metrics(human(), path()))
        .subcommand(rules(human()));
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

/// What both ways to create blocks know.
fn creating(command: Command, human: Arg) -> Command {
    command
        .arg(human)
        .arg(
            Arg::new("quiet")
                .short('q')
                .long("quiet")
                .help("Do not list the blocks")
                .action(ArgAction::SetTrue),
        )
        .arg(
            Arg::new("format")
                .long("format")
                .value_parser(["barograph", "prometheus"])
                .default_value("barograph")
                .help(
                    "Whose blocks: ours, into a data directory without a server, or Prometheus's",
                ),
        )
}

fn open_metrics(human: Arg, path: Arg) -> Command {
    creating(Command::new("openmetrics"), human)
        .about("Writes the samples of an OpenMetrics text as blocks")
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
                .help("Longest span of a block of Prometheus")
                .hide(true),
        )
        .arg(
            Arg::new("input")
                .required(true)
                .value_name("FILE")
                .help("The text; times in seconds behind each sample"),
        )
        .arg(path)
}

fn rules(human: Arg) -> Command {
    let option = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    let create = creating(Command::new("rules"), human);
    create
        .about("Evaluates recording rules over past time and writes what they yield as blocks")
        .arg(
            option("url", "URL", "The server that has the data")
                .default_value("http://localhost:9090"),
        )
        .arg(
            option(
                "header",
                "NAME: VALUE",
                "A header for requests to it; may be repeated",
            )
            .action(ArgAction::Append),
        )
        .arg(
            option(
                "start",
                "TIME",
                "From this time on: seconds since 1970 or RFC 3339",
            )
            .required(true),
        )
        .arg(option(
            "end",
            "TIME",
            "Up to this time; 3 hours ago without it",
        ))
        .arg(option("output-dir", "DIRECTORY", "Where the blocks go").default_value(DEFAULT_PATH))
        .arg(
            option(
                "eval-interval",
                "DURATION",
                "Between two evaluations, for groups that do not say",
            )
            .default_value("60s"),
        )
        .arg(
            Arg::new("files")
                .required(true)
                .value_name("RULE-FILE")
                .help("Files with recording rules; alerting rules are left out")
                .action(ArgAction::Append)
                .num_args(1..),
        )
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
    let Some((from, matches)) = matches.subcommand() else {
        return Err("create-blocks-from: from what? openmetrics or rules".to_owned());
    };
    let target = |path: &str, longest_ms: i64| Target {
        path: text(matches, path).unwrap_or_default().into(),
        prometheus: text(matches, "format").as_deref() == Some("prometheus"),
        longest_ms,
    };
    let (human, quiet) = (
        matches.get_flag("human-readable"),
        matches.get_flag("quiet"),
    );
    if from == "rules" {
        return Ok(Storage::CreateFromRules {
            asked: backfill(matches)?,
            target: target("output-dir", 0),
            human,
            quiet,
        });
    }
    let mut labels = Vec::new();
    for label in matches.get_many::<String>("label").into_iter().flatten() {
        let (name, value) = label
            .split_once('=')
            .ok_or_else(|| format!("--label={label}: want NAME=VALUE"))?;
        labels.push((name.to_owned(), value.to_owned()));
    }
    let longest_ms = duration(matches, "max-block-duration")?;
    Ok(Storage::CreateFromOpenMetrics {
        input: text(matches, "input").unwrap_or_default().into(),
        target: target("path", longest_ms.unwrap_or_default()),
        labels,
        human,
        quiet,
    })
}

/// Where nobody says: Prometheus keeps so much in its head, whose blocks come later.
const END_BEFORE_NOW_MS: i64 = 3 * 3_600_000;

fn backfill(matches: &ArgMatches) -> Result<Backfill, String> {
    let time = |name: &str| {
        let read = |text: String| {
            crate::tools::parse_time_ms(&text).ok_or_else(|| {
                format!(
                    "--{name}={text}: no time: write seconds since 1970 or 2006-01-02T15:04:05Z"
                )
            })
        };
        text(matches, name).map(read).transpose()
    };
    let texts = |name: &str| matches.get_many::<String>(name).into_iter().flatten();
    let url = text(matches, "url").unwrap_or_default();
    Ok(Backfill {
        files: texts("files").map(PathBuf::from).collect(),
        url: url.trim_end_matches('/').to_owned(),
        headers: texts("header").cloned().collect(),
        start_ms: time("start")?.unwrap_or_default(),
        end_ms: time("end")?.unwrap_or_else(|| SystemClock.now_ms() - END_BEFORE_NOW_MS),
        interval_ms: duration(matches, "eval-interval")?.unwrap_or_default(),
    })
}

fn duration(matches: &ArgMatches, id: &str) -> Result<Option<i64>, String> {
    let read = |text: String| {
        barograph_model::duration::parse_duration_ms(&text)
            .map_err(|error| format!("--{id}={text}: {error}"))
    };
    text(matches, id).map(read).transpose()
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
