//! The host collector on trees of files made here, and beside node_exporter where it is installed.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use barograph_exporters::{Host, HostOptions};

/// Files of a small host, made up for these tests: two processors, one disk with a partition, two
/// network devices.
const TREE: &[(&str, &str)] = &[
    ("proc/loadavg", "0.25 1.50 3.00 2/345 6789\n"),
    (
        "proc/stat",
        "cpu  30 0 0 0 0 0 0 0 0 0\n\
         cpu0 1000 20 300 40000 50 6 7 8 90 10\n\
         cpu1 2000 0 0 80000 0 0 0 0 0 0\n\
         intr 12345 1 2 3\nctxt 67890\nbtime 1700000000\nprocesses 4321\n\
         procs_running 3\nprocs_blocked 1\nsoftirq 5 1 2\n",
    ),
    (
        "proc/meminfo",
        "MemTotal:        2048 kB\nActive(anon):      10 kB\nHugePages_Total:       4\n",
    ),
    (
        "proc/vmstat",
        "nr_free_pages 5\npgpgin 100\npgfault 200\noom_kill 3\npgscan_kswapd 9\n",
    ),
    (
        "proc/pressure/cpu",
        "some avg10=0.00 avg60=0.00 avg300=0.00 total=1500000\n",
    ),
    (
        "proc/pressure/io",
        "some avg10=0.00 avg60=0.00 avg300=0.00 total=2500000\n\
         full avg10=0.00 avg60=0.00 avg300=0.00 total=500000\n",
    ),
    ("proc/sys/fs/file-nr", "1024\t0\t9000\n"),
    ("proc/sys/kernel/random/entropy_avail", "250\n"),
    ("proc/sys/kernel/random/poolsize", "256\n"),
    (
        "proc/diskstats",
        "   8  0 sda 10 1 200 3000 20 2 400 5000 1 6000 7000 3 4 80 90 5 600\n   \
            8  1 sda1 1 1 1 1 1 1 1 1 1 1 1\n \
          253  0 dm-0 7 0 8 9 1 1 2 3 0 4 5\n",
    ),
    (
        "proc/net/dev",
        "Inter-|   Receive                                                |  Transmit\n \
         face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs \
         drop fifo colls carrier compressed\n    \
         lo: 100 1 0 0 0 0 0 0 100 1 0 0 0 0 0 0\n  \
         eth0:5000000000 20 1 2 3 4 5 6 7 8 9 10 11 12 13 14\n",
    ),
    (
        "proc/net/netstat",
        "TcpExt: SyncookiesSent ListenDrops DelayedACKs\nTcpExt: 5 6 7\n\
         IpExt: InOctets\nIpExt: 123\n",
    ),
    (
        "proc/net/snmp",
        "Tcp: CurrEstab MaxConn\nTcp: 9 -1\nUdp: InErrors\nUdp: 2\n",
    ),
    (
        "proc/net/sockstat",
        "sockets: used 290\nTCP: inuse 5 orphan 0 tw 4 alloc 17 mem 1\n",
    ),
    (
        "proc/net/softnet_stat",
        "0000000a 00000001 00000002 00000000 00000000 00000000 00000000 00000000 00000003 00000004 \
         00000005 00000006 00000001\n",
    ),
    (
        "proc/net/arp",
        "IP address HW type Flags HW address Mask Device\n\
         192.0.2.1 0x1 0x2 02:00:00:00:00:01 * eth0\n\
         192.0.2.2 0x1 0x2 02:00:00:00:00:02 * eth0\n",
    ),
    (
        "proc/net/udp",
        "  sl  local_address rem_address   st tx_queue rx_queue\n   \
         1: 00000000:0035 00000000:0000 07 00000010:00000020 00:0 0 0 0 1\n",
    ),
    (
        "proc/1/mountinfo",
        "25 0 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n\
         26 25 0:5 / /proc rw - proc proc rw\n\
         27 25 8:2 / /nowhere ro - xfs /dev/sda2 rw\n",
    ),
    ("sys/class/net/lo/operstate", "unknown\n"),
    ("sys/class/net/lo/flags", "0x9\n"),
    ("sys/class/net/eth0/operstate", "up\n"),
    ("sys/class/net/eth0/flags", "0x1003\n"),
    ("sys/class/net/eth0/mtu", "1500\n"),
    ("sys/class/net/eth0/speed", "1000\n"),
    ("sys/class/net/eth0/address", "02:00:00:00:00:09\n"),
    ("sys/class/net/eth0/statistics/rx_nohandler", "77\n"),
    ("sys/block/sda/queue/rotational", "1\n"),
    (
        "sys/devices/system/clocksource/clocksource0/current_clocksource",
        "tsc\n",
    ),
    (
        "sys/devices/system/clocksource/clocksource0/available_clocksource",
        "tsc hpet \n",
    ),
    (
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq",
        "1800000\n",
    ),
    (
        "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count",
        "4\n",
    ),
    (
        "sys/devices/system/cpu/cpu0/topology/physical_package_id",
        "0\n",
    ),
    ("sys/devices/system/cpu/cpu0/topology/core_id", "2\n"),
    (
        "udev/b8:0",
        "S:disk/by-id/x\nE:ID_MODEL=Example \"Disk\"\nE:ID_SERIAL_SHORT=S123\n",
    ),
    (
        "root/etc/os-release",
        "ID=debian\nNAME=\"Debian GNU/Linux\"\nVERSION_ID=\"12.5\"\n",
    ),
];

