//! What threads do to each other without a lock, or around one: small parts that also run under a
//! model checker, which tries all interleavings (`tests/loom.rs`).

pub(crate) mod bits;
pub(crate) mod slots;
pub(crate) mod start;

/// The atomics of the machine; the model checker brings its own.
mod atomic {
    pub(super) use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
    pub(super) use pmem_core::sys::yield_now;
}
