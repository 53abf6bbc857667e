#![doc = include_str!("../README.md")]
#![cfg(not(pmem_loom))]

mod arena;
mod atomic;
mod block;
mod builder;
mod cache;
mod check;
mod clock;
mod error;
mod events;
mod fetch;
mod flight;
mod ground;
mod heap;
mod index;
mod machine;
pub mod policy;
mod protect;
mod quota;
mod read;
mod restart;
mod shard;
mod slab;
mod stats;

pub use builder::{Builder, MIN_POOL, MIN_SHARD, Replacement};
pub use cache::{Cache, Copied, Entries, Namespace, Put, Resized};
pub use error::Error;
pub use events::{Cause, Listener};
pub use quota::{MIN_QUOTA, Quota};
pub use read::{Slices, Value};
pub use stats::{Latencies, Latency, MissRatio, Stats};

pub use pmem_core::numa::{NodeMask, NumaPolicy};
pub use pmem_core::source::{HugePageSize, OpenMode};

/// The longest key in bytes.
pub const MAX_KEY: usize = block::MAX_KEY;
