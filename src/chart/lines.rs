//! Series over time, as lines or as a stack.

use plotters::element::{Circle, PathElement, Polygon};
use plotters::prelude::{DashedLineSeries, DrawingAreaErrorKind, DrawingBackend, LineSeries};
use plotters::style::text_anchor::HPos;
use plotters::style::{Color, RGBColor};

use super::axis::{time_marks, value_marks, value_range};
use super::names::printable;
use super::palette::dash_of;
use super::plane::{Axis, Context, context, draw_axes, left_room, lower_room};
use super::sheet::{Drawn, Frame, LINE_HEIGHT, Sheet, TEXT_SIZE};
use super::unit::Unit;

/// Most series drawn; the picture says how many are left out.
pub(crate) const SERIES_LIMIT: usize = 200;
/// Share of a picture's height that a legend may take.
const LEGEND_SHARE: f64 = 0.4;
/// Points across a column of a legend at most.
const LEGEND_COLUMN: f64 = 420.0;
/// Width of lines, points.
const STROKE: f64 = 1.5;

/// A series: a value per step, NaN where there is none.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) values: Vec<f64>,
}

/// Series over time.
#[derive(Clone, Debug)]
pub(crate) struct Lines {
    /// Time of the first value, milliseconds since 1970.
    pub(crate) start_ms: i64,
    /// Distance of values, milliseconds, above 0.
    pub(crate) step_ms: i64,
    /// Time of the last value.
    pub(crate) end_ms: i64,
    pub(crate) series: Vec<Line>,
    /// Add the series up.
    pub(crate) stacked: bool,
}

impl Lines {
    /// Whether there is something to draw.
    pub(super) fn is_empty(&self) -> bool {
        let mut values = self.series.iter().flat_map(|line| &line.values);
        !values.any(|value| value.is_finite())
    }

    /// How many steps the longest series has.
    pub(crate) fn values_per_series(&self) -> usize {
        let lengths = self.series.iter().map(|line| line.values.len());
        lengths.max().unwrap_or(0)
    }

    fn time_of(&self, index: usize) -> f64 {
        (self.start_ms + index as i64 * self.step_ms) as f64
    }

    /// The greatest and least of all values, and those of a stack.
    fn bounds(columns: &[Vec<f64>]) -> (f64, f64) {
        let finite = columns.iter().flatten().filter(|value| value.is_finite());
        finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
            (low.min(*value), high.max(*value))
        })
    }
}

/// Each column with those before it added; where a column has no value, it adds nothing.
fn stacked(series: &[Line]) -> Vec<Vec<f64>> {
    let mut total: Vec<f64> = Vec::new();
    let add = |line: &Line| {
        total.resize(total.len().max(line.values.len()), f64::NAN);
        for (sum, value) in total.iter_mut().zip(&line.values) {
            if value.is_finite() {
                *sum = if sum.is_nan() { *value } else { *sum + *value };
            }
        }
        total.clone()
    };
    series.iter().map(add).collect()
}

pub(super) fn draw<DB: DrawingBackend>(
    sheet: &Sheet<'_, DB>,
    lines: &Lines,
    unit: Unit,
    frame: Frame,
) -> Drawn<DB> {
    let shown = &lines.series[..lines.series.len().min(SERIES_LIMIT)];
    let columns = if lines.stacked {
        stacked(shown)
    } else {
        shown.iter().map(|line| line.values.clone()).collect()
    };
    let (low, high) = Lines::bounds(&columns);
    let ends = value_range(low, high, lines.stacked);
    let legend = Legend::new(sheet, lines, frame);
    let mut plane = frame;
    plane.height = (frame.height - legend.height()).max(40.0);
    let rows = (plane.height / 42.0) as usize;
    let vertical = Axis {
        ends,
        marks: value_marks(ends.0, ends.1, unit, rows),
        caption: "",
    };
    let room = left_room(sheet, &vertical.marks);
    plane.left += room;
    plane.width = (plane.width - room).max(40.0);
    // One value alone stands in the middle.
    let (start_ms, end_ms) = if lines.start_ms < lines.end_ms {
        (lines.start_ms, lines.end_ms)
    } else {
        (lines.start_ms - 500, lines.start_ms + 500)
    };
    let horizontal = Axis {
        ends: (start_ms as f64, end_ms as f64),
        marks: time_marks(start_ms, end_ms, (plane.width / 88.0) as usize),
        caption: "UTC",
    };
    plane.height = (plane.height - lower_room(&horizontal.marks)).max(20.0);
    draw_axes(sheet, plane, &horizontal, &vertical)?;
    let mut context = context(sheet, plane, &horizontal, &vertical)?;
    let most = (plane.width as usize).max(1);
    if lines.stacked {
        // From the top, so that each line lies on the area below it.
        for index in (0..columns.len()).rev() {
            let below = index.checked_sub(1).map(|below| &columns[below][..]);
            let color = sheet.palette.of_series(index);
            draw_area(&mut context, lines, &columns[index], below, color)?;
        }
    }
    // The first series is drawn last: it is the one that the legend names first.
    for (index, values) in columns.iter().enumerate().rev() {
        for run in runs(lines, values, most) {
            draw_run(sheet, &mut context, run, index)?;
        }
    }
    legend.draw(sheet, frame)
}

