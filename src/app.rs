//! What handlers share: the settings, the parts of the server, how far it is.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use axum::extract::{FromRequestParts, OriginalUri};
use axum::response::{IntoResponse, Response};
use barograph_alerting::{Notifier, RuleManager};
use barograph_instrument::Registry;
use barograph_model::{Clock, SystemClock};
use barograph_query::{Engine, ParseOptions, Pool};
use barograph_scraper::{RemoteWrite, Scraper};
use barograph_tsdb::{Db, OpeningProgress, OpeningStep};
use http::StatusCode;
use http::request::Parts;
use tokio::sync::{Mutex, Notify, Semaphore};

use crate::api::{ApiError, ErrorKind};
use crate::cli::Settings;
use crate::config::{Builtin, Collectors, Config, ConfigError};
use crate::metrics::ServerMetrics;

/// Requests of remote write stored at a time; further ones wait.
const WRITERS_LIMIT: usize = 8;
/// Kibibytes that requests of remote write may have in memory before they are stored.
const WRITE_BODIES_LIMIT_KIB: usize = 256 << 10;

/// The server as a whole, from before the store is open until after it is closed.
pub(crate) struct App {
    /// The command line.
    pub(crate) settings: Settings,
    /// Metrics about the server.
    pub(crate) registry: Registry,
    /// Those of this crate.
    pub(crate) metrics: ServerMetrics,
    /// When the process began, milliseconds since the epoch.
    pub(crate) started_ms: i64,
    /// Set once everything runs.
    core: OnceLock<Core>,
    /// Set once the store is being opened.
    opening: OnceLock<Db>,
    stopping: AtomicBool,
    /// One permit per request of remote write that may be stored at a time.
    pub(crate) writers: Arc<Semaphore>,
    /// One permit per kibibyte of such requests that may be in memory.
    pub(crate) write_bodies: Arc<Semaphore>,
    /// Asks the server to stop.
    pub(crate) quit: Notify,
}

/// The parts that answer requests. Cloning shares them.
#[derive(Clone)]
pub(crate) struct Core {
    /// The store.
    pub(crate) db: Db,
    /// Evaluates queries.
    pub(crate) engine: Engine,
    /// Runs them.
    pub(crate) pool: Pool,
    /// Fills the store.
    pub(crate) scraper: Scraper,
    /// Takes what others send, where that is switched on.
    pub(crate) remote_write: Option<RemoteWrite>,
    /// Evaluates rules.
    pub(crate) rules: RuleManager,
    /// Sends alerts.
    pub(crate) notifier: Notifier,
    /// The configuration in force.
    pub(crate) active: Arc<Active>,
}

/// The configuration in force, and how the last attempt to replace it went.
pub(crate) struct Active {
    config: RwLock<Arc<Config>>,
    /// When the configuration in force was loaded, milliseconds since the epoch.
    pub(crate) loaded_ms: AtomicI64,
    /// Whether the last attempt went well.
    pub(crate) last_reload_ok: AtomicBool,
    /// What the configuration is loaded with.
    pub(crate) builtin: Builtin,
    /// Collectors jobs may name.
    pub(crate) collectors: Collectors,
    /// One reload at a time.
    reloading: Mutex<()>,
}

impl Active {
    /// The first configuration.
    pub(crate) fn new(config: Config, builtin: Builtin, collectors: Collectors) -> Self {
        Self {
            config: RwLock::new(Arc::new(config)),
            loaded_ms: AtomicI64::new(SystemClock.now_ms()),
            last_reload_ok: AtomicBool::new(true),
            builtin,
            collectors,
            reloading: Mutex::new(()),
        }
    }

    /// The configuration in force.
    pub(crate) fn config(&self) -> Arc<Config> {
        self.config
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl App {
    /// A server that is not ready yet.
    pub(crate) fn new(settings: Settings, registry: Registry) -> Arc<Self> {
        let metrics = ServerMetrics::new(&registry);
        Arc::new(Self {
            settings,
            metrics,
            registry,
            started_ms: SystemClock.now_ms(),
            core: OnceLock::new(),
            opening: OnceLock::new(),
            stopping: AtomicBool::new(false),
            writers: Arc::new(Semaphore::new(WRITERS_LIMIT)),
            write_bodies: Arc::new(Semaphore::new(WRITE_BODIES_LIMIT_KIB)),
            quit: Notify::new(),
        })
    }

    /// The store is being opened: who asks is told how far that is.
    pub(crate) fn opening(&self, db: Db) {
        self.opening.set(db).ok();
    }

    /// How far opening the store is.
    pub(crate) fn opening_progress(&self) -> OpeningProgress {
        let opening = self.opening.get().map(Db::opening_progress);
        opening.unwrap_or_default()
    }

    /// Everything runs: requests are answered from now on.
    pub(crate) fn ready(&self, core: Core) {
        self.metrics.config_loaded(true, SystemClock.now_ms());
        assert!(
            self.core.set(core).is_ok(),
            "BUG: the server became ready twice"
        );
        self.metrics.ready.set(1.0);
    }

    /// Requests are refused from now on.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Relaxed);
        self.metrics.ready.set(0.0);
    }

    /// Whether the server is going down.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Relaxed)
    }

    /// The parts, once they run and until they stop.
    pub(crate) fn core(&self) -> Option<&Core> {
        self.core.get().filter(|_| !self.is_stopping())
    }

