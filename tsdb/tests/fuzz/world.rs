//! What is done with a store whose files were changed, and what must hold.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::LazyLock;

use barograph_model::{Labels, MatchOp, Matcher, TimeRange};
use barograph_tsdb::{Batch, Column, Db, Offline, Parts};

use crate::mutate::Random;
use crate::seeds::{self, Files, NOW_MS, STEP_MS};

/// What a range of a store answers: series, instants, bits.
pub(crate) type Answers = BTreeMap<String, Vec<(i64, String)>>;

/// Everything in a range, or the error.
pub(crate) fn answers(db: &Db, range: TimeRange) -> Result<Answers, String> {
    let selection = db.snapshot().select(&[], range);
    let selection = selection.map_err(|error| error.to_string())?;
    let (mut answers, mut column) = (Answers::new(), Column::default());
    let mut failure = None;
    for index in 0..selection.len() {
        if let Err(error) = selection.read(index, range, &mut column) {
            failure = Some(error.to_string());
            continue;
        }
        assert_eq!(column.timestamps_ms.len(), column.values.len());
        let histograms = &column.histograms;
        assert_eq!(histograms.timestamps_ms.len(), histograms.values.len());
        let floats = column.timestamps_ms.iter().zip(&column.values);
        let mut samples: Vec<_> = floats
            .map(|(t, v)| (*t, format!("{:016x}", v.to_bits())))
            .collect();
        let times = histograms.timestamps_ms.iter();
        samples.extend(
            times
                .zip(&histograms.values)
                .map(|(t, h)| (*t, format!("{h:?}"))),
        );
        if !samples.is_empty() {
            samples.sort();
            answers.insert(selection.labels(index).to_string(), samples);
        }
    }
    failure.map_or(Ok(answers), Err)
}

/// What must hold beside "no panic, no hang, no flood of memory".
pub(crate) struct Promise<'a> {
    /// The file that was changed.
    pub(crate) changed: &'a Path,
    /// A range that only other files hold, and what it answers.
    pub(crate) neighbour: Option<(TimeRange, &'a Answers)>,
    /// Whether the changed file may say more of that range, but not take away from it.
    pub(crate) may_add: bool,
}

/// Opens a directory and uses it in every way there is.
pub(crate) fn live(path: &Path, promise: &Promise<'_>, random: &mut Random) {
    if random.one_in(8) {
        look_into(path);
    }
    let db = match seeds::open(path, NOW_MS) {
        Ok(db) => db,
        Err(error) => {
            let name = promise.changed.file_name().expect("a name");
            let (text, name) = (error.to_string(), name.to_string_lossy());
            let parent = promise.changed.parent().and_then(Path::file_name);
            let parent = parent.unwrap_or_default().to_string_lossy();
            assert!(
                text.contains(&*name) || !parent.is_empty() && text.contains(&*parent),
                "the error does not name the file: {text}"
            );
            return;
        }
    };
    check_neighbour(&db, promise);
    read_everything(&db, promise, random);
    if random.one_in(3) {
        write(&db, random);
        check_neighbour(&db, promise);
        if random.one_in(2) {
            db.close().ok();
        }
        drop(db);
        if let Ok(db) = seeds::open(path, NOW_MS + 40 * STEP_MS) {
            check_neighbour(&db, promise);
            read_everything(&db, promise, random);
        }
    }
}

fn check_neighbour(db: &Db, promise: &Promise<'_>) {
    let Some((range, want)) = &promise.neighbour else {
        return;
    };
    let have = answers(db, *range).expect("the other files are whole");
    for (series, samples) in *want {
        let have = have.get(series).map(Vec::as_slice).unwrap_or_default();
        if promise.may_add {
            let times: Vec<i64> = have.iter().map(|(t, _)| *t).collect();
            for (t, _) in samples {
                assert!(times.binary_search(t).is_ok(), "{series} lost {t}");
            }
        } else {
            assert_eq!(have, samples, "{series}");
        }
    }
    assert!(promise.may_add || have.len() == want.len(), "more series");
}

/// What is asked in every round; compiled once, since that took a third of a round's time.
static SETS: LazyLock<[Vec<Matcher>; 6]> = LazyLock::new(|| {
    let some = |op, name, value| vec![Matcher::new(name, op, value).expect("valid")];
    [
        some(MatchOp::Equal, "__name__", "metric_1"),
        some(MatchOp::Regex, "id", "[1-4]|x.*"),
        some(MatchOp::NotRegex, "__name__", "metric_.*"),
        some(MatchOp::NotEqual, "id", ""),
        some(MatchOp::Equal, "absent", ""),
        Vec::new(),
    ]
});

