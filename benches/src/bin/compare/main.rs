//! Runs Barograph and the peers that are installed under the same scrape load, one at a time or all
//! together, and prints what each took and how the others compare.

mod history;
mod queries;

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use barograph_benches::generator::{Load, Workload};
use barograph_benches::http;
use barograph_benches::measure::{self, Usage};
use barograph_benches::systems::{Programs, Running, System};
use barograph_benches::table::{Table, quantile, short};
use clap::Parser;
use history::Span;
use queries::{Frame, Set, Took};

/// Longest wait for background work to end.
const SETTLE_LIMIT: Duration = Duration::from_mins(5);
/// Longest wait for the first scrape and the first answer after a restart.
const RESTART_LIMIT: Duration = Duration::from_mins(3);
/// How long a load beside the queries runs before they are asked.
const BESIDE_WARMUP: Duration = Duration::from_mins(1);

/// Compares systems.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    programs: Programs,
    #[command(flatten)]
    workload: Workload,
    /// Seconds between scrapes.
    #[arg(long, default_value_t = 5)]
    interval: u64,
    /// Seconds before measuring begins.
    #[arg(long, default_value_t = 30)]
    warmup: u64,
    /// Seconds of measuring.
    #[arg(long, default_value_t = 90)]
    measure: u64,
    /// How often each query is asked.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// How often everything is done; the median counts. Each time another system is the first.
    #[arg(long, default_value_t = 1)]
    runs: usize,
    /// All systems at the same time, each with a load of its own: what else the machine does then
    /// disturbs all of them alike. Queries and restarts still come one system after another.
    #[arg(long)]
    together: bool,
    /// What is asked.
    #[arg(long, value_enum, default_value = "families")]
    queries: Set,
    /// Asks each question once of a process just started whose files are in no cache.
    #[arg(long)]
    cold: bool,
    /// Asks again while so many more targets of 1000 series are scraped every 15 s.
    #[arg(long, default_value_t = 0)]
    beside: usize,
    /// Leaves restarts out.
    #[arg(long)]
    no_restart: bool,
    /// Hours of history, ending now, that remote write brings before anything is scraped; 0 measures
    /// scrapes in real time.
    #[arg(long, default_value_t = 0.0)]
    fill_hours: f64,
    /// Seconds between samples of a series in history.
    #[arg(long, default_value_t = 15)]
    step: u64,
    /// Samples of a series in history that are sent together.
    #[arg(long, default_value_t = 20)]
    steps: usize,
}

impl Arguments {
    fn fills(&self) -> bool {
        self.fill_hours > 0.0
    }

    fn frame(&self, now: u64) -> Frame {
        let (sample, whole) = if self.fills() {
            (self.step, (self.fill_hours * 3600.0) as u64)
        } else {
            (self.interval, self.measure)
        };
        Frame {
            now,
            whole,
            step: sample.max(whole / 1440),
            window: (sample * 20).max(60),
        }
    }

    fn history(&self, until: u64) -> Span {
        Span {
            from_ms: (until - self.frame(until).whole) as i64 * 1000,
            until_ms: until as i64 * 1000,
            step_ms: self.step.max(1) as i64 * 1000,
            together: self.steps,
        }
    }
}

/// What one system took.
#[derive(Clone)]
struct Outcome {
    label: String,
    figures: Vec<(String, Option<f64>)>,
    /// Per table of queries its title, per query a figure.
    queries: Vec<(&'static str, Vec<Option<f64>>)>,
    /// What is on its disk.
    disk: String,
}

/// How a system came back.
#[derive(Clone, Copy, Default)]
struct Restart {
    ready_seconds: Option<f64>,
    scrape_seconds: Option<f64>,
    query_seconds: Option<f64>,
    peak_bytes: u64,
}

/// A system at work, and what is around it.
struct Bench<'a> {
    arguments: &'a Arguments,
    system: &'a System,
    load: Load,
    config: PathBuf,
    data: PathBuf,
}

