//! Errors of the program that leave no way to go on: one line on standard error, then abort.

use core::fmt::Write;
use pmem_core::fmt::StackBuf;
use pmem_core::sys;

#[cold]
#[inline(never)]
fn die(what: &str, address: usize) -> ! {
    let mut line = StackBuf::<160>::new();
    // The buffer is large enough; a truncated line would be written all the same.
    let _ = writeln!(line, "vmem: {what} {address:#x}");
    sys::abort_with(line.as_bytes())
}

/// A block was freed twice.
#[cold]
pub(crate) fn double_free(pointer: *const u8) -> ! {
    die("double free of block", pointer.addr())
}

/// `pointer` is not the start of a live block.
#[cold]
pub(crate) fn invalid_pointer(call: &'static str, pointer: *const u8) -> ! {
    let mut what = StackBuf::<64>::new();
    let _ = write!(what, "{call}(): not the start of a live block:");
    die(core::str::from_utf8(what.as_bytes()).unwrap_or("invalid pointer"), pointer.addr())
}

/// A check found a fault (`--cfg pmem_scan` builds).
#[cfg(pmem_scan)]
#[cold]
pub(crate) fn inconsistent(fault: &crate::Fault) -> ! {
    die(fault.what, fault.at)
}
