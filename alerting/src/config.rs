//! Where notifications go, resolved.

use std::fmt;
use std::path::PathBuf;

use barograph_model::Matcher;
use barograph_model::relabel::RelabelRule;

/// Our own routing: a tree of routes and the receivers they name (the part of `alertmanager.yml`
/// that is built).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoutingConfig {
    /// The root; matches every alert.
    pub route: Route,
    /// Receivers by unique name.
    pub receivers: Vec<Receiver>,
    /// Milliseconds after which an alert that names no end counts as resolved unless it is sent
    /// again.
    pub resolve_timeout_ms: i64,
    /// What the file asks for and is not built, by name: to be said at start-up.
    pub warnings: Vec<String>,
}

/// One node of the routing tree, inheritance already applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The receiver's name.
    pub receiver: String,
    /// Labels alerts are grouped by; `None` groups by all labels (`...`).
    pub group_by: Option<Vec<String>>,
    /// All must match. In Alertmanager's order: by name, value, operator.
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receiver {
    /// Its name.
    pub name: String,
    /// Webhooks.
    pub webhooks: Vec<WebhookReceiver>,
}

/// A webhook: POST of Alertmanager's payload, version 4.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookReceiver {
    /// The URL. It is a secret. Empty where it is read from `url_file`.
    pub url: String,
    /// A file that holds the URL, read for every notification.
    pub url_file: Option<PathBuf>,
    /// Whether resolved alerts are sent.
    pub send_resolved: bool,
    /// Most alerts per message; 0 is no limit.
    pub max_alerts: u64,
    /// Milliseconds one attempt may take; 0 leaves it the group interval.
    pub timeout_ms: i64,
}

impl fmt::Debug for WebhookReceiver {
    /// Without the secret part of the URL.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookReceiver")
            .field("url", &redacted_url(&self.url))
            .field("url_file", &self.url_file)
            .field("send_resolved", &self.send_resolved)
            .field("max_alerts", &self.max_alerts)
            .field("timeout_ms", &self.timeout_ms)
            .finish()
    }
}

/// An external Alertmanager.
#[derive(Clone)]
pub struct AlertmanagerTarget {
    /// The base URL with its path prefix, without `/api/v2/alerts`.
    pub url: String,
    /// Milliseconds one attempt may take.
    pub timeout_ms: i64,
    /// Rules each alert's labels pass before it is sent here.
    pub relabel: Vec<RelabelRule>,
}

impl fmt::Debug for AlertmanagerTarget {
    /// Without a password in the URL.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AlertmanagerTarget")
            .field("url", &without_credentials(&self.url))
            .field("timeout_ms", &self.timeout_ms)
            .field("relabel", &self.relabel)
            .finish()
    }
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
                group_interval_ms: 30_000,
                repeat_interval_ms: 4 * 3_600_000,
                routes: Vec::new(),
            },
            receivers: vec![Receiver {
                name: "webhook".into(),
                webhooks: vec![WebhookReceiver {
                    url: url.into(),
                    url_file: None,
                    send_resolved: true,
                    max_alerts: 0,
                    timeout_ms: 10_000,
                }],
            }],
            resolve_timeout_ms: 300_000,
            warnings: Vec::new(),
        }
    }
}

/// A URL with everything behind the host hidden: the path of a webhook often is its password.
pub(crate) fn redacted_url(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return if url.is_empty() { "" } else { "<secret>" }.to_owned();
    };
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    let path = if matches!(path, "" | "/") {
        path
    } else {
        "/<secret>"
    };
    format!("{scheme}://{host}{path}")
}

/// A URL without user and password.
pub(crate) fn without_credentials(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    format!("{scheme}://{host}{path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_of_urls_are_hidden() {
        for (url, want) in [
            (
                "https://hooks.example.com/services/T0/B0/key",
                "https://hooks.example.com/<secret>",
            ),
            ("http://user:password@host:8080/", "http://host:8080/"),
            ("http://host?token=x", "http://host/<secret>"),
            ("http://[::1]:9", "http://[::1]:9"),
            ("nonsense", "<secret>"),
            ("", ""),
        ] {
            assert_eq!(redacted_url(url), want);
        }
        assert_eq!(
            without_credentials("http://u:p@h:9093/x"),
            "http://h:9093/x"
        );
        let config = RoutingConfig::single_webhook("https://h/key");
        assert!(!format!("{config:?}").contains("key"), "{config:?}");
    }
}