fn main() -> io::Result<()> {
    let arguments = Arguments::parse();
    let systems = arguments.programs.find();
    let mut outcomes: Vec<Vec<Outcome>> = vec![Vec::new(); systems.len()];
    eprintln!("load average: {}", load_average());
    for run in 0..arguments.runs.max(1) {
        for (index, outcome) in run_all(&arguments, &systems, run)? {
            outcomes[index].push(outcome);
        }
        eprintln!("load average: {}", load_average());
    }
    println!("{}", report(&arguments, &systems, &outcomes));
    Ok(())
}

/// Runs every system once; which is the first depends on `first`.
fn run_all(
    arguments: &Arguments,
    systems: &[System],
    first: usize,
) -> io::Result<Vec<(usize, Outcome)>> {
    let turn = Mutex::new(());
    let order = (0..systems.len()).map(|place| (place + first) % systems.len());
    // Where one fails the others still count.
    let one = |index: usize| {
        let label = &systems[index].label;
        eprintln!("{label} …");
        let mut outcome = Outcome::new(label);
        if let Err(error) = run(arguments, &systems[index], &turn, &mut outcome) {
            eprintln!("{label}: {error}");
        }
        (index, outcome)
    };
    if !arguments.together {
        return Ok(order.map(one).collect());
    }
    std::thread::scope(|scope| {
        let threads: Vec<_> = order.map(|index| scope.spawn(move || one(index))).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, _>| {
            thread
                .join()
                .map_err(|_| io::Error::other("a run panicked"))
        };
        threads.into_iter().map(join).collect()
    })
}

/// Runs a system; what it took so far stands in `outcome` where something fails.
fn run(
    arguments: &Arguments,
    system: &System,
    turn: &Mutex<()>,
    outcome: &mut Outcome,
) -> io::Result<()> {
    let directory = barograph_benches::directory()?;
    let until = unix_seconds();
    let bench = Bench {
        arguments,
        system,
        load: Load::start(&arguments.workload)?,
        config: directory.path().join("prometheus.yml"),
        data: directory.path().join("data"),
    };
    if arguments.fills() {
        std::fs::write(&bench.config, "scrape_configs: []\n")?;
    } else {
        bench.configure(None)?;
    }
    std::fs::create_dir(&bench.data)?;
    let mut running = system.start(&bench.config, &bench.data)?;
    let stored = bench.load_phase(&running, until, outcome)?;
    let now = if arguments.fills() {
        until
    } else {
        unix_seconds()
    };
    let frame = arguments.frame(now);

    let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
    if arguments.cold {
        let mut cold = Vec::new();
        for question in arguments.queries.questions() {
            running.stop()?;
            measure::forget(&bench.data)?;
            running = system.start(&bench.config, &bench.data)?;
            cold.push(question.once(running.address, frame).ok());
        }
        outcome.queries.push(("cold, once", cold));
    }
    let alone = bench.ask(&running, frame);
    outcome.add_queries(["median", "p99", "processor time"], &alone);
    if arguments.beside > 0 {
        let beside = bench.ask_beside(&running, frame)?;
        outcome.add_queries(
            [
                "median, beside a scrape",
                "p99, beside a scrape",
                "processor time, with the scrape's",
            ],
            &beside,
        );
    }
    let stored = (stored + bench.load.served()?).max(1) as f64;
    let per_sample = measure::disk_bytes(&bench.data) as f64 / stored;
    outcome.add("disk per sample at the end, B", Some(per_sample));
    for (name, bytes) in measure::disk_split(&bench.data)? {
        let _ = write!(outcome.disk, " {name} {},", mib(bytes));
    }
    if !arguments.no_restart {
        running.kill();
        let (came, running) = bench.restart(frame)?;
        outcome.add_restart("kill -9", came);
        let begun = Instant::now();
        running.stop()?;
        outcome.add("to stop, s", Some(begun.elapsed().as_secs_f64()));
        let (came, running) = bench.restart(frame)?;
        outcome.add_restart("a clean stop", came);
        running.kill();
    }
    Ok(())
}

impl Outcome {
    fn new(label: &str) -> Self {
        Self {
            label: label.to_owned(),
            figures: Vec::new(),
            queries: Vec::new(),
            disk: String::new(),
        }
    }

