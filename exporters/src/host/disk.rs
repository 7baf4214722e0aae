//! Block devices: `/proc/diskstats`, and what udev knows of each.

use barograph_instrument::{Encoder, MetricKind, MetricKind::Counter, MetricKind::Gauge};

use super::files::CollectError;
use super::{State, whole};

/// The unit of a value in `/proc/diskstats`.
#[derive(Clone, Copy)]
enum Unit {
    One,
    Sectors,
    Milliseconds,
}

/// One family per column after the name, in the kernel's order (Documentation/admin-guide/iostats).
/// Older kernels stop earlier.
const COLUMNS: [(&str, MetricKind, Unit, &str); 17] = [
    (
        "node_disk_reads_completed_total",
        Counter,
        Unit::One,
        "The total number of reads completed successfully.",
    ),
    (
        "node_disk_reads_merged_total",
        Counter,
        Unit::One,
        "The total number of reads merged.",
    ),
    (
        "node_disk_read_bytes_total",
        Counter,
        Unit::Sectors,
        "The total number of bytes read successfully.",
    ),
    (
        "node_disk_read_time_seconds_total",
        Counter,
        Unit::Milliseconds,
        "The total number of seconds spent by all reads.",
    ),
    (
        "node_disk_writes_completed_total",
        Counter,
        Unit::One,
        "The total number of writes completed successfully.",
    ),
    (
        "node_disk_writes_merged_total",
        Counter,
        Unit::One,
        "The number of writes merged.",
    ),
    (
        "node_disk_written_bytes_total",
        Counter,
        Unit::Sectors,
        "The total number of bytes written successfully.",
    ),
    (
        "node_disk_write_time_seconds_total",
        Counter,
        Unit::Milliseconds,
        "This is the total number of seconds spent by all writes.",
    ),
    (
        "node_disk_io_now",
        Gauge,
        Unit::One,
        "The number of I/Os currently in progress.",
    ),
    (
        "node_disk_io_time_seconds_total",
        Counter,
        Unit::Milliseconds,
        "Total seconds spent doing I/Os.",
    ),
    (
        "node_disk_io_time_weighted_seconds_total",
        Counter,
        Unit::Milliseconds,
        "The weighted # of seconds spent doing I/Os.",
    ),
    (
        "node_disk_discards_completed_total",
        Counter,
        Unit::One,
        "The total number of discards completed successfully.",
    ),
    (
        "node_disk_discards_merged_total",
        Counter,
        Unit::One,
        "The total number of discards merged.",
    ),
    (
        "node_disk_discarded_sectors_total",
        Counter,
        Unit::One,
        "The total number of sectors discarded successfully.",
    ),
    (
        "node_disk_discard_time_seconds_total",
        Counter,
        Unit::Milliseconds,
        "This is the total number of seconds spent by all discards.",
    ),
    (
        "node_disk_flush_requests_total",
        Counter,
        Unit::One,
        "The total number of flush requests completed successfully",
    ),
    (
        "node_disk_flush_requests_time_seconds_total",
        Counter,
        Unit::Milliseconds,
        "This is the total number of seconds spent by all flush requests.",
    ),
];

struct Disk<'a> {
    major: &'a str,
    minor: &'a str,
    device: &'a str,
    values: Vec<u64>,
}

pub(super) fn diskstats(state: &mut State, page: &mut Encoder<'_>) -> Result<(), CollectError> {
    let text = state.proc.read("diskstats", &mut state.text)?;
    let mut disks = Vec::new();
    for line in text.lines() {
        let mut fields = line.split_ascii_whitespace();
        let (Some(major), Some(minor), Some(device)) =
            (fields.next(), fields.next(), fields.next())
        else {
            return Err(state
                .proc
                .malformed("diskstats", format!("a line {line:?}")));
        };
        if is_left_out(device) {
            continue;
        }
        let values = fields
            .take(COLUMNS.len())
            .map(|field| {
                whole(field).ok_or_else(|| state.proc.malformed("diskstats", format!("{field:?}")))
            })
            .collect::<Result<_, _>>()?;
        disks.push(Disk {
            major,
            minor,
            device,
            values,
        });
    }
    for (column, (name, kind, unit, help)) in COLUMNS.into_iter().enumerate() {
        let mut begun = false;
        for disk in &disks {
            let Some(&value) = disk.values.get(column) else {
                continue;
            };
            if !std::mem::replace(&mut begun, true) {
                page.family(name, kind, help);
            }
            let value = match unit {
                Unit::One => value as f64,
                Unit::Sectors => value as f64 * 512.0,
                Unit::Milliseconds => value as f64 / 1000.0,
            };
            page.sample(name, [("device", disk.device)], value);
        }
    }
    let mut buffers = (&mut state.more, &mut state.path);
    page.family(
        "node_disk_info",
        Gauge,
        "Info of /sys/block/<block_device>.",
    );
    let mut udevs = Vec::with_capacity(disks.len());
    for disk in &disks {
        udevs.push(write_info(
            disk,
            &state.sys,
            &state.udev,
            &mut buffers,
            page,
        ));
    }
    write_contents(&disks, &udevs, page);
    Ok(())
}

