//! Consistency checks: walks every structure of a pool and compares what must agree.
//!
//! Bins are checked one by one under their locks, with what the calling thread's cache holds of them,
//! then the arena under its own; a pool may be checked while other threads use it.

use crate::bin::Bin;
use crate::cache::{BIN_BYTES, Cache};
use crate::config::PAGE_SHIFT;
use crate::extent::{Extent, State};
use crate::pool::PoolInner;
use crate::size_class::ClassId;
use crate::slab;
use core::{fmt, ptr};

/// Two structures of a pool disagree.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault {
    /// What does not hold.
    pub what: &'static str,
    /// Page of the pool (or class, where classes are checked) at which it was noticed.
    pub at: usize,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pool is inconsistent: {} (at {})", self.what, self.at)
    }
}

impl core::error::Error for Fault {}

fn ensure(holds: bool, what: &'static str, at: usize) -> Result<(), Fault> {
    if holds { Ok(()) } else { Err(Fault { what, at }) }
}

impl PoolInner {
    /// See the module text. `cache` is the calling thread's cache of this pool, or null.
    ///
    /// # Safety
    /// `cache` is as said.
    pub(crate) unsafe fn check(&self, cache: *const Cache) -> Result<(), Fault> {
        for class in ClassId::all() {
            let bin = self.bin(class);
            self.check_bin(class, &bin)?;
            // SAFETY: contract; only the calling thread changes its cache.
            if let Some(cache) = unsafe { cache.as_ref() } {
                for &slot in cache.slots(class) {
                    self.check_slot(class, slot, "cached slot is in use")?;
                }
            }
        }
        self.check_arena()
    }

    fn check_bin(&self, class: ClassId, bin: &Bin) -> Result<(), Fault> {
        let map = &self.arena.map;
        let geometry = class.geometry();
        let at = usize::from(class.0);
        let (mut free, mut slabs_with_room, mut slots_with_room, mut pages_with_room) =
            (0, 0, 0, 0);
        let (mut punched_slots, mut punched_pages) = (0, 0);
        // SAFETY: the bin is locked by the caller; its slabs are live, and the arena only reads.
        for extent in unsafe { bin.slabs_with_room() } {
            // SAFETY: as above.
            let slab = unsafe { &*extent };
            ensure(slab.state == State::Slab && slab.class == class.0, "slab in its own bin", at)?;
            ensure(slab.linked, "listed slab is linked", slab.start())?;
            let punched = slab.punched_slots;
            ensure(slab.free_slots + punched > 0, "listed slab has room", slab.start())?;
            ensure(
                slab::list_of(slab.free_slots, punched, slab.slots) == Some(slab.list),
                "slab in the list of its group",
                slab.start(),
            )?;
            let slots = slab::slots_in(geometry, slab.pages());
            ensure(slab.slots == slots && slots > 0, "slot count of the class", slab.start())?;
            let bits: u32 = slab.bitmap.iter().map(|word| word.count_ones()).sum();
            ensure(bits == u32::from(slab.free_slots), "bitmap agrees with count", slab.start())?;
            let beyond = slab.bitmap.iter().enumerate().any(|(word, &bits)| {
                let slots = usize::from(slab.slots).saturating_sub(word * 64);
                slots < 64 && bits >> slots != 0
            });
            ensure(!beyond, "bitmap ends with the slots", slab.start())?;
            for page in slab.start()..slab.end() {
                ensure(ptr::eq(map.extent(page), extent), "page map finds slab", page)?;
                let offset = usize::from(map.class_offset(page));
                ensure(offset == at * BIN_BYTES, "page map finds class", page)?;
            }
            // SAFETY: as above.
            let counted = unsafe { slab::count_punched(extent, geometry) };
            ensure(counted == Some(punched), "punched slots are free", slab.start())?;
            punched_slots += u32::from(punched);
            punched_pages += slab.punched.count_ones();
            self.check_states(slab)?;
            free += u32::from(slab.free_slots);
            slots_with_room += u32::from(slab.slots);
            pages_with_room += slab.pages;
            slabs_with_room += 1;
        }
        ensure(free == bin.free_slots, "free slots of bin", at)?;
        ensure(punched_slots == bin.punched_slots, "punched slots of bin", at)?;
        // In some children of a fork there are more, in slabs that are no longer used.
        ensure(punched_pages <= bin.punched_pages, "punched pages of bin", at)?;
        // Full slabs are in no list; of the usual size or smaller.
        let full = bin.slabs.checked_sub(slabs_with_room);
        let most = |each: u16| full.map(|full| full * u32::from(each));
        let slots = bin.slots.checked_sub(slots_with_room);
        ensure(slots.is_some() && slots <= most(geometry.slots), "slots of bin", at)?;
        let pages = bin.pages.checked_sub(pages_with_room);
        ensure(pages.is_some() && pages <= most(geometry.pages), "pages of bin", at)?;
        for &slot in bin.in_transfer() {
            self.check_slot(class, slot, "waiting slot is in use")?;
        }
        Ok(())
    }

