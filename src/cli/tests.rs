use super::*;
use crate::tools::Check;
use barograph_tsdb::Retention;

fn settings(arguments: &[&str]) -> Settings {
    match run(arguments) {
        Ok(Invocation::Serve(settings)) => *settings,
        other => panic!("{arguments:?}: {other:?}"),
    }
}

fn run(arguments: &[&str]) -> Result<Invocation, Stop> {
    let line = std::iter::once("barograph").chain(arguments.iter().copied());
    parse(line.map(str::to_owned))
}

#[test]
fn every_flag_of_the_table_parses_and_shows_what_was_given() {
    for flag in FLAGS {
        let value = match flag.kind {
            Kind::Bool => "true",
            Kind::Text | Kind::List => match flag.name {
                "log.level" => "warn",
                "log.format" => "json",
                "web.external-url" => "http://example.org/x",
                "storage.tsdb.wal-sync" => "off",
                "storage.tsdb.block-access" => "pread",
                "web.remote-write-receiver.accepted-protobuf-messages" => "prometheus.WriteRequest",
                _ => "some",
            },
            Kind::Duration => "90s",
            Kind::Size => "2KB",
            Kind::Number => "7",
            Kind::Float => "0.5",
        };
        let argument = format!("--{}={value}", flag.name);
        if flag.name == "agent" {
            assert!(run(&[&argument]).is_err(), "agent mode is refused");
            continue;
        }
        let settings = settings(&[&argument]);
        let want = if value == "90s" { "1m30s" } else { value };
        assert_eq!(settings.shown[flag.name], want, "{}", flag.name);
        let said = settings.notices.iter().any(|n| n.contains(flag.name));
        let expected = flag.support != table::Support::Built || flag.name == "enable-feature";
        assert_eq!(said, expected, "{}", flag.name);
    }
}

#[test]
fn defaults_are_prometheus_s() {
    let settings = settings(&[]);
    assert_eq!(settings.listen_addresses, ["0.0.0.0:9090"]);
    assert_eq!(settings.lookback_ms, 300_000);
    assert_eq!(settings.query_max_samples, 50_000_000);
    assert_eq!(settings.query_max_memory_bytes, 2 << 30);
    assert_eq!(settings.query_max_total_memory_bytes, None);
    assert_eq!(settings.route_prefix, "/");
    assert_eq!(
        settings.retention(None),
        Retention::of_time(15 * 86_400_000)
    );
    assert_eq!(settings.retention(Some(Retention::of_time(1))).time_ms, 1);
    assert!(settings.drain_notifications && !settings.enable_lifecycle);
    assert!(settings.notices.is_empty() && settings.config_file.is_none());
}

#[test]
fn a_size_alone_sets_no_time() {
    let flag = "--storage.tsdb.retention.size=2KB";
    let retention = settings(&[flag]).retention(None);
    assert_eq!((retention.time_ms, retention.size_bytes), (0, 2048));
    let both = settings(&[flag, "--storage.tsdb.retention.time=1d"]).retention(None);
    assert_eq!((both.time_ms, both.size_bytes), (86_400_000, 2048));
}

#[test]
fn switches_are_said_in_all_ways_people_say_them() {
    for (arguments, want) in [
        (&["--web.enable-lifecycle"][..], true),
        (&["--web.enable-lifecycle=true"], true),
        (&["--web.enable-lifecycle=false"], false),
        (&["--no-web.enable-lifecycle"], false),
        (
            &["--web.enable-lifecycle", "--no-web.enable-lifecycle"],
            false,
        ),
        (
            &["--no-web.enable-lifecycle", "--web.enable-lifecycle"],
            true,
        ),
    ] {
        assert_eq!(settings(arguments).enable_lifecycle, want, "{arguments:?}");
    }
}

#[test]
fn addresses_add_up_and_other_flags_take_the_last() {
    let settings = settings(&[
        "--web.listen-address=a:1",
        "--web.listen-address",
        "b:2",
        "--query.timeout=1s",
        "--query.timeout=2s",
        "--query.max-samples=5e7",
        "--query.max-total-memory=0",
    ]);
    assert_eq!(settings.listen_addresses, ["a:1", "b:2"]);
    assert_eq!(settings.query_max_total_memory_bytes, Some(0));
    assert_eq!(settings.query_timeout.as_secs(), 2);
    assert_eq!(settings.query_max_samples, 50_000_000);
}

