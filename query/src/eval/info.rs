//! `info`: adds the labels of info series to series of the same `instance` and `job`.

use barograph_model::{Labels, METRIC_NAME, MatchOp, Matcher};

use super::Evaluator;
use super::select::Pick;
use super::vector::{ABSENT, FastMap, Vector, is_absent, same_labels};
use crate::error::QueryError;
use crate::plan::{InfoPlan, SelectorPlan, Steps};

/// The labels that say which info series belong to a series.
const IDENTIFYING: [&str; 2] = ["instance", "job"];

impl Evaluator<'_> {
    pub(super) fn info(&mut self, plan: &InfoPlan, steps: &Steps) -> Result<Vector, QueryError> {
        let base = self.vector(&plan.operand, steps)?;
        let names = name_matchers(&plan.selectors);
        let is_info: Vec<bool> = base
            .rows()
            .map(|(meta, _)| {
                let name = meta.labels().metric_name();
                names.iter().all(|matcher| matcher.matches(name))
            })
            .collect();
        let infos = self.info_series(plan, &base, &is_info, names, steps)?;
        let wanted: Vec<&Matcher> = plan
            .selectors
            .iter()
            .filter(|matcher| matcher.name() != METRIC_NAME)
            .collect();
        let enriched = Enrichment::new(&base, &is_info, &infos, wanted).run(steps, self)?;
        self.limits.release(base.held() + infos.held());
        Ok(enriched)
    }

    /// The info series that may belong to any series; their values are the times of their samples.
    fn info_series(
        &mut self,
        plan: &InfoPlan,
        base: &Vector,
        is_info: &[bool],
        names: Vec<Matcher>,
        steps: &Steps,
    ) -> Result<Vector, QueryError> {
        let mut infos = Vector::new(steps.count, self.limits.held());
        let mut matchers = names;
        let mut identified = false;
        for label in IDENTIFYING {
            let mut values: Vec<String> = base
                .rows()
                .zip(is_info)
                .filter(|(_, is_info)| !**is_info)
                .map(|((meta, _), _)| meta.labels().get(label))
                .filter(|value| !value.is_empty())
                .map(quote_meta)
                .collect();
            if values.is_empty() {
                continue;
            }
            values.sort();
            values.dedup();
            identified = true;
            let matcher =
                Matcher::new(label, MatchOp::Regex, &values.join("|")).map_err(|error| {
                    QueryError::Execution(format!("info(): values of {label}: {}", error.reason))
                })?;
            matchers.push(matcher);
        }
        if !identified {
            return Ok(infos);
        }
        let others = plan.selectors.iter().filter(|m| m.name() != METRIC_NAME);
        matchers.extend(others.cloned());
        let selector = SelectorPlan {
            matchers,
            times: plan.times,
            extension: None,
            totals_only: false,
            span: crate::ast::Span::default(),
            // Nobody else asks for them.
            family: usize::MAX,
            member: 0,
        };
        let limits = self.limits.clone();
        let (ledger, arena) = (self.ledger.clone(), self.arena.clone());
        self.stream_picks(
            &selector,
            steps,
            &mut |key, drop_name, times_ms| {
                limits.hold(times_ms.len())?;
                if let Some(ledger) = &ledger {
                    ledger.borrow_mut().side_row(times_ms, &arena);
                }
                infos.push(key.labels().clone(), drop_name, times_ms);
                Ok(())
            },
            false,
            |column, pick| match pick {
                Pick::Float(_) => Ok(pick.time_ms(column).map_or(ABSENT, |t| t as f64)),
                Pick::Histogram(_) => Err(QueryError::Execution(
                    "info sample should be float".to_owned(),
                )),
            },
        )?;
        Ok(infos)
    }
}

/// The conditions on the name that are used: without any that asks for names, all that end in
/// `_info` are meant; without any at all, `target_info`.
fn name_matchers(selectors: &[Matcher]) -> Vec<Matcher> {
    let mut names: Vec<Matcher> = selectors
        .iter()
        .filter(|matcher| matcher.name() == METRIC_NAME)
        .cloned()
        .collect();
    if names.is_empty() {
        return vec![Matcher::equal(METRIC_NAME, "target_info")];
    }
    let asks = |m: &Matcher| matches!(m.op(), MatchOp::Equal | MatchOp::Regex);
    if !names.iter().any(asks) {
        names.extend(Matcher::new(METRIC_NAME, MatchOp::Regex, ".+_info"));
    }
    names
}

/// A text as a pattern that matches just it.
fn quote_meta(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len());
    for ch in text.chars() {
        if r"\.+*?()|[]{}^$".contains(ch) {
            quoted.push('\\');
        }
        quoted.push(ch);
    }
    quoted
}

/// Series, info series, and who belongs to whom.
struct Enrichment<'a> {
    base: &'a Vector,
    is_info: &'a [bool],
    infos: &'a Vector,
    /// Conditions on data labels: only labels they name are added.
    wanted: Vec<&'a Matcher>,
    /// Per group of info series with the same name and identity, its members.
    groups: Vec<Vec<usize>>,
    /// Per series, the groups that belong to it, in order of their names.
    groups_of: Vec<Vec<usize>>,
}

