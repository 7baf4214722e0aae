//! Charts as PNG and SVG files, drawn with `plotters`: series over time, values as bars, native
//! histograms as heatmaps. Whoever has numbers and a place for a picture may use it; it asks
//! nobody and knows neither queries nor files.

mod axis;
mod bars;
mod font;
mod heatmap;
mod lines;
mod names;
mod palette;
mod plane;
mod png;
mod raster;
mod sheet;
mod unit;

use plotters::backend::SVGBackend;
use plotters::prelude::{DrawingArea, DrawingAreaErrorKind, DrawingBackend, IntoDrawingArea};

pub(crate) use axis::{time_marks, value_marks, value_range};
pub(crate) use bars::{BARS_LIMIT, Bar};
pub(crate) use heatmap::{Bucket, Heatmap};
pub(crate) use lines::{Line, Lines, SERIES_LIMIT};
pub(crate) use names::{series_name, short_names};
pub(crate) use palette::Theme;
pub(crate) use unit::Unit;

use font::Face;
use sheet::{Frame, Sheet};

/// Least and greatest width and height of a picture, points.
const SIDE_LIMITS: std::ops::RangeInclusive<u32> = 120..=4000;
/// Most pixels of a PNG file.
const PIXELS_LIMIT: u64 = 16_000_000;
/// Greatest number of pixels per point, across.
const SCALE_LIMIT: u32 = 4;
/// PNG files are drawn this much larger, then shrunk: that makes edges smooth.
const OVERSAMPLING: u32 = 3;
/// SVG files have this many units per point, because plotters draws at whole ones.
const UNITS_PER_POINT: u32 = 8;

/// A picture to be.
#[derive(Clone, Debug)]
pub(crate) struct Chart {
    /// What stands above it; usually the expression.
    pub(crate) title: String,
    /// Lines below the title: labels that all series share, what is left out.
    pub(crate) notes: Vec<String>,
    /// What values measure.
    pub(crate) unit: Unit,
    pub(crate) body: Body,
}

/// What a chart shows.
#[derive(Clone, Debug)]
pub(crate) enum Body {
    Lines(Lines),
    Bars(Vec<Bar>),
    Heatmap(Heatmap),
    /// The buckets of one histogram.
    Histogram(Vec<Bucket>),
}

/// How a picture looks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    /// Points across; a PNG file has `scale` pixels per point.
    pub(crate) width: u32,
    /// Points down; what suits the chart where absent.
    pub(crate) height: Option<u32>,
    pub(crate) scale: u32,
    pub(crate) theme: Theme,
}

impl Default for Look {
    fn default() -> Self {
        Self {
            width: 1000,
            height: None,
            scale: 1,
            theme: Theme::Light,
        }
    }
}

/// Why there is no picture.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChartError {
    #[error("nothing to draw: no series has finite values in this range")]
    Empty,
    #[error("{0} points wide or high: a picture has {min} to {max} of them", min = SIDE_LIMITS.start(), max = SIDE_LIMITS.end())]
    Side(u32),
    #[error("scale {0}: a picture has 1 to {SCALE_LIMIT} pixels per point")]
    Scale(u32),
    #[error("{width}×{height} pixels: a picture has at most {PIXELS_LIMIT}: make it smaller")]
    Pixels { width: u32, height: u32 },
    #[error("cannot draw: {0}")]
    Draw(String),
}

impl<E: std::error::Error + Send + Sync> From<DrawingAreaErrorKind<E>> for ChartError {
    fn from(error: DrawingAreaErrorKind<E>) -> Self {
        Self::Draw(error.to_string())
    }
}

