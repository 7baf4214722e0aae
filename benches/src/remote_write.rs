//! Remote write as its senders speak it: requests of versions 1 and 2, and a connection.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Longest message of a sample: a value, a time, and what announces them.
const SAMPLE_LIMIT_BYTES: usize = 20;

/// A request on its way to being full.
pub struct Request {
    version: u8,
    /// Samples in it so far.
    pub samples: usize,
    body: Vec<u8>,
    /// Texts and their numbers (version 2).
    symbols: std::collections::HashMap<String, u64>,
    texts: Vec<u8>,
    compressed: Vec<u8>,
}

impl Request {
    /// An empty one, of version 1 or 2 of the protocol.
    pub fn new(version: u8) -> Self {
        let mut request = Self {
            version,
            samples: 0,
            body: Vec::new(),
            symbols: std::collections::HashMap::new(),
            texts: Vec::new(),
            compressed: Vec::new(),
        };
        request.symbol("");
        request
    }

    /// Adds samples of a series, oldest first. The labels may come in any order.
    pub fn add(&mut self, labels: &mut [(&str, &str)], samples: &[(i64, f64)]) {
        labels.sort_unstable();
        let mut message = Vec::with_capacity(256);
        if self.version == 1 {
            for (name, value) in labels {
                let mut label = Vec::with_capacity(64);
                put_bytes(&mut label, 1, name.as_bytes());
                put_bytes(&mut label, 2, value.as_bytes());
                put_bytes(&mut message, 1, &label);
            }
        } else {
            let mut references = Vec::with_capacity(32);
            for (name, value) in labels {
                put_varint(&mut references, self.symbol(name));
                put_varint(&mut references, self.symbol(value));
            }
            put_bytes(&mut message, 1, &references);
        }
        for (at_ms, value) in samples {
            let mut sample = [0; SAMPLE_LIMIT_BYTES];
            sample[0] = 1 << 3 | 1;
            sample[1..9].copy_from_slice(&value.to_bits().to_le_bytes());
            sample[9] = 2 << 3;
            let mut time = Vec::with_capacity(10);
            put_varint(&mut time, *at_ms as u64);
            sample[10..10 + time.len()].copy_from_slice(&time);
            put_bytes(&mut message, 2, &sample[..10 + time.len()]);
        }
        let field = if self.version == 1 { 1 } else { 5 };
        put_bytes(&mut self.body, field, &message);
        self.samples += samples.len();
    }

    fn symbol(&mut self, text: &str) -> u64 {
        if let Some(number) = self.symbols.get(text) {
            return *number;
        }
        let number = self.symbols.len() as u64;
        self.symbols.insert(text.to_owned(), number);
        put_bytes(&mut self.texts, 4, text.as_bytes());
        number
    }

    /// The compressed request; begins the next one.
    pub fn finish(&mut self) -> &[u8] {
        let mut whole = Vec::with_capacity(self.texts.len() + self.body.len());
        if self.version == 2 {
            whole.extend_from_slice(&self.texts);
        }
        whole.extend_from_slice(&self.body);
        self.compressed
            .resize(snap::raw::max_compress_len(whole.len()), 0);
        let length = snap::raw::Encoder::new().compress(&whole, &mut self.compressed);
        self.compressed.truncate(length.unwrap_or(0));
        self.samples = 0;
        self.body.clear();
        self.texts.clear();
        self.symbols.clear();
        self.symbol("");
        &self.compressed
    }
}

/// The labels of `name{a="b",c="d"}`, the name among them.
pub fn labels_of(series: &str) -> Vec<(String, String)> {
    let (name, rest) = series.split_once('{').unwrap_or((series, ""));
    let mut labels = vec![("__name__".to_owned(), name.to_owned())];
    let mut rest = rest.chars();
    loop {
        let label: String = rest
            .by_ref()
            .take_while(|c| !matches!(c, '=' | '}'))
            .collect();
        if label.is_empty() || rest.next() != Some('"') {
            return labels;
        }
        let mut value = String::new();
        while let Some(c) = rest.next().filter(|c| *c != '"') {
            let escaped = (c == '\\').then(|| rest.next()).flatten();
            value.push(match escaped {
                Some('n') => '\n',
                Some(other) => other,
                None => c,
            });
        }
        labels.push((label.trim_start_matches([',', ' ']).to_owned(), value));
    }
}

/// A kept connection to a receiver.
pub struct Connection {
    stream: BufReader<TcpStream>,
    head: String,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// Nobody is there.
    pub fn open(address: SocketAddr, version: u8) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_mins(1)))?;
        let (kind, number) = match version {
            1 => ("application/x-protobuf", "0.1.0"),
            _ => (
                "application/x-protobuf;proto=io.prometheus.write.v2.Request",
                "2.0.0",
            ),
        };
        let head = format!(
            "POST /api/v1/write HTTP/1.1\r\nHost: {address}\r\nContent-Encoding: snappy\r\nContent-Type: {kind}\r\nX-Prometheus-Remote-Write-Version: {number}\r\n"
        );
        Ok(Self {
            stream: BufReader::new(stream),
            head,
        })
    }

    /// Sends a request and waits for the reply; returns how long that took, milliseconds.
    ///
    /// # Errors
    /// Those of the connection, and every reply but one of success.
    pub fn post(&mut self, body: &[u8]) -> io::Result<f64> {
        let mut request =
            format!("{}Content-Length: {}\r\n\r\n", self.head, body.len()).into_bytes();
        request.extend_from_slice(body);
        let began = Instant::now();
        self.stream.get_mut().write_all(&request)?;
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        let status = line.split(' ').nth(1).unwrap_or_default().to_owned();
        let mut length = 0;
        loop {
            line.clear();
            if self.stream.read_line(&mut line)? <= 2 {
                break;
            }
            let lower = line.to_ascii_lowercase();
            if let Some(value) = lower.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            }
        }
        let mut text = vec![0; length];
        self.stream.read_exact(&mut text)?;
        if !status.starts_with('2') {
            let text = String::from_utf8_lossy(&text);
            return Err(io::Error::other(format!("the reply is {status}: {text}")));
        }
        Ok(began.elapsed().as_secs_f64() * 1000.0)
    }
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn put_bytes(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    out.push(field << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_told_apart() {
        let labels = labels_of(r#"a{b="c,d}",e="f\"g\\h\ni",}"#);
        let texts: Vec<(&str, &str)> = labels.iter().map(|(n, v)| (&**n, &**v)).collect();
        assert_eq!(
            texts,
            [("__name__", "a"), ("b", "c,d}"), ("e", "f\"g\\h\ni")]
        );
        assert_eq!(labels_of("up").len(), 1);
        assert_eq!(labels_of("up{}").len(), 1);
    }
}
