//! Sizes: a number and a unit, powers of two.

const UNITS: [(&str, u32); 7] = [
    ("EB", 60),
    ("PB", 50),
    ("TB", 40),
    ("GB", 30),
    ("MB", 20),
    ("KB", 10),
    ("B", 0),
];

/// Reads `512MB`; also `512MiB`, and a bare `0`.
///
/// # Errors
/// What is wrong with the text.
pub(crate) fn parse_size_bytes(text: &str) -> Result<u64, String> {
    let malformed =
        || format!("{text:?} is no size: write for example 512MB (B, KB, MB, GB, TB, PB, EB)");
    if text == "0" {
        return Ok(0);
    }
    let plain = text.replace("iB", "B");
    let (unit, shift) = UNITS
        .iter()
        .find(|(unit, _)| plain.ends_with(unit))
        .ok_or_else(malformed)?;
    let digits = plain[..plain.len() - unit.len()].trim();
    let count: f64 = digits.parse().map_err(|_| malformed())?;
    let bytes = count * (1u64 << shift) as f64;
    if !(0.0..u64::MAX as f64).contains(&bytes) {
        return Err(malformed());
    }
    Ok(bytes as u64)
}

/// Writes a size with the largest unit that leaves it whole.
pub(crate) fn format_size_bytes(bytes: u64) -> String {
    let (unit, shift) = UNITS
        .iter()
        .find(|(_, shift)| bytes.is_multiple_of(1u64 << shift) && bytes != 0)
        .unwrap_or(&("B", 0));
    format!("{}{unit}", bytes >> shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_written() {
        for (text, want, shown) in [
            ("0", 0, "0B"),
            ("0B", 0, "0B"),
            ("512MB", 512 << 20, "512MB"),
            ("1.5KB", 1536, "1536B"),
            ("1GiB", 1 << 30, "1GB"),
            ("1024KB", 1 << 20, "1MB"),
        ] {
            assert_eq!(parse_size_bytes(text), Ok(want), "{text}");
            assert_eq!(format_size_bytes(want), shown);
        }
        for text in ["", "5", "MB", "-1KB", "1XB", "99EB"] {
            assert!(parse_size_bytes(text).is_err(), "{text}");
        }
    }
}
