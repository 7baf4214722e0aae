//! Network devices: what they are and how they are set up, from `/sys/class/net`.

use std::collections::BTreeMap;

use barograph_instrument::{Encoder, MetricKind, MetricKind::Counter, MetricKind::Gauge};

use super::State;
use super::files::CollectError;

/// File, metric after `node_network_`, kind. Values are decimal or, with `0x`, hexadecimal.
const PROPERTIES: [(&str, &str, MetricKind); 16] = [
    ("addr_assign_type", "address_assign_type", Gauge),
    ("carrier", "carrier", Gauge),
    ("carrier_changes", "carrier_changes_total", Counter),
    ("carrier_down_count", "carrier_down_changes_total", Counter),
    ("carrier_up_count", "carrier_up_changes_total", Counter),
    ("dev_id", "device_id", Gauge),
    ("dormant", "dormant", Gauge),
    ("flags", "flags", Gauge),
    ("ifindex", "iface_id", Gauge),
    ("iflink", "iface_link", Gauge),
    ("link_mode", "iface_link_mode", Gauge),
    ("mtu", "mtu_bytes", Gauge),
    ("name_assign_type", "name_assign_type", Gauge),
    ("netdev_group", "net_dev_group", Gauge),
    ("type", "protocol_type", Gauge),
    ("tx_queue_len", "transmit_queue_length", Gauge),
];

pub(super) fn netclass(state: &mut State, page: &mut Encoder<'_>) -> Result<(), CollectError> {
    let mut devices = state.sys.entries("class/net")?;
    // `bonding_masters` is a file among the devices.
    devices.retain(|device| device != "bonding_masters");
    let mut flags = Vec::new();
    for (file, property, kind) in PROPERTIES {
        let values = write_property(state, page, &devices, (file, property, kind), |value| value);
        if file == "flags" {
            flags = values;
        }
    }
    // Megabits per second; -1 where the driver does not know, which node_exporter passes on.
    write_property(
        state,
        page,
        &devices,
        ("speed", "speed_bytes", Gauge),
        |value| value * 1_000_000 / 8,
    );

    let mut states = BTreeMap::new();
    page.family(
        "node_network_info",
        Gauge,
        "Non-numeric data from /sys/class/net/<iface>, value is always 1.",
    );
    for (device, flags) in devices.iter().zip(&flags) {
        let mut read = |file: &str| {
            let file = format!("class/net/{device}/{file}");
            state
                .sys
                .attribute(&file, &mut state.text)
                .unwrap_or_default()
                .to_owned()
        };
        let is_up = flags.map(|flags| flags & 1 == 1);
        let labels = [
            ("address", read("address")),
            (
                "adminstate",
                match is_up {
                    Some(true) => "up",
                    Some(false) => "down",
                    None => "unknown",
                }
                .to_owned(),
            ),
            ("broadcast", read("broadcast")),
            ("device", device.clone()),
            ("duplex", read("duplex")),
            ("ifalias", read("ifalias")),
            ("operstate", read("operstate")),
        ];
        states.insert(device, labels[6].1 == "up");
        page.sample("node_network_info", labels, 1.0);
    }
    let help = "Value is 1 if operstate is 'up', 0 otherwise.";
    page.family("node_network_up", Gauge, help);
    for (device, up) in states {
        page.sample(
            "node_network_up",
            [("device", device)],
            f64::from(u8::from(up)),
        );
    }
    Ok(())
}

/// Writes a property of every device that has it, and returns it as read.
fn write_property(
    state: &mut State,
    page: &mut Encoder<'_>,
    devices: &[String],
    (file, property, kind): (&str, &str, MetricKind),
    scale: fn(i64) -> i64,
) -> Vec<Option<i64>> {
    let name = format!("node_network_{property}");
    let mut begun = false;
    let mut values = Vec::with_capacity(devices.len());
    for device in devices {
        state.path.clear();
        state.path.extend(["class/net/", device, "/", file]);
        let text = state.sys.attribute(&state.path, &mut state.text);
        let value = text.and_then(|text| match text.strip_prefix("0x") {
            Some(hex) => i64::from_str_radix(hex, 16).ok(),
            None => text.parse().ok(),
        });
        values.push(value);
        let Some(value) = value else { continue };
        if !std::mem::replace(&mut begun, true) {
            page.family(&name, kind, &format!("Network device property: {property}"));
        }
        page.sample(&name, [("device", device)], scale(value) as f64);
    }
    values
}
