//! What caches that are measured do besides. Gets are apart, so that others pay for one look only.

use super::{Cache, Copied};
use crate::read::Value;
use crate::stats::{Timed, Timer, entry_bytes};

impl Cache {
    #[cold]
    pub(super) fn watched_get(&self, key: &[u8]) -> Option<Value<'_>> {
        let _timer = Timer::start(self.stopwatch.as_deref(), Timed::Get);
        let value = self.get_now(key);
        self.watch_get(key, value.as_ref().map(Value::len));
        value
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
        let copied = unsafe { self.read_now(key, buffer, room, offset) };
        self.watch_get(key, copied.map(|copied| copied.size));
        copied
    }

    fn watch_get(&self, key: &[u8], value_len: Option<usize>) {
        if let Some(curve) = &self.curve {
            curve.got(self.hash.of(key), value_len.map(|len| entry_bytes(key.len(), len)));
        }
    }

    pub(super) fn watch_put(&self, key: &[u8], value: &[u8]) {
        if let Some(curve) = &self.curve {
            curve.put(self.hash.of(key), entry_bytes(key.len(), value.len()));
        }
    }

    pub(super) fn watch_removal(&self, key: &[u8]) {
        if let Some(curve) = &self.curve {
            curve.removed(self.hash.of(key));
        }
    }
}
