//! Our own routing: which receivers an alert goes to, grouped how, told when.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use barograph_model::Labels;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::notification_log::{LogEntry, LogKey, reason};
use super::payload::{GroupInfo, Notice, fingerprint, webhook_body};
use super::webhook::Delivery;
use super::{Alert, Shared};
use crate::config::{Receiver, Route, RoutingConfig, WebhookReceiver};
use crate::matcher_text;

/// Most alert groups at a time.
const GROUP_LIMIT: usize = 10_000;
/// Most alerts in one group.
const GROUP_ALERT_LIMIT: usize = 10_000;

/// Routes alerts. Dropping it does not stop its groups: call [`Dispatcher::stop`].
pub(super) struct Dispatcher {
    core: Arc<Core>,
    /// Closed when no group runs any more.
    running: Mutex<Option<(mpsc::Sender<()>, mpsc::Receiver<()>)>>,
}

struct Core {
    shared: Arc<Shared>,
    config: RoutingConfig,
    external_url: String,
    root: Node,
    receivers: HashMap<String, Receiver>,
    groups: Mutex<HashMap<(usize, Labels), Arc<AlertGroup>>>,
    stopping: watch::Sender<Option<Instant>>,
}

/// A route with what is derived from it.
struct Node {
    /// Its place in the tree, counted depth first.
    index: usize,
    /// The matchers on the way to it: the first part of a group's key.
    key: String,
    route: Route,
    children: Vec<Node>,
}

/// Alerts that are told together.
struct AlertGroup {
    labels: Labels,
    key: String,
    receiver: String,
    group_interval_ms: i64,
    repeat_interval_ms: i64,
    state: Mutex<GroupState>,
}

#[derive(Default)]
struct GroupState {
    alerts: BTreeMap<Labels, Arc<Alert>>,
    /// Whether the group was ever flushed.
    flushed: bool,
}

impl Dispatcher {
    pub(super) fn new(
        shared: Arc<Shared>,
        config: RoutingConfig,
        external_url: String,
    ) -> Arc<Self> {
        let receivers = config.receivers.iter().map(|r| (r.name.clone(), r.clone()));
        let receivers = receivers.collect();
        let root = Node::new(&config.route, None, &mut 0);
        Arc::new(Self {
            core: Arc::new(Core {
                shared,
                external_url,
                root,
                receivers,
                config,
                groups: Mutex::default(),
                stopping: watch::Sender::new(None),
            }),
            running: Mutex::new(Some(mpsc::channel(1))),
        })
    }

    /// Whether it does what a dispatcher made of these would do.
    pub(super) fn is_for(&self, config: &RoutingConfig, external_url: &str) -> bool {
        self.core.config == *config && self.core.external_url == external_url
    }

    /// Every alert it holds.
    pub(super) fn alerts(&self) -> Vec<Arc<Alert>> {
        let mut all: BTreeMap<Labels, Arc<Alert>> = BTreeMap::new();
        for group in self.core.lock_groups().values() {
            let state = group.lock();
            all.extend(state.alerts.iter().map(|(l, a)| (l.clone(), a.clone())));
        }
        all.into_values().collect()
    }

    /// Puts an alert into the groups of the routes it matches.
    pub(super) fn put(&self, alert: Arc<Alert>) {
        let alert = self.core.with_end(alert);
        let mut nodes = Vec::new();
        self.core.root.find(&alert.labels, &mut nodes);
        for node in nodes {
            self.put_into(node, &alert);
        }
    }

    /// Lets groups that run finish what they do, and sends what nobody was told of yet, for at
    /// most `limit`.
    pub(super) async fn stop(&self, limit: Duration) {
        self.core
            .stopping
            .send_replace(Some(Instant::now() + limit));
        let running = self
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some((sender, mut receiver)) = running else {
            return;
        };
        drop(sender);
        // Every group holds a sender; the channel closes with the last one.
        let grace = Duration::from_millis(100);
        let _ = tokio::time::timeout(limit + grace, receiver.recv()).await;
    }

