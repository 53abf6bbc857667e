#![no_std]
#![doc = include_str!("../README.md")]

// Tests and checkers only; the library itself never sees std.
#[cfg(any(test, miri, pmem_loom))]
extern crate std;

pub mod align;
pub mod bare;
pub mod dax;
pub mod env;
pub mod errno;
pub mod error;
pub mod file;
pub mod fmt;
pub mod log;
pub mod mapping;
pub mod numa;
pub mod nvdimm;
#[cfg(not(pmem_loom))]
pub mod offspring;
pub mod persist;
mod region;
pub mod source;
pub mod sync;
pub mod sys;
pub mod valgrind;
