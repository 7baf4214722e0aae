//! Values at one time, as bars below each other.

use plotters::prelude::DrawingBackend;
use plotters::style::text_anchor::HPos;

use super::names::printable;
use super::sheet::{Drawn, Frame, LINE_HEIGHT, MARGIN, Sheet, TEXT_SIZE};
use super::unit::Unit;

/// Most bars drawn; the picture says how many are left out.
pub(crate) const BARS_LIMIT: usize = 500;
/// Height of a bar with the space around it, points.
const ROW_HEIGHT: f64 = 26.0;
/// Least height of the same.
const LEAST_ROW_HEIGHT: f64 = 16.0;
/// Share of the width that names may take.
const NAMES_SHARE: f64 = 0.45;

/// A bar.
#[derive(Clone, Debug)]
pub(crate) struct Bar {
    pub(crate) name: String,
    pub(crate) value: f64,
}

/// The height that suits a picture of so many bars, points.
pub(super) fn suitable_height(bars: usize, head: f64) -> u32 {
    (head + bars.clamp(1, BARS_LIMIT) as f64 * ROW_HEIGHT + MARGIN).ceil() as u32
}

pub(super) fn draw<DB: DrawingBackend>(
    sheet: &Sheet<'_, DB>,
    bars: &[Bar],
    unit: Unit,
    frame: Frame,
) -> Drawn<DB> {
    let room = (frame.height / LEAST_ROW_HEIGHT) as usize;
    let room = room.clamp(1, BARS_LIMIT);
    let kept = if bars.len() <= room {
        bars.len()
    } else {
        room - 1
    };
    let rows = kept + usize::from(kept < bars.len());
    let row_height = (frame.height / rows.max(1) as f64).min(ROW_HEIGHT);
    let bars_shown = &bars[..kept];
    let names_room = bars_shown
        .iter()
        .map(|bar| sheet.width(&printable(&bar.name)))
        .fold(0.0, f64::max)
        .min(frame.width * NAMES_SHARE);
    let texts: Vec<String> = bars_shown
        .iter()
        .map(|bar| unit.format(bar.value, 4))
        .collect();
    let texts_room = texts
        .iter()
        .map(|text| sheet.width(text))
        .fold(0.0, f64::max)
        + 8.0;
    let finite = || {
        bars_shown
            .iter()
            .map(|bar| bar.value)
            .filter(|v| v.is_finite())
    };
    let low = finite().fold(0.0, f64::min);
    let high = finite().fold(0.0, f64::max);
    let span = if high > low { high - low } else { 1.0 };
    let left_room = if low < 0.0 { texts_room } else { 0.0 };
    let left = frame.left + names_room + 10.0 + left_room;
    let width = (frame.right() - texts_room - left).max(20.0);
    let zero = left - low / span * width;
    let colors = sheet.palette;
    for (index, (bar, text)) in bars_shown.iter().zip(&texts).enumerate() {
        let top = frame.top + index as f64 * row_height;
        let middle = top + row_height / 2.0;
        let name = sheet
            .face
            .fitted(&printable(&bar.name), TEXT_SIZE, names_room + 1.0);
        let names_right = frame.left + names_room;
        sheet.text(&name, (names_right, middle), HPos::Right, colors.text)?;
        let length = if bar.value.is_finite() {
            bar.value / span * width
        } else {
            0.0
        };
        let height = (row_height * 0.62).max(6.0);
        let shape = Frame {
            left: zero + length.min(0.0),
            top: middle - height / 2.0,
            width: length.abs(),
            height,
        };
        if length != 0.0 {
            sheet.fill(shape, colors.of_series(0))?;
        }
        let (at, align) = if length < 0.0 {
            (shape.left - 6.0, HPos::Right)
        } else {
            (shape.right() + 6.0, HPos::Left)
        };
        sheet.text(text, (at, middle), align, colors.muted)?;
    }
    let bottom = frame.top + kept as f64 * row_height;
    sheet.line((zero, frame.top), (zero, bottom), colors.zero, 1.0)?;
    if kept < bars.len() {
        let text = format!("and {} more", bars.len() - kept);
        let y = bottom + LINE_HEIGHT / 2.0;
        sheet.text(&text, (frame.left, y), HPos::Left, colors.muted)?;
    }
    Ok(())
}
