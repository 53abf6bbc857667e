//! The page map of a pool: from an address to its class and its extent, and the state of each page.
//!
//! ```text
//! per page    2 bytes  class of the slab the page is in, as an offset into a thread cache's bins
//!             8 bytes  extent descriptor
//!             1 bit    committed: backed by the source, touching it cannot fault for want of space
//!             1 bit    frozen: mapped privately since a fork; stores no longer reach the source
//!             1 bit    dirty: handed out since it was last known to read as zero
//! ```
//!
//! The arrays lie in one anonymous reservation and cost DRAM only where pages are in use.
//! Classes and extents are read without a lock by `free`; bits are written under the arena lock.

use crate::config::PAGE_SHIFT;
use crate::extent::Extent;
use crate::harden::Hard;
use crate::protocol::bits::PageBits;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicPtr, AtomicU16, AtomicU64, AtomicUsize, Ordering::Relaxed};
use pmem_core::errno::Errno;
use pmem_core::sys;

/// `block` with the provenance of its whole pool, for its next user. The pointer that its last user
/// gave back (made from a slice, say) may be good for a part of it only. No code.
#[inline(always)]
pub(crate) fn widened(block: *mut u8) -> *mut u8 {
    core::ptr::with_exposed_provenance_mut(block.addr())
}

pub(crate) struct PageMap {
    base: NonNull<u8>,
    pages: usize,
    classes: *const AtomicU16,
    extents: *const AtomicPtr<Extent>,
    committed: *const AtomicU64,
    dirty: *const AtomicU64,
    frozen: *const AtomicU64,
    /// No bit of a page from here on was ever set: they need no looking at, however large the pool.
    used: AtomicUsize,
    mapping: (NonNull<u8>, usize),
    /// In a hardened pool: the states of its blocks.
    pub(crate) hard: Option<Hard>,
}

impl PageMap {
    /// A map for `bytes` bytes from address `base`, both page-aligned.
    pub(crate) fn new(base: NonNull<u8>, bytes: usize) -> Result<PageMap, Errno> {
        let pages = bytes >> PAGE_SHIFT;
        let words = pages.div_ceil(64) * 8;
        let extents = pages * 8;
        let classes = (pages * 2).next_multiple_of(8);
        let len = extents + classes + 3 * words;
        let mapping = sys::map_anonymous(len)?;
        let at = |offset: usize| mapping.as_ptr().wrapping_add(offset);
        Ok(PageMap {
            base,
            pages,
            extents: at(0).cast(),
            classes: at(extents).cast(),
            committed: at(extents + classes).cast(),
            dirty: at(extents + classes + words).cast(),
            frozen: at(extents + classes + 2 * words).cast(),
            used: AtomicUsize::new(0),
            mapping: (mapping, len),
            hard: None,
        })
    }

    /// Releases the arrays.
    ///
    /// # Safety
    /// Nobody uses the map any more.
    pub(crate) unsafe fn release(&self) {
        if let Some(hard) = &self.hard {
            // SAFETY: contract.
            unsafe { hard.release() };
        }
        // SAFETY: the mapping is ours (made in `new`) and unused by contract.
        let _ = unsafe { sys::unmap(self.mapping.0, self.mapping.1) };
    }

    pub(crate) fn base(&self) -> usize {
        self.base.addr().get()
    }

    pub(crate) fn pages(&self) -> usize {
        self.pages
    }

    pub(crate) fn classes(&self) -> *const AtomicU16 {
        self.classes
    }

    /// The page of `address`, if it lies in the pool.
    #[inline]
    pub(crate) fn page_of(&self, address: usize) -> Option<usize> {
        let page = address.wrapping_sub(self.base()) >> PAGE_SHIFT;
        (page < self.pages).then_some(page)
    }

    /// Address of the first byte of `page`.
    pub(crate) fn address_of(&self, page: usize) -> *mut u8 {
        self.base.as_ptr().wrapping_add(page << PAGE_SHIFT)
    }

    #[inline]
    fn class_cell(&self, page: usize) -> &AtomicU16 {
        debug_assert!(page < self.pages);
        // SAFETY: the array has one element per page (I7), and lives as long as self.
        unsafe { &*self.classes.add(page) }
    }

    #[inline]
    fn extent_cell(&self, page: usize) -> &AtomicPtr<Extent> {
        debug_assert!(page < self.pages);
        // SAFETY: as in `class_cell`.
        unsafe { &*self.extents.add(page) }
    }

    /// The scaled class stored for `page`, 0 when it is in no slab.
    #[inline]
    pub(crate) fn class_offset(&self, page: usize) -> u16 {
        self.class_cell(page).load(Relaxed)
    }

    pub(crate) fn set_class_offset(&self, start: usize, pages: usize, offset: u16) {
        for page in start..start + pages {
            self.class_cell(page).store(offset, Relaxed);
        }
    }

    /// The descriptor last recorded for `page`; meaningful for the first and last page of an
    /// extent and for every page of a slab.
    #[inline]
    pub(crate) fn extent(&self, page: usize) -> *mut Extent {
        self.extent_cell(page).load(Relaxed)
    }

    /// Records `extent` at its first and last page.
    pub(crate) fn set_boundaries(&self, start: usize, pages: usize, extent: *mut Extent) {
        self.extent_cell(start).store(extent, Relaxed);
        self.extent_cell(start + pages - 1).store(extent, Relaxed);
    }

    /// Records `extent` at all its pages.
    pub(crate) fn set_all(&self, start: usize, pages: usize, extent: *mut Extent) {
        for page in start..start + pages {
            self.extent_cell(page).store(extent, Relaxed);
        }
    }

    /// Says that bits of pages below `end` may be set from now on. Called under the arena lock.
    pub(crate) fn use_up_to(&self, end: usize) {
        if end > self.used.load(Relaxed) {
            self.used.store(end, Relaxed);
        }
    }

    /// No page from here on was ever handed out.
    pub(crate) fn used(&self) -> usize {
        self.used.load(Relaxed)
    }

    fn bits(&self, words: *const AtomicU64) -> PageBits<'_> {
        // SAFETY: the array has a bit per page and lives as long as self.
        let words = unsafe { core::slice::from_raw_parts(words, self.pages.div_ceil(64)) };
        PageBits::new(words, self.used())
    }

    pub(crate) fn committed(&self) -> PageBits<'_> {
        self.bits(self.committed)
    }

    pub(crate) fn frozen(&self) -> PageBits<'_> {
        self.bits(self.frozen)
    }

    pub(crate) fn dirty(&self) -> PageBits<'_> {
        self.bits(self.dirty)
    }
}
