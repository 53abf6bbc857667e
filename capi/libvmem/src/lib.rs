#![doc = include_str!("../README.md")]
// The shipped shape has no std. Builds that unwind (tests, lints) need std's panic machinery.
#![cfg_attr(panic = "abort", no_std)]

mod api;
mod careful;
mod create;
mod fork;
mod functions;
mod log;
mod message;
mod pools;
mod start;
mod statistics;

pmem_core::bare_library!("libvmem");

// Without this the library would lose its dependency on the C library when another crate of the
// build enables the `std` feature of the libc crate.
#[link(name = "c")]
unsafe extern "C" {}
