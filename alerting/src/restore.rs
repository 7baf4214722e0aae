//! After a restart: since when alerts have been pending, read back from `ALERTS_FOR_STATE`.

use std::collections::HashMap;

use barograph_model::labels::METRIC_NAME;
use barograph_model::sample::is_stale;
use barograph_model::{Labels, Matcher, TimeRange};
use barograph_tsdb::{Column, Snapshot};

use crate::rule_file::Rule;

/// The series that carries the start of an alert, in seconds.
pub(crate) const FOR_STATE_NAME: &str = "ALERTS_FOR_STATE";
/// The label that names an alert.
pub(crate) const ALERT_NAME: &str = "alertname";

/// How alerts come back.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_field_names, reason = "the unit stands last")]
pub(crate) struct RestoreRules {
    /// The rule's `for`.
    pub for_ms: i64,
    /// How long an outage may last.
    pub outage_tolerance_ms: i64,
    /// The least time an alert pends after a restart.
    pub grace_period_ms: i64,
}

/// What was stored of one alert last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    /// When, milliseconds since the epoch: the server went down about then.
    pub at_ms: i64,
    /// Since when the alert was active.
    pub active_at_ms: i64,
}

/// The stored starts of a rule's alerts by their labels; those that had ended are left out.
///
/// # Errors
/// The store cannot be read.
pub(crate) fn stored_starts(
    snapshot: &Snapshot,
    rule: &Rule,
    now_ms: i64,
    outage_tolerance_ms: i64,
) -> Result<HashMap<Labels, Stored>, String> {
    let mut matchers = vec![
        Matcher::equal(METRIC_NAME, FOR_STATE_NAME),
        Matcher::equal(ALERT_NAME, rule.name()),
    ];
    // Templates were expanded before they were stored.
    let fixed = rule
        .labels
        .iter()
        .filter(|(_, value)| !value.contains("{{"));
    matchers.extend(fixed.map(|(name, value)| Matcher::equal(name, value)));
    let range = TimeRange {
        start_ms: now_ms.saturating_sub(outage_tolerance_ms),
        end_ms: now_ms,
    };
    let selection = snapshot
        .select(&matchers, range)
        .map_err(|error| error.to_string())?;
    let mut starts = HashMap::with_capacity(selection.len());
    let mut column = Column::default();
    for index in 0..selection.len() {
        selection
            .read(index, range, &mut column)
            .map_err(|error| error.to_string())?;
        let (Some(&at_ms), Some(&value)) = (column.timestamps_ms.last(), column.values.last())
        else {
            continue;
        };
        if is_stale(value) || !value.is_finite() {
            continue;
        }
        let labels = selection.labels(index).without(|name| name == METRIC_NAME);
        let active_at_ms = (value as i64).saturating_mul(1_000);
        starts.insert(
            labels,
            Stored {
                at_ms,
                active_at_ms,
            },
        );
    }
    Ok(starts)
}

/// Since when an alert counts as active after the outage: the outage itself does not count, and
/// at least the grace period remains before it fires, unless it had fired already.
pub(crate) fn restored_start_ms(now_ms: i64, stored: Stored, rules: RestoreRules) -> i64 {
    let pending_ms = stored.at_ms - stored.active_at_ms;
    let remaining_ms = rules.for_ms - pending_ms;
    if remaining_ms <= 0 {
        stored.active_at_ms
    } else if remaining_ms < rules.grace_period_ms {
        now_ms + rules.grace_period_ms - rules.for_ms
    } else {
        stored.active_at_ms + (now_ms - stored.at_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outage_does_not_count() {
        const MINUTE_MS: i64 = 60_000;
        // `for` 30 m, grace 10 m, now minute 100: stored at, active at, then restored to.
        for (at, active_at, want, what) in [
            (90, 50, 50, "it had fired: it fires again"),
            (90, 60, 60, "exactly for as long as it must"),
            (
                90,
                89,
                99,
                "much remains: shifted by the ten minutes of the outage",
            ),
            (90, 70, 80, "the grace period remains"),
            (90, 65, 80, "little remains: fires after the grace period"),
        ] {
            let stored = Stored {
                at_ms: at * MINUTE_MS,
                active_at_ms: active_at * MINUTE_MS,
            };
            let rules = RestoreRules {
                for_ms: 30 * MINUTE_MS,
                outage_tolerance_ms: 60 * MINUTE_MS,
                grace_period_ms: 10 * MINUTE_MS,
            };
            let got = restored_start_ms(100 * MINUTE_MS, stored, rules);
            assert_eq!(got / MINUTE_MS, want, "{what}");
        }
    }
}
