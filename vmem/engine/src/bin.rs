//! A bin: the slabs of one class in a pool, and a transfer array of slots on their way between
//! threads.
//!
//! Thread caches fill from and flush to bins in batches, one lock per batch. The transfer array
//! takes whole batches as they come and hands them out again without looking at any slab: what one
//! thread frees and another allocates never touches a bitmap.
//!
//! Lock: one per bin (rank BIN), taken before the arena lock.

mod punching;

pub(crate) use punching::Punch;

use crate::arena::Arena;
use crate::cache::BIN_BYTES;
use crate::config::{BATCH_BLOCKS, CACHE_PINNED_FRACTION, PAGE};
use crate::extent::{Extent, ExtentList, State};
use crate::fatal;
use crate::size_class::ClassId;
use crate::slab::{self, GROUPS, Given, LISTS, PUNCHED_LIST};
use core::ptr::{self, NonNull};

/// Slots that the transfer array can hold, in batches.
const TRANSFER_BATCHES: usize = 4;
const TRANSFER_SLOTS: usize = TRANSFER_BATCHES * BATCH_BLOCKS;
/// Most bytes that may wait in a transfer array.
const TRANSFER_BYTES: usize = 128 << 10;

pub(crate) struct Bin {
    /// Slabs with free slots, the fullest group first, then those whose free slots are all punched. Full
    /// slabs are in no list.
    lists: [ExtentList; LISTS],
    transfer: *mut *mut u8,
    transfer_len: u32,
    pub(crate) slabs: u32,
    /// Slots, and pages, of all slabs.
    pub(crate) slots: u32,
    pub(crate) pages: u32,
    /// Free slots in slabs, without those on punched pages.
    pub(crate) free_slots: u32,
    /// Free slots on punched pages, and these pages.
    pub(crate) punched_slots: u32,
    pub(crate) punched_pages: u32,
    /// Whether anything was taken or given since the last look for idle bins.
    used: bool,
    /// In a hardened pool: where the sequence of random numbers is; 0 before its start.
    random: u64,
}

// SAFETY: the pointers are descriptors and metadata of the pool; the lock around the bin guards them.
unsafe impl Send for Bin {}

impl Bin {
    pub(crate) const fn new() -> Bin {
        Bin {
            lists: [ExtentList::EMPTY; LISTS],
            transfer: ptr::null_mut(),
            transfer_len: 0,
            slabs: 0,
            slots: 0,
            pages: 0,
            free_slots: 0,
            punched_slots: 0,
            punched_pages: 0,
            used: false,
            random: 0,
        }
    }

    /// Slots waiting in the transfer array.
    pub(crate) fn in_transfer(&self) -> &[*mut u8] {
        if self.transfer.is_null() {
            return &[];
        }
        // SAFETY: the first `transfer_len` elements are initialised.
        unsafe { core::slice::from_raw_parts(self.transfer, self.transfer_len as usize) }
    }

    /// Takes up to `want` slots, writing them to `out`; the last one written should be used first.
    /// Returns how many; 0 only when the pool is full. As a `last_resort` slabs smaller than usual
    /// will do.
    ///
    /// # Safety
    /// This is the bin of `class` in the pool of `arena`; `out` has room for `want` pointers.
    pub(crate) unsafe fn take(
        &mut self,
        arena: &Arena,
        class: ClassId,
        out: *mut *mut u8,
        want: usize,
        last_resort: bool,
    ) -> usize {
        self.used = true;
        let waiting = (self.transfer_len as usize).min(want);
        if waiting > 0 {
            self.transfer_len -= waiting as u32;
            // SAFETY: the last `waiting` elements are initialised; `out` has room by contract.
            unsafe {
                ptr::copy_nonoverlapping(
                    self.transfer.add(self.transfer_len as usize),
                    out,
                    waiting,
                );
            }
            return waiting;
        }
        let geometry = class.geometry();
        let mut got = 0;
        while got < want {
            let roomy = self.lists[..GROUPS].iter().find(|group| !group.is_empty());
            let slab = match roomy.map(ExtentList::head) {
                Some(slab) => slab,
                // A batch is not worth new pages when some slots were found already.
                None if got > 0 => break,
                // SAFETY: contract.
                None if unsafe { self.back_some(arena, class, want) } => continue,
                None => {
                    let slab = self.new_slab(arena, class, last_resort);
                    if slab.is_null() {
                        break;
                    }
                    slab
                }
            };
            // SAFETY: linked slabs are live; the bin is locked (`&mut self`); `out` has room.
            unsafe {
                let first = arena.map.address_of((*slab).start());
                let (out, want) = (out.add(got), want - got);
                let taken = match &arena.map.hard {
                    None => slab::take(slab, geometry, first, out, want),
                    Some(hard) => hard.take_slots(slab, class, first, out, want, &mut self.random),
                };
                got += taken;
                (*slab).idle_pages = 0;
                self.free_slots -= taken as u32;
                self.regroup(slab);
            }
        }
        got
    }

