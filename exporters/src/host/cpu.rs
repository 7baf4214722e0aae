//! Processors: where their time went, how fast they run, how long work waited for them.

use std::collections::BTreeMap;

use barograph_instrument::{Encoder, MetricKind};

use super::files::CollectError;
use super::{State, whole};

/// The columns of a `cpuN` line of `/proc/stat`, see proc_stat(5).
const COLUMNS: usize = 10;
const IDLE: usize = 3;
const GUEST: usize = 8;
const GUEST_NICE: usize = 9;
/// Mode and column, by name.
const MODES: [(&str, usize); 8] = [
    ("idle", IDLE),
    ("iowait", 4),
    ("irq", 5),
    ("nice", 1),
    ("softirq", 6),
    ("steal", 7),
    ("system", 2),
    ("user", 0),
];
/// An idle time that falls by more is a processor that was unplugged and came back.
const HOTPLUG_SECONDS: f64 = 3.0;

/// The times last seen, in ticks. The kernel lets some of them fall by a little (iowait above
/// all), which a counter must not: each processor keeps the highest.
#[derive(Default)]
pub(super) struct Times {
    cpus: BTreeMap<u32, [u64; COLUMNS]>,
}

impl Times {
    fn update(&mut self, now: &BTreeMap<u32, [u64; COLUMNS]>, ticks_per_second: f64) {
        self.cpus.retain(|cpu, _| now.contains_key(cpu));
        for (cpu, ticks) in now {
            let kept = self.cpus.entry(*cpu).or_default();
            let fallen = kept[IDLE].saturating_sub(ticks[IDLE]) as f64 / ticks_per_second;
            if fallen >= HOTPLUG_SECONDS {
                *kept = *ticks;
            }
            for (kept, ticks) in kept.iter_mut().zip(ticks) {
                *kept = (*kept).max(*ticks);
            }
        }
    }
}

pub(super) fn cpu(state: &mut State, page: &mut Encoder<'_>) -> Result<(), CollectError> {
    let now = parse_times(super::kernel::stat_text(&state.proc, &mut state.stat)?)
        .ok_or_else(|| state.proc.malformed("stat", "a cpu line without numbers"))?;
    let ticks_per_second = crate::system::ticks_per_second();
    state.cpus.update(&now, ticks_per_second);
    let seconds = |ticks: u64| ticks as f64 / ticks_per_second;

    let mut number = itoa_buffer();
    let name = "node_cpu_guest_seconds_total";
    let help = "Seconds the CPUs spent in guests (VMs) for each mode.";
    page.family(name, MetricKind::Counter, help);
    for (cpu, ticks) in &state.cpus.cpus {
        let cpu = format_into(&mut number, *cpu);
        for (mode, column) in [("nice", GUEST_NICE), ("user", GUEST)] {
            page.sample(name, [("cpu", cpu), ("mode", mode)], seconds(ticks[column]));
        }
    }
    let name = "node_cpu_seconds_total";
    page.family(
        name,
        MetricKind::Counter,
        "Seconds the CPUs spent in each mode.",
    );
    for (cpu, ticks) in &state.cpus.cpus {
        let cpu = format_into(&mut number, *cpu);
        for (mode, column) in MODES {
            page.sample(name, [("cpu", cpu), ("mode", mode)], seconds(ticks[column]));
        }
    }
    let cpus: Vec<u32> = state.cpus.cpus.keys().copied().collect();
    write_isolated(state, page);
    write_online(state, page);
    write_throttles(state, page, &cpus);
    Ok(())
}

fn parse_times(text: &str) -> Option<BTreeMap<u32, [u64; COLUMNS]>> {
    let mut times = BTreeMap::new();
    for line in text.lines() {
        let Some(rest) = line.strip_prefix("cpu") else {
            continue;
        };
        let mut fields = rest.split_ascii_whitespace();
        if rest.starts_with(' ') {
            continue; // The sum over all processors.
        }
        let cpu = fields.next()?.parse().ok()?;
        let mut ticks = [0; COLUMNS];
        for (tick, field) in ticks.iter_mut().zip(fields) {
            *tick = whole(field)?;
        }
        times.insert(cpu, ticks);
    }
    Some(times)
}

/// Processors that `isolcpus` keeps from the scheduler.
fn write_isolated(state: &mut State, page: &mut Encoder<'_>) {
    let file = "devices/system/cpu/isolated";
    let Some(list) = state.sys.attribute(file, &mut state.text) else {
        return;
    };
    let cpus = parse_cpu_list(list);
    if cpus.is_empty() {
        return;
    }
    let name = "node_cpu_isolated";
    let help = "Whether each core is isolated, information from /sys/devices/system/cpu/isolated.";
    page.family(name, MetricKind::Gauge, help);
    for cpu in cpus {
        page.sample(name, [("cpu", cpu.to_string())], 1.0);
    }
}

