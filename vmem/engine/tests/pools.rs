//! Many pools: they come and go without a trace, and cost what they hold.

#[path = "support/process.rs"]
#[allow(dead_code, reason = "shared by several tests")]
mod process;
#[path = "support/random.rs"]
#[allow(dead_code, reason = "shared by several tests")]
mod random;

use pmem_core::errno::Errno;
use pmem_core::source::Source;
use pmem_test_support::child;
use random::Random;
use std::ptr::NonNull;
use std::sync::Barrier;
use std::sync::mpsc::sync_channel;
use vmem_engine::config::{MAX_POOLS, MIN_POOL_BYTES, OPS_BEFORE_CACHE};
use vmem_engine::{Pool, PoolOptions};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

fn anonymous() -> Pool {
    let source = Source::anonymous(MIN_POOL_BYTES).unwrap();
    Pool::create(source, &PoolOptions::default()).unwrap()
}

fn in_directory() -> Pool {
    let source = Source::in_directory(c"/dev/shm", MIN_POOL_BYTES).unwrap();
    Pool::create(source, &PoolOptions::default()).unwrap()
}

/// Allocates and frees `count` blocks of several sizes, stamped with `stamp`.
fn exercise(pool: &Pool, count: usize, stamp: u8) {
    let mut blocks = Vec::with_capacity(count);
    for n in 0..count {
        let size = [24, 100, 600, 5_000, 40_000, 300_000][n % 6];
        let block = pool.alloc(size);
        assert!(!block.is_null() && pool.contains(block));
        // SAFETY: a new block of `size` bytes.
        unsafe {
            block.write(stamp);
            block.add(size - 1).write(stamp);
        }
        blocks.push((block, size));
    }
    for (block, size) in blocks {
        // SAFETY: live and not used again.
        unsafe {
            assert_eq!((block.read(), block.add(size - 1).read()), (stamp, stamp));
            pool.free(block);
        }
    }
}

/// The traces of a process that could grow: mappings, descriptors, memory.
fn footprint() -> (usize, usize, usize) {
    (process::mappings(), process::descriptors(), process::status_bytes("VmRSS"))
}

fn assert_no_growth(before: (usize, usize, usize)) {
    let after = footprint();
    println!("mappings, descriptors, VmRSS: {before:?} before, {after:?} after");
    assert!(after.0 <= before.0 + 4, "mappings");
    assert_eq!(after.1, before.1, "descriptors");
    assert!(after.2 < before.2 + MIB, "memory");
}

#[test]
fn ten_thousand_pools_leave_nothing() {
    child::run("ten_thousand_pools_leave_nothing", || {
        let mut before = footprint();
        for round in 0..10_000 {
            if round == 200 {
                before = footprint(); // tables that grow once have grown
            }
            let pool = if round % 8 == 0 { in_directory() } else { anonymous() };
            // Now and then with a thread cache.
            exercise(&pool, if round % 16 < 2 { 60 } else { 6 }, 1);
        }
        assert_no_growth(before);
    });
}

/// A thread that goes on keeps an entry for each pool it has used; they must not add up either, and
/// must never be taken for entries of a later pool in the same slot.
#[test]
fn stale_caches_of_other_threads_are_not_followed() {
    child::run("stale_caches_of_other_threads_are_not_followed", || {
        let (to_worker, inbox) = sync_channel::<(NonNull<Pool>, u8)>(0);
        let (to_main, outbox) = sync_channel::<()>(0);
        struct Send<T>(T);
        // SAFETY: what is sent is shared memory.
        unsafe impl<T> std::marker::Send for Send<T> {}
        let worker_ends = Send((inbox, to_main));
        let worker = std::thread::spawn(move || {
            let Send((inbox, to_main)) = { worker_ends };
            for (pool, stamp) in inbox {
                // SAFETY: the main thread keeps the pool until it is answered.
                exercise(unsafe { pool.as_ref() }, 60, stamp);
                to_main.send(()).unwrap();
            }
        });
        let mut before = footprint();
        let mut pools: Vec<Pool> = (0..10).map(|_| anonymous()).collect();
        let mut random = Random::new(1);
        for round in 0..2_000 {
            if round == 200 {
                before = footprint();
            }
            let at = random.below(pools.len());
            to_worker.send((NonNull::from(&pools[at]), round as u8)).unwrap();
            outbox.recv().unwrap();
            // The worker's cache is full of blocks of this pool, which goes now.
            let gone = random.below(pools.len());
            drop(pools.swap_remove(gone));
            pools.push(anonymous());
            let new = &pools[pools.len() - 1];
            to_worker.send((NonNull::from(new), round as u8)).unwrap();
            outbox.recv().unwrap();
            new.check().unwrap();
            assert_eq!(new.stats().allocated_bytes, 0);
        }
        drop(to_worker);
        worker.join().unwrap();
        pools.iter().for_each(|pool| assert_eq!(pool.stats().thread_caches, 0));
        assert_no_growth(before);
    });
}