/// What the collector must make of [`TREE`].
const WANT: &[&str] = &[
    "node_load1 0.25",
    "node_load15 3",
    "node_cpu_seconds_total{cpu=\"0\",mode=\"idle\"} 400",
    "node_cpu_seconds_total{cpu=\"0\",mode=\"steal\"} 0.08",
    "node_cpu_seconds_total{cpu=\"1\",mode=\"user\"} 20",
    "node_cpu_guest_seconds_total{cpu=\"0\",mode=\"nice\"} 0.1",
    "node_cpu_scaling_frequency_hertz{cpu=\"0\"} 1.8e+09",
    "node_cpu_core_throttles_total{core=\"2\",package=\"0\"} 4",
    "node_intr_total 12345",
    "node_context_switches_total 67890",
    "node_boot_time_seconds 1.7e+09",
    "node_forks_total 4321",
    "node_procs_running 3",
    "node_procs_blocked 1",
    "node_memory_MemTotal_bytes 2.097152e+06",
    "node_memory_Active_anon_bytes 10240",
    "node_memory_HugePages_Total 4",
    "node_vmstat_pgpgin 100",
    "node_vmstat_pgfault 200",
    "node_vmstat_oom_kill 3",
    "node_pressure_cpu_waiting_seconds_total 1.5",
    "node_pressure_io_stalled_seconds_total 0.5",
    "node_filefd_allocated 1024",
    "node_filefd_maximum 9000",
    "node_entropy_available_bits 250",
    "node_disk_reads_completed_total{device=\"sda\"} 10",
    "node_disk_read_bytes_total{device=\"sda\"} 102400",
    "node_disk_io_time_seconds_total{device=\"sda\"} 6",
    "node_disk_flush_requests_time_seconds_total{device=\"sda\"} 0.6",
    "node_disk_io_time_weighted_seconds_total{device=\"dm-0\"} 0.005",
    "node_disk_info{device=\"sda\",major=\"8\",minor=\"0\",model=\"Example \\\"Disk\\\"\",\
     rotational=\"1\",serial=\"S123\"} 1",
    "node_network_receive_bytes_total{device=\"eth0\"} 5e+09",
    "node_network_receive_multicast_total{device=\"eth0\"} 6",
    "node_network_transmit_compressed_total{device=\"eth0\"} 14",
    "node_network_receive_nohandler_total{device=\"eth0\"} 77",
    "node_network_up{device=\"eth0\"} 1",
    "node_network_up{device=\"lo\"} 0",
    "node_network_mtu_bytes{device=\"eth0\"} 1500",
    "node_network_flags{device=\"eth0\"} 4099",
    "node_network_speed_bytes{device=\"eth0\"} 1.25e+08",
    "node_network_info{address=\"02:00:00:00:00:09\",adminstate=\"up\",device=\"eth0\",\
     operstate=\"up\"} 1",
    "node_netstat_TcpExt_SyncookiesSent 5",
    "node_netstat_TcpExt_ListenDrops 6",
    "node_netstat_IpExt_InOctets 123",
    "node_netstat_Tcp_CurrEstab 9",
    "node_netstat_Udp_InErrors 2",
    "node_sockstat_sockets_used 290",
    "node_sockstat_TCP_alloc 17",
    "node_softnet_processed_total{cpu=\"1\"} 10",
    "node_softnet_backlog_len{cpu=\"1\"} 6",
    "node_arp_entries{device=\"eth0\"} 2",
    "node_udp_queues{ip=\"v4\",queue=\"rx\"} 32",
    "node_filesystem_device_error{device=\"/dev/sda1\",fstype=\"ext4\",mountpoint=\"/\"} 0",
    "node_filesystem_device_error{device=\"/dev/sda2\",device_error=\"no such file or directory\",\
     fstype=\"xfs\",mountpoint=\"/nowhere\"} 1",
    "node_filesystem_readonly{device=\"/dev/sda2\",device_error=\"no such file or directory\",\
     fstype=\"xfs\",mountpoint=\"/nowhere\"} 1",
    "node_filesystem_mount_info{device=\"/dev/sda1\",major=\"8\",minor=\"1\",mountpoint=\"/\"} 1",
    "node_time_clocksource_available_info{clocksource=\"hpet\",device=\"0\"} 1",
    "node_time_clocksource_current_info{clocksource=\"tsc\",device=\"0\"} 1",
    "node_os_version{id=\"debian\",name=\"Debian GNU/Linux\"} 12.5",
    "node_scrape_collector_success{collector=\"conntrack\"} 0",
    "node_scrape_collector_success{collector=\"cpu\"} 1",
];

