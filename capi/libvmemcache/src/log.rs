//! The log of the debug twin (feature `log`): what is called, and what failed. The other library has none, and
//! calls of these macros are compiled away.
//!
//! Lines are `<libvmemcache>: <LEVEL> [file:line function] text`. `VMEMCACHE_LEVEL` chooses how much: 1 errors, 2 basic
//! operations, 3 all calls. `VMEMCACHE_FILE` chooses where.

/// One line at level 3: a call.
macro_rules! trace {
    ($function:literal, $($text:tt)*) => {
        if cfg!(feature = "log") {
            crate::log::line(3, file!(), line!(), $function, format_args!($($text)*));
        }
    };
}

/// Tells errno and a text, logs it, and gives -1.
macro_rules! refuse {
    ($function:literal, $errno:expr, $($text:tt)*) => {{
        crate::log::line(1, file!(), line!(), $function, format_args!($($text)*));
        crate::message::fail($errno, format_args!($($text)*))
    }};
}

#[cfg(not(feature = "log"))]
mod imp {
    use std::fmt;

    pub(crate) fn open() {}

    #[inline(always)]
    pub(crate) fn line(_: u32, _: &str, _: u32, _: &str, _: fmt::Arguments<'_>) {}
}

#[cfg(feature = "log")]
mod imp {
    use pmem_core::env;
    use pmem_core::log::{Log, Variables};
    use pmem_core::sys;
    use std::ffi::CStr;
    use std::fmt;
    use std::sync::Once;

    static LOG: Log = Log::new("libvmemcache", "0.8");

    fn print(line: &CStr) {
        LOG.write(line.to_bytes());
    }

    /// Reads the variables, once.
    pub(crate) fn open() {
        const VARIABLES: Variables = Variables {
            level: c"VMEMCACHE_LEVEL",
            file: c"VMEMCACHE_FILE",
            columns: c"PMDK_LOG_ALIGN",
        };
        static DONE: Once = Once::new();
        DONE.call_once(|| {
            if !sys::is_secure() {
                // SAFETY: called once, and nobody has logged before.
                unsafe { LOG.open(&VARIABLES, env::get, print) };
            }
        });
    }

    pub(crate) fn line(
        level: u32,
        file: &str,
        line: u32,
        function: &str,
        text: fmt::Arguments<'_>,
    ) {
        open();
        if LOG.has(level) {
            LOG.line((level, file, line, function), text, print);
        }
    }
}

pub(crate) use imp::{line, open};
