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

/// Installs the fork handlers before `main`, when no thread can be forking already. Where this does
/// not run (a library made from this crate and loaded late), the first pool installs them.
#[cfg(not(miri))]
#[used]
#[unsafe(link_section = ".init_array")]
static INSTALL_FORK_HANDLERS: extern "C" fn() = {
    extern "C" fn install() {
        // A failure is remembered, and reported by the first pool.
        let _ = vmem_engine::fork::install();
    }
    install
};

pub use builder::PoolBuilder;
pub use error::Error;
pub use pool::Pool;

pub use pmem_core::numa::{NodeMask, NumaPolicy};
pub use pmem_core::source::{HugePageSize, OpenMode};
pub use vmem_engine::{
    Backing, CallCounts, ClassStats, Fault, Harden, HugePages, Overflow, Policy, PurgePolicy,
    Stats, VmemAlloc,
};

/// The crate whose `Allocator` a [`Pool`] implements, in the version that fits.
#[cfg(feature = "allocator-api2")]
pub use allocator_api2;
