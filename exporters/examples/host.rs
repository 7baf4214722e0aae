//! Prints what the host collector sees; with a number, collects that often and prints the cost.

use std::time::Instant;

use barograph_exporters::{Host, HostOptions};

fn main() {
    let host = Host::new(HostOptions::default());
    let mut page = String::new();
    let Some(rounds) = std::env::args()
        .nth(1)
        .and_then(|argument| argument.parse::<u32>().ok())
    else {
        host.collect(&mut page);
        print!("{page}");
        return;
    };
    let (mut total, mut best) = (std::time::Duration::ZERO, std::time::Duration::MAX);
    for _ in 0..rounds {
        page.clear();
        let start = Instant::now();
        host.collect(&mut page);
        total += start.elapsed();
        best = best.min(start.elapsed());
    }
    let samples = page.lines().filter(|line| !line.starts_with('#')).count();
    println!(
        "{samples} samples, {} bytes, mean {:?}, best {best:?}",
        page.len(),
        total / rounds
    );
}
