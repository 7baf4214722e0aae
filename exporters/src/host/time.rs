//! The clock: what it says, where it comes from, and how well it is kept.

use std::time::{SystemTime, UNIX_EPOCH};

use barograph_instrument::{Encoder, MetricKind};

use super::files::CollectError;
use super::{State, put};

#[expect(clippy::unnecessary_wraps, reason = "the signature of every collector")]
pub(super) fn time(state: &mut State, page: &mut Encoder<'_>) -> Result<(), CollectError> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let help = "System time in seconds since epoch (1970).";
    put(
        page,
        "node_time_seconds",
        MetricKind::Gauge,
        help,
        now.as_secs_f64(),
    );
    if let Some((zone, offset_seconds)) = crate::system::time_zone(now.as_secs() as i64) {
        let name = "node_time_zone_offset_seconds";
        page.family(
            name,
            MetricKind::Gauge,
            "System time zone offset in seconds.",
        );
        page.sample(name, [("time_zone", zone)], offset_seconds as f64);
    }
    let directory = "devices/system/clocksource";
    let Ok(devices) = state.sys.entries(directory) else {
        return Ok(());
    };
    let devices: Vec<&str> = devices
        .iter()
        .filter_map(|entry| entry.strip_prefix("clocksource"))
        .collect();
    let families = [
        (
            "available_clocksource",
            "node_time_clocksource_available_info",
            "Available clocksources read from '/sys/devices/system/clocksource'.",
        ),
        (
            "current_clocksource",
            "node_time_clocksource_current_info",
            "Current clocksource read from '/sys/devices/system/clocksource'.",
        ),
    ];
    for (file, name, help) in families {
        page.family(name, MetricKind::Gauge, help);
        for device in &devices {
            let path = format!("{directory}/clocksource{device}/{file}");
            let text = state
                .sys
                .attribute(&path, &mut state.text)
                .unwrap_or_default();
            for source in text.split_ascii_whitespace() {
                page.sample(name, [("clocksource", source), ("device", device)], 1.0);
            }
        }
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
pub(super) fn timex(_state: &mut State, _page: &mut Encoder<'_>) -> Result<(), CollectError> {
    Err(CollectError::NoData("adjtimex"))
}

#[cfg(target_os = "linux")]
pub(super) fn timex(_state: &mut State, page: &mut Encoder<'_>) -> Result<(), CollectError> {
    use MetricKind::{Counter, Gauge};

    /// What `adjtimex` returns while no reliable source steers the clock.
    const TIME_ERROR: i32 = 5;
    /// The status bit that says the record counts nanoseconds, not microseconds.
    const STA_NANO: i32 = 0x2000;
    /// Frequencies are in parts per million with a 16-bit fraction, see adjtimex(2).
    const SCALED_PPM: f64 = 65_536e6;

    let (state, record) = crate::system::clock_discipline()
        .map_err(|_| CollectError::NoData("adjtimex (it may be forbidden to this process)"))?;
    let per_second = if record.status & STA_NANO == 0 {
        1e6
    } else {
        1e9
    };
    let synchronised = f64::from(u8::from(state != TIME_ERROR));
    let offset = record.offset as f64 / per_second;
    let rows = [
        (
            "estimated_error_seconds",
            Gauge,
            "Estimated error in seconds.",
            record.esterror as f64 / 1e6,
        ),
        (
            "frequency_adjustment_ratio",
            Gauge,
            "Local clock frequency adjustment.",
            1.0 + record.freq as f64 / SCALED_PPM,
        ),
        (
            "loop_time_constant",
            Gauge,
            "Phase-locked loop time constant.",
            record.constant as f64,
        ),
        (
            "maxerror_seconds",
            Gauge,
            "Maximum error in seconds.",
            record.maxerror as f64 / 1e6,
        ),
        (
            "offset_seconds",
            Gauge,
            "Time offset in between local system and reference clock.",
            offset,
        ),
        (
            "pps_calibration_total",
            Counter,
            "Pulse per second count of calibration intervals.",
            record.calcnt as f64,
        ),
        (
            "pps_error_total",
            Counter,
            "Pulse per second count of calibration errors.",
            record.errcnt as f64,
        ),
        (
            "pps_frequency_hertz",
            Gauge,
            "Pulse per second frequency.",
            record.ppsfreq as f64 / SCALED_PPM,
        ),
        (
            "pps_jitter_seconds",
            Gauge,
            "Pulse per second jitter.",
            record.jitter as f64 / per_second,
        ),
        (
            "pps_jitter_total",
            Counter,
            "Pulse per second count of jitter limit exceeded events.",
            record.jitcnt as f64,
        ),
        (
            "pps_shift_seconds",
            Gauge,
            "Pulse per second interval duration.",
            f64::from(record.shift),
        ),
        (
            "pps_stability_exceeded_total",
            Counter,
            "Pulse per second count of stability limit exceeded events.",
            record.stbcnt as f64,
        ),
        (
            "pps_stability_hertz",
            Gauge,
            "Pulse per second stability, average of recent frequency changes.",
            record.stabil as f64 / SCALED_PPM,
        ),
        (
            "status",
            Gauge,
            "Value of the status array bits.",
            f64::from(record.status),
        ),
        (
            "sync_status",
            Gauge,
            "Is clock synchronized to a reliable server (1 = yes, 0 = no).",
            synchronised,
        ),
        (
            "tai_offset_seconds",
            Gauge,
            "International Atomic Time (TAI) offset.",
            f64::from(record.tai),
        ),
        (
            "tick_seconds",
            Gauge,
            "Seconds between clock ticks.",
            record.tick as f64 / 1e6,
        ),
    ];
    for (name, kind, help, value) in rows {
        put(page, &format!("node_timex_{name}"), kind, help, value);
    }
    Ok(())
}
