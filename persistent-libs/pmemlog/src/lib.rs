#![doc = include_str!("../README.md")]

mod combine;
mod commit;
mod log;
mod options;
mod read;

pub use log::PmemLog;
pub use options::Options;
pub use pool_format::{Access, Error, Result};
pub use read::Contents;

/// The smallest pool, in bytes.
pub const LEAST_POOL: u64 = pool_format::PoolKind::LOG.least_bytes;
