//! PNG files of opaque RGB pixels.

use std::io::Write as _;

use flate2::{Compression, Crc, write::ZlibEncoder};

/// The file of a picture whose pixels, three bytes each, are given row by row.
///
/// Format: the PNG specification, third edition, chapters 5, 9 and 11.
///
/// # Errors
/// Never in practice: everything is in memory.
pub(super) fn encode(pixels: &[u8], width: u32, height: u32) -> std::io::Result<Vec<u8>> {
    let row_bytes = width as usize * 3;
    debug_assert_eq!(pixels.len(), row_bytes * height as usize);
    let mut header = Vec::with_capacity(13);
    header.extend_from_slice(&width.to_be_bytes());
    header.extend_from_slice(&height.to_be_bytes());
    // Eight bits per channel, RGB, deflate, adaptive filters, not interlaced.
    header.extend_from_slice(&[8, 2, 0, 0, 0]);
    let mut packed = ZlibEncoder::new(Vec::new(), Compression::best());
    for row in pixels.chunks_exact(row_bytes.max(1)) {
        // No filter: rows of charts are runs of equal pixels, which the others only hide (a quarter
        // larger with "up" in measurements on lines and stacks).
        packed.write_all(&[0])?;
        packed.write_all(row)?;
    }
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    chunk(&mut file, *b"IHDR", &header);
    chunk(&mut file, *b"IDAT", &packed.finish()?);
    chunk(&mut file, *b"IEND", &[]);
    Ok(file)
}

fn chunk(file: &mut Vec<u8>, kind: [u8; 4], data: &[u8]) {
    let mut checksum = Crc::new();
    checksum.update(&kind);
    checksum.update(data);
    file.extend_from_slice(&(data.len() as u32).to_be_bytes());
    file.extend_from_slice(&kind);
    file.extend_from_slice(data);
    file.extend_from_slice(&checksum.sum().to_be_bytes());
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn pixels_can_be_read_back() {
        let pixels: Vec<u8> = (0..5 * 4 * 3).map(|i| (i * 7 % 256) as u8).collect();
        let file = encode(&pixels, 5, 4).expect("a file");
        assert_eq!(&file[..8], b"\x89PNG\r\n\x1a\n");
        // What the checksum of an empty IEND always is.
        assert!(file.ends_with(b"IEND\xae\x42\x60\x82"));
        let at = file
            .windows(4)
            .position(|kind| kind == b"IDAT")
            .expect("data");
        let mut rows = Vec::new();
        let mut decoder = flate2::read::ZlibDecoder::new(&file[at + 4..]);
        decoder.read_to_end(&mut rows).expect("rows");
        let mut read = Vec::new();
        for row in rows.chunks(16) {
            assert_eq!(row[0], 0);
            read.extend_from_slice(&row[1..]);
        }
        assert_eq!(read, pixels);
    }
}
