//! Valgrind's tools for data races: they understand locks of the C library only, and would report every access to what the
//! library shares between threads. So the library's own memory is kept from them.

use pmem_core::valgrind;
use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

static WATCHED: AtomicBool = AtomicBool::new(false);

/// Looks whether valgrind is there, once, before anything is shared.
pub(crate) fn look() {
    static DONE: Once = Once::new();
    DONE.call_once(|| {
        if valgrind::is_running() {
            // SAFETY: the callback takes what it is given, and nothing else.
            unsafe { libc::dl_iterate_phdr(Some(ignore_own), ptr::null_mut()) };
            WATCHED.store(true, Relaxed);
        }
    });
}

/// A block that the library has got.
#[inline]
pub(crate) fn ignore(block: *const u8, len: usize) {
    if WATCHED.load(Relaxed) {
        valgrind::ignore_races(block, len);
    }
}

/// A block that it gives back.
#[inline]
pub(crate) fn notice(block: *const u8, len: usize) {
    if WATCHED.load(Relaxed) {
        valgrind::notice_races(block, len);
    }
}

/// Keeps the variables of the shared object that this is in from the tools; 1 ends the search. A program that was linked
/// with the archive is left alone: its variables are its own.
unsafe extern "C" fn ignore_own(
    object: *mut libc::dl_phdr_info,
    _: usize,
    _: *mut c_void,
) -> c_int {
    // SAFETY: the loader's, for the time of the call.
    let object = unsafe { &*object };
    // SAFETY: as many as it says.
    let headers =
        unsafe { std::slice::from_raw_parts(object.dlpi_phdr, usize::from(object.dlpi_phnum)) };
    let segments = headers
        .iter()
        .filter(|header| header.p_type == libc::PT_LOAD)
        .map(|header| (object.dlpi_addr + header.p_vaddr, header.p_memsz, header.p_flags));
    let own = (&raw const WATCHED).addr() as u64;
    let mut ours = segments.clone();
    if !ours.any(|(start, len, _)| (start..start + len).contains(&own)) {
        return 0;
    }
    // SAFETY: a C string.
    if unsafe { *object.dlpi_name } != 0 {
        for (start, len, _) in segments.filter(|(_, _, flags)| flags & libc::PF_W != 0) {
            valgrind::ignore_races(ptr::without_provenance(start as usize), len as usize);
        }
    }
    1
}
