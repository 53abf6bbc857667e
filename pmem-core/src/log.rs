//! The log of the C libraries' debug twins.
//!
//! Lines are `<library>: <LEVEL> [file:line function] text`. Three variables steer it: how much is logged (a number;
//! 1 errors, 2 basic operations, 3 or 4 every call), to which file (a `-` at the end of its name is followed by the
//! process id), and how many columns the part before the text fills.

use core::cell::UnsafeCell;
use core::ffi::CStr;
use core::fmt::{self, Write};
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed};

use crate::env::parse_size_atoll;
use crate::errno::{Errno, ErrnoGuard};
use crate::file::Descriptor;
use crate::fmt::{StackBuf, write_all, write_stderr};
use crate::sys::{self, Access, Fd, OpenFlags};

/// Names of the variables.
#[derive(Copy, Clone, Debug)]
pub struct Variables {
    /// How much.
    pub level: &'static CStr,
    /// Where to.
    pub file: &'static CStr,
    /// Columns before the text.
    pub columns: &'static CStr,
}

/// A log; of the library that it is a static of.
pub struct Log {
    library: &'static str,
    /// The version of its interface.
    version: &'static str,
    level: AtomicU32,
    columns: AtomicUsize,
    file: UnsafeCell<Option<Descriptor>>,
}

// SAFETY: `file` is written once, in `open`, before others log; a descriptor can be used by all threads.
unsafe impl Sync for Log {}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("library", &self.library).finish_non_exhaustive()
    }
}

/// As atoi, but not below 0.
fn number(text: Option<&CStr>) -> u32 {
    let value = text.map_or(0, |text| parse_size_atoll(text.to_bytes()) as i32);
    u32::try_from(value).unwrap_or(0)
}

impl Log {
    /// A log of nothing, to standard error; of a library whose interface has this version.
    #[must_use]
    pub const fn new(library: &'static str, version: &'static str) -> Log {
        Log {
            library,
            version,
            level: AtomicU32::new(0),
            columns: AtomicUsize::new(0),
            file: UnsafeCell::new(None),
        }
    }

    /// Reads the variables through `get` and logs who we are, by `print`. A file that cannot be opened ends the
    /// process, with a line on standard error.
    ///
    /// # Safety
    /// Called once, before anybody logs.
    pub unsafe fn open<'e>(
        &self,
        variables: &Variables,
        get: impl Fn(&'static CStr) -> Option<&'e CStr>,
        print: impl Fn(&CStr),
    ) {
        self.level.store(number(get(variables.level)), Relaxed);
        self.columns.store(number(get(variables.columns)) as usize, Relaxed);
        if let Some(name) = get(variables.file).filter(|name| !name.is_empty()) {
            match open_file(name) {
                // SAFETY: contract.
                Ok(file) => unsafe { *self.file.get() = Some(file) },
                Err(errno) => self.refuse(variables.file, name, errno),
            }
        }
        let mut program = [0; 1024];
        let len = sys::read_link_at(Fd::CURRENT_DIRECTORY, c"/proc/self/exe", &mut program);
        let program = program.get(..len.unwrap_or(0)).unwrap_or(&[]).escape_ascii();
        let say = |text: fmt::Arguments<'_>| {
            self.line((1, file!(), line!(), "open"), text, &print);
        };
        say(format_args!("pid {}: program: {program}", sys::process_id()));
        say(format_args!("{} version {}", self.library, self.version));
        say(format_args!("src version: {}", env!("CARGO_PKG_VERSION")));
    }

    fn refuse(&self, variable: &CStr, name: &CStr, errno: Errno) -> ! {
        let mut start = StackBuf::<128>::new();
        let _ = write!(start, "Error ({}): ", self.library);
        start.push_bytes(variable.to_bytes());
        start.push_bytes(b"=");
        write_stderr(start.as_bytes());
        write_stderr(name.to_bytes());
        let mut end = StackBuf::<128>::new();
        let _ = writeln!(end, ": {errno}");
        sys::abort_with(end.as_bytes())
    }

    /// Whether lines of a level are written.
    pub fn has(&self, level: u32) -> bool {
        level <= self.level.load(Relaxed)
    }

    /// Hands a line to `print`, if its level is wanted. `place` is level, file, line and function. Keeps errno.
    #[cold]
    pub fn line(
        &self,
        place: (u32, &str, u32, &str),
        text: fmt::Arguments<'_>,
        print: impl FnOnce(&CStr),
    ) {
        let (level, file, line, function) = place;
        if !self.has(level) {
            return;
        }
        let _errno = ErrnoGuard::new();
        let name = file.rsplit('/').next().unwrap_or(file);
        const MOST: usize = 1024;
        let mut out = StackBuf::<MOST>::new();
        let _ = write!(out, "<{}>: <{level}> [{name}:{line} {function}] ", self.library);
        while out.as_bytes().len() < self.columns.load(Relaxed).min(MOST / 2) {
            out.push_bytes(b" ");
        }
        let _ = out.write_fmt(text);
        // Two bytes for the ends of line and string: of a text that is too long, the end is lost.
        let mut whole = StackBuf::<{ MOST + 2 }>::new();
        whole.push_bytes(out.as_bytes());
        whole.push_bytes(b"\n");
        if let Some(text) = whole.as_c_str() {
            print(text);
        }
    }

    /// Writes to the log file, or to standard error.
    pub fn write(&self, text: &[u8]) {
        // SAFETY: written before anybody logs.
        match unsafe { &*self.file.get() } {
            Some(file) => {
                // Not to what the program has put on our number.
                if let Some((fd, _)) = file.verified() {
                    write_all(fd, text);
                }
            }
            None => write_stderr(text),
        }
    }
}

