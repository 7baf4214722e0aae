//! Waiting, with an end.

use std::thread;
use std::time::{Duration, Instant};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(50);

/// Looks until there is something to see; panics with `what` and the last thing seen in its place
/// when `limit` has passed.
pub(crate) fn wait_for<T>(
    what: &str,
    limit: Duration,
    mut look: impl FnMut() -> Result<T, String>,
) -> T {
    let start = Instant::now();
    loop {
        match look() {
            Ok(found) => return found,
            Err(seen) if start.elapsed() > limit => {
                panic!("no {what} within {limit:?}; last seen: {seen}")
            }
            Err(_) => thread::sleep(PAUSE),
        }
    }
}

/// Like [`wait_for`], for what is either so or not.
pub(crate) fn wait_until(what: &str, limit: Duration, mut holds: impl FnMut() -> bool) {
    wait_for(what, limit, || {
        if holds() {
            Ok(())
        } else {
            Err("it does not hold".to_owned())
        }
    });
}
