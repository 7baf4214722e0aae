use super::*;

const PATH: &str = "conf/prometheus.yml";

fn load(text: &str) -> Result<Config, ConfigError> {
    resolve::config(
        Path::new(PATH),
        text,
        &Collectors::none(),
        ParseOptions::default().into(),
    )
}

fn loaded(text: &str) -> Config {
    load(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn refused(text: &str) -> ConfigError {
    match load(text) {
        Ok(_) => panic!("accepted:\n{text}"),
        Err(error) => error,
    }
}

/// A job with further lines.
fn job(lines: &str) -> String {
    let lines = lines.replace('\n', "\n  ");
    format!("scrape_configs:\n- job_name: a\n  {lines}\n")
}

#[test]
fn what_does_not_fit_is_refused_at_its_place() {
    for (text, position, want) in [
        (
            "global: {scrape_interval: 5x}\n",
            (1, 27),
            "not a valid duration string: \"5x\"",
        ),
        (
            "global:\n  scrape_interval: 1m\n  scrape_timeout: 2m\n",
            (3, 19),
            "scrape timeout greater than scrape interval",
        ),
        (
            "scrape_config: []\n",
            (1, 1),
            "did you mean scrape_configs?",
        ),
        (
            "global:\n  nonsense_of_mine: 1\n",
            (2, 3),
            "this section has no such field",
        ),
        (
            &job("scrape_intervall: 5s"),
            (3, 3),
            "did you mean scrape_interval?",
        ),
        (
            &job("job_name: b"),
            (3, 3),
            "duplicate mapping key: job_name",
        ),
        (
            &job("scrape_interval: 5s\nscrape_timeout: 6s"),
            (4, 19),
            "scrape timeout greater than scrape interval for scrape config with job name \"a\"",
        ),
        (
            &job("scrape_interval: 0s"),
            (2, 13),
            "scrape_interval must be above 0",
        ),
        (
            &job("scheme: ftp"),
            (3, 11),
            "unknown scheme \"ftp\": use one of http, https, barograph",
        ),
        (
            &job("scheme: barograph"),
            (0, 0),
            "metrics_path is /host or /self",
        ),
        (
            &job("scheme: barograph\nmetrics_path: /disk"),
            (4, 17),
            "no collector \"/disk\" is built in",
        ),
        (
            &job("scrape_protocols: [OpenMetricsText9]"),
            (3, 22),
            "unknown scrape protocol",
        ),
        (
            &job("scrape_protocols: []"),
            (3, 21),
            "scrape_protocols cannot be empty",
        ),
        (
            &job("scrape_protocols: [PrometheusText0.0.4, PrometheusText0.0.4]"),
            (3, 21),
            "duplicated protocol",
        ),
        (&job("body_size_limit: 5"), (3, 20), "\"5\" is no size"),
        (&job("sample_limit: -1"), (3, 17), ""),
        (&job("honor_labels: maybe"), (3, 17), ""),
        (
            &job("static_configs:\n- targets: ['http://x:1/y']"),
            (4, 15),
            "is not a valid hostname",
        ),
        (
            &job("file_sd_configs:\n- files: ['targets.txt']"),
            (4, 13),
            "must end in .json, .yml or .yaml",
        ),
        (
            &job("file_sd_configs:\n- refresh_interval: 5s"),
            (0, 0),
            "must name at least one file",
        ),
        (
            &job("relabel_configs:\n- regex: '('"),
            (4, 12),
            "error parsing regexp",
        ),
        (
            &job("relabel_configs:\n- action: shout"),
            (4, 13),
            "unknown relabel action \"shout\"",
        ),
        (
            &job("relabel_configs:\n- source_labels: [x]"),
            (4, 5),
            "replace needs a `target_label`",
        ),
        (
            &job("relabel_configs:\n- action: hashmod\n  target_label: x"),
            (4, 5),
            "needs a `modulus` above 0",
        ),
        (
            &job("relabel_configs:\n- action: labeldrop\n  regex: x\n  target_label: y"),
            (4, 5),
            "labeldrop takes only `regex`",
        ),
        (
            &job("relabel_configs:\n- action: keepequal\n  target_label: y\n  regex: x"),
            (4, 5),
            "takes only `source_labels` and `target_label`",
        ),
        (
            &job("relabel_configs:\n- action: lowercase\n  target_label: y\n  replacement: x"),
            (4, 5),
            "takes no `replacement`",
        ),
        (
            &job("basic_auth: {username: u, password: p}\nauthorization: {credentials: c}"),
            (2, 3),
            "at most one of basic_auth",
        ),
        (
            &job("basic_auth: {password: p, password_file: f}"),
            (2, 3),
            "at most one of basic_auth.password",
        ),
        (
            &job("authorization: {type: basic, credentials: c}"),
            (2, 3),
            "cannot be Basic",
        ),
        (
            "scrape_configs:\n- job_name: a\n- job_name: a\n",
            (3, 13),
            "found multiple scrape configs with job name \"a\"",
        ),
        (
            "scrape_configs:\n- scrape_interval: 5s\n",
            (2, 3),
            "job_name is empty",
        ),
        (
            "alerting:\n  alertmanagers:\n  - scheme: gopher\n",
            (3, 13),
            "unknown scheme",
        ),
        (
            "alerting:\n  alertmanagers:\n  - api_version: v1\n",
            (3, 18),
            "unknown Alertmanager api version",
        ),
        (
            "rule_files: ['a/*/b.yml']\n",
            (1, 14),
            "only its last part may hold a wildcard",
        ),
        (
            "storage: {tsdb: {retention: {percentage: 101}}}\n",
            (1, 42),
            "between 0 and 100",
        ),
        (
            "global: {metric_name_validation_scheme: legacy, metric_name_escaping_scheme: allow-utf-8}\n",
            (0, 0),
            "needs metric_name_validation_scheme utf8",
        ),
        ("scrape_configs: [\n", (1, 17), ""),
        ("- a\n- b\n", (1, 1), ""),
    ] {
        let error = refused(text);
        let at = error.position.unwrap_or((0, 0));
        assert_eq!(at, position, "{error}\n{text}");
        assert!(error.message.contains(want), "{error}\nwant {want}\n{text}");
        assert!(!error.in_rules);
        if at != (0, 0) {
            let shown = error.excerpt.as_deref().expect("an excerpt");
            assert!(shown.ends_with('^'), "{shown}");
        }
    }
}

#[test]
fn messages_name_file_line_and_column_and_mark_the_spot() {
    let error = refused(&job("scrape_interval: fast"));
    let want = "conf/prometheus.yml:3:20: not a valid duration string: \"fast\" (write for example 15s, 1m30s or 100ms)\n   \
                |\n 3 |   scrape_interval: fast\n   |                    ^";
    assert_eq!(error.to_string(), want);
}

#[test]
fn an_empty_file_is_a_configuration() {
    for text in ["", "# nothing\n", "global:\nscrape_configs:\n", "---\n"] {
        let config = loaded(text);
        assert!(
            config.jobs.is_empty() && config.notices.is_empty(),
            "{text}"
        );
        assert_eq!(config.evaluation_interval_ms, 60_000);
    }
}

#[test]
fn defaults_and_what_jobs_inherit() {
    let config = loaded(
        "global: {scrape_interval: 5s, sample_limit: 7, body_size_limit: 1KB, metric_name_validation_scheme: legacy}\n\
         scrape_configs:\n- job_name: a\n- job_name: b\n  scrape_interval: 2m\n  sample_limit: 9\n",
    );
    let [a, b] = config.jobs.as_slice() else {
        panic!("two jobs");
    };
    assert_eq!(
        (a.interval_ms, a.timeout_ms, a.sample_limit),
        (5_000, 5_000, 7)
    );
    assert_eq!(
        (b.interval_ms, b.timeout_ms, b.sample_limit),
        (120_000, 5_000, 9)
    );
    assert_eq!(
        (a.scheme.as_str(), a.metrics_path.as_str()),
        ("http", "/metrics")
    );
    assert!(a.legacy_names && a.honor_timestamps && a.enable_compression && !a.honor_labels);
    assert_eq!(a.body_size_limit_bytes, 1024);
    assert_eq!(a.scrape_protocols[0], "OpenMetricsText1.0.0");
    assert!(a.http.follow_redirects);
    let config = loaded(
        "global: {scrape_native_histograms: true}\n\
         scrape_configs:\n- job_name: a\n- job_name: b\n  scrape_native_histograms: false\n",
    );
    let [a, b] = config.jobs.as_slice() else {
        panic!("two jobs");
    };
    // Only protocol buffers have them.
    assert!(a.scrape_native_histograms && a.scrape_protocols[0] == "PrometheusProto");
    assert!(!b.scrape_native_histograms && b.scrape_protocols[0] == "OpenMetricsText1.0.0");
}

#[test]
fn targets_paths_and_credentials_are_resolved() {
    let config = loaded(&job("params: {module: [x, y]}\n\
         basic_auth: {username: u, password_file: pw}\n\
         tls_config: {ca_file: /ca.pem, insecure_skip_verify: true}\n\
         static_configs:\n- targets: ['h:1', 'h:2']\n  labels: {env: dev}\n\
         file_sd_configs:\n- files: ['t/*.yml']"));
    let job = &config.jobs[0];
    assert_eq!(job.static_targets[0].targets, ["h:1", "h:2"]);
    assert_eq!(job.static_targets[0].labels.get("env"), "dev");
    assert_eq!(job.file_discovery[0].files, [PathBuf::from("conf/t/*.yml")]);
    assert_eq!(job.file_discovery[0].refresh_interval_ms, 300_000);
    let auth = job.http.basic_auth.as_ref().expect("credentials");
    assert_eq!(
        auth.password,
        barograph_scraper::Secret::File("conf/pw".into())
    );
    assert_eq!(job.http.tls.ca_file, Some("/ca.pem".into()));
    assert_eq!(
        job.params,
        [("module".to_owned(), vec!["x".to_owned(), "y".to_owned()])]
    );
}

#[test]
fn alertmanagers_are_resolved() {
    let config = loaded(
        "alerting:\n  alert_relabel_configs: [{action: labeldrop, regex: x}]\n  alertmanagers:\n  - scheme: https\n    path_prefix: /am/\n    timeout: 3s\n    static_configs: [{targets: ['h:9093', 'drop:1']}]\n    relabel_configs: [{action: drop, source_labels: [__address__], regex: 'drop.*'}]\n",
    );
    assert_eq!(config.alertmanagers.len(), 1);
    assert_eq!(config.alertmanagers[0].url, "https://h:9093/am");
    assert_eq!(config.alertmanagers[0].timeout_ms, 3_000);
    assert_eq!(config.alert_relabel.len(), 1);
}

#[test]
fn what_is_accepted_but_not_built_is_said() {
    for (text, want, loud) in [
        (
            job("consul_sd_configs: [{server: x}]"),
            "NO targets: consul_sd_configs is not built",
            true,
        ),
        (
            job("static_configs: [{targets: [x]}]\ndns_sd_configs: [{names: [x]}]"),
            "dns_sd_configs is not built: its targets are missing",
            true,
        ),
        (
            job("oauth2: {client_id: x}"),
            "oauth2 is accepted but not built",
            true,
        ),
        (
            job("scrape_failure_log_file: x"),
            "scrape_failure_log_file is accepted but not built",
            false,
        ),
        (
            "remote_write: [{url: 'http://x'}]\n".into(),
            "remote_write is accepted but not built",
            true,
        ),
        (
            "remote_read: [{url: 'http://x'}]\n".into(),
            "remote_read is accepted",
            true,
        ),
        (
            "tracing: {endpoint: x}\n".into(),
            "tracing is accepted",
            false,
        ),
        (
            "global: {query_log_file: q}\n".into(),
            "global: query_log_file",
            false,
        ),
        (
            "rule_files: ['absent/*.yml']\n".into(),
            "matches no file",
            false,
        ),
        (
            "alerting: {alertmanagers: [{dns_sd_configs: [{names: [x]}]}]}\n".into(),
            "alerts are NOT sent",
            true,
        ),
        (
            "global: {external_labels: {a: '${BAROGRAPH_TEST_ABSENT}'}}\n".into(),
            "no BAROGRAPH_TEST_ABSENT",
            false,
        ),
    ] {
        let config = loaded(&text);
        let found = config
            .notices
            .iter()
            .find(|notice| notice.text.contains(want));
        let notice = found.unwrap_or_else(|| panic!("{want}: {:?}", config.notices));
        assert_eq!(notice.loud, loud, "{text}");
    }
}

#[test]
fn every_kind_of_discovery_prometheus_knows_is_accepted() {
    for kind in [
        "azure",
        "aws",
        "consul",
        "digitalocean",
        "dns",
        "docker",
        "dockerswarm",
        "ec2",
        "eureka",
        "gce",
        "hetzner",
        "http",
        "ionos",
        "kubernetes",
        "kuma",
        "lightsail",
        "linode",
        "marathon",
        "nerve",
        "nomad",
        "oci",
        "openstack",
        "outscale",
        "ovhcloud",
        "puppetdb",
        "scaleway",
        "serverset",
        "stackit",
        "triton",
        "uyuni",
        "vultr",
    ] {
        let config = loaded(&job(&format!("{kind}_sd_configs: [{{a: b}}]")));
        assert!(
            config
                .notices
                .iter()
                .any(|n| n.loud && n.text.contains(kind)),
            "{kind}"
        );
    }
}

#[test]
fn the_environment_fills_external_labels() {
    let path = std::env::var("PATH").expect("a PATH");
    let config =
        loaded("global: {external_labels: {a: 'x${PATH}y', b: '$PATH', c: '$$PATH', d: plain}}\n");
    assert_eq!(config.external_labels.get("a"), format!("x{path}y"));
    assert_eq!(config.external_labels.get("b"), path);
    assert_eq!(config.external_labels.get("c"), "$PATH");
    assert_eq!(config.external_labels.get("d"), "plain");
}

#[test]
fn the_configuration_is_shown_with_defaults_and_without_secrets() {
    let config = loaded(&job("basic_auth: {username: u, password: hunter2}\n\
         http_headers: {X-Key: {secrets: [hunter3]}}\n\
         consul_sd_configs: [{server: s, token: hunter4}]\n\
         metric_relabel_configs: [{action: drop, source_labels: [a], regex: x}]\n\
         static_configs: [{targets: ['h:1']}]"));
    assert!(!config.shown.contains("hunter"), "{}", config.shown);
    assert_eq!(
        config.shown.matches("<secret>").count(),
        3,
        "{}",
        config.shown
    );
    for want in [
        "  scrape_interval: 1m\n",
        "  scrape_timeout: 10s\n",
        "  metrics_path: /metrics\n",
        "  - source_labels:\n    - a\n    separator: ;\n    regex: x\n    replacement: $1\n    action: drop\n",
        "    - h:1\n",
    ] {
        assert!(config.shown.contains(want), "{want}\n{}", config.shown);
    }
    // What is shown is a configuration again, apart from the secrets.
    let again = loaded(&config.shown);
    assert_eq!(again.shown, config.shown);
}

#[test]
fn the_built_in_configuration_fits_any_host_name() {
    for hostname in ["vm", "host.example.org", "", "we'ird\nname"] {
        let builtin = Builtin {
            hostname: hostname.into(),
            port: 1234,
        };
        let config = loaded(&builtin.text());
        let names: Vec<_> = config
            .jobs
            .iter()
            .map(|job| job.job_name.as_str())
            .collect();
        assert_eq!(names, ["barograph", "node"]);
        assert!(
            config
                .jobs
                .iter()
                .all(|job| job.collector.is_some() && job.interval_ms == 5_000)
        );
        assert_eq!(config.jobs[0].static_targets[0].targets, ["localhost:1234"]);
        assert!(!config.jobs[1].static_targets[0].targets[0].is_empty());
    }
}

#[test]
fn files_named_by_the_configuration_are_read_beside_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let write = |name: &str, text: &str| {
        std::fs::write(directory.path().join(name), text).expect("written");
    };
    write(
        "p.yml",
        "rule_files: ['r*.yml']\nscrape_config_files: ['more.yml']\nscrape_configs: [{job_name: a}]\n",
    );
    write("r1.yml", "groups: []\n");
    write("r2.yml", "groups: []\n");
    write("more.yml", "scrape_configs: [{job_name: b}]\n");
    let path = directory.path().join("p.yml");
    let config = Config::read(&path, &Collectors::none(), ParseOptions::default())
        .unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(config.jobs.len(), 2);
    assert_eq!(config.rules.len(), 2);
    assert_eq!(config.files.len(), 4);

    write("more.yml", "scrape_configs: [{job_name: a}]\n");
    let error = Config::read(&path, &Collectors::none(), ParseOptions::default())
        .err()
        .expect("a duplicate job");
    assert!(
        error.path.ends_with("more.yml") && error.message.contains("first found in"),
        "{error}"
    );
    write("more.yml", "scrape_configs: [{job: a}]\n");
    let error = Config::read(&path, &Collectors::none(), ParseOptions::default())
        .err()
        .expect("an unknown field");
    assert!(
        error.path.ends_with("more.yml") && error.position == Some((1, 19)),
        "{error}"
    );
}

#[test]
fn a_rule_file_is_refused_with_all_its_problems() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("rules.yml");
    let text = "groups:\n- name: g\n  rules:\n  - {record: a, expr: 'sum('}\n  - {alert: b, expr: 'up >'}\n";
    std::fs::write(&path, text).expect("written");
    let error = super::read_rules(&path, ParseOptions::default())
        .expect_err("two bad expressions")
        .to_string();
    for place in ["rules.yml:4:", "rules.yml:5:"] {
        assert!(error.contains(place), "{error}\nwant {place}");
    }
}

#[test]
fn urls_are_targets_where_relabelling_makes_addresses_of_them() {
    let relabelled = "relabel_configs:
- source_labels: [__address__]
  target_label: __param_target
- target_label: __address__
  replacement: blackbox:9115
static_configs:
- targets: ['https://example.org/path']";
    let config = loaded(&job(relabelled));
    let targets = &config.jobs[0].static_targets[0].targets;
    assert_eq!(targets[0], "https://example.org/path");
}