    fn put_into(&self, node: &Node, alert: &Arc<Alert>) {
        let core = &self.core;
        let labels = match &node.route.group_by {
            None => alert.labels.clone(),
            Some(names) => alert
                .labels
                .without(|name| !names.iter().any(|n| n == name)),
        };
        let now_ms = core.shared.clock.now_ms();
        let mut groups = core.lock_groups();
        if let Some(group) = groups.get(&(node.index, labels.clone())) {
            if !group.insert(alert.clone()) {
                core.shared.metrics.alerts_refused.inc();
                tracing::error!(
                    group = group.key,
                    "the group holds {GROUP_ALERT_LIMIT} alerts, the most allowed: {} is left out",
                    alert.labels
                );
            }
            return;
        }
        let key = format!("{}:{labels}", node.key);
        // A group is not begun for what is over, unless someone still believes that it fires.
        if alert.is_resolved_at(now_ms) && !core.is_believed_firing(&node.route.receiver, &key) {
            return;
        }
        if groups.len() >= GROUP_LIMIT {
            core.shared.metrics.group_limit_reached.inc();
            tracing::error!(
                "{GROUP_LIMIT} alert groups, the most allowed: group by fewer labels; {} is left out",
                alert.labels
            );
            return;
        }
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((sender, _)) = running.as_ref() else {
            return;
        };
        let group = Arc::new(AlertGroup {
            key,
            labels: labels.clone(),
            receiver: node.route.receiver.clone(),
            group_interval_ms: node.route.group_interval_ms,
            repeat_interval_ms: node.route.repeat_interval_ms,
            state: Mutex::default(),
        });
        group.insert(alert.clone());
        groups.insert((node.index, labels), group.clone());
        core.shared.metrics.groups.set(groups.len() as f64);
        // An alert that has waited elsewhere does not wait again.
        let wait_ms = node.route.group_wait_ms;
        let waited = alert.starts_at_ms.saturating_add(wait_ms) < now_ms;
        let wait = Duration::from_millis(if waited { 0 } else { wait_ms as u64 });
        let task = run(core.clone(), node.index, group, wait, sender.clone());
        tokio::spawn(task);
    }
}

impl Core {
    /// Gives an alert that names no end one.
    fn with_end(&self, alert: Arc<Alert>) -> Arc<Alert> {
        if alert.ends_at_ms.is_some() {
            return alert;
        }
        let now_ms = self.shared.clock.now_ms();
        Arc::new(Alert {
            ends_at_ms: Some(now_ms.saturating_add(self.config.resolve_timeout_ms)),
            ..alert.as_ref().clone()
        })
    }

    /// Whether a webhook of `receiver` was told last that alerts of the group fire.
    fn is_believed_firing(&self, receiver: &str, group_key: &str) -> bool {
        let now_ms = self.shared.clock.now_ms();
        let count = self.receivers.get(receiver).map_or(0, |r| r.webhooks.len());
        (0..count).any(|index| {
            let key = LogKey {
                receiver: receiver.to_owned(),
                index,
                group_key: group_key.to_owned(),
            };
            let entry = self.shared.log.get(&key, now_ms);
            entry.is_some_and(|entry| !entry.firing.is_empty())
        })
    }

    fn lock_groups(&self) -> MutexGuard<'_, HashMap<(usize, Labels), Arc<AlertGroup>>> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the receivers of a group what there is to tell, until `deadline`. Resolved alerts
    /// leave the group once everyone was told.
    async fn flush(self: &Arc<Self>, group: &Arc<AlertGroup>, deadline: Instant) {
        let now_ms = self.shared.clock.now_ms();
        let alerts: Vec<Arc<Alert>> = {
            let mut state = group.lock();
            state.flushed = true;
            state.alerts.values().cloned().collect()
        };
        if alerts.is_empty() {
            return;
        }
        let mut notices: Vec<Notice> = alerts
            .iter()
            .map(|alert| Notice {
                alert: alert.clone(),
                resolved_at_ms: alert.ends_at_ms.filter(|_| alert.is_resolved_at(now_ms)),
            })
            .collect();
        notices.sort_by(|a, b| order(&a.alert.labels, &b.alert.labels));
        let notices = Arc::new(notices);
        let mut deliveries = JoinSet::new();
        let webhooks = self
            .receivers
            .get(&group.receiver)
            .map(|r| r.webhooks.clone());
        for (index, webhook) in webhooks.unwrap_or_default().into_iter().enumerate() {
            let (core, group, notices) = (self.clone(), group.clone(), notices.clone());
            deliveries.spawn(async move {
                core.tell(&group, index, &webhook, &notices, now_ms, deadline)
                    .await
            });
        }
        let mut all_told = true;
        while let Some(told) = deliveries.join_next().await {
            all_told &= told.unwrap_or(false);
        }
        if all_told {
            let mut state = group.lock();
            for notice in notices
                .iter()
                .filter(|notice| notice.resolved_at_ms.is_some())
            {
                let labels = &notice.alert.labels;
                // It may have fired again meanwhile.
                let unchanged = state
                    .alerts
                    .get(labels)
                    .is_some_and(|have| Arc::ptr_eq(have, &notice.alert));
                if unchanged {
                    state.alerts.remove(labels);
                }
            }
        }
    }

