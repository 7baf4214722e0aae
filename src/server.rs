//! Starting, serving, stopping.

mod listen;
mod logging;
mod target;
mod watch;

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use barograph_alerting::{Notifier, NotifierOptions, RuleManager};
use barograph_exporters::{Host, HostOptions, register_process_metrics};
use barograph_instrument::{Format, Registry};
use barograph_model::{Clock, SystemClock};
use barograph_query::{Engine, EngineOptions, Pool};
use barograph_scraper::{
    RemoteWrite, RemoteWriteOptions, Scraper, ScraperOptions, StartTimestamps,
};
use barograph_tsdb::{Db, OpenError, Options};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch as channel;

use crate::app::{Active, App, Core, log_notices};
use crate::cli::Settings;
use crate::config::{Builtin, Collectors, Config, ConfigError};
use listen::BindError;
pub(crate) use listen::Listeners;

/// Longest wait for requests under way when stopping.
const DRAIN_LIMIT: Duration = Duration::from_secs(10);
/// Of the memory this process may have, queries get one part in so many where nothing else is said.
const QUERIES_SHARE: u64 = 2;
/// Longest wait for queued notifications when stopping.
const NOTIFIER_LIMIT: Duration = Duration::from_secs(5);

/// Why the server does not start. Each has an exit code of its own.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// Something the system refused that nothing else names.
    #[error("cannot {action}: {source}")]
    System {
        action: &'static str,
        source: std::io::Error,
    },
    #[error("{0}")]
    Config(#[from] ConfigError),
    #[error("{0}")]
    Bind(#[from] BindError),
    /// The store says what and where; where the disk is to blame, this says what to do.
    #[error("{0}{advice}", advice = store_advice(.0))]
    Store(#[from] OpenError),
}

impl StartError {
    /// 2 is the command line's (`main`).
    fn exit_code(&self) -> u8 {
        match self {
            Self::System { .. } => 1,
            Self::Config(error) if error.in_rules => 4,
            Self::Config(_) => 3,
            Self::Bind(_) => 5,
            Self::Store(_) => 6,
        }
    }
}

fn store_advice(error: &OpenError) -> &'static str {
    match error {
        OpenError::Io { .. } => {
            "; let the user this server runs as write there, or choose another directory with --storage.tsdb.path"
        }
        _ => "",
    }
}

/// Runs the server until it is told to stop.
pub(crate) fn run(settings: Settings) -> ExitCode {
    logging::install(settings.log_level, settings.log_json);
    for notice in &settings.notices {
        tracing::warn!("{notice}");
    }
    // The first provider wins; another part may have put the same one in already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(source) => {
            return fail(&StartError::System {
                action: "start threads",
                source,
            });
        }
    };
    let ended = runtime.block_on(serve(settings));
    // A store that is still being opened is left alone: its files are safe at any moment.
    runtime.shutdown_background();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

/// This host's name.
pub(crate) fn hostname() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map(|name| name.trim().to_owned())
        .or_else(|_| std::env::var("HOSTNAME"))
        .unwrap_or_else(|_| "localhost".into())
}

fn fail(error: &StartError) -> ExitCode {
    complain!("barograph: {error}");
    ExitCode::from(error.exit_code())
}

async fn serve(settings: Settings) -> Result<(), StartError> {
    let mut signals = Signals::new()?;
    let registry = Registry::new();
    register_process_metrics(&registry);
    let collectors = collectors(&settings, &registry);

    // What can be wrong is found before anything is touched: the configuration, then the address,
    // then the data directory.
    let port = settings
        .listen_addresses
        .first()
        .and_then(|address| address.rsplit(':').next()?.parse().ok());
    let builtin = Builtin {
        hostname: hostname(),
        port: port.unwrap_or(9090),
    };
    let config = Config::load(&settings, &builtin, &collectors)?;
    let listeners = Listeners::bind(&settings).await?;
    let builtin = Builtin {
        port: listeners.first_port(),
        ..builtin
    };
    // Port 0 became a real one: what names it is made anew.
    let config = if port == Some(builtin.port) {
        config
    } else {
        Config::load(&settings, &builtin, &collectors)?
    };
    log_notices(&config);

    let url = url(&settings, listeners.first_address());
    let settings = with_external_url(settings, listeners.first_port());
    let app = App::new(settings, registry);
    let (stop, stopped) = channel::channel(false);
    let serving = listeners.serve(&app, &stopped);
    let core = tokio::select! {
        started = start(&app, config, builtin, collectors) => started?,
        () = signals.stop() => return Ok(()),
    };
    // The one line a person is waiting for; nobody need be there.
    writeln!(std::io::stdout(), "Barograph is ready: {url}").ok();
    tracing::info!(url = %url, "ready");
    watch::spawn(&app);
    signals.wait(&app).await;

    tracing::info!("stopping");
    app.stop();
    let _ = stop.send(true);
    if tokio::time::timeout(DRAIN_LIMIT, serving).await.is_err() {
        tracing::warn!(
            "requests are still under way after {} s: they are cut off",
            DRAIN_LIMIT.as_secs()
        );
    }
    shut_down(&app.settings, core).await;
    Ok(())
}

/// Links in notifications need a URL: where none is given, this host's name and port are one.
fn with_external_url(mut settings: Settings, port: u16) -> Settings {
    if settings.external_url.is_empty() {
        let prefix = settings.route_prefix.trim_end_matches('/');
        settings.external_url = format!("http://{}:{port}{prefix}", hostname());
    }
    settings
}

/// The URL for a person on this machine.
fn url(settings: &Settings, address: SocketAddr) -> String {
    if !settings.external_url.is_empty() {
        return settings.external_url.clone();
    }
    let prefix = settings.route_prefix.trim_end_matches('/');
    if address.ip().is_unspecified() || address.ip().is_loopback() {
        return format!("http://localhost:{}{prefix}", address.port());
    }
    format!("http://{address}{prefix}")
}

