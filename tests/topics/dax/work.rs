//! Blocks with stamps in them, and random work on them.

use std::ptr::NonNull;
use std::time::{SystemTime, UNIX_EPOCH};

use vmem::Pool;

use crate::place::MIB;

/// A live block, all bytes of which are `stamp`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Block {
    pub(crate) at: NonNull<u8>,
    pub(crate) size: usize,
    pub(crate) stamp: u8,
}

// SAFETY: a block is owned by whoever holds the value; nothing about it belongs to a thread.
unsafe impl Send for Block {}

impl Block {
    /// Stamps a fresh block.
    pub(crate) fn new(at: NonNull<u8>, size: usize, stamp: u8) -> Block {
        let block = Block { at, size, stamp };
        block.fill();
        block
    }

    /// Gives it another stamp.
    pub(crate) fn stamp(&mut self, stamp: u8) {
        self.stamp = stamp;
        self.fill();
    }

    fn fill(&self) {
        // SAFETY: a live block of this size, which only its owner uses.
        unsafe { self.at.write_bytes(self.stamp, self.size) };
    }

    /// Whether the first `size` bytes are stamped.
    pub(crate) fn holds(&self, size: usize) -> bool {
        all_are(self.at, size, self.stamp)
    }

    /// # Panics
    /// When a byte is another.
    pub(crate) fn check(&self) {
        assert!(self.holds(self.size), "{self:?} has another byte in it");
    }

    /// Checks it and gives it back.
    pub(crate) fn free(self, pool: &Pool) {
        self.check();
        // SAFETY: a live block of the pool, given up here.
        unsafe { pool.free(self.at) };
    }
}

/// Whether `size` bytes are all `byte`. Compared in pieces: byte by byte takes long in emulation.
pub(crate) fn all_are(at: NonNull<u8>, size: usize, byte: u8) -> bool {
    // SAFETY: callers pass live blocks of at least this size that nobody writes to.
    let bytes = unsafe { NonNull::slice_from_raw_parts(at, size).as_ref() };
    let pattern = [byte; 4096];
    bytes.chunks(pattern.len()).all(|chunk| chunk == &pattern[..chunk.len()])
}

/// Allocates and stamps blocks of `size` bytes until there is no room, `most` at most.
pub(crate) fn fill(pool: &Pool, size: usize, most: usize, stamp: u8) -> Vec<Block> {
    let mut blocks = Vec::new();
    while blocks.len() < most {
        let Some(at) = pool.alloc(size) else { break };
        blocks.push(Block::new(at, size, stamp.wrapping_add(blocks.len() as u8)));
    }
    blocks
}

/// Checks and frees all of them.
pub(crate) fn free_all(pool: &Pool, blocks: Vec<Block>) {
    for block in blocks {
        block.free(pool);
    }
}

/// A generator of random numbers; prints its seed, which `PMEM_TEST_SEED` sets.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new() -> Random {
        let seed = match std::env::var("PMEM_TEST_SEED") {
            Ok(seed) => seed.parse().expect("PMEM_TEST_SEED is a number"),
            Err(_) => {
                SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |t| t.as_nanos() as u64)
            }
        };
        eprintln!("PMEM_TEST_SEED={seed}");
        Random(seed)
    }

    /// Another generator, for another thread.
    pub(crate) fn split(&mut self) -> Random {
        Random(self.next())
    }

    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// Of every order of magnitude about as many, up to `largest`.
    pub(crate) fn size(&mut self, largest: usize) -> usize {
        let magnitude = self.below(largest.ilog2() as usize + 1);
        1 + self.below(1 << (magnitude + 1).min(largest.ilog2() as usize))
    }
}

/// `count` random operations of every kind with at most `budget` bytes in use. Everything is checked whenever it is
/// touched, and freed at the end. Returns how many allocations there was no room for.
pub(crate) fn churn(pool: &Pool, random: &mut Random, count: usize, budget: usize) -> usize {
    let mut live: Vec<Block> = Vec::new();
    let mut used = 0;
    let mut refused = 0;
    for step in 0..count {
        let stamp = step as u8 | 1;
        if used > budget || (!live.is_empty() && random.below(5) < 2) {
            let victim = live.swap_remove(random.below(live.len()));
            used -= victim.size;
            victim.free(pool);
            continue;
        }
        let size = random.size(MIB);
        match random.below(4) {
            0 => match pool.alloc_zeroed(size) {
                Some(at) => {
                    assert!(all_are(at, size, 0), "{size} bytes that were to be zero");
                    live.push(Block::new(at, size, stamp));
                    used += size;
                }
                None => refused += 1,
            },
            1 => {
                let align = 1 << random.below(17);
                match pool.alloc_aligned(align, size) {
                    Some(at) => {
                        assert_eq!(at.addr().get() % align, 0, "an alignment of {align}");
                        live.push(Block::new(at, size, stamp));
                        used += size;
                    }
                    None => refused += 1,
                }
            }
            2 if !live.is_empty() => {
                let chosen = random.below(live.len());
                let block = &mut live[chosen];
                // SAFETY: a live block of the pool; the old pointer is not used again.
                match unsafe { pool.realloc(block.at, size) } {
                    Some(at) => {
                        block.at = at;
                        let kept = block.size.min(size);
                        assert!(block.holds(kept), "{block:?} lost bytes on the way to {size}");
                        used = used + size - block.size;
                        block.size = size;
                        block.stamp(stamp);
                    }
                    None => {
                        refused += 1;
                        block.check();
                    }
                }
            }
            _ => match pool.alloc(size) {
                Some(at) => {
                    live.push(Block::new(at, size, stamp));
                    used += size;
                }
                None => refused += 1,
            },
        }
        if step % 1000 == 999 {
            pool.check().expect("the structures of the pool agree");
        }
    }
    free_all(pool, live);
    refused
}
