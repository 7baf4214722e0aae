//! Accepting connections within limits, and letting them end.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream, lookup_host};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::api;
use crate::app::App;
use crate::cli::Settings;
use crate::server::target::EscapedTargets;

/// Wait before accepting again when the system has no descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Most bytes of a request's head.
const HEAD_LIMIT_BYTES: usize = 1 << 20;

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BindError {
    /// The text is no address.
    #[error(
        "--web.listen-address={address}: {reason}; write host:port, for example 127.0.0.1:9090 or :9090"
    )]
    Address { address: String, reason: String },
    /// Another process listens there.
    #[error(
        "cannot listen on {address}: another process uses this port. Stop it (for example an older barograph or a Prometheus; `ss -ltnp` shows which), or choose another with --web.listen-address=:9091"
    )]
    InUse { address: String },
    /// The system says no.
    #[error("cannot listen on {address}: {source}; choose another with --web.listen-address")]
    Refused {
        address: String,
        source: std::io::Error,
    },
}

/// Sockets that are listened on.
pub(crate) struct Listeners {
    sockets: Vec<(TcpListener, SocketAddr)>,
}

impl Listeners {
    /// Listens on every address of the settings.
    ///
    /// # Errors
    /// The first address that does not work.
    pub(crate) async fn bind(settings: &Settings) -> Result<Self, BindError> {
        let mut sockets = Vec::new();
        for address in &settings.listen_addresses {
            sockets.push(bind(address).await?);
        }
        Ok(Self { sockets })
    }

    /// The first address, its port the real one.
    pub(crate) fn first_address(&self) -> SocketAddr {
        self.sockets[0].1
    }

    /// The port of the first address.
    pub(crate) fn first_port(&self) -> u16 {
        self.first_address().port()
    }

    /// Answers requests until `stopped` says so; the future ends when the last connection has.
    pub(crate) fn serve(
        self,
        app: &Arc<App>,
        stopped: &watch::Receiver<bool>,
    ) -> impl Future<Output = ()> + use<> {
        let router = api::router(app.clone());
        let permits = Arc::new(Semaphore::new(app.settings.max_connections));
        let mut accepting = JoinSet::new();
        for (socket, _) in self.sockets {
            accepting.spawn(accept(
                socket,
                router.clone(),
                app.clone(),
                permits.clone(),
                stopped.clone(),
            ));
        }
        async move { while accepting.join_next().await.is_some() {} }
    }
}

async fn bind(text: &str) -> Result<(TcpListener, SocketAddr), BindError> {
    let bad = |reason: String| BindError::Address {
        address: text.to_owned(),
        reason,
    };
    // `:9090` is every address of this host.
    let full = if text.starts_with(':') {
        format!("0.0.0.0{text}")
    } else {
        text.to_owned()
    };
    let addresses: Vec<SocketAddr> = lookup_host(&full)
        .await
        .map_err(|error| bad(error.to_string()))?
        .collect();
    let Some(address) = addresses.first() else {
        return Err(bad("the name has no address".into()));
    };
    let fail = |source: std::io::Error| match source.kind() {
        std::io::ErrorKind::AddrInUse => BindError::InUse {
            address: text.to_owned(),
        },
        _ => BindError::Refused {
            address: text.to_owned(),
            source,
        },
    };
    let socket = TcpListener::bind(address).await.map_err(fail)?;
    let bound = socket.local_addr().map_err(fail)?;
    Ok((socket, bound))
}

async fn accept(
    socket: TcpListener,
    router: axum::Router,
    app: Arc<App>,
    permits: Arc<Semaphore>,
    mut stopped: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    loop {
        // The permit comes first: beyond the limit, connections wait in the system's queue.
        if permits.available_permits() == 0 {
            app.metrics.connections_delayed.inc();
        }
        let accepted = tokio::select! {
            permit = permits.clone().acquire_owned() => match permit {
                Ok(permit) => tokio::select! {
                    accepted = socket.accept() => accepted.map(|(stream, _)| (stream, permit)),
                    () = told(&mut stopped) => break,
                },
                Err(_) => break,
            },
            () = told(&mut stopped) => break,
        };
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((stream, permit)) => {
                let (router, app, stopped) = (router.clone(), app.clone(), stopped.clone());
                connections.spawn(async move {
                    app.metrics.connections.inc();
                    connection(stream, router, app.settings.read_timeout, stopped).await;
                    app.metrics.connections.dec();
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(error = %error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(socket);
    while connections.join_next().await.is_some() {}
}

/// Ends when it is time to stop, also where nobody is left to say so.
async fn told(stopped: &mut watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stop| *stop).await;
}

/// One connection: request after request, until the client or the server wants no more.
async fn connection(
    stream: TcpStream,
    router: axum::Router,
    read_timeout: Duration,
    mut stopped: watch::Receiver<bool>,
) {
    // Small replies go out at once; where that is refused, they go out later.
    let _ = stream.set_nodelay(true);
    let service = TowerToHyperService::new(router);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(read_timeout)
        .max_buf_size(HEAD_LIMIT_BYTES)
        .serve_connection(TokioIo::new(EscapedTargets::new(stream)), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = told(&mut stopped) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error = %error, "a connection ended early");
    }
}