/// The parts of a series between gaps, as times and values; where there are many more values than
/// places, the first, least, greatest and last of each place.
fn runs(lines: &Lines, values: &[f64], places: usize) -> Vec<Vec<(f64, f64)>> {
    let per_place = values.len() / places;
    let point = |index: usize| (lines.time_of(index), values[index]);
    let mut runs: Vec<Vec<(f64, f64)>> = Vec::new();
    let mut from = 0;
    while from < values.len() {
        if !values[from].is_finite() {
            from += 1;
            continue;
        }
        let length = values[from..].iter().take_while(|v| v.is_finite()).count();
        let mut run = Vec::new();
        if per_place < 4 {
            run.extend((from..from + length).map(point));
        } else {
            let all: Vec<usize> = (from..from + length).collect();
            for place in all.chunks(per_place) {
                let by_value = |a: &&usize, b: &&usize| values[**a].total_cmp(&values[**b]);
                let ends = [place.first(), place.last()];
                let extremes = [place.iter().min_by(by_value), place.iter().max_by(by_value)];
                let mut kept: Vec<usize> = ends
                    .into_iter()
                    .chain(extremes)
                    .flatten()
                    .copied()
                    .collect();
                kept.sort_unstable();
                kept.dedup();
                run.extend(kept.into_iter().map(point));
            }
        }
        runs.push(run);
        from += length;
    }
    runs
}

fn draw_run<DB: DrawingBackend>(
    sheet: &Sheet<'_, DB>,
    context: &mut Context<'_, DB>,
    run: Vec<(f64, f64)>,
    index: usize,
) -> Drawn<DB> {
    let color = sheet.palette.of_series(index);
    let style = sheet.stroke(color, STROKE);
    if let [alone] = run[..] {
        // Without neighbours there is no line.
        let radius = sheet.dots(STROKE * 1.4).max(1);
        context.draw_series([Circle::new(alone, radius, color.filled())])?;
    } else if let Some((dash, gap)) = dash_of(index) {
        let (dash, gap) = (sheet.dots(dash), sheet.dots(gap));
        context.draw_series(DashedLineSeries::new(run, dash, gap, style))?;
    } else {
        context.draw_series(LineSeries::new(run, style))?;
    }
    Ok(())
}

/// The area between a column of a stack and the one below it.
fn draw_area<DB: DrawingBackend>(
    context: &mut Context<'_, DB>,
    lines: &Lines,
    upper: &[f64],
    lower: Option<&[f64]>,
    color: RGBColor,
) -> Drawn<DB> {
    let floor = |index: usize| {
        let below = lower.and_then(|lower| lower.get(index)).copied();
        below.filter(|value| value.is_finite()).unwrap_or(0.0)
    };
    let mut from = 0;
    while from < upper.len() {
        if !upper[from].is_finite() {
            from += 1;
            continue;
        }
        let length = upper[from..].iter().take_while(|v| v.is_finite()).count();
        let there = (from..from + length).map(|at| (lines.time_of(at), upper[at]));
        let back = (from..from + length)
            .rev()
            .map(|at| (lines.time_of(at), floor(at)));
        if length > 1 {
            let outline: Vec<(f64, f64)> = there.chain(back).collect();
            context.draw_series([Polygon::new(outline, color.mix(0.3))])?;
        }
        from += length;
    }
    Ok(())
}

/// The names of series below a chart, in columns.
struct Legend {
    entries: Vec<String>,
    columns: usize,
    column_width: f64,
    /// How many names found no room.
    left_out: usize,
}

