//! Ranges that are persistent memory.

use std::ffi::{c_int, c_void};
use std::ptr::NonNull;
use std::sync::OnceLock;

use pmem::registry::Registry;
use pmem_core::errno::Errno;
use pmem_core::persist::integer;
use pmem_core::{env, mapping, sys};

use crate::messages;

/// What this library has mapped so that flushing by the processor is enough.
pub(crate) static TRACKED: Registry = Registry::new();

/// `PMEM_IS_PMEM_FORCE`, read at the first question.
fn forced() -> Option<bool> {
    static FORCED: OnceLock<Option<bool>> = OnceLock::new();
    *FORCED.get_or_init(|| match integer(env::get(c"PMEM_IS_PMEM_FORCE")?.to_bytes()) {
        Some(0) => Some(false),
        Some(1) => Some(true),
        _ => None,
    })
}

/// 1 when the whole range is persistent memory.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn pmem_is_pmem(addr: *const c_void, len: usize) -> c_int {
    trace_hot!("pmem_is_pmem", "addr {addr:p} len {len}");
    let answer = match forced() {
        Some(forced) => forced && len != 0,
        None => TRACKED.covers(addr.addr(), len),
    };
    c_int::from(answer)
}

/// Unmaps what `pmem_map_file` mapped.
///
/// # Safety
/// Nobody uses the range any more.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pmem_unmap(addr: *mut c_void, len: usize) -> c_int {
    trace!("pmem_unmap", "addr {addr:p} len {len}");
    let page = sys::page_size();
    let rounded = len.checked_next_multiple_of(page).unwrap_or(len);
    let result = match NonNull::new(addr.cast::<u8>()) {
        Some(address) if addr.addr().is_multiple_of(page) && len != 0 => {
            TRACKED.cut(addr.addr(), rounded);
            mapping::will_be_unmapped(address.as_ptr(), rounded);
            // SAFETY: the caller gave up the range.
            unsafe { sys::unmap(address, rounded) }
        }
        _ => Err(Errno::EINVAL),
    };
    match result {
        Ok(()) => 0,
        Err(errno) => {
            messages::fail(format_args!("munmap: {errno}"));
            errno.set();
            -1
        }
    }
}
