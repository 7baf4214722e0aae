//! This process: `process_*`, under client_golang's names.

use barograph_instrument::Registry;

/// Registers the `process_*` metrics of this process.
pub fn register_process_metrics(registry: &Registry) {
    let _ = registry;
}
