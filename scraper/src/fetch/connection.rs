//! One kept HTTP/1.1 connection per target.

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use reqwest::Url;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use super::{Answer, JobClient, Progress, redirect};
use crate::error::ScrapeError;
use crate::target::Target;

/// Most bytes of an error page that are read to keep the connection.
const ERROR_BODY_BYTES: u64 = 64 << 10;
/// What a connection reads at once, bytes. hyper would let every connection's buffer grow with the
/// page and keep it: a quarter of a megabyte each.
const READ_BYTES: usize = 32 << 10;
/// Most bytes reserved for a body because its length was announced.
const RESERVE_BYTES: u64 = 4 << 20;

/// Asks one target, over a connection that is kept between scrapes.
#[derive(Default)]
pub(crate) struct HttpClient {
    kept: Option<Connection>,
    /// Bytes of the last body: about what the next will have.
    last_size: usize,
    /// Memory for the next body.
    pub(super) buffer: Vec<u8>,
}

struct Connection {
    origin: Origin,
    sender: SendRequest<Empty<Bytes>>,
    _driver: Driver,
}

/// The task that moves a connection's bytes; ends with the connection.
struct Driver(tokio::task::JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Origin {
    https: bool,
    host: String,
    port: u16,
    unix_socket: Option<String>,
}

impl Origin {
    fn of(url: &Url, unix_socket: Option<&String>) -> Self {
        let host = url.host_str().unwrap_or_default();
        Self {
            https: url.scheme() == "https",
            host: host
                .trim_start_matches('[')
                .trim_end_matches(']')
                .to_owned(),
            port: url.port_or_known_default().unwrap_or(80),
            unix_socket: unix_socket.cloned(),
        }
    }

    fn address(&self) -> String {
        match &self.unix_socket {
            Some(path) => format!("unix socket {path}"),
            None if self.host.contains(':') => format!("[{}]:{}", self.host, self.port),
            None => format!("{}:{}", self.host, self.port),
        }
    }
}

impl HttpClient {
    /// Gets the target's page, following redirects where the job says so.
    ///
    /// # Errors
    /// No connection, a broken exchange, a body beyond the limit.
    pub(super) async fn get(
        &mut self,
        job: &JobClient,
        target: &Target,
        progress: &Progress,
    ) -> Result<Answer, ScrapeError> {
        let parse = |text: &str| {
            Url::parse(text).map_err(|error| ScrapeError::Settings(format!("{text}: {error}")))
        };
        let first = parse(&target.endpoint.url)?;
        let mut url = first.clone();
        for _ in 0..=redirect::REDIRECTS_LIMIT {
            let trusted = redirect::keeps_credentials(&first, &url);
            let headers = job.headers.of_request(target.timeout_ms, trusted).await?;
            let own = url.host_str() == first.host_str();
            let socket = target.endpoint.unix_socket.as_ref().filter(|_| own);
            let origin = Origin::of(&url, socket);
            let answer = self.exchange(job, &origin, &url, headers, progress).await?;
            match redirect::target(answer.status, &answer.headers, &url) {
                Some(next) if job.follow_redirects => url = next,
                _ => return Ok(answer),
            }
        }
        Err(ScrapeError::Http {
            url: target.endpoint.url.clone(),
            reason: format!("stopped after {} redirects", redirect::REDIRECTS_LIMIT),
        })
    }

    async fn exchange(
        &mut self,
        job: &JobClient,
        origin: &Origin,
        url: &Url,
        headers: http::HeaderMap,
        progress: &Progress,
    ) -> Result<Answer, ScrapeError> {
        let fail = |reason: String| ScrapeError::Http {
            url: url.to_string(),
            reason,
        };
        let mut kept = self.kept.take().filter(|kept| kept.origin == *origin);
        loop {
            let reused = kept.is_some();
            let mut connection = match kept.take() {
                Some(connection) => connection,
                None => connect(job, origin, progress).await?,
            };
            if let Err(error) = connection.sender.ready().await {
                if reused {
                    continue;
                }
                return Err(fail(describe(&error)));
            }
            progress.set(format!("connected to {}, no answer yet", origin.address()));
            let request = request(url, headers.clone()).map_err(fail)?;
            let response = match connection.sender.send_request(request).await {
                Ok(response) => response,
                // The target may close an idle connection at any moment: that is no failure of
                // this scrape, and a GET can be sent again.
                Err(_) if reused => continue,
                Err(error) => return Err(fail(describe(&error))),
            };
            let (head, body) = response.into_parts();
            let ok = head.status == http::StatusCode::OK;
            let limit = if ok { job.body_limit } else { ERROR_BODY_BYTES };
            let buffer = std::mem::take(&mut self.buffer);
            let raw = match read_body(body, limit, self.last_size, buffer, progress).await {
                Ok(raw) => {
                    self.last_size = raw.len();
                    self.kept = Some(connection);
                    raw
                }
                Err(BodyError::TooLarge) if ok => return Err(job.body_limit_error()),
                // An endless error page is not worth its connection.
                Err(_) if !ok => Vec::new(),
                Err(BodyError::TooLarge) => return Err(job.body_limit_error()),
                Err(BodyError::Broken(reason)) => return Err(fail(reason)),
            };
            return Ok(Answer {
                status: head.status,
                headers: head.headers,
                raw,
            });
        }
    }
}

enum BodyError {
    TooLarge,
    Broken(String),
}

async fn read_body(
    mut body: Incoming,
    limit: u64,
    expected: usize,
    mut raw: Vec<u8>,
    progress: &Progress,
) -> Result<Vec<u8>, BodyError> {
    let announced = body.size_hint().lower();
    if announced >= limit {
        return Err(BodyError::TooLarge);
    }
    let reserve = match announced {
        0 => expected as u64 + expected as u64 / 32,
        announced => announced,
    };
    raw.clear();
    raw.reserve(reserve.min(RESERVE_BYTES) as usize);
    progress.set("the answer began, but its body does not end");
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| BodyError::Broken(describe(&error)))?;
        if let Some(data) = frame.data_ref() {
            if (raw.len() + data.len()) as u64 >= limit {
                return Err(BodyError::TooLarge);
            }
            raw.extend_from_slice(data);
        }
    }
    Ok(raw)
}

