//! Native histograms: over time as a heatmap, at one time as the shape of the distribution.

use plotters::element::Rectangle;
use plotters::prelude::DrawingBackend;
use plotters::style::Color;
use plotters::style::text_anchor::HPos;

use super::axis::{Mark, time_marks, value_marks};
use super::plane::{Axis, context, draw_axes, left_room, lower_room};
use super::sheet::{Drawn, Frame, LINE_HEIGHT, Sheet};
use super::unit::Unit;

/// Most buckets drawn.
pub(crate) const CELLS_LIMIT: usize = 1_000_000;
/// Width and height of the scale of colours, points.
const RAMP: (f64, f64) = (160.0, 10.0);

/// A bucket of a histogram: its bounds, which may be infinite, and how much is in it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Bucket {
    pub(crate) low: f64,
    pub(crate) high: f64,
    pub(crate) count: f64,
}

/// Histograms over time.
#[derive(Clone, Debug)]
pub(crate) struct Heatmap {
    pub(crate) start_ms: i64,
    pub(crate) end_ms: i64,
    /// Distance of columns, milliseconds, above 0.
    pub(crate) step_ms: i64,
    /// Time and buckets of each column.
    pub(crate) columns: Vec<(i64, Vec<Bucket>)>,
}

/// Where values lie on an axis that is logarithmic on both sides of zero, and linear around it.
struct Scale {
    /// Least size told apart from zero.
    smallest: f64,
    /// Ends of what is finite.
    ends: (f64, f64),
    below: bool,
    above: bool,
}

impl Scale {
    fn new<'a>(buckets: impl Iterator<Item = &'a Bucket>) -> Self {
        let mut smallest = f64::INFINITY;
        let mut ends = (f64::INFINITY, f64::NEG_INFINITY);
        let (mut below, mut above) = (false, false);
        for bucket in buckets.filter(|bucket| bucket.count != 0.0) {
            below |= bucket.low == f64::NEG_INFINITY;
            above |= bucket.high == f64::INFINITY;
            for bound in [bucket.low, bucket.high]
                .into_iter()
                .filter(|b| b.is_finite())
            {
                ends = (ends.0.min(bound), ends.1.max(bound));
                if bound != 0.0 {
                    smallest = smallest.min(bound.abs());
                }
            }
        }
        if ends.0 > ends.1 {
            ends = (0.0, 1.0);
        }
        if !smallest.is_finite() {
            smallest = 1.0;
        }
        Self {
            smallest,
            ends,
            below,
            above,
        }
    }

    /// The place of a finite value: ±1 is the smallest size.
    fn place(&self, value: f64) -> f64 {
        let size = value.abs() / self.smallest;
        let place = if size <= 1.0 { size } else { 1.0 + size.log2() };
        place.copysign(value)
    }

    /// Ends of the axis; what is unbounded gets a row of its own.
    fn axis_ends(&self) -> (f64, f64) {
        let (low, high) = (self.place(self.ends.0), self.place(self.ends.1));
        let row = ((high - low) / 12.0).max(0.5);
        let low = if self.below { low - row } else { low };
        let high = if self.above { high + row } else { high };
        if low < high {
            (low, high)
        } else {
            (low, low + 1.0)
        }
    }

    /// Places of both bounds of a bucket.
    fn span(&self, bucket: &Bucket) -> (f64, f64) {
        let (low, high) = self.axis_ends();
        let from = if bucket.low.is_finite() {
            self.place(bucket.low)
        } else {
            low
        };
        let to = if bucket.high.is_finite() {
            self.place(bucket.high)
        } else {
            high
        };
        (from, to)
    }

    /// Marks at round values, at most about `count`.
    fn marks(&self, unit: Unit, count: usize) -> Vec<Mark> {
        let mut values = vec![0.0];
        let (smallest, largest) = (self.smallest, self.ends.0.abs().max(self.ends.1.abs()));
        let first = smallest.log10().floor() as i32;
        let last = (largest.log10().ceil() as i32).min(first + 700);
        let factors: &[f64] = if (last - first) * 3 <= count as i32 {
            &[1.0, 2.0, 5.0]
        } else {
            &[1.0]
        };
        let skip = ((last - first) / count.max(1) as i32 + 1).max(1);
        for power in (first..=last).filter(|power| power.rem_euclid(skip) == 0) {
            for factor in factors {
                let value = factor * 10f64.powi(power);
                values.extend([value, -value]);
            }
        }
        values.retain(|value| {
            let is_apart = *value == 0.0 || value.abs() >= smallest * (1.0 - 1e-9);
            is_apart && (self.ends.0..=self.ends.1).contains(value)
        });
        // Narrow buckets have no power of ten between them.
        if values.len() < 3 {
            let (low, high) = self.ends;
            values.extend(
                value_marks(low, high, unit, count.min(5))
                    .iter()
                    .map(|mark| mark.at),
            );
        }
        // Zero and powers of ten before others, where there is no room for all.
        let rank = |value: f64| match value.abs() {
            0.0 => 0,
            size if (size.log10() - size.log10().round()).abs() < 1e-9 => 1,
            _ => 2,
        };
        values.sort_by(|a, b| rank(*a).cmp(&rank(*b)).then(a.abs().total_cmp(&b.abs())));
        let ends = self.axis_ends();
        let least = (ends.1 - ends.0) / (count.max(1) as f64 * 1.6);
        let mut marks: Vec<Mark> = Vec::new();
        for value in values {
            let at = self.place(value);
            if marks.iter().all(|mark| (at - mark.at).abs() >= least) {
                marks.push(Mark {
                    at,
                    text: unit.format(value, 3),
                    below: String::new(),
                });
            }
        }
        let (low, high) = (self.place(self.ends.0), self.place(self.ends.1));
        for (unbounded, at, text) in [
            (self.below, f64::midpoint(ends.0, low), "−Inf"),
            (self.above, f64::midpoint(high, ends.1), "+Inf"),
        ] {
            if unbounded {
                marks.retain(|mark| (mark.at - at).abs() >= least / 2.0);
                marks.push(Mark {
                    at,
                    text: text.to_owned(),
                    below: String::new(),
                });
            }
        }
        marks.sort_by(|a, b| a.at.total_cmp(&b.at));
        marks
    }
}

