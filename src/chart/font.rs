//! The one font of charts: its letters as dots, and how wide a text is in it.

use ab_glyph::{Font, FontRef, Glyph, PxScale, ScaleFont, point};

/// Open Sans without hints and kerning, with Latin, Greek and Cyrillic letters; see
/// `font/README.md`. Other letters are drawn as boxes in PNG files; in SVG files the viewer's fonts
/// draw them.
static FILE: &[u8] = include_bytes!("font/OpenSans-Regular-subset.ttf");

/// What SVG files ask their viewer for.
pub(super) const FAMILY: &str = "Open Sans,system-ui,sans-serif";

/// The font.
pub(super) struct Face(FontRef<'static>);

impl Face {
    /// # Panics
    /// The embedded file is no font.
    pub(super) fn new() -> Self {
        Self(FontRef::try_from_slice(FILE).expect("BUG: the embedded font cannot be read"))
    }

    fn scale(&self, em: f64) -> PxScale {
        // ab_glyph scales by the height between ascent and descent.
        let units = self.0.units_per_em().unwrap_or(1000.0);
        PxScale::from(em as f32 * self.0.height_unscaled() / units)
    }

    /// The width of a text whose letters are `em` high, in the unit of `em`.
    pub(super) fn width(&self, text: &str, em: f64) -> f64 {
        let font = self.0.as_scaled(self.scale(em));
        let advances = text.chars().map(|ch| font.h_advance(font.glyph_id(ch)));
        f64::from(advances.sum::<f32>())
    }

    /// Calls `dot` with place and coverage (0 to 1) of each dot of a text that begins at `left` and
    /// stands on `baseline`.
    pub(super) fn draw(
        &self,
        text: &str,
        em: f64,
        (left, baseline): (f64, f64),
        mut dot: impl FnMut(i32, i32, f64),
    ) {
        let scale = self.scale(em);
        let font = self.0.as_scaled(scale);
        let mut x = left as f32;
        for ch in text.chars() {
            let id = font.glyph_id(ch);
            let glyph = Glyph {
                id,
                scale,
                position: point(x, baseline as f32),
            };
            if let Some(outline) = self.0.outline_glyph(glyph) {
                let corner = outline.px_bounds().min;
                outline.draw(|dx, dy, coverage| {
                    dot(
                        corner.x as i32 + dx as i32,
                        corner.y as i32 + dy as i32,
                        f64::from(coverage.clamp(0.0, 1.0)),
                    );
                });
            }
            x += font.h_advance(id);
        }
    }

    /// The text, or as much of its begin as fits into `width` with an ellipsis behind.
    pub(super) fn fitted(&self, text: &str, em: f64, width: f64) -> String {
        if self.width(text, em) <= width {
            return text.to_owned();
        }
        let mut kept = String::new();
        let mut used = self.width("…", em);
        for ch in text.chars() {
            used += self.width(ch.encode_utf8(&mut [0; 4]), em);
            if used > width {
                break;
            }
            kept.push(ch);
        }
        kept.truncate(kept.trim_end().len());
        kept.push('…');
        kept
    }

    /// The text in lines no wider than `width`, broken at spaces and commas where there are some;
    /// the last of `limit` lines ends with an ellipsis where more would follow.
    pub(super) fn lines(&self, text: &str, em: f64, width: f64, limit: usize) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        let mut line = String::new();
        let mut rest = text.split_inclusive([' ', ',']).peekable();
        while let Some(word) = rest.next() {
            if line.is_empty() || self.width(&line, em) + self.width(word.trim_end(), em) <= width {
                line.push_str(word);
                continue;
            }
            if lines.len() + 1 == limit {
                line.push_str(word);
                line.extend(rest);
                break;
            }
            lines.push(std::mem::replace(&mut line, word.to_owned()));
        }
        lines.push(line);
        let fitted = lines
            .iter()
            .map(|line| self.fitted(line.trim_end(), em, width));
        fitted.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_to_a_width() {
        let face = Face::new();
        assert!((face.width("0000", 10.0) - face.width("1111", 10.0)).abs() < 1e-3);
        assert!(face.width("µ≤−…é", 10.0) > 20.0);
        let cut = face.fitted("a_rather_long_name", 10.0, 50.0);
        assert!(
            cut.ends_with('…') && face.width(&cut, 10.0) <= 50.0,
            "{cut}"
        );
        assert_eq!(face.fitted("up", 10.0, 50.0), "up");
        let lines = face.lines(
            "sum by (job) (rate(a_total[5m])) / on (job) b",
            10.0,
            120.0,
            2,
        );
        assert_eq!(lines.len(), 2);
        assert!(
            lines.iter().all(|line| face.width(line, 10.0) <= 120.0),
            "{lines:?}"
        );
        assert!(lines[1].ends_with('…'), "{lines:?}");
    }
}
