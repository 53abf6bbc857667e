//! Checks that cannot fail check nothing: each test here spoils one structure and names the fault that
//! must be found.

use super::*;
use crate::extent::Extent;
use crate::{Pool, PoolOptions, PurgePolicy};
use pmem_core::source::Source;
use std::vec::Vec;
use std::{format, vec};

/// A pool in use: slabs with room and full ones, blocks of whole pages, free extents with and
/// without backing between them.
struct Fixture {
    pool: Pool,
    /// A slot of a slab that has free slots.
    slot: *mut u8,
    /// A block of whole pages with free extents on both sides.
    large: *mut u8,
}

impl Fixture {
    fn new() -> Fixture {
        let source = Source::anonymous(16 << 20).unwrap();
        // What is slow (Miri on a busy machine) would find free extents without backing.
        let options = PoolOptions { purge: PurgePolicy::Never, ..PoolOptions::default() };
        let pool = Pool::create(source, &options).unwrap();
        let slot = pool.alloc(100);
        let before = pool.alloc(300 << 10);
        let large = pool.alloc(300 << 10);
        let behind = pool.alloc(300 << 10);
        // SAFETY: live and not used again.
        unsafe {
            pool.free(before);
            pool.free(behind);
        }
        pool.check().unwrap();
        Fixture { pool, slot, large }
    }

    fn inner(&self) -> &PoolInner {
        self.pool.inner()
    }

    fn page(&self, block: *mut u8) -> usize {
        self.inner().arena.map.page_of(block.addr()).unwrap()
    }

    fn extent(&self, block: *mut u8) -> *mut Extent {
        self.inner().arena.map.extent(self.page(block))
    }

    fn class(&self) -> ClassId {
        ClassId::for_size(100).unwrap()
    }

    /// The free extent behind the large block; its first pages are backed.
    fn free(&self) -> *mut Extent {
        // SAFETY: live descriptors.
        let end = unsafe { (*self.extent(self.large)).end() };
        let free = self.inner().arena.map.extent(end);
        // SAFETY: as above.
        assert!(unsafe { (*free).state == State::Free && (*free).committed > 0 });
        free
    }

    #[track_caller]
    fn finds(&self, what: &str) {
        assert_eq!(self.pool.check().unwrap_err().what, what);
    }
}

/// Spoils something in a [`Fixture`] through `spoil`, which may do what it likes: the pool is only
/// checked and deleted afterwards.
#[track_caller]
fn spoiled(what: &str, spoil: impl FnOnce(&Fixture)) {
    let fixture = Fixture::new();
    spoil(&fixture);
    fixture.finds(what);
}

#[test]
fn a_bit_of_a_slab() {
    spoiled("bitmap agrees with count", |f| {
        let slab = f.extent(f.slot);
        // SAFETY: a live descriptor; no other thread.
        unsafe { (*slab).bitmap[0] ^= 1 << 20 };
    });
    spoiled("bitmap ends with the slots", |f| {
        let slab = f.extent(f.slot);
        // SAFETY: as above. One bit goes, one beyond the slots comes.
        unsafe {
            (*slab).bitmap[0] &= (*slab).bitmap[0] - 1;
            (*slab).bitmap[7] |= 1 << 63;
        }
    });
}

#[test]
fn counts_of_a_slab() {
    spoiled("slot count of the class", |f| {
        // SAFETY: a live descriptor; no other thread.
        unsafe { (*f.extent(f.slot)).slots -= 1 };
    });
    spoiled("bitmap agrees with count", |f| {
        // SAFETY: as above.
        unsafe { (*f.extent(f.slot)).free_slots -= 1 };
    });
    spoiled("listed slab has room", |f| {
        // SAFETY: as above.
        unsafe { (*f.extent(f.slot)).free_slots = 0 };
    });
    spoiled("slab in the list of its group", |f| {
        // SAFETY: as above.
        unsafe { (*f.extent(f.slot)).list ^= 1 };
    });
    spoiled("slab in its own bin", |f| {
        // SAFETY: as above.
        unsafe { (*f.extent(f.slot)).class += 1 };
    });
    spoiled("listed slab is linked", |f| {
        // SAFETY: as above.
        unsafe { (*f.extent(f.slot)).linked = false };
    });
}

