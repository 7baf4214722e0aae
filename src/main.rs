//! The `barograph` binary.
#![allow(dead_code)]
mod cli;
mod config;

fn main() {}
