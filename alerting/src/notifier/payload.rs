//! What is posted: Alertmanager's API v2 and its webhook payload, version 4.

use std::sync::Arc;

use barograph_model::Labels;
use serde::ser::{Serialize, SerializeMap, Serializer};

use super::Alert;
use crate::template::time::{rfc3339, rfc3339_millis};

/// Go's zero time.
const ZERO_TIME: &str = "0001-01-01T00:00:00Z";

/// An alert at the moment of a notification.
#[derive(Clone, Debug)]
pub(super) struct Notice {
    pub alert: Arc<Alert>,
    /// When it was resolved; `None` while it fires.
    pub resolved_at_ms: Option<i64>,
}

/// What a webhook's message says of its group.
pub(super) struct GroupInfo<'a> {
    pub key: &'a str,
    pub labels: &'a Labels,
    pub receiver: &'a str,
    pub external_url: &'a str,
    pub reason: &'static str,
}

/// The body of `POST /api/v2/alerts`.
pub(super) fn alertmanager_body(alerts: &[Arc<Alert>]) -> Vec<u8> {
    #[derive(serde::Serialize)]
    #[serde(rename_all = "camelCase")]
    struct PostableAlert<'a> {
        annotations: Pairs<'a>,
        ends_at: String,
        starts_at: String,
        #[serde(rename = "generatorURL")]
        generator_url: &'a str,
        labels: Pairs<'a>,
    }
    let alerts: Vec<PostableAlert<'_>> = alerts
        .iter()
        .map(|alert| PostableAlert {
            annotations: Pairs(&alert.annotations),
            ends_at: alert
                .ends_at_ms
                .map_or(ZERO_TIME.to_owned(), rfc3339_millis),
            starts_at: rfc3339_millis(alert.starts_at_ms),
            generator_url: &alert.generator_url,
            labels: Pairs(&alert.labels),
        })
        .collect();
    to_json(&alerts)
}

#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct WebhookMessage<'a> {
    receiver: String,
    status: &'static str,
    alerts: Vec<WebhookAlert<'a>>,
    #[serde(rename = "notification_reason")]
    notification_reason: &'static str,
    group_labels: Pairs<'a>,
    common_labels: Pairs<'a>,
    common_annotations: Pairs<'a>,
    route_labels: Pairs<'a>,
    #[serde(rename = "externalURL")]
    external_url: &'a str,
    version: &'static str,
    group_key: &'a str,
    truncated_alerts: usize,
}

#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct WebhookAlert<'a> {
    status: &'static str,
    labels: Pairs<'a>,
    annotations: Pairs<'a>,
    starts_at: String,
    ends_at: String,
    #[serde(rename = "generatorURL")]
    generator_url: &'a str,
    fingerprint: String,
}

/// The webhook message for `notices`, of which at most `max_alerts` are listed unless it is 0.
pub(super) fn webhook_body(group: &GroupInfo<'_>, notices: &[Notice], max_alerts: u64) -> Vec<u8> {
    let listed = match usize::try_from(max_alerts) {
        Ok(limit) if limit > 0 => &notices[..notices.len().min(limit)],
        _ => notices,
    };
    let firing = listed.iter().any(|notice| notice.resolved_at_ms.is_none());
    let common_labels = common(listed.iter().map(|notice| &notice.alert.labels));
    let common_annotations = common(listed.iter().map(|notice| &notice.alert.annotations));
    let none = Labels::empty();
    to_json(&WebhookMessage {
        receiver: quote_meta(group.receiver),
        status: status(firing),
        alerts: listed.iter().map(webhook_alert).collect(),
        notification_reason: group.reason,
        group_labels: Pairs(group.labels),
        common_labels: Pairs(&common_labels),
        common_annotations: Pairs(&common_annotations),
        route_labels: Pairs(&none),
        external_url: group.external_url,
        version: "4",
        group_key: group.key,
        truncated_alerts: notices.len() - listed.len(),
    })
}

/// The identity of a label set towards receivers: FNV-1a, 64 bits, over each name and value with a
/// separator behind, names in order. The same as `model.Fingerprint` of Prometheus.
pub(crate) fn fingerprint(labels: &Labels) -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    let mut hash = OFFSET;
    let mut add = |byte: u8| hash = (hash ^ u64::from(byte)).wrapping_mul(PRIME);
    for (name, value) in labels {
        for part in [name, value] {
            part.bytes().for_each(&mut add);
            add(0xff);
        }
    }
    hash
}

