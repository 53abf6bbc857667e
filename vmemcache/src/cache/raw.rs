//! What the C library needs beside the safe methods.

use super::{Cache, Copied, Place};
use crate::protect;
use crate::read::{Value, copy_pieces};
use crate::shard::{OnLeaving, SHORT};
use std::sync::atomic::Ordering::Release;

/// More is fetched by the copying itself, in time.
const MOST_FETCHED: usize = 1024;

impl Cache {
    /// As [`remove`](Self::remove), but an entry of which a listener is being told stays until it has been told.
    pub fn remove_unless_leaving(&self, key: &[u8]) -> bool {
        self.remove_with(0, key, OnLeaving::Leave)
    }

    /// As [`read`](Self::read), to memory that need not have a value yet.
    ///
    /// # Safety
    /// At `buffer` is room for `room` bytes, or for as much of the value as there is.
    #[inline]
    pub unsafe fn read_raw(
        &self,
        key: &[u8],
        buffer: *mut u8,
        room: usize,
        offset: usize,
    ) -> Option<Copied> {
        // SAFETY: forwarded.
        unsafe { self.read_raw_in(0, key, buffer, room, offset) }
    }

    /// # Safety
    /// As [`read_raw`](Self::read_raw).
    #[inline]
    pub(super) unsafe fn read_raw_in(
        &self,
        space: usize,
        key: &[u8],
        buffer: *mut u8,
        room: usize,
        offset: usize,
    ) -> Option<Copied> {
        if self.watched {
            // SAFETY: forwarded.
            return unsafe { self.watched_read(space, key, buffer, room, offset) };
        }
        // SAFETY: forwarded.
        unsafe { self.read_now(space, key, buffer, room, offset) }
    }

    /// # Safety
    /// As [`read_raw`](Self::read_raw).
    #[inline(always)]
    pub(super) unsafe fn read_now(
        &self,
        space: usize,
        key: &[u8],
        buffer: *mut u8,
        room: usize,
        offset: usize,
    ) -> Option<Copied> {
        let Some(block) = protect::block() else {
            let pinned = self.get_listed(space, key);
            // SAFETY: made for this key, so in this shard.
            let value = unsafe { Value::of(self.locate(space, key).shard, pinned) }?;
            // SAFETY: pinned by the guard; the room is the caller's word.
            let copied = unsafe { value.copy_raw(buffer, room, offset) };
            return Some(Copied { copied, size: value.len() });
        };
        let Place { shard, key: key32, .. } = self.locate(space, key);
        let cell = block.scratch();
        let wanted = if offset == 0 { room.min(shard.usual_len()).min(MOST_FETCHED) } else { 0 };
        if let Some(found) = shard.find(space, key32, key, cell, wanted + SHORT) {
            if !self.is_shown(shard, space, found) {
                cell.store(0, Release);
                self.expire(shard, space, key, found);
            } else {
                // SAFETY: protected by the cell.
                let pieces = unsafe { shard.units.pieces(found.loc, found.header) };
                if wanted == 0 {
                    // It comes while the policy is told, which may have to wait for a lock.
                    pieces.fetch(offset, room.min(MOST_FETCHED));
                }
                shard.hit(space, found);
                // SAFETY: as above; the room is the caller's word.
                let copied = unsafe { copy_pieces(pieces, buffer, room, offset) };
                cell.store(0, Release);
                self.counters(space).hit(Some(block));
                return Some(Copied { copied, size: found.header.value_len() as usize });
            }
        }
        self.missed(space, key);
        None
    }

    /// The size of the pool in bytes.
    #[inline]
    pub fn pool_bytes(&self) -> usize {
        self.pool.size()
    }

    /// Makes the system provide all pages of the pool now, and not as they are first touched.
    pub fn prefault(&self) {
        self.pool.populate();
    }

    /// Closes the file of a cache whose space was all taken when it was made. It lives on as a mapping.
    pub fn close_file(&self) {
        self.pool.ground.source.close_descriptors();
    }
}