    /// Whether the next slot needs a new slab.
    pub(crate) fn is_without_room(&self) -> bool {
        self.free_slots == 0 && self.punched_slots == 0 && self.transfer_len == 0
    }

    /// A fresh slab, linked. Null when the arena has no run for it.
    fn new_slab(&mut self, arena: &Arena, class: ClassId, last_resort: bool) -> *mut Extent {
        let geometry = class.geometry();
        let mut pages = usize::from(geometry.pages);
        let least = if last_resort { (geometry.size as usize).div_ceil(PAGE) } else { pages };
        let mut slab = arena.allocate(pages, 1, State::Slab);
        // What is left of a pool may be short runs.
        while slab.is_null() && pages > least {
            pages = (pages / 2).max(least);
            slab = arena.allocate(pages, 1, State::Slab);
        }
        if slab.is_null() {
            return slab;
        }
        // SAFETY: a fresh run of a usable size, ours.
        let slots = unsafe {
            slab::format(slab, class);
            let start = (*slab).start();
            arena.map.set_all(start, pages, slab);
            arena.map.set_class_offset(start, pages, u16::from(class.0) * BIN_BYTES as u16);
            let slots = (*slab).slots;
            if let Some(hard) = &arena.map.hard {
                let first = arena.map.address_of(start).addr();
                hard.forget_slots(first, usize::from(slots), class.size());
            }
            let group = slab::group_of(slots, slots);
            (*slab).list = group;
            self.lists[usize::from(group)].push(slab);
            slots
        };
        self.slabs += 1;
        self.slots += u32::from(slots);
        self.pages += pages as u32;
        self.free_slots += u32::from(slots);
        slab
    }

    /// Moves a slab to the list that its free count calls for.
    ///
    /// # Safety
    /// `slab` belongs to this bin and is linked exactly if `linked` says so.
    pub(crate) unsafe fn regroup(&mut self, slab: *mut Extent) {
        // SAFETY: contract.
        unsafe {
            let list = slab::list_of((*slab).free_slots, (*slab).punched_slots, (*slab).slots);
            if (*slab).linked && list != Some((*slab).list) {
                self.lists[usize::from((*slab).list)].remove(slab);
            }
            if let Some(list) = list
                && !(*slab).linked
            {
                (*slab).list = list;
                self.lists[usize::from(list)].push(slab);
            }
        }
    }

    /// Takes slots back, into the transfer array if all fit, else into their slabs.
    ///
    /// # Safety
    /// As [`Bin::give_to_slabs`].
    pub(crate) unsafe fn give(&mut self, arena: &Arena, class: ClassId, slots: &[*mut u8]) {
        let room = TRANSFER_SLOTS
            .min(TRANSFER_BYTES / class.size())
            .min(arena.map.pages() / CACHE_PINNED_FRACTION);
        if slots.len() >= 4 && self.transfer_len as usize + slots.len() <= room {
            if self.transfer.is_null() {
                let block = arena.meta.lock().take_block(TRANSFER_SLOTS * size_of::<*mut u8>());
                self.transfer = block.map_or(ptr::null_mut(), |block| block.cast().as_ptr());
            }
            if !self.transfer.is_null() {
                // SAFETY: room was checked; the array is ours.
                unsafe {
                    ptr::copy_nonoverlapping(
                        slots.as_ptr(),
                        self.transfer.add(self.transfer_len as usize),
                        slots.len(),
                    );
                }
                self.transfer_len += slots.len() as u32;
                return;
            }
        }
        // SAFETY: contract.
        unsafe { self.give_to_slabs(arena, class, slots, 0) };
    }

