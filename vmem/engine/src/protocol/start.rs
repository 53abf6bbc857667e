//! Something that is made once, by whichever thread needs it first, and then found with one load.

use super::atomic::{AtomicPtr, AtomicU64, Ordering::*, yield_now};
use core::ptr;
#[cfg(not(pmem_loom))]
use pmem_core::sys;

/// Nobody has tried.
const NEW: u64 = 0;
/// A thread is making it. Which one, and in which process, is in the bits above: a fork may leave
/// that thread behind.
const STARTING: u64 = 1;
/// It is made, or making it has failed.
const DONE: u64 = 2;
const STATE: u64 = 3;

/// The calling thread: what tells it from all others, also from those of the parent process.
#[derive(Clone, Copy)]
pub(crate) struct Caller {
    /// The system's number of the thread.
    pub(crate) thread: u32,
    /// The system's number of the process: the child of a fork may reuse numbers of threads. It has
    /// less than 30 bits.
    pub(crate) process: u32,
}

impl Caller {
    /// The calling thread.
    #[cfg(not(pmem_loom))]
    pub(crate) fn current() -> Caller {
        Caller {
            thread: sys::thread_id().cast_unsigned(),
            process: sys::process_id().cast_unsigned(),
        }
    }

    fn starting(self) -> u64 {
        STARTING | u64::from(self.process << 2) | u64::from(self.thread) << 32
    }
}

fn process_of(state: u64) -> u32 {
    state as u32 >> 2
}

/// A pointer that is set once, and stays null when making its target has failed.
///
/// ```text
/// not tried --make()--> being made --+--> made: never changes again
///     ^                     |        +--> failed: null for ever
///     +--- in a fork child -+
/// ```
///
/// Other threads wait while it is being made; the thread that makes it gets null when it asks.
pub(crate) struct Start<T> {
    state: AtomicU64,
    value: AtomicPtr<T>,
}

impl<T> Start<T> {
    /// Not tried yet.
    #[cfg(not(pmem_loom))]
    pub(crate) const fn new() -> Start<T> {
        Start { state: AtomicU64::new(NEW), value: AtomicPtr::new(ptr::null_mut()) }
    }

    /// Not tried yet.
    #[cfg(pmem_loom)]
    pub(crate) fn new() -> Start<T> {
        Start { state: AtomicU64::new(NEW), value: AtomicPtr::new(ptr::null_mut()) }
    }

    /// Being made by a thread that is not there.
    #[cfg(any(test, pmem_loom))]
    pub(crate) fn being_made_by(caller: Caller) -> Start<T> {
        let state = AtomicU64::new(caller.starting());
        Start { state, value: AtomicPtr::new(ptr::null_mut()) }
    }

    /// What was made; null before that. All that its maker wrote is visible.
    #[inline(always)]
    pub(crate) fn get(&self) -> *mut T {
        self.value.load(Acquire)
    }

    /// What was made, now by `make` if nobody has tried yet. Null when making it has failed, and to
    /// the thread that is just making it.
    #[inline]
    pub(crate) fn get_or_make(
        &self,
        caller: impl FnOnce() -> Caller,
        make: impl FnOnce() -> *mut T,
    ) -> *mut T {
        let value = self.get();
        if value.is_null() { self.make(caller, make) } else { value }
    }

    #[cold]
    fn make(&self, caller: impl FnOnce() -> Caller, make: impl FnOnce() -> *mut T) -> *mut T {
        // What cannot be made is asked for on every call.
        if self.state.load(Acquire) & STATE == DONE {
            return self.get();
        }
        let caller = caller();
        while let Err(seen) = self.state.compare_exchange(NEW, caller.starting(), Acquire, Acquire)
        {
            if seen & STATE == DONE {
                return self.get();
            }
            if seen == caller.starting() {
                return ptr::null_mut();
            }
            self.await_maker(seen, caller);
        }
        let value = make();
        self.value.store(value, Release);
        self.state.store(DONE, Release);
        value
    }

    /// Waits a moment for the thread that makes it. If it is one of the parent's, which a fork left
    /// behind, it has not been tried.
    fn await_maker(&self, seen: u64, caller: Caller) {
        if process_of(seen) == process_of(caller.starting()) {
            yield_now();
        } else {
            // When the exchange fails another thread was faster.
            let _ = self.state.compare_exchange(seen, NEW, Relaxed, Relaxed);
        }
    }
}

#[cfg(all(test, not(pmem_loom)))]
mod tests {
    use super::*;

    const CALLER: Caller = Caller { thread: u32::MAX, process: 5 };

    #[test]
    fn a_fork_child_makes_what_the_parent_was_making() {
        let mut value = 7;
        for process in [4, 6, 0] {
            let start = Start::being_made_by(Caller { process, ..CALLER });
            let got = start.get_or_make(|| CALLER, || &raw mut value);
            assert_eq!(got, &raw mut value);
            assert_eq!(start.get(), got);
        }
    }

    #[test]
    fn the_maker_is_recognised_by_thread_and_process() {
        let start = Start::<u32>::being_made_by(CALLER);
        let got = start.get_or_make(|| CALLER, || unreachable!("made twice"));
        assert!(got.is_null());
    }

    #[test]
    fn a_failure_is_final() {
        let start = Start::<u32>::new();
        assert!(start.get_or_make(|| CALLER, ptr::null_mut).is_null());
        let got = start.get_or_make(|| unreachable!("who asks?"), || unreachable!("tried again"));
        assert!(got.is_null());
    }
}
