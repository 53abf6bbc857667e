//! Running something once, from whichever thread comes first, without allocation and without
//! deadlock on re-entry.

use super::futex::{Futex, Ordering::*};
use super::{Backoff, ThreadId};

const NEW: u32 = 0;
const RUNNING: u32 = 1;
/// Somebody may sleep until the run is over.
const AWAITED: u32 = 2;
const DONE: u32 = 3;

/// How a call of [`Once::call`] went.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
#[must_use = "after a re-entry the work is not done yet"]
pub enum Ran {
    /// This call ran the function.
    Now,
    /// The function had run before, or another thread ran it while this one waited.
    Before,
    /// The function is running in this very thread and has called back; waiting would never end.
    Reentered,
}

/// Runs a function once.
///
/// # Examples
/// ```
/// use pmem_core::sync::{Once, Ran};
/// static START: Once = Once::new();
/// assert_eq!(START.call(|| assert_eq!(START.call(|| ()), Ran::Reentered)), Ran::Now);
/// assert_eq!(START.call(|| unreachable!()), Ran::Before);
/// ```
pub struct Once {
    futex: Futex,
    runner: core::sync::atomic::AtomicUsize,
}

impl Once {
    /// A function that has not run.
    #[cfg(not(pmem_loom))]
    #[must_use]
    pub const fn new() -> Once {
        Once { futex: Futex::new(NEW), runner: core::sync::atomic::AtomicUsize::new(0) }
    }

    /// A function that has not run.
    #[cfg(pmem_loom)]
    #[must_use]
    pub fn new() -> Once {
        Once { futex: Futex::new(NEW), runner: core::sync::atomic::AtomicUsize::new(0) }
    }

    /// Says whether the function has run to its end; what it wrote is then visible.
    ///
    /// # Cost
    /// One load.
    #[inline]
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.futex.word().load(Acquire) == DONE
    }

    /// Runs `function`, unless it has run; waits while another thread runs it.
    ///
    /// When the function panics, the next call runs it again.
    #[inline]
    pub fn call(&self, function: impl FnOnce()) -> Ran {
        if self.is_done() {
            return Ran::Before;
        }
        match self.begin() {
            Ran::Now => {
                let run = Run { once: self, end: NEW };
                function();
                run.complete();
                Ran::Now
            }
            other => other,
        }
    }

    #[cold]
    fn begin(&self) -> Ran {
        let word = self.futex.word();
        let mut backoff = Backoff::new();
        loop {
            match word.load(Acquire) {
                DONE => return Ran::Before,
                NEW => {
                    if word.compare_exchange(NEW, RUNNING, Acquire, Relaxed).is_ok() {
                        self.runner.store(ThreadId::current().number(), Relaxed);
                        return Ran::Now;
                    }
                }
                // Relaxed: the only question is whether it is this thread, which sees its own
                // store.
                _ if self.runner.load(Relaxed) == ThreadId::current().number() => {
                    return Ran::Reentered;
                }
                RUNNING => {
                    if !backoff.spin()
                        && word.compare_exchange(RUNNING, AWAITED, Relaxed, Relaxed).is_ok()
                    {
                        self.futex.wait(AWAITED);
                    }
                }
                awaited => self.futex.wait(awaited),
            }
        }
    }

    /// Makes a run that another thread had begun before the fork count as not begun, in the child.
    ///
    /// # Safety
    /// No other thread exists, and what the interrupted run left behind can be built again.
    pub unsafe fn reset_after_fork(&self) {
        if !self.is_done() {
            self.runner.store(0, Relaxed);
            self.futex.word().store(NEW, Release);
        }
    }
}

impl Default for Once {
    fn default() -> Self {
        Self::new()
    }
}

/// Ends a run, also one that panics.
struct Run<'a> {
    once: &'a Once,
    end: u32,
}

impl Run<'_> {
    fn complete(mut self) {
        self.end = DONE;
    }
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        self.once.runner.store(0, Relaxed);
        if self.once.futex.word().swap(self.end, Release) == AWAITED {
            self.once.futex.wake_all();
        }
    }
}
