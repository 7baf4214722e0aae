//! The alert state machine: what becomes of the alerts of one rule from evaluation to evaluation.

use std::collections::BTreeMap;

use barograph_model::Labels;

use crate::status::{AlertState, AlertStatus};

/// How long a resolved alert is kept and sent again, so that its end is not lost with one message.
const RESOLVED_RETENTION_MS: i64 = 15 * 60_000;

/// One alert of a rule.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ActiveAlert {
    /// Inactive means resolved.
    pub state: AlertState,
    pub annotations: Labels,
    pub value: f64,
    pub active_at_ms: i64,
    pub fired_at_ms: Option<i64>,
    pub resolved_at_ms: Option<i64>,
    pub last_sent_at_ms: Option<i64>,
    pub keep_firing_since_ms: Option<i64>,
}

/// What an evaluation found true.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    /// The alert's labels, `alertname` included.
    pub labels: Labels,
    pub annotations: Labels,
    pub value: f64,
}

/// The times of a rule.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Holds {
    /// How long an alert pends.
    pub for_ms: i64,
    /// How long it goes on firing.
    pub keep_firing_for_ms: i64,
    /// Most pending and firing alerts; 0 is no limit.
    pub limit: u64,
}

/// Why an evaluation is void.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StateError {
    #[error("vector contains metrics with the same labelset after applying alert labels: {labels}")]
    Duplicate { labels: Labels },
    #[error("exceeded limit of {limit} with {count} alerts")]
    Limit { limit: u64, count: u64 },
}

/// An alert as it leaves for the notifier.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Outgoing {
    pub labels: Labels,
    pub annotations: Labels,
    pub starts_at_ms: i64,
    pub ends_at_ms: i64,
}

/// All alerts of one rule.
#[derive(Clone, Debug, Default)]
pub(crate) struct AlertStates {
    alerts: BTreeMap<Labels, ActiveAlert>,
}

impl AlertStates {
    /// Takes in what an evaluation at `now_ms` found.
    ///
    /// # Errors
    /// Two findings of the same labels, which changes nothing; too many alerts, which clears all.
    pub(crate) fn advance(
        &mut self,
        now_ms: i64,
        findings: Vec<Finding>,
        holds: Holds,
    ) -> Result<(), StateError> {
        let mut found: BTreeMap<Labels, ActiveAlert> = BTreeMap::new();
        for finding in findings {
            let alert = ActiveAlert {
                state: AlertState::Pending,
                annotations: finding.annotations,
                value: finding.value,
                active_at_ms: now_ms,
                fired_at_ms: None,
                resolved_at_ms: None,
                last_sent_at_ms: None,
                keep_firing_since_ms: None,
            };
            if found.insert(finding.labels.clone(), alert).is_some() {
                let labels = finding.labels;
                return Err(StateError::Duplicate { labels });
            }
        }
        let mut active = 0;
        self.alerts.retain(|labels, alert| {
            if let Some(new) = found.remove(labels) {
                if alert.state == AlertState::Inactive {
                    *alert = new;
                } else {
                    alert.value = new.value;
                    alert.annotations = new.annotations;
                }
                alert.keep_firing_since_ms = None;
            } else if !keeps_firing(alert, now_ms, holds.keep_firing_for_ms) {
                return end(alert, now_ms);
            }
            progress(alert, now_ms, holds.for_ms);
            active += 1;
            true
        });
        for (labels, mut alert) in found {
            progress(&mut alert, now_ms, holds.for_ms);
            self.alerts.insert(labels, alert);
            active += 1;
        }
        if holds.limit > 0 && active > holds.limit {
            self.alerts.clear();
            return Err(StateError::Limit {
                limit: holds.limit,
                count: active,
            });
        }
        Ok(())
    }

    /// Alerts that are to be sent now, which are then taken for sent. `endsAt` of a firing one
    /// leaves room for several missed evaluations.
    pub(crate) fn take_due(
        &mut self,
        now_ms: i64,
        interval_ms: i64,
        resend_delay_ms: i64,
    ) -> Vec<Outgoing> {
        let valid_ms = interval_ms.max(resend_delay_ms).saturating_mul(4);
        let mut due = Vec::new();
        for (labels, alert) in &mut self.alerts {
            if !is_due(alert, now_ms, resend_delay_ms) {
                continue;
            }
            alert.last_sent_at_ms = Some(now_ms);
            due.push(Outgoing {
                labels: labels.clone(),
                annotations: alert.annotations.clone(),
                starts_at_ms: alert.fired_at_ms.unwrap_or(alert.active_at_ms),
                ends_at_ms: alert
                    .resolved_at_ms
                    .unwrap_or_else(|| now_ms.saturating_add(valid_ms)),
            });
        }
        due
    }

