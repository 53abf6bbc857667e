#![doc = include_str!("../README.md")]

mod options;
mod pool;

pub use options::Options;
pub use pool::PmemBlk;
pub use pool_format::{Access, Error, Result};

/// The smallest pool, in bytes.
pub const LEAST_POOL: u64 = pool_format::PoolKind::BLK.least_bytes;
