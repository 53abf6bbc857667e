//! The C library's own heap: where blocks that are not ours go back to, and where allocations come
//! from while there is no pool.
//!
//! Its functions are reached by their internal names, as ordinary undefined symbols: looking names
//! up at run time can allocate.

use core::ffi::c_void;
use core::ptr;

unsafe extern "C" {
    fn __libc_malloc(size: usize) -> *mut c_void;
    fn __libc_calloc(count: usize, size: usize) -> *mut c_void;
    fn __libc_memalign(align: usize, size: usize) -> *mut c_void;
    fn __libc_realloc(pointer: *mut c_void, size: usize) -> *mut c_void;
    fn __libc_free(pointer: *mut c_void);
}

/// The C library's heap aligns to this without being asked.
const NATURAL_ALIGN: usize = 16;

/// A block of `size` bytes at a multiple of `align`, a power of two; null when there is none.
pub(crate) fn alloc(align: usize, size: usize, zeroed: bool) -> *mut u8 {
    // SAFETY: any size and alignment may be asked for.
    unsafe {
        let block = if align > NATURAL_ALIGN {
            __libc_memalign(align, size).cast::<u8>()
        } else if zeroed {
            return __libc_calloc(1, size).cast();
        } else {
            return __libc_malloc(size).cast();
        };
        if zeroed && !block.is_null() {
            block.write_bytes(0, size);
        }
        block
    }
}

/// Frees a block of the C library's heap.
///
/// # Safety
/// `pointer` is a live block of it that nobody uses any more.
pub(crate) unsafe fn free(pointer: *mut u8) {
    // SAFETY: contract.
    unsafe { __libc_free(pointer.cast()) }
}

/// Reallocates a block of the C library's heap; it stays there.
///
/// # Safety
/// `pointer` is a live block of it that only the caller uses; `size` is not 0.
pub(crate) unsafe fn realloc(pointer: *mut u8, size: usize) -> *mut u8 {
    // SAFETY: contract.
    unsafe { __libc_realloc(pointer.cast(), size).cast() }
}

/// Usable bytes of a block of the C library's heap; 0 for what cannot be one.
///
/// The function that tells is shadowed by ours and has no second name, so this reads the word in
/// front of the block, which holds the chunk's size and three flags. That word has had this form
/// since the first release of the C library's allocator; debuggers and tools rely on it.
///
/// # Safety
/// `pointer` is a live block of that heap.
pub(crate) unsafe fn usable_size(pointer: *const u8) -> usize {
    const WORD: usize = size_of::<usize>();
    const FLAGS: usize = 7;
    const MAPPED: usize = 2;
    if !pointer.addr().is_multiple_of(NATURAL_ALIGN) {
        return 0;
    }
    // SAFETY: every block of that heap has its chunk's size in front of it.
    let head = unsafe { ptr::read(pointer.sub(WORD).cast::<usize>()) };
    // A chunk lends its last word to its successor; one with a mapping of its own has none.
    let overhead = if head & MAPPED == 0 { WORD } else { 2 * WORD };
    (head & !FLAGS).saturating_sub(overhead)
}
