//! Containers in a pool.
//!
//! The trait is implemented for [`Pool`], from which allocator-api2 derives it for `&Pool`, the form
//! that containers mostly want. Both are sound: blocks stay where they are when the handle moves, and
//! live until it is dropped.

use crate::Pool;
use allocator_api2::alloc::{AllocError, Allocator};
use std::alloc::Layout;
use std::ptr::NonNull;

/// A place for values without a size, which need no memory.
fn nothing(layout: Layout) -> NonNull<[u8]> {
    NonNull::slice_from_raw_parts(layout.dangling_ptr(), 0)
}

/// The block as the trait wants it: no more is promised than was asked for, so that nobody has to
/// know its real size.
fn sized(block: Option<NonNull<u8>>, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
    Ok(NonNull::slice_from_raw_parts(block.ok_or(AllocError)?, layout.size()))
}

impl Pool {
    /// Changes a block of layout `old` to one of layout `new`; bytes beyond the smaller size are
    /// not specified.
    ///
    /// # Safety
    /// `block` is a live block of this pool for the layout `old` (dangling for size 0), that only
    /// the caller uses.
    unsafe fn resize(
        &self,
        block: NonNull<u8>,
        old: Layout,
        new: Layout,
    ) -> Result<NonNull<[u8]>, AllocError> {
        if old.size() == 0 || new.size() == 0 || new.align() > old.align() {
            let fresh = self.allocate(new)?;
            // SAFETY: both have at least so many bytes, and do not overlap; contract.
            unsafe {
                let bytes = old.size().min(new.size());
                fresh.cast::<u8>().copy_from_nonoverlapping(block, bytes);
                self.deallocate(block, old);
            }
            return Ok(fresh);
        }
        // Fresh blocks are aligned to the smaller alignment as well.
        // SAFETY: contract; the block has at least the new alignment, and the old size.
        let layout = unsafe { Layout::from_size_align_unchecked(old.size(), new.align()) };
        // SAFETY: contract.
        sized(unsafe { self.realloc_layout(block, layout, new.size()) }, new)
    }
}

// SAFETY: blocks are as large and aligned as asked for, do not overlap, stay where they are when the
// pool is moved, and live until they are freed or the pool is dropped.
unsafe impl Allocator for Pool {
    #[inline]
    fn allocate(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        if layout.size() == 0 {
            return Ok(nothing(layout));
        }
        sized(self.alloc_layout(layout), layout)
    }

    #[inline]
    fn allocate_zeroed(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        if layout.size() == 0 {
            return Ok(nothing(layout));
        }
        sized(self.alloc_layout_zeroed(layout), layout)
    }

    #[inline]
    unsafe fn deallocate(&self, block: NonNull<u8>, layout: Layout) {
        if layout.size() > 0 {
            // SAFETY: contract; a block of a size is the pool's.
            unsafe { self.free(block) }
        }
    }

    unsafe fn grow(
        &self,
        block: NonNull<u8>,
        old: Layout,
        new: Layout,
    ) -> Result<NonNull<[u8]>, AllocError> {
        // SAFETY: contract.
        unsafe { self.resize(block, old, new) }
    }

    unsafe fn grow_zeroed(
        &self,
        block: NonNull<u8>,
        old: Layout,
        new: Layout,
    ) -> Result<NonNull<[u8]>, AllocError> {
        if old.size() == 0 {
            // Fresh pages need not be written.
            return self.allocate_zeroed(new);
        }
        // SAFETY: contract; what was added is inside the block.
        unsafe {
            let grown = self.resize(block, old, new)?;
            grown.cast::<u8>().add(old.size()).write_bytes(0, new.size() - old.size());
            Ok(grown)
        }
    }

    unsafe fn shrink(
        &self,
        block: NonNull<u8>,
        old: Layout,
        new: Layout,
    ) -> Result<NonNull<[u8]>, AllocError> {
        // SAFETY: contract.
        unsafe { self.resize(block, old, new) }
    }
}
