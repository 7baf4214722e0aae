//! From the labels a target writes to the labels that are stored.

use barograph_model::labels::{is_legacy_label_name, is_legacy_metric_name};
use barograph_model::relabel::relabel;
use barograph_model::{Labels, LabelsBuilder, METRIC_NAME};

use crate::config::ScrapeConfig;
use crate::error::ScrapeError;

/// Prefix of labels the target wrote where the configuration has a label of that name.
const EXPORTED: &str = "exported_";

/// Adds the target's labels and relabels. `None` where relabelling drops the series.
///
/// # Errors
/// The result has no name, an invalid name, or breaks a limit.
pub(crate) fn stored_labels(
    config: &ScrapeConfig,
    target: &Labels,
    labels: &mut LabelsBuilder,
) -> Result<Option<Labels>, ScrapeError> {
    if config.honor_labels {
        for (name, value) in target {
            if labels.get(name).is_empty() {
                labels.set(name, value);
            }
        }
    } else {
        overrule(target, labels);
    }
    if !relabel(&config.metric_relabel, labels) {
        return Ok(None);
    }
    let labels = labels.build();
    if labels.is_empty() {
        return Ok(None);
    }
    check_names(config, &labels)?;
    check_limits(config, &labels)?;
    Ok(Some(labels))
}

/// The labels of a series about the scrape itself.
pub(crate) fn report_labels(metric: &str, target: &Labels) -> Labels {
    let mut labels = target.to_builder();
    labels.set(METRIC_NAME, metric);
    labels.build()
}

/// Sets the target's labels; what the target itself wrote under their names moves to the first
/// free `exported_…` name, shorter names first.
fn overrule(target: &Labels, labels: &mut LabelsBuilder) {
    let mut conflicts: Vec<(String, String)> = Vec::new();
    for (name, value) in target {
        let own = labels.get(name);
        if !own.is_empty() {
            conflicts.push((name.to_owned(), own.to_owned()));
        }
        labels.set(name, value);
    }
    conflicts.sort_by_key(|(name, _)| name.len());
    for (name, value) in conflicts {
        let mut free = format!("{EXPORTED}{name}");
        while !labels.get(&free).is_empty() {
            free.insert_str(0, EXPORTED);
        }
        labels.set(&free, &value);
    }
}

fn check_names(config: &ScrapeConfig, labels: &Labels) -> Result<(), ScrapeError> {
    let metric = labels.metric_name();
    if metric.is_empty() {
        return Err(ScrapeError::NoMetricName {
            labels: labels.to_string(),
        });
    }
    let valid = !config.legacy_names
        || (is_legacy_metric_name(metric)
            && labels.iter().all(|(name, _)| is_legacy_label_name(name)));
    if valid {
        Ok(())
    } else {
        Err(ScrapeError::InvalidNames {
            labels: labels.to_string(),
        })
    }
}

fn check_limits(config: &ScrapeConfig, labels: &Labels) -> Result<(), ScrapeError> {
    let over = |limit: u64, have: usize| limit > 0 && have as u64 > limit;
    let fail = |limit_name: &'static str, label: &str, have: usize, limit: u64| {
        Err(ScrapeError::LabelLimit {
            limit_name,
            metric: shortened(labels.metric_name()),
            label: shortened(label),
            have,
            limit,
        })
    };
    if config.label_limit > 0 {
        let have = labels.len();
        if over(config.label_limit, have) {
            return fail("label_limit", "", have, config.label_limit);
        }
    }
    for (name, value) in labels {
        if over(config.label_name_length_limit, name.len()) {
            let limit = config.label_name_length_limit;
            return fail("label_name_length_limit", name, name.len(), limit);
        }
        if over(config.label_value_length_limit, value.len()) {
            let limit = config.label_value_length_limit;
            return fail("label_value_length_limit", name, value.len(), limit);
        }
    }
    Ok(())
}

fn shortened(text: &str) -> String {
    text.chars().take(50).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(honor: bool, target: &[(&str, &str)], scraped: &[(&str, &str)], want: &str) {
        let config = ScrapeConfig {
            honor_labels: honor,
            ..ScrapeConfig::new("j")
        };
        let mut labels = LabelsBuilder::new();
        for (name, value) in scraped {
            labels.set(name, value);
        }
        let target = Labels::from_pairs(target.iter().copied());
        let got = stored_labels(&config, &target, &mut labels);
        assert_eq!(got.expect("valid").expect("kept").to_string(), want);
    }

    #[test]
    fn conflicts_are_exported_or_honored() {
        let scraped = [
            ("__name__", "m"),
            ("foo", "theirs"),
            ("exported_foo", "too"),
        ];
        check(
            false,
            &[("foo", "ours")],
            &scraped,
            r#"{__name__="m", exported_exported_foo="theirs", exported_foo="too", foo="ours"}"#,
        );
        check(
            true,
            &[("foo", "ours"), ("bar", "ours")],
            &scraped,
            r#"{__name__="m", bar="ours", exported_foo="too", foo="theirs"}"#,
        );
    }

    #[test]
    fn two_conflicts_that_meet_both_survive() {
        check(
            false,
            &[("foo", "1"), ("exported_foo", "2")],
            &[("__name__", "m"), ("foo", "3"), ("exported_foo", "4")],
            r#"{__name__="m", exported_exported_exported_foo="4", exported_exported_foo="3", exported_foo="2", foo="1"}"#,
        );
    }
}
