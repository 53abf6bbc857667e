//! Refusing to run: one line on standard error (or in the debug twin's log), then abort. The texts are part of the contract.

use core::fmt::{self, Write};
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
        crate::log::write(text.as_bytes());
        text.clear();
        text.push_bytes(b"\n");
    }
    // On standard error; the debug twin has its log for it.
    crate::log::write(text.as_bytes());
    sys::abort_with(b"")
}