fn webhook_alert(notice: &Notice) -> WebhookAlert<'_> {
    let alert = &notice.alert;
    WebhookAlert {
        status: status(notice.resolved_at_ms.is_none()),
        labels: Pairs(&alert.labels),
        annotations: Pairs(&alert.annotations),
        starts_at: rfc3339(alert.starts_at_ms),
        ends_at: notice.resolved_at_ms.map_or(ZERO_TIME.to_owned(), rfc3339),
        generator_url: &alert.generator_url,
        fingerprint: format!("{:016x}", fingerprint(&alert.labels)),
    }
}

fn status(firing: bool) -> &'static str {
    if firing { "firing" } else { "resolved" }
}

/// The pairs all sets share.
fn common<'a>(mut sets: impl Iterator<Item = &'a Labels>) -> Labels {
    let Some(first) = sets.next() else {
        return Labels::empty();
    };
    let mut builder = first.to_builder();
    for set in sets {
        builder.retain(|name, value| set.get(name) == value);
    }
    builder.build()
}

/// Go's `regexp.QuoteMeta`, through which Alertmanager puts receiver names.
fn quote_meta(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for ch in text.chars() {
        if r"\.+*?()|[]{}^$".contains(ch) {
            out.push('\\');
        }
        out.push(ch);
    }
    out
}

/// A label set as a JSON object.
struct Pairs<'a>(&'a Labels);

impl Serialize for Pairs<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// Texts, numbers and maps with text keys always are JSON.
fn to_json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice(instance: &str, resolved_at_ms: Option<i64>) -> Notice {
        Notice {
            alert: Arc::new(Alert {
                labels: Labels::from_pairs([("alertname", "Down"), ("instance", instance)]),
                annotations: Labels::from_pairs([("summary", "it is <down>")]),
                starts_at_ms: 1_435_065_584_128,
                ends_at_ms: None,
                generator_url: "http://x/graph".into(),
            }),
            resolved_at_ms,
        }
    }

    #[test]
    fn the_webhook_message_is_alertmanager_s() {
        let labels = Labels::from_pairs([("alertname", "Down")]);
        let group = GroupInfo {
            key: "{}:{alertname=\"Down\"}",
            labels: &labels,
            receiver: "team.a",
            external_url: "http://x",
            reason: "first notification",
        };
        let notices = [
            notice("a", None),
            notice("b", Some(1_435_065_644_000)),
            notice("c", None),
        ];
        let body = webhook_body(&group, &notices, 2);
        let want = serde_json::json!({
            "receiver": "team\\.a",
            "status": "firing",
            "alerts": [
                {
                    "status": "firing",
                    "labels": {"alertname": "Down", "instance": "a"},
                    "annotations": {"summary": "it is <down>"},
                    "startsAt": "2015-06-23T13:19:44.128Z",
                    "endsAt": "0001-01-01T00:00:00Z",
                    "generatorURL": "http://x/graph",
                    "fingerprint": format!("{:016x}", fingerprint(&notices[0].alert.labels)),
                },
                {
                    "status": "resolved",
                    "labels": {"alertname": "Down", "instance": "b"},
                    "annotations": {"summary": "it is <down>"},
                    "startsAt": "2015-06-23T13:19:44.128Z",
                    "endsAt": "2015-06-23T13:20:44Z",
                    "generatorURL": "http://x/graph",
                    "fingerprint": format!("{:016x}", fingerprint(&notices[1].alert.labels)),
                },
            ],
            "notification_reason": "first notification",
            "groupLabels": {"alertname": "Down"},
            "commonLabels": {"alertname": "Down"},
            "commonAnnotations": {"summary": "it is <down>"},
            "routeLabels": {},
            "externalURL": "http://x",
            "version": "4",
            "groupKey": "{}:{alertname=\"Down\"}",
            "truncatedAlerts": 1,
        });
        let got: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(got, want);
    }

    #[test]
    fn the_api_body_is_alertmanager_s() {
        let body = alertmanager_body(&[notice("a", None).alert]);
        assert_eq!(
            String::from_utf8(body).expect("UTF-8"),
            "[{\"annotations\":{\"summary\":\"it is <down>\"},\
             \"endsAt\":\"0001-01-01T00:00:00Z\",\"startsAt\":\"2015-06-23T13:19:44.128Z\",\
             \"generatorURL\":\"http://x/graph\",\
             \"labels\":{\"alertname\":\"Down\",\"instance\":\"a\"}}]"
        );
    }

    /// The expectations stand in the tests of Prometheus's common library.
    #[test]
    fn fingerprints_are_prometheus_s() {
        assert_eq!(fingerprint(&Labels::empty()), 14_695_981_039_346_656_037);
        let labels =
            Labels::from_pairs([("name", "garland, briggs"), ("fear", "love is not enough")]);
        assert_eq!(fingerprint(&labels), 5_799_056_148_416_392_346);
    }
}