    /// The pending and firing alerts.
    pub(crate) fn active(&self) -> impl Iterator<Item = (&Labels, &ActiveAlert)> {
        self.alerts
            .iter()
            .filter(|(_, alert)| alert.state != AlertState::Inactive)
    }

    /// The pending and firing alerts, to be changed by the restorer.
    pub(crate) fn active_mut(&mut self) -> impl Iterator<Item = (&Labels, &mut ActiveAlert)> {
        self.alerts
            .iter_mut()
            .filter(|(_, alert)| alert.state != AlertState::Inactive)
    }

    /// The worst state among the alerts.
    pub(crate) fn worst(&self) -> AlertState {
        let states = self.alerts.values().map(|alert| alert.state);
        states.max().unwrap_or(AlertState::Inactive)
    }

    /// The pending and firing alerts for the API.
    pub(crate) fn statuses(&self) -> Vec<AlertStatus> {
        self.active()
            .map(|(labels, alert)| AlertStatus {
                labels: labels.clone(),
                annotations: alert.annotations.clone(),
                state: alert.state,
                active_at_ms: alert.active_at_ms,
                keep_firing_since_ms: alert.keep_firing_since_ms,
                value: alert.value,
            })
            .collect()
    }
}

/// Pending fires after `for`. A firing alert whose rule's `for` was raised pends again.
fn progress(alert: &mut ActiveAlert, now_ms: i64, for_ms: i64) {
    let held_ms = now_ms.saturating_sub(alert.active_at_ms);
    match alert.state {
        AlertState::Pending if held_ms >= for_ms => {
            alert.state = AlertState::Firing;
            alert.fired_at_ms = Some(now_ms);
        }
        AlertState::Firing if held_ms < for_ms => {
            alert.state = AlertState::Pending;
            alert.fired_at_ms = None;
            alert.last_sent_at_ms = None;
            alert.keep_firing_since_ms = None;
        }
        _ => {}
    }
}

/// Whether an alert whose condition no longer holds goes on firing for now.
fn keeps_firing(alert: &mut ActiveAlert, now_ms: i64, keep_firing_for_ms: i64) -> bool {
    if alert.state != AlertState::Firing || keep_firing_for_ms <= 0 {
        return false;
    }
    let since_ms = *alert.keep_firing_since_ms.get_or_insert(now_ms);
    now_ms.saturating_sub(since_ms) < keep_firing_for_ms
}

/// Ends an alert. Returns whether it is kept, as resolved.
fn end(alert: &mut ActiveAlert, now_ms: i64) -> bool {
    match alert.state {
        AlertState::Inactive => alert
            .resolved_at_ms
            .is_some_and(|at_ms| now_ms.saturating_sub(at_ms) <= RESOLVED_RETENTION_MS),
        AlertState::Firing => {
            alert.state = AlertState::Inactive;
            alert.resolved_at_ms = Some(now_ms);
            true
        }
        AlertState::Pending | AlertState::Unknown => false,
    }
}

