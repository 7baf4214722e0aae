//! The `barograph` binary.

mod api;
mod app;
mod check;
mod cli;
mod config;
mod metrics;
mod server;

use std::process::ExitCode;

use cli::Invocation;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match cli::parse(std::env::args()) {
        Ok(Invocation::Serve(settings)) => server::run(*settings),
        Ok(Invocation::CheckConfig(file)) => check::config(&file),
        Ok(Invocation::CheckRules(files)) => check::rules(&files),
        Err(stop) if stop.asked_for => {
            println!("{}", stop.text);
            ExitCode::SUCCESS
        }
        Err(stop) => {
            eprintln!("{}", stop.text);
            ExitCode::from(2)
        }
    }
}
