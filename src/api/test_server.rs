//! A server to test the API with: real sockets, a store of its own.

use std::sync::Arc;
use std::time::Duration;

use barograph_instrument::Registry;
use barograph_model::{Clock, Labels, SystemClock};
use barograph_tsdb::Batch;
use http::StatusCode;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::app::{App, Core};
use crate::cli::{self, Invocation, Settings};
use crate::config::{Builtin, Collectors, Config};
use crate::server::{Listeners, start};

/// A server on a port of its own, over a directory that goes away with it.
pub(super) struct Server {
    pub(super) url: String,
    pub(super) app: Arc<App>,
    pub(super) client: reqwest::Client,
    pub(super) directory: tempfile::TempDir,
    _stop: watch::Sender<bool>,
}

impl Server {
    /// A server with a configuration file of that text.
    pub(super) async fn with(config: &str, flags: &[&str]) -> Self {
        let server = Self::starting(config, flags).await;
        let builtin = Builtin {
            hostname: "here".into(),
            port: 1,
        };
        let collectors = Collectors::none();
        let config = Config::load(&server.app.settings, &builtin, &collectors)
            .unwrap_or_else(|error| panic!("{error}"));
        start(&server.app, config, builtin, collectors)
            .await
            .unwrap_or_else(|error| panic!("{error}"));
        server
    }

    pub(super) async fn new() -> Self {
        Self::with("scrape_configs: [{job_name: b}, {job_name: a}]\n", &[]).await
    }

    /// A server that listens and is not ready.
    pub(super) async fn starting(config: &str, flags: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("prometheus.yml");
        std::fs::write(&file, config).expect("written");
        let settings = settings(directory.path(), flags);
        let listeners = Listeners::bind(&settings).await.expect("a free port");
        let prefix = settings.route_prefix.trim_end_matches('/').to_owned();
        let url = format!("http://{}{prefix}", listeners.first_address());
        let _ = rustls::crypto::ring::default_provider().install_default();
        let app = App::new(settings, Registry::new());
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(listeners.serve(&app, &stopped));
        let client = reqwest::Client::builder()
            .timeout(Duration::from_secs(10))
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .expect("a client");
        Self {
            url,
            app,
            client,
            directory,
            _stop: stop,
        }
    }

    pub(super) fn core(&self) -> &Core {
        self.app.core().expect("a server that is ready")
    }

    /// Stores one sample per series, now.
    pub(super) fn store(&self, series: &[(&[(&str, &str)], f64)]) -> i64 {
        let db = &self.core().db;
        let now_ms = SystemClock.now_ms();
        let group = db.open_group();
        let mut batch = Batch::new(group);
        for (labels, value) in series {
            let labels = Labels::from_pairs(labels.iter().copied());
            let series = db.register(group, &labels).expect("registered");
            batch.push(series, now_ms, *value);
        }
        let appended = db.append(&batch).expect("appended");
        assert_eq!(appended.accepted, series.len());
        now_ms
    }

    pub(super) async fn get(&self, path: &str) -> (StatusCode, String) {
        let reply = self
            .client
            .get(format!("{}{path}", self.url))
            .send()
            .await
            .expect("a reply");
        (reply.status(), reply.text().await.expect("a body"))
    }

    pub(super) async fn json(&self, path: &str) -> (u16, Value) {
        let (status, text) = self.get(path).await;
        let value =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}: {text}"));
        (status.as_u16(), value)
    }

    pub(super) async fn data(&self, path: &str) -> Value {
        let (status, mut value) = self.json(path).await;
        assert_eq!(
            (status, &value["status"]),
            (200, &json!("success")),
            "{path}: {value}"
        );
        value["data"].take()
    }
}

fn settings(directory: &std::path::Path, flags: &[&str]) -> Settings {
    let mut line = vec![
        "barograph".to_owned(),
        "--web.listen-address=127.0.0.1:0".to_owned(),
        format!(
            "--config.file={}",
            directory.join("prometheus.yml").display()
        ),
        format!("--storage.tsdb.path={}", directory.join("data").display()),
    ];
    line.extend(flags.iter().map(|flag| (*flag).to_owned()));
    match cli::parse(line) {
        Ok(Invocation::Serve(settings)) => *settings,
        other => panic!("{other:?}"),
    }
}
