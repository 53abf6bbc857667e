//! The log of the debug twin: what is called (level 3), and what failed (1). `VMEMCACHE_LEVEL` chooses how much,
//! `VMEMCACHE_FILE` where.

use pmem_core::log::Variables;
use std::ffi::CStr;

/// One line at level 3: a call.
macro_rules! trace {
    ($function:literal, $($text:tt)*) => {
        pmem_core::log_line!(3, $function, $($text)*)
    };
}

/// Tells errno and a text, logs it, and gives -1.
macro_rules! refuse {
    ($function:literal, $errno:expr, $($text:tt)*) => {{
        pmem_core::log_line!(1, $function, $($text)*);
        pmem_capi_shared::fail($errno, format_args!($($text)*))
    }};
}

pmem_core::library_log!(
    "libvmemcache",
    "0.8",
    super::VARIABLES,
    get: pmem_core::env::get,
    print: super::print
);

#[cfg_attr(not(feature = "log"), expect(dead_code, reason = "nothing is logged"))]
const VARIABLES: Variables =
    Variables { level: c"VMEMCACHE_LEVEL", file: c"VMEMCACHE_FILE", columns: c"PMDK_LOG_ALIGN" };

#[cfg_attr(not(feature = "log"), expect(dead_code, reason = "nothing is logged"))]
fn print(line: &CStr) {
    write(line.to_bytes());
}
