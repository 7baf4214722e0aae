//! A small web service with the metrics most services begin with: a counter of requests, a
//! histogram of their duration, and a gauge of those under way.

mod metrics;
mod service;

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    match serve().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("axum-app: {message}");
            ExitCode::FAILURE
        }
    }
}

async fn serve() -> Result<(), String> {
    let host = std::env::var("HOST").unwrap_or_else(|_| "127.0.0.1".to_owned());
    let port = std::env::var("PORT").unwrap_or_else(|_| "3001".to_owned());
    let port: u16 = port
        .parse()
        .map_err(|_| format!("PORT={port} is no port number"))?;
    let error_ratio = service::ratio(std::env::var("ERROR_RATIO").ok().as_deref(), 0.02)
        .map_err(|text| format!("ERROR_RATIO={text} is no number from 0 to 1"))?;

    let listener = tokio::net::TcpListener::bind((host.as_str(), port))
        .await
        .map_err(|error| format!("cannot listen on {host}:{port}: {error}"))?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    println!("http://{address}");
    axum::serve(listener, service::router(error_ratio))
        .with_graceful_shutdown(stop_requested())
        .await
        .map_err(|error| error.to_string())
}

/// Resolves when the process is asked to stop.
async fn stop_requested() {
    let interrupted = tokio::signal::ctrl_c();
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminated) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = interrupted => {}
                _ = terminated.recv() => {}
            }
            return;
        }
    }
    let _ = interrupted.await;
}