#[test]
fn counts_of_a_bin() {
    spoiled("free slots of bin", |f| f.inner().bin(f.class()).free_slots += 1);
    spoiled("slots of bin", |f| f.inner().bin(f.class()).slabs = 0);
    spoiled("slots of bin", |f| f.inner().bin(f.class()).slots += 1);
    spoiled("slots of bin", |f| f.inner().bin(f.class()).slots -= 1);
    spoiled("pages of bin", |f| f.inner().bin(f.class()).pages -= 1);
}

#[test]
fn the_page_map_of_a_slab() {
    spoiled("page map finds slab", |f| {
        f.inner().arena.map.set_all(f.page(f.slot) + 1, 1, f.extent(f.large));
    });
    spoiled("page map finds class", |f| {
        f.inner().arena.map.set_class_offset(f.page(f.slot) + 2, 1, 0);
    });
}

/// Slots that a bin waits to hand out, and those in the thread's cache.
#[test]
fn slots_on_their_way() {
    let waiting = |spoil: fn(&Fixture, &mut Vec<*mut u8>)| {
        spoiled("waiting slot is in use", |f| {
            let mut bin = f.inner().bin(f.class());
            let mut slots = vec![core::ptr::null_mut(); 4];
            // SAFETY: the bin of this class; room for four.
            let taken =
                unsafe { bin.take(&f.inner().arena, f.class(), slots.as_mut_ptr(), 4, false) };
            assert_eq!(taken, 4);
            spoil(f, &mut slots);
            // SAFETY: not so; the pool is only checked from here on.
            unsafe { bin.give(&f.inner().arena, f.class(), &slots) };
            assert_eq!(bin.in_transfer().len(), 4);
        });
    };
    waiting(|f, slots| slots[0] = f.large);
    waiting(|_, slots| slots[1] = slots[1].wrapping_add(8));
    waiting(|_, slots| slots[2] = core::ptr::without_provenance_mut(64));
    waiting(|f, slots| {
        // The last slot of the slab is free.
        let geometry = f.class().geometry();
        let first = f.inner().arena.map.address_of(f.page(f.slot));
        slots[3] = first.wrapping_add((usize::from(geometry.slots) - 1) * geometry.size as usize);
    });
    spoiled("cached slot is in use", |f| {
        // Enough operations for a cache, which then holds slots.
        for _ in 0..100 {
            let block = f.pool.alloc(100);
            // SAFETY: live and not used again.
            unsafe { f.pool.free(block) };
        }
        f.pool.check().unwrap();
        let slab = f.extent(f.slot);
        // SAFETY: a live descriptor; no other thread. All slots become free, cached ones too.
        unsafe {
            slab::format(slab, f.class());
            let mut bin = f.inner().bin(f.class());
            bin.free_slots = u32::from((*slab).free_slots);
            bin.regroup(slab);
        }
    });
}

#[test]
fn extents_that_do_not_tile() {
    spoiled("every page belongs to an extent", |f| {
        f.inner().arena.map.set_all(f.page(f.large), 1, core::ptr::null_mut());
    });
    spoiled("extents tile the pool", |f| {
        // SAFETY: a live descriptor; no other thread.
        unsafe { (*f.extent(f.large)).start += 1 };
    });
    spoiled("map knows the last page", |f| {
        // SAFETY: as above.
        unsafe { (*f.extent(f.large)).pages -= 1 };
    });
    spoiled("extent ends in the pool", |f| {
        // SAFETY: as above.
        unsafe { (*f.free()).pages += 1 };
    });
    spoiled("retired extent in the map", |f| {
        // SAFETY: as above.
        unsafe { (*f.extent(f.large)).state = State::Retired };
    });
    spoiled("only slabs have a class", |f| {
        f.inner().arena.map.set_class_offset(f.page(f.large) + 3, 1, BIN_BYTES as u16);
    });
}

