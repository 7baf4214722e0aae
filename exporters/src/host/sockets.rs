//! The network stack: protocols, sockets, neighbours, tracked connections.

use std::collections::BTreeMap;

use barograph_instrument::{Encoder, MetricKind};

use super::files::CollectError;
use super::{State, put, whole};

pub(super) fn netstat(state: &mut State, page: &mut Encoder<'_>) -> Result<(), CollectError> {
    let mut statistics = BTreeMap::new();
    for file in ["net/netstat", "net/snmp"] {
        let text = state.proc.read(file, &mut state.text)?;
        let mut lines = text.lines();
        while let (Some(names), Some(values)) = (lines.next(), lines.next()) {
            let mut names = names.split(' ');
            let mut values = values.split(' ');
            let protocol = names.next().unwrap_or_default().trim_end_matches(':');
            values.next();
            loop {
                match (names.next(), values.next()) {
                    (Some(name), Some(value)) => insert(&mut statistics, protocol, name, value),
                    (None, None) => break,
                    _ => {
                        let what = format!("{protocol} has not as many names as values");
                        return Err(state.proc.malformed(file, what));
                    }
                }
            }
        }
    }
    match state.proc.read("net/snmp6", &mut state.text) {
        Ok(text) => {
            for line in text.lines() {
                let mut fields = line.split_ascii_whitespace();
                let (Some(key), Some(value)) = (fields.next(), fields.next()) else {
                    continue;
                };
                // `Udp6InDatagrams`: the protocol ends with the 6.
                let Some(end) = key.find('6') else { continue };
                let (protocol, name) = key.split_at(end + 1);
                insert(&mut statistics, protocol, name, value);
            }
        }
        Err(error) if error.is_absent() => {}
        Err(error) => return Err(error),
    }
    for (name, (statistic, value)) in &statistics {
        let help = format!("Statistic {statistic}.");
        put(
            page,
            &format!("node_netstat_{name}"),
            MetricKind::Unknown,
            &help,
            *value,
        );
    }
    Ok(())
}

fn insert(
    statistics: &mut BTreeMap<String, (String, f64)>,
    protocol: &str,
    name: &str,
    value: &str,
) {
    if is_exported(protocol, name)
        && let Ok(value) = value.parse()
    {
        statistics.insert(
            format!("{protocol}_{name}"),
            (format!("{protocol}{name}"), value),
        );
    }
}

/// The statistics node_exporter exposes by default, of the hundreds there are.
fn is_exported(protocol: &str, name: &str) -> bool {
    matches!(name, "InErrors" | "InErrs")
        || match protocol {
            "Ip" => name == "Forwarding",
            "Ip6" | "IpExt" => matches!(name, "InOctets" | "OutOctets"),
            "Icmp" | "Icmp6" => matches!(name, "InMsgs" | "OutMsgs"),
            "TcpExt" => {
                name.starts_with("Listen")
                    || name.starts_with("Syncookies")
                    || matches!(
                        name,
                        "TCPSynRetrans" | "TCPTimeouts" | "TCPOFOQueue" | "TCPRcvQDrop"
                    )
            }
            "Tcp" => matches!(
                name,
                "ActiveOpens"
                    | "InSegs"
                    | "OutSegs"
                    | "OutRsts"
                    | "PassiveOpens"
                    | "RetransSegs"
                    | "CurrEstab"
            ),
            "Udp" | "Udp6" => matches!(
                name,
                "InDatagrams" | "OutDatagrams" | "NoPorts" | "RcvbufErrors" | "SndbufErrors"
            ),
            _ => false,
        }
}

pub(super) fn sockstat(state: &mut State, page: &mut Encoder<'_>) -> Result<(), CollectError> {
    for file in ["net/sockstat", "net/sockstat6"] {
        let text = match state.proc.read(file, &mut state.text) {
            Ok(text) => text,
            // The kernel was built or started without this version of IP.
            Err(error) if error.is_absent() => continue,
            Err(error) => return Err(error),
        };
        for line in text.lines() {
            let Some((protocol, rest)) = line.split_once(':') else {
                continue;
            };
            let mut fields = rest.split_ascii_whitespace();
            while let (Some(field), Some(value)) = (fields.next(), fields.next()) {
                let Some(value) = whole(value) else {
                    return Err(state.proc.malformed(file, format!("a line {line:?}")));
                };
                if protocol == "sockets" {
                    let help = "Number of IPv4 sockets in use.";
                    let name = "node_sockstat_sockets_used";
                    put(page, name, MetricKind::Gauge, help, value as f64);
                    continue;
                }
                write_socket(page, protocol, field, value as f64);
                if field == "mem" {
                    let bytes = value * crate::system::page_size_bytes();
                    write_socket(page, protocol, "mem_bytes", bytes as f64);
                }
            }
        }
    }
    Ok(())
}