/// Logs one line at a level, in a crate with a [`library_log`](crate::library_log). Compiled away without the
/// crate's feature `log`.
#[macro_export]
#[expect(clippy::crate_in_macro_def, reason = "the log is that of the crate that uses the macro")]
macro_rules! log_line {
    ($level:literal, $function:literal, $($text:tt)*) => {
        if cfg!(feature = "log") {
            crate::log::line($level, file!(), line!(), $function, format_args!($($text)*));
        }
    };
}

/// Defines the log of a library, to be used in its module `log`: `open`, called once when the library starts; `line`,
/// for [`log_line`](crate::log_line); and `write`, for text that has no level.
///
/// With the crate's feature `log` (the debug twin) lines are handed to `print` and `write` goes to the log file.
/// Without it there is no log, and `write` goes to standard error.
#[macro_export]
macro_rules! library_log {
    ($library:literal, $version:literal, $variables:expr, get: $get:path, print: $print:path) => {
        #[cfg(not(feature = "log"))]
        mod imp {
            pub(crate) fn open() {}

            #[inline(always)]
            pub(crate) fn line(_: u32, _: &str, _: u32, _: &str, _: core::fmt::Arguments<'_>) {}

            pub(crate) fn write(text: &[u8]) {
                $crate::fmt::write_stderr(text);
            }
        }

        #[cfg(feature = "log")]
        mod imp {
            use $crate::log::{Log, Variables};

            static LOG: Log = Log::new($library, $version);

            pub(crate) fn open() {
                const VARIABLES: Variables = $variables;
                // The environment of a program with more rights than its caller is not to be trusted.
                if !$crate::sys::is_secure() {
                    // SAFETY: the library is starting; this is called once, and nobody logs yet.
                    unsafe { LOG.open(&VARIABLES, $get, $print) };
                }
            }

            pub(crate) fn line(
                level: u32,
                file: &str,
                line: u32,
                function: &str,
                text: core::fmt::Arguments<'_>,
            ) {
                if LOG.has(level) {
                    LOG.line((level, file, line, function), text, $print);
                }
            }

            pub(crate) fn write(text: &[u8]) {
                LOG.write(text);
            }
        }

        pub(crate) use imp::{line, open, write};
    };
}

fn open_file(name: &CStr) -> Result<Descriptor, Errno> {
    let mut path = StackBuf::<4096>::new();
    path.push_bytes(name.to_bytes());
    if name.to_bytes().ends_with(b"-") {
        let _ = write!(path, "{}", sys::process_id());
    }
    let path = path.as_c_str().ok_or(Errno::ENAMETOOLONG)?;
    let flags = OpenFlags::new(Access::ReadWrite).create();
    let fd = sys::open_at(Fd::CURRENT_DIRECTORY, path, flags)?;
    // Pipes and terminals have no length.
    let _ = sys::truncate(fd, 0);
    // SAFETY: opened above.
    unsafe { Descriptor::adopt(fd) }.map(|(file, _)| file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::cell::RefCell;
    use std::string::String;

    fn logged(level: &'static CStr, columns: &'static CStr, text: &str) -> String {
        let variables = Variables { level: c"L", file: c"F", columns: c"C" };
        let log = Log::new("libx", "2.3");
        let out = RefCell::new(String::new());
        let print = |line: &CStr| out.borrow_mut().push_str(line.to_str().unwrap());
        let get = |name: &'static CStr| match name.to_bytes() {
            b"L" => Some(level),
            b"C" => Some(columns),
            _ => None,
        };
        // SAFETY: once, here.
        unsafe { log.open(&variables, get, print) };
        out.borrow_mut().clear();
        log.line((2, "a/b/c.rs", 17, "f"), format_args!("{text}"), print);
        out.into_inner()
    }

    #[test]
    #[cfg_attr(miri, ignore = "reads /proc")]
    fn lines_have_their_form() {
        assert_eq!(logged(c"2", c"", "size 3"), "<libx>: <2> [c.rs:17 f] size 3\n");
        assert_eq!(logged(c"1", c"", "size 3"), "");
        let aligned = logged(c"9", c"40", "x");
        assert_eq!((aligned.len(), &aligned[39..]), (42, " x\n"));
        let long = logged(c"2", c"", &"y".repeat(5000));
        assert_eq!(long.len(), 1025);
        assert!(long.ends_with("yy\n"));
    }
}
