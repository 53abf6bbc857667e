//! What caches that are measured do besides. Gets are apart, so that others pay for one look only.

use super::{Cache, Copied};
use crate::read::{Pinned, Value};
use crate::stats::{Timed, Timer, entry_bytes};
use std::ops::Range;

impl Cache {
    #[cold]
    pub(super) fn watched_get(&self, space: usize, key: &[u8]) -> Pinned {
        let _timer = Timer::start(self.stopwatch.as_deref(), Timed::Get);
        let pinned = self.get_listed(space, key);
        let shard = self.locate(space, key).shard;
        // SAFETY: made for this key, so in this shard.
        let value = unsafe { Value::of(shard, pinned) };
        self.watch_get(space, key, value.as_ref().map(Value::len));
        value.map_or(Pinned::NOTHING, Value::into_pinned)
    }

    /// # Safety
    /// As [`read_raw`](Self::read_raw).
    #[cold]
    pub(super) unsafe fn watched_read(
        &self,
        space: usize,
        key: &[u8],
        buffer: *mut u8,
        room: usize,
        offset: usize,
    ) -> Option<Copied> {
        let _timer = Timer::start(self.stopwatch.as_deref(), Timed::Get);
        // SAFETY: contract.
        let copied = unsafe { self.read_now(space, key, buffer, room, offset) };
        self.watch_get(space, key, copied.map(|copied| copied.size));
        copied
    }

    fn watch_get(&self, space: usize, key: &[u8], value_len: Option<usize>) {
        if let Some(curve) = &self.curve {
            let bytes = value_len.map(|len| entry_bytes(key.len(), len));
            curve.got(space, self.hash.of(key), bytes);
        }
    }

    pub(super) fn watch_put(&self, space: usize, key: &[u8], value: &[u8]) {
        if let Some(curve) = &self.curve {
            curve.put(space, self.hash.of(key), entry_bytes(key.len(), value.len()));
        }
    }

    pub(super) fn watch_removal(&self, space: usize, key: &[u8]) {
        if let Some(curve) = &self.curve {
            curve.removed(space, self.hash.of(key));
        }
    }

    pub(super) fn watch_clearing(&self, spaces: Range<usize>) {
        if let Some(curve) = &self.curve {
            curve.cleared(|space| spaces.contains(&space));
        }
    }
}