    /// A slot that the bin of `class`, which is locked, has given out must be a slot of the class, and
    /// not be free in its slab.
    fn check_slot(&self, class: ClassId, slot: *mut u8, what: &'static str) -> Result<(), Fault> {
        let map = &self.arena.map;
        let geometry = class.geometry();
        let page = map.page_of(slot.addr()).unwrap_or(usize::MAX);
        ensure(page != usize::MAX, what, page)?;
        ensure(
            usize::from(map.class_offset(page)) == usize::from(class.0) * BIN_BYTES,
            what,
            page,
        )?;
        let slab = map.extent(page);
        // SAFETY: a slab of the locked bin.
        let (start, bitmap) = unsafe { ((*slab).start as usize, &(*slab).bitmap) };
        let offset = slot.addr() - map.address_of(start).addr();
        let index = slab::slot_of(geometry, offset);
        let in_use = bitmap[index / 64] >> (index % 64) & 1 == 0;
        ensure(index * geometry.size as usize == offset && in_use, what, page)?;
        let live = map.hard.as_ref().is_some_and(|hard| hard.is_live(slot.addr()));
        ensure(!live, "cached or waiting slot is not live", page)
    }

    /// In a hardened pool no free slot of `slab` is live.
    fn check_states(&self, slab: &Extent) -> Result<(), Fault> {
        let Some(hard) = &self.arena.map.hard else { return Ok(()) };
        let first = self.arena.map.address_of(slab.start()).addr();
        let size = ClassId(slab.class).size();
        let live = (0..usize::from(slab.slots)).find(|slot| {
            let free = slab.bitmap[slot / 64] >> (slot % 64) & 1 == 1;
            free && hard.is_live(first + slot * size)
        });
        ensure(live.is_none(), "free slot is not live", slab.start())
    }

    fn check_arena(&self) -> Result<(), Fault> {
        let arena = &self.arena;
        let map = &arena.map;
        let heap = arena.heap.lock();
        let granule = arena.source.granule() >> PAGE_SHIFT;
        let (mut live, mut committed, mut free_committed) = (0, 0, 0);
        let (mut free_extents, mut purging) = (0, 0);
        let mut after_free = false;
        let mut page = arena.first_page();
        while page < map.pages() {
            let extent = map.extent(page);
            ensure(!extent.is_null(), "every page belongs to an extent", page)?;
            // Not borrowed as a whole: bins are at work on the rest of their slabs.
            // SAFETY: descriptors in the map are live, or retired but readable.
            let (start, pages, state) =
                unsafe { ((*extent).start as usize, (*extent).pages as usize, (*extent).state) };
            let end = start + pages;
            ensure(start == page && pages > 0, "extents tile the pool", page)?;
            ensure(end <= map.pages(), "extent ends in the pool", page)?;
            ensure(ptr::eq(map.extent(end - 1), extent), "map knows the last page", page)?;
            let backed = map.committed().count(start, end);
            committed += backed;
            match state {
                State::Free | State::Purging => {
                    // SAFETY: what is not a slab belongs to the arena, which is locked.
                    let (linked, counted) =
                        unsafe { ((*extent).linked, (*extent).committed as usize) };
                    if state == State::Free {
                        ensure(!after_free, "free neighbours are merged", page)?;
                        ensure(linked, "free extent is listed", page)?;
                        ensure(counted == backed, "committed count", page)?;
                        free_extents += 1;
                    } else {
                        // A purge that is under way clears bits first.
                        ensure(!linked, "extent under purge is in no list", page)?;
                        ensure(counted >= backed, "committed count", page)?;
                        purging += 1;
                    }
                    free_committed += counted;
                    self.check_backing(start, end, granule)?;
                }
                State::Slab | State::Large => {
                    // SAFETY: changed under this lock only.
                    let punched = unsafe { (*extent).punched };
                    ensure(punched == 0 || state == State::Slab, "only slabs are punched", page)?;
                    let mut missing =
                        (0..u16::BITS as usize).filter(|page| punched >> page & 1 == 1);
                    let none =
                        missing.all(|page| map.committed().none(start + page, start + page + 1));
                    ensure(none, "punched pages are not committed", page)?;
                    let backed_or_punched = backed + punched.count_ones() as usize;
                    ensure(backed_or_punched == pages, "live pages are committed", page)?;
                    live += backed;
                }
                State::Retired => {
                    return Err(Fault { what: "retired extent in the map", at: page });
                }
            }
            if state != State::Slab {
                let used = end.min(map.used());
                let classed = (start..used).find(|&page| map.class_offset(page) != 0);
                ensure(classed.is_none(), "only slabs have a class", classed.unwrap_or(page))?;
            }
            after_free = state == State::Free;
            page = end;
        }
        ensure(heap.listed() == free_extents, "lists hold the free extents", free_extents)?;
        ensure(heap.misplaced().is_none(), "extent in its list", heap.misplaced().unwrap_or(0))?;
        ensure(heap.purging as usize == purging, "extents under purge", purging)?;
        ensure(heap.counts.live == live, "live page count", live)?;
        ensure(heap.counts.free_committed == free_committed, "reserve count", free_committed)?;
        let all = heap.counts.committed;
        ensure(
            all == live + free_committed && (all == committed || purging > 0),
            "committed page count",
            committed,
        )?;
        ensure(map.pages() << PAGE_SHIFT == arena.source.len(), "map covers the source", 0)
    }

    /// Free pages `start..end`: frozen pages are committed ones, and a granule is committed as a whole.
    fn check_backing(&self, start: usize, end: usize, granule: usize) -> Result<(), Fault> {
        let map = &self.arena.map;
        let mut at = start;
        while let Some((first, last)) = map.frozen().next_run(at, end, true) {
            let missing = map.committed().next_run(first, last, false);
            ensure(missing.is_none(), "frozen pages are committed", first)?;
            at = last;
        }
        let mut at = start;
        while let Some((first, last)) = map.committed().next_run(at, end, false) {
            // The head of the pool is nobody's.
            let aligned = first.is_multiple_of(granule) || first == self.arena.first_page();
            ensure(aligned && last.is_multiple_of(granule), "granules are committed whole", first)?;
            at = last;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