/// Whether each processor is on, where the kernel lets the first be turned off.
fn write_online(state: &mut State, page: &mut Encoder<'_>) {
    if state
        .sys
        .read("devices/system/cpu/cpu0/online", &mut state.text)
        .is_err()
    {
        return;
    }
    let Ok(entries) = state.sys.entries("devices/system/cpu") else {
        return;
    };
    let name = "node_cpu_online";
    page.family(
        name,
        MetricKind::Gauge,
        "CPUs that are online and being scheduled.",
    );
    for entry in entries {
        let Some(cpu) = entry
            .strip_prefix("cpu")
            .filter(|rest| rest.parse::<u32>().is_ok())
        else {
            continue;
        };
        let file = format!("devices/system/cpu/cpu{cpu}/online");
        let online = state.sys.attribute(&file, &mut state.text) == Some("1");
        page.sample(name, [("cpu", cpu)], f64::from(u8::from(online)));
    }
}

/// How often heat slowed cores and packages down. Only some x86 processors say.
fn write_throttles(state: &mut State, page: &mut Encoder<'_>, cpus: &[u32]) {
    let mut cores: BTreeMap<(u64, u64), u64> = BTreeMap::new();
    let mut packages: BTreeMap<u64, u64> = BTreeMap::new();
    for cpu in cpus {
        let directory = format!("devices/system/cpu/cpu{cpu}");
        let mut read = |file: &str| {
            let file = format!("{directory}/{file}");
            state.sys.attribute(&file, &mut state.text).and_then(whole)
        };
        let Some(in_core) = read("thermal_throttle/core_throttle_count") else {
            continue;
        };
        let (Some(package), Some(core)) = (
            read("topology/physical_package_id"),
            read("topology/core_id"),
        ) else {
            continue;
        };
        cores.entry((package, core)).or_insert(in_core);
        if let Some(in_package) = read("thermal_throttle/package_throttle_count") {
            packages.entry(package).or_insert(in_package);
        }
    }
    if !cores.is_empty() {
        let name = "node_cpu_core_throttles_total";
        let help = "Number of times this CPU core has been throttled.";
        page.family(name, MetricKind::Counter, help);
        for ((package, core), count) in &cores {
            let labels = [("core", core.to_string()), ("package", package.to_string())];
            page.sample(name, labels, *count as f64);
        }
    }
    if !packages.is_empty() {
        let name = "node_cpu_package_throttles_total";
        let help = "Number of times this CPU package has been throttled.";
        page.family(name, MetricKind::Counter, help);
        for (package, count) in &packages {
            page.sample(name, [("package", package.to_string())], *count as f64);
        }
    }
}

/// A list as the kernel writes it: `0-3,8`. No more than [`MAX_LISTED`] are taken.
fn parse_cpu_list(list: &str) -> Vec<u32> {
    const MAX_LISTED: usize = 8192;
    list.split(',')
        .filter_map(|part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            Some(first.trim().parse::<u32>().ok()?..=last.trim().parse::<u32>().ok()?)
        })
        .flatten()
        .take(MAX_LISTED)
        .collect()
}

/// File below `cpufreq`, metric, meaning.
const FREQUENCIES: [(&str, &str, &str); 6] = [
    (
        "cpuinfo_cur_freq",
        "node_cpu_frequency_hertz",
        "Current CPU thread frequency in hertz.",
    ),
    (
        "cpuinfo_max_freq",
        "node_cpu_frequency_max_hertz",
        "Maximum CPU thread frequency in hertz.",
    ),
    (
        "cpuinfo_min_freq",
        "node_cpu_frequency_min_hertz",
        "Minimum CPU thread frequency in hertz.",
    ),
    (
        "scaling_cur_freq",
        "node_cpu_scaling_frequency_hertz",
        "Current scaled CPU thread frequency in hertz.",
    ),
    (
        "scaling_max_freq",
        "node_cpu_scaling_frequency_max_hertz",
        "Maximum scaled CPU thread frequency in hertz.",
    ),
    (
        "scaling_min_freq",
        "node_cpu_scaling_frequency_min_hertz",
        "Minimum scaled CPU thread frequency in hertz.",
    ),
];

