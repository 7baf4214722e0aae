//! GET and POST over loopback, small enough that its cost does not enter the measurement.

use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Largest answer read, bytes.
const ANSWER_LIMIT_BYTES: u64 = 1 << 30;

/// An answer.
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The body, chunks joined.
    pub body: Vec<u8>,
}

/// Asks `address` for `path` and reads the whole answer.
///
/// # Errors
/// Those of the connection, and an answer that is no HTTP.
pub fn get(address: SocketAddr, path: &str, timeout: Duration) -> io::Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
    stream.set_read_timeout(Some(timeout))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )?;
    read_answer(stream)
}

/// Sends `body` to `path` of `address` and reads the whole answer.
///
/// # Errors
/// Those of [`get`].
pub fn post(address: SocketAddr, path: &str, body: &[u8], timeout: Duration) -> io::Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
    stream.set_read_timeout(Some(timeout))?;
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )?;
    stream.write_all(body)?;
    read_answer(stream)
}

fn read_answer(stream: TcpStream) -> io::Result<Answer> {
    let mut raw = Vec::new();
    stream.take(ANSWER_LIMIT_BYTES).read_to_end(&mut raw)?;
    let bad = || io::Error::new(io::ErrorKind::InvalidData, "the answer is no HTTP");
    let end = raw
        .windows(4)
        .position(|w| w == b"\r\n\r\n")
        .ok_or_else(bad)?;
    let head = String::from_utf8_lossy(&raw[..end]).to_ascii_lowercase();
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .ok_or_else(bad)?;
    let body = &raw[end + 4..];
    let body = if head.contains("transfer-encoding: chunked") {
        join_chunks(body).ok_or_else(bad)?
    } else {
        body.to_vec()
    };
    Ok(Answer { status, body })
}

/// `text` with everything escaped that may not stand in a query string.
pub fn escape(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(byte as char);
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

fn join_chunks(mut body: &[u8]) -> Option<Vec<u8>> {
    let mut joined = Vec::with_capacity(body.len());
    loop {
        let line = body.windows(2).position(|w| w == b"\r\n")?;
        let size = std::str::from_utf8(&body[..line]).ok()?;
        let size = usize::from_str_radix(size.split(';').next()?.trim(), 16).ok()?;
        body = &body[line + 2..];
        if size == 0 {
            return Some(joined);
        }
        joined.extend_from_slice(body.get(..size)?);
        body = body.get(size + 2..)?;
    }
}
