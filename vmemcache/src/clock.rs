//! The time that expiry goes by.

use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970. Not the monotonic clock, because entries may outlive the process.
pub(crate) fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| now.as_millis() as u64)
}