pub(super) fn frequency(state: &mut State, page: &mut Encoder<'_>) -> Result<(), CollectError> {
    let cpus: Vec<String> = state
        .sys
        .entries("devices/system/cpu")?
        .into_iter()
        .filter_map(|entry| {
            let cpu = entry.strip_prefix("cpu")?.parse::<u32>().ok()?;
            let directory = state
                .sys
                .path_of(&format!("devices/system/cpu/cpu{cpu}/cpufreq"));
            directory.is_dir().then(|| cpu.to_string())
        })
        .collect();
    for (file, name, help) in FREQUENCIES {
        let mut begun = false;
        for cpu in &cpus {
            let file = format!("devices/system/cpu/cpu{cpu}/cpufreq/{file}");
            let Some(kilohertz) = state.sys.attribute(&file, &mut state.text).and_then(whole)
            else {
                continue;
            };
            if !std::mem::replace(&mut begun, true) {
                page.family(name, MetricKind::Gauge, help);
            }
            page.sample(name, [("cpu", cpu)], kilohertz as f64 * 1000.0);
        }
    }
    let name = "node_cpu_scaling_governor";
    let mut begun = false;
    for cpu in &cpus {
        let directory = format!("devices/system/cpu/cpu{cpu}/cpufreq");
        let file = format!("{directory}/scaling_governor");
        let Some(current) = state.sys.attribute(&file, &mut state.text) else {
            continue;
        };
        let file = format!("{directory}/scaling_available_governors");
        let Some(available) = state.sys.attribute(&file, &mut state.more) else {
            continue;
        };
        if !std::mem::replace(&mut begun, true) {
            page.family(
                name,
                MetricKind::Gauge,
                "Current enabled CPU frequency governor.",
            );
        }
        for governor in available.split_ascii_whitespace() {
            let labels = [("cpu", cpu.as_str()), ("governor", governor)];
            page.sample(name, labels, f64::from(u8::from(governor == current)));
        }
    }
    Ok(())
}

pub(super) fn schedstat(state: &mut State, page: &mut Encoder<'_>) -> Result<(), CollectError> {
    let text = state.proc.read("schedstat", &mut state.text)?;
    let mut rows = Vec::new();
    for line in text.lines() {
        let Some(rest) = line.strip_prefix("cpu") else {
            continue;
        };
        let mut fields = rest.split_ascii_whitespace();
        let cpu = fields.next().unwrap_or_default();
        // Columns 7 to 9: nanoseconds run, nanoseconds waited, time slices.
        let numbers: Vec<u64> = fields.skip(6).filter_map(whole).collect();
        let [ran, waited, slices] = numbers[..] else {
            return Err(state
                .proc
                .malformed("schedstat", "a cpu line without nine numbers"));
        };
        rows.push((cpu, [ran as f64 / 1e9, slices as f64, waited as f64 / 1e9]));
    }
    let families = [
        (
            "node_schedstat_running_seconds_total",
            "Number of seconds CPU spent running a process.",
        ),
        (
            "node_schedstat_timeslices_total",
            "Number of timeslices executed by CPU.",
        ),
        (
            "node_schedstat_waiting_seconds_total",
            "Number of seconds spent by processing waiting for this CPU.",
        ),
    ];
    for (column, (name, help)) in families.into_iter().enumerate() {
        page.family(name, MetricKind::Counter, help);
        for (cpu, values) in &rows {
            page.sample(name, [("cpu", cpu)], values[column]);
        }
    }
    Ok(())
}

fn itoa_buffer() -> String {
    String::with_capacity(10)
}

fn format_into(buffer: &mut String, number: u32) -> &str {
    use std::fmt::Write as _;
    buffer.clear();
    let _ = write!(buffer, "{number}");
    buffer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cpu_list_has_ranges_and_single_numbers() {
        assert_eq!(parse_cpu_list("0-2,5"), [0, 1, 2, 5]);
        assert_eq!(parse_cpu_list(""), [0u32; 0]);
        assert_eq!(parse_cpu_list("0-4294967295").len(), 8192);
    }

    #[test]
    fn times_never_fall_but_for_a_processor_that_was_replaced() {
        let mut times = Times::default();
        let mut see = |idle, iowait| {
            let mut ticks = [0; COLUMNS];
            ticks[IDLE] = idle;
            ticks[4] = iowait;
            times.update(&BTreeMap::from([(0, ticks)]), 100.0);
            (times.cpus[&0][IDLE], times.cpus[&0][4])
        };
        assert_eq!(see(1000, 50), (1000, 50));
        assert_eq!(see(1010, 40), (1010, 50), "iowait fell by a little");
        assert_eq!(see(900, 60), (1010, 60), "idle fell by one second");
        assert_eq!(
            see(5, 1),
            (5, 1),
            "idle fell by ten seconds: another processor"
        );
    }
}
