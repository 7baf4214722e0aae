//! Values over time drawn with Braille characters: two dots across and four down per character.

use std::fmt::Write as _;
use std::io::IsTerminal;

use crate::chart::{Chart, Line, Lines, time_marks, value_marks, value_range};

/// Characters across where the terminal does not say, and the fewest and most.
const WIDTH: usize = 80;
const WIDTH_LIMITS: (usize, usize) = (40, 200);
/// Rows of characters in which lines are drawn.
const ROWS: usize = 16;
/// Most series drawn.
const SERIES_LIMIT: usize = 20;
/// Colours of series in turn, as terminals number them.
const COLORS: [u8; 6] = [36, 33, 35, 32, 34, 31];

/// The picture for standard output: as wide as the terminal, in colours where it is one.
pub(super) fn draw(chart: &Chart, lines: &Lines) -> Option<String> {
    let is_terminal = std::io::stdout().is_terminal();
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let width = match terminal_size::terminal_size() {
        Some((terminal_size::Width(width), _)) if is_terminal => usize::from(width),
        _ => WIDTH,
    };
    let width = width.clamp(WIDTH_LIMITS.0, WIDTH_LIMITS.1);
    picture(chart, lines, width, is_terminal && !plain)
}

/// The picture; none where there is nothing to draw.
fn picture(chart: &Chart, lines: &Lines, width: usize, colored: bool) -> Option<String> {
    let with_values = |line: &&Line| line.values.iter().any(|value| value.is_finite());
    let all: Vec<&Line> = lines.series.iter().filter(with_values).collect();
    let shown = &all[..all.len().min(SERIES_LIMIT)];
    let values = || {
        shown
            .iter()
            .flat_map(|line| &line.values)
            .filter(|v| v.is_finite())
    };
    let low = values().copied().reduce(f64::min)?;
    let high = values().copied().reduce(f64::max)?;
    let (low, high) = value_range(low, high, false);

    let row_of = |value: f64| (high - value) / (high - low) * (ROWS * 4 - 1) as f64;
    let mut labels = vec![String::new(); ROWS];
    for mark in value_marks(low, high, chart.unit, ROWS / 3) {
        let row = (row_of(mark.at).round() as usize / 4).min(ROWS - 1);
        labels[row] = mark.text;
    }
    let margin = labels
        .iter()
        .map(|label| label.chars().count())
        .max()
        .unwrap_or(0);
    let columns = width.saturating_sub(margin + 2).max(10);

    let mut canvas = Canvas::new(columns);
    let last = lines.values_per_series().max(2) - 1;
    for (index, line) in shown.iter().enumerate() {
        let place = |(step, value): (usize, f64)| {
            let x = step as f64 / last as f64 * (columns * 2 - 1) as f64;
            (x.round() as i64, row_of(value).round() as i64)
        };
        let mut before = None;
        for (step, value) in line.values.iter().copied().enumerate() {
            if !value.is_finite() {
                before = None;
                continue;
            }
            let now = place((step, value));
            canvas.line(before.unwrap_or(now), now, index);
            before = Some(now);
        }
    }

    let mut out = String::new();
    for note in &chart.notes {
        let _ = writeln!(out, "{:margin$}  {note}", "");
    }
    for (row, label) in labels.iter().enumerate() {
        let tick = if label.is_empty() { '│' } else { '┤' };
        let _ = writeln!(out, "{label:>margin$} {tick}{}", canvas.row(row, colored));
    }
    push_times(&mut out, lines, margin, columns);
    for (index, line) in shown.iter().enumerate() {
        let mark = if colored {
            format!("\u{1b}[{}m━━\u{1b}[0m", COLORS[index % COLORS.len()])
        } else {
            "━━".to_owned()
        };
        let _ = writeln!(out, "{:margin$}  {mark} {}", "", line.name);
    }
    if all.len() > shown.len() {
        let more = all.len() - shown.len();
        let _ = writeln!(out, "{:margin$}  and {more} more series", "");
    }
    Some(out)
}

