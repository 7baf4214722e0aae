//! Targets from files, and what reloads do.

use barograph_model::Pattern;
use barograph_model::relabel::{RelabelAction, RelabelRule};
use barograph_scraper::{FileDiscovery, ScrapeConfig};

use crate::support::{Body, Stack, job, until};

fn addresses(stack: &Stack) -> Vec<String> {
    let mut all: Vec<_> = stack
        .scraper
        .targets()
        .iter()
        .map(|target| target.labels.get("instance").to_owned())
        .collect();
    all.sort();
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_followed_and_bad_ones_keep_the_last_good_content() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let write = |name: &str, text: &str| {
        std::fs::write(directory.path().join(name), text).expect("writable");
    };
    write(
        "one.json",
        r#"[{"targets": ["a:1"], "labels": {"env": "x"}}]"#,
    );
    let config = ScrapeConfig {
        static_targets: Vec::new(),
        collector: Some(Body::new("m 1\n").collector()),
        file_discovery: vec![FileDiscovery {
            files: ["*.json", "*.yml"]
                .map(|name| directory.path().join(name))
                .into(),
            refresh_interval_ms: 300_000,
        }],
        ..job("")
    };
    let stack = Stack::new();
    stack.scraper.apply(vec![config]).await;
    assert_eq!(addresses(&stack), ["a:1"], "known when apply returns");
    let target = stack.target();
    assert_eq!(target.labels.get("env"), "x");
    assert!(
        target
            .discovered_labels
            .get("__meta_filepath")
            .ends_with("one.json")
    );

    write("two.yml", "- targets: ['b:1', 'c:1']\n");
    until("the second file", || {
        addresses(&stack) == ["a:1", "b:1", "c:1"]
    })
    .await;
    write("one.json", "[{ broken");
    write("two.yml", "- targets: ['c:1']\n");
    until("the change", || addresses(&stack) == ["a:1", "c:1"]).await;
    assert!(stack.counter("prometheus_sd_file_read_errors_total") >= 1.0);
    std::fs::remove_file(directory.path().join("one.json")).expect("removable");
    until("the removal", || addresses(&stack) == ["c:1"]).await;
    stack.scraper.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dropped_targets_are_kept_up_to_the_limit() {
    let mut config = ScrapeConfig {
        keep_dropped_targets: 1,
        collector: Some(Body::new("m 1\n").collector()),
        relabel: vec![RelabelRule {
            action: RelabelAction::Drop,
            source_labels: vec!["__address__".into()],
            regex: Pattern::new("drop.*").expect("valid"),
            ..RelabelRule::default()
        }],
        ..job("keep:1")
    };
    let targets = &mut config.static_targets[0].targets;
    targets.extend(["drop:1", "drop:2", "keep:1", "keep:1/path"].map(str::to_owned));
    let stack = Stack::new();
    stack.scraper.apply(vec![config]).await;
    assert_eq!(
        addresses(&stack),
        ["keep:1"],
        "duplicates are one target, invalid ones none"
    );
    let (dropped, counts) = stack.scraper.dropped_targets();
    assert_eq!(dropped.len(), 1);
    assert_eq!(dropped[0].discovered_labels.get("__address__"), "drop:1");
    assert_eq!(counts, [("test".to_owned(), 2)]);
    stack.scraper.stop().await;
}