/// Devices that node_exporter leaves out by default: memory, loop and floppy devices, and
/// partitions of disks.
fn is_left_out(device: &str) -> bool {
    let stem = device.trim_end_matches(|ch: char| ch.is_ascii_digit());
    if stem.len() == device.len() {
        return false;
    }
    if matches!(stem, "ram" | "zram" | "loop" | "fd") {
        return true;
    }
    for kind in ["hd", "sd", "vd", "xvd"] {
        if let Some([b'a'..=b'z']) = stem.strip_prefix(kind).map(str::as_bytes) {
            return true;
        }
    }
    // nvme0n1p2
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    stem.strip_prefix("nvme")
        .and_then(|rest| rest.strip_suffix('p'))
        .and_then(|rest| rest.split_once('n'))
        .is_some_and(|(controller, space)| is_number(controller) && is_number(space))
}

/// The properties udev has found for a device.
struct Udev(String);

impl Udev {
    fn get(&self, key: &str) -> &str {
        self.0
            .lines()
            .filter_map(|line| line.strip_prefix("E:")?.split_once('='))
            .find_map(|(name, value)| (name == key).then_some(value))
            .unwrap_or_default()
    }
}

fn write_info(
    disk: &Disk<'_>,
    sys: &super::Root,
    udev: &super::Root,
    (text, path): &mut (&mut Vec<u8>, &mut String),
    page: &mut Encoder<'_>,
) -> Udev {
    use std::fmt::Write as _;

    path.clear();
    let _ = write!(path, "b{}:{}", disk.major, disk.minor);
    let udev = Udev(udev.read(path, text).map(str::to_owned).unwrap_or_default());
    path.clear();
    // A `/` in a device's name is a `!` in sysfs.
    let _ = write!(
        path,
        "block/{}/queue/rotational",
        disk.device.replace('/', "!")
    );
    let rotational = if sys.attribute(path, text) == Some("1") {
        "1"
    } else {
        "0"
    };
    let serial = ["SCSI_IDENT_SERIAL", "ID_SERIAL_SHORT", "ID_SERIAL"]
        .into_iter()
        .map(|key| udev.get(key))
        .find(|serial| !serial.is_empty())
        .unwrap_or_default();
    let labels = [
        ("device", disk.device),
        ("major", disk.major),
        ("minor", disk.minor),
        ("model", udev.get("ID_MODEL")),
        ("path", udev.get("ID_PATH")),
        ("revision", udev.get("ID_REVISION")),
        ("rotational", rotational),
        ("serial", serial),
        ("wwn", udev.get("ID_WWN")),
    ];
    page.sample("node_disk_info", labels, 1.0);
    udev
}

/// What is on the devices: file systems and logical volumes.
fn write_contents(disks: &[Disk<'_>], udevs: &[Udev], page: &mut Encoder<'_>) {
    let known = |key: &'static str| {
        disks
            .iter()
            .zip(udevs)
            .filter(move |(_, udev)| !udev.get(key).is_empty())
    };
    let mut begun = false;
    for (disk, udev) in known("ID_FS_TYPE") {
        let name = "node_disk_filesystem_info";
        if !std::mem::replace(&mut begun, true) {
            page.family(name, Gauge, "Info about disk filesystem.");
        }
        let labels = [
            ("device", disk.device),
            ("type", udev.get("ID_FS_TYPE")),
            ("usage", udev.get("ID_FS_USAGE")),
            ("uuid", udev.get("ID_FS_UUID")),
            ("version", udev.get("ID_FS_VERSION")),
        ];
        page.sample(name, labels, 1.0);
    }
    let mut begun = false;
    for (disk, udev) in known("DM_NAME") {
        let name = "node_disk_device_mapper_info";
        if !std::mem::replace(&mut begun, true) {
            page.family(name, Gauge, "Info about disk device mapper.");
        }
        let labels = [
            ("device", disk.device),
            ("lv_layer", udev.get("DM_LV_LAYER")),
            ("lv_name", udev.get("DM_LV_NAME")),
            ("name", udev.get("DM_NAME")),
            ("uuid", udev.get("DM_UUID")),
            ("vg_name", udev.get("DM_VG_NAME")),
        ];
        page.sample(name, labels, 1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_and_memory_devices_are_left_out() {
        for device in [
            "sda1",
            "vdb12",
            "xvda1",
            "nvme0n1p1",
            "loop7",
            "ram0",
            "zram0",
            "fd0",
        ] {
            assert!(is_left_out(device), "{device}");
        }
        for device in [
            "sda",
            "vda",
            "nvme0n1",
            "dm-0",
            "md127",
            "sr0",
            "sdaa1",
            "mmcblk0p1",
        ] {
            assert!(!is_left_out(device), "{device}");
        }
    }
}