fn is_due(alert: &ActiveAlert, now_ms: i64, resend_delay_ms: i64) -> bool {
    if alert.state == AlertState::Pending {
        return false;
    }
    let Some(sent_at_ms) = alert.last_sent_at_ms else {
        return true;
    };
    let resolved_since = alert.resolved_at_ms.is_some_and(|at_ms| at_ms > sent_at_ms);
    resolved_since || sent_at_ms.saturating_add(resend_delay_ms) < now_ms
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE_MS: i64 = 60_000;

    fn labels(name: &str) -> Labels {
        Labels::from_pairs([("alertname", "X"), ("instance", name)])
    }

    fn findings(names: &str) -> Vec<Finding> {
        let finding = |name: &str| Finding {
            labels: labels(name),
            annotations: Labels::empty(),
            value: 1.0,
        };
        names.split_whitespace().map(finding).collect()
    }

    /// Each step: minute, what is found, what is then active ("a:pending b:firing"), what is sent
    /// (a minus marks a resolved one).
    fn check(for_minutes: i64, keep_minutes: i64, steps: &[(i64, &str, &str, &str)]) {
        let mut states = AlertStates::default();
        let holds = Holds {
            for_ms: for_minutes * MINUTE_MS,
            keep_firing_for_ms: keep_minutes * MINUTE_MS,
            limit: 0,
        };
        for (minute, found, want_active, want_sent) in steps {
            let now_ms = minute * MINUTE_MS;
            states
                .advance(now_ms, findings(found), holds)
                .expect("valid");
            assert_eq!(active(&states), *want_active, "active at minute {minute}");
            let sent: Vec<String> = states
                .take_due(now_ms, MINUTE_MS, MINUTE_MS)
                .iter()
                .map(|alert| {
                    let sign = if alert.ends_at_ms <= now_ms { "-" } else { "" };
                    format!("{sign}{}", alert.labels.get("instance"))
                })
                .collect();
            assert_eq!(sent.join(" "), *want_sent, "sent at minute {minute}");
        }
    }

    fn active(states: &AlertStates) -> String {
        let texts: Vec<String> = states
            .active()
            .map(|(labels, alert)| format!("{}:{}", labels.get("instance"), alert.state.as_str()))
            .collect();
        texts.join(" ")
    }

    #[test]
    fn without_a_hold_an_alert_fires_at_once_and_is_sent_again_after_more_than_the_delay() {
        check(
            0,
            0,
            &[
                (0, "a", "a:firing", "a"),
                (1, "a", "a:firing", ""),
                (2, "a", "a:firing", "a"),
                (3, "", "", "-a"),
                (4, "", "", ""),
                (5, "", "", "-a"),
                (18, "", "", "-a"),
                (19, "", "", ""),
                (40, "", "", ""),
            ],
        );
    }

    #[test]
    fn an_alert_pends_for_as_long_as_it_must() {
        check(
            2,
            0,
            &[
                (0, "a", "a:pending", ""),
                (1, "a b", "a:pending b:pending", ""),
                (2, "a b", "a:firing b:pending", "a"),
                (3, "b", "b:firing", "-a b"),
                (4, "", "", "-b"),
            ],
        );
    }

    #[test]
    fn a_pending_alert_that_ends_leaves_no_trace() {
        check(
            2,
            0,
            &[
                (0, "a", "a:pending", ""),
                (1, "", "", ""),
                (2, "a", "a:pending", ""),
                (3, "a", "a:pending", ""),
                (4, "a", "a:firing", "a"),
            ],
        );
    }

    #[test]
    fn an_alert_is_kept_firing_from_its_first_absence() {
        check(
            0,
            3,
            &[
                (0, "a", "a:firing", "a"),
                (1, "", "a:firing", ""),
                (3, "", "a:firing", "a"),
                (4, "", "", "-a"),
                (5, "a", "a:firing", "a"),
                (6, "", "a:firing", ""),
                (7, "a", "a:firing", "a"),
                (8, "", "a:firing", ""),
                (10, "", "a:firing", "a"),
                (11, "", "", "-a"),
            ],
        );
    }

    #[test]
    fn a_resolved_alert_that_returns_begins_anew() {
        check(
            1,
            0,
            &[
                (0, "a", "a:pending", ""),
                (1, "a", "a:firing", "a"),
                (2, "", "", "-a"),
                (3, "a", "a:pending", ""),
                (4, "a", "a:firing", "a"),
            ],
        );
    }

    #[test]
    fn a_raised_hold_takes_a_firing_alert_back() {
        let mut states = AlertStates::default();
        let holds = |minutes: i64| Holds {
            for_ms: minutes * MINUTE_MS,
            keep_firing_for_ms: 0,
            limit: 0,
        };
        states.advance(0, findings("a"), holds(0)).expect("valid");
        assert_eq!(active(&states), "a:firing");
        states
            .advance(MINUTE_MS, findings("a"), holds(5))
            .expect("valid");
        assert_eq!(active(&states), "a:pending");
        states
            .advance(5 * MINUTE_MS, findings("a"), holds(5))
            .expect("valid");
        assert_eq!(active(&states), "a:firing");
    }

    #[test]
    fn too_many_alerts_clear_all() {
        let mut states = AlertStates::default();
        let holds = Holds {
            for_ms: 0,
            keep_firing_for_ms: 0,
            limit: 2,
        };
        states
            .advance(0, findings("a b"), holds)
            .expect("at the limit");
        assert_eq!(
            states.advance(1, findings("a b c"), holds),
            Err(StateError::Limit { limit: 2, count: 3 })
        );
        assert_eq!(active(&states), "");
    }

    #[test]
    fn two_alerts_of_the_same_labels_change_nothing() {
        let mut states = AlertStates::default();
        let holds = Holds {
            for_ms: 0,
            keep_firing_for_ms: 0,
            limit: 0,
        };
        states.advance(0, findings("a"), holds).expect("valid");
        assert_eq!(
            states.advance(1, findings("b b"), holds),
            Err(StateError::Duplicate {
                labels: labels("b")
            })
        );
        assert_eq!(active(&states), "a:firing");
    }

    #[test]
    fn a_firing_alert_is_valid_for_four_intervals() {
        let mut states = AlertStates::default();
        let holds = Holds {
            for_ms: 0,
            keep_firing_for_ms: 0,
            limit: 0,
        };
        states.advance(1_000, findings("a"), holds).expect("valid");
        let due = states.take_due(1_000, 30_000, 60_000);
        assert_eq!(due[0].starts_at_ms, 1_000);
        assert_eq!(due[0].ends_at_ms, 241_000);
    }
}
