//! Where the library's ordinary memory comes from: `malloc`, `realloc` and `free` of the program, and nothing else.
//!
//! Programs replace or count these three. Rust's own way also calls `calloc` and `posix_memalign`, whose blocks would come
//! back through `free` uncounted.

use core::alloc::{GlobalAlloc, Layout};
use core::mem::size_of;
use core::ptr;

use crate::races;

/// What `malloc` aligns to on the machines that we support.
const NATURAL: usize = 16;

struct Plain;

#[global_allocator]
static PLAIN: Plain = Plain;

// SAFETY: blocks come from malloc; those with more alignment lie inside of a larger one whose address is in the word in
// front of them, and always go back by that address.
unsafe impl GlobalAlloc for Plain {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.align() <= NATURAL {
            // SAFETY: no condition.
            let block = unsafe { libc::malloc(layout.size()) }.cast();
            races::ignore(block, layout.size());
            return block;
        }
        let Some(whole) = layout.size().checked_add(layout.align()) else { return ptr::null_mut() };
        // SAFETY: no condition.
        let start = unsafe { libc::malloc(whole) }.cast::<u8>();
        if start.is_null() {
            return start;
        }
        // At least `NATURAL` bytes further on, where there is room for the address.
        let block = start.map_addr(|address| (address | (layout.align() - 1)) + 1);
        // SAFETY: between the start and the block, aligned as the block is.
        unsafe { block.sub(size_of::<*mut u8>()).cast::<*mut u8>().write(start) };
        races::ignore(block, layout.size());
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        races::notice(block, layout.size());
        let start = if layout.align() <= NATURAL {
            block
        } else {
            // SAFETY: written by `alloc`.
            unsafe { block.sub(size_of::<*mut u8>()).cast::<*mut u8>().read() }
        };
        // SAFETY: from malloc, by the caller's word not freed before.
        unsafe { libc::free(start.cast()) };
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: forwarded.
        let block = unsafe { self.alloc(layout) };
        if !block.is_null() {
            // SAFETY: of this size.
            unsafe { block.write_bytes(0, layout.size()) };
        }
        block
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        if layout.align() <= NATURAL {
            races::notice(block, layout.size());
            // SAFETY: from malloc, by the caller's word.
            let new = unsafe { libc::realloc(block.cast(), new_size) }.cast::<u8>();
            match new.is_null() {
                true => races::ignore(block, layout.size()),
                false => races::ignore(new, new_size),
            }
            return new;
        }
        // SAFETY: the caller promises that the size is valid for the alignment.
        let new =
            unsafe { self.alloc(Layout::from_size_align_unchecked(new_size, layout.align())) };
        if !new.is_null() {
            // SAFETY: two blocks of at least this many bytes.
            unsafe { ptr::copy_nonoverlapping(block, new, layout.size().min(new_size)) };
            // SAFETY: forwarded.
            unsafe { self.dealloc(block, layout) };
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_aligned_zeroed_and_moved_as_asked() {
        for align in [1, 8, 16, 32, 64, 128, 4096] {
            for size in [1, 15, 16, 100, 5000] {
                let layout = Layout::from_size_align(size, align).unwrap();
                // SAFETY: the size is not 0, and blocks go back with their layouts.
                unsafe {
                    let block = PLAIN.alloc_zeroed(layout);
                    assert!(!block.is_null() && block.addr().is_multiple_of(align));
                    let bytes = std::slice::from_raw_parts_mut(block, size);
                    assert!(bytes.iter().all(|byte| *byte == 0));
                    bytes.fill(7);
                    for new_size in [2 * size, size.div_ceil(2)] {
                        let other = PLAIN.alloc(layout);
                        other.copy_from_nonoverlapping(block, size);
                        let moved = PLAIN.realloc(other, layout, new_size);
                        assert!(!moved.is_null() && moved.addr().is_multiple_of(align));
                        let bytes = std::slice::from_raw_parts(moved, size.min(new_size));
                        assert!(bytes.iter().all(|byte| *byte == 7));
                        PLAIN.dealloc(moved, Layout::from_size_align(new_size, align).unwrap());
                    }
                    PLAIN.dealloc(block, layout);
                }
            }
        }
    }

    #[test]
    fn sizes_that_no_memory_holds_give_null() {
        let layout = Layout::from_size_align(isize::MAX as usize - 4096, 4096).unwrap();
        // SAFETY: the size is not 0.
        assert!(unsafe { PLAIN.alloc(layout) }.is_null());
    }
}
