//! Valgrind's tools for data races, helgrind and DRD, understand the locks of the C library only, and would report every
//! access to what the threads of a pool share. Under them the calls for pools take a lock that they know: those that read a
//! log share it, as in the reference. Otherwise a call costs one load.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use pmem_core::valgrind::{self, Silence};

struct Lock(UnsafeCell<libc::pthread_rwlock_t>);

// SAFETY: accessed by the functions of the C library only.
unsafe impl Sync for Lock {}

static LOCK: Lock = Lock(UnsafeCell::new(libc::PTHREAD_RWLOCK_INITIALIZER));
static WATCHED: AtomicBool = AtomicBool::new(false);

/// Looks whether such a tool is there; when the library is loaded.
pub(crate) fn look() {
    let watched = valgrind::is_running() && !valgrind::is_memcheck();
    WATCHED.store(watched, Relaxed);
}

/// The lock, until it is dropped.
pub struct Ordered(());

impl Drop for Ordered {
    fn drop(&mut self) {
        // SAFETY: locked by this thread.
        unsafe { libc::pthread_rwlock_unlock(LOCK.0.get()) };
    }
}

/// The calling thread is not watched, and has the lock with others.
pub struct Reading {
    silence: Option<Silence>,
    _ordered: Ordered,
}

/// For calls that nobody else's may be beside.
#[inline]
#[must_use]
pub fn alone() -> Option<Ordered> {
    WATCHED.load(Relaxed).then(|| {
        // SAFETY: an initialised lock.
        unsafe { libc::pthread_rwlock_wrlock(LOCK.0.get()) };
        Ordered(())
    })
}

/// For calls that read, and may call back.
#[inline]
#[must_use]
pub fn reading() -> Option<Reading> {
    WATCHED.load(Relaxed).then(|| {
        // SAFETY: an initialised lock.
        unsafe { libc::pthread_rwlock_rdlock(LOCK.0.get()) };
        Reading { silence: Some(Silence::new()), _ordered: Ordered(()) }
    })
}

/// Calls the program's own code, which is watched.
pub fn call_back<R>(reading: &mut Option<Reading>, call: impl FnOnce() -> R) -> R {
    let Some(reading) = reading else { return call() };
    reading.silence = None;
    let result = call();
    reading.silence = Some(Silence::new());
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locks_are_released() {
        WATCHED.store(true, Relaxed);
        drop(alone());
        let mut one = reading();
        assert!(call_back(&mut one, || reading().is_some()));
        drop(one);
        drop(alone());
        WATCHED.store(false, Relaxed);
        assert!(alone().is_none() && reading().is_none());
    }
}