    /// Adds a figure, and says it at once: runs are long.
    fn add(&mut self, name: &str, figure: Option<f64>) {
        let text = figure.map_or_else(|| "–".to_owned(), short);
        eprintln!("  {}: {name}: {text}", self.label);
        self.figures.push((name.to_owned(), figure));
    }

    fn figure(&self, name: &str) -> Option<f64> {
        let figure = self.figures.iter().find(|figure| figure.0 == name);
        figure.and_then(|figure| figure.1)
    }

    fn query(&self, title: &str, question: usize) -> Option<f64> {
        let figures = self.queries.iter().find(|queries| queries.0 == title);
        figures.and_then(|queries| *queries.1.get(question)?)
    }

    fn add_restart(&mut self, after: &str, came: Restart) {
        self.add(&format!("ready after {after}, s"), came.ready_seconds);
        self.add(
            &format!("first scrape after {after}, s"),
            came.scrape_seconds,
        );
        self.add(
            &format!("first answer after {after}, s"),
            came.query_seconds,
        );
        let peak = came.peak_bytes as f64 / f64::from(1 << 20);
        self.add(&format!("peak resident after {after}, MiB"), Some(peak));
    }

    fn add_queries(&mut self, titles: [&'static str; 3], took: &[Took]) {
        let figures: [fn(&Took) -> Option<f64>; 3] =
            [|took| took.median, |took| took.p99, |took| took.cpu];
        for (title, figure) in titles.into_iter().zip(figures) {
            let texts = took
                .iter()
                .map(|took| figure(took).map_or_else(|| "–".to_owned(), short));
            let texts = texts.collect::<Vec<_>>().join(", ");
            eprintln!("  {}: queries, {title}, ms: {texts}", self.label);
            self.queries
                .push((title, took.iter().map(figure).collect()));
        }
    }
}

impl Bench<'_> {
    /// Lets the load run, and adds what it took. Returns the samples that were sent as history.
    fn load_phase(&self, running: &Running, until: u64, outcome: &mut Outcome) -> io::Result<u64> {
        let arguments = self.arguments;
        let log = || running.log_bytes(&self.data);
        let (before, mut served, sent, log_before);
        if arguments.fills() {
            (before, served, log_before) = (Usage::default(), 0, log());
            sent = history::send(
                &arguments.workload,
                arguments.history(until),
                running.address,
            )?;
        } else {
            std::thread::sleep(Duration::from_secs(arguments.warmup));
            (before, served, log_before) =
                (measure::usage(running.pid())?, self.load.served()?, log());
            std::thread::sleep(Duration::from_secs(arguments.measure));
            sent = 0;
        }
        let after = measure::usage(running.pid())?;
        served = self.load.served()? - served;
        let samples = (served + sent).max(1) as f64;
        let log = log().zip(log_before).map(|(after, before)| after - before);
        let written = if arguments.fills() {
            settle(running.pid())?;
            measure::usage(running.pid())?.written_bytes
        } else {
            after.written_bytes - before.written_bytes
        };
        let series = (arguments.workload.targets * arguments.workload.series) as f64;
        let series = if arguments.workload.recorded.is_empty() {
            series
        } else {
            let count = "count({job=\"load\"})";
            queries::number(running.address, count, unix_seconds()).unwrap_or(f64::NAN)
        };
        let cpu = (after.cpu_seconds - before.cpu_seconds) * 1e6;
        let resident = (after.anonymous_bytes + after.file_bytes) as f64;
        outcome.add("CPU per sample, µs", Some(cpu / samples));
        outcome.add(
            "anonymous memory per series, B",
            Some(after.anonymous_bytes as f64 / series),
        );
        outcome.add("resident memory per series, B", Some(resident / series));
        outcome.add(
            "peak resident per series, B",
            Some(after.peak_bytes as f64 / series),
        );
        outcome.add("written per sample, B", Some(written as f64 / samples));
        outcome.add(
            "of that to the log, B",
            log.filter(|log| *log > 0.0).map(|log| log / samples),
        );
        if arguments.fills() {
            // From here on it is scraped, as after a restart.
            self.configure(None)?;
            running.reload();
            std::thread::sleep(Duration::from_secs(2 * arguments.interval));
        } else {
            self.add_scrapes(running, outcome);
        }
        Ok(sent)
    }