    /// Takes slots back into their slabs; slabs that become empty go back to the arena, but for one.
    /// Nobody has used the slots for `idle_ms` milliseconds.
    ///
    /// # Safety
    /// `slots` were taken from this bin (of `class` in the pool of `arena`) and are no longer used.
    pub(crate) unsafe fn give_to_slabs(
        &mut self,
        arena: &Arena,
        class: ClassId,
        slots: &[*mut u8],
        idle_ms: u32,
    ) {
        self.used |= idle_ms == 0;
        let geometry = class.geometry();
        for &slot in slots {
            let Some(page) = arena.map.page_of(slot.addr()) else {
                fatal::invalid_pointer("free", slot)
            };
            let slab = arena.map.extent(page);
            // SAFETY: the page map says that the page is in a slab of this class (checked when the
            // slot entered a cache, and a slab stays one while any slot of it is out).
            unsafe {
                let offset = slot.addr() - arena.map.address_of((*slab).start()).addr();
                match slab::give(slab, geometry, offset) {
                    Given::Done => {}
                    Given::AlreadyFree => fatal::double_free(slot),
                    Given::Misaligned => fatal::invalid_pointer("free", slot),
                }
                self.free_slots += 1;
                if slab::is_empty(slab) && !self.is_last_with_room(slab) {
                    self.release(arena, slab, idle_ms);
                } else {
                    self.regroup(slab);
                }
            }
        }
    }

    /// Whether no other slab of this bin has a free slot: then an empty slab is kept for the next
    /// allocation, if it is not a whole block by itself.
    ///
    /// # Safety
    /// `slab` belongs to this bin.
    unsafe fn is_last_with_room(&self, slab: *const Extent) -> bool {
        // SAFETY: contract.
        let slots = unsafe { (*slab).slots };
        slots > 1 && self.free_slots == u32::from(slots)
    }

    /// Gives an empty slab back to the arena.
    ///
    /// # Safety
    /// `slab` belongs to this bin and all its slots are free.
    unsafe fn release(&mut self, arena: &Arena, slab: *mut Extent, idle_ms: u32) {
        // SAFETY: contract.
        unsafe {
            if (*slab).linked {
                self.lists[usize::from((*slab).list)].remove(slab);
            }
            self.slabs -= 1;
            self.slots -= u32::from((*slab).slots);
            self.pages -= (*slab).pages;
            self.free_slots -= u32::from((*slab).free_slots);
            self.punched_slots -= u32::from((*slab).punched_slots);
            self.punched_pages -= (*slab).punched.count_ones();
            arena.map.set_class_offset((*slab).start(), (*slab).pages(), 0);
            arena.free_aged(slab, idle_ms);
        }
    }

    /// As [`Bin::reclaim`], if nothing was taken or given since the last call.
    ///
    /// # Safety
    /// As [`Bin::reclaim`].
    pub(crate) unsafe fn reclaim_if_idle(&mut self, arena: &Arena, class: ClassId, idle_ms: u32) {
        if !core::mem::take(&mut self.used) && self.slabs > 0 {
            // SAFETY: contract.
            unsafe { self.reclaim(arena, class, idle_ms) };
        }
    }

    /// Gives everything back that is not in use: the transfer array and all empty slabs. Nobody has
    /// used them for `idle_ms` milliseconds.
    ///
    /// # Safety
    /// This is the bin of `class` in the pool of `arena`.
    pub(crate) unsafe fn reclaim(&mut self, arena: &Arena, class: ClassId, idle_ms: u32) {
        let waiting = core::mem::take(&mut self.transfer_len) as usize;
        if waiting > 0 {
            // SAFETY: the first `waiting` elements are slots given to this bin.
            unsafe {
                let slots = core::slice::from_raw_parts(self.transfer, waiting);
                self.give_to_slabs(arena, class, slots, idle_ms);
            }
        }
        // SAFETY: the bin is locked; members are live and read before they are unlinked.
        unsafe {
            for list in [GROUPS - 1, PUNCHED_LIST] {
                let mut slab = self.lists[list].head();
                while let Some(extent) = NonNull::new(slab) {
                    slab = extent.as_ref().next;
                    if slab::is_empty(extent.as_ptr()) {
                        self.release(arena, extent.as_ptr(), idle_ms);
                    }
                }
            }
        }
    }

    /// Drops all knowledge of free slots: they are treated as in use.
    pub(crate) fn forget(&mut self) {
        for list in &mut self.lists {
            while !list.is_empty() {
                let slab = list.head();
                // SAFETY: linked here; the bin is locked.
                unsafe {
                    list.remove(slab);
                    (*slab).free_slots = 0;
                    (*slab).punched_slots = 0;
                    (*slab).bitmap.fill(0);
                }
            }
        }
        self.transfer_len = 0;
        self.free_slots = 0;
        self.punched_slots = 0;
    }

    /// The slabs that have free slots, punched ones included.
    ///
    /// # Safety
    /// The bin stays locked while the iterator lives.
    pub(crate) unsafe fn slabs_with_room(&self) -> impl Iterator<Item = *mut Extent> {
        // SAFETY: contract.
        self.lists.iter().flat_map(|list| unsafe { list.iter() })
    }
}
