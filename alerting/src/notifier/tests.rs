use std::sync::Mutex;

use barograph_instrument::Format;
use barograph_model::relabel::RelabelAction;
use barograph_model::{Matcher, Pattern, SystemClock};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::config::{Receiver, Route, WebhookReceiver};

/// Request lines and bodies.
type Taken = Arc<Mutex<Vec<(String, serde_json::Value)>>>;

/// A receiver on a port of its own that answers with the statuses it is given, then with 200.
#[derive(Clone)]
struct Hook {
    address: std::net::SocketAddr,
    taken: Taken,
}

impl Hook {
    async fn start(answers: &[&str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let hook = Self {
            address: listener.local_addr().expect("an address"),
            taken: Arc::default(),
        };
        let mut answers: Vec<String> = answers.iter().map(ToString::to_string).collect();
        answers.reverse();
        let taken = hook.taken.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let answer = answers.pop().unwrap_or("200 OK".to_owned());
                tokio::spawn(serve(stream, answer, taken.clone()));
            }
        });
        hook
    }

    fn url(&self) -> String {
        format!("http://{}/hook/secret-key", self.address)
    }

    fn taken(&self) -> Vec<(String, serde_json::Value)> {
        self.taken.lock().expect("lock").clone()
    }

    /// Waits until `count` requests have come.
    async fn wait(&self, count: usize) -> Vec<(String, serde_json::Value)> {
        for _ in 0..1_000 {
            if self.taken().len() >= count {
                return self.taken();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("only {} of {count} requests came", self.taken().len());
    }
}

/// Answers one request and closes, so that every request is a connection. `307 X>url` redirects.
async fn serve(mut stream: TcpStream, answer: String, taken: Taken) {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    let (head, body) = loop {
        let read = stream.read(&mut buffer).await.unwrap_or(0);
        bytes.extend_from_slice(&buffer[..read]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                let found = name.eq_ignore_ascii_case("content-length");
                found.then(|| value.trim().parse::<usize>().ok())?
            });
            if body.len() >= length.unwrap_or(0) {
                break (head.to_owned(), body.to_owned());
            }
        }
        if read == 0 {
            return;
        }
    };
    let line = head.lines().next().unwrap_or_default().to_owned();
    let body = serde_json::from_str(&body).unwrap_or(serde_json::Value::Null);
    taken.lock().expect("lock").push((line, body));
    let (status, location) = answer.split_once('>').unwrap_or((&answer, ""));
    let location = match location {
        "" => String::new(),
        to => format!("location: {to}\r\n"),
    };
    let head = format!("HTTP/1.1 {status}\r\n{location}connection: close\r\n");
    let reply = format!("{head}content-length: 2\r\n\r\nno");
    let _ = stream.write_all(reply.as_bytes()).await;
}

fn route(receiver: &str) -> Route {
    Route {
        receiver: receiver.into(),
        group_by: Some(vec!["alertname".into()]),
        matchers: Vec::new(),
        continue_matching: false,
        group_wait_ms: 50,
        group_interval_ms: 10_000,
        repeat_interval_ms: 3_600_000,
        routes: Vec::new(),
    }
}

fn receiver(name: &str, url: String) -> Receiver {
    Receiver {
        name: name.into(),
        webhooks: vec![WebhookReceiver {
            url,
            url_file: None,
            send_resolved: true,
            max_alerts: 0,
            timeout_ms: 2_000,
        }],
    }
}

fn routing(route: Route, receivers: Vec<Receiver>) -> RoutingConfig {
    RoutingConfig {
        route,
        receivers,
        ..RoutingConfig::single_webhook("http://unused")
    }
}

fn alert(name: &str, instance: &str, resolved: bool) -> Alert {
    let now_ms = SystemClock.now_ms();
    Alert {
        labels: Labels::from_pairs([("alertname", name), ("instance", instance)]),
        annotations: Labels::from_pairs([("summary", "s")]),
        starts_at_ms: now_ms - 10,
        ends_at_ms: Some(if resolved {
            now_ms - 1
        } else {
            now_ms + 600_000
        }),
        generator_url: "http://x/graph".into(),
    }
}

