//! When empty pages of slabs go back to the source: the bins of a pool are gone through in rounds, with the
//! decay time between them. A page that two rounds find empty, with nothing taken from its slab
//! in between, goes. See `slab` for the terms.

use super::PoolInner;
use crate::bin::Punch;
use crate::config::{PAGE_SHIFT, PUNCH_CALLS, PUNCH_SLABS};
use crate::size_class::ClassId;
use core::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};

/// Where the rounds of a pool are.
pub(crate) struct Punching {
    /// When a slow path goes on, in ms of the arena clock.
    next_ms: AtomicU64,
    /// The class with which it goes on.
    class: AtomicU8,
}

/// What `next_ms` is while a thread is at it.
const BUSY: u64 = u64::MAX;

impl Punching {
    pub(super) const fn new() -> Punching {
        Punching { next_ms: AtomicU64::new(0), class: AtomicU8::new(1) }
    }

    /// In a fork's child: the thread that was at it may be gone.
    pub(crate) fn start_again(&self) {
        self.class.store(1, Relaxed);
        self.next_ms.store(0, Relaxed);
    }
}

impl PoolInner {
    /// Goes on with the round, if it is time to, as far as one call may take.
    pub(super) fn punch_if_due(&self, now: u64) {
        let round = &self.punching;
        let due = round.next_ms.load(Relaxed);
        if now < due {
            return;
        }
        let Some(decay) = self.arena.punch_after_ms() else { return };
        if round.next_ms.compare_exchange(due, BUSY, Relaxed, Relaxed).is_err() {
            return;
        }
        let first = round.class.load(Relaxed);
        let (mut slabs, mut calls) = (0, 0);
        for class in ClassId::all().skip(usize::from(first) - 1) {
            if slabs >= PUNCH_SLABS || calls >= PUNCH_CALLS {
                round.class.store(class.0, Relaxed);
                // Time for others.
                round.next_ms.store(now + u64::from((decay / 64).max(1)), Relaxed);
                return;
            }
            // SAFETY: the bin of this class and pool.
            let done =
                unsafe { self.bin(class).punch(&self.arena, class, Punch::Idle { ms: decay }) };
            slabs += done.slabs;
            calls += done.calls;
            if done.calls > 0 && done.pages == 0 {
                break; // locked in memory, say: asking for more will not help
            }
        }
        round.class.store(1, Relaxed);
        round.next_ms.store(now + u64::from(decay), Relaxed);
    }

    /// Gives back all empty pages of slabs. Returns bytes.
    pub(super) fn punch_all(&self) -> usize {
        // SAFETY: the bins of their classes and of this pool.
        let pages = ClassId::all()
            .map(|class| unsafe { self.bin(class).punch(&self.arena, class, Punch::All).pages })
            .sum::<usize>();
        pages << PAGE_SHIFT
    }
}
