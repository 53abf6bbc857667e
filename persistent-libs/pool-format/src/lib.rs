#![doc = include_str!("../README.md")]

mod arch;
pub mod bad_blocks;
pub mod blk;
pub mod btt;
mod checksum;
mod device;
mod error;
pub mod features;
mod header;
mod kind;
pub mod log;
mod mapping;
mod part;
mod pool;
pub mod poolset;
pub mod shutdown_state;
mod uuid;

pub use arch::ArchFlags;
pub use bad_blocks::{BadBlock, recovery_file};
pub use checksum::checksum;
pub use error::{Error, Result};
pub use features::{Feature, Features};
pub use header::{HEADER_SIZE, PoolHeader, SHUTDOWN_STATE_OFFSET};
pub use kind::{LEAST_PART, PoolKind};
pub use mapping::Mapping;
pub use part::Part;
pub use pool::{Access, CreateOptions, NewPool, OpenOptions, Pool, Replica};
pub use poolset::PoolSet;
pub use shutdown_state::ShutdownState;
pub use uuid::{ParseUuidError, Uuid};
