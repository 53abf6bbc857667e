//! Locks that never allocate, can be made in a `static`, and survive `fork`.
//!
//! | item | what it is |
//! |---|---|
//! | [`Mutex`] | 4-byte futex lock; `const fn new`; can be reset in the child of a fork |
//! | [`Once`] | runs a function once; notices re-entry instead of deadlocking |
//! | [`Rank`] | the order in which locks are taken, asserted in debug builds |
//! | [`ThreadId`], [`set_fork_owner`], [`is_forking`] | lets the forking thread pass locks held for the fork |
//! | [`Backoff`], [`CachePadded`] | waiting and layout |
//!
//! Under `--cfg pmem_loom` the atomics, cells and futexes below are those of the model checker.

mod backoff;
mod fork_owner;
mod futex;
mod mutex;
mod once;
mod padded;
mod rank;

pub use backoff::Backoff;
pub use fork_owner::{ThreadId, is_forking, set_fork_owner};
pub use mutex::{Mutex, MutexGuard};
pub use once::{Once, Ran};
pub use padded::CachePadded;
pub use rank::Rank;
