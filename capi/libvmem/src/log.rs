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
    use core::cell::UnsafeCell;
    use core::ffi::CStr;
    use core::fmt::{self, Write};
    use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed};
    use pmem_core::env::{self, parse_size_atoll};
    use pmem_core::errno::{Errno, ErrnoGuard};
    use pmem_core::file::Descriptor;
    use pmem_core::fmt::{StackBuf, write_all, write_stderr};
    use pmem_core::sys::{self, Access, Fd, OpenFlags};

    use crate::functions;

    static LEVEL: AtomicU32 = AtomicU32::new(0);
    /// Columns that the part before the text fills.
    static COLUMNS: AtomicUsize = AtomicUsize::new(0);

    struct File(UnsafeCell<Option<Descriptor>>);

    // SAFETY: written once, when the library starts; a descriptor can be used by all threads.
    unsafe impl Sync for File {}

    static FILE: File = File(UnsafeCell::new(None));

    /// As atoi, but not below 0.
    fn number(name: &CStr) -> u32 {
        let value = env::get(name).map_or(0, |text| parse_size_atoll(text.to_bytes()) as i32);
        u32::try_from(value).unwrap_or(0)
    }

    pub(crate) fn open() {
        if sys::is_secure() {
            return;
        }
        LEVEL.store(number(c"VMEM_LOG_LEVEL"), Relaxed);
        COLUMNS.store(number(c"PMDK_LOG_ALIGN") as usize, Relaxed);
        if let Some(name) = env::get(c"VMEM_LOG_FILE").filter(|name| !name.is_empty())
            && let Err(errno) = open_file(name)
        {
            write_stderr(b"Error (libvmem): VMEM_LOG_FILE=");
            write_stderr(name.to_bytes());
            let mut rest = StackBuf::<128>::new();
            let _ = writeln!(rest, ": {errno}");
            sys::abort_with(rest.as_bytes());
        }
        let mut program = [0; 1024];
        let len = sys::read_link_at(Fd::CURRENT_DIRECTORY, c"/proc/self/exe", &mut program);
        let program = program.get(..len.unwrap_or(0)).unwrap_or(&[]).escape_ascii();
        let say = |text: fmt::Arguments<'_>| line(1, file!(), line!(), "open", text);
        say(format_args!("pid {}: program: {program}", sys::process_id()));
        say(format_args!("libvmem version 1.1"));
        say(format_args!("src version: {}", env!("CARGO_PKG_VERSION")));
    }

    fn open_file(name: &CStr) -> Result<(), Errno> {
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
        let (file, _) = unsafe { Descriptor::adopt(fd) }?;
        // SAFETY: the library is starting; nobody logs yet.
        unsafe { *FILE.0.get() = Some(file) };
        Ok(())
    }

    pub(crate) fn line(
        level: u32,
        file: &str,
        line: u32,
        function: &str,
        text: fmt::Arguments<'_>,
    ) {
        if level > LEVEL.load(Relaxed) {
            return;
        }
        let _errno = ErrnoGuard::new();
        let name = file.rsplit('/').next().unwrap_or(file);
        let mut out = StackBuf::<1024>::new();
        let _ = write!(out, "<libvmem>: <{level}> [{name}:{line} {function}] ");
        while out.as_bytes().len() < COLUMNS.load(Relaxed).min(512) {
            out.push_bytes(b" ");
        }
        let _ = out.write_fmt(text);
        if out.is_cut() {
            // The end is lost, the line end is not.
            let cut = out.clone();
            out.clear();
            out.push_bytes(&cut.as_bytes()[..cut.as_bytes().len() - 2]);
        }
        out.push_bytes(b"\n");
        if let Some(text) = out.as_c_str() {
            functions::print(text);
        }
    }

    /// Writes to the log file, or to standard error.
    pub(crate) fn write(text: &[u8]) {
        // SAFETY: written before any thread could be here.
        match unsafe { &*FILE.0.get() } {
            Some(file) => {
                if let Some((fd, _)) = file.verified() {
                    write_all(fd, text);
                }
            }
            None => write_stderr(text),
        }
    }
}

pub(crate) use imp::{line, open, write};
