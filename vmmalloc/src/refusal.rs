//! Refusing to run: one line on standard error, then abort. The texts are part of the contract.

use core::ffi::CStr;
use core::fmt::{self, Write};
use pmem_core::errno::Errno;
use pmem_core::fmt::StackBuf;
use pmem_core::sys;

/// Writes `Error (libvmmalloc): <what>` and ends the process with SIGABRT.
#[cold]
pub(crate) fn refuse(what: impl fmt::Display) -> ! {
    write(format_args!("{what}\n"))
}

/// As [`refuse`] for what fails around a fork: an empty line follows the text.
#[cold]
pub(crate) fn refuse_fork(what: &str) -> ! {
    write(format_args!("{what}\n\n"))
}

fn write(what: fmt::Arguments<'_>) -> ! {
    const LONGEST: usize = 1024;
    let mut text = StackBuf::<LONGEST>::new();
    // Writing to the buffer cannot fail; what does not fit is cut.
    let _ = write!(text, "Error (libvmmalloc): {what}");
    if text.is_cut() {
        pmem_core::fmt::write_stderr(text.as_bytes());
        sys::abort_with(b"\n")
    }
    sys::abort_with(text.as_bytes())
}

/// The pool could not be made: the system's reason, then the values concerned and what to do.
pub(crate) struct NoPool<'a> {
    pub(crate) errno: Errno,
    pub(crate) directory: &'a CStr,
    pub(crate) size: u64,
}

impl fmt::Display for NoPool<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let directory = self.directory.to_bytes().escape_ascii();
        let size = self.size;
        write!(f, "vmem pool creation failed: {} (", self.errno)?;
        match self.errno {
            Errno::ENOENT | Errno::ENOTDIR | Errno::EACCES | Errno::EROFS => write!(
                f,
                "VMMALLOC_POOL_DIR={directory} must be an existing directory that can be written to"
            ),
            Errno::ENOSPC | Errno::EDQUOT => write!(
                f,
                "VMMALLOC_POOL_SIZE={size} does not fit into VMMALLOC_POOL_DIR={directory}; choose \
                 less, or VMMALLOC_SPACE=lazy to take space only as it is needed"
            ),
            Errno::EFBIG => write!(
                f,
                "VMMALLOC_POOL_SIZE={size} is beyond the limit of file sizes (ulimit -f) or that \
                 of the file system of VMMALLOC_POOL_DIR={directory}"
            ),
            Errno::ENOMEM => write!(
                f,
                "VMMALLOC_POOL_SIZE={size} does not fit into the address space; see ulimit -v"
            ),
            Errno::EINVAL => write!(f, "VMMALLOC_POOL_SIZE={size} is out of range"),
            _ => write!(f, "VMMALLOC_POOL_DIR={directory}, VMMALLOC_POOL_SIZE={size}"),
        }?;
        f.write_str(")")
    }
}
