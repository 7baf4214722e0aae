//! Pixels to draw on: plotters' bitmap, with smooth letters and lines that may cross themselves.

use plotters::backend::BitMapBackend;
use plotters_backend::text_anchor::{HPos, VPos};
use plotters_backend::{
    BackendColor, BackendCoord, BackendStyle, BackendTextStyle, DrawingBackend, DrawingErrorKind,
};

use super::font::Face;
use super::sheet::EM;

/// A bitmap.
pub(super) struct Raster<'a> {
    bitmap: BitMapBackend<'a>,
    face: &'a Face,
}

type Outcome<'a> = Result<(), DrawingErrorKind<<BitMapBackend<'a> as DrawingBackend>::ErrorType>>;

impl<'a> Raster<'a> {
    /// On `pixels`, three bytes each.
    pub(super) fn new(pixels: &'a mut [u8], size: (u32, u32), face: &'a Face) -> Self {
        Self {
            bitmap: BitMapBackend::with_buffer(pixels, size),
            face,
        }
    }
}

impl<'a> DrawingBackend for Raster<'a> {
    type ErrorType = <BitMapBackend<'a> as DrawingBackend>::ErrorType;

    fn get_size(&self) -> (u32, u32) {
        self.bitmap.get_size()
    }

    fn ensure_prepared(&mut self) -> Outcome<'a> {
        self.bitmap.ensure_prepared()
    }

    fn present(&mut self) -> Outcome<'a> {
        self.bitmap.present()
    }

    fn draw_pixel(&mut self, point: BackendCoord, color: BackendColor) -> Outcome<'a> {
        self.bitmap.draw_pixel(point, color)
    }

    fn draw_line<S: BackendStyle>(
        &mut self,
        from: BackendCoord,
        to: BackendCoord,
        style: &S,
    ) -> Outcome<'a> {
        self.bitmap.draw_line(from, to, style)
    }

    fn draw_rect<S: BackendStyle>(
        &mut self,
        upper_left: BackendCoord,
        bottom_right: BackendCoord,
        style: &S,
        fill: bool,
    ) -> Outcome<'a> {
        self.bitmap.draw_rect(upper_left, bottom_right, style, fill)
    }

    /// One stretch after the other, with round joints: the outline of a whole line would have holes
    /// where it crosses itself, which steep lines do.
    fn draw_path<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(
        &mut self,
        path: I,
        style: &S,
    ) -> Outcome<'a> {
        let width = style.stroke_width();
        let mut before = None;
        for point in path {
            if let Some(before) = before
                && before != point
            {
                if width <= 1 {
                    self.bitmap.draw_line(before, point, style)?;
                } else {
                    self.bitmap.draw_path([before, point], style)?;
                }
            }
            // With one circle per point transparent lines would be pearl necklaces.
            if width > 2 && style.color().alpha >= 1.0 {
                self.bitmap.draw_circle(point, width / 2, style, true)?;
            }
            before = Some(point);
        }
        Ok(())
    }

    fn draw_text<S: BackendTextStyle>(
        &mut self,
        text: &str,
        style: &S,
        (x, y): BackendCoord,
    ) -> Outcome<'a> {
        let em = style.size() / EM;
        let left = f64::from(x)
            - match style.anchor().h_pos {
                HPos::Left => 0.0,
                HPos::Center => self.face.width(text, em) / 2.0,
                HPos::Right => self.face.width(text, em),
            };
        // The same shares of the letter's height that plotters' SVG files have.
        let baseline = f64::from(y)
            + match style.anchor().v_pos {
                VPos::Top => 0.76 * em,
                VPos::Center => 0.27 * em,
                VPos::Bottom => -0.27 * em,
            };
        let BackendColor { alpha, rgb } = style.color();
        let bitmap = &mut self.bitmap;
        let mut outcome = Ok(());
        self.face
            .draw(text, em, (left, baseline), |x, y, coverage| {
                let color = BackendColor {
                    alpha: alpha * coverage,
                    rgb,
                };
                if let Err(error) = bitmap.draw_pixel((x, y), color) {
                    outcome = Err(error);
                }
            });
        outcome
    }
}

/// A picture of `factor` times less width and height, each pixel the mean of those it stands for.
pub(super) fn shrunk(pixels: &[u8], (width, height): (u32, u32), factor: u32) -> Vec<u8> {
    let (width, factor) = (width as usize, factor as usize);
    let height = height as usize;
    let area = (factor * factor) as u32;
    let mut small = Vec::with_capacity(pixels.len() / area as usize);
    let mut sums = vec![0u32; width / factor * 3];
    for rows in pixels[..width * height * 3].chunks_exact(width * 3 * factor) {
        sums.fill(0);
        for row in rows.chunks_exact(width * 3) {
            for (sums, block) in sums.chunks_exact_mut(3).zip(row.chunks_exact(3 * factor)) {
                for pixel in block.chunks_exact(3) {
                    for (sum, channel) in sums.iter_mut().zip(pixel) {
                        *sum += u32::from(*channel);
                    }
                }
            }
        }
        small.extend(sums.iter().map(|sum| ((sum + area / 2) / area) as u8));
    }
    small
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pixel_becomes_the_mean_of_its_block() {
        let mut pixels = vec![0u8; 4 * 2 * 3];
        pixels[0] = 200;
        pixels[3] = 100;
        pixels[12] = 60;
        assert_eq!(shrunk(&pixels, (4, 2), 2), [90, 0, 0, 0, 0, 0]);
    }
}
