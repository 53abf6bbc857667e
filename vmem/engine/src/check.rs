//! Consistency checks: walks every structure of a pool and compares what must agree.
//!
//! Bins are checked one by one under their locks, then the arena under its own; a pool may be
//! checked while other threads use it.

use crate::bin::Bin;
use crate::cache::BIN_BYTES;
use crate::config::PAGE_SHIFT;
use crate::extent::{Extent, State};
use crate::pool::PoolInner;
use crate::size_class::ClassId;
use crate::slab;
use core::fmt;

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
    /// See the module text.
    pub(crate) fn check(&self) -> Result<(), Fault> {
        for class in ClassId::all() {
            self.check_bin(class, &self.bin(class))?;
        }
        self.check_arena()
    }

    fn check_bin(&self, class: ClassId, bin: &Bin) -> Result<(), Fault> {
        let map = &self.arena.map;
        let geometry = class.geometry();
        let at = usize::from(class.0);
        let mut free = 0;
        // SAFETY: the bin is locked by the caller; its slabs are live.
        for extent in unsafe { bin.slabs_with_room() } {
            // SAFETY: as above.
            let slab = unsafe { &*extent };
            ensure(slab.state == State::Slab && slab.class == class.0, "slab in its own bin", at)?;
            ensure(slab.free_slots > 0, "listed slab has room", slab.start())?;
            ensure(
                slab.list == slab::group_of(slab.free_slots, geometry),
                "slab in the list of its group",
                slab.start(),
            )?;
            ensure(slab.slots == geometry.slots, "slot count of the class", slab.start())?;
            let bits: u32 = slab.bitmap.iter().map(|word| word.count_ones()).sum();
            ensure(bits == u32::from(slab.free_slots), "bitmap agrees with count", slab.start())?;
            for page in slab.start()..slab.end() {
                ensure(core::ptr::eq(map.extent(page), extent), "page map finds slab", page)?;
                let offset = usize::from(map.class_offset(page));
                ensure(offset == at * BIN_BYTES, "page map finds class", page)?;
            }
            free += u32::from(slab.free_slots);
        }
        ensure(free == bin.free_slots, "free slots of bin", at)?;
        for &slot in bin.in_transfer() {
            let page = map.page_of(slot.addr());
            let offset = page.map(|page| usize::from(map.class_offset(page)));
            ensure(offset == Some(at * BIN_BYTES), "waiting slot is of the class", at)?;
        }
        Ok(())
    }

    fn check_arena(&self) -> Result<(), Fault> {
        let arena = &self.arena;
        let map = &arena.map;
        let heap = arena.heap.lock();
        let (mut live, mut committed, mut free_committed) = (0, 0, 0);
        let mut after_free = false;
        let mut page = arena.first_page();
        let mut free_extents = 0;
        while page < map.pages() {
            let extent: *const Extent = map.extent(page);
            ensure(!extent.is_null(), "every page belongs to an extent", page)?;
            // SAFETY: descriptors in the map are live, or retired but readable.
            let extent = unsafe { &*extent };
            ensure(extent.start() == page && extent.pages > 0, "extents tile the pool", page)?;
            ensure(extent.end() <= map.pages(), "extent ends in the pool", page)?;
            ensure(
                core::ptr::eq(map.extent(extent.end() - 1), extent),
                "map knows the last page",
                page,
            )?;
            let backed = map.committed().count(extent.start(), extent.end());
            committed += backed;
            let is_free = extent.state == State::Free;
            match extent.state {
                State::Free => {
                    ensure(!after_free, "free neighbours are merged", page)?;
                    ensure(extent.linked, "free extent is listed", page)?;
                    ensure(extent.committed as usize == backed, "committed count", page)?;
                    free_committed += backed;
                    free_extents += 1;
                }
                State::Purging => free_committed += extent.committed as usize,
                State::Slab | State::Large => {
                    ensure(backed == extent.pages(), "live pages are committed", page)?;
                    live += extent.pages();
                }
                State::Retired => {
                    return Err(Fault { what: "retired extent in the map", at: page });
                }
            }
            after_free = is_free;
            page = extent.end();
        }
        ensure(heap.listed() == free_extents, "lists hold the free extents", 0)?;
        ensure(heap.counts.live == live, "live page count", live)?;
        ensure(heap.counts.free_committed == free_committed, "reserve count", free_committed)?;
        // A purge that is under way clears bits before it takes the lock to count them.
        ensure(heap.counts.committed >= committed, "committed page count", committed)?;
        ensure(map.pages() << PAGE_SHIFT == arena.source.len(), "map covers the source", 0)
    }
}
