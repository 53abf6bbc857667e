//! The log of the debug twin (feature `log`): what is called, and what failed. The other library has none, and
//! calls of these macros are compiled away.
//!
//! Lines are `<libvmem>: <LEVEL> [file:line function] text`. `VMEM_LOG_LEVEL` chooses how much: 0 statistics
//! only, 1 errors, 2 basic operations, 3 all calls. `VMEM_LOG_FILE` chooses where.

/// One line at level 3: a call.
macro_rules! trace {
    ($function:literal, $($text:tt)*) => {
        if cfg!(feature = "log") {
            crate::log::line(3, file!(), line!(), $function, format_args!($($text)*));
        }
    };
}

/// One line of a text that is a C string.
macro_rules! log {
    ($level:literal, $function:literal, $text:expr) => {
        if cfg!(feature = "log") {
            let text: &core::ffi::CStr = $text;
            let text = core::str::from_utf8(text.to_bytes());
            let text = text.unwrap_or("(not UTF-8)");
            crate::log::line($level, file!(), line!(), $function, format_args!("{text}"));
        }
    };
}

#[cfg(not(feature = "log"))]
mod imp {
    use core::fmt;

    pub(crate) fn open() {}

    #[inline(always)]
    pub(crate) fn line(_: u32, _: &str, _: u32, _: &str, _: fmt::Arguments<'_>) {}

    /// Where statistics go that the caller has no function for.
    pub(crate) fn write(text: &[u8]) {
        pmem_core::fmt::write_stderr(text);
    }
}

#[cfg(feature = "log")]
mod imp {
    use core::fmt;
    use pmem_core::env;
    use pmem_core::log::{Log, Variables};
    use pmem_core::sys;

    use crate::functions;

    static LOG: Log = Log::new("libvmem", "1.1");

    pub(crate) fn open() {
        const VARIABLES: Variables = Variables {
            level: c"VMEM_LOG_LEVEL",
            file: c"VMEM_LOG_FILE",
            columns: c"PMDK_LOG_ALIGN",
        };
        if !sys::is_secure() {
            // SAFETY: the library is starting; this is called once.
            unsafe { LOG.open(&VARIABLES, env::get, functions::print) };
        }
    }

    pub(crate) fn line(
        level: u32,
        file: &str,
        line: u32,
        function: &str,
        text: fmt::Arguments<'_>,
    ) {
        if LOG.has(level) {
            LOG.line((level, file, line, function), text, functions::print);
        }
    }

    /// Writes to the log file, or to standard error.
    pub(crate) fn write(text: &[u8]) {
        LOG.write(text);
    }
}

pub(crate) use imp::{line, open, write};