async fn start(routing: RoutingConfig) -> (Notifier, Registry) {
    let registry = Registry::new();
    let options = NotifierOptions::default();
    let notifier = Notifier::new(options, &registry, Arc::new(SystemClock));
    apply(&notifier, routing).await;
    (notifier, registry)
}

async fn apply(notifier: &Notifier, routing: RoutingConfig) {
    let (none, url) = (Labels::empty(), "http://me".to_owned());
    notifier
        .apply(Vec::new(), Some(routing), Vec::new(), none, url)
        .await;
}

fn page(registry: &Registry) -> String {
    let mut page = String::new();
    registry.encode(Format::Text004, &mut page);
    page
}

fn check_metrics(registry: &Registry, lines: &[&str]) {
    let page = page(registry);
    for line in lines {
        assert!(page.contains(line), "{line} is not in\n{page}");
    }
}

fn instances(message: &serde_json::Value) -> Vec<String> {
    let alerts = message["alerts"].as_array().cloned().unwrap_or_default();
    let text = |alert: &serde_json::Value| {
        let instance = alert["labels"]["instance"].as_str().unwrap_or_default();
        let status = alert["status"].as_str().unwrap_or_default();
        format!("{instance}:{status}")
    };
    alerts.iter().map(text).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_that_fails_is_tried_again_until_it_takes_the_message() {
    let hook = Hook::start(&["500 Oops", "503 Busy"]).await;
    let (notifier, registry) = start(routing(route("r"), vec![receiver("r", hook.url())])).await;
    notifier.send(vec![alert("Down", "a", false), alert("Down", "b", false)]);
    let taken = hook.wait(3).await;
    for (line, message) in &taken {
        assert_eq!(line, "POST /hook/secret-key HTTP/1.1");
        assert_eq!(*message, taken[0].1, "the same message each time");
    }
    assert_eq!(taken[2].1["groupKey"], "{}:{alertname=\"Down\"}");
    assert_eq!(taken[2].1["status"], "firing");
    assert_eq!(taken[2].1["externalURL"], "http://me");
    assert_eq!(instances(&taken[2].1), ["a:firing", "b:firing"]);
    notifier.stop().await;
    let deliveries = notifier.deliveries();
    assert_eq!(deliveries.len(), 1);
    assert_eq!((deliveries[0].attempts, deliveries[0].alerts), (3, 2));
    assert_eq!(
        (deliveries[0].finished, &deliveries[0].error),
        (true, &None)
    );
    check_metrics(
        &registry,
        &[
            "alertmanager_notifications_total{integration=\"webhook\"} 1",
            "alertmanager_notification_requests_total{integration=\"webhook\"} 3",
            "alertmanager_notification_requests_failed_total{integration=\"webhook\"} 2",
        ],
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_receiver_refuses_is_not_tried_again_and_is_reported() {
    let hook = Hook::start(&["404 Nothing here"]).await;
    let (notifier, registry) = start(routing(route("r"), vec![receiver("r", hook.url())])).await;
    notifier.send(vec![alert("Down", "a", false)]);
    hook.wait(1).await;
    notifier.stop().await;
    let deliveries = notifier.deliveries();
    let error = deliveries[0].error.as_deref();
    assert_eq!(error, Some("unexpected status code 404: no"));
    assert_eq!((deliveries[0].attempts, deliveries[0].finished), (1, true));
    let failed = "alertmanager_notifications_failed_total";
    let line = format!("{failed}{{integration=\"webhook\",reason=\"clientError\"}} 1");
    check_metrics(&registry, &[&line]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_is_not_there_is_reported_without_its_secret() {
    let gone = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = gone.local_addr().expect("an address");
    drop(gone);
    let url = format!("http://{address}/hook/secret-key");
    let mut short = route("r");
    short.group_interval_ms = 300;
    let (notifier, _) = start(routing(short, vec![receiver("r", url)])).await;
    notifier.send(vec![alert("Down", "a", false)]);
    for _ in 0..500 {
        if notifier.deliveries().first().is_some_and(|d| d.finished) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let deliveries = notifier.deliveries();
    let error = deliveries[0].error.clone().expect("it failed");
    assert!(error.contains("refused"), "{error}");
    assert!(!error.contains("secret-key"), "{error}");
    notifier.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redirects_to_others_are_not_followed() {
    let thief = Hook::start(&[]).await;
    let elsewhere = format!("307 Elsewhere>http://{}/x", thief.address);
    let hook = Hook::start(&[&elsewhere, "308 Here>/other"]).await;
    let mut config = routing(route("r"), vec![receiver("r", hook.url())]);
    config.route.group_interval_ms = 200;
    let (notifier, _) = start(config).await;
    notifier.send(vec![alert("Down", "a", false)]);
    // The second flush is redirected within the same host, and followed.
    let taken = hook.wait(3).await;
    assert_eq!(taken[2].0, "POST /other HTTP/1.1");
    assert_eq!(instances(&taken[2].1), ["a:firing"]);
    assert!(thief.taken().is_empty(), "{:?}", thief.taken());
    notifier.stop().await;
    let errors: Vec<_> = notifier.deliveries().into_iter().map(|d| d.error).collect();
    assert_eq!(errors[0], None);
    let first = errors[1].as_deref().unwrap_or_default();
    assert!(first.contains("redirect"), "{errors:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn news_are_told_once_and_only_news() {
    let hook = Hook::start(&[]).await;
    let mut config = routing(route("r"), vec![receiver("r", hook.url())]);
    config.route.group_interval_ms = 200;
    let (notifier, _) = start(config).await;
    notifier.send(vec![alert("Down", "a", false)]);
    hook.wait(1).await;
    // The same again is no news.
    notifier.send(vec![alert("Down", "a", false)]);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(hook.taken().len(), 1);
    notifier.send(vec![alert("Down", "b", false)]);
    hook.wait(2).await;
    notifier.send(vec![alert("Down", "a", true)]);
    hook.wait(3).await;
    notifier.send(vec![alert("Down", "b", true)]);
    let taken = hook.wait(4).await;
    let text = |message: &serde_json::Value, name: &str| {
        message[name].as_str().unwrap_or_default().to_owned()
    };
    let got: Vec<String> = taken
        .iter()
        .map(|(_, message)| {
            let (status, why) = (
                text(message, "status"),
                text(message, "notification_reason"),
            );
            format!("{} | {status} | {why}", instances(message).join(" "))
        })
        .collect();
    assert_eq!(
        got,
        [
            "a:firing | firing | first notification",
            "a:firing b:firing | firing | new alerts added",
            "a:resolved b:firing | firing | some alerts resolved",
            "b:resolved | resolved | all alerts resolved",
        ]
    );
    // Resolved again and again: everybody knows.
    notifier.send(vec![alert("Down", "b", true)]);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(hook.taken().len(), 4);
    notifier.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unchanged_group_is_repeated() {
    let hook = Hook::start(&[]).await;
    let mut config = routing(route("r"), vec![receiver("r", hook.url())]);
    config.route.group_interval_ms = 100;
    config.route.repeat_interval_ms = 300;
    let (notifier, _) = start(config).await;
    notifier.send(vec![alert("Down", "a", false)]);
    let taken = hook.wait(2).await;
    let why = &taken[1].1["notification_reason"];
    assert_eq!(why, "repeat interval elapsed");
    notifier.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alerts_find_their_routes() {
    let hook = Hook::start(&[]).await;
    let other = Hook::start(&[]).await;
    let mut root = route("r");
    let child = |receiver: &str, continue_matching| Route {
        matchers: vec![Matcher::equal("instance", "b")],
        continue_matching,
        group_by: None,
        ..route(receiver)
    };
    root.routes = vec![
        child("other", true),
        child("r", false),
        child("other", false),
    ];
    let receivers = vec![receiver("r", hook.url()), receiver("other", other.url())];
    let (notifier, _) = start(routing(root, receivers)).await;
    notifier.send(vec![alert("Down", "a", false), alert("Down", "b", false)]);
    let taken = hook.wait(2).await;
    let mut keys: Vec<&str> = taken
        .iter()
        .filter_map(|(_, m)| m["groupKey"].as_str())
        .collect();
    keys.sort_unstable();
    assert_eq!(
        keys,
        [
            r#"{}/{instance="b"}:{alertname="Down", instance="b"}"#,
            r#"{}:{alertname="Down"}"#,
        ]
    );
    assert_eq!(instances(&other.wait(1).await[0].1), ["b:firing"]);
    notifier.stop().await;
    assert_eq!((hook.taken().len(), other.taken().len()), (2, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alertmanagers_get_batches_relabelled_and_with_external_labels() {
    let hook = Hook::start(&[]).await;
    let drop_one = RelabelRule {
        source_labels: vec!["instance".into()],
        regex: Pattern::new("drop-me").expect("valid"),
        action: RelabelAction::Drop,
        ..RelabelRule::default()
    };
    let target = AlertmanagerTarget {
        url: format!("http://{}/prefix", hook.address),
        timeout_ms: 2_000,
        relabel: Vec::new(),
    };
    let registry = Registry::new();
    let options = NotifierOptions {
        batch_size: 2,
        ..NotifierOptions::default()
    };
    let notifier = Notifier::new(options, &registry, Arc::new(SystemClock));
    let external = Labels::from_pairs([("cluster", "eu"), ("alertname", "taken already")]);
    let url = String::new();
    notifier
        .apply(vec![target], None, vec![drop_one], external, url)
        .await;
    let alerts = ["a", "drop-me", "b", "c"].map(|instance| alert("Down", instance, false));
    notifier.send(alerts.to_vec());
    let taken = hook.wait(2).await;
    assert_eq!(taken[0].0, "POST /prefix/api/v2/alerts HTTP/1.1");
    assert_eq!(
        taken[0].1[0]["labels"],
        serde_json::json!({"alertname": "Down", "cluster": "eu", "instance": "a"})
    );
    assert_eq!(taken[1].1[0]["labels"]["instance"], "c");
    let url = format!("http://{}/prefix/api/v2/alerts", hook.address);
    let line = format!("prometheus_notifications_sent_total{{alertmanager=\"{url}\"}} 3");
    let mut tries = 0;
    while !page(&registry).contains(&line) {
        tries += 1;
        assert!(tries < 500, "{line} is not in\n{}", page(&registry));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    notifier.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_drops_the_oldest() {
    // Nobody answers there, so that the queue stands.
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let registry = Registry::new();
    let options = NotifierOptions {
        queue_capacity: 2,
        batch_size: 1,
    };
    let notifier = Notifier::new(options, &registry, Arc::new(SystemClock));
    let url = format!("http://{}", silent.local_addr().expect("an address"));
    let target = AlertmanagerTarget {
        url: url.clone(),
        timeout_ms: 60_000,
        relabel: Vec::new(),
    };
    let none = Labels::empty();
    notifier
        .apply(vec![target], None, Vec::new(), none, String::new())
        .await;
    notifier.send(
        ["a", "b", "c", "d", "e"]
            .map(|i| alert("Down", i, false))
            .to_vec(),
    );
    let line =
        format!("prometheus_notifications_dropped_total{{alertmanager=\"{url}/api/v2/alerts\"}} 3");
    check_metrics(
        &registry,
        &[&line, "prometheus_notifications_queue_capacity 2"],
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_sends_what_nobody_was_told_of() {
    let hook = Hook::start(&[]).await;
    let mut config = routing(route("r"), vec![receiver("r", hook.url())]);
    config.route.group_wait_ms = 600_000;
    let (notifier, _) = start(config).await;
    notifier.send(vec![alert("Down", "a", false)]);
    notifier.stop().await;
    assert_eq!(instances(&hook.taken()[0].1), ["a:firing"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_routing_takes_over_what_the_old_held() {
    let hook = Hook::start(&[]).await;
    let config = routing(route("r"), vec![receiver("r", hook.url())]);
    let (notifier, _) = start(config.clone()).await;
    notifier.send(vec![alert("Down", "a", false)]);
    hook.wait(1).await;
    let mut changed = config;
    changed.route.group_interval_ms = 100;
    // The delivery is logged only after the answer has come back.
    while !notifier.deliveries().iter().any(|d| d.finished) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    apply(&notifier, changed).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(hook.taken().len(), 1, "told already");
    notifier.send(vec![alert("Down", "a", true)]);
    assert_eq!(instances(&hook.wait(2).await[1].1), ["a:resolved"]);
    notifier.stop().await;
}
