//! Parts of dates, in UTC.

use barograph_model::Labels;
use barograph_model::date::{date_of_days, days_in_month, days_of_date};

use super::Evaluator;
use super::arena::drop_histograms;
use super::vector::{Vector, is_absent};
use crate::error::QueryError;
use crate::functions::Date;
use crate::gomath::to_i64;
use crate::plan::{Steps, VectorPlan};

const DAY_SECONDS: i64 = 86_400;

impl Evaluator<'_> {
    pub(super) fn date(
        &mut self,
        part: Date,
        operand: Option<&VectorPlan>,
        steps: &Steps,
    ) -> Result<Vector, QueryError> {
        let Some(operand) = operand else {
            let mut vector = Vector::new(steps.count, self.limits.held());
            self.limits.hold(steps.count)?;
            vector.push_with(Labels::empty(), false, |out| {
                for (step, slot) in out.iter_mut().enumerate() {
                    *slot = part_of(part, steps.at(step) / 1000);
                }
            });
            return Ok(vector);
        };
        let mut vector = self.vector(operand, steps)?;
        for index in 0..vector.len() {
            if self.arena.any() {
                drop_histograms(vector.values_mut(index));
            }
            for value in vector.values_mut(index) {
                if !is_absent(*value) {
                    *value = part_of(part, to_i64(*value));
                }
            }
            vector.meta_mut(index).drop_name = true;
        }
        self.settle(vector.without_empty())
    }
}

fn part_of(part: Date, seconds: i64) -> f64 {
    // Go counts the seconds of its calendar in 64 bits without sign: what is no time wraps around
    // to its far end.
    let seconds = match seconds {
        i64::MIN => i128::from(seconds) + (1 << 64),
        _ => i128::from(seconds),
    };
    let day = i128::from(DAY_SECONDS);
    let (days, second) = (
        seconds.div_euclid(day) as i64,
        seconds.rem_euclid(day) as i64,
    );
    let (year, month, day) = date_of_days(days);
    let number = match part {
        Date::Minute => second / 60 % 60,
        Date::Hour => second / 3600,
        // 1970-01-01 was a Thursday.
        Date::DayOfWeek => (days + 4).rem_euclid(7),
        Date::DayOfMonth => day,
        Date::DayOfYear => days - days_of_date(year, 1, 1) + 1,
        Date::DaysInMonth => days_in_month(year, month),
        Date::Month => month,
        Date::Year => year,
    };
    number as f64
}

/// A time as RFC 3339 writes it, to the second.
pub(crate) fn rfc3339(time_ms: i64) -> String {
    let seconds = time_ms.div_euclid(1000);
    let (year, month, day) = date_of_days(seconds.div_euclid(DAY_SECONDS));
    let second = seconds.rem_euclid(DAY_SECONDS);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_known_dates() {
        // 2024-02-29 23:59:59, a Thursday.
        let leap = 1_709_251_199;
        for (part, want) in [
            (Date::Year, 2024.0),
            (Date::Month, 2.0),
            (Date::DayOfMonth, 29.0),
            (Date::DayOfWeek, 4.0),
            (Date::DayOfYear, 60.0),
            (Date::DaysInMonth, 29.0),
            (Date::Hour, 23.0),
            (Date::Minute, 59.0),
        ] {
            assert_eq!(part_of(part, leap), want, "{part:?}");
        }
        assert_eq!(part_of(Date::Year, -1), 1969.0);
        assert_eq!(part_of(Date::DaysInMonth, -1), 31.0);
        assert_eq!(part_of(Date::Year, to_i64(f64::NAN)), 292_277_026_596.0);
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
    }
}