/// The axis of times: its line, the times and, where they begin, the days.
fn push_times(out: &mut String, lines: &Lines, margin: usize, columns: usize) {
    let span_ms = (lines.end_ms - lines.start_ms).max(1) as f64;
    let marks = time_marks(lines.start_ms, lines.end_ms, (columns / 14).max(2));
    let mut axis = vec!['─'; columns];
    let (mut times, mut days) = (String::new(), String::new());
    for mark in marks {
        let share = (mark.at - lines.start_ms as f64) / span_ms;
        let column = (share * (columns - 1) as f64).round() as usize;
        axis[column.min(columns - 1)] = '┬';
        for (row, text) in [(&mut times, &mark.text), (&mut days, &mark.below)] {
            let length = text.chars().count();
            let from = column
                .saturating_sub(length / 2)
                .min(columns.saturating_sub(length));
            let used = row.chars().count();
            if !text.is_empty() && (used == 0 || from > used) {
                row.push_str(&" ".repeat(from - used));
                row.push_str(text);
            }
        }
    }
    let axis: String = axis.into_iter().collect();
    let _ = writeln!(out, "{:margin$} └{axis}", "");
    let _ = writeln!(out, "{:>margin$}  {times}", "UTC");
    if !days.is_empty() {
        let _ = writeln!(out, "{:margin$}  {days}", "");
    }
}

/// Dots, and per character whose they are.
struct Canvas {
    columns: usize,
    dots: Vec<u8>,
    owners: Vec<usize>,
}

impl Canvas {
    fn new(columns: usize) -> Self {
        Self {
            columns,
            dots: vec![0; columns * ROWS],
            owners: vec![0; columns * ROWS],
        }
    }

    fn dot(&mut self, x: i64, y: i64, owner: usize) {
        /// The bits of a Braille character, row by row.
        const BITS: [[u8; 2]; 4] = [[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]];
        let (Ok(x), Ok(y)) = (usize::try_from(x), usize::try_from(y)) else {
            return;
        };
        if x < self.columns * 2 && y < ROWS * 4 {
            let at = y / 4 * self.columns + x / 2;
            self.dots[at] |= BITS[y % 4][x % 2];
            self.owners[at] = owner;
        }
    }

    fn line(&mut self, from: (i64, i64), to: (i64, i64), owner: usize) {
        let steps = (to.0 - from.0).abs().max((to.1 - from.1).abs()).max(1);
        for step in 0..=steps {
            let along = |a: i64, b: i64| a + ((b - a) * step + steps / 2).div_euclid(steps);
            self.dot(along(from.0, to.0), along(from.1, to.1), owner);
        }
    }

    fn row(&self, row: usize, colored: bool) -> String {
        let mut out = String::new();
        for at in row * self.columns..(row + 1) * self.columns {
            let dots = char::from_u32(0x2800 + u32::from(self.dots[at])).unwrap_or(' ');
            if self.dots[at] == 0 {
                out.push(' ');
            } else if colored {
                let color = COLORS[self.owners[at] % COLORS.len()];
                let _ = write!(out, "\u{1b}[{color}m{dots}\u{1b}[0m");
            } else {
                out.push(dots);
            }
        }
        out.trim_end_matches(' ').to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chart::{Body, Unit};

    fn plot(values: Vec<f64>) -> String {
        let lines = Lines {
            start_ms: 0,
            step_ms: 60_000,
            end_ms: (values.len() as i64 - 1) * 60_000,
            series: vec![Line {
                name: "up".into(),
                values,
            }],
            stacked: false,
        };
        let chart = Chart {
            title: String::new(),
            notes: Vec::new(),
            unit: Unit::Bytes,
            body: Body::Lines(lines.clone()),
        };
        picture(&chart, &lines, 80, false).expect("a picture")
    }

    #[test]
    fn a_rising_line_goes_from_corner_to_corner() {
        let picture = plot((0..=100).map(|i| f64::from(i) * 20.0).collect());
        let rows: Vec<&str> = picture.lines().collect();
        assert!(
            rows[0].chars().count() <= 80 && rows[1].chars().count() > 75,
            "{picture}"
        );
        assert!(
            rows[ROWS - 1].contains("0 B ┤") && rows[ROWS - 1].chars().count() < 20,
            "{picture}"
        );
        for part in ["1.5 KiB ┤", "00:00", "01:30", "1970-01-01", "UTC", "━━ up"] {
            assert!(picture.contains(part), "{part}\n{picture}");
        }
    }

    #[test]
    fn gaps_stay_empty() {
        let mut values = vec![5.0; 61];
        values[20..40].fill(f64::NAN);
        let picture = plot(values);
        let row = picture.lines().find(|row| {
            row.contains('⠤') || row.contains('⠒') || row.contains('⠉') || row.contains('⣀')
        });
        let row = row.expect("a line").to_owned();
        assert!(row.contains(&" ".repeat(20)), "{picture}");
    }
}
