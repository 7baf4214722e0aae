//! Facts of the kernel as a whole: load, `/proc/stat`'s totals, file handles, entropy, names.

use barograph_instrument::{Encoder, MetricKind::Counter, MetricKind::Gauge};

use super::files::{CollectError, Root};
use super::{State, put, whole};

pub(super) fn loadavg(state: &mut State, page: &mut Encoder<'_>) -> Result<(), CollectError> {
    let loads = load_averages(state)?;
    let names = [
        ("node_load1", "1m load average."),
        ("node_load5", "5m load average."),
        ("node_load15", "15m load average."),
    ];
    for ((name, help), load) in names.into_iter().zip(loads) {
        put(page, name, Gauge, help, load);
    }
    Ok(())
}

fn load_averages(state: &mut State) -> Result<[f64; 3], CollectError> {
    let text = match state.proc.read("loadavg", &mut state.text) {
        Ok(text) => text,
        #[cfg(not(target_os = "linux"))]
        Err(_) => return crate::system::load_averages().ok_or(CollectError::NoData("load")),
        #[cfg(target_os = "linux")]
        Err(error) => return Err(error),
    };
    let mut loads = [0.0; 3];
    let mut fields = text.split_ascii_whitespace();
    for load in &mut loads {
        *load = fields
            .next()
            .and_then(|field| field.parse().ok())
            .ok_or_else(|| state.proc.malformed("loadavg", "fewer than three numbers"))?;
    }
    Ok(loads)
}

pub(super) fn stat(state: &mut State, page: &mut Encoder<'_>) -> Result<(), CollectError> {
    let families = [
        (
            "intr",
            "node_intr_total",
            Counter,
            "Total number of interrupts serviced.",
        ),
        (
            "ctxt",
            "node_context_switches_total",
            Counter,
            "Total number of context switches.",
        ),
        (
            "processes",
            "node_forks_total",
            Counter,
            "Total number of forks.",
        ),
        (
            "btime",
            "node_boot_time_seconds",
            Gauge,
            "Node boot time, in unixtime.",
        ),
        (
            "procs_running",
            "node_procs_running",
            Gauge,
            "Number of processes in runnable state.",
        ),
        (
            "procs_blocked",
            "node_procs_blocked",
            Gauge,
            "Number of processes blocked waiting for I/O to complete.",
        ),
    ];
    let text = stat_text(&state.proc, &mut state.stat)?;
    for line in text.lines() {
        let mut fields = line.split_ascii_whitespace();
        let key = fields.next().unwrap_or_default();
        let Some((_, name, kind, help)) = families.iter().find(|family| family.0 == key) else {
            continue;
        };
        let value = fields.next().and_then(whole).ok_or_else(|| {
            state
                .proc
                .malformed("stat", format!("{key:?} without a number"))
        })?;
        put(page, name, *kind, help, value as f64);
    }
    Ok(())
}

/// `/proc/stat`, read at most once per collection.
pub(super) fn stat_text<'b>(proc: &Root, buffer: &'b mut Vec<u8>) -> Result<&'b str, CollectError> {
    if buffer.is_empty() {
        proc.read("stat", buffer)?;
    }
    Ok(std::str::from_utf8(buffer).unwrap_or_default())
}

pub(super) fn filefd(state: &mut State, page: &mut Encoder<'_>) -> Result<(), CollectError> {
    let file = "sys/fs/file-nr";
    let text = state.proc.read(file, &mut state.text)?;
    let mut fields = text.split_ascii_whitespace().map(whole);
    let (Some(Some(allocated)), Some(_), Some(Some(maximum))) =
        (fields.next(), fields.next(), fields.next())
    else {
        return Err(state.proc.malformed(file, "not three numbers"));
    };
    let help = "File descriptor statistics: allocated.";
    put(page, "node_filefd_allocated", Gauge, help, allocated as f64);
    let help = "File descriptor statistics: maximum.";
    put(page, "node_filefd_maximum", Gauge, help, maximum as f64);
    Ok(())
}

pub(super) fn entropy(state: &mut State, page: &mut Encoder<'_>) -> Result<(), CollectError> {
    let families = [
        (
            "sys/kernel/random/entropy_avail",
            "node_entropy_available_bits",
            "Bits of available entropy.",
        ),
        (
            "sys/kernel/random/poolsize",
            "node_entropy_pool_size_bits",
            "Bits of entropy pool.",
        ),
    ];
    for (file, name, help) in families {
        let text = state.proc.read(file, &mut state.text)?;
        let Some(bits) = whole(text.trim()) else {
            return Err(state.proc.malformed(file, "not a number"));
        };
        put(page, name, Gauge, help, bits as f64);
    }
    Ok(())
}

