#![doc = include_str!("../README.md")]

#[macro_use]
mod log;

mod flush;
mod map_file;
mod messages;
mod movement;
mod start;
mod tracked;

use std::ffi::{c_char, c_uint};

/// The message of the calling thread's last failure; never NULL.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn pmem_errormsg() -> *const c_char {
    pmem_capi_shared::message()
}

/// NULL when the library serves a program that was compiled for this version, else a text.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn pmem_check_version(major: c_uint, minor: c_uint) -> *const c_char {
    trace!("pmem_check_version", "major {major} minor {minor}");
    pmem_capi_shared::check_version("libpmem", major, minor, messages::fail)
}
