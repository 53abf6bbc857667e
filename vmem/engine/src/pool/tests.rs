//! A pool in short, so that Miri can follow: undefined behaviour and data races show here. What takes
//! many operations is in the folder `tests`.

use super::*;
use crate::config::{APART, OPS_BEFORE_CACHE};
use std::sync::Barrier;
use std::sync::mpsc::sync_channel;
use std::vec::Vec;

fn pool_with(harden: Harden) -> Pool {
    let source = Source::anonymous(MIN_POOL_BYTES).unwrap();
    Pool::create(source, &PoolOptions { harden, ..PoolOptions::default() }).unwrap()
}

fn pool() -> Pool {
    pool_with(Harden::Off)
}

/// A block of a pool: may be sent to another thread.
struct Block(*mut u8, usize);

// SAFETY: a block belongs to whoever has it.
unsafe impl Send for Block {}

impl Block {
    fn new(pool: &Pool, size: usize) -> Block {
        let pointer = pool.alloc(size);
        assert!(!pointer.is_null());
        // SAFETY: a new block of this size.
        unsafe {
            pointer.write(size as u8);
            pointer.add(size - 1).write(size as u8);
        }
        Block(pointer, size)
    }

    fn free(self, pool: &Pool) {
        // SAFETY: a live block of this size; not used again.
        unsafe {
            assert_eq!(
                (self.0.read(), self.0.add(self.1 - 1).read()),
                (self.1 as u8, self.1 as u8)
            );
            pool.free(self.0);
        }
    }
}

const SIZES: [usize; 7] = [1, 16, 100, 700, 5_000, 70_000, 300_000];

#[test]
fn every_call_works() {
    every_call(&pool());
}

#[test]
fn every_call_works_in_a_hardened_pool() {
    every_call(&pool_with(Harden::Checks));
    every_call(&pool_with(Harden::Poison));
}

fn every_call(pool: &Pool) {
    let mut blocks: Vec<Block> =
        SIZES.iter().chain(&SIZES).map(|&size| Block::new(pool, size)).collect();
    for size in SIZES {
        let zeroed = pool.alloc_zeroed(size);
        // SAFETY: a new block of this size.
        assert_eq!(unsafe { (zeroed.read(), zeroed.add(size - 1).read()) }, (0, 0));
        let aligned = pool.alloc_aligned(8192, size);
        assert!(aligned.addr().is_multiple_of(8192));
        // SAFETY: live; used only through what realloc gives.
        unsafe {
            zeroed.write(9);
            let larger = pool.realloc(zeroed, size * 3);
            assert_eq!(larger.read(), 9);
            let smaller = pool.realloc(larger, size / 2 + 1);
            assert_eq!(smaller.read(), 9);
            pool.free(smaller);
            pool.free(aligned);
        }
    }
    while let Some(block) = blocks.pop() {
        block.free(pool);
    }
    pool.check().unwrap();
    // What it gives back it may have given back by age before: the model interpreter takes its time.
    let _ = pool.trim();
    assert_eq!(pool.stats().committed_bytes, 0);
    pool.check().unwrap();
}

#[test]
fn blocks_go_from_thread_to_thread() {
    let pool = pool();
    std::thread::scope(|scope| {
        let pool = &pool;
        let (sender, receiver) = sync_channel::<Block>(4);
        let giver = scope.spawn(move || {
            // Enough operations for a cache.
            for n in 0..150 {
                sender.send(Block::new(pool, SIZES[n % SIZES.len()])).unwrap();
                if n % 50 == 0 {
                    pool.check().unwrap();
                }
            }
        });
        let taker = scope.spawn(move || {
            for (n, block) in receiver.into_iter().enumerate() {
                block.free(pool);
                if n % 50 == 0 {
                    pool.trim();
                }
                if n % 40 == 0 {
                    let stats = pool.stats();
                    assert!(stats.active_bytes <= stats.committed_bytes);
                }
            }
        });
        giver.join().unwrap();
        taker.join().unwrap();
    });
    pool.check().unwrap();
    let stats = pool.stats();
    assert_eq!((stats.allocated_bytes, stats.thread_caches), (0, 0));
}

/// 32 bits count 49 days.
#[test]
fn memory_goes_back_in_old_processes_too() {
    let source = Source::anonymous(MIN_POOL_BYTES).unwrap();
    let options = PoolOptions { purge: PurgePolicy::AfterMs(1), ..PoolOptions::default() };
    let pool = Pool::create(source, &options).unwrap();
    let use_a_while = || {
        let purged = pool.stats().purged_bytes;
        for _ in 0..3 {
            Block::new(&pool, 1 << 20).free(&pool);
            std::thread::sleep(std::time::Duration::from_millis(3));
        }
        assert!(pool.stats().purged_bytes > purged);
    };
    use_a_while();
    for days in [49, 1, 365_000] {
        // SAFETY: nobody else has the pool.
        unsafe { (*pool.inner.as_ptr()).arena.age(days * 86_400_000) };
        use_a_while();
    }
    pool.check().unwrap();
}

/// Small blocks that two threads get by turns lie in other pairs of cache lines, but for those at the ends of fills.
#[test]
fn small_blocks_of_threads_lie_apart() {
    let pool = Pool::create(Source::anonymous(64 << 20).unwrap(), &PoolOptions::default()).unwrap();
    for size in [8, 16, 32] {
        let turn = Barrier::new(2);
        let run = |me: usize| {
            let (pool, turn) = (&pool, &turn);
            move || {
                let mut blocks = Vec::new();
                // The first ones come from the bin, one by one.
                for count in [OPS_BEFORE_CACHE as usize, APART / size] {
                    for other in 0..2 {
                        if other == me {
                            blocks.extend((0..count).map(|_| Block::new(pool, size)));
                        }
                        turn.wait();
                    }
                }
                let cached = &blocks[OPS_BEFORE_CACHE as usize..];
                let pairs: Vec<_> = cached.iter().map(|block| block.0.addr() / APART).collect();
                blocks.into_iter().for_each(|block| block.free(pool));
                pairs
            }
        };
        let [first, second] = std::thread::scope(|scope| {
            [0, 1].map(|me| scope.spawn(run(me))).map(|thread| thread.join().unwrap())
        });
        let shared = first.iter().filter(|pair| second.contains(pair)).count();
        assert!(shared * 4 <= first.len(), "{size} bytes: {first:?} {second:?}");
    }
}
