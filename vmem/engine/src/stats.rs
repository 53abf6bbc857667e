//! Statistics: a snapshot of a pool, gathered without slowing the fast paths.

use crate::config::PAGE_SHIFT;
use crate::extent::State;
use crate::pool::PoolInner;
use crate::size_class::{CLASS_COUNT, ClassId};
use pmem_core::source::SourceKind;

/// One size class in a [`Stats`] snapshot. Counts are slots.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct ClassStats {
    /// Slot size in bytes.
    pub size: usize,
    /// Slabs of the class.
    pub slabs: usize,
    /// Slots in use by the program.
    pub live: usize,
    /// Slots free in slabs and transfer arrays.
    pub free: usize,
    /// Slots in thread caches.
    pub cached: usize,
}

/// A snapshot of a pool, in bytes unless said otherwise. Taken while other threads work, so figures
/// of different structures may be a few operations apart.
#[derive(Clone, Debug)]
pub struct Stats {
    /// What the pool's bytes are on.
    pub medium: SourceKind,
    /// Size of the pool's range.
    pub pool_bytes: usize,
    /// In blocks held by the program (slot sizes and whole pages).
    pub allocated_bytes: usize,
    /// In slabs and blocks of whole pages.
    pub active_bytes: usize,
    /// Largest value of `active_bytes` so far.
    pub peak_active_bytes: usize,
    /// Backed by the source: active, or free but not given back yet.
    pub committed_bytes: usize,
    /// Largest value of `committed_bytes` so far.
    pub peak_committed_bytes: usize,
    /// What the source really uses: blocks of the file, or resident pages.
    pub resident_bytes: u64,
    /// In thread caches.
    pub thread_cache_bytes: usize,
    /// Given back to the source since the pool was made.
    pub purged_bytes: u64,
    /// In blocks of whole pages (above the largest class).
    pub large_bytes: usize,
    /// Address space of metadata in DRAM (descriptors and caches; the page map is sparse).
    pub metadata_bytes: usize,
    /// Thread caches in use.
    pub thread_caches: usize,
    /// By class, in ascending order of size.
    pub classes: [ClassStats; CLASS_COUNT - 1],
}

/// Blocks of whole pages of about one size.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct WholePageStats {
    /// Blocks in use.
    pub blocks: usize,
    /// Bytes of these blocks.
    pub bytes: usize,
}

/// Exact call counters of a [`crate::Heap`] that counts. In the child of a fork the calls before it
/// are the parent's, and not in the first four.
#[derive(Clone, Debug)]
pub struct CallCounts {
    /// Blocks handed out (a realloc counts as one).
    pub allocations: u64,
    /// Blocks of the heap taken back.
    pub frees: u64,
    /// Frees passed on because the block was not the heap's.
    pub foreign_frees: u64,
    /// Allocations that failed.
    pub failures: u64,
    /// Usable bytes of the blocks of the pool (not the overflow) handed out and not taken back.
    pub live_bytes: u64,
    /// Largest value of `live_bytes` so far.
    pub peak_live_bytes: u64,
    /// Allocations by class; index 0 stands for blocks of whole pages.
    pub class_calls: [u64; CLASS_COUNT],
    /// Bytes asked for, by class as in `class_calls`.
    pub class_requested: [u64; CLASS_COUNT],
}

impl Stats {
    /// Of a pool that does not exist, in no file: all figures are 0.
    #[must_use]
    pub fn of_nothing() -> Stats {
        Stats {
            medium: SourceKind::Anonymous,
            pool_bytes: 0,
            allocated_bytes: 0,
            active_bytes: 0,
            peak_active_bytes: 0,
            committed_bytes: 0,
            peak_committed_bytes: 0,
            resident_bytes: 0,
            thread_cache_bytes: 0,
            purged_bytes: 0,
            large_bytes: 0,
            metadata_bytes: 0,
            thread_caches: 0,
            classes: [ClassStats::default(); CLASS_COUNT - 1],
        }
    }
}

impl PoolInner {
    /// Blocks of whole pages: index `n` stands for blocks of up to `2^n` pages and more than half of
    /// that.
    pub(crate) fn whole_page_blocks(&self) -> [WholePageStats; 32] {
        let mut sizes = [WholePageStats::default(); 32];
        let _arena = self.arena.heap.lock();
        // SAFETY: the arena is locked.
        for (start, end, _) in unsafe { self.arena.extents() } {
            // SAFETY: as above; extents are found by their first page.
            if unsafe { (*self.arena.map.extent(start)).state } == State::Large {
                let size = &mut sizes[(end - start).next_power_of_two().ilog2() as usize];
                size.blocks += 1;
                size.bytes += (end - start) << PAGE_SHIFT;
            }
        }
        sizes
    }

    /// See [`Stats`].
    pub(crate) fn stats(&self) -> Stats {
        let mut classes = [ClassStats::default(); CLASS_COUNT - 1];
        let mut thread_caches = 0;
        let mut cache_bytes = 0;
        self.for_each_cache(|cache| {
            // SAFETY: listed caches are live. Their threads move tops meanwhile: each read gives
            // one of the values they had, which is all a snapshot needs.
            let cache = unsafe { &*cache };
            cache_bytes += self.own_cache_bytes();
            thread_caches += usize::from(cache.in_use.get());
            for (class, stats) in ClassId::all().zip(&mut classes) {
                stats.cached += cache.count_racy(class);
            }
        });
        let mut slab_bytes = 0;
        for (class, stats) in ClassId::all().zip(&mut classes) {
            let bin = self.bin(class);
            stats.size = class.size();
            stats.slabs = bin.slabs as usize;
            stats.free = bin.free_slots as usize + bin.in_transfer().len();
            let slots = bin.slots as usize;
            stats.live = slots.saturating_sub(stats.free + stats.cached);
            slab_bytes += (bin.pages as usize) << PAGE_SHIFT;
        }
        let counts = self.arena.heap.lock().counts;
        let active_bytes = counts.live << PAGE_SHIFT;
        let large_bytes = active_bytes.saturating_sub(slab_bytes);
        let in_slots: usize = classes.iter().map(|class| class.live * class.size).sum();
        Stats {
            medium: self.arena.source.kind(),
            pool_bytes: self.arena.source.len(),
            allocated_bytes: in_slots + large_bytes,
            active_bytes,
            peak_active_bytes: counts.peak_live << PAGE_SHIFT,
            committed_bytes: counts.committed << PAGE_SHIFT,
            peak_committed_bytes: counts.peak_committed << PAGE_SHIFT,
            resident_bytes: self.arena.source.resident_bytes(),
            thread_cache_bytes: classes.iter().map(|class| class.cached * class.size).sum(),
            purged_bytes: counts.purged << PAGE_SHIFT,
            large_bytes,
            metadata_bytes: self.arena.meta.lock().mapped_bytes() + cache_bytes,
            thread_caches,
            classes,
        }
    }
}
