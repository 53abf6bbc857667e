//! The exported functions: those of the contract here, further ones in `symbols/extra.rs`.
//!
//! `malloc` and `free` are the heap's fast paths and nothing else: a thread that has no cache yet (and
//! a process that has no pool yet) falls through to the slow path, which is where starting happens.

mod extra;

use core::ffi::{c_int, c_void};
use core::ptr;
use pmem_core::errno::{Errno, ErrnoGuard};
use pmem_core::log_line;

use crate::runtime::HEAP;

pub(crate) use extra::{
    free_aligned_sized, free_sized, mallinfo, mallinfo2, malloc_info, malloc_stats, malloc_trim,
    mallopt,
};

/// C: `void *malloc(size_t size)`. A size of 0 gives a block of 8 bytes. ENOMEM.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn malloc(size: usize) -> *mut c_void {
    log_line!(4, "malloc", "size {size}");
    HEAP.alloc(size).cast()
}

/// C: `void free(void *ptr)`. Keeps errno.
///
/// # Safety
/// `pointer` is null or a live block that nobody uses any more.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn free(pointer: *mut c_void) {
    log_line!(4, "free", "ptr {pointer:p}");
    // SAFETY: contract.
    unsafe { HEAP.free(pointer.cast()) }
}

/// C: `void cfree(void *ptr)`: an old name of free.
///
/// # Safety
/// As [`free`].
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn cfree(pointer: *mut c_void) {
    log_line!(4, "cfree", "ptr {pointer:p}");
    // SAFETY: contract.
    unsafe { HEAP.free(pointer.cast()) }
}

/// C: `void *calloc(size_t nmemb, size_t size)`. ENOMEM, also when the product overflows.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn calloc(count: usize, size: usize) -> *mut c_void {
    log_line!(4, "calloc", "nmemb {count}, size {size}");
    match count.checked_mul(size) {
        Some(total) => HEAP.alloc_zeroed(total).cast(),
        None => fail(Errno::ENOMEM),
    }
}

/// C: `void *realloc(void *ptr, size_t size)`. A size of 0 frees the block and gives null, with errno
/// as it was. ENOMEM; the block is then as before.
///
/// # Safety
/// `pointer` is null or a live block that only the caller uses.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn realloc(pointer: *mut c_void, size: usize) -> *mut c_void {
    log_line!(4, "realloc", "ptr {pointer:p}, size {size}");
    // SAFETY: contract.
    unsafe {
        if size == 0 && !pointer.is_null() {
            HEAP.free(pointer.cast());
            return ptr::null_mut();
        }
        HEAP.realloc(pointer.cast(), size).cast()
    }
}

/// C: `void *memalign(size_t boundary, size_t size)`. EINVAL when the alignment is no power of two;
/// ENOMEM.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn memalign(align: usize, size: usize) -> *mut c_void {
    log_line!(4, "memalign", "boundary {align}  size {size}");
    aligned(align, size)
}

fn aligned(align: usize, size: usize) -> *mut c_void {
    if !align.is_power_of_two() {
        return fail(Errno::EINVAL);
    }
    HEAP.alloc_aligned(align, size).cast()
}

/// C: `void *aligned_alloc(size_t alignment, size_t size)`. As [`memalign`]; the size need not be a
/// multiple of the alignment.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn aligned_alloc(align: usize, size: usize) -> *mut c_void {
    log_line!(4, "aligned_alloc", "alignment {align}  size {size}");
    aligned(align, size)
}

/// C: `int posix_memalign(void **memptr, size_t alignment, size_t size)`. Returns EINVAL when the
/// alignment is no power of two (1, 2 and 4 are allowed), and ENOMEM with null stored; never changes
/// errno.
///
/// # Safety
/// `result` can be written to.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn posix_memalign(
    result: *mut *mut c_void,
    align: usize,
    size: usize,
) -> c_int {
    log_line!(4, "posix_memalign", "alignment {align}  size {size}");
    if !align.is_power_of_two() {
        return Errno::EINVAL.0;
    }
    let _errno = ErrnoGuard::new();
    let block = HEAP.alloc_aligned(align, size);
    // SAFETY: contract.
    unsafe { result.write(block.cast()) };
    if block.is_null() { Errno::ENOMEM.0 } else { 0 }
}

/// C: `void *valloc(size_t size)`: aligned to a page. ENOMEM.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn valloc(size: usize) -> *mut c_void {
    log_line!(4, "valloc", "size {size}");
    HEAP.alloc_aligned(pmem_core::sys::page_size(), size).cast()
}

/// C: `void *pvalloc(size_t size)`: whole pages, at least one, and not more than needed. ENOMEM.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn pvalloc(size: usize) -> *mut c_void {
    log_line!(4, "pvalloc", "size {size}");
    let page = pmem_core::sys::page_size();
    match size.max(1).checked_next_multiple_of(page) {
        Some(size) if page == vmem_engine::config::PAGE => HEAP.alloc_pages(size).cast(),
        // Larger pages than the engine's: whole ones all the same, if not always exactly as many.
        Some(size) => HEAP.alloc_aligned(page, size).cast(),
        None => fail(Errno::ENOMEM),
    }
}

/// C: `size_t malloc_usable_size(void *ptr)`. 0 for null.
///
/// # Safety
/// `pointer` is null or a live block.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn malloc_usable_size(pointer: *mut c_void) -> usize {
    // SAFETY: contract.
    unsafe { HEAP.usable_size(pointer.cast()) }
}

#[cold]
fn fail(errno: Errno) -> *mut c_void {
    errno.set();
    ptr::null_mut()
}

/// Variables that old programs may store functions in, for a C library that is long gone. Nothing
/// reads them.
mod hooks {
    use super::*;

    #[unsafe(no_mangle)]
    pub(super) static mut __malloc_hook: extern "C" fn(usize) -> *mut c_void = malloc;
    #[unsafe(no_mangle)]
    pub(super) static mut __realloc_hook: unsafe extern "C" fn(*mut c_void, usize) -> *mut c_void =
        realloc;
    #[unsafe(no_mangle)]
    pub(super) static mut __memalign_hook: extern "C" fn(usize, usize) -> *mut c_void = memalign;
    #[unsafe(no_mangle)]
    pub(super) static mut __free_hook: unsafe extern "C" fn(*mut c_void) = free;
}
