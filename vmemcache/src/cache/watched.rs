//! Gets in caches that are measured. Apart, so that others pay for one look only.

use super::{Cache, Copied};
use crate::read::Value;
use crate::stats::{Timed, Timer};

impl Cache {
    #[cold]
    pub(super) fn watched_get(&self, key: &[u8]) -> Option<Value<'_>> {
        let _timer = Timer::start(self.stopwatch.as_deref(), Timed::Get);
        self.get_now(key)
    }

    /// # Safety
    /// As [`read_raw`](Self::read_raw).
    #[cold]
    pub(super) unsafe fn watched_read(
        &self,
        key: &[u8],
        buffer: *mut u8,
        room: usize,
        offset: usize,
    ) -> Option<Copied> {
        let _timer = Timer::start(self.stopwatch.as_deref(), Timed::Get);
        // SAFETY: contract.
        unsafe { self.read_now(key, buffer, room, offset) }
    }
}
