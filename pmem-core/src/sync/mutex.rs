//! The lock of the allocators: four bytes, no allocation, no thread-local state in release builds.
//!
//! ```text
//! word: bit 0 LOCKED   somebody holds it
//!       bit 1 WAITERS  somebody may sleep on it; unlocking wakes one
//!       bit 2 FORK     held for a fork; the forking thread passes
//! ```

use core::fmt;
use core::marker::PhantomData;
use core::mem::ManuallyDrop;
use core::ops::{Deref, DerefMut};

use super::Backoff;
use super::fork_owner::is_forking;
use super::futex::{Exclusive, Futex, Ordering::*, Protected};
use super::rank::{Rank, RankMark};

const FREE: u32 = 0;
const LOCKED: u32 = 1;
const WAITERS: u32 = 2;
const FORK: u32 = 4;

/// A mutual-exclusion lock around a value.
///
/// It spins for a short while, then sleeps in the kernel. Not recursive. A panic does not poison
/// it.
///
/// # Cost
/// Uncontended: one compare-exchange to lock, one exchange to unlock; no system call. Release
/// builds need 4 bytes beside the value.
///
/// # Examples
/// ```
/// use pmem_core::sync::{Mutex, Rank};
/// static COUNT: Mutex<u64> = Mutex::new(Rank::new(3), 0);
/// *COUNT.lock() += 1;
/// assert_eq!(*COUNT.lock(), 1);
/// ```
pub struct Mutex<T> {
    futex: Futex,
    #[cfg(debug_assertions)]
    rank: Rank,
    value: Protected<T>,
}

// SAFETY: the lock hands the value to one thread at a time.
unsafe impl<T: Send> Send for Mutex<T> {}
// SAFETY: as above; `&Mutex` gives out the value only under the lock.
unsafe impl<T: Send> Sync for Mutex<T> {}

#[cfg(all(not(debug_assertions), not(pmem_loom)))]
const _: () = assert!(size_of::<Mutex<()>>() == 4);

impl<T> Mutex<T> {
    /// Makes an unlocked lock. In debug builds, taking it while holding a lock of the same or a
    /// higher rank panics.
    #[cfg(not(pmem_loom))]
    pub const fn new(rank: Rank, value: T) -> Mutex<T> {
        let _ = rank;
        Mutex {
            futex: Futex::new(FREE),
            #[cfg(debug_assertions)]
            rank,
            value: Protected::new(value),
        }
    }

    /// Makes an unlocked lock.
    #[cfg(pmem_loom)]
    pub fn new(rank: Rank, value: T) -> Mutex<T> {
        let _ = rank;
        Mutex {
            futex: Futex::new(FREE),
            #[cfg(debug_assertions)]
            rank,
            value: Protected::new(value),
        }
    }

    fn rank(&self) -> Rank {
        #[cfg(debug_assertions)]
        let rank = self.rank;
        #[cfg(not(debug_assertions))]
        let rank = Rank::UNRANKED;
        rank
    }

