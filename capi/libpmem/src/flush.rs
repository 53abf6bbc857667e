//! Flushes, drains, and what they mean on this machine.

use std::ffi::{c_int, c_void};

use pmem::{Cpu, Persist};
use pmem_core::errno::Errno;
use pmem_core::{nvdimm, sys};

use crate::messages;
use crate::start::memory;
use crate::tracked::TRACKED;

/// Flushes and drains. Flushing by the processor does not fail.
///
/// # Safety
/// The range is mapped.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pmem_persist(addr: *const c_void, len: usize) {
    trace_hot!("pmem_persist", "addr {addr:p} len {len}");
    // SAFETY: forwarded from the caller's contract.
    let _ = unsafe { memory().persist(addr.cast(), len) };
}

/// Starts to write back the lines that a range touches.
///
/// # Safety
/// The range is mapped.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pmem_flush(addr: *const c_void, len: usize) {
    trace_hot!("pmem_flush", "addr {addr:p} len {len}");
    // SAFETY: forwarded from the caller's contract.
    let _ = unsafe { memory().flush(addr.cast(), len) };
}

/// Waits for what was flushed.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn pmem_drain() {
    trace_hot!("pmem_drain", "called");
    memory().drain();
}

/// As `pmem_flush`, on every machine.
///
/// # Safety
/// The range is mapped.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pmem_deep_flush(addr: *const c_void, len: usize) {
    trace_hot!("pmem_deep_flush", "addr {addr:p} len {len}");
    // SAFETY: forwarded from the caller's contract.
    let _ = unsafe { Cpu::CACHE_LINE.flush(addr.cast(), len) };
}

fn status(result: Result<(), Errno>, operation: &str) -> c_int {
    match result {
        Ok(()) => 0,
        Err(errno) => {
            messages::fail(format_args!("{operation}: {errno}"));
            errno.set();
            -1
        }
    }
}

/// Waits until what was flushed in a range has reached the medium.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn pmem_deep_drain(addr: *const c_void, len: usize) -> c_int {
    trace!("pmem_deep_drain", "addr {addr:p} len {len}");
    status(pmem::deep_flush(&TRACKED, addr.addr(), len), "deep drain")
}

/// Makes a range durable down to the medium.
///
/// # Safety
/// The range is mapped.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pmem_deep_persist(addr: *const c_void, len: usize) -> c_int {
    trace!("pmem_deep_persist", "addr {addr:p} len {len}");
    // SAFETY: forwarded from the caller's contract.
    unsafe { pmem_deep_flush(addr, len) };
    pmem_deep_drain(addr, len)
}

/// Makes a range of any mapped file durable.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn pmem_msync(addr: *const c_void, len: usize) -> c_int {
    trace!("pmem_msync", "addr {addr:p} len {len}");
    let start = addr.addr() & !(sys::page_size() - 1);
    let len = len.wrapping_add(addr.addr() - start);
    status(sys::sync_mapping(start, len), "msync")
}

/// 1 when stores are durable without a flush, 0 when not, -1 when the platform cannot be asked.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn pmem_has_auto_flush() -> c_int {
    trace!("pmem_has_auto_flush", "called");
    match nvdimm::SYSTEM.auto_flush() {
        Ok(answer) => c_int::from(answer),
        Err(errno) => status(Err(errno), "persistence domain"),
    }
}

/// Always 0.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn pmem_has_hw_drain() -> c_int {
    trace_hot!("pmem_has_hw_drain", "called");
    0
}