/// Series that must not be there.
const NOT_WANT: &[&str] = &[
    "node_disk_reads_completed_total{device=\"sda1\"}",
    "node_disk_discards_completed_total{device=\"dm-0\"}",
    "node_vmstat_nr_free_pages",
    "node_netstat_TcpExt_DelayedACKs",
    "node_netstat_Tcp_MaxConn",
    "node_pressure_memory_waiting_seconds_total",
    "node_nf_conntrack_entries",
    "node_filesystem_size_bytes{device=\"/dev/sda2\"",
    "node_filesystem_readonly{device=\"proc\"",
];

fn write_tree(root: &Path) -> HostOptions {
    for (path, content) in TREE {
        let path = root.join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(path, content).expect("a file");
    }
    HostOptions {
        procfs: root.join("proc"),
        sysfs: root.join("sys"),
        rootfs: root.join("root"),
        udev_data: root.join("udev"),
        mount_timeout: Duration::from_secs(10),
    }
}

/// Series as written, without labels of no value, with their values. Panics on anything that is no
/// line of the format, on a family that comes twice, and on a sample outside its family.
fn read_page(page: &str) -> BTreeMap<String, f64> {
    let mut samples = BTreeMap::new();
    let mut families = std::collections::BTreeSet::new();
    let mut family = String::new();
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            rest.split(' ')
                .next()
                .expect("a name")
                .clone_into(&mut family);
            assert!(families.insert(family.clone()), "{family} comes twice");
        } else if !line.starts_with("# HELP ") {
            let (series, value) = line.rsplit_once(' ').expect("a value");
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            assert_eq!(name, family, "a sample outside its family");
            let labels: Vec<&str> = labels
                .trim_end_matches('}')
                .split_inclusive("\",")
                .map(|label| label.strip_suffix(',').unwrap_or(label))
                .filter(|label| !label.is_empty() && !label.ends_with("=\"\""))
                .collect();
            let series = match labels.len() {
                0 => name.to_owned(),
                _ => format!("{name}{{{}}}", labels.join(",")),
            };
            let old = samples.insert(series, value.parse().expect("a number"));
            assert!(old.is_none(), "{line} comes twice");
        }
    }
    samples
}

fn collect(options: HostOptions) -> (String, BTreeMap<String, f64>) {
    let mut page = String::new();
    Host::new(options).collect(&mut page);
    let samples = read_page(&page);
    (page, samples)
}

#[test]
fn a_made_up_host_is_told_under_node_exporters_names() {
    let directory = tempfile::tempdir().expect("a directory");
    let (page, samples) = collect(write_tree(directory.path()));
    for want in WANT {
        let (series, value) = want.rsplit_once(' ').expect("a value");
        let value: f64 = value.parse().expect("a number");
        assert_eq!(samples.get(series), Some(&value), "{want} in:\n{page}");
    }
    for series in NOT_WANT {
        assert!(
            !samples.keys().any(|key| key.starts_with(series)),
            "{series} in:\n{page}"
        );
    }
}