fn read_everything(db: &Db, promise: &Promise<'_>, random: &mut Random) {
    let all = TimeRange::ALL;
    if let Err(error) = answers(db, all) {
        let file = promise.changed.to_string_lossy();
        let directory = promise.changed.parent().unwrap_or(Path::new(""));
        assert!(
            error.contains(&*file)
                || error.contains(&*directory.to_string_lossy())
                // What a log says is in memory, where no checksum told that it is wrong.
                || promise.may_add && error.contains("head (track"),
            "{file} was changed, but: {error}"
        );
    }
    let snapshot = db.snapshot();
    let range = TimeRange {
        start_ms: seeds::START_MS + random.below(2_000_000) as i64,
        end_ms: seeds::START_MS + random.below(3_000_000) as i64,
    };
    let mut column = Column::default();
    for matchers in &*SETS {
        snapshot.label_names(matchers, all).ok();
        for name in ["__name__", "id", "none"] {
            snapshot.label_values(name, matchers, all).ok();
        }
        if let Ok(selection) = snapshot.select(matchers, range) {
            for index in 0..selection.len() {
                if selection.read(index, range, &mut column).is_ok() {
                    let inside = |t: &i64| (range.start_ms..=range.end_ms).contains(t);
                    assert!(column.timestamps_ms.iter().all(inside), "outside the range");
                    assert!(column.timestamps_ms.is_sorted_by(|a, b| a < b), "in order");
                }
                selection.read_histograms(index, range).ok();
            }
        }
    }
    snapshot.exemplars(&*SETS, all);
    db.metadata();
    db.stats(10);
    db.blocks();
    db.past_generation(all);
}

/// Goes on with the store.
fn write(db: &Db, random: &mut Random) {
    let group = db.open_group();
    let mut batch = Batch::new(group);
    for row in 0..40 {
        let time = NOW_MS + row * STEP_MS;
        batch.clear();
        for id in 0..6 {
            let labels = Labels::from_pairs([
                ("__name__", format!("metric_{}", id % 3)),
                ("id", id.to_string()),
                ("instance", "a:1".to_owned()),
            ]);
            if let Ok(series) = db.register(group, &labels) {
                batch.push(series, time - i64::from(row % 9 == 7) * 50_000, row as f64);
            }
        }
        if let Ok(series) = db.register(group, &Labels::from_pairs([("__name__", "histogram")])) {
            let sample = seeds::histogram(row);
            batch.push_histogram(series, time, &sample).expect("valid");
        }
        db.append(&batch).ok();
        if random.one_in(15) {
            db.maintain();
        }
    }
    if random.one_in(3) {
        let id = [Matcher::equal("id", "3")];
        let range = TimeRange {
            start_ms: NOW_MS - 500_000,
            end_ms: NOW_MS,
        };
        // In the range of no neighbour.
        db.delete_series(&id, range).ok();
    }
    db.maintain();
    db.compact();
    if random.one_in(4) {
        db.clean_tombstones().ok();
    }
    if random.one_in(6) {
        let copy = tempfile::tempdir().expect("a temporary directory");
        db.write_snapshot(&copy.path().join("copy"), random.one_in(2))
            .ok();
        let export = db.snapshot();
        export
            .export_prometheus(&copy.path().join("export"), &[], narrow(), |_, _| {})
            .ok();
    }
}

/// Some hours: a changed file may speak of the end of time.
fn narrow() -> TimeRange {
    TimeRange {
        start_ms: NOW_MS - 7_200_000,
        end_ms: NOW_MS,
    }
}

/// As the tools do, which change nothing.
fn look_into(path: &Path) {
    let temporary = tempfile::tempdir().expect("a temporary directory");
    for parts in [Parts::Blocks, Parts::Everything] {
        let Ok(offline) = Offline::open(path, parts, temporary.path()) else {
            continue;
        };
        for number in 0..offline.blocks().len() {
            offline.verify(number).ok();
            if let Some(block) = offline.block(number) {
                block.label_names(&[], TimeRange::ALL).ok();
            }
        }
        for block in offline.blocks() {
            barograph_tsdb::inspect_block(&block.path).ok();
        }
    }
}

/// Writes files to a directory.
pub(crate) fn put(path: &Path, files: &Files) {
    for (name, bytes) in files {
        let path = path.join(name);
        std::fs::create_dir_all(path.parent().expect("below the root")).expect("makes");
        std::fs::write(path, bytes).expect("writes");
    }
}
