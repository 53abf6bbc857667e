//! What fits into a pool: every thread gets its part to the last, and what is freed serves any size.

#[path = "support/random.rs"]
#[allow(dead_code, reason = "shared by several tests")]
mod random;

use pmem_core::source::Source;
use random::Random;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Barrier, Mutex};
use vmem_engine::config::MIN_POOL_BYTES;
use vmem_engine::{ClassId, Pool, PoolOptions};

const MIB: usize = 1 << 20;

fn pool(len: usize) -> Pool {
    Pool::create(Source::anonymous(len).unwrap(), &PoolOptions::default()).unwrap()
}

fn file_pool(len: usize) -> Pool {
    let source = Source::in_directory(c"/dev/shm", len).unwrap();
    Pool::create(source, &PoolOptions::default()).unwrap()
}

fn free_all(pool: &Pool, blocks: &mut Vec<*mut u8>) {
    for block in blocks.drain(..) {
        // SAFETY: live and not used again.
        unsafe { pool.free(block) };
    }
}

/// Bytes in blocks of `size` bytes that `threads` threads, taking turns, get before the first of
/// them gets none.
fn together(pool: &Pool, threads: usize, size: usize) -> usize {
    let each_turn = (pool.range().1 / size / threads / 32).max(1);
    let (count, full, barrier) =
        (AtomicUsize::new(0), AtomicBool::new(false), Barrier::new(threads));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !full.load(Ordering::SeqCst) {
                    barrier.wait(); // nobody reads `full` while somebody sets it
                    for _ in 0..each_turn {
                        if full.load(Ordering::SeqCst) {
                            break;
                        }
                        if pool.alloc(size).is_null() {
                            full.store(true, Ordering::SeqCst);
                        } else {
                            count.fetch_add(1, Ordering::SeqCst);
                        }
                    }
                    barrier.wait();
                }
            });
        }
    });
    count.into_inner() * size
}

#[test]
fn no_thread_starves_while_there_is_room() {
    for size in [16, 64, 1024, 16 << 10] {
        let pool = file_pool(MIN_POOL_BYTES);
        let bytes = together(&pool, 64, size);
        let percent = bytes * 100 / MIN_POOL_BYTES;
        println!("64 threads, {size}-byte objects, 14 MiB: {percent} % before the first failure");
        assert!(percent >= 90);
        pool.check().unwrap();
    }
}

#[test]
fn a_hundred_thousand_threads_lose_nothing() {
    const THREADS: usize = if cfg!(pmem_scan) { 2_000 } else { 100_000 };
    let pool = pool(64 * MIB);
    let lanes = 4;
    let kept = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for lane in 0..lanes {
            let (pool, kept) = (&pool, &kept);
            scope.spawn(move || {
                let mut left_behind = Vec::new();
                for number in 0..THREADS / lanes {
                    let builder = std::thread::Builder::new().stack_size(64 << 10);
                    let thread = builder.spawn_scoped(scope, move || {
                        // Few operations on one pool in most threads, enough for a cache in some.
                        let count = if number % 8 == 0 { 80 } else { 3 };
                        let blocks: Vec<usize> = (0..count)
                            .map(|n| pool.alloc(100 + 300 * (n % 3)).expose_provenance())
                            .collect();
                        assert!(blocks.iter().all(|&block| block != 0), "thread {number}");
                        for &block in &blocks[1..] {
                            // SAFETY: live and not used again.
                            unsafe { pool.free(std::ptr::with_exposed_provenance_mut(block)) };
                        }
                        blocks[0]
                    });
                    left_behind.push(thread.unwrap().join().unwrap());
                    if left_behind.len() > 100 {
                        let block = left_behind.swap_remove(lane * 7 % 100);
                        // SAFETY: handed over by the thread that allocated it.
                        unsafe { pool.free(std::ptr::with_exposed_provenance_mut(block)) };
                    }
                }
                kept.fetch_add(left_behind.len(), Ordering::Relaxed);
            });
        }
    });
    pool.check().unwrap();
    let stats = pool.stats();
    assert_eq!(stats.allocated_bytes, kept.into_inner() * 112);
    assert!(stats.committed_bytes < 8 * MIB, "{}", stats.committed_bytes);
}

