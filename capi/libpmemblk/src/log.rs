//! The log of the debug twin: what is called (level 3) and what failed (1). `PMEMBLK_LOG_LEVEL` chooses how
//! much, `PMEMBLK_LOG_FILE` where.

use pmem_core::log::Variables;
use std::ffi::CStr;

/// One line at level 3: a call.
macro_rules! trace {
    ($function:literal, $($text:tt)*) => {
        pmem_core::log_line!(3, $function, $($text)*)
    };
}

/// The text of a C string that a caller gave, in a line.
macro_rules! c_text {
    ($pointer:expr) => {
        // SAFETY: NULL or a C string, by the caller's contract.
        unsafe { pmem_capi_shared::Text::new($pointer) }
    };
}

pmem_core::library_log!(
    "libpmemblk",
    "1.1",
    super::VARIABLES,
    get: pmem_core::env::get,
    print: super::print
);

/// Opens the log, when the library is loaded.
pub(crate) fn start() {
    open();
    if cfg!(feature = "log") {
        pmem_capi_shared::observe_messages(|message| {
            pmem_core::log_line!(1, "error", "{}", message.to_string_lossy());
        });
        let engine = pmem_core::persist::Engine::get();
        pmem_core::log_line!(
            3,
            "start",
            "flush by {:?}, stores {:?}, past the cache from {} bytes",
            engine.flush_instruction(),
            engine.stores(),
            engine.threshold()
        );
    }
}

#[cfg_attr(not(feature = "log"), expect(dead_code, reason = "nothing is logged"))]
const VARIABLES: Variables = Variables {
    level: c"PMEMBLK_LOG_LEVEL",
    file: c"PMEMBLK_LOG_FILE",
    columns: c"PMDK_LOG_ALIGN",
};

#[cfg_attr(not(feature = "log"), expect(dead_code, reason = "nothing is logged"))]
fn print(line: &CStr) {
    write(line.to_bytes());
}
