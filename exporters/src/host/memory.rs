//! Memory: `/proc/meminfo`, paging counters, and pressure stalls.

use barograph_instrument::{Encoder, MetricKind};

use super::files::CollectError;
use super::{State, put, whole};

pub(super) fn meminfo(state: &mut State, page: &mut Encoder<'_>) -> Result<(), CollectError> {
    let text = state.proc.read("meminfo", &mut state.text)?;
    let (name, help) = (&mut state.path, &mut String::new());
    for line in text.lines() {
        let Some((field, rest)) = line.split_once(':') else {
            continue;
        };
        let mut words = rest.split_ascii_whitespace();
        let value = words.next().and_then(whole).ok_or_else(|| {
            state
                .proc
                .malformed("meminfo", format!("{field:?} has no number"))
        })?;
        let (suffix, scale) = if words.next() == Some("kB") {
            ("_bytes", 1024.0)
        } else {
            ("", 1.0)
        };
        // `Active(anon)` becomes `Active_anon`.
        name.clear();
        name.push_str("node_memory_");
        name.extend(
            field
                .chars()
                .filter(|ch| *ch != ')')
                .map(|ch| if ch.is_ascii_alphanumeric() { ch } else { '_' }),
        );
        name.push_str(suffix);
        help.clear();
        help.push_str("Memory information field ");
        help.push_str(&name["node_memory_".len()..]);
        help.push('.');
        put(page, name, MetricKind::Gauge, help, value as f64 * scale);
    }
    Ok(())
}

pub(super) fn vmstat(state: &mut State, page: &mut Encoder<'_>) -> Result<(), CollectError> {
    let text = state.proc.read("vmstat", &mut state.text)?;
    for line in text.lines() {
        let Some((field, value)) = line.split_once(' ') else {
            continue;
        };
        let wanted = ["oom_kill", "pgpg", "pswp"]
            .iter()
            .any(|start| field.starts_with(start))
            || (field.starts_with("pg") && field.contains("fault"));
        if !wanted {
            continue;
        }
        let value = whole(value.trim()).ok_or_else(|| {
            state
                .proc
                .malformed("vmstat", format!("{field:?} has no number"))
        })?;
        let name = format!("node_vmstat_{field}");
        let help = format!("/proc/vmstat information field {field}.");
        put(page, &name, MetricKind::Unknown, &help, value as f64);
    }
    Ok(())
}

/// Resource, kind of line, metric, meaning.
const PRESSURES: [(&str, &str, &str, &str); 6] = [
    (
        "cpu",
        "some",
        "node_pressure_cpu_waiting_seconds_total",
        "Total time in seconds that processes have waited for CPU time",
    ),
    (
        "io",
        "some",
        "node_pressure_io_waiting_seconds_total",
        "Total time in seconds that processes have waited due to IO congestion",
    ),
    (
        "io",
        "full",
        "node_pressure_io_stalled_seconds_total",
        "Total time in seconds no process could make progress due to IO congestion",
    ),
    (
        "memory",
        "some",
        "node_pressure_memory_waiting_seconds_total",
        "Total time in seconds that processes have waited for memory",
    ),
    (
        "memory",
        "full",
        "node_pressure_memory_stalled_seconds_total",
        "Total time in seconds no process could make progress due to memory congestion",
    ),
    (
        "irq",
        "full",
        "node_pressure_irq_stalled_seconds_total",
        "Total time in seconds no process could make progress due to IRQ congestion",
    ),
];

pub(super) fn pressure(state: &mut State, page: &mut Encoder<'_>) -> Result<(), CollectError> {
    let mut found = false;
    let mut last = "";
    for (resource, kind, name, help) in PRESSURES {
        if resource != last {
            last = resource;
            let file = format!("pressure/{resource}");
            match state.proc.read(&file, &mut state.text) {
                Ok(_) => {}
                // Older kernels lack `irq`, and pressure can be switched off altogether.
                Err(error) if error.is_absent() => {}
                Err(error) => return Err(error),
            }
        }
        let text = std::str::from_utf8(&state.text).unwrap_or_default();
        let Some(micros) = stall_micros(text, kind) else {
            continue;
        };
        found = true;
        put(page, name, MetricKind::Counter, help, micros as f64 / 1e6);
    }
    if found {
        Ok(())
    } else {
        Err(CollectError::NoData("pressure stall information"))
    }
}

fn stall_micros(text: &str, kind: &str) -> Option<u64> {
    let line = text
        .lines()
        .find(|line| line.split(' ').next() == Some(kind))?;
    whole(line.rsplit_once("total=")?.1.trim())
}