/// Draws histograms over time: the more in a bucket, the stronger its colour.
pub(super) fn draw<DB: DrawingBackend>(
    sheet: &Sheet<'_, DB>,
    heatmap: &Heatmap,
    unit: Unit,
    frame: Frame,
) -> Drawn<DB> {
    let scale = Scale::new(heatmap.columns.iter().flat_map(|(_, buckets)| buckets));
    let mut plane = frame;
    plane.height = (frame.height - LINE_HEIGHT - 10.0).max(40.0);
    let vertical = Axis {
        ends: scale.axis_ends(),
        marks: scale.marks(unit, (plane.height / 36.0) as usize),
        caption: "",
    };
    let room = left_room(sheet, &vertical.marks);
    plane.left += room;
    plane.width = (plane.width - room).max(40.0);
    // A column stands for the step that ends at its time.
    let start_ms = heatmap.start_ms - heatmap.step_ms;
    let horizontal = Axis {
        ends: (start_ms as f64, heatmap.end_ms as f64),
        marks: time_marks(start_ms, heatmap.end_ms, (plane.width / 88.0) as usize),
        caption: "UTC",
    };
    plane.height = (plane.height - lower_room(&horizontal.marks)).max(20.0);
    draw_axes(sheet, plane, &horizontal, &vertical)?;
    let most = heatmap
        .columns
        .iter()
        .flat_map(|(_, buckets)| buckets)
        .map(|bucket| bucket.count)
        .filter(|count| count.is_finite())
        .fold(0.0, f64::max);
    let mut context = context(sheet, plane, &horizontal, &vertical)?;
    let cells = heatmap
        .columns
        .iter()
        .flat_map(|(time_ms, buckets)| buckets.iter().map(move |bucket| (*time_ms, bucket)));
    let shapes = cells
        .filter(|(_, bucket)| bucket.count > 0.0)
        .take(CELLS_LIMIT)
        .map(|(time_ms, bucket)| {
            let (low, high) = scale.span(bucket);
            let corners = [
                ((time_ms - heatmap.step_ms) as f64, high),
                (time_ms as f64, low),
            ];
            // The root shows what is rare.
            let color = sheet.palette.of_heat((bucket.count / most).sqrt());
            Rectangle::new(corners, color.filled())
        });
    context.draw_series(shapes)?;
    ramp(sheet, most, frame)
}

