//! Copies and sets.

use std::ffi::{c_int, c_uint, c_void};

use pmem::{CopyFlags, Persist};

use crate::start::memory;

/// C: `memmove` with flags.
///
/// # Safety
/// `src` is readable and `dest` writable for `len` bytes.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pmem_memmove(
    dest: *mut c_void,
    src: *const c_void,
    len: usize,
    flags: c_uint,
) -> *mut c_void {
    trace_hot!("pmem_memmove", "dest {dest:p} src {src:p} len {len} flags {flags}");
    let flags = CopyFlags::from_bits(flags);
    // SAFETY: forwarded from the caller's contract. Flushing by the processor does not fail.
    let _ = unsafe { memory().copy(dest.cast(), src.cast(), len, flags) };
    dest
}

/// C: as [`pmem_memmove`].
///
/// # Safety
/// As for [`pmem_memmove`].
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pmem_memcpy(
    dest: *mut c_void,
    src: *const c_void,
    len: usize,
    flags: c_uint,
) -> *mut c_void {
    // SAFETY: forwarded from the caller's contract.
    unsafe { pmem_memmove(dest, src, len, flags) }
}

/// C: `memset` with flags.
///
/// # Safety
/// `dest` is writable for `len` bytes.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pmem_memset(
    dest: *mut c_void,
    c: c_int,
    len: usize,
    flags: c_uint,
) -> *mut c_void {
    trace_hot!("pmem_memset", "dest {dest:p} c {c} len {len} flags {flags}");
    let flags = CopyFlags::from_bits(flags);
    // As memset does: the low byte.
    let byte = c.to_le_bytes()[0];
    // SAFETY: forwarded from the caller's contract.
    let _ = unsafe { memory().set(dest.cast(), byte, len, flags) };
    dest
}

macro_rules! with_flags {
    (@copy $name:ident, $target:ident, $flags:expr) => {
        /// C: the function of the name's first half with these flags.
        ///
        /// # Safety
        /// As for [`pmem_memmove`].
        #[unsafe(no_mangle)]
        pub(crate) unsafe extern "C" fn $name(
            dest: *mut c_void,
            src: *const c_void,
            len: usize,
        ) -> *mut c_void {
            // SAFETY: forwarded from the caller's contract.
            unsafe { $target(dest, src, len, $flags.bits()) }
        }
    };
    (@set $name:ident, $flags:expr) => {
        /// C: `pmem_memset` with these flags.
        ///
        /// # Safety
        /// As for [`pmem_memset`].
        #[unsafe(no_mangle)]
        pub(crate) unsafe extern "C" fn $name(
            dest: *mut c_void,
            c: c_int,
            len: usize,
        ) -> *mut c_void {
            // SAFETY: forwarded from the caller's contract.
            unsafe { pmem_memset(dest, c, len, $flags.bits()) }
        }
    };
}

with_flags!(@copy pmem_memmove_persist, pmem_memmove, CopyFlags::NONE);
with_flags!(@copy pmem_memcpy_persist, pmem_memcpy, CopyFlags::NONE);
with_flags!(@set pmem_memset_persist, CopyFlags::NONE);
with_flags!(@copy pmem_memmove_nodrain, pmem_memmove, CopyFlags::NODRAIN);
with_flags!(@copy pmem_memcpy_nodrain, pmem_memcpy, CopyFlags::NODRAIN);
with_flags!(@set pmem_memset_nodrain, CopyFlags::NODRAIN);