impl Chart {
    /// The chart as a PNG file.
    ///
    /// # Errors
    /// There is nothing to draw, or the picture would be too small or too large.
    pub(crate) fn png(&self, look: &Look) -> Result<Vec<u8>, ChartError> {
        let (width, height) = self.size(look)?;
        if !(1..=SCALE_LIMIT).contains(&look.scale) {
            return Err(ChartError::Scale(look.scale));
        }
        let (width, height) = (width * look.scale, height * look.scale);
        if u64::from(width) * u64::from(height) > PIXELS_LIMIT {
            return Err(ChartError::Pixels { width, height });
        }
        // Smooth enough by its size, and much memory otherwise.
        let oversampling = if look.scale == 1 { OVERSAMPLING } else { 2 };
        let large = (width * oversampling, height * oversampling);
        let mut pixels = vec![0; large.0 as usize * large.1 as usize * 3];
        let face = Face::new();
        {
            let backend = raster::Raster::new(&mut pixels, large, &face);
            let scale = f64::from(look.scale * oversampling);
            self.draw(&backend.into_drawing_area(), &face, scale, look)?;
        }
        let small = raster::shrunk(&pixels, large, oversampling);
        png::encode(&small, width, height).map_err(|error| ChartError::Draw(error.to_string()))
    }

    /// The chart as an SVG file.
    ///
    /// # Errors
    /// There is nothing to draw, or the picture would be too small or too large.
    pub(crate) fn svg(&self, look: &Look) -> Result<String, ChartError> {
        let (width, height) = self.size(look)?;
        let units = (width * UNITS_PER_POINT, height * UNITS_PER_POINT);
        let mut text = String::new();
        {
            let backend = SVGBackend::with_string(&mut text, units);
            let scale = f64::from(UNITS_PER_POINT);
            self.draw(&backend.into_drawing_area(), &Face::new(), scale, look)?;
        }
        // As large as asked for, whatever the units; round joints, or peaks would be spikes.
        let rest = text.split_once('>').map_or("", |(_, rest)| rest);
        Ok(format!(
            "<svg width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {} {}\" stroke-linejoin=\"round\" xmlns=\"http://www.w3.org/2000/svg\">{rest}",
            units.0, units.1
        ))
    }

    /// Points across and down.
    fn size(&self, look: &Look) -> Result<(u32, u32), ChartError> {
        let empty = match &self.body {
            Body::Lines(lines) => lines.is_empty(),
            Body::Bars(bars) => bars.is_empty(),
            Body::Histogram(buckets) => buckets.is_empty(),
            Body::Heatmap(map) => map.columns.iter().all(|(_, buckets)| buckets.is_empty()),
        };
        if empty {
            return Err(ChartError::Empty);
        }
        let height = look.height.unwrap_or_else(|| match &self.body {
            Body::Bars(bars) => {
                let height = bars::suitable_height(bars.len(), 72.0);
                height.clamp(*SIDE_LIMITS.start(), *SIDE_LIMITS.end())
            }
            Body::Lines(lines) => {
                // The legend takes up to eight rows from what would be too little without them.
                420 + 18 * (lines.series.len().min(16) / 2) as u32
            }
            _ => 420,
        });
        for side in [look.width, height] {
            if !SIDE_LIMITS.contains(&side) {
                return Err(ChartError::Side(side));
            }
        }
        Ok((look.width, height))
    }

    fn draw<DB: DrawingBackend>(
        &self,
        area: &DrawingArea<DB, plotters::coord::Shift>,
        face: &Face,
        scale: f64,
        look: &Look,
    ) -> Result<(), DrawingAreaErrorKind<DB::ErrorType>> {
        let palette = look.theme.palette();
        area.fill(&palette.page)?;
        let sheet = Sheet {
            area,
            face,
            palette,
            scale,
        };
        let (width, height) = area.dim_in_pixel();
        let whole = Frame {
            left: 0.0,
            top: 0.0,
            width: f64::from(width) / scale,
            height: f64::from(height) / scale,
        };
        let frame = sheet.head(&self.title, &self.notes, whole)?;
        match &self.body {
            Body::Lines(lines) => lines::draw(&sheet, lines, self.unit, frame)?,
            Body::Bars(bars) => bars::draw(&sheet, bars, self.unit, frame)?,
            Body::Heatmap(heatmap) => heatmap::draw(&sheet, heatmap, self.unit, frame)?,
            Body::Histogram(buckets) => heatmap::draw_one(&sheet, buckets, self.unit, frame)?,
        }
        area.present()
    }
}
