//! The log of the debug twin (feature `log`): what is called, and what went wrong. The other library has none, and
//! calls of the macro are compiled away.

/// One line, at a level.
macro_rules! log {
    ($level:literal, $function:literal, $($text:tt)*) => {
        if cfg!(feature = "log") {
            crate::log::line($level, file!(), line!(), $function, format_args!($($text)*));
        }
    };
}

#[cfg(not(feature = "log"))]
mod imp {
    use core::fmt;

    pub(crate) fn open() {}

    #[inline(always)]
    pub(crate) fn line(_: u32, _: &str, _: u32, _: &str, _: fmt::Arguments<'_>) {}

    /// Where a refusal to run goes.
    pub(crate) fn write(text: &[u8]) {
        pmem_core::fmt::write_stderr(text);
    }
}

#[cfg(feature = "log")]
mod imp {
    use core::ffi::CStr;
    use core::fmt;
    use pmem_core::log::{Log, Variables};

    use crate::environment;

    static LOG: Log = Log::new("libvmmalloc", "1.1");

    /// Opens it. Called once, before the pool is made.
    pub(crate) fn open() {
        const VARIABLES: Variables = Variables {
            level: c"VMMALLOC_LOG_LEVEL",
            file: c"VMMALLOC_LOG_FILE",
            columns: c"PMDK_LOG_ALIGN",
        };
        // SAFETY: only the thread that starts the library is here, and others log nothing yet.
        unsafe { LOG.open(&VARIABLES, environment::get, print) };
    }

    pub(crate) fn line(
        level: u32,
        file: &str,
        line: u32,
        function: &str,
        text: fmt::Arguments<'_>,
    ) {
        if LOG.has(level) {
            LOG.line((level, file, line, function), text, print);
        }
    }

    fn print(text: &CStr) {
        write(text.to_bytes());
    }

    /// Writes to the log file, or to standard error.
    pub(crate) fn write(text: &[u8]) {
        LOG.write(text);
    }
}

pub(crate) use imp::{line, open, write};
