//! Extent descriptors: one 128-byte record in DRAM for each run of pages of a pool.
//!
//! Extents tile a pool: every page belongs to exactly one, and the page map finds the descriptor
//! from the first and the last page of an extent (from every page, for slabs).
//!
//! `start`, `pages` and `state` are written under the arena lock, under which neighbours look at
//! them; so do `committed` and `freed_at`, which speak of free extents. `punched` is written under
//! both the bin's and the arena's lock, and read under either. The rest is written under
//! the lock of the owner: of the arena, or of the bin for slabs. An extent that others may look at
//! is therefore never borrowed as a whole.

use crate::size_class::MAX_SLOTS;
use core::ptr;

/// Who owns the pages of an extent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum State {
    /// The descriptor itself is unused.
    Retired = 0,
    /// In a free list of the arena.
    Free,
    /// Free, but being given back to the source outside the arena lock: nobody may take or merge it.
    Purging,
    /// Cut into slots of one class; owned by a bin.
    Slab,
    /// One allocation of whole pages.
    Large,
}

pub(crate) const BITMAP_WORDS: usize = MAX_SLOTS / 64;

/// See the module text.
#[repr(C, align(64))]
pub(crate) struct Extent {
    /// Neighbours in the list of the owner (free list of the arena, slab list of a bin).
    pub(crate) next: *mut Extent,
    pub(crate) prev: *mut Extent,
    /// First page, counted from the base of the pool.
    pub(crate) start: u32,
    pub(crate) pages: u32,
    pub(crate) state: State,
    /// Class of a slab, else 0.
    pub(crate) class: u8,
    /// Which list of the owner it is linked in (slabs: occupancy group).
    pub(crate) list: u8,
    pub(crate) linked: bool,
    /// Slab: backed slots not in use by the program or a cache.
    pub(crate) free_slots: u16,
    pub(crate) slots: u16,
    /// Free extent: pages of it that are committed.
    pub(crate) committed: u32,
    /// Free extent: when it was freed, in ms of the arena clock (weighted over merged parts).
    pub(crate) freed_at: u64,
    /// Slab: a bit for each of its pages that was given back to the source; see `slab`. Else 0.
    pub(crate) punched: u16,
    /// Slab: free slots that lie on such pages, at least in part. Not in `free_slots`.
    pub(crate) punched_slots: u16,
    /// Slab: pages that had no slot in use when the bin last looked, and since.
    pub(crate) idle_pages: u16,
    _reserved: [u16; 5],
    /// Slab: one bit per slot, set when the slot is free in the bin and its pages are backed.
    pub(crate) bitmap: [u64; BITMAP_WORDS],
}

const _: () = assert!(size_of::<Extent>() == 128);

impl Extent {
    pub(crate) const fn retired() -> Extent {
        Extent {
            next: ptr::null_mut(),
            prev: ptr::null_mut(),
            start: 0,
            pages: 0,
            state: State::Retired,
            class: 0,
            list: 0,
            linked: false,
            free_slots: 0,
            slots: 0,
            committed: 0,
            freed_at: 0,
            punched: 0,
            punched_slots: 0,
            idle_pages: 0,
            _reserved: [0; 5],
            bitmap: [0; BITMAP_WORDS],
        }
    }

    pub(crate) fn start(&self) -> usize {
        self.start as usize
    }

    pub(crate) fn pages(&self) -> usize {
        self.pages as usize
    }

    /// One past the last page.
    pub(crate) fn end(&self) -> usize {
        self.start() + self.pages()
    }
}

/// An intrusive doubly linked list of extents. The owner's lock guards it.
pub(crate) struct ExtentList {
    head: *mut Extent,
}

impl ExtentList {
    pub(crate) const EMPTY: ExtentList = ExtentList { head: ptr::null_mut() };

    pub(crate) fn head(&self) -> *mut Extent {
        self.head
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.head.is_null()
    }

    /// # Safety
    /// `extent` is live, linked in no list, and its owner's lock is held.
    pub(crate) unsafe fn push(&mut self, extent: *mut Extent) {
        // SAFETY: contract; the old head, if any, is linked in this list and thus live.
        unsafe {
            debug_assert!(!(*extent).linked);
            (*extent).prev = ptr::null_mut();
            (*extent).next = self.head;
            (*extent).linked = true;
            if !self.head.is_null() {
                (*self.head).prev = extent;
            }
        }
        self.head = extent;
    }

    /// # Safety
    /// `extent` is linked in this list and its owner's lock is held.
    pub(crate) unsafe fn remove(&mut self, extent: *mut Extent) {
        // SAFETY: contract; neighbours of a linked extent are linked in the same list.
        unsafe {
            debug_assert!((*extent).linked);
            let (prev, next) = ((*extent).prev, (*extent).next);
            if prev.is_null() {
                self.head = next;
            } else {
                (*prev).next = next;
            }
            if !next.is_null() {
                (*next).prev = prev;
            }
            (*extent).linked = false;
        }
    }

    /// The members from the head on.
    ///
    /// # Safety
    /// The owner's lock is held for as long as the iterator lives, and the list does not change.
    pub(crate) unsafe fn iter(&self) -> impl Iterator<Item = *mut Extent> + use<> {
        let mut at = self.head;
        core::iter::from_fn(move || {
            if at.is_null() {
                return None;
            }
            let extent = at;
            // SAFETY: linked extents are live; contract.
            at = unsafe { (*extent).next };
            Some(extent)
        })
    }
}
