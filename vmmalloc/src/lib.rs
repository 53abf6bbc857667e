#![doc = include_str!("../README.md")]
// The shipped shape has no std. Builds that unwind (tests, lints) need std's panic machinery.
#![cfg_attr(panic = "abort", no_std)]

mod config;
mod environment;
mod fork;
mod init;
mod log;
mod passive;
mod refusal;
mod runtime;
mod signature;
mod stats;
mod symbols;
mod system_heap;

pmem_core::bare_library!("libvmmalloc");

// Without this the library would lose its dependency on the C library when another crate of the
// build enables the `std` feature of the libc crate.
#[link(name = "c")]
unsafe extern "C" {}
