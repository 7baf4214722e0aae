//! Tables for the results page: one column per system, the first of them the measure of the others.

use std::fmt::Write as _;

/// Rows of figures under the systems' names.
pub struct Table {
    text: String,
    columns: usize,
}

impl Table {
    /// A table with its head.
    pub fn new<'a>(systems: impl IntoIterator<Item = &'a str>) -> Self {
        let (mut text, mut columns) = ("|".to_owned(), 0);
        for system in systems {
            let _ = write!(text, " | {system}");
            columns += 1;
        }
        let _ = writeln!(text, " |\n|---{}|", "|---".repeat(columns));
        Self { text, columns }
    }

    /// A row: a figure per system, nothing where there is none. Those after the first say how many
    /// times the first they are.
    pub fn row(&mut self, name: &str, figures: impl IntoIterator<Item = Option<f64>>) {
        let mut ours = None;
        let _ = write!(self.text, "| {name}");
        for (column, figure) in figures.into_iter().enumerate().take(self.columns) {
            if column == 0 {
                ours = figure.filter(|figure| *figure > 0.0);
            }
            let _ = match (figure, ours) {
                (None, _) => write!(self.text, " | –"),
                (Some(figure), Some(ours)) if column > 0 => {
                    write!(self.text, " | {} ({:.1}×)", short(figure), figure / ours)
                }
                (Some(figure), _) => write!(self.text, " | {}", short(figure)),
            };
        }
        self.text.push_str(" |\n");
    }

    /// A row of texts.
    pub fn texts<'a>(&mut self, name: &str, texts: impl IntoIterator<Item = &'a str>) {
        let _ = write!(self.text, "| {name}");
        for text in texts {
            let _ = write!(self.text, " | {text}");
        }
        self.text.push_str(" |\n");
    }

    /// The whole table.
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// A number with three digits or so.
pub fn short(value: f64) -> String {
    let digits = match value.abs() {
        100.0.. => 0,
        10.0..100.0 => 1,
        _ => 3,
    };
    format!("{value:.digits$}")
}

/// The value that `share` of the values do not exceed; nothing of nothing.
pub fn quantile(values: &[f64], share: f64) -> Option<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1) as f64;
    values.get((last * share).round() as usize).copied()
}
