//! Colours, those of the web UI.

use plotters::style::RGBColor;

/// Whether a chart is dark on light or light on dark.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Theme {
    #[default]
    Light,
    Dark,
}

/// The colours of a theme.
pub(super) struct Palette {
    pub(super) page: RGBColor,
    pub(super) text: RGBColor,
    /// Numbers at axes, what stands beside the point.
    pub(super) muted: RGBColor,
    pub(super) grid: RGBColor,
    /// Where values are 0.
    pub(super) zero: RGBColor,
    /// Chosen for the smallest difference under simulated colour blindness and for contrast on the
    /// page; red is kept for firing alerts.
    pub(super) series: [RGBColor; 8],
    /// Nothing, some, most.
    pub(super) heat: [RGBColor; 3],
}

const LIGHT: Palette = Palette {
    page: RGBColor(0xff, 0xff, 0xff),
    text: RGBColor(0x1a, 0x1f, 0x27),
    muted: RGBColor(0x52, 0x5b, 0x68),
    grid: RGBColor(0xe6, 0xe9, 0xee),
    zero: RGBColor(0xa4, 0xac, 0xb8),
    series: [
        RGBColor(0x39, 0x4f, 0xd8),
        RGBColor(0x98, 0x4b, 0x16),
        RGBColor(0x53, 0xa3, 0x67),
        RGBColor(0xe7, 0x58, 0xc0),
        RGBColor(0x40, 0x25, 0x84),
        RGBColor(0xa5, 0x68, 0xf9),
        RGBColor(0x70, 0x00, 0x48),
        RGBColor(0x73, 0x54, 0x8a),
    ],
    heat: [
        RGBColor(0xe4, 0xe8, 0xfc),
        RGBColor(0x5a, 0x6f, 0xe6),
        RGBColor(0x17, 0x12, 0x52),
    ],
};

const DARK: Palette = Palette {
    page: RGBColor(0x14, 0x17, 0x1c),
    text: RGBColor(0xe6, 0xe9, 0xee),
    muted: RGBColor(0xa9, 0xb1, 0xbd),
    grid: RGBColor(0x27, 0x2c, 0x34),
    zero: RGBColor(0x5c, 0x66, 0x73),
    series: [
        RGBColor(0x6c, 0xf6, 0xfd),
        RGBColor(0xf8, 0x8f, 0x4f),
        RGBColor(0x57, 0xb1, 0xa0),
        RGBColor(0xb9, 0x37, 0x80),
        RGBColor(0x39, 0x6f, 0xc8),
        RGBColor(0xb1, 0x80, 0xfc),
        RGBColor(0xf6, 0xea, 0xa4),
        RGBColor(0x9c, 0x7c, 0x0b),
    ],
    heat: [
        RGBColor(0x1f, 0x27, 0x48),
        RGBColor(0x4f, 0x86, 0xd8),
        RGBColor(0xf6, 0xf0, 0xc0),
    ],
};

impl Theme {
    /// A theme's name on the command line.
    pub(crate) fn named(name: &str) -> Option<Self> {
        match name {
            "light" => Some(Self::Light),
            "dark" => Some(Self::Dark),
            _ => None,
        }
    }

    pub(super) fn palette(self) -> &'static Palette {
        match self {
            Self::Light => &LIGHT,
            Self::Dark => &DARK,
        }
    }
}

impl Palette {
    /// The colour of the series at `index`.
    pub(super) fn of_series(&self, index: usize) -> RGBColor {
        self.series[index % self.series.len()]
    }

    /// The colour of a share (0 to 1) of the most there is.
    pub(super) fn of_heat(&self, share: f64) -> RGBColor {
        let place = share.clamp(0.0, 1.0) * 2.0;
        let (from, to, part) = if place < 1.0 {
            (self.heat[0], self.heat[1], place)
        } else {
            (self.heat[1], self.heat[2], place - 1.0)
        };
        let mixed = |a: u8, b: u8| (f64::from(a) + (f64::from(b) - f64::from(a)) * part) as u8;
        RGBColor(
            mixed(from.0, to.0),
            mixed(from.1, to.1),
            mixed(from.2, to.2),
        )
    }
}

/// Lengths of dash and gap of the series at `index`: after all colours dashes tell series apart.
pub(super) fn dash_of(index: usize) -> Option<(f64, f64)> {
    match index / LIGHT.series.len() % 3 {
        0 => None,
        1 => Some((6.0, 3.0)),
        _ => Some((2.0, 3.0)),
    }
}
