//! Which thread is forking right now.
//!
//! Between the prepare and the parent or child handler the forking thread holds every lock of the
//! allocator, but code of other libraries (their fork handlers) still runs in that thread and may
//! allocate. Locks taken with [`Mutex::lock_for_fork`](super::Mutex::lock_for_fork) let exactly
//! that thread pass.
//!
//! In the model checker there is no fork, and these plain atomics take no part in the exploration.

use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Identifies a thread within its process. The same in the child of a fork as in the thread that
/// forked.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct ThreadId(usize);

impl ThreadId {
    const NONE: usize = 0;

    /// The calling thread.
    #[must_use]
    #[cfg(not(pmem_loom))]
    pub fn current() -> ThreadId {
        // SAFETY: no arguments, cannot fail. The value is the thread pointer, which is never null.
        let id = unsafe { libc::pthread_self() };
        ThreadId(id as usize)
    }

    /// The calling thread of the model, which runs them all on one thread of the system.
    #[must_use]
    #[cfg(pmem_loom)]
    pub fn current() -> ThreadId {
        loom::thread_local! {
            static PLACE: u8 = 0;
        }
        ThreadId(PLACE.with(|place| core::ptr::from_ref(place).addr()))
    }

    pub(super) fn number(self) -> usize {
        self.0
    }
}

static FORK_OWNER: AtomicUsize = AtomicUsize::new(ThreadId::NONE);

/// Names the thread that holds all locks for a fork; `None` when the fork is over.
///
/// Called by that thread itself: after it has taken the locks, and before it gives them back.
/// Relaxed access is enough, for the only question ever asked is "is it me?", and a thread sees its
/// own stores.
pub fn set_fork_owner(owner: Option<ThreadId>) {
    FORK_OWNER.store(owner.map_or(ThreadId::NONE, |id| id.0), Relaxed);
}

/// Whether the calling thread is the one that holds the locks for a fork.
#[cold]
#[must_use]
pub fn is_forking() -> bool {
    let owner = FORK_OWNER.load(Relaxed);
    owner != ThreadId::NONE && owner == ThreadId::current().0
}
