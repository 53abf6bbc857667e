#![doc = include_str!("../README.md")]

mod bad_blocks;
mod deep;
mod error;
mod granularity;
mod map;
pub mod registry;
mod reservation;
mod safe_io;
mod source;

pub use bad_blocks::{BadBlock, BadBlocks};
pub use deep::{Backing, deep_flush, deep_persist};
pub use error::{Error, ErrorKind};
pub use granularity::{auto_flush, forced_granularity, parse_granularity};
pub use map::{Map, MapOptions, Sharing};
pub use pmem_core::persist::{CopyFlags, Cpu, Granularity, PageSync, Persist};
pub use pmem_core::sys::Rights;
pub use reservation::Reservation;
pub use source::Source;
