//! The atomics of the machine, for the parts that also run under a model checker, which brings its own (`tests/loom.rs`).

pub(crate) use std::sync::atomic::{
    AtomicBool, AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
};
