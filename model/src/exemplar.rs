//! One observation kept as an example, with labels that lead to where it came from.

use crate::labels::Labels;

/// One observation of a series, kept as an example.
#[derive(Clone, Debug, Default)]
pub struct Exemplar {
    /// Labels of its own, such as `trace_id`.
    pub labels: Labels,
    /// What was observed, bit-exact.
    pub value: f64,
    /// When, in milliseconds since the Unix epoch.
    pub timestamp_ms: i64,
}

impl PartialEq for Exemplar {
    /// The value bitwise, so that NaN equals itself and 0 differs from −0.
    fn eq(&self, other: &Self) -> bool {
        self.timestamp_ms == other.timestamp_ms
            && self.value.to_bits() == other.value.to_bits()
            && self.labels == other.labels
    }
}