/// The scale of colours below a heatmap.
fn ramp<DB: DrawingBackend>(sheet: &Sheet<'_, DB>, most: f64, frame: Frame) -> Drawn<DB> {
    const PIECES: usize = 40;
    let y = frame.bottom() - LINE_HEIGHT / 2.0;
    let caption = "in a bucket: 0";
    let left = frame.left + sheet.width(caption) + 8.0;
    sheet.text(caption, (frame.left, y), HPos::Left, sheet.palette.muted)?;
    for piece in 0..PIECES {
        let width = RAMP.0 / PIECES as f64;
        let part = Frame {
            left: left + piece as f64 * width,
            top: y - RAMP.1 / 2.0,
            width,
            height: RAMP.1,
        };
        let share = (piece as f64 + 0.5) / PIECES as f64;
        sheet.fill(part, sheet.palette.of_heat(share))?;
    }
    let text = Unit::Plain.format(most, 3);
    sheet.text(
        &text,
        (left + RAMP.0 + 8.0, y),
        HPos::Left,
        sheet.palette.muted,
    )
}

/// Draws one histogram: a bar per bucket.
pub(super) fn draw_one<DB: DrawingBackend>(
    sheet: &Sheet<'_, DB>,
    buckets: &[Bucket],
    unit: Unit,
    frame: Frame,
) -> Drawn<DB> {
    let scale = Scale::new(buckets.iter());
    let most = buckets.iter().map(|bucket| bucket.count);
    let most = most.filter(|count| count.is_finite()).fold(0.0, f64::max);
    let top = if most > 0.0 { most * 1.05 } else { 1.0 };
    let mut plane = frame;
    let vertical = Axis {
        ends: (0.0, top),
        marks: value_marks(0.0, top, Unit::Plain, (plane.height / 42.0) as usize),
        caption: "",
    };
    let room = left_room(sheet, &vertical.marks);
    plane.left += room;
    plane.width = (plane.width - room).max(40.0);
    let horizontal = Axis {
        ends: scale.axis_ends(),
        marks: scale.marks(unit, (plane.width / 70.0) as usize),
        caption: "",
    };
    plane.height = (plane.height - lower_room(&horizontal.marks)).max(20.0);
    draw_axes(sheet, plane, &horizontal, &vertical)?;
    let mut context = context(sheet, plane, &horizontal, &vertical)?;
    let color = sheet.palette.of_series(0);
    let shapes = buckets
        .iter()
        .filter(|bucket| bucket.count > 0.0)
        .map(|bucket| {
            let (low, high) = scale.span(bucket);
            let mut shape = Rectangle::new([(low, bucket.count), (high, 0.0)], color.filled());
            let gap = sheet.dots(0.5).max(0) as u32;
            shape.set_margin(0, 0, gap, gap);
            shape
        });
    context.draw_series(shapes)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_lie_in_order_on_both_sides_of_zero() {
        let bounds = [f64::NEG_INFINITY, -4.0, -0.5, 0.5, 4.0, f64::INFINITY];
        let buckets: Vec<Bucket> = bounds
            .windows(2)
            .map(|pair| Bucket {
                low: pair[0],
                high: pair[1],
                count: 1.0,
            })
            .collect();
        let scale = Scale::new(buckets.iter());
        let spans: Vec<(f64, f64)> = buckets.iter().map(|bucket| scale.span(bucket)).collect();
        assert!(
            spans.windows(2).all(|pair| pair[0].1 == pair[1].0),
            "{spans:?}"
        );
        assert_eq!((spans[0].0, spans[4].1), scale.axis_ends());
        assert_eq!((spans[1], spans[2]), ((-4.0, -1.0), (-1.0, 1.0)));
        let marks = scale.marks(Unit::Plain, 10);
        let texts: Vec<&str> = marks.iter().map(|mark| mark.text.as_str()).collect();
        assert!(
            texts.contains(&"0") && texts.contains(&"+Inf") && texts.contains(&"−Inf"),
            "{texts:?}"
        );
        assert!(texts.contains(&"1") && texts.contains(&"−1"), "{texts:?}");
    }
}