    /// What the system says of its own scrapes.
    fn add_scrapes(&self, running: &Running, outcome: &mut Outcome) {
        let (span, now) = (self.arguments.measure, unix_seconds());
        let ask = |text: String| queries::number(running.address, &text, now);
        let came = ask(format!("sum(sum_over_time(up{{job=\"load\"}}[{span}s]))"));
        let want = self.arguments.workload.targets as f64 * (span / self.arguments.interval) as f64;
        outcome.add("scrapes missed", came.map(|came| (want - came).max(0.0)));
        let longest = format!(
            "1000 * quantile(0.99, max_over_time(scrape_duration_seconds{{job=\"load\"}}[{span}s]))"
        );
        outcome.add("longest scrape, p99 of targets, ms", ask(longest));
    }

    fn ask(&self, running: &Running, frame: Frame) -> Vec<Took> {
        let questions = self.arguments.queries.questions();
        let ask = |question: &queries::Question| {
            question.measure(running.address, running.pid(), frame, self.arguments.rounds)
        };
        questions.iter().map(ask).collect()
    }

    /// [`Self::ask`] while more targets are scraped.
    fn ask_beside(&self, running: &Running, frame: Frame) -> io::Result<Vec<Took>> {
        let workload = Workload {
            targets: self.arguments.beside,
            series: 1000,
            one_counter: false,
            churn_one_of: 0,
            rollouts: 0,
            recorded: Vec::new(),
            ..self.arguments.workload.clone()
        };
        let beside = Load::start(&workload)?;
        self.configure(Some((&workload, &beside)))?;
        running.reload();
        std::thread::sleep(BESIDE_WARMUP);
        if beside.scrapes()? == 0 {
            return Err(io::Error::other(
                "the load beside the queries is not scraped",
            ));
        }
        let took = self.ask(running, frame);
        self.configure(None)?;
        running.reload();
        Ok(took)
    }

    /// Starts the system on the directory that its predecessor left.
    fn restart(&self, frame: Frame) -> io::Result<(Restart, Running)> {
        let scrapes = self.load.scrapes()?;
        let begun = Instant::now();
        let mut came = Restart::default();
        let mut running = self.system.spawn(&self.config, &self.data)?;
        let path = &self.arguments.queries.probe().paths(frame)[0];
        let elapsed = || Some(begun.elapsed().as_secs_f64());
        while begun.elapsed() < RESTART_LIMIT {
            if came.ready_seconds.is_none() && running.is_ready()? {
                came.ready_seconds = elapsed();
            }
            if came.scrape_seconds.is_none() && self.load.scrapes()? > scrapes {
                came.scrape_seconds = elapsed();
            }
            if came.query_seconds.is_none()
                && let Ok(answer) = http::get(running.address, path, Duration::from_secs(10))
                && queries::results(&answer) > 0
            {
                came.query_seconds = elapsed();
            }
            if came.scrape_seconds.is_some() && came.query_seconds.is_some() {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        came.peak_bytes = measure::usage(running.pid())?.peak_bytes;
        Ok((came, running))
    }

    /// Writes the configuration: the load, and what is scraped beside the queries.
    fn configure(&self, beside: Option<(&Workload, &Load)>) -> io::Result<()> {
        let mut text = format!(
            "global:\n  scrape_interval: {0}s\n  scrape_timeout: {0}s\nscrape_configs:\n",
            self.arguments.interval
        );
        let jobs = [Some(("load", &self.arguments.workload, &self.load))];
        let beside = beside.map(|(workload, load)| ("beside", workload, load));
        for (job, workload, load) in jobs.into_iter().chain([beside]).flatten() {
            let interval = if job == "load" {
                self.arguments.interval
            } else {
                15
            };
            let _ = write!(
                text,
                "  - job_name: {job}\n    scrape_interval: {interval}s\n    scrape_timeout: {interval}s\n    static_configs:\n",
            );
            for target in 0..workload.targets {
                let _ = write!(
                    text,
                    "      - targets: ['{}']\n        labels: {{__metrics_path__: /t/{target}/metrics",
                    load.address
                );
                for (name, value) in history::target_labels(target) {
                    let _ = write!(text, ", {name}: '{value}'");
                }
                text.push_str("}\n");
            }
        }
        std::fs::write(&self.config, text)
    }
}

/// Waits until a process does next to nothing any more.
fn settle(pid: u32) -> io::Result<()> {
    let begun = Instant::now();
    let window = Duration::from_secs(5);
    while begun.elapsed() < SETTLE_LIMIT {
        let before = measure::usage(pid)?.cpu_seconds;
        std::thread::sleep(window);
        if measure::usage(pid)?.cpu_seconds - before < window.as_secs_f64() * 0.05 {
            break;
        }
    }
    Ok(())
}

fn unix_seconds() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |elapsed| elapsed.as_secs())
}

