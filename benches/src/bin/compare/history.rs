//! History that remote write brings before anything is scraped: oldest first, all series in step, as
//! a sender would that was cut off for long.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Barrier;

use barograph_benches::generator::Workload;
use barograph_benches::remote_write::{Connection, Request, labels_of};
use barograph_benches::workload::{Source, is_sample};

/// Senders at a time.
const SENDERS: usize = 2;
/// A request is sent when it has so many samples.
const REQUEST_SAMPLES: usize = 10_000;

/// What instants there are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) from_ms: i64,
    pub(crate) until_ms: i64,
    pub(crate) step_ms: i64,
    /// Samples of a series that go together.
    pub(crate) together: usize,
}

/// Sends the history of a workload's targets; returns how many samples that were.
pub(crate) fn send(workload: &Workload, span: Span, address: SocketAddr) -> io::Result<u64> {
    let mut shares: Vec<Vec<(usize, Source)>> = (0..SENDERS).map(|_| Vec::new()).collect();
    for (target, source) in workload.sources(1)?.into_iter().enumerate() {
        shares[target % SENDERS].push((target, source));
    }
    // None gets ahead of the others by more than what goes together.
    let barrier = Barrier::new(SENDERS);
    std::thread::scope(|scope| {
        let send = |mut share: Vec<(usize, Source)>| {
            let barrier = &barrier;
            scope.spawn(move || send_share(&mut share, span, address, barrier))
        };
        let senders: Vec<_> = shares.into_iter().map(send).collect();
        let mut samples = 0;
        for sender in senders {
            let sent = sender.join();
            samples += sent.map_err(|_| io::Error::other("a sender panicked"))??;
        }
        Ok(samples)
    })
}

/// The labels that targets get beside those of their pages, but for the job.
pub(crate) fn target_labels(target: usize) -> [(&'static str, String); 3] {
    let service = target % 50;
    [
        (
            "instance",
            format!("service-{service}-7d9c6b8f5d-x{target:05}"),
        ),
        ("namespace", format!("namespace-{}", target % 20)),
        ("cluster", "prod-eu-west-1".to_owned()),
    ]
}

fn send_share(
    share: &mut [(usize, Source)],
    span: Span,
    address: SocketAddr,
    barrier: &Barrier,
) -> io::Result<u64> {
    let mut connection = Connection::open(address, 1);
    let mut request = Request::new(1);
    let (mut failed, mut sent) = (None, 0);
    let instants: Vec<i64> = (span.from_ms..span.until_ms)
        .step_by(span.step_ms as usize)
        .collect();
    for instants in instants.chunks(span.together.max(1)) {
        barrier.wait();
        // One that failed goes on waiting for the others, who would wait for it for ever.
        let (Ok(connection), None) = (&mut connection, &failed) else {
            continue;
        };
        for (target, source) in &mut *share {
            let late_ms = *target as i64 * 7919 % span.step_ms;
            let times = instants.iter().map(|at_ms| at_ms + late_ms);
            match send_target(connection, &mut request, *target, source, times) {
                Ok(samples) => sent += samples,
                Err(error) => failed = Some(error),
            }
        }
        if request.samples > 0
            && let Err(error) = connection.post(request.finish())
        {
            failed = Some(error);
        }
    }
    connection?;
    failed.map_or(Ok(sent), Err)
}

/// Sends a target's samples of some instants, series by series.
fn send_target(
    connection: &mut Connection,
    request: &mut Request,
    target: usize,
    source: &mut Source,
    times: impl Iterator<Item = i64>,
) -> io::Result<u64> {
    let mut page = String::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut series: Vec<(String, Vec<(i64, f64)>)> = Vec::new();
    for at_ms in times {
        source.render(&mut page);
        for line in page.lines().filter(|line| is_sample(line)) {
            let Some((name, value)) = line.rsplit_once(' ') else {
                continue;
            };
            let value = value.parse().unwrap_or(f64::NAN);
            let place = places.get(name).copied().unwrap_or_else(|| {
                places.insert(name.to_owned(), series.len());
                series.push((name.to_owned(), Vec::new()));
                series.len() - 1
            });
            series[place].1.push((at_ms, value));
        }
    }
    let more = target_labels(target);
    let mut sent = 0;
    for (name, samples) in &series {
        let own = labels_of(name);
        let own = own.iter().map(|(name, value)| (&**name, &**value));
        let more = more.iter().map(|(name, value)| (*name, &**value));
        let mut labels: Vec<_> = own.chain(more).chain([("job", "load")]).collect();
        request.add(&mut labels, samples);
        sent += samples.len() as u64;
        if request.samples >= REQUEST_SAMPLES {
            connection.post(request.finish())?;
        }
    }
    Ok(sent)
}