#[test]
fn free_extents_and_their_lists() {
    spoiled("free neighbours are merged", |f| {
        // SAFETY: a live descriptor; no other thread.
        unsafe { (*f.extent(f.large)).state = State::Free };
    });
    spoiled("free extent is listed", |f| {
        // SAFETY: as above.
        unsafe { (*f.free()).linked = false };
    });
    spoiled("lists hold the free extents", |f| {
        // SAFETY: as above.
        unsafe {
            f.inner().arena.heap.lock().remove(f.free());
            (*f.free()).linked = true;
        }
    });
    spoiled("extent in its list", |f| {
        // SAFETY: as above. A hole among the extents with backing.
        unsafe {
            let mut heap = f.inner().arena.heap.lock();
            let (extent, committed) = (f.free(), (*f.free()).committed);
            heap.remove(extent);
            (*extent).committed = 0;
            heap.insert(extent);
            (*extent).committed = committed;
        }
    });
    spoiled("extent in its list", |f| {
        // SAFETY: as above. In the list of another size.
        unsafe {
            let mut heap = f.inner().arena.heap.lock();
            let (extent, pages) = (f.free(), (*f.free()).pages);
            heap.remove(extent);
            (*extent).pages = 1;
            heap.insert(extent);
            (*extent).pages = pages;
        }
    });
    spoiled("extents under purge", |f| f.inner().arena.heap.lock().purging += 1);
    spoiled("extent under purge is in no list", |f| {
        // SAFETY: as above.
        unsafe { (*f.free()).state = State::Purging };
    });
}

#[test]
fn backing() {
    spoiled("committed count", |f| {
        // SAFETY: a live descriptor; no other thread.
        unsafe { (*f.free()).committed += 1 };
    });
    spoiled("live pages are committed", |f| {
        let page = f.page(f.large) + 1;
        f.inner().arena.map.committed().clear(page, page + 1);
    });
    spoiled("frozen pages are committed", |f| {
        let map = &f.inner().arena.map;
        map.use_up_to(map.pages());
        map.frozen().set(map.pages() - 1, map.pages());
    });
    spoiled("reserve count", |f| f.inner().arena.heap.lock().counts.free_committed += 1);
    spoiled("live page count", |f| f.inner().arena.heap.lock().counts.live += 1);
    spoiled("committed page count", |f| f.inner().arena.heap.lock().counts.committed += 1);
}

/// A slab of which a trim has given pages back.
#[test]
fn punched_pages() {
    let punched = |what: &str, spoil: fn(&Fixture, *mut Extent)| {
        spoiled(what, |f| {
            f.pool.trim();
            f.pool.check().unwrap();
            let slab = f.extent(f.slot);
            // SAFETY: a live descriptor; no other thread.
            assert!(unsafe { (*slab).punched_slots > 0 && (*slab).punched & 2 != 0 });
            spoil(f, slab);
        });
    };
    punched("punched slots are free", |_, slab| {
        // SAFETY: a live descriptor; no other thread.
        unsafe { (*slab).punched_slots -= 1 };
    });
    punched("punched slots are free", |_, slab| {
        // SAFETY: as above.
        unsafe { (*slab).punched &= !2 };
    });
    punched("punched slots of bin", |f, _| f.inner().bin(f.class()).punched_slots += 1);
    punched("punched pages of bin", |f, _| f.inner().bin(f.class()).punched_pages -= 1);
    punched("punched pages are not committed", |f, _| {
        let page = f.page(f.slot) + 1;
        f.inner().arena.map.committed().set(page, page + 1);
    });
    spoiled("only slabs are punched", |f| {
        // SAFETY: as above.
        unsafe { (*f.extent(f.large)).punched = 1 };
    });
}

/// A granule of several pages that is committed in part, as on huge pages.
#[test]
fn backing_of_granules() {
    let fixture = Fixture::new();
    let pool = fixture.inner();
    // SAFETY: a live descriptor.
    let (start, end) = unsafe { ((*fixture.free()).start(), (*fixture.free()).end()) };
    let backed = pool.arena.map.committed().count(start, end);
    let border = start + backed;
    let granule = 1 << border.trailing_zeros();
    assert_eq!(pool.check_backing(start, end, granule), Ok(()));
    let fault = pool.check_backing(start, end, 2 * granule).unwrap_err();
    assert_eq!((fault.what, fault.at), ("granules are committed whole", border));
}

#[test]
fn the_text_of_a_fault() {
    let fault = Fault { what: "live page count", at: 7 };
    assert_eq!(format!("{fault}"), "pool is inconsistent: live page count (at 7)");
}