/// Threads that have freed blocks of all sizes and then do nothing keep only a little of a pool.
#[test]
fn idle_threads_leave_the_pool_to_others() {
    const THREADS: usize = 64;
    let pool = pool(MIN_POOL_BYTES);
    let (turn, end, failed) = (Mutex::new(()), Barrier::new(THREADS + 1), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                {
                    let _turn = turn.lock().unwrap();
                    let mut blocks = Vec::new();
                    // Large ones first: for those a small pool takes back what caches hold.
                    let mut classes: Vec<ClassId> = ClassId::all().collect();
                    classes.retain(|class| class.size() <= 14 << 10);
                    for class in classes.into_iter().rev() {
                        let count = (512 << 10) / class.size();
                        blocks.extend((0..count.min(100)).map(|_| pool.alloc(class.size())));
                        let nulls = blocks.iter().filter(|block| block.is_null()).count();
                        failed.fetch_add(nulls, Ordering::Relaxed);
                        free_all(&pool, &mut blocks);
                    }
                }
                end.wait();
                end.wait();
            });
        }
        end.wait();
        let stats = pool.stats();
        println!("{} threads hold {} bytes", stats.thread_caches, stats.thread_cache_bytes);
        let mut blocks = Vec::new();
        let got = fill(&pool, 64 << 10, &mut blocks) * (64 << 10);
        println!("and leave {got} bytes in blocks of 64 KiB");
        end.wait();
        assert_eq!(failed.load(Ordering::Relaxed), 0);
        assert!(stats.thread_cache_bytes > 0);
        assert!(stats.thread_cache_bytes < MIN_POOL_BYTES / 4);
        // A cached slot keeps its slab from other sizes.
        assert!(got >= MIN_POOL_BYTES / 2);
    });
}

/// A pool whose free pages do not touch each other: small blocks find room all the same.
#[test]
fn scattered_pages_serve_small_sizes() {
    for size in [8, 48, 112, 144, 500, 1_000, 2_000, 4_096] {
        let pool = pool(MIN_POOL_BYTES);
        let mut pages = 0;
        // A page at each multiple of 8 KiB, until there is no other place.
        while !pool.alloc_aligned(8192, 4096).is_null() {
            pages += 1;
        }
        assert_eq!(pages, MIN_POOL_BYTES / 8192);
        let count = fill(&pool, size, &mut Vec::new());
        let expected = 4096 / size * pages;
        assert!(count * 10 >= expected * 9, "{count} blocks of {size} bytes in {pages} pages");
        pool.check().unwrap();
    }
}

/// Allocates blocks of `size` bytes until there is no room, and gives their number.
fn fill(pool: &Pool, size: usize, blocks: &mut Vec<*mut u8>) -> usize {
    assert!(blocks.is_empty());
    loop {
        let block = pool.alloc(size);
        if block.is_null() {
            return blocks.len();
        }
        blocks.push(block);
    }
}

/// Sizes of 8 bytes to 4 MiB.
fn sizes() -> Vec<usize> {
    (3..=22).map(|bits| 1 << bits).collect()
}

/// A closed walk that takes each step from one number below `count` to another exactly once.
fn all_pairs(count: usize) -> Vec<usize> {
    // Hierholzer's algorithm on the complete graph with loops.
    let mut left: Vec<Vec<usize>> = vec![(0..count).collect(); count];
    let (mut stack, mut walk) = (vec![0], Vec::new());
    while let Some(&at) = stack.last() {
        match left[at].pop() {
            Some(next) => stack.push(next),
            None => walk.extend(stack.pop()),
        }
    }
    walk.reverse();
    walk
}

#[test]
fn the_walk_takes_every_pair() {
    let walk = all_pairs(20);
    let mut pairs: Vec<_> = walk.windows(2).map(|pair| (pair[0], pair[1])).collect();
    pairs.sort_unstable();
    pairs.dedup();
    assert_eq!((walk.len(), pairs.len()), (401, 400));
}

/// For every pair of sizes: a pool that was full of one size and was emptied holds as much of the
/// other, within one percent, as a new pool does.
fn every_size_follows_every_other(len: usize, smallest: usize) {
    let sizes: Vec<usize> = sizes().into_iter().filter(|&size| size >= smallest).collect();
    let mut blocks = Vec::with_capacity(len / smallest);
    let fresh: Vec<usize> = sizes
        .iter()
        .map(|&size| {
            let pool = pool(len);
            let count = fill(&pool, size, &mut blocks);
            assert!(count * size * 2 > len, "{count} blocks of {size} bytes");
            blocks.clear();
            count
        })
        .collect();
    let pool = pool(len);
    let mut before = 0;
    for at in all_pairs(sizes.len()) {
        let count = fill(&pool, sizes[at], &mut blocks);
        assert!(
            count * 100 >= fresh[at] * 99,
            "{} MiB: {count} blocks of {} bytes after blocks of {} bytes, {} in a new pool",
            len / MIB,
            sizes[at],
            sizes[before],
            fresh[at],
        );
        before = at;
        free_all(&pool, &mut blocks);
    }
    pool.check().unwrap();
}

#[test]
fn freed_memory_serves_every_size_in_14_mib() {
    every_size_follows_every_other(MIN_POOL_BYTES, 8);
}

#[test]
fn freed_memory_serves_every_size_in_32_mib() {
    every_size_follows_every_other(32 * MIB, 8);
}

/// As above when the blocks come back in random order, which leaves free slots scattered.
#[test]
fn the_order_of_frees_does_not_matter() {
    let pool = pool(MIN_POOL_BYTES);
    let mut random = Random::new(7);
    let mut blocks = Vec::new();
    let mut fresh = [0; 6];
    for round in 0..4 {
        for (first, size) in fresh.iter_mut().zip([64, 1 << 20, 300, 4 << 20, 9_000, 24]) {
            let count = fill(&pool, size, &mut blocks);
            if round == 0 && *first == 0 {
                *first = count;
            }
            assert!(count * 100 >= *first * 99, "{count} blocks of {size}, {first} at first");
            random.shuffle(&mut blocks);
            free_all(&pool, &mut blocks);
        }
    }
}