fn load_average() -> String {
    let text = std::fs::read_to_string(Path::new("/proc/loadavg")).unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", short(bytes as f64 / f64::from(1 << 20)))
}

/// What was done, in a sentence.
fn describe(arguments: &Arguments) -> String {
    let workload = &arguments.workload;
    let mut text = if workload.recorded.is_empty() {
        format!("{} targets × {} series", workload.targets, workload.series)
    } else {
        format!("{} targets that repeat recordings", workload.targets)
    };
    if workload.gzip {
        text.push_str(", compressed");
    }
    let _ = if arguments.fills() {
        write!(
            text,
            ", {} h of history at {} s, {} samples per series and scrape, a scrape every {} s",
            arguments.fill_hours, arguments.step, arguments.steps, arguments.interval
        )
    } else {
        write!(
            text,
            ", every {} s; {} s of warm-up, {} s measured",
            arguments.interval, arguments.warmup, arguments.measure
        )
    };
    if workload.churn_one_of > 0 {
        let _ = write!(
            text,
            "; 1 series of {} replaced every {} scrapes",
            workload.churn_one_of, workload.churn_scrapes
        );
    }
    if workload.rollouts > 0 {
        let _ = write!(
            text,
            "; after {} scrapes {} rollouts in {}",
            workload.rollout_after, workload.rollouts, workload.rollout_scrapes
        );
    }
    let _ = write!(
        text,
        "; {}; window {} s, {} rounds of queries, {} runs",
        if arguments.together {
            "all at a time"
        } else {
            "one at a time"
        },
        arguments.frame(0).window,
        arguments.rounds,
        arguments.runs
    );
    text
}

fn report(arguments: &Arguments, systems: &[System], outcomes: &[Vec<Outcome>]) -> String {
    let labels = || systems.iter().map(|system| system.label.as_str());
    let mut text = describe(arguments) + "\n\n";
    // Where a system failed, others have more to say.
    let all = || outcomes.iter().flatten();
    let figures = all().max_by_key(|outcome| outcome.figures.len());
    let queries = all().max_by_key(|outcome| outcome.queries.len());
    let (Some(figures), Some(queries)) = (figures, queries) else {
        return text;
    };
    // A figure of every system: the median of its runs.
    let across = |figure: &dyn Fn(&Outcome) -> Option<f64>| -> Vec<Option<f64>> {
        let median = |runs: &Vec<Outcome>| {
            let values: Vec<f64> = runs.iter().filter_map(figure).collect();
            quantile(&values, 0.5)
        };
        outcomes.iter().map(median).collect()
    };
    let mut table = Table::new(labels());
    for (name, _) in &figures.figures {
        table.row(name, across(&|outcome| outcome.figure(name)));
    }
    text.push_str(table.text());
    for (title, _) in &queries.queries {
        let _ = write!(text, "\nQueries, {title}, ms\n\n");
        let mut table = Table::new(labels());
        for (index, question) in arguments.queries.questions().iter().enumerate() {
            let figures = across(&|outcome| outcome.query(title, index));
            table.row(question.name, figures);
        }
        text.push_str(table.text());
    }
    text.push_str("\nDisk at the end of the last run:\n");
    for (label, runs) in labels().zip(outcomes) {
        let disk = runs.last().map_or("", |outcome| &outcome.disk);
        let _ = writeln!(text, "- {label}:{}", disk.trim_end_matches(','));
    }
    text
}