impl Legend {
    fn new<DB: DrawingBackend>(sheet: &Sheet<'_, DB>, lines: &Lines, frame: Frame) -> Self {
        let names: Vec<String> = lines
            .series
            .iter()
            .map(|line| printable(&line.name))
            .collect();
        // A chart of one thing without a name is explained by its title.
        if names.len() == 1 && names[0] == "{}" {
            return Self {
                entries: Vec::new(),
                columns: 1,
                column_width: frame.width,
                left_out: 0,
            };
        }
        let widest = names
            .iter()
            .map(|name| sheet.width(name))
            .fold(0.0, f64::max);
        let column_width = (widest + 48.0).min(LEGEND_COLUMN).min(frame.width);
        let columns = ((frame.width / column_width) as usize).max(1);
        let rows = ((frame.height * LEGEND_SHARE / LINE_HEIGHT) as usize).max(1);
        let room = (rows * columns).min(SERIES_LIMIT);
        // The last place is for saying how many are left out.
        let kept = if names.len() <= room {
            names.len()
        } else {
            room - 1
        };
        let entries = names[..kept]
            .iter()
            .map(|name| sheet.face.fitted(name, TEXT_SIZE, column_width - 40.0));
        Self {
            entries: entries.collect(),
            columns,
            column_width,
            left_out: names.len() - kept,
        }
    }

    fn rows(&self) -> usize {
        let places = self.entries.len() + usize::from(self.left_out > 0);
        places.div_ceil(self.columns)
    }

    fn height(&self) -> f64 {
        match self.rows() {
            0 => 0.0,
            rows => rows as f64 * LINE_HEIGHT + 8.0,
        }
    }

    fn draw<DB: DrawingBackend>(&self, sheet: &Sheet<'_, DB>, frame: Frame) -> Drawn<DB> {
        let top = frame.bottom() - self.rows() as f64 * LINE_HEIGHT;
        let place = |index: usize| {
            // Down first, as lists are read.
            let rows = self.rows().max(1);
            let x = frame.left + (index / rows) as f64 * self.column_width;
            (x, top + ((index % rows) as f64 + 0.5) * LINE_HEIGHT)
        };
        for (index, name) in self.entries.iter().enumerate() {
            let (x, y) = place(index);
            swatch(sheet, (x, y), index)?;
            sheet.text(name, (x + 26.0, y), HPos::Left, sheet.palette.text)?;
        }
        if self.left_out > 0 {
            let text = format!("and {} more", self.left_out);
            let (x, y) = place(self.entries.len());
            sheet.text(&text, (x + 26.0, y), HPos::Left, sheet.palette.muted)?;
        }
        Ok(())
    }
}

fn swatch<DB: DrawingBackend>(
    sheet: &Sheet<'_, DB>,
    (x, y): (f64, f64),
    index: usize,
) -> Result<(), DrawingAreaErrorKind<DB::ErrorType>> {
    let color = sheet.palette.of_series(index);
    let style = sheet.stroke(color, STROKE * 1.6);
    let (dash, gap) = dash_of(index).unwrap_or((18.0, 0.0));
    let mut from = x;
    while from < x + 18.0 {
        let to = (from + dash).min(x + 18.0);
        let ends = [from, to].map(|x| (sheet.dots(x), sheet.dots(y)));
        sheet.area.draw(&PathElement::new(ends.to_vec(), style))?;
        from = to + gap;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(values: &[&[f64]]) -> Lines {
        Lines {
            start_ms: 0,
            step_ms: 10,
            end_ms: 100,
            series: values
                .iter()
                .map(|values| Line {
                    name: String::new(),
                    values: values.to_vec(),
                })
                .collect(),
            stacked: false,
        }
    }

    #[test]
    fn gaps_part_a_series() {
        let gap = f64::NAN;
        let lines = lines(&[&[1.0, 2.0, gap, f64::INFINITY, 3.0, gap]]);
        assert_eq!(
            runs(&lines, &lines.series[0].values, 100),
            [vec![(0.0, 1.0), (10.0, 2.0)], vec![(40.0, 3.0)]]
        );
    }

    #[test]
    fn dense_series_keep_their_peaks() {
        let mut values: Vec<f64> = (0..10_000).map(|i| f64::from(i % 7)).collect();
        values[5003] = 99.0;
        values[7001] = -99.0;
        let lines = lines(&[&values]);
        let runs = runs(&lines, &values, 100);
        assert_eq!(runs.len(), 1);
        assert!(runs[0].len() <= 400, "{}", runs[0].len());
        for peak in [99.0, -99.0] {
            assert!(runs[0].iter().any(|point| point.1 == peak));
        }
    }

    #[test]
    fn stacks_add_up() {
        let gap = f64::NAN;
        let lines = lines(&[&[1.0, gap, gap], &[2.0, 3.0, gap]]);
        let columns = stacked(&lines.series);
        assert_eq!(columns[1][..2], [3.0, 3.0]);
        assert!(columns[0][1].is_nan() && columns[1][2].is_nan());
    }
}