    /// Tells one webhook, if there is news for it. Returns whether it knows everything now.
    async fn tell(
        self: &Arc<Self>,
        group: &AlertGroup,
        index: usize,
        webhook: &WebhookReceiver,
        notices: &[Notice],
        now_ms: i64,
        deadline: Instant,
    ) -> bool {
        let prints = |resolved: bool| -> BTreeSet<u64> {
            notices
                .iter()
                .filter(|notice| notice.resolved_at_ms.is_some() == resolved)
                .map(|notice| fingerprint(&notice.alert.labels))
                .collect()
        };
        let key = LogKey {
            receiver: group.receiver.clone(),
            index,
            group_key: group.key.clone(),
        };
        let entry = LogEntry {
            time_ms: now_ms,
            expires_at_ms: now_ms.saturating_add(group.repeat_interval_ms.saturating_mul(2)),
            firing: prints(false),
            resolved: prints(true),
        };
        let before = self.shared.log.get(&key, now_ms);
        let repeat_ms = group.repeat_interval_ms;
        let Some(why) = reason(before.as_ref(), &entry, webhook.send_resolved, repeat_ms) else {
            return true;
        };
        let firing_only: Vec<Notice>;
        let listed = if webhook.send_resolved {
            notices
        } else {
            let firing = notices
                .iter()
                .filter(|notice| notice.resolved_at_ms.is_none());
            firing_only = firing.cloned().collect();
            &firing_only
        };
        let told = listed.is_empty() || {
            let info = GroupInfo {
                key: &group.key,
                labels: &group.labels,
                receiver: &group.receiver,
                external_url: &self.external_url,
                reason: why,
            };
            let delivery = Delivery {
                shared: &self.shared,
                receiver: &group.receiver,
                webhook,
                group_labels: &group.labels,
                alerts: listed.len(),
                body: webhook_body(&info, listed, webhook.max_alerts),
                deadline,
            };
            delivery.run().await
        };
        if told {
            self.shared.log.set(key, entry);
        }
        told
    }
}

impl Node {
    fn new(route: &Route, parent_key: Option<&str>, count: &mut usize) -> Self {
        let index = *count;
        *count += 1;
        let own = matcher_text::format(&route.matchers);
        let key = match parent_key {
            Some(parent) => format!("{parent}/{own}"),
            None => own,
        };
        let children = route
            .routes
            .iter()
            .map(|child| Self::new(child, Some(&key), count));
        let children = children.collect();
        Self {
            index,
            route: route.clone(),
            children,
            key,
        }
    }

    /// Adds the deepest routes that match: the first of siblings, and later ones where it says to
    /// continue. Returns whether there was any.
    fn find<'a>(&'a self, labels: &Labels, found: &mut Vec<&'a Node>) -> bool {
        let matches = self
            .route
            .matchers
            .iter()
            .all(|m| m.matches(labels.get(m.name())));
        if !matches {
            return false;
        }
        let mut any = false;
        for child in &self.children {
            let matched = child.find(labels, found);
            any |= matched;
            if matched && !child.route.continue_matching {
                break;
            }
        }
        if !any {
            found.push(self);
        }
        true
    }
}

impl AlertGroup {
    /// Returns whether there was room.
    fn insert(&self, alert: Arc<Alert>) -> bool {
        let mut state = self.lock();
        if state.alerts.len() >= GROUP_ALERT_LIMIT && !state.alerts.contains_key(&alert.labels) {
            return false;
        }
        state.alerts.insert(alert.labels.clone(), alert);
        true
    }

    fn lock(&self) -> MutexGuard<'_, GroupState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Alert {
    fn is_resolved_at(&self, now_ms: i64) -> bool {
        self.ends_at_ms
            .is_some_and(|ends_at_ms| ends_at_ms <= now_ms)
    }
}

/// The life of a group: a first wait, then a flush per interval until it is empty.
async fn run(
    core: Arc<Core>,
    node_index: usize,
    group: Arc<AlertGroup>,
    wait: Duration,
    _running: mpsc::Sender<()>,
) {
    let interval = Duration::from_millis(group.group_interval_ms.max(1) as u64);
    let mut stopping = core.stopping.subscribe();
    if stopping.borrow().is_some() {
        // It was said before this task began.
        stopping.mark_changed();
    }
    let mut next = Instant::now() + wait;
    loop {
        tokio::select! {
            () = tokio::time::sleep_until(next) => {}
            _ = stopping.changed() => {
                let deadline = *stopping.borrow();
                let untold = !group.lock().flushed;
                if let Some(deadline) = deadline
                    && untold
                    && deadline > Instant::now()
                {
                    core.flush(&group, deadline).await;
                }
                return;
            }
        }
        next = Instant::now() + interval;
        let flush = core.flush(&group, next);
        tokio::pin!(flush);
        tokio::select! {
            () = &mut flush => {}
            _ = stopping.changed() => {
                let deadline = *stopping.borrow();
                if let Some(deadline) = deadline {
                    let _ = tokio::time::timeout_at(deadline, flush).await;
                }
                return;
            }
        }
        let mut groups = core.lock_groups();
        if group.lock().alerts.is_empty() {
            groups.remove(&(node_index, group.labels.clone()));
            core.shared.metrics.groups.set(groups.len() as f64);
            return;
        }
    }
}

/// Alertmanager's order: by `job`, by `instance`, by all labels.
fn order(a: &Labels, b: &Labels) -> std::cmp::Ordering {
    for name in ["job", "instance"] {
        let (left, right) = (a.get(name), b.get(name));
        // One that lacks the label comes last.
        let by_label = left
            .is_empty()
            .cmp(&right.is_empty())
            .then_with(|| left.cmp(right));
        if by_label.is_ne() {
            return by_label;
        }
    }
    a.cmp(b)
}
