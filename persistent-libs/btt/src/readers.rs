//! Which blocks are being read: a free block is not written to before its last reader has gone.
//!
//! A reader claims a slot with the map entry it follows, then looks at the map again. A writer changes the map, then
//! looks at the slots. One of them sees the other: the claim, the reader's look, the writer's fence and its look at the
//! slots are in the one sequential order.

use core::sync::atomic::{AtomicU32, Ordering, fence};
use pmem_core::sync::{Backoff, CachePadded};
use pool_format::btt::MapEntry;

/// No entry that is ever read: its state says "error".
const IDLE: u32 = 0x4000_0000;

/// The slots of an arena.
#[derive(Debug)]
pub(crate) struct Readers {
    slots: Box<[CachePadded<AtomicU32>]>,
}

/// A claimed slot.
pub(crate) struct Claim<'r> {
    slot: &'r AtomicU32,
}

impl Readers {
    pub(crate) fn new(count: usize) -> Readers {
        Readers { slots: (0..count).map(|_| CachePadded::new(AtomicU32::new(IDLE))).collect() }
    }

    /// Claims a slot for `entry`; `thread` says where to look first.
    pub(crate) fn claim(&self, thread: usize, entry: MapEntry) -> Claim<'_> {
        let mut backoff = Backoff::new();
        loop {
            for step in 0..self.slots.len() {
                let slot = &self.slots[(thread + step) % self.slots.len()];
                let free = slot.load(Ordering::Relaxed) == IDLE;
                if free
                    && slot
                        .compare_exchange(IDLE, entry.0, Ordering::SeqCst, Ordering::Relaxed)
                        .is_ok()
                {
                    return Claim { slot };
                }
            }
            backoff.snooze();
        }
    }

    /// Waits until nobody reads `block`. The caller has taken it out of the map before.
    pub(crate) fn wait_for(&self, block: u32) {
        fence(Ordering::SeqCst);
        let entry = MapEntry::normal(block).0;
        for slot in &self.slots {
            let mut backoff = Backoff::new();
            while slot.load(Ordering::SeqCst) == entry {
                backoff.snooze();
            }
        }
    }
}

impl Claim<'_> {
    /// Follows another entry.
    pub(crate) fn change(&self, entry: MapEntry) {
        self.slot.swap(entry.0, Ordering::SeqCst);
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.slot.store(IDLE, Ordering::Release);
    }
}