    /// The syntax that is allowed beyond what is stable.
    pub(crate) fn parse_options(&self) -> ParseOptions {
        self.settings.language()
    }

    /// Loads the configuration anew and puts it in force; keeps the old one where the new does not
    /// fit.
    ///
    /// # Errors
    /// Why the new one does not fit.
    pub(crate) async fn reload(&self) -> Result<(), ReloadError> {
        let core = self.core().ok_or(ReloadError::NotReady)?;
        let active = core.active.clone();
        let _one_at_a_time = active.reloading.lock().await;
        let (settings, from) = (self.settings.clone(), active.clone());
        let loaded = tokio::task::spawn_blocking(move || {
            Config::load(&settings, &from.builtin, &from.collectors)
        })
        .await
        .map_err(|_| ReloadError::Panicked)?;
        active.last_reload_ok.store(loaded.is_ok(), Relaxed);
        self.metrics
            .config_loaded(loaded.is_ok(), SystemClock.now_ms());
        let config = match loaded {
            Ok(config) => Arc::new(config),
            Err(error) => {
                tracing::error!(error = %error, "the new configuration does not load: the old one stays in force");
                return Err(error.into());
            }
        };
        log_notices(&config);
        core.apply(&config, &self.settings).await;
        active.loaded_ms.store(SystemClock.now_ms(), Relaxed);
        *active
            .config
            .write()
            .unwrap_or_else(PoisonError::into_inner) = config;
        tracing::info!("configuration loaded");
        Ok(())
    }
}

/// Why the configuration in force was not replaced.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReloadError {
    /// The new one does not fit.
    #[error("failed to reload config: {0}\nthe old configuration stays in force")]
    Config(#[from] ConfigError),
    /// The server is starting or stopping.
    #[error("the server is not ready: nothing was reloaded")]
    NotReady,
    /// A mistake of ours.
    #[error("BUG: loading the configuration panicked: the old one stays in force")]
    Panicked,
}

impl Core {
    /// Tells every part what the configuration wants of it. Alert destinations first, so that no
    /// alert of the new rules goes to an old one.
    pub(crate) async fn apply(&self, config: &Config, settings: &Settings) {
        self.apply_before_open(config, settings).await;
        self.apply_once_open(config, settings).await;
    }

    /// The part of [`Self::apply`] that needs no store: targets are scraped while it is opened.
    pub(crate) async fn apply_before_open(&self, config: &Config, settings: &Settings) {
        self.notifier
            .apply(
                config.alertmanagers.clone(),
                config.routing.clone(),
                config.alert_relabel.clone(),
                config.external_labels.clone(),
                settings.external_url.clone(),
            )
            .await;
        self.scraper.apply(config.jobs.clone()).await;
    }

    /// The other part.
    pub(crate) async fn apply_once_open(&self, config: &Config, settings: &Settings) {
        self.db.set_retention(settings.retention(config.retention));
        self.db
            .set_out_of_order_window(config.out_of_order_window_ms);
        self.db.set_exemplars_limit(config.exemplars_limit);
        let options = barograph_alerting::RuleManagerOptions {
            default_interval_ms: config.evaluation_interval_ms,
            default_query_offset_ms: config.rule_query_offset_ms,
            external_labels: config.external_labels.clone(),
            external_url: settings.external_url.clone(),
            outage_tolerance_ms: settings.outage_tolerance_ms,
            for_grace_period_ms: settings.for_grace_period_ms,
            resend_delay_ms: settings.resend_delay_ms,
            language: settings.language(),
        };
        self.rules.apply(config.rules.clone(), options).await;
    }
}

/// Says what the configuration asks for and does not get.
pub(crate) fn log_notices(config: &Config) {
    for notice in &config.notices {
        if notice.loud {
            tracing::error!("{}", notice.text);
        } else {
            tracing::warn!("{}", notice.text);
        }
    }
}

/// Handlers that need the parts take them; before they run, the answer is 503.
impl FromRequestParts<Arc<App>> for Core {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Response> {
        if let Some(core) = app.core() {
            return Ok(core.clone());
        }
        let original = parts.extensions.get::<OriginalUri>();
        let path = original.map_or(parts.uri.path(), |uri| uri.path());
        if path.contains("/api/") {
            let error = ApiError::new(ErrorKind::Unavailable, why_not_ready(app));
            return Err((stopping_header(app), error).into_response());
        }
        Err(not_ready(app))
    }
}

/// The answer while starting and stopping. Says what it waits for.
pub(crate) fn not_ready(app: &App) -> Response {
    let text = format!("Service Unavailable: {}\n", why_not_ready(app));
    let status = StatusCode::SERVICE_UNAVAILABLE;
    (status, stopping_header(app), text).into_response()
}

fn stopping_header(app: &App) -> [(&'static str, &'static str); 1] {
    let stopping = if app.is_stopping() { "true" } else { "false" };
    [("X-Prometheus-Stopping", stopping)]
}

fn why_not_ready(app: &App) -> String {
    if app.is_stopping() {
        return "the server is stopping".into();
    }
    let progress = app.opening_progress();
    if progress.step == OpeningStep::Done {
        return "the server is starting: the rules are loaded".into();
    }
    format!("the server is starting: {progress}")
}
