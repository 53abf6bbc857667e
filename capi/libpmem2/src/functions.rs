//! `pmem2_get_*_fn`: one set of functions for each granularity.

use std::ffi::{c_int, c_uint, c_void};

use pmem::{CopyFlags, Cpu, Granularity, Persist};
use pmem_core::fmt::write_stderr;

use crate::map::Pmem2Map;

type PersistFn = unsafe extern "C" fn(*const c_void, usize);
type DrainFn = extern "C" fn();
type CopyFn = unsafe extern "C" fn(*mut c_void, *const c_void, usize, c_uint) -> *mut c_void;
type SetFn = unsafe extern "C" fn(*mut c_void, c_int, usize, c_uint) -> *mut c_void;

unsafe extern "C" fn persist_bytes(_: *const c_void, _: usize) {
    Cpu::BYTE.drain();
}

unsafe extern "C" fn persist_lines(address: *const c_void, size: usize) {
    // SAFETY: mapped by the contract of the function; flushing by the processor does not fail.
    let _ = unsafe { lines().persist(address.cast(), size) };
}

/// The signature has no way to tell that data is lost, and going on would hide it.
unsafe extern "C" fn persist_pages(address: *const c_void, size: usize) {
    if let Err(errno) = pmem::registry::sync_maps(address.addr(), size) {
        write_stderr(b"libpmem2: msync failed, what was stored may be lost: ");
        write_stderr(errno.message().as_bytes());
        write_stderr(b"\n");
        std::process::abort();
    }
}

unsafe extern "C" fn flush_nothing(_: *const c_void, _: usize) {}

unsafe extern "C" fn flush_lines(address: *const c_void, size: usize) {
    // SAFETY: as for `persist_lines`.
    let _ = unsafe { lines().flush(address.cast(), size) };
}

extern "C" fn drain_stores() {
    Cpu::BYTE.drain();
}

extern "C" fn drain_nothing() {}

/// Lines are not flushed when `PMEM_NO_FLUSH` says so.
fn lines() -> &'static Cpu {
    if pmem::auto_flush() == Ok(true) { Cpu::BYTE } else { Cpu::CACHE_LINE }
}

unsafe extern "C" fn copy_bytes(
    dest: *mut c_void,
    src: *const c_void,
    len: usize,
    flags: c_uint,
) -> *mut c_void {
    // SAFETY: forwarded from the caller's contract.
    let _ = unsafe { Cpu::BYTE.copy(dest.cast(), src.cast(), len, CopyFlags::from_bits(flags)) };
    dest
}

unsafe extern "C" fn copy_lines(
    dest: *mut c_void,
    src: *const c_void,
    len: usize,
    flags: c_uint,
) -> *mut c_void {
    // SAFETY: forwarded from the caller's contract.
    let _ = unsafe { lines().copy(dest.cast(), src.cast(), len, CopyFlags::from_bits(flags)) };
    dest
}

/// What the processor would flush, `msync` writes anyway.
unsafe extern "C" fn copy_pages(
    dest: *mut c_void,
    src: *const c_void,
    len: usize,
    flags: c_uint,
) -> *mut c_void {
    // SAFETY: forwarded from the caller's contract.
    let _ = unsafe { Cpu::BYTE.copy(dest.cast(), src.cast(), len, CopyFlags::NOFLUSH) };
    if !CopyFlags::from_bits(flags).contains(CopyFlags::NOFLUSH) {
        // SAFETY: mapped by the caller's contract.
        unsafe { persist_pages(dest, len) };
    }
    dest
}

unsafe extern "C" fn set_bytes(
    dest: *mut c_void,
    c: c_int,
    len: usize,
    flags: c_uint,
) -> *mut c_void {
    let flags = CopyFlags::from_bits(flags);
    // SAFETY: forwarded from the caller's contract.
    let _ = unsafe { Cpu::BYTE.set(dest.cast(), c.to_le_bytes()[0], len, flags) };
    dest
}

unsafe extern "C" fn set_lines(
    dest: *mut c_void,
    c: c_int,
    len: usize,
    flags: c_uint,
) -> *mut c_void {
    let flags = CopyFlags::from_bits(flags);
    // SAFETY: forwarded from the caller's contract.
    let _ = unsafe { lines().set(dest.cast(), c.to_le_bytes()[0], len, flags) };
    dest
}

unsafe extern "C" fn set_pages(
    dest: *mut c_void,
    c: c_int,
    len: usize,
    flags: c_uint,
) -> *mut c_void {
    // SAFETY: forwarded from the caller's contract.
    let _ = unsafe { Cpu::BYTE.set(dest.cast(), c.to_le_bytes()[0], len, CopyFlags::NOFLUSH) };
    if !CopyFlags::from_bits(flags).contains(CopyFlags::NOFLUSH) {
        // SAFETY: mapped by the caller's contract.
        unsafe { persist_pages(dest, len) };
    }
    dest
}

/// # Safety
/// `map` is a map.
unsafe fn choose<F>(map: *const Pmem2Map, byte: F, line: F, page: F) -> F {
    // SAFETY: a map by the caller's contract.
    match unsafe { (*map).0.granularity() } {
        Granularity::Byte => byte,
        Granularity::CacheLine => line,
        Granularity::Page => page,
    }
}

/// # Safety
/// `map` is a map.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pmem2_get_persist_fn(map: *mut Pmem2Map) -> PersistFn {
    trace!("pmem2_get_persist_fn", "map {map:p}");
    // SAFETY: forwarded from the caller's contract.
    unsafe { choose(map, persist_bytes as PersistFn, persist_lines, persist_pages) }
}

/// # Safety
/// `map` is a map.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pmem2_get_flush_fn(map: *mut Pmem2Map) -> PersistFn {
    trace!("pmem2_get_flush_fn", "map {map:p}");
    // SAFETY: forwarded from the caller's contract.
    unsafe { choose(map, flush_nothing as PersistFn, flush_lines, persist_pages) }
}

/// # Safety
/// `map` is a map.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pmem2_get_drain_fn(map: *mut Pmem2Map) -> DrainFn {
    trace!("pmem2_get_drain_fn", "map {map:p}");
    // SAFETY: forwarded from the caller's contract.
    unsafe { choose(map, drain_stores as DrainFn, drain_stores, drain_nothing) }
}

/// # Safety
/// `map` is a map.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pmem2_get_memmove_fn(map: *mut Pmem2Map) -> CopyFn {
    trace!("pmem2_get_memmove_fn", "map {map:p}");
    // SAFETY: forwarded from the caller's contract.
    unsafe { choose(map, copy_bytes as CopyFn, copy_lines, copy_pages) }
}

/// # Safety
/// `map` is a map.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pmem2_get_memcpy_fn(map: *mut Pmem2Map) -> CopyFn {
    trace!("pmem2_get_memcpy_fn", "map {map:p}");
    // SAFETY: forwarded from the caller's contract.
    unsafe { pmem2_get_memmove_fn(map) }
}

/// # Safety
/// `map` is a map.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pmem2_get_memset_fn(map: *mut Pmem2Map) -> SetFn {
    trace!("pmem2_get_memset_fn", "map {map:p}");
    // SAFETY: forwarded from the caller's contract.
    unsafe { choose(map, set_bytes as SetFn, set_lines, set_pages) }
}
