//! HTTP/1.1 over loopback, both ends, in the little the tests need of it.

use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// Longest answer read, bytes.
const ANSWER_LIMIT_BYTES: u64 = 64 << 20;
/// Longest a request may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// What a server answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{} is no JSON: {error}", self.text()))
    }
}

/// One request on a connection of its own.
pub(crate) fn request(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> io::Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    for (name, value) in headers {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    if !body.is_empty() || method == "POST" {
        let _ = write!(head, "Content-Length: {}\r\n", body.len());
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)?;
    read_answer(stream, method == "HEAD")
}

/// A GET that must be answered.
pub(crate) fn get(address: SocketAddr, path: &str) -> Answer {
    request(address, "GET", path, &[], b"")
        .unwrap_or_else(|error| panic!("GET http://{address}{path}: {error}"))
}

/// A POST that must be answered.
pub(crate) fn post(address: SocketAddr, path: &str, content_type: &str, body: &str) -> Answer {
    let headers = [("Content-Type", content_type)];
    request(address, "POST", path, &headers, body.as_bytes())
        .unwrap_or_else(|error| panic!("POST http://{address}{path}: {error}"))
}

/// `pairs` as a query string or a form body.
pub(crate) fn form(pairs: &[(&str, &str)]) -> String {
    let pairs: Vec<String> = pairs
        .iter()
        .map(|(name, value)| format!("{}={}", escape(name), escape(value)))
        .collect();
    pairs.join("&")
}

fn escape(text: &str) -> String {
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

fn read_answer(stream: TcpStream, head_only: bool) -> io::Result<Answer> {
    let mut reader = BufReader::new(stream.take(ANSWER_LIMIT_BYTES));
    let (line, headers) = read_head(&mut reader)?;
    let status = line
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .ok_or_else(|| bad(&line))?;
    let body = if head_only {
        Vec::new()
    } else {
        read_body(&mut reader, &headers, true)?
    };
    Ok(Answer {
        status,
        headers,
        body,
    })
}

fn read_head(reader: &mut impl BufRead) -> io::Result<(String, Vec<(String, String)>)> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let mut headers = Vec::new();
    loop {
        let mut field = String::new();
        reader.read_line(&mut field)?;
        let field = field.trim_end();
        if field.is_empty() {
            return Ok((line.trim_end().to_owned(), headers));
        }
        let (name, value) = field.split_once(':').ok_or_else(|| bad(field))?;
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
}

fn read_body(
    reader: &mut impl BufRead,
    headers: &[(String, String)],
    until_end: bool,
) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    if find(headers, "transfer-encoding").is_some_and(|value| value.contains("chunked")) {
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let size = usize::from_str_radix(line.trim(), 16).map_err(|_| bad(&line))?;
            let start = body.len();
            body.resize(start + size, 0);
            reader.read_exact(&mut body[start..])?;
            reader.read_line(&mut line)?;
            if size == 0 {
                return Ok(body);
            }
        }
    }
    match find(headers, "content-length").map(str::parse) {
        Some(Ok(length)) => {
            body.resize(length, 0);
            reader.read_exact(&mut body)?;
        }
        Some(Err(_)) => return Err(bad("content-length")),
        None if until_end => {
            reader.read_to_end(&mut body)?;
        }
        None => {}
    }
    Ok(body)
}

fn find<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let (_, value) = headers.iter().find(|(have, _)| have == name)?;
    Some(value)
}

fn bad(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("no HTTP: {text:?}"))
}

/// What a client asked.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> &str {
        find(&self.headers, name).unwrap_or_default()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| {
            panic!(
                "{} is no JSON: {error}",
                String::from_utf8_lossy(&self.body)
            )
        })
    }
}

/// What a test's own server answers.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) content_type: &'static str,
    pub(crate) encoding: Option<&'static str>,
    pub(crate) body: ReplyBody,
}