#[test]
fn a_collector_that_fails_leaves_the_others() {
    let directory = tempfile::tempdir().expect("a directory");
    let options = write_tree(directory.path());
    fs::write(
        directory.path().join("proc/meminfo"),
        "MemTotal: 5 kB\nMemFree: much\n",
    )
    .expect("a file");
    fs::remove_file(directory.path().join("proc/loadavg")).expect("removed");
    fs::write(directory.path().join("proc/stat"), b"cpu0 1 \xff\n").expect("a file");
    let (page, samples) = collect(options);
    let success =
        |name: &str| samples[&format!("node_scrape_collector_success{{collector=\"{name}\"}}")];
    assert_eq!(success("meminfo"), 0.0);
    assert_eq!(success("cpu"), 0.0);
    assert_eq!(success("filefd"), 1.0);
    if cfg!(target_os = "linux") {
        assert_eq!(success("loadavg"), 0.0);
    }
    assert!(
        !page.contains("node_memory_MemTotal_bytes"),
        "half a collector's output:\n{page}"
    );
    assert_eq!(samples["node_filefd_allocated"], 1024.0);
}

#[test]
fn an_empty_tree_still_makes_a_page() {
    let directory = tempfile::tempdir().expect("a directory");
    let root = directory.path();
    let options = HostOptions {
        procfs: root.join("proc"),
        sysfs: root.join("sys"),
        rootfs: root.to_owned(),
        udev_data: root.join("udev"),
        ..HostOptions::default()
    };
    let (_, samples) = collect(options);
    assert!(samples.contains_key("node_time_seconds"));
    assert_eq!(
        samples["node_scrape_collector_success{collector=\"meminfo\"}"],
        0.0
    );
}

#[cfg(target_os = "linux")]
#[test]
fn this_host_is_told_twice_and_counters_do_not_fall() {
    let host = Host::new(HostOptions::default());
    let (mut first, mut second) = (String::new(), String::new());
    host.collect(&mut first);
    host.collect(&mut second);
    let (first, second) = (read_page(&first), read_page(&second));
    let counters = |samples: &BTreeMap<String, f64>| {
        samples.keys().filter(|key| key.contains("_total")).count()
    };
    assert!(counters(&first) > 20, "{first:?}");
    for (series, value) in first.iter().filter(|(series, _)| series.contains("_total")) {
        assert!(
            second.get(series).is_none_or(|later| later >= value),
            "{series} fell"
        );
    }
}

/// Names of the families whose collectors node_exporter 1.5.0 has and we have not.
#[cfg(target_os = "linux")]
const NOT_OURS: [&str; 5] = [
    "node_textfile_",
    "node_selinux_",
    "node_hwmon_",
    "node_thermal_zone_",
    "node_dmi_",
];

/// Every metric name of the collectors both have, with the same HELP and TYPE.
#[cfg(target_os = "linux")]
#[test]
fn no_name_of_node_exporter_is_missing() {
    use std::io::{BufRead, BufReader, Read, Write};
    use std::process::{Command, Stdio};

    let started = Command::new("prometheus-node-exporter")
        .args(["--web.listen-address=127.0.0.1:0"])
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn();
    let mut exporter = started.unwrap_or_else(|error| {
        panic!("prometheus-node-exporter does not start here ({error}): tests/run installs it")
    });
    // Kept to the end: the exporter dies of a log line that nobody can read.
    let mut log = BufReader::new(exporter.stderr.take().expect("piped")).lines();
    let address = log
        .by_ref()
        .map_while(Result::ok)
        .take(200)
        .find_map(|line| {
            let (_, rest) = line.split_once("address=127.0.0.1:")?;
            Some(format!("127.0.0.1:{}", rest.split_whitespace().next()?))
        });
    let mut reply = String::new();
    let outcome = address.as_deref().map(|address| {
        let mut stream = std::net::TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n")?;
        stream.read_to_string(&mut reply)
    });
    exporter.kill().expect("stopped");
    exporter.wait().expect("stopped");
    outcome.expect("an address in the log").expect("a reply");

    let mut page = String::new();
    Host::new(HostOptions::default()).collect(&mut page);
    let ours: Vec<&str> = page.lines().filter(|line| line.starts_with('#')).collect();
    let mut compared = 0;
    for line in reply.lines().filter(|line| line.starts_with("# ")) {
        let name = line.split(' ').nth(2).expect("a name");
        if name.starts_with("node_") && !NOT_OURS.iter().any(|start| name.starts_with(start)) {
            assert!(ours.contains(&line), "missing: {line}");
            compared += 1;
        }
    }
    assert!(compared > 200, "only {compared} lines compared:\n{reply}");
}
