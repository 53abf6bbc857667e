//! Rust's layout-based calls, made of the size-based ones.
//!
//! Every block is aligned to 8 bytes, one of more than 8 bytes to 16, and one of whole pages (above
//! [`MAX_SMALL`]) to a page; only what asks for more goes the longer way.

use crate::config::PAGE;
use crate::global::VmemAlloc;
use crate::page_map::widened;
use crate::pool::Pool;
use crate::size_class::MAX_SMALL;
use core::alloc::Layout;
use core::ptr;

/// What every block is a multiple of.
const ALIGN_OF_ALL: usize = 8;
/// What every block of more than [`ALIGN_OF_ALL`] bytes is a multiple of.
const ALIGN_OF_MOST: usize = 16;

/// The size-based calls, with the contracts that [`Pool`] states.
pub(crate) trait Blocks {
    fn alloc(&self, size: usize) -> *mut u8;
    fn alloc_zeroed(&self, size: usize) -> *mut u8;
    fn alloc_aligned(&self, align: usize, size: usize) -> *mut u8;
    unsafe fn realloc(&self, pointer: *mut u8, size: usize) -> *mut u8;
    unsafe fn free(&self, pointer: *mut u8);
    unsafe fn usable_size(&self, pointer: *mut u8) -> usize;
}

/// A block for `layout`; null when there is no room.
#[inline(always)]
pub(crate) fn alloc(blocks: &impl Blocks, layout: Layout) -> *mut u8 {
    match layout.align() {
        align if align <= ALIGN_OF_ALL => blocks.alloc(layout.size()),
        align if align <= ALIGN_OF_MOST => blocks.alloc(layout.size().max(ALIGN_OF_MOST)),
        align => blocks.alloc_aligned(align, layout.size()),
    }
}

/// As [`alloc`], with all bytes of the layout zero.
#[inline(always)]
pub(crate) fn alloc_zeroed(blocks: &impl Blocks, layout: Layout) -> *mut u8 {
    match layout.align() {
        align if align <= ALIGN_OF_ALL => blocks.alloc_zeroed(layout.size()),
        align if align <= ALIGN_OF_MOST => blocks.alloc_zeroed(layout.size().max(ALIGN_OF_MOST)),
        // Fresh pages are known to be zero, and then nothing is written.
        align if align <= PAGE && layout.size() > MAX_SMALL => blocks.alloc_zeroed(layout.size()),
        align => {
            let block = blocks.alloc_aligned(align, layout.size());
            if !block.is_null() {
                // SAFETY: a fresh block of at least this size.
                unsafe { block.write_bytes(0, layout.size()) };
            }
            block
        }
    }
}

/// Changes a block to `size` bytes; it stays aligned as `layout` asks.
///
/// # Safety
/// `block` is live, was allocated with `layout`, and only the caller uses it.
#[inline(always)]
pub(crate) unsafe fn realloc(
    blocks: &impl Blocks,
    block: *mut u8,
    layout: Layout,
    size: usize,
) -> *mut u8 {
    match layout.align() {
        // SAFETY: contract.
        align if align <= ALIGN_OF_ALL => unsafe { blocks.realloc(block, size) },
        // SAFETY: contract.
        align if align <= ALIGN_OF_MOST => unsafe {
            blocks.realloc(block, size.max(ALIGN_OF_MOST))
        },
        // SAFETY: contract. The result is this block, or one of whole pages.
        align if align <= PAGE && size > MAX_SMALL => unsafe { blocks.realloc(block, size) },
        // SAFETY: contract.
        _ => unsafe { realloc_aligned(blocks, block, layout, size) },
    }
}

/// # Safety
/// As [`realloc`].
#[cold]
unsafe fn realloc_aligned(
    blocks: &impl Blocks,
    block: *mut u8,
    layout: Layout,
    size: usize,
) -> *mut u8 {
    let block = widened(block);
    // SAFETY: contract.
    let usable = unsafe { blocks.usable_size(block) };
    if size <= usable && size >= usable / 2 {
        return block;
    }
    let new = blocks.alloc_aligned(layout.align(), size);
    if new.is_null() {
        // Shrinking cannot fail: the block does as it is.
        return if size <= usable { block } else { new };
    }
    // SAFETY: both blocks have at least so many bytes; the old one is given up.
    unsafe {
        ptr::copy_nonoverlapping(block, new, layout.size().min(size));
        blocks.free(block);
    }
    new
}

/// The size-based calls of `$type`, found in `self` or in its field.
macro_rules! blocks {
    ($type:ty $(, $field:ident)?) => {
        impl Blocks for $type {
            #[inline(always)]
            fn alloc(&self, size: usize) -> *mut u8 {
                self$(.$field)?.alloc(size)
            }

            #[inline(always)]
            fn alloc_zeroed(&self, size: usize) -> *mut u8 {
                self$(.$field)?.alloc_zeroed(size)
            }

            #[inline(always)]
            fn alloc_aligned(&self, align: usize, size: usize) -> *mut u8 {
                self$(.$field)?.alloc_aligned(align, size)
            }

            #[inline(always)]
            unsafe fn realloc(&self, pointer: *mut u8, size: usize) -> *mut u8 {
                // SAFETY: forwarded.
                unsafe { self$(.$field)?.realloc(pointer, size) }
            }

            #[inline(always)]
            unsafe fn free(&self, pointer: *mut u8) {
                // SAFETY: forwarded.
                unsafe { self$(.$field)?.free(pointer) }
            }

            #[inline(always)]
            unsafe fn usable_size(&self, pointer: *mut u8) -> usize {
                // SAFETY: forwarded.
                unsafe { self$(.$field)?.usable_size(pointer) }
            }
        }
    };
}

blocks!(Pool);
blocks!(VmemAlloc, heap);

impl Pool {
    /// Allocates a block for `layout`, whatever its alignment; a size of 0 gets a block too. Null
    /// when the pool is full.
    #[inline]
    pub fn alloc_layout(&self, layout: Layout) -> *mut u8 {
        alloc(self, layout)
    }

    /// As [`Pool::alloc_layout`], with all bytes of the layout zero.
    #[inline]
    pub fn alloc_layout_zeroed(&self, layout: Layout) -> *mut u8 {
        alloc_zeroed(self, layout)
    }

    /// Changes a block allocated with `layout` to `size` bytes of the same alignment, moving it if
    /// needed. Null when the pool is full: the block is then as before. Shrinking cannot fail.
    ///
    /// # Safety
    /// `block` is a live block of this pool, allocated with `layout`, that only the caller uses.
    #[inline]
    pub unsafe fn realloc_layout(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: contract.
        unsafe { realloc(self, block, layout, size) }
    }
}