fn collectors(settings: &Settings, registry: &Registry) -> Collectors {
    let host = Host::new(HostOptions::default());
    let registry = registry.clone();
    Collectors {
        host: Arc::new(move |page: &mut String| host.collect(page)),
        own: Arc::new(move |page: &mut String| registry.encode(Format::Text004, page)),
        start_timestamps: StartTimestamps {
            zeros: settings.has_feature("created-timestamp-zero-ingestion"),
            stored: settings.has_feature("st-storage"),
        },
    }
}

/// Opens the store, starts every part, lets requests in.
pub(crate) async fn start(
    app: &Arc<App>,
    config: Config,
    builtin: Builtin,
    collectors: Collectors,
) -> Result<Core, StartError> {
    let (settings, registry) = (&app.settings, &app.registry);
    let mut options = Options::new(&settings.data_path);
    options.wal_sync = settings.wal_sync;
    options.block_access = settings.block_access;
    options.compaction_bytes_per_second = settings.compaction_rate;
    let retention = settings.retention(config.retention);
    options.retention_ms = retention.time_ms;
    options.retention_bytes = retention.size_bytes;
    options.retention_percent = retention.disk_percent;
    options.out_of_order_window_ms = config.out_of_order_window_ms;
    options.exemplars_limit = config.exemplars_limit;
    let (db, opening) = Db::prepare(options, registry);
    app.opening(db.clone());
    let opening = tokio::task::spawn_blocking(move || opening.run());
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let engine = Engine::new(
        EngineOptions {
            lookback_ms: settings.lookback_ms,
            timeout: settings.query_timeout,
            max_samples: settings.query_max_samples,
            max_memory_bytes: settings.query_max_memory_bytes,
            max_total_memory_bytes: settings
                .query_max_total_memory_bytes
                .unwrap_or_else(|| crate::memory::machine_bytes() / QUERIES_SHARE),
            default_step_ms: config.evaluation_interval_ms,
            delayed_name_removal: settings.has_feature("promql-delayed-name-removal"),
            use_start_timestamps: settings.has_feature("use-start-timestamps"),
            ..EngineOptions::default()
        },
        registry,
    );
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let pool = Pool::new(threads, settings.query_max_concurrency);
    pool.register(registry);
    let notifier = Notifier::new(
        NotifierOptions {
            queue_capacity: settings.notification_queue_capacity,
            batch_size: settings.notification_batch_size,
        },
        registry,
        clock.clone(),
    );
    let rules = RuleManager::new(
        db.clone(),
        engine.clone(),
        pool.clone(),
        registry,
        clock.clone(),
        notifier.clone(),
    );
    let remote_write = settings.remote_write_receiver.then(|| {
        let options = RemoteWriteOptions {
            start_timestamps: settings.has_feature("st-storage"),
        };
        RemoteWrite::new(db.clone(), registry, clock.clone(), options)
    });
    let seed = seed(&config);
    let scraper = Scraper::new(
        db.clone(),
        registry,
        clock,
        ScraperOptions { offset_seed: seed },
    );
    let core = Core {
        db,
        engine,
        pool,
        scraper,
        remote_write,
        rules,
        notifier,
        active: Arc::new(Active::new(config, builtin, collectors)),
    };
    // Targets are scraped from now on; what they say waits for the store, which is a moment where it
    // has much to restore.
    let config = core.active.config();
    core.apply_before_open(&config, settings).await;
    opening.await.map_err(|panic| StartError::System {
        action: "open the store",
        source: std::io::Error::other(format!("BUG: {panic}")),
    })??;
    core.apply_once_open(&config, settings).await;
    app.ready(core.clone());
    Ok(core)
}

/// Two servers with the same targets scrape them at different moments where their names or
/// external labels differ.
fn seed(config: &Config) -> u64 {
    let mut labels = config.external_labels.to_builder();
    labels.set("__host__", &hostname());
    labels.build().stable_hash()
}

async fn shut_down(settings: &Settings, core: Core) {
    core.rules.stop().await;
    core.scraper.stop().await;
    if settings.drain_notifications
        && tokio::time::timeout(NOTIFIER_LIMIT, core.notifier.stop())
            .await
            .is_err()
    {
        tracing::warn!(
            "notifications are still queued after {} s: they are dropped",
            NOTIFIER_LIMIT.as_secs()
        );
    }
    let db = core.db.clone();
    match tokio::task::spawn_blocking(move || db.close()).await {
        Ok(Ok(())) => tracing::info!("stopped"),
        Ok(Err(error)) => {
            tracing::error!(error = %error, "the store did not close cleanly: what was acknowledged is in its log");
        }
        Err(panic) => tracing::error!("BUG: closing the store panicked: {panic}"),
    }
}

/// The signals the server listens to, from before it starts so that none is missed.
struct Signals {
    hangup: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> Result<Self, StartError> {
        let listen = |kind| {
            signal(kind).map_err(|source| StartError::System {
                action: "listen to signals",
                source,
            })
        };
        Ok(Self {
            hangup: listen(SignalKind::hangup())?,
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    /// Returns when a signal says to stop.
    async fn stop(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    /// Reloads on SIGHUP; returns when it is time to stop.
    async fn wait(&mut self, app: &App) {
        loop {
            tokio::select! {
                _ = self.hangup.recv() => {
                    // The error is logged; the old configuration stays.
                    let _ = app.reload().await;
                }
                _ = self.interrupt.recv() => return,
                _ = self.terminate.recv() => return,
                () = app.quit.notified() => return,
            }
        }
    }
}