#[test]
fn large_objects_fit_into_a_small_pool() {
    let pool = pool(MIN_POOL_BYTES);
    assert!(!pool.alloc(8 * MIB).is_null());
    assert!(!pool.alloc(4 * MIB).is_null());
    let whole = self::pool(MIN_POOL_BYTES);
    let block = whole.alloc(MIN_POOL_BYTES);
    assert!(!block.is_null(), "all of the pool in one block");
    assert!(whole.alloc(1).is_null());
    // SAFETY: live and not used again.
    unsafe { whole.free(block) };
    assert!(!whole.alloc(1).is_null());
}

#[test]
fn every_alignment_works_in_a_small_pool() {
    for bits in 1..=22 {
        let align = 1 << bits;
        let pool = pool(MIN_POOL_BYTES);
        let blocks: Vec<_> = (0..100)
            .map(|_| pool.alloc_aligned(align, 4))
            .take_while(|block| !block.is_null())
            .collect();
        assert!(
            blocks.iter().all(|block| block.addr().is_multiple_of(align) && pool.contains(*block))
        );
        let expected = (MIN_POOL_BYTES / align).min(100);
        assert!(blocks.len() >= expected - expected / 10, "{} of {align}", blocks.len());
    }
    let pool = pool(MIN_POOL_BYTES);
    for bits in 23..usize::BITS {
        // No address of the pool may be such a multiple: null then, and no harm.
        let block = pool.alloc_aligned(1 << bits, 1);
        assert!(block.is_null() || block.addr().is_multiple_of(1 << bits));
    }
    for align in [0, 3, 48, usize::MAX] {
        assert!(pool.alloc_aligned(align, 8).is_null());
    }
    for size in [usize::MAX, usize::MAX - 4095, isize::MAX as usize, 1 << 47] {
        assert!(pool.alloc(size).is_null());
        assert!(pool.alloc_aligned(64, size).is_null());
        assert!(pool.alloc_aligned(1 << 20, size).is_null());
        assert!(pool.alloc_zeroed(size).is_null());
    }
    pool.check().unwrap();
}

/// The mix of sizes that the tests of libvmem ask for: more than half of the pool.
#[test]
fn a_mix_of_sizes_takes_more_than_half() {
    let pool = pool(MIN_POOL_BYTES);
    let got: usize =
        (0..=23).rev().map(|bits| 1 << bits).filter(|&size| !pool.alloc(size).is_null()).sum();
    assert!(got > MIN_POOL_BYTES / 2, "{got}");
}

/// Growing and shrinking in place as the tests of libvmem expect it.
#[test]
fn large_blocks_are_resized_in_place() {
    let pool = pool(16 * MIB);
    let stamped = |block: *mut u8, len: usize| {
        // SAFETY: the first `len` bytes of a live block.
        let bytes = unsafe { std::slice::from_raw_parts(block, len) };
        random::all_are(bytes, 7)
    };
    let block = pool.alloc(12 * MIB);
    assert!(!block.is_null());
    // SAFETY: blocks are live and used as long as they are.
    unsafe {
        block.write_bytes(7, 12 * MIB);
        for size in [6 * MIB, 12 * MIB, 8 * MIB] {
            assert_eq!(pool.realloc(block, size), block, "to {size}");
            assert!(stamped(block, 6 * MIB));
            assert_eq!(pool.usable_size(block), size);
        }
        let second = pool.alloc(4 * MIB);
        assert!(!second.is_null());
        assert_eq!(pool.usable_size(second), 4 * MIB);
        let small = pool.realloc(block, 16);
        assert!(!small.is_null() && small != block);
        assert_eq!(pool.usable_size(small), 16);
        assert!(stamped(small, 16));
        assert!(!pool.alloc(3 * MIB).is_null());
        // Shrinking cannot fail, whatever the size.
        let small = pool.realloc(second, 16);
        assert!(!small.is_null());
    }
    pool.check().unwrap();
}

/// A full pool has no room for the smaller block: the large one is cut where it stands.
#[test]
fn shrinking_works_in_a_full_pool() {
    let pool = pool(MIN_POOL_BYTES);
    let large = pool.alloc(8 * MIB);
    let mut blocks = Vec::new();
    fill(&pool, 4096, &mut blocks);
    fill(&pool, 8, &mut Vec::new());
    // SAFETY: live, and used only through what realloc gives.
    unsafe {
        large.write_bytes(9, 8 * MIB);
        let small = pool.realloc(large, 100);
        assert_eq!(small, large, "cut where it stands");
        assert!(pool.usable_size(small) < 8 * MIB);
        assert!(random::all_are(std::slice::from_raw_parts(small, 100), 9));
        assert!(!pool.alloc(7 * MIB).is_null());
    }
    pool.check().unwrap();
}
