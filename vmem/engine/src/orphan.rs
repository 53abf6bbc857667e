//! Children that nobody announced: `_Fork` and raw `clone` run no fork handlers.
//!
//! Such a child finds locks as they were, held perhaps by threads that do not exist there, and the
//! free space of shared pools is its parent's too. So it leaves the pools alone: it may use the
//! blocks it inherited; to free one does nothing, and new blocks come from elsewhere.
//!
//! It learns what it is from memory that the kernel empties in a child (`MADV_WIPEONFORK`). The
//! *guard*, a word that slow paths read, is 0 there; and the head of each thread cache, which the
//! fast paths go through, reads as that of a pool without pages whose classes have no slots. So
//! they fail, by the tests that they make anyway, and lead to the slow paths. After a fork with
//! handlers the child writes both anew: they hold nothing that is not known elsewhere.
//!
//! A `vfork` child shares the memory and thus sees neither emptied.

use crate::config::PAGE;
use core::ptr::{self, NonNull};
use core::sync::atomic::{
    AtomicPtr, AtomicU32,
    Ordering::{Acquire, Relaxed, Release},
};
use pmem_core::sync::is_forking;
use pmem_core::sys::{self, Advice};

/// Alone in its page; null until it is needed.
static GUARD: AtomicPtr<AtomicU32> = AtomicPtr::new(ptr::null_mut());

const AT_HOME: u32 = 1;

/// Puts the guard up. False where the kernel cannot empty pages in a child, or not such small ones.
pub(crate) fn put_up_guard() -> bool {
    if !GUARD.load(Relaxed).is_null() {
        return true;
    }
    let Ok(page) = sys::map_anonymous(PAGE) else { return false };
    if !empty_in_children(page) {
        // SAFETY: mapped above.
        let _ = unsafe { sys::unmap(page, PAGE) };
        return false;
    }
    let guard = page.cast::<AtomicU32>();
    // SAFETY: a page of our own, mapped for good unless another thread was faster.
    unsafe {
        guard.as_ref().store(AT_HOME, Relaxed);
        // Whoever sees the guard sees what it says.
        let first = GUARD.compare_exchange(ptr::null_mut(), guard.as_ptr(), Release, Relaxed);
        if first.is_err() {
            let _ = sys::unmap(page, PAGE);
        }
    }
    true
}

/// Makes a fresh page of anonymous memory read as zero in children.
pub(crate) fn empty_in_children(page: NonNull<u8>) -> bool {
    if cfg!(miri) || sys::page_size() != PAGE {
        return false;
    }
    // SAFETY: the page is the caller's, and holds nothing yet.
    unsafe { sys::advise(page, PAGE, Advice::WipeOnFork) }.is_ok()
}

/// Whether this process was made by a fork that ran no handlers. Always false without a guard.
#[inline(never)]
pub(crate) fn is_orphan() -> bool {
    // SAFETY: the guard is never unmapped.
    let guard = unsafe { GUARD.load(Acquire).as_ref() };
    // Handlers of other libraries may run before ours.
    guard.is_some_and(|guard| guard.load(Relaxed) != AT_HOME) && !is_forking()
}

/// In a child, by the fork handler: it is no orphan.
pub(crate) fn adopt() {
    // SAFETY: the guard is never unmapped.
    if let Some(guard) = unsafe { GUARD.load(Acquire).as_ref() } {
        guard.store(AT_HOME, Relaxed);
    }
}