fn write_socket(page: &mut Encoder<'_>, protocol: &str, field: &str, value: f64) {
    let name = format!("node_sockstat_{protocol}_{field}");
    let help = format!("Number of {protocol} sockets in state {field}.");
    put(page, &name, MetricKind::Gauge, &help, value);
}

pub(super) fn arp(state: &mut State, page: &mut Encoder<'_>) -> Result<(), CollectError> {
    let text = state.proc.read("net/arp", &mut state.text)?;
    let mut entries = BTreeMap::new();
    for line in text.lines().skip(1) {
        if let Some(device) = line.split_ascii_whitespace().nth(5) {
            *entries.entry(device).or_insert(0u32) += 1;
        }
    }
    page.family(
        "node_arp_entries",
        MetricKind::Gauge,
        "ARP entries by device",
    );
    for (device, count) in entries {
        page.sample("node_arp_entries", [("device", device)], f64::from(count));
    }
    Ok(())
}

/// Column of `/proc/net/stat/nf_conntrack`, meaning.
const CONNTRACK: [(&str, &str); 8] = [
    (
        "drop",
        "Number of packets dropped due to conntrack failure.",
    ),
    (
        "early_drop",
        "Number of dropped conntrack entries to make room for new ones, if maximum table size was \
         reached.",
    ),
    ("found", "Number of searched entries which were successful."),
    (
        "ignore",
        "Number of packets seen which are already connected to a conntrack entry.",
    ),
    ("insert", "Number of entries inserted into the list."),
    (
        "insert_failed",
        "Number of entries for which list insertion was attempted but failed.",
    ),
    (
        "invalid",
        "Number of packets seen which can not be tracked.",
    ),
    (
        "search_restart",
        "Number of conntrack table lookups which had to be restarted due to hashtable resizes.",
    ),
];

pub(super) fn conntrack(state: &mut State, page: &mut Encoder<'_>) -> Result<(), CollectError> {
    let limits = [
        (
            "sys/net/netfilter/nf_conntrack_count",
            "node_nf_conntrack_entries",
            "Number of currently allocated flow entries for connection tracking.",
        ),
        (
            "sys/net/netfilter/nf_conntrack_max",
            "node_nf_conntrack_entries_limit",
            "Maximum size of connection tracking table.",
        ),
    ];
    for (file, name, help) in limits {
        let text = state.proc.read(file, &mut state.text)?;
        let Some(value) = whole(text.trim()) else {
            return Err(state.proc.malformed(file, "not a number"));
        };
        put(page, name, MetricKind::Gauge, help, value as f64);
    }
    // One line per processor, hexadecimal, under a line of names.
    let file = "net/stat/nf_conntrack";
    let text = state.proc.read(file, &mut state.text)?;
    let mut lines = text.lines();
    let names: Vec<&str> = lines
        .next()
        .unwrap_or_default()
        .split_ascii_whitespace()
        .collect();
    let mut sums = vec![0u64; names.len()];
    for line in lines {
        for (sum, field) in sums.iter_mut().zip(line.split_ascii_whitespace()) {
            let Ok(value) = u64::from_str_radix(field, 16) else {
                return Err(state.proc.malformed(file, format!("{field:?}")));
            };
            *sum += value;
        }
    }
    for (column, help) in CONNTRACK {
        if let Some(index) = names.iter().position(|name| *name == column) {
            let name = format!("node_nf_conntrack_stat_{column}");
            put(page, &name, MetricKind::Gauge, help, sums[index] as f64);
        }
    }
    Ok(())
}

pub(super) fn udp_queues(state: &mut State, page: &mut Encoder<'_>) -> Result<(), CollectError> {
    let name = "node_udp_queues";
    let help = "Number of allocated memory in the kernel for UDP datagrams in bytes.";
    let mut begun = false;
    for (version, file) in [("v4", "net/udp"), ("v6", "net/udp6")] {
        let text = match state.proc.read(file, &mut state.text) {
            Ok(text) => text,
            Err(error) if error.is_absent() => continue,
            Err(error) => return Err(error),
        };
        let (mut transmit, mut receive) = (0u64, 0u64);
        for line in text.lines().skip(1) {
            // The fifth column is `tx_queue:rx_queue`, hexadecimal.
            let queues = line.split_ascii_whitespace().nth(4).and_then(|field| {
                let (tx, rx) = field.split_once(':')?;
                Some((
                    u64::from_str_radix(tx, 16).ok()?,
                    u64::from_str_radix(rx, 16).ok()?,
                ))
            });
            let Some((tx, rx)) = queues else {
                return Err(state.proc.malformed(file, format!("a line {line:?}")));
            };
            transmit += tx;
            receive += rx;
        }
        if !std::mem::replace(&mut begun, true) {
            page.family(name, MetricKind::Gauge, help);
        }
        page.sample(name, [("ip", version), ("queue", "rx")], receive as f64);
        page.sample(name, [("ip", version), ("queue", "tx")], transmit as f64);
    }
    if begun {
        Ok(())
    } else {
        Err(CollectError::NoData("UDP"))
    }
}
