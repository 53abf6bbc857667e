//! The log of the debug twin: calls (level 4), the start (2), and what went wrong (1). `VMMALLOC_LOG_LEVEL` chooses
//! how much, `VMMALLOC_LOG_FILE` where.

use core::ffi::CStr;
use pmem_core::log::Variables;

pmem_core::library_log!(
    "libvmmalloc",
    "1.1",
    super::VARIABLES,
    get: crate::environment::get,
    print: super::print
);

#[cfg_attr(not(feature = "log"), expect(dead_code, reason = "nothing is logged"))]
const VARIABLES: Variables = Variables {
    level: c"VMMALLOC_LOG_LEVEL",
    file: c"VMMALLOC_LOG_FILE",
    columns: c"PMDK_LOG_ALIGN",
};

/// A line of text, as it is.
#[cfg_attr(not(feature = "log"), expect(dead_code, reason = "nothing is logged"))]
pub(crate) fn print(text: &CStr) {
    write(text.to_bytes());
}
