//! A pair of fences of which one side pays nothing.

use pmem_core::sys;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::compiler_fence;

/// What [`barrier_of_all_threads`] makes a fence.
#[inline(always)]
pub(crate) fn light_fence() {
    compiler_fence(SeqCst);
}

/// A full fence in every thread of the process.
pub(crate) fn barrier_of_all_threads() {
    if !sys::process_barrier() {
        // Registered, so the kernel has no reason to refuse; without the barrier no space may be used again.
        sys::abort_with(b"vmemcache: membarrier failed\n");
    }
}
