//! Waiting for another thread without a system call, for a bounded time.

use core::hint::spin_loop;

/// Spins a little longer at each step, then says that it is time to sleep.
#[derive(Debug, Default)]
pub struct Backoff {
    step: u32,
}

impl Backoff {
    /// About 120 pauses in total: less than the cost of going to sleep and being woken.
    const LAST_STEP: u32 = 6;

    /// Starts with the shortest wait.
    #[must_use]
    pub const fn new() -> Backoff {
        Backoff { step: 0 }
    }

    /// Waits. `false` when spinning has gone on long enough and the caller should sleep or yield.
    #[inline]
    pub fn spin(&mut self) -> bool {
        // One look is enough for a model checker, which explores all of them.
        if self.step > Self::LAST_STEP || cfg!(pmem_loom) {
            return false;
        }
        for _ in 0..1u32 << self.step {
            spin_loop();
        }
        self.step += 1;
        true
    }

    /// Waits by spinning at first, then by giving the time slice away.
    pub fn snooze(&mut self) {
        if !self.spin() {
            crate::sys::yield_now();
        }
    }
}
