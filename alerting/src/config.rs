//! Where notifications go, resolved.

use barograph_model::Matcher;
use barograph_model::relabel::RelabelRule;

/// Our own routing: a tree of routes and the receivers they name (the part of `alertmanager.yml`
/// that is built).
#[derive(Clone, Debug)]
pub struct RoutingConfig {
    /// The root; matches every alert.
    pub route: Route,
    /// Receivers by unique name.
    pub receivers: Vec<Receiver>,
}

/// One node of the routing tree, inheritance already applied.
#[derive(Clone, Debug)]
pub struct Route {
    /// The receiver's name.
    pub receiver: String,
    /// Labels alerts are grouped by; `None` groups by all labels (`...`).
    pub group_by: Option<Vec<String>>,
    /// All must match.
    pub matchers: Vec<Matcher>,
    /// Whether later siblings are tried too.
    pub continue_matching: bool,
    /// Milliseconds from a group's first alert to its first notification.
    pub group_wait_ms: i64,
    /// Milliseconds until news of a group is sent.
    pub group_interval_ms: i64,
    /// Milliseconds until an unchanged group is sent again.
    pub repeat_interval_ms: i64,
    /// Children, in order.
    pub routes: Vec<Route>,
}

/// Who is told.
#[derive(Clone, Debug)]
pub struct Receiver {
    /// Its name.
    pub name: String,
    /// Webhooks.
    pub webhooks: Vec<WebhookReceiver>,
}

/// A webhook: POST of Alertmanager's payload, version 4.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookReceiver {
    /// The URL.
    pub url: String,
    /// Whether resolved alerts are sent.
    pub send_resolved: bool,
    /// Most alerts per message; 0 is no limit.
    pub max_alerts: u64,
    /// Milliseconds one attempt may take.
    pub timeout_ms: i64,
}

/// An external Alertmanager.
#[derive(Clone, Debug)]
pub struct AlertmanagerTarget {
    /// The base URL with its path prefix, without `/api/v2/alerts`.
    pub url: String,
    /// Milliseconds one attempt may take.
    pub timeout_ms: i64,
    /// Rules each alert's labels pass before it is sent here.
    pub relabel: Vec<RelabelRule>,
}

impl RoutingConfig {
    /// Sends every alert to one webhook, grouped by `alertname`.
    pub fn single_webhook(url: &str) -> Self {
        Self {
            route: Route {
                receiver: "webhook".into(),
                group_by: Some(vec!["alertname".into()]),
                matchers: Vec::new(),
                continue_matching: false,
                group_wait_ms: 1_000,
                group_interval_ms: 300_000,
                repeat_interval_ms: 4 * 3_600_000,
                routes: Vec::new(),
            },
            receivers: vec![Receiver {
                name: "webhook".into(),
                webhooks: vec![WebhookReceiver {
                    url: url.into(),
                    send_resolved: true,
                    max_alerts: 0,
                    timeout_ms: 10_000,
                }],
            }],
        }
    }
}
