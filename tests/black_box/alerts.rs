//! From a rule to a call.

use std::time::Duration;

use serde_json::Value;

use crate::harness::http::Request;
use crate::harness::receiver::Receiver;
use crate::harness::server::{Server, Setup};
use crate::harness::target::Page;
use crate::harness::wait::{wait_for, wait_until};

const LIMIT: Duration = Duration::from_secs(20);

const RULES: &str = "groups:
  - name: weather
    rules:
      - record: job:temperature:max
        expr: max by (job) (temperature)
      - alert: TooHot
        expr: temperature > 30
        for: 2s
        labels:
          severity: page
          place: '{{ $labels.room | toUpper }}'
        annotations:
          summary: '{{ $labels.room }} has {{ $value | printf \"%.1f\" }} degrees'
";

/// A server that watches `page`, evaluates [`RULES`] and notifies as `alerting` says.
fn setup(page: &Page, alerting: &str) -> Setup {
    Setup::with_config(&format!(
        "global:
  scrape_interval: 200ms
  scrape_timeout: 200ms
  evaluation_interval: 500ms
  external_labels:
    region: north
rule_files: [rules.yml]
{alerting}scrape_configs:
  - job_name: weather
    static_configs:
      - targets: ['{}']
",
        page.address()
    ))
    .file("rules.yml", RULES)
}

/// An `alertmanager.yml` that sends everything to one webhook, soon.
fn routing(url: &str) -> String {
    format!(
        "route:
  receiver: hook
  group_by: [alertname]
  group_wait: 0s
  group_interval: 1s
  repeat_interval: 1h
receivers:
  - name: hook
    webhook_configs:
      - url: '{url}'
        send_resolved: true
"
    )
}

fn cool(page: &Page) {
    page.set_metrics("temperature{room=\"attic\"} 21.5\n");
}

fn heat(page: &Page) {
    page.set_metrics("temperature{room=\"attic\"} 35.25\n");
}

