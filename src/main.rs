//! The `barograph` binary.

fn main() {}
