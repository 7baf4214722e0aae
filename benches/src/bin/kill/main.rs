//! Kills a writing process again and again, whatever it is doing: scrapes, pushed rows in parts, late
//! samples, histograms, exemplars, deletions, cutting, merging, snapshots. What it acknowledged must
//! be there afterwards, with its values, what it deleted must stay away, of what was under way there
//! may be a part, and nothing must be called damage.

mod expected;
mod script;

use std::error::Error;
use std::io::{BufRead, BufReader, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use barograph_benches::measure;
use barograph_benches::simulated::Noise;
use barograph_instrument::Registry;
use barograph_tsdb::{BlockAccess, Db, Options, WalSync};
use clap::Parser;
use expected::Expected;
use script::{Actor, STEPS_PER_ROW, Step};

/// Kills a writer and looks at what is left.
#[derive(Parser)]
struct Arguments {
    /// How often.
    #[arg(long, default_value_t = 1000)]
    rounds: u64,
    /// Stops after so many minutes.
    #[arg(long, default_value_t = 30)]
    minutes: u64,
    /// Changes when the process is killed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// What the writing process gets: its directory.
    #[arg(long, hide = true)]
    write: Option<PathBuf>,
    /// And the step it begins with.
    #[arg(long, hide = true, default_value_t = 0)]
    from: u64,
    /// Reads at offsets rather than through maps.
    #[arg(long, hide = true)]
    pread: bool,
}

/// A new directory after so many rounds: reading everything must not take ever longer.
const ROUNDS_PER_DIRECTORY: u64 = 30;
/// One in so many rounds is followed by the next without a look.
const UNSEEN_ONE_IN: u64 = 4;
const DAMAGE: [&str; 5] = [
    "prometheus_tsdb_wal_corruptions_total",
    "prometheus_tsdb_mmap_chunk_corruptions_total",
    "barograph_tsdb_wal_rows_lost_total",
    "barograph_tsdb_head_rows_missing",
    "barograph_tsdb_blocks_unreadable",
];

fn open(path: &Path, pread: bool, registry: &Registry) -> Result<Db, Box<dyn Error>> {
    let options = Options {
        wal_segment_bytes: 1 << 17,
        wal_sync: WalSync::Interval(Duration::from_millis(20)),
        maintenance_interval: Duration::from_millis(2),
        checkpoint_interval: Duration::from_millis(15),
        block_span_ms: 600_000,
        retention_ms: 0,
        retire_series: 2,
        out_of_order_spill_interval: Duration::from_millis(25),
        block_access: if pread {
            BlockAccess::Pread
        } else {
            BlockAccess::Mmap
        },
        ..Options::new(path)
    };
    Ok(Db::open(options, registry)?)
}

fn write(path: &Path, from: u64, pread: bool) -> Result<(), Box<dyn Error>> {
    let db = open(path, pread, &Registry::new())?;
    let actor = Actor::new(&db, path);
    let mut out = std::io::stdout().lock();
    for number in from.. {
        actor
            .act(number, number == from)
            .map_err(|error| format!("step {number}: {error}"))?;
        writeln!(out, "{number}")?;
    }
    Ok(())
}

/// What all rounds did.
#[derive(Default)]
struct Tally {
    kills: u64,
    looks: u64,
    steps: u64,
    samples: u64,
    deletions: u64,
    snapshots: u64,
    /// Steps that were under way and had been done, those that had not, and those in parts.
    under_way: [u64; 3],
    torn_ends: f64,
    blocks: usize,
}

/// A directory and what must be in it.
struct World {
    directory: tempfile::TempDir,
    pread: bool,
    expected: Expected,
    /// The first step that was not acknowledged.
    next: u64,
}

impl World {
    fn new(pread: bool) -> Result<Self, Box<dyn Error>> {
        Ok(Self {
            directory: tempfile::tempdir()?,
            pread,
            expected: Expected::default(),
            next: 0,
        })
    }

    /// Lets a process write for a while and kills it.
    fn life(&mut self, life: Duration, tally: &mut Tally) -> Result<(), Box<dyn Error>> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("--write").arg(self.directory.path());
        command.args(["--from", &self.next.to_string()]);
        if self.pread {
            command.arg("--pread");
        }
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take().ok_or("no pipe")?;
        // Reads all along, so that the writer is never held up by a full pipe.
        let reader = std::thread::spawn(move || {
            let lines = BufReader::new(output).lines().map_while(Result::ok);
            lines.filter_map(|line| line.parse::<u64>().ok()).last()
        });
        std::thread::sleep(life);
        child.kill()?;
        let status = child.wait()?;
        if status.signal() != Some(9) {
            return Err(format!("the writer ended by itself: {status}").into());
        }
        let Some(last) = reader.join().map_err(|_| "the reader panicked")? else {
            return Ok(());
        };
        let mut snapshot = None;
        for number in self.next..=last {
            let step = script::step(number);
            self.expected.apply(&step);
            tally.steps += 1;
            match step {
                Step::Append { samples, .. } => tally.samples += samples.len() as u64,
                Step::Delete { .. } => tally.deletions += 1,
                Step::Snapshot => snapshot = Some((number, self.expected.clone())),
                _ => {}
            }
        }
        self.next = last + 1;
        if let Some((number, expected)) = snapshot {
            let below = script::snapshot_path(self.directory.path(), number);
            let db = open(&below, self.pread, &Registry::new())?;
            let found = Expected::found(&db)?;
            if found != expected {
                return Err(format!("snapshot {number}:{}", expected.difference(&found)).into());
            }
            tally.snapshots += 1;
        }
        Ok(())
    }

    /// Compares everything.
    fn look(&self, tally: &mut Tally) -> Result<(), Box<dyn Error>> {
        let snapshots = script::snapshot_path(self.directory.path(), 0);
        if let Some(below) = snapshots.parent().filter(|below| below.exists()) {
            std::fs::remove_dir_all(below)?;
        }
        let registry = Registry::new();
        let db = open(self.directory.path(), self.pread, &registry)?;
        let found = Expected::found(&db)?;
        let step = script::step(self.next);
        let mut after = self.expected.clone();
        after.apply(&step);
        // A batch has a record for the series of each writer before this one, and one for exemplars.
        let may_be_in_parts = matches!(step, Step::Append { .. });
        if found == after {
            tally.under_way[0] += u64::from(after != self.expected);
        } else if found == self.expected {
            tally.under_way[1] += 1;
        } else if may_be_in_parts && found.is_between(&self.expected, &after) {
            tally.under_way[2] += 1;
        } else {
            let difference = self.expected.difference(&found);
            return Err(format!("under way was {step:?}; found:{difference}").into());
        }
        let metric = |name| measure::metric(&registry, name);
        for name in DAMAGE {
            if metric(name) != Some(0.0) {
                return Err(format!("{name} is {:?}", metric(name)).into());
            }
        }
        tally.torn_ends += metric("barograph_tsdb_wal_torn_ends_total").unwrap_or_default();
        tally.blocks = tally.blocks.max(db.blocks().len());
        tally.looks += 1;
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    if let Some(path) = &arguments.write {
        return write(path, arguments.from, arguments.pread);
    }
    println!("seed {}", arguments.seed);
    let began = Instant::now();
    let mut random = Noise(arguments.seed | 1);
    let mut world = World::new(false)?;
    let (mut tally, mut rows, mut held) = (Tally::default(), 0, 0);
    for round in 0..arguments.rounds {
        if began.elapsed() > Duration::from_secs(arguments.minutes * 60) {
            println!("out of time");
            break;
        }
        if round > 0 && round % ROUNDS_PER_DIRECTORY == 0 {
            rows += world.next / STEPS_PER_ROW;
            held = world.expected.samples().max(held);
            world = World::new(!world.pread)?;
        }
        let life = Duration::from_micros(3_000 + random.below(150_000));
        let is_last = round % ROUNDS_PER_DIRECTORY == ROUNDS_PER_DIRECTORY - 1;
        let lived = world.life(life, &mut tally).and_then(|()| {
            if is_last || random.below(UNSEEN_ONE_IN) > 0 {
                world.look(&mut tally)?;
            }
            Ok(())
        });
        if let Err(error) = lived {
            let kept = world.directory.keep();
            return Err(format!("round {round}: {error}; kept in {}", kept.display()).into());
        }
        tally.kills += 1;
    }
    rows += world.next / STEPS_PER_ROW;
    held = world.expected.samples().max(held);
    let [done, undone, partly] = tally.under_way;
    println!(
        "{} kills, {} looks; acknowledged and found: {} steps, {rows} rows, {} samples (at most {held} \
         held, {} blocks), {} deletions, {} snapshots; under way: {done} done, {undone} not, {partly} in parts; {} \
         unfinished records at the log's end; {:.0?}",
        tally.kills,
        tally.looks,
        tally.steps,
        tally.samples,
        tally.blocks,
        tally.deletions,
        tally.snapshots,
        tally.torn_ends,
        began.elapsed()
    );
    Ok(())
}
