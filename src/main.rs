//! The `barograph` binary.

#[macro_use]
mod output;

mod api;
mod app;
mod chart;
mod cli;
mod config;
mod memory;
mod metrics;
mod server;
mod tools;

use std::process::ExitCode;

use cli::Invocation;

fn main() -> ExitCode {
    memory::keep_small();
    match cli::parse(std::env::args()) {
        Ok(Invocation::Serve(settings)) => server::run(*settings),
        Ok(Invocation::Check(check)) => tools::check(&check),
        Ok(Invocation::Promql(promql)) => tools::promql(&promql),
        Ok(Invocation::Query(query)) => tools::query(&query),
        Ok(Invocation::Storage(command)) => tools::storage(&command),
        Ok(Invocation::TestRules(test)) => tools::test_rules(&test),
        Ok(Invocation::TestPromql(test)) => tools::test_promql(&test),
        Err(stop) if stop.asked_for => {
            say_line!("{}", stop.text);
            ExitCode::SUCCESS
        }
        Err(stop) => {
            complain!("{}", stop.text);
            ExitCode::from(2)
        }
    }
}
