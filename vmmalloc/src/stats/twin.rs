//! What the debug twin logs at exit with `VMMALLOC_LOG_STATS=1`, in the reference's form.
//!
//! The heap that it calls the system's is the memory outside of the pool: ours has one when the pool may overflow.

use core::ffi::{CStr, c_void};
use pmem_core::errno::ErrnoGuard;
use vmem_engine::Listing;

use crate::log;
use crate::runtime::HEAP;

/// Has it written when the process ends, if `value` says so.
pub(crate) fn install(value: Option<&CStr>) {
    if value == Some(c"1") {
        super::at_end(write);
    }
}

extern "C" fn write(_: *mut c_void) {
    let _errno = ErrnoGuard::new();
    let [pool, outside] = HEAP.listings();
    let pool = pool.or_else(|| HEAP.runtime().listing());
    for (title, listing) in [
        (c"=========   system heap  ========\n", outside),
        (c"=========    vmem pool   ========\n", pool),
    ] {
        log::print(title);
        listing.unwrap_or_else(Listing::of_nothing).print(b"gba", &log::print);
    }
}
