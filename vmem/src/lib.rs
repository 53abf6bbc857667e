#![cfg_attr(feature = "allocator-api2", doc = include_str!("../README.md"))]
#![cfg_attr(
    not(feature = "allocator-api2"),
    doc = "Pools of memory over files, devices and nodes; a global allocator."
)]

#[cfg(feature = "allocator-api2")]
mod allocator;
mod builder;
mod error;
mod pool;

pub use builder::PoolBuilder;
pub use error::Error;
pub use pool::Pool;

pub use pmem_core::numa::{NodeMask, NumaPolicy};
pub use pmem_core::source::{HugePageSize, OpenMode};
pub use vmem_engine::{
    Backing, CallCounts, ClassStats, Fault, HugePages, Overflow, Policy, PurgePolicy, Stats,
    VmemAlloc,
};

/// The crate whose `Allocator` a [`Pool`] implements, in the version that fits.
#[cfg(feature = "allocator-api2")]
pub use allocator_api2;
