//! The allocator of the suite: thread caches over slabs over extents over a
//! [`Source`](pmem_core::source::Source).
//!
//! ```text
//! global, layout     Rust's calls: GlobalAlloc, Layout
//! Heap / Pool        the calls: alloc, free, realloc ...
//!   tls, thread      which cache the calling thread has
//!   cache            per thread: a stack of free slots for each size class      no lock
//!   bin, slab        per class: slabs with bitmaps, transfer array              lock BIN
//!   arena            per pool: extents of pages, commit and purge               lock ARENA
//!   page_map, meta   address -> class and extent; descriptors in DRAM           lock META
//!   harden           checks of blocks, where a pool is made with them          (branches off the slow paths)
//! Source             file, device, anonymous memory, node, caller's region
//! ```
//!
//! No std, no alloc: the engine serves as `malloc` itself. All metadata lies in anonymous memory;
//! neither allocation nor free touches the blocks.
#![cfg_attr(not(miri), no_std)]
// The model checker needs the parts in `protocol` only, and takes them from their files.
#![cfg(not(pmem_loom))]

#[cfg(test)]
extern crate std;

mod arena;
mod bin;
mod cache;
mod check;
pub mod config;
mod extent;
mod extent_bins;
mod fatal;
pub mod fork;
mod global;
mod harden;
mod heap;
mod home;
mod layout;
mod listing;
pub mod memcheck;
mod meta;
mod orphan;
mod page_map;
mod pool;
mod protocol;
mod rank;
mod registry;
mod remedy;
mod size_class;
mod slab;
mod stats;
mod thread;
mod tls;

pub use arena::PurgePolicy;
pub use check::Fault;
pub use global::{Backing, Policy, VmemAlloc};
pub use harden::Harden;
pub use heap::{Heap, Overflow, Runtime};
pub use listing::Listing;
pub use pool::{HugePages, Pool, PoolOptions};
pub use remedy::remedy;
pub use size_class::{CLASS_COUNT, ClassId, MAX_SMALL};
pub use stats::{CallCounts, ClassStats, Stats, WholePageStats};