#[test]
fn the_external_url_prefixes_routes_unless_a_prefix_is_given() {
    for (arguments, want) in [
        (&["--web.external-url=http://h/"][..], "/"),
        (&["--web.external-url=http://h/a/b/"], "/a/b/"),
        (
            &["--web.external-url=http://h/a", "--web.route-prefix=/"],
            "/",
        ),
        (&["--web.route-prefix=x"], "/x/"),
    ] {
        assert_eq!(settings(arguments).route_prefix, want, "{arguments:?}");
    }
}

#[test]
fn the_log_is_synced_as_told() {
    use barograph_tsdb::WalSync;
    let of = |text: &str| settings(&[&format!("--storage.tsdb.wal-sync={text}")]).wal_sync;
    assert_eq!(
        settings(&[]).wal_sync,
        WalSync::Interval(std::time::Duration::from_millis(200))
    );
    assert_eq!(of("always"), WalSync::Always);
    assert_eq!(of("off"), WalSync::Never);
    assert_eq!(
        of("1s"),
        WalSync::Interval(std::time::Duration::from_secs(1))
    );
}

#[test]
fn blocks_are_read_as_told() {
    use barograph_tsdb::BlockAccess;
    assert_eq!(settings(&[]).block_access, BlockAccess::Mmap);
    assert_eq!(settings(&[]).compaction_rate, 64 << 20);
    let flags = [
        "--storage.tsdb.block-access=pread",
        "--storage.tsdb.compaction-rate=0",
    ];
    let told = settings(&flags);
    assert_eq!(told.block_access, BlockAccess::Pread);
    assert_eq!(told.compaction_rate, 0);
}

#[test]
fn what_does_not_fit_is_named() {
    for (argument, want) in [
        (
            "--storage.tsdb.wal-sync=0s",
            "--storage.tsdb.wal-sync must be always, off, or a duration",
        ),
        (
            "--storage.tsdb.block-access=dma",
            "--storage.tsdb.block-access must be mmap or pread",
        ),
        (
            "--storage.tsdb.wal-sync=sometimes",
            "--storage.tsdb.wal-sync must be always, off, or a duration",
        ),
        (
            "--storage.tsdb.retention=5d",
            "unknown flag --storage.tsdb.retention",
        ),
        ("--config.fil=x", "did you mean --config.file?"),
        (
            "--query.timeout=5",
            "--query.timeout: not a valid duration string",
        ),
        (
            "--query.max-samples=many",
            "--query.max-samples: \"many\" is no number",
        ),
        (
            "--query.max-concurrency=0",
            "--query.max-concurrency must be at least 1",
        ),
        (
            "--web.cors.origin=(",
            "--web.cors.origin: error parsing regexp",
        ),
        ("--log.level=loud", "none of debug, info, warn, error"),
        ("--web.external-url=nope", "is no URL"),
        ("--agent", "not built"),
    ] {
        let stop = run(&[argument]).expect_err(argument);
        assert!(!stop.asked_for);
        assert!(stop.text.contains(want), "{argument}: {}", stop.text);
    }
}

#[test]
fn help_and_version_are_no_errors_and_checks_name_their_files() {
    let help = run(&["--help"]).expect_err("help");
    assert!(help.asked_for && help.text.contains("--web.listen-address"));
    assert!(run(&["--version"]).expect_err("version").asked_for);
    assert!(
        matches!(run(&["check", "config", "a.yml"]), Ok(Invocation::Check(check)) if matches!(&*check, Check::Config { files, .. } if files[0].ends_with("a.yml")))
    );
    assert!(
        matches!(run(&["check", "rules", "a", "b"]), Ok(Invocation::Check(check)) if matches!(&*check, Check::Rules { files, .. } if files.len() == 2))
    );
}

#[test]
fn unknown_features_are_said_with_the_closest_name() {
    let settings = settings(&[
        "--enable-feature=promql-duration-expr,promql-experimental-functions,exemplar-storag",
    ]);
    assert_eq!(settings.notices.len(), 1);
    assert!(settings.notices[0].contains("did you mean exemplar-storage?"));
}
