#![doc = include_str!("../README.md")]

pub mod allocator;
pub mod case;
pub mod error;
pub mod icount;
pub mod in_process;
pub mod launch;
pub mod machine;
pub mod matrix;
pub mod peers;
pub mod pool_stats;
pub mod pools;
pub mod program;
pub mod progress;
pub mod random;
pub mod report;
pub mod statistics;
pub mod suite;
pub mod summary;

pub use error::{Error, Result};
