//! `--config.auto-reload`: reloads when a file of the configuration changes.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::path::PathBuf;
use std::sync::Arc;

use crate::app::App;
use crate::config::source;

/// Begins to look for changes, where the settings want it.
pub(crate) fn spawn(app: &Arc<App>) {
    let Some(interval) = app.settings.auto_reload else {
        return;
    };
    let app = app.clone();
    tokio::spawn(async move {
        let mut known = state(&app).await;
        loop {
            tokio::time::sleep(interval).await;
            if app.is_stopping() {
                return;
            }
            let now = state(&app).await;
            if now != known {
                tracing::info!("the configuration changed on disk: reloading");
                // The error is logged. A file that does not fit is not tried again until it changes.
                let _ = app.reload().await;
                known = state(&app).await;
            }
        }
    });
}

/// A digest of everything the configuration is read from.
async fn state(app: &Arc<App>) -> u64 {
    let mut files: Vec<PathBuf> = source(&app.settings).into_iter().collect();
    if let Some(core) = app.core() {
        files.extend(core.active.config().files.iter().cloned());
    }
    let digest = tokio::task::spawn_blocking(move || {
        let mut digest = DefaultHasher::new();
        for file in files {
            file.hash(&mut digest);
            std::fs::read(&file).ok().hash(&mut digest);
        }
        digest.finish()
    });
    digest.await.unwrap_or_default()
}