    /// Takes the lock; waits while another thread holds it.
    ///
    /// In the thread named by [`set_fork_owner`](super::set_fork_owner), a lock held for the fork
    /// does not block: the guard gives access and leaves the lock as it is.
    ///
    /// # Panics
    /// In debug builds, when a lock of the same or a higher rank is held by this thread.
    #[inline]
    pub fn lock(&self) -> MutexGuard<'_, T> {
        let mark = RankMark::acquire(self.rank());
        let owned = self.acquire();
        self.guard(owned, mark)
    }

    /// Takes the lock if it is free. Cannot deadlock, and so takes no part in the rank order.
    #[inline]
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        self.futex.word().compare_exchange(FREE, LOCKED, Acquire, Relaxed).ok()?;
        Some(self.guard(true, RankMark::none()))
    }

    /// Takes the value out; needs no locking because nobody else has the lock.
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }

    /// Says whether somebody held the lock a moment ago; for consistency checks.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        self.futex.word().load(Relaxed) != FREE
    }

    #[inline]
    fn guard(&self, owned: bool, mark: RankMark) -> MutexGuard<'_, T> {
        MutexGuard {
            mutex: self,
            access: ManuallyDrop::new(self.value.access()),
            owned,
            mark,
            not_send: PhantomData,
        }
    }

    /// True when the lock is now ours, false when we pass a lock that is held for our fork.
    #[inline]
    fn acquire(&self) -> bool {
        match self.futex.word().compare_exchange(FREE, LOCKED, Acquire, Relaxed) {
            Ok(_) => true,
            Err(_) => self.acquire_slow(),
        }
    }

    #[cold]
    fn acquire_slow(&self) -> bool {
        let word = self.futex.word();
        let mut backoff = Backoff::new();
        // Once this thread has slept it cannot know whether others still do, so it takes the lock
        // with WAITERS set.
        let mut taken = LOCKED;
        loop {
            let seen = word.load(Relaxed);
            if seen == FREE {
                if word.compare_exchange(FREE, taken, Acquire, Relaxed).is_ok() {
                    return true;
                }
            } else if seen & FORK != 0 && is_forking() {
                return false;
            } else if seen & WAITERS == 0 && backoff.spin() {
                // Looked again after a short while.
            } else if seen & WAITERS != 0
                || word.compare_exchange(seen, seen | WAITERS, Relaxed, Relaxed).is_ok()
            {
                self.futex.wait(seen | WAITERS);
                taken = LOCKED | WAITERS;
            }
        }
    }

    #[inline]
    fn release(&self) {
        if self.futex.word().swap(FREE, Release) & WAITERS != 0 {
            self.wake();
        }
    }

    #[cold]
    fn wake(&self) {
        self.futex.wake_one();
    }

    /// Takes the lock on behalf of a fork, without a guard and outside the rank order (a fork takes
    /// many locks of one rank). The thread named by [`set_fork_owner`](super::set_fork_owner)
    /// passes it until [`unlock_after_fork`](Self::unlock_after_fork).
    ///
    /// # Safety
    /// The calling thread holds no guard of this lock and gives the lock back after the fork. While
    /// it is held, the calling thread takes it with [`lock`](Self::lock) at most once at a
    /// time.
    pub unsafe fn lock_for_fork(&self) {
        let owned = self.acquire();
        debug_assert!(owned, "locked for a fork twice");
        self.futex.word().fetch_or(FORK, Relaxed);
    }

    /// Gives back, in the parent, what [`lock_for_fork`](Self::lock_for_fork) took.
    ///
    /// # Safety
    /// The calling thread took the lock with `lock_for_fork` and holds no guard of it.
    pub unsafe fn unlock_after_fork(&self) {
        debug_assert!(self.futex.word().load(Relaxed) & FORK != 0);
        self.release();
    }

    /// Makes the lock free whatever its state, in the child of a fork.
    ///
    /// # Safety
    /// No other thread exists that could hold or want the lock, the value is consistent, and no
    /// guard of it is alive.
    pub unsafe fn force_unlock(&self) {
        self.futex.word().store(FREE, Release);
    }
}

impl<T: fmt::Debug> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.try_lock() {
            Some(value) => f.debug_tuple("Mutex").field(&*value).finish(),
            None => f.write_str("Mutex(<locked>)"),
        }
    }
}

/// Access to the value of a [`Mutex`]; dropping it unlocks.
#[must_use = "the lock is released when the guard is dropped"]
pub struct MutexGuard<'a, T> {
    mutex: &'a Mutex<T>,
    /// Ended by `drop` before it unlocks.
    access: ManuallyDrop<Exclusive<T>>,
    owned: bool,
    mark: RankMark,
    not_send: PhantomData<*const ()>,
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the lock is held as long as the guard lives.
        unsafe { self.access.get() }
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the lock is held as long as the guard lives.
        unsafe { self.access.get() }
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: dropped here and not used afterwards.
        unsafe { ManuallyDrop::drop(&mut self.access) };
        if self.owned {
            self.mutex.release();
        }
        self.mark.release();
    }
}