/// How a body comes.
#[derive(Clone, Debug)]
pub(crate) enum ReplyBody {
    /// At once.
    Whole(Vec<u8>),
    /// Again and again, until the client goes or the server stops.
    Endless(Vec<u8>),
    /// The first bytes, then silence.
    Stalled(Vec<u8>),
}

impl Reply {
    /// Exposition text, version 0.0.4.
    pub(crate) fn metrics(text: impl Into<Vec<u8>>) -> Self {
        Self::new(200, "text/plain; version=0.0.4; charset=utf-8", text)
    }

    pub(crate) fn new(status: u16, content_type: &'static str, text: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            content_type,
            encoding: None,
            body: ReplyBody::Whole(text.into()),
        }
    }
}

type Handler = dyn Fn(&Request) -> Reply + Send + Sync;

/// A server on a loopback port of its own. Stops when dropped.
pub(crate) struct HttpServer {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    handler: Box<Handler>,
    stopped: AtomicBool,
    connections: Mutex<Vec<TcpStream>>,
}

impl HttpServer {
    pub(crate) fn start(handler: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_at(([127, 0, 0, 1], 0).into(), handler)
    }

    /// Listens on an address that was in use before.
    pub(crate) fn start_at(
        address: SocketAddr,
        handler: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address)
            .unwrap_or_else(|error| panic!("listening on {address}: {error}"));
        let address = listener.local_addr().expect("the address listened on");
        let shared = Arc::new(Shared {
            handler: Box::new(handler),
            stopped: AtomicBool::new(false),
            connections: Mutex::new(Vec::new()),
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if accepting.stopped.load(Ordering::SeqCst) {
                    return;
                }
                if let Ok(copy) = stream.try_clone() {
                    accepting.connections.lock().expect("the list").push(copy);
                }
                let serving = Arc::clone(&accepting);
                // A client that goes away is no concern of the test.
                thread::spawn(move || drop(serving.serve(stream)));
            }
        });
        Self { address, shared }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        for stream in self.shared.connections.lock().expect("the list").drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        // Wakes the accepting thread, which then closes the listener.
        let _ = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
    }
}

impl Shared {
    fn serve(&self, stream: TcpStream) -> io::Result<()> {
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        let mut writer = stream.try_clone()?;
        let mut reader = BufReader::new(stream);
        while !self.stopped.load(Ordering::SeqCst) {
            let (line, headers) = read_head(&mut reader)?;
            let body = read_body(&mut reader, &headers, false)?;
            let mut words = line.split(' ');
            let request = Request {
                method: words.next().unwrap_or_default().to_owned(),
                path: words.next().unwrap_or_default().to_owned(),
                headers,
                body,
            };
            let reply = (self.handler)(&request);
            self.write(&mut writer, &reply)?;
        }
        Ok(())
    }

    fn write(&self, writer: &mut TcpStream, reply: &Reply) -> io::Result<()> {
        let mut head = format!(
            "HTTP/1.1 {} Said\r\nContent-Type: {}\r\n",
            reply.status, reply.content_type
        );
        if let Some(encoding) = reply.encoding {
            let _ = write!(head, "Content-Encoding: {encoding}\r\n");
        }
        match &reply.body {
            ReplyBody::Whole(body) => {
                let _ = write!(head, "Content-Length: {}\r\n\r\n", body.len());
                writer.write_all(head.as_bytes())?;
                writer.write_all(body)
            }
            ReplyBody::Endless(piece) => {
                head.push_str("Connection: close\r\n\r\n");
                writer.write_all(head.as_bytes())?;
                while !self.stopped.load(Ordering::SeqCst) {
                    writer.write_all(piece)?;
                }
                Ok(())
            }
            ReplyBody::Stalled(start) => {
                head.push_str("Connection: close\r\n\r\n");
                writer.write_all(head.as_bytes())?;
                writer.write_all(start)?;
                while !self.stopped.load(Ordering::SeqCst) {
                    thread::sleep(Duration::from_millis(20));
                }
                Ok(())
            }
        }
    }
}
