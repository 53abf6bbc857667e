//! Fork: blocks that exist are shared by parent and child, as with any shared mapping; new ones are not.
//!
//! Nothing is copied, so the fork before an exec costs next to nothing. What the child allocates is
//! memory of its own; what it frees of the parent's stays as it is.

use pmem_core::errno::ErrnoGuard;
use pmem_core::sys;
use vmem_engine::fork::{self, ForkMode};

use crate::pools;

/// Registers the handlers. Without memory for that, forks are as unprepared as the C library's.
pub(crate) fn install() {
    let _ = sys::at_fork(prepare, parent, child);
}

unsafe extern "C" fn prepare() {
    let _errno = ErrnoGuard::new();
    // SAFETY: given back by `parent` or `child`; the C library calls one of them in this thread.
    let prepared = unsafe {
        pools::lock_for_fork();
        fork::prepare(ForkMode::Share)
    };
    // Sharing prepares nothing that could fail.
    debug_assert!(prepared.is_ok());
}

unsafe extern "C" fn parent() {
    let _errno = ErrnoGuard::new();
    // SAFETY: follows `prepare` in the same thread.
    unsafe {
        fork::parent();
        pools::unlock_after_fork();
    }
}

unsafe extern "C" fn child() {
    let _errno = ErrnoGuard::new();
    // SAFETY: the only thread of the child, after `prepare` in the parent.
    let result = unsafe {
        let result = fork::child();
        pools::unlock_in_child();
        result
    };
    if result.is_err() {
        // Free memory of a pool is still the parent's too, and would be handed out by both.
        sys::abort_with(b"libvmem: a pool could not be mapped after fork()\n");
    }
}
