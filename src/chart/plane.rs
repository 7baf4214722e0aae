//! The plane between the axes: its marks, its lines, and the plotters coordinates in it.

use plotters::chart::ChartContext;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::{Cartesian2d, ChartBuilder, DrawingAreaErrorKind, DrawingBackend};
use plotters::style::text_anchor::HPos;

use super::axis::Mark;
use super::sheet::{Drawn, Frame, LINE_HEIGHT, Sheet};

/// Coordinates in which values are drawn.
pub(super) type Context<'a, DB> = ChartContext<'a, DB, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// An axis: its ends and its marks.
pub(super) struct Axis {
    pub(super) ends: (f64, f64),
    pub(super) marks: Vec<Mark>,
    /// What stands at its begin, below the plane.
    pub(super) caption: &'static str,
}

impl Axis {
    /// The share of the axis, from its begin, at which a value lies.
    fn share(&self, value: f64) -> f64 {
        (value - self.ends.0) / (self.ends.1 - self.ends.0)
    }
}

/// Room that an axis of values needs on the left of the plane, points.
pub(super) fn left_room<DB: DrawingBackend>(sheet: &Sheet<'_, DB>, marks: &[Mark]) -> f64 {
    let widest = marks.iter().map(|mark| sheet.width(&mark.text));
    widest.fold(20.0, f64::max) + 8.0
}

/// Room that an axis below the plane needs, points.
pub(super) fn lower_room(marks: &[Mark]) -> f64 {
    let two = marks.iter().any(|mark| !mark.below.is_empty());
    6.0 + LINE_HEIGHT * if two { 1.9 } else { 1.0 }
}

/// Draws lines and marks of both axes around `plane`.
pub(super) fn draw_axes<DB: DrawingBackend>(
    sheet: &Sheet<'_, DB>,
    plane: Frame,
    horizontal: &Axis,
    vertical: &Axis,
) -> Drawn<DB> {
    let colors = sheet.palette;
    for mark in &vertical.marks {
        let y = plane.bottom() - vertical.share(mark.at) * plane.height;
        let is_zero = mark.at == 0.0 && vertical.ends.0 < 0.0;
        let color = if is_zero { colors.zero } else { colors.grid };
        sheet.line((plane.left, y), (plane.right(), y), color, 1.0)?;
        sheet.text(&mark.text, (plane.left - 8.0, y), HPos::Right, colors.muted)?;
    }
    sheet.line(
        (plane.left, plane.bottom()),
        (plane.right(), plane.bottom()),
        colors.zero,
        1.0,
    )?;
    let y = plane.bottom() + 6.0 + LINE_HEIGHT * 0.5;
    let at = (plane.left - 8.0, y);
    sheet.text(horizontal.caption, at, HPos::Right, colors.muted)?;
    // A text that would touch the one before it is left out.
    let (mut free_from, mut free_below) = (plane.left - 4.0, f64::NEG_INFINITY);
    for mark in &horizontal.marks {
        let x = plane.left + horizontal.share(mark.at) * plane.width;
        sheet.line((x, plane.top), (x, plane.bottom()), colors.grid, 1.0)?;
        sheet.line(
            (x, plane.bottom()),
            (x, plane.bottom() + 4.0),
            colors.zero,
            1.0,
        )?;
        for (text, line, free) in [
            (&mark.text, 0.0, &mut free_from),
            (&mark.below, 1.0, &mut free_below),
        ] {
            let half = sheet.width(text) / 2.0;
            // Kept inside the picture: the margin is as wide as what is on the right of the plane.
            let middle = x.min(plane.right() + 14.0 - half);
            if !text.is_empty() && middle - half >= *free {
                let y = plane.bottom() + 6.0 + LINE_HEIGHT * (0.5 + 0.9 * line);
                sheet.text(text, (middle, y), HPos::Center, colors.muted)?;
                *free = middle + half + 6.0;
            }
        }
    }
    Ok(())
}

/// plotters' coordinates for values in `plane`.
pub(super) fn context<'a, DB: DrawingBackend>(
    sheet: &Sheet<'a, DB>,
    plane: Frame,
    horizontal: &Axis,
    vertical: &Axis,
) -> Result<Context<'a, DB>, DrawingAreaErrorKind<DB::ErrorType>> {
    let corner = (sheet.dots(plane.left), sheet.dots(plane.top));
    let size = (
        sheet.dots(plane.right()) - corner.0 + 1,
        sheet.dots(plane.bottom()) - corner.1 + 1,
    );
    let part = sheet.area.clone().shrink(corner, size);
    ChartBuilder::on(&part).build_cartesian_2d(
        horizontal.ends.0..horizontal.ends.1,
        vertical.ends.0..vertical.ends.1,
    )
}
