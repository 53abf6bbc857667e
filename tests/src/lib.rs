//! Harness of the end-to-end tests.
//!
//! The tests of this crate treat `libvmmalloc.so` and the `vmmalloc` launcher as strangers would: they
//! build them once ([`artifact`]), compile small C programs, and run those and real programs with the
//! library preloaded ([`preload`]), watching output, exit status, signals, files and memory.
//!
//! ```text
//! topics/*.rs  one test binary per topic
//!    |
//! compare      runs a program plain and in a pool, and compares
//! cases        runs every case of a C program in a process of its own, names the failing ones
//! preload      the environment of one pool, applied to a command
//! run          timeout, captured output, exit signal
//! stats        the JSON report of the library        json  a strict parser
//! scratch      directories that vanish               mount small file systems
//! artifact     cargo and cc, once per test binary    procfs /proc readers
//! capi         the installed C libraries            object   what binutils say of them
//! log_line     lines of their debug twins' logs
//! ```
//!
//! Variables:
//!
//! * `PMEM_TEST_LIBRARY`: path of another `libvmmalloc.so` to test, instead of building one.
//! * `PMEM_TEST_NO_MOUNT=1`: the machine does not let us mount. What needs a mount then prints
//!   `NOT CHECKED` with the reason; without the variable it fails.

pub mod artifact;
pub mod capi;
pub mod cases;
pub mod compare;
pub mod core_file;
pub mod json;
pub mod log_line;
pub mod mount;
pub mod object;
pub mod preload;
pub mod procfs;
pub mod run;
pub mod scratch;
pub mod stats;

/// Bytes in one mebibyte.
pub const MIB: u64 = 1 << 20;

/// The smallest pool of the contract, in bytes.
pub const MINIMUM_POOL: u64 = 14 * MIB;
