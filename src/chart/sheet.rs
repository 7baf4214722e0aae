//! What every chart is drawn on: a plotters area, measured in points, with title and frame.

use plotters::coord::Shift;
use plotters::element::{PathElement, Rectangle, Text};
use plotters::prelude::{DrawingArea, DrawingAreaErrorKind, DrawingBackend};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, IntoFont, RGBColor, ShapeStyle, TextStyle};

use super::font::{FAMILY, Face};
use super::names::printable;
use super::palette::Palette;

/// How plotters' text sizes relate to the height of letters.
pub(super) const EM: f64 = 1.24;

/// Space around everything, points.
pub(super) const MARGIN: f64 = 16.0;
/// Height of letters of the title, points.
const TITLE_SIZE: f64 = 15.0;
/// Height of other letters, points.
pub(super) const TEXT_SIZE: f64 = 12.0;
/// Height of a line of text, points.
pub(super) const LINE_HEIGHT: f64 = 18.0;
/// Most lines of a title.
const TITLE_LINES: usize = 2;

/// What drawing on `DB` yields.
pub(super) type Drawn<DB> = Result<(), DrawingAreaErrorKind<<DB as DrawingBackend>::ErrorType>>;

/// A rectangle, in points from the upper left corner.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub(super) left: f64,
    pub(super) top: f64,
    pub(super) width: f64,
    pub(super) height: f64,
}

impl Frame {
    pub(super) fn right(&self) -> f64 {
        self.left + self.width
    }

    pub(super) fn bottom(&self) -> f64 {
        self.top + self.height
    }
}

/// Where a chart is drawn.
pub(super) struct Sheet<'a, DB: DrawingBackend> {
    pub(super) area: &'a DrawingArea<DB, Shift>,
    pub(super) face: &'a Face,
    pub(super) palette: &'static Palette,
    /// Dots per point.
    pub(super) scale: f64,
}

impl<DB: DrawingBackend> Sheet<'_, DB> {
    /// Dots of so many points.
    pub(super) fn dots(&self, points: f64) -> i32 {
        (points * self.scale).round() as i32
    }

    /// A line of `width` points.
    pub(super) fn stroke(&self, color: RGBColor, width: f64) -> ShapeStyle {
        color.stroke_width(self.dots(width).max(1) as u32)
    }

    /// The width of a text, points.
    pub(super) fn width(&self, text: &str) -> f64 {
        self.face.width(text, TEXT_SIZE)
    }

    /// Writes a text of the usual size, its middle `y` points from above.
    pub(super) fn text(
        &self,
        text: &str,
        (x, y): (f64, f64),
        align: HPos,
        color: RGBColor,
    ) -> Drawn<DB> {
        self.sized_text(text, (x, y), align, color, TEXT_SIZE)
    }

    fn sized_text(
        &self,
        text: &str,
        (x, y): (f64, f64),
        align: HPos,
        color: RGBColor,
        size: f64,
    ) -> Drawn<DB> {
        let font = (FAMILY, size * self.scale * EM).into_font();
        let style = TextStyle::from(font)
            .color(&color)
            .pos(Pos::new(align, VPos::Center));
        self.area
            .draw(&Text::new(text, (self.dots(x), self.dots(y)), style))
    }

    /// Fills a frame.
    pub(super) fn fill(&self, frame: Frame, color: RGBColor) -> Drawn<DB> {
        let corners = [
            (self.dots(frame.left), self.dots(frame.top)),
            (self.dots(frame.right()), self.dots(frame.bottom())),
        ];
        self.area.draw(&Rectangle::new(corners, color.filled()))
    }

    /// A straight line of `width` points.
    pub(super) fn line(
        &self,
        from: (f64, f64),
        to: (f64, f64),
        color: RGBColor,
        width: f64,
    ) -> Drawn<DB> {
        let ends = vec![
            (self.dots(from.0), self.dots(from.1)),
            (self.dots(to.0), self.dots(to.1)),
        ];
        self.area
            .draw(&PathElement::new(ends, self.stroke(color, width)))
    }

    /// The title above everything, what is said below it, and the frame that is left for the rest.
    pub(super) fn head(
        &self,
        title: &str,
        notes: &[String],
        whole: Frame,
    ) -> Result<Frame, DrawingAreaErrorKind<DB::ErrorType>> {
        let left = whole.left + MARGIN;
        let width = whole.width - 2.0 * MARGIN;
        let mut y = whole.top + MARGIN;
        if !title.is_empty() {
            let title = printable(title);
            let title = title.split_whitespace().collect::<Vec<_>>().join(" ");
            for line in self.face.lines(&title, TITLE_SIZE, width, TITLE_LINES) {
                let middle = (left, y + TITLE_SIZE * 0.6);
                self.sized_text(&line, middle, HPos::Left, self.palette.text, TITLE_SIZE)?;
                y += TITLE_SIZE * 1.4;
            }
        }
        for note in notes {
            let note = self.face.fitted(&printable(note), TEXT_SIZE, width);
            self.text(
                &note,
                (left, y + LINE_HEIGHT * 0.5),
                HPos::Left,
                self.palette.muted,
            )?;
            y += LINE_HEIGHT;
        }
        y += 8.0;
        Ok(Frame {
            left,
            top: y,
            width,
            height: (whole.bottom() - MARGIN - y).max(1.0),
        })
    }
}
