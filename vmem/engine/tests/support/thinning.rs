//! Slabs that are filled and thinned out: a few blocks live on pages of their own.

use super::random::{Random, all_are};
use pmem_core::source::{HugePageSize, Source};
use vmem_engine::{Harden, Pool, PoolOptions};

pub(crate) const MIB: usize = 1 << 20;
pub(crate) const PAGE: usize = 4096;
pub(crate) const MODES: [Harden; 3] = [Harden::Off, Harden::Checks, Harden::Poison];

pub(crate) struct Block {
    pub(crate) pointer: *mut u8,
    pub(crate) size: usize,
    stamp: u8,
}

// SAFETY: a block belongs to whoever has it.
unsafe impl Send for Block {}

impl Block {
    pub(crate) fn new(pool: &Pool, size: usize, stamp: u8) -> Option<Block> {
        let pointer = pool.alloc(size);
        if pointer.is_null() {
            return None;
        }
        // SAFETY: a new block of this size. Space that is missing shows as a signal.
        unsafe { pointer.write_bytes(stamp, size) };
        Some(Block { pointer, size, stamp })
    }

    pub(crate) fn is_whole(&self) -> bool {
        // SAFETY: a live block of this size.
        all_are(unsafe { std::slice::from_raw_parts(self.pointer, self.size) }, self.stamp)
            // SAFETY: as above.
            && unsafe { self.pointer.read() } == self.stamp
    }

    pub(crate) fn free(self, pool: &Pool) {
        assert!(self.is_whole(), "content of {:p}", self.pointer);
        // SAFETY: live and not used again.
        unsafe { pool.free(self.pointer) };
    }
}

pub(crate) fn fill(pool: &Pool, size: usize, bytes: usize) -> Vec<Block> {
    (0..bytes / size).map(|n| Block::new(pool, size, n as u8 | 1).unwrap()).collect()
}

/// Frees all but one in `one_in`, drawn by lot.
pub(crate) fn thin_out(
    pool: &Pool,
    blocks: Vec<Block>,
    one_in: usize,
    random: &mut Random,
) -> Vec<Block> {
    let mut kept = Vec::new();
    for block in blocks {
        if random.below(one_in) == 0 {
            kept.push(block);
        } else {
            block.free(pool);
        }
    }
    kept
}

/// Pages that a byte of these blocks lies on.
pub(crate) fn pages_of(blocks: &[Block]) -> usize {
    let of = |block: &Block| {
        block.pointer.addr() / PAGE..=(block.pointer.addr() + block.size - 1) / PAGE
    };
    let mut pages: Vec<usize> = blocks.iter().flat_map(of).collect();
    pages.sort_unstable();
    pages.dedup();
    pages.len()
}

pub(crate) fn free_all(pool: &Pool, blocks: Vec<Block>) {
    blocks.into_iter().for_each(|block| block.free(pool));
    pool.check().unwrap();
    pool.trim();
    pool.check().unwrap();
    let stats = pool.stats();
    assert_eq!((stats.allocated_bytes, stats.active_bytes), (0, 0), "{stats:?}");
}

pub(crate) const SIZES: [usize; 9] = [48, 112, 176, 352, 1000, 1300, 4096, 5000, 20_000];

pub(crate) fn sources() -> Vec<(&'static str, Source)> {
    let caller = Source::anonymous(64 * MIB).unwrap();
    // SAFETY: all of a source that is kept for ever, and not used otherwise.
    let region = unsafe { Source::caller_region(caller.base(), caller.len()) };
    std::mem::forget(caller);
    let mut sources = vec![
        ("anonymous", Source::anonymous(64 * MIB).unwrap()),
        ("file", Source::in_directory(c"/dev/shm", 64 * MIB).unwrap()),
        ("memory file", Source::memfd(64 * MIB, None).unwrap()),
        ("region", region.unwrap()),
    ];
    let huge = || Source::memfd(64 * MIB, Some(HugePageSize::Mib2)).ok();
    let works = |source| {
        let pool = Pool::create(source, &PoolOptions::default()).ok()?;
        Block::new(&pool, 48 * MIB, 1)
    };
    match huge().and_then(works).and_then(|_| huge()) {
        Some(source) => sources.push(("huge pages", source)),
        None => println!("NOT CHECKED: too few free huge pages (vm.nr_hugepages)"),
    }
    sources
}