fn request(url: &Url, headers: http::HeaderMap) -> Result<Request<Empty<Bytes>>, String> {
    let path = match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    };
    let host = match url.port() {
        Some(port) => format!("{}:{port}", url.host_str().unwrap_or_default()),
        None => url.host_str().unwrap_or_default().to_owned(),
    };
    let mut request = Request::get(path)
        .body(Empty::new())
        .map_err(|error| error.to_string())?;
    *request.headers_mut() = headers;
    if !request.headers().contains_key(http::header::HOST) {
        let host = http::HeaderValue::from_str(&host).map_err(|error| error.to_string())?;
        request.headers_mut().insert(http::header::HOST, host);
    }
    Ok(request)
}

async fn connect(
    job: &JobClient,
    origin: &Origin,
    progress: &Progress,
) -> Result<Connection, ScrapeError> {
    progress.set(format!("no connection to {} yet", origin.address()));
    if let Some(path) = &origin.unix_socket {
        let stream = UnixStream::connect(path)
            .await
            .map_err(|error| connect_error(origin, &error))?;
        return secure(job, origin, stream, progress).await;
    }
    let stream = connect_tcp(origin).await?;
    // A request is one segment; waiting to fill it only adds latency.
    let _ = stream.set_nodelay(true);
    secure(job, origin, stream, progress).await
}

async fn connect_tcp(origin: &Origin) -> Result<TcpStream, ScrapeError> {
    let addresses = tokio::net::lookup_host((origin.host.as_str(), origin.port))
        .await
        .map_err(|error| ScrapeError::Resolve {
            host: origin.host.clone(),
            reason: error.to_string(),
        })?;
    let mut last = None;
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = Some(error),
        }
    }
    Err(match last {
        Some(error) => connect_error(origin, &error),
        None => ScrapeError::Resolve {
            host: origin.host.clone(),
            reason: "the name has no address".to_owned(),
        },
    })
}

async fn secure<S>(
    job: &JobClient,
    origin: &Origin,
    stream: S,
    progress: &Progress,
) -> Result<Connection, ScrapeError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    if !origin.https {
        return handshake(origin, stream).await;
    }
    progress.set(format!(
        "connected to {}, TLS is not agreed on yet",
        origin.address()
    ));
    let config = job.tls.client_config().map_err(ScrapeError::Settings)?;
    let fail = |reason: String| ScrapeError::Tls {
        address: origin.address(),
        reason,
    };
    let name = job.tls.server_name().unwrap_or(&origin.host).to_owned();
    let name = ServerName::try_from(name).map_err(|error| fail(error.to_string()))?;
    let stream = TlsConnector::from(config)
        .connect(name, stream)
        .await
        .map_err(|error| fail(tls_reason(&error)))?;
    handshake(origin, stream).await
}

async fn handshake<S>(origin: &Origin, stream: S) -> Result<Connection, ScrapeError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = Builder::new()
        .read_buf_exact_size(Some(READ_BYTES))
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| ScrapeError::Connect {
            address: origin.address(),
            reason: describe(&error),
        })?;
    let driver = tokio::spawn(async move {
        // What breaks here shows at the request.
        let _ = connection.await;
    });
    Ok(Connection {
        origin: origin.clone(),
        sender,
        _driver: Driver(driver),
    })
}

fn connect_error(origin: &Origin, error: &std::io::Error) -> ScrapeError {
    use std::io::ErrorKind;
    let hint = match error.kind() {
        ErrorKind::ConnectionRefused => ": is the target running, and listening on this address?",
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => ": is there a route to it?",
        ErrorKind::NotFound => ": the socket does not exist",
        ErrorKind::PermissionDenied => ": may this user connect to it?",
        _ => "",
    };
    let text = match error.kind() {
        ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        _ => error.to_string(),
    };
    ScrapeError::Connect {
        address: origin.address(),
        reason: format!("{text}{hint}"),
    }
}

fn tls_reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    let hint = if text.contains("UnknownIssuer") {
        ": set tls_config.ca_file to the certificate of its authority"
    } else if text.contains("not valid for name") {
        ": set tls_config.server_name to a name in its certificate"
    } else if text.contains("InvalidContentType") {
        ": the target seems to speak plain HTTP; is scheme: http meant?"
    } else {
        ""
    };
    format!("{text}{hint}")
}

/// hyper's message with its cause, which is where the reason is.
fn describe(error: &hyper::Error) -> String {
    if error.is_incomplete_message() {
        return "the target closed the connection before its answer was complete".to_owned();
    }
    let mut text = error.to_string();
    if error.is_parse() {
        text.push_str(": the target does not speak HTTP/1.1 here; is scheme: https meant?");
    }
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
