//! Values over time drawn with Braille characters: two dots across and four down per character.

use std::fmt::Write as _;
use std::io::IsTerminal;

use serde_json::Value;

use super::show::{elements, metric};

/// Characters across and down.
const SIZE: (usize, usize) = (72, 16);
/// Most series drawn.
pub(super) const SERIES_LIMIT: usize = 20;
/// Colours of series in turn, as terminals number them.
const COLORS: [u8; 6] = [36, 33, 35, 32, 34, 31];

/// A series: its name, and its points as seconds and values. NaN and infinite values are left out.
pub(super) struct Line {
    pub(super) name: String,
    pub(super) points: Vec<(f64, f64)>,
}

/// The series of a matrix that have something to draw.
pub(super) fn lines(data: &Value) -> Vec<Line> {
    elements(&data["result"])
        .filter(|_| data["resultType"] == "matrix")
        .map(|element| Line {
            name: metric(&element["metric"]),
            points: elements(&element["values"])
                .filter_map(|pair| {
                    let value: f64 = pair[1].as_str()?.parse().ok()?;
                    let seconds = pair[0].as_f64()?;
                    value.is_finite().then_some((seconds, value))
                })
                .collect(),
        })
        .filter(|line| !line.points.is_empty())
        .collect()
}

/// The ends of the axes: time and value.
pub(super) fn bounds(lines: &[Line]) -> ((f64, f64), (f64, f64)) {
    let ends = |pick: fn(&(f64, f64)) -> f64| {
        let all = || lines.iter().flat_map(|line| &line.points).map(pick);
        let (low, high) = (
            all().fold(f64::INFINITY, f64::min),
            all().fold(f64::NEG_INFINITY, f64::max),
        );
        if low < high {
            (low, high)
        } else {
            // A flat line runs in the middle.
            (low - 0.5, high + 0.5)
        }
    };
    (ends(|point| point.0), ends(|point| point.1))
}

/// The picture; none where there is nothing to draw.
pub(super) fn draw(data: &Value) -> Option<String> {
    let lines = lines(data);
    if lines.is_empty() {
        return None;
    }
    let colored = std::io::stdout().is_terminal();
    Some(picture(
        &lines[..lines.len().min(SERIES_LIMIT)],
        lines.len(),
        colored,
    ))
}

fn picture(lines: &[Line], total: usize, colored: bool) -> String {
    let ((first, last), (low, high)) = bounds(lines);
    let mut canvas = Canvas::new();
    for (index, line) in lines.iter().enumerate() {
        let place = |(seconds, value): (f64, f64)| {
            let x = (seconds - first) / (last - first) * (SIZE.0 * 2 - 1) as f64;
            let y = (high - value) / (high - low) * (SIZE.1 * 4 - 1) as f64;
            (x.round() as i64, y.round() as i64)
        };
        let mut before = place(line.points[0]);
        for point in &line.points {
            let now = place(*point);
            canvas.line(before, now, index);
            before = now;
        }
    }
    let labels: Vec<String> = (0..SIZE.1)
        .map(|row| match row {
            0 => short(high),
            row if row == SIZE.1 - 1 => short(low),
            row if row == SIZE.1 / 2 => short(f64::midpoint(low, high)),
            _ => String::new(),
        })
        .collect();
    let margin = labels.iter().map(String::len).max().unwrap_or(0);
    let mut out = String::new();
    for (row, label) in labels.iter().enumerate() {
        let _ = writeln!(out, "{label:>margin$} ┤{}", canvas.row(row, colored));
    }
    let time = |seconds: f64| crate::api::rfc3339((seconds * 1000.0).round() as i64);
    let (from, to) = (time(first), time(last));
    let gap = (SIZE.0 + 1).saturating_sub(from.len() + to.len());
    let _ = writeln!(out, "{:margin$} └{}", "", "─".repeat(SIZE.0));
    let _ = writeln!(out, "{:margin$} {from}{:gap$}{to}", "", "");
    for (index, line) in lines.iter().enumerate() {
        let mark = if colored {
            format!("\u{1b}[{}m━━\u{1b}[0m", COLORS[index % COLORS.len()])
        } else {
            "━━".to_owned()
        };
        let _ = writeln!(out, "{:margin$} {mark} {}", "", line.name);
    }
    if total > lines.len() {
        let _ = writeln!(
            out,
            "{:margin$} and {} more series",
            "",
            total - lines.len()
        );
    }
    out
}

/// A number in few digits.
pub(super) fn short(value: f64) -> String {
    let size = value.abs();
    let (scaled, unit) = match size {
        _ if size >= 1e15 || (size > 0.0 && size < 1e-4) => return format!("{value:.2e}"),
        _ if size >= 1e12 => (value / 1e12, "T"),
        _ if size >= 1e9 => (value / 1e9, "G"),
        _ if size >= 1e6 => (value / 1e6, "M"),
        _ if size >= 1e4 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let digits = if scaled.abs() >= 100.0 { 1 } else { 4 };
    let text = format!("{scaled:.digits$}");
    let text = if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.')
    } else {
        &text
    };
    format!("{text}{unit}")
}

/// Dots, and per character whose they are.
struct Canvas {
    dots: Vec<u8>,
    owners: Vec<usize>,
}

impl Canvas {
    fn new() -> Self {
        Self {
            dots: vec![0; SIZE.0 * SIZE.1],
            owners: vec![0; SIZE.0 * SIZE.1],
        }
    }

    fn dot(&mut self, x: i64, y: i64, owner: usize) {
        /// The bits of a Braille character, row by row.
        const BITS: [[u8; 2]; 4] = [[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]];
        let (Ok(x), Ok(y)) = (usize::try_from(x), usize::try_from(y)) else {
            return;
        };
        if x < SIZE.0 * 2 && y < SIZE.1 * 4 {
            let at = y / 4 * SIZE.0 + x / 2;
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
        for at in row * SIZE.0..(row + 1) * SIZE.0 {
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

    #[test]
    fn a_rising_line_goes_from_corner_to_corner() {
        let line = Line {
            name: "up".into(),
            points: (0..=100)
                .map(|i| (f64::from(i), f64::from(i) * 20.0))
                .collect(),
        };
        let picture = picture(&[line], 1, false);
        let rows: Vec<&str> = picture.lines().collect();
        assert!(rows[0].starts_with("2000 ┤"), "{picture}");
        assert_eq!(rows[0].chars().count(), "2000 ┤".chars().count() + SIZE.0);
        assert!(rows[SIZE.1 - 1].starts_with("   0 ┤"), "{picture}");
        assert!(rows[SIZE.1 - 1].chars().count() < 12, "{picture}");
        assert!(picture.contains("1970-01-01T00:00:00Z") && picture.contains("━━ up"));
    }

    #[test]
    fn numbers_are_short() {
        for (value, want) in [
            (0.0, "0"),
            (1234.0, "1234"),
            (12_345.0, "12.345k"),
            (1.5e9, "1.5G"),
            (0.25, "0.25"),
            (1e-6, "1.00e-6"),
        ] {
            assert_eq!(short(value), want);
        }
    }
}