#[test]
fn a_thousand_pools_serve_eight_threads() {
    let mut pools: Vec<Pool> = (0..900).map(|_| anonymous()).collect();
    pools.extend((0..100).map(|_| in_directory()));
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|number| {
                let pools = &pools;
                scope.spawn(move || {
                    let mut random = Random::new(number);
                    for _ in 0..1_000 {
                        // Some pools are used more than others.
                        let at = random.size(pools.len() / 2) - 1;
                        exercise(&pools[at], 12, number as u8);
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
    });
    for pool in &pools {
        pool.check().unwrap();
        pool.trim();
        assert_eq!(pool.stats().active_bytes, 0);
    }
}

/// DRAM of the process, without files in memory.
fn dram() -> usize {
    process::status_bytes("RssAnon")
}

#[test]
fn an_idle_pool_costs_little() {
    child::run("an_idle_pool_costs_little", || {
        let before = dram();
        let pools: Vec<Pool> = (0..1_000).map(|_| anonymous()).collect();
        let each = (dram() - before) / pools.len();
        println!("an unused pool: {each} bytes of DRAM");
        assert!(each < 64 * KIB);
        // One block brings a slab, whose pages are the file's: content is not counted here.
        let before = dram();
        let pools: Vec<Pool> = (0..200).map(|_| in_directory()).collect();
        for pool in &pools {
            assert!(!pool.alloc(100).is_null());
        }
        let each = (dram() - before) / pools.len();
        println!("a pool with one block: {each} bytes of DRAM");
        assert!(each < 64 * KIB);
    });
}

#[test]
fn a_large_pool_costs_what_it_holds() {
    child::run("a_large_pool_costs_what_it_holds", || {
        let before = dram();
        let source = Source::in_directory(c"/dev/shm", 64 << 30).unwrap();
        let pool = Pool::create(source, &PoolOptions::default()).unwrap();
        assert!(dram() - before < 256 * KIB, "64 GiB, empty: {} bytes", dram() - before);
        let mut held = 0;
        for (size, count) in [(64, 100_000), (1_000, 20_000), (20_000, 1_000), (1 << 20, 100)] {
            for _ in 0..count {
                assert!(!pool.alloc(size).is_null());
            }
            held += size * count;
            let metadata = dram() - before;
            println!("{held} bytes in blocks: {metadata} bytes of DRAM");
            assert!(metadata < 256 * KIB + held / 50);
        }
    });
}

#[test]
fn many_pools_lightly_used_by_many_threads_stay_small() {
    child::run("many_pools_lightly_used_by_many_threads_stay_small", || {
        const POOLS: usize = 300;
        const THREADS: usize = 64;
        let pools: Vec<Pool> = (0..POOLS).map(|_| in_directory()).collect();
        let barrier = Barrier::new(THREADS + 1);
        let (pools, barrier) = (&pools, &barrier);
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(move || {
                    barrier.wait();
                    barrier.wait(); // the threads themselves have been measured
                    for pool in pools {
                        for _ in 0..OPS_BEFORE_CACHE / 4 {
                            let block = pool.alloc(100);
                            assert!(!block.is_null());
                            // SAFETY: live and not used again.
                            unsafe { pool.free(block) };
                        }
                    }
                    barrier.wait();
                    barrier.wait();
                });
            }
            barrier.wait();
            let before = dram();
            barrier.wait();
            barrier.wait();
            let used = dram() - before;
            println!("{POOLS} pools, {THREADS} threads: {used} bytes of DRAM");
            barrier.wait();
            assert!(used < 32 * MIB);
        });
    });
}

/// Threads that end return their caches to pools that are being deleted at the same moment.
#[test]
fn threads_end_while_their_pools_are_deleted() {
    for round in 0..150 {
        let pools: Vec<Pool> = (0..8).map(|_| anonymous()).collect();
        let barrier = Barrier::new(5);
        std::thread::scope(|scope| {
            for number in 0..4 {
                let (pools, barrier) = (&pools, &barrier);
                scope.spawn(move || {
                    // A cache of every pool, with blocks in it.
                    pools.iter().for_each(|pool| exercise(pool, 60, number));
                    barrier.wait();
                });
            }
            barrier.wait();
            // The scope ends before the threads' exit hooks have run.
        });
        if round % 2 == 0 {
            drop(pools);
        } else {
            pools.into_iter().rev().for_each(drop);
        }
    }
}

/// The table of pools is full: an error, and it is usable again.
#[test]
fn too_many_pools_are_refused() {
    child::run("too_many_pools_are_refused", || {
        // All over the same memory, since none of them is used.
        let memory =
            Pool::create(Source::anonymous(2 * MIN_POOL_BYTES).unwrap(), &PoolOptions::default())
                .unwrap();
        let region = NonNull::new(memory.alloc(MIN_POOL_BYTES)).unwrap();
        let create = || {
            // SAFETY: the region lives to the end of the process, and nobody stores into it.
            let source = unsafe { Source::caller_region(region, MIN_POOL_BYTES) }.unwrap();
            Pool::create(source, &PoolOptions::default())
        };
        let mut pools = Vec::new();
        while pools.len() < MAX_POOLS - 1 {
            pools.push(create().unwrap());
        }
        let before = footprint();
        for _ in 0..1_000 {
            assert_eq!(create().unwrap_err().errno, Errno::EMFILE);
        }
        assert_no_growth(before);
        println!("mappings {}", process::mappings());
        for _ in 0..10 {
            drop(pools.swap_remove(pools.len() / 2));
            pools.push(create().unwrap());
            assert_eq!(create().unwrap_err().errno, Errno::EMFILE);
        }
        drop(pools);
        drop(create().unwrap());
    });
}