impl<'a> Enrichment<'a> {
    fn new(
        base: &'a Vector,
        is_info: &'a [bool],
        infos: &'a Vector,
        wanted: Vec<&'a Matcher>,
    ) -> Self {
        let mut groups: Vec<Vec<usize>> = Vec::new();
        let mut by_identity: FastMap<[&str; 2], Vec<(&str, usize)>> = FastMap::default();
        for (index, (meta, _)) in infos.rows().enumerate() {
            let name = meta.labels().metric_name();
            let same = by_identity.entry(identity(meta.labels())).or_default();
            if let Some((_, group)) = same.iter().find(|(have, _)| *have == name) {
                groups[*group].push(index);
            } else {
                same.push((name, groups.len()));
                groups.push(vec![index]);
            }
        }
        let groups_of = base
            .rows()
            .map(|(meta, _)| {
                let mut found = by_identity
                    .get(&identity(meta.labels()))
                    .cloned()
                    .unwrap_or_default();
                found.sort_unstable();
                found.into_iter().map(|(_, group)| group).collect()
            })
            .collect();
        Self {
            base,
            is_info,
            infos,
            wanted,
            groups,
            groups_of,
        }
    }

    fn run(&self, steps: &Steps, evaluator: &Evaluator<'_>) -> Result<Vector, QueryError> {
        let any = self.base.any_present();
        let mut result = Vector::new(steps.count, evaluator.limits.held());
        let mut places: FastMap<Labels, usize> = FastMap::default();
        // Per series and the info series it met, where the result is; none where it is left out.
        let mut met: FastMap<(usize, Vec<usize>), Option<usize>> = FastMap::default();
        let mut newest = vec![None; self.groups.len()];
        for step in (0..steps.count).filter(|step| any[*step]) {
            evaluator.limits.check()?;
            for (newest, group) in newest.iter_mut().zip(&self.groups) {
                *newest = self.newest(group, step)?;
            }
            for index in 0..self.base.len() {
                let value = self.base.values(index)[step];
                if is_absent(value) {
                    continue;
                }
                let partners: Vec<usize> = if self.is_info[index] {
                    Vec::new()
                } else {
                    let groups = self.groups_of[index].iter();
                    groups.filter_map(|group| newest[*group]).collect()
                };
                let key = (index, partners);
                if !met.contains_key(&key) {
                    let labels = self.labels(index, &key.1)?;
                    let place = labels.map(|labels| {
                        *places.entry(labels.clone()).or_insert_with(|| {
                            let drop_name = self.base.meta(index).drop_name;
                            result.push_with(labels, drop_name, |_| {});
                            result.len() - 1
                        })
                    });
                    met.insert(key.clone(), place);
                }
                let Some(place) = met.get(&key).copied().flatten() else {
                    continue;
                };
                let slot = &mut result.values_mut(place)[step];
                if !is_absent(*slot) {
                    return Err(same_labels());
                }
                *slot = value;
            }
        }
        evaluator.limits.hold(result.held())?;
        Ok(result)
    }

    /// Of info series with the same name and identity, the one with the newest sample.
    fn newest(&self, group: &[usize], step: usize) -> Result<Option<usize>, QueryError> {
        let time_ms = |index: usize| self.infos.values(index)[step];
        let mut newest: Option<usize> = None;
        for index in group.iter().copied().filter(|i| !is_absent(time_ms(*i))) {
            newest = match newest {
                Some(have) if time_ms(have) > time_ms(index) => Some(have),
                Some(have) if time_ms(have) == time_ms(index) => {
                    let (have, new) = (self.infos.meta(have), self.infos.meta(index));
                    return Err(QueryError::Execution(format!(
                        "found duplicate series for info metric: existing {} @ {time}, new {} @ {time}",
                        have.labels(),
                        new.labels(),
                        time = time_ms(index) as i64,
                    )));
                }
                _ => Some(index),
            };
        }
        Ok(newest)
    }

    /// The labels of a series with those of its info series; `None` where one was asked for and is
    /// not there.
    fn labels(&self, index: usize, partners: &[usize]) -> Result<Option<Labels>, QueryError> {
        let own = self.base.meta(index).labels();
        if self.is_info[index] {
            return Ok(Some(own.clone()));
        }
        if partners.is_empty() {
            let may_lack = self.wanted.iter().all(|matcher| matcher.matches_empty());
            return Ok(may_lack.then(|| own.clone()));
        }
        let mut added: Vec<(&str, &str)> = Vec::new();
        for partner in partners {
            for (name, value) in self.infos.meta(*partner).labels() {
                let is_wanted =
                    self.wanted.is_empty() || self.wanted.iter().any(|m| m.name() == name);
                if name == METRIC_NAME || !is_wanted {
                    continue;
                }
                match added.iter().find(|(have, _)| *have == name) {
                    Some((_, have)) if *have != value => {
                        return Err(QueryError::Execution(format!("conflicting label: {name}")));
                    }
                    Some(_) => {}
                    None if own.has(name) => {}
                    None => added.push((name, value)),
                }
            }
        }
        let mut builder = own.to_builder();
        for (name, value) in added {
            builder.set(name, value);
        }
        Ok(Some(builder.build()))
    }
}

fn identity(labels: &Labels) -> [&str; 2] {
    IDENTIFYING.map(|label| labels.get(label))
}