#[expect(clippy::unnecessary_wraps, reason = "the signature of every collector")]
pub(super) fn uname(_state: &mut State, page: &mut Encoder<'_>) -> Result<(), CollectError> {
    let uname = rustix::system::uname();
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let domain = uname.domainname().to_string_lossy();
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let domain = std::borrow::Cow::Borrowed("(none)");
    let labels = [
        ("domainname", domain),
        ("machine", uname.machine().to_string_lossy()),
        ("nodename", uname.nodename().to_string_lossy()),
        ("release", uname.release().to_string_lossy()),
        ("sysname", uname.sysname().to_string_lossy()),
        ("version", uname.version().to_string_lossy()),
    ];
    let help = "Labeled system information as provided by the uname system call.";
    page.family("node_uname_info", Gauge, help);
    page.sample("node_uname_info", labels, 1.0);
    Ok(())
}

/// The labels of `node_os_info`, and the keys of os-release(5) they come from.
const OS_LABELS: [(&str, &str); 12] = [
    ("build_id", "BUILD_ID"),
    ("id", "ID"),
    ("id_like", "ID_LIKE"),
    ("image_id", "IMAGE_ID"),
    ("image_version", "IMAGE_VERSION"),
    ("name", "NAME"),
    ("pretty_name", "PRETTY_NAME"),
    ("variant", "VARIANT"),
    ("variant_id", "VARIANT_ID"),
    ("version", "VERSION"),
    ("version_codename", "VERSION_CODENAME"),
    ("version_id", "VERSION_ID"),
];

pub(super) fn os(state: &mut State, page: &mut Encoder<'_>) -> Result<(), CollectError> {
    let text = match state.root.read("etc/os-release", &mut state.text) {
        Err(error) if error.is_absent() => {
            state.root.read("usr/lib/os-release", &mut state.more)?
        }
        outcome => outcome?,
    };
    let value_of = |key: &str| os_release_value(text, key).unwrap_or_default();
    let help = "A metric with a constant '1' value labeled by build_id, id, id_like, image_id, \
                image_version, name, pretty_name, variant, variant_id, version, version_codename, \
                version_id.";
    page.family("node_os_info", Gauge, help);
    page.sample(
        "node_os_info",
        OS_LABELS.map(|(label, key)| (label, value_of(key))),
        1.0,
    );

    let version_id = value_of("VERSION_ID");
    if let Some(version) = major_minor(&version_id) {
        let help = "Metric containing the major.minor part of the OS version.";
        page.family("node_os_version", Gauge, help);
        let labels = [("id", "ID"), ("id_like", "ID_LIKE"), ("name", "NAME")];
        page.sample(
            "node_os_version",
            labels.map(|(label, key)| (label, value_of(key))),
            version,
        );
    }
    Ok(())
}

/// The value of `key` in text of the form os-release(5) describes: shell assignments, with or
/// without quotes.
fn os_release_value(text: &str, key: &str) -> Option<String> {
    let mut found = None;
    for line in text.lines() {
        let Some((name, value)) = line.trim().split_once('=') else {
            continue;
        };
        if name != key {
            continue;
        }
        let quoted = |quote: char| value.strip_prefix(quote)?.strip_suffix(quote);
        found = Some(match (quoted('"'), quoted('\'')) {
            (Some(inner), _) => {
                let mut plain = String::with_capacity(inner.len());
                let mut chars = inner.chars();
                while let Some(ch) = chars.next() {
                    plain.push(if ch == '\\' {
                        chars.next().unwrap_or(ch)
                    } else {
                        ch
                    });
                }
                plain
            }
            (None, Some(inner)) => inner.to_owned(),
            (None, None) => value.to_owned(),
        });
    }
    found
}

/// The leading `major` or `major.minor` of a version, as a number.
fn major_minor(version: &str) -> Option<f64> {
    let mut dots = 0;
    let end = version
        .find(|ch: char| {
            dots += usize::from(ch == '.');
            !(ch.is_ascii_digit() || (ch == '.' && dots == 1))
        })
        .unwrap_or(version.len());
    let number = &version[..end];
    if !number.starts_with(|ch: char| ch.is_ascii_digit()) {
        return None;
    }
    number
        .trim_end_matches('.')
        .parse()
        .ok()
        .filter(|version| *version > 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn os_release_is_read_as_a_shell_would() {
        let text = "NAME=\"A \\\"B\\\" OS\"\n# ID=no\nID=debian\nVARIANT='x y'\nID=other\n";
        let value = |key| os_release_value(text, key);
        assert_eq!(value("NAME").as_deref(), Some("A \"B\" OS"));
        assert_eq!(value("ID").as_deref(), Some("other"));
        assert_eq!(value("VARIANT").as_deref(), Some("x y"));
        assert_eq!(value("VERSION"), None);
    }

    #[test]
    fn a_version_is_its_first_two_numbers() {
        for (text, want) in [
            ("12", Some(12.0)),
            ("22.04.1", Some(22.04)),
            ("12.", Some(12.0)),
            ("rolling", None),
            ("", None),
            ("7-rc1", Some(7.0)),
        ] {
            assert_eq!(major_minor(text), want, "{text:?}");
        }
    }
}
