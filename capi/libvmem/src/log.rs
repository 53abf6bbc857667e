//! The log of the debug twin: what is called (level 3), and what failed (1). `VMEM_LOG_LEVEL` chooses how much,
//! `VMEM_LOG_FILE` where.

use pmem_core::log::Variables;

/// The text of a failure, in a line of its own.
macro_rules! log_text {
    ($function:literal, $text:expr) => {
        pmem_core::log_line!(1, $function, "{}", $text.to_str().unwrap_or("(not UTF-8)"));
    };
}
pub(crate) use log_text;

pmem_core::library_log!(
    "libvmem",
    "1.1",
    super::VARIABLES,
    get: pmem_core::env::get,
    print: crate::functions::print
);

#[cfg_attr(not(feature = "log"), expect(dead_code, reason = "nothing is logged"))]
const VARIABLES: Variables =
    Variables { level: c"VMEM_LOG_LEVEL", file: c"VMEM_LOG_FILE", columns: c"PMDK_LOG_ALIGN" };
