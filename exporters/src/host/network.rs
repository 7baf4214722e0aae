//! Network devices: what they carried, and how the kernel coped.

use barograph_instrument::{Encoder, MetricKind};

use super::State;
use super::files::CollectError;
use super::whole;

/// The columns of `/proc/net/dev`, eight received and eight transmitted, in the kernel's order.
const COLUMNS: [&str; 16] = [
    "receive_bytes",
    "receive_packets",
    "receive_errs",
    "receive_drop",
    "receive_fifo",
    "receive_frame",
    "receive_compressed",
    "receive_multicast",
    "transmit_bytes",
    "transmit_packets",
    "transmit_errs",
    "transmit_drop",
    "transmit_fifo",
    "transmit_colls",
    "transmit_carrier",
    "transmit_compressed",
];

pub(super) fn netdev(state: &mut State, page: &mut Encoder<'_>) -> Result<(), CollectError> {
    let file = "net/dev";
    let text = state.proc.read(file, &mut state.text)?;
    let mut devices = Vec::new();
    for line in text.lines().skip(2) {
        let parsed = line.rsplit_once(':').and_then(|(device, rest)| {
            let mut values = [0; COLUMNS.len()];
            let mut fields = rest.split_ascii_whitespace();
            for value in &mut values {
                *value = whole(fields.next()?)?;
            }
            Some((device.trim(), values))
        });
        let Some(parsed) = parsed else {
            return Err(state.proc.malformed(file, format!("a line {line:?}")));
        };
        devices.push(parsed);
    }
    let (name, help) = (&mut state.path, &mut String::new());
    let mut begin = |name: &mut String, column: &str, page: &mut Encoder<'_>| {
        name.clear();
        name.extend(["node_network_", column, "_total"]);
        help.clear();
        help.extend(["Network device statistic ", column, "."]);
        page.family(name, MetricKind::Counter, help);
    };
    for (index, column) in COLUMNS.into_iter().enumerate() {
        begin(name, column, page);
        for (device, values) in &devices {
            page.sample(name, [("device", device)], values[index] as f64);
        }
    }
    // The file has no column for packets of a protocol nobody listens to; sysfs has.
    let mut begun = false;
    for (device, _) in &devices {
        let file = format!("class/net/{device}/statistics/rx_nohandler");
        let Some(value) = state.sys.attribute(&file, &mut state.more).and_then(whole) else {
            continue;
        };
        if !std::mem::replace(&mut begun, true) {
            begin(name, "receive_nohandler", page);
        }
        page.sample(name, [("device", device)], value as f64);
    }
    Ok(())
}

/// Column of `/proc/net/softnet_stat`, metric, kind, meaning.
const SOFTNET: [(usize, &str, MetricKind, &str); 7] = [
    (
        11,
        "node_softnet_backlog_len",
        MetricKind::Gauge,
        "Softnet backlog status",
    ),
    (
        8,
        "node_softnet_cpu_collision_total",
        MetricKind::Counter,
        "Number of collision occur while obtaining device lock while transmitting",
    ),
    (
        1,
        "node_softnet_dropped_total",
        MetricKind::Counter,
        "Number of dropped packets",
    ),
    (
        10,
        "node_softnet_flow_limit_count_total",
        MetricKind::Counter,
        "Number of times flow limit has been reached",
    ),
    (
        0,
        "node_softnet_processed_total",
        MetricKind::Counter,
        "Number of processed packets",
    ),
    (
        9,
        "node_softnet_received_rps_total",
        MetricKind::Counter,
        "Number of times cpu woken up received_rps",
    ),
    (
        2,
        "node_softnet_times_squeezed_total",
        MetricKind::Counter,
        "Number of times processing packets ran out of quota",
    ),
];

pub(super) fn softnet(state: &mut State, page: &mut Encoder<'_>) -> Result<(), CollectError> {
    /// The column with the processor's number, on kernels since 5.10.
    const CPU: usize = 12;
    let file = "net/softnet_stat";
    let text = state.proc.read(file, &mut state.text)?;
    let mut rows = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let values: Option<Vec<u32>> = line
            .split_ascii_whitespace()
            .map(|field| u32::from_str_radix(field, 16).ok())
            .collect();
        let Some(values) = values.filter(|values| values.len() >= 9) else {
            return Err(state.proc.malformed(file, format!("a line {line:?}")));
        };
        let cpu = values.get(CPU).map_or(index, |cpu| *cpu as usize);
        rows.push((cpu.to_string(), values));
    }
    for (column, name, kind, help) in SOFTNET {
        page.family(name, kind, help);
        for (cpu, values) in &rows {
            let value = values.get(column).copied().unwrap_or_default();
            page.sample(name, [("cpu", cpu)], f64::from(value));
        }
    }
    Ok(())
}