fn status(request: &Request) -> String {
    request.json()["status"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

/// The state of the only alert, if there is one.
fn state(server: &Server) -> Option<String> {
    let alerts = server.data("alerts", &[]);
    let alerts = alerts["alerts"].as_array().expect("a list");
    assert!(alerts.len() <= 1, "{alerts:?}");
    Some(alerts.first()?["state"].as_str()?.to_owned())
}

#[test]
fn an_alert_pends_fires_calls_and_resolves() {
    let receiver = Receiver::start(&[200]);
    let page = Page::metrics("temperature{room=\"attic\"} 21.5\n");
    let server = setup(&page, "")
        .file("routes.yml", &routing(&receiver.url()))
        .argument("--alerting.config.file=routes.yml")
        .start();
    server.wait_for_result("job:temperature:max", LIMIT);
    assert_eq!(state(&server), None);
    let rules = server.data("rules", &[]);
    assert_eq!(rules["groups"][0]["name"], "weather");
    assert_eq!(rules["groups"][0]["rules"][0]["type"], "recording");
    assert_eq!(rules["groups"][0]["rules"][1]["type"], "alerting");
    assert_eq!(rules["groups"][0]["rules"][1]["state"], "inactive");
    assert_eq!(rules["groups"][0]["rules"][1]["duration"], 2.0);

    heat(&page);
    let mut states = Vec::new();
    wait_until("firing alert", LIMIT, || {
        if let Some(state) = state(&server)
            && states.last() != Some(&state)
        {
            states.push(state);
        }
        states.last().is_some_and(|state| state == "firing")
    });
    assert_eq!(states, ["pending", "firing"]);
    assert!(
        receiver
            .requests()
            .iter()
            .all(|request| status(request) == "firing")
    );

    let request = receiver.wait_for("call", LIMIT, |request| status(request) == "firing");
    let firing = check_payload(&request, "firing", &server);
    let series = server.wait_for_result("ALERTS{alertstate=\"firing\"}", LIMIT);
    assert_eq!(series[0].label("alertname"), "TooHot");
    assert_eq!(series[0].label("room"), "attic");
    assert_eq!(series[0].label("severity"), "page");
    assert_eq!(series[0].value(), 1.0);
    assert!(server.query("ALERTS{alertstate=\"pending\"}").is_empty());
    assert!(
        !server
            .query("ALERTS{alertstate=\"pending\"}[1m]")
            .is_empty()
    );
    let since = server.value("ALERTS_FOR_STATE");
    assert!(since > 1.0e9, "{since} is a time in seconds");
    let rules = server.data("rules", &[("type", "alert")]);
    let rule = &rules["groups"][0]["rules"][0];
    assert_eq!(rule["state"], "firing");
    assert_eq!(rule["alerts"][0]["value"], "3.525e+01");

    cool(&page);
    let request = receiver.wait_for("resolution", LIMIT, |request| status(request) == "resolved");
    let resolved = check_payload(&request, "resolved", &server);
    assert_eq!(resolved["fingerprint"], firing["fingerprint"]);
    assert_eq!(resolved["startsAt"], firing["startsAt"]);
    assert!(resolved["endsAt"].as_str() > resolved["startsAt"].as_str());
    wait_until("end of the alert", LIMIT, || state(&server).is_none());
    wait_until("end of its series", LIMIT, || {
        server.query("ALERTS").is_empty()
    });
}

/// Alertmanager's webhook payload, version 4, field by field. Returns its only alert.
fn check_payload(request: &Request, status: &str, server: &Server) -> Value {
    assert_eq!(request.method, "POST");
    assert_eq!(request.path, "/hook");
    assert!(
        request
            .header("content-type")
            .starts_with("application/json")
    );
    let payload = request.json();
    let keys: Vec<&str> = payload
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    for key in [
        "version",
        "groupKey",
        "truncatedAlerts",
        "status",
        "receiver",
        "groupLabels",
        "commonLabels",
        "commonAnnotations",
        "externalURL",
        "alerts",
    ] {
        assert!(keys.contains(&key), "no {key} in {payload}");
    }
    assert_eq!(payload["version"], "4");
    assert_eq!(payload["groupKey"], "{}:{alertname=\"TooHot\"}");
    assert_eq!(payload["truncatedAlerts"], 0);
    assert_eq!(payload["status"], status);
    assert_eq!(payload["receiver"], "hook");
    assert_eq!(
        payload["groupLabels"],
        serde_json::json!({"alertname": "TooHot"})
    );
    let common = &payload["commonLabels"];
    assert_eq!(common["alertname"], "TooHot");
    assert_eq!(common["severity"], "page");
    assert_eq!(common["place"], "ATTIC");
    assert_eq!(common["room"], "attic");
    assert_eq!(common["job"], "weather");
    let external = payload["externalURL"].as_str().unwrap();
    assert!(external.starts_with("http://"), "{external}");
    let alerts = payload["alerts"].as_array().unwrap();
    assert_eq!(alerts.len(), 1);
    let alert = &alerts[0];
    assert_eq!(alert["status"], status);
    assert_eq!(alert["labels"], *common);
    if status == "firing" {
        assert_eq!(alert["annotations"]["summary"], "attic has 35.2 degrees");
        assert_eq!(alert["endsAt"], "0001-01-01T00:00:00Z");
    }
    assert_eq!(payload["commonAnnotations"], alert["annotations"]);
    let fingerprint = alert["fingerprint"].as_str().unwrap();
    assert!(
        fingerprint.len() == 16 && fingerprint.chars().all(|c| c.is_ascii_hexdigit()),
        "{fingerprint}"
    );
    let starts = alert["startsAt"].as_str().unwrap();
    assert!(starts.starts_with("20") && (starts.ends_with('Z') || starts.contains('+')));
    // The link leads to the expression in the server's own UI.
    let link = alert["generatorURL"].as_str().unwrap();
    let path = link.trim_start_matches("http://");
    let path = &path[path.find('/').expect("a path")..];
    assert!(path.contains("temperature"), "{link}");
    let answer = server.get(path);
    assert!(
        [200, 301, 302, 307, 308].contains(&answer.status),
        "{link}: {}",
        answer.status
    );
    alert.clone()
}

#[test]
fn a_failing_receiver_is_tried_again() {
    let receiver = Receiver::start(&[500, 500, 200]);
    let page = Page::metrics("");
    heat(&page);
    let server = setup(&page, "")
        .argument(format!("--alerting.webhook-url={}", receiver.url()))
        .start();
    wait_until("third attempt", Duration::from_secs(40), || {
        receiver.requests().len() >= 3
    });
    let bodies: Vec<Value> = receiver.requests()[..3].iter().map(Request::json).collect();
    for body in &bodies {
        assert_eq!(body["status"], "firing");
        assert_eq!(
            body["alerts"][0]["fingerprint"],
            bodies[0]["alerts"][0]["fingerprint"]
        );
    }
    server.wait_for_log(&["500"]);
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(
        receiver.requests().len(),
        3,
        "a call that was taken is not repeated"
    );
}

#[test]
fn a_receiver_that_is_away_is_reported_and_told_later() {
    let gone = Receiver::start(&[200]);
    let address = gone.address();
    let url = gone.url();
    drop(gone);
    let page = Page::metrics("");
    heat(&page);
    let server = setup(&page, "")
        .argument(format!("--alerting.webhook-url={url}"))
        .start();
    let line = server.wait_for_log(&[&address.to_string(), "refused"]);
    assert!(line.contains("WARN") || line.contains("ERROR"), "{line}");
    wait_for("count of failures", LIMIT, || {
        let page = server.get("/metrics").text();
        let failed = crate::harness::exposition::read_samples(&page)
            .into_iter()
            .any(|(labels, value)| {
                let name = &labels["__name__"];
                name.contains("notification") && name.contains("failed") && value > 0.0
            });
        failed.then_some(()).ok_or(page)
    });
    assert_eq!(server.value("count(temperature)"), 1.0, "the rest goes on");

    let back = Receiver::start_at(address, &[200]);
    let request = back.wait_for("call", Duration::from_mins(1), |_| true);
    assert_eq!(status(&request), "firing");
}

#[test]
fn an_external_alertmanager_is_told() {
    let alertmanager = Receiver::start(&[200]);
    let page = Page::metrics("");
    heat(&page);
    let alerting = format!(
        "alerting:
  alert_relabel_configs:
    - regex: place
      action: labeldrop
  alertmanagers:
    - path_prefix: /am
      static_configs:
        - targets: ['{}']
",
        alertmanager.address()
    );
    let server = setup(&page, &alerting).start();
    let request = alertmanager.wait_for("alerts", LIMIT, |request| {
        request.json()[0]["labels"]["alertname"] == "TooHot"
    });
    assert_eq!(request.method, "POST");
    assert_eq!(request.path, "/am/api/v2/alerts");
    assert!(
        request
            .header("content-type")
            .starts_with("application/json")
    );
    let alert = request.json()[0].clone();
    assert_eq!(
        alert["labels"]["region"], "north",
        "external labels are added"
    );
    assert!(alert["labels"]["place"].is_null(), "relabelling applies");
    assert_eq!(alert["annotations"]["summary"], "attic has 35.2 degrees");
    assert!(alert["endsAt"].as_str() > alert["startsAt"].as_str());
    assert!(
        alert["generatorURL"]
            .as_str()
            .unwrap()
            .contains("temperature")
    );
    let known = server.data("alertmanagers", &[]);
    let url = known["activeAlertmanagers"][0]["url"].as_str().unwrap();
    assert!(url.contains(&alertmanager.address().to_string()), "{known}");

    cool(&page);
    alertmanager.wait_for("resolution", LIMIT, |request| {
        let alert = &request.json()[0];
        let ends = alert["endsAt"].as_str().unwrap_or_default().to_owned();
        // Alertmanager takes an end in the past for resolved; firing alerts end minutes ahead.
        crate::harness::server::now_ms() >= utc_ms(&ends)
    });
}

#[test]
fn pending_time_survives_a_restart() {
    let receiver = Receiver::start(&[200]);
    let page = Page::metrics("");
    heat(&page);
    let mut server = setup(&page, "")
        .file("routes.yml", &routing(&receiver.url()))
        .argument("--alerting.config.file=routes.yml")
        .argument("--rules.alert.for-grace-period=0s")
        .start();
    wait_until("firing alert", LIMIT, || {
        state(&server).as_deref() == Some("firing")
    });
    let since = server.data("alerts", &[])["alerts"][0]["activeAt"].clone();
    server.kill();
    server.restart();
    wait_until("firing alert again", LIMIT, || {
        state(&server).as_deref() == Some("firing")
    });
    let again = server.data("alerts", &[])["alerts"][0]["activeAt"].clone();
    let cut = |time: &Value| time.as_str().unwrap()[..19].to_owned();
    assert_eq!(
        cut(&since),
        cut(&again),
        "it is active since the same second"
    );
}

/// An RFC 3339 time in UTC, milliseconds since the epoch.
fn utc_ms(text: &str) -> i64 {
    let number = |from: usize, to: usize| -> i64 {
        text.get(from..to)
            .and_then(|part| part.parse().ok())
            .unwrap_or(i64::from(u32::MAX))
    };
    let (year, month, day) = (number(0, 4), number(5, 7), number(8, 10));
    let (hour, minute, second) = (number(11, 13), number(14, 16), number(17, 19));
    // Days from a civil date (Hinnant).
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year - era * 400;
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    ((days * 24 + hour) * 60 + minute) * 60_000 + second * 1000
}
