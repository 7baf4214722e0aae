//! A receiver of notifications that keeps what it was sent.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::http::{HttpServer, Reply, Request};
use super::wait::wait_for;

/// Answers every request with the next status of its list, the last one from then on.
pub(crate) struct Receiver {
    server: HttpServer,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Receiver {
    pub(crate) fn start(statuses: &[u16]) -> Self {
        Self::start_at(([127, 0, 0, 1], 0).into(), statuses)
    }

    pub(crate) fn start_at(address: SocketAddr, statuses: &[u16]) -> Self {
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        let statuses = statuses.to_vec();
        let server = HttpServer::start_at(address, move |request| {
            let mut seen = seen.lock().expect("the list");
            let status = statuses[seen.len().min(statuses.len() - 1)];
            seen.push(request.clone());
            Reply::new(status, "text/plain", "as asked\n")
        });
        Self { server, requests }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.server.address()
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hook", self.address())
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().expect("the list").clone()
    }

    /// Waits for the first request that fits.
    pub(crate) fn wait_for(
        &self,
        what: &str,
        limit: Duration,
        fits: impl Fn(&Request) -> bool,
    ) -> Request {
        wait_for(what, limit, || {
            let requests = self.requests();
            let found = requests.iter().find(|request| fits(request)).cloned();
            found.ok_or_else(|| format!("{} requests: {requests:?}", requests.len()))
        })
    }
}
