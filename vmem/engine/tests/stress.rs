//! Many threads on one pool: frees by other threads, threads that come and go, and the calls that
//! look at the whole pool meanwhile. Each test ends with nothing lost.

#[path = "support/random.rs"]
#[allow(dead_code, reason = "shared by several tests")]
mod random;

use pmem_core::source::Source;
use random::{Random, all_are};
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use vmem_engine::{Pool, PoolOptions, PurgePolicy};

/// Blocks begin with their length, and their last bytes are a stamp made of it.
const HEADER: usize = size_of::<usize>();

/// A block that fills and describes itself. Null when the pool is full.
fn allocate(pool: &Pool, random: &mut Random, max: usize) -> *mut u8 {
    let len = HEADER + random.size(max);
    let pointer = pool.alloc(len);
    if !pointer.is_null() {
        // SAFETY: a new block of `len` bytes.
        unsafe {
            pointer.write_bytes(len as u8, len);
            pointer.cast::<usize>().write(len);
        }
    }
    pointer
}

/// Verifies and frees what [`allocate`] made; null is ignored.
fn release(pool: &Pool, pointer: *mut u8) {
    if pointer.is_null() {
        return;
    }
    // SAFETY: the caller is the only one who has the block, and it describes itself.
    unsafe {
        let len = pointer.cast::<usize>().read();
        assert!(pool.usable_size(pointer) >= len, "length of {pointer:p}");
        let stamped = std::slice::from_raw_parts(pointer.add(HEADER), len - HEADER);
        assert!(all_are(stamped, len as u8), "content of {pointer:p}, {len} bytes");
        pool.free(pointer);
    }
}

/// Places through which threads pass blocks to each other.
struct Exchange(Vec<AtomicPtr<u8>>);

impl Exchange {
    fn new(places: usize) -> Exchange {
        Exchange((0..places).map(|_| AtomicPtr::new(ptr::null_mut())).collect())
    }

    /// Leaves a block and takes the one that was there.
    fn swap(&self, random: &mut Random, block: *mut u8) -> *mut u8 {
        self.0[random.below(self.0.len())].swap(block, Ordering::AcqRel)
    }

    fn clear(&self, pool: &Pool) {
        for place in &self.0 {
            release(pool, place.swap(ptr::null_mut(), Ordering::AcqRel));
        }
    }
}

/// Every thread must have ended, and every block been freed.
fn nothing_is_left(pool: &Pool) {
    pool.check().unwrap();
    pool.trim();
    pool.check().unwrap();
    let stats = pool.stats();
    assert_eq!(stats.allocated_bytes, 0, "{stats:?}");
    assert_eq!(stats.active_bytes, 0, "{stats:?}");
    assert_eq!(stats.committed_bytes, 0, "{stats:?}");
}

/// Starts `count` threads and waits until each is gone, its exit hook included (the end of a scope
/// alone does not wait for that).
fn with_threads(count: u64, body: impl Fn(u64) + Sync) {
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..count)
            .map(|number| {
                let body = &body;
                scope.spawn(move || body(number))
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

/// Counts a thread out, also one whose assertion fails.
struct CountDown<'a>(&'a AtomicUsize);

impl Drop for CountDown<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn steps(number: usize) -> usize {
    if cfg!(pmem_scan) { number / 50 } else { number }
}

#[test]
fn sixty_four_threads_free_what_others_allocated() {
    let source = Source::anonymous(1 << 30).unwrap();
    let pool = Pool::create(source, &PoolOptions::default()).unwrap();
    let exchange = Exchange::new(2_000);
    with_threads(64, |number| {
        let mut random = Random::new(number);
        for _ in 0..steps(4_000) {
            // Rarely blocks of whole pages, mostly small ones.
            let max = match random.below(64) {
                0 => 512 << 10,
                1..4 => 32 << 10,
                4..16 => 4096,
                _ => 256,
            };
            let block = allocate(&pool, &mut random, max);
            assert!(!block.is_null());
            release(&pool, exchange.swap(&mut random, block));
        }
    });
    exchange.clear(&pool);
    nothing_is_left(&pool);
}

#[test]
fn threads_in_a_full_pool_fail_and_recover() {
    let source = Source::anonymous(14 << 20).unwrap();
    let pool = Pool::create(source, &PoolOptions::default()).unwrap();
    // More than fits.
    let exchange = Exchange::new(4_000);
    let failures = AtomicUsize::new(0);
    with_threads(16, |number| {
        let mut random = Random::new(number);
        for _ in 0..steps(4_000) {
            let block = allocate(&pool, &mut random, 16 << 10);
            if block.is_null() {
                failures.fetch_add(1, Ordering::Relaxed);
            }
            release(&pool, exchange.swap(&mut random, block));
        }
    });
    exchange.clear(&pool);
    nothing_is_left(&pool);
    println!("{} allocations failed", failures.into_inner());
}

#[test]
fn threads_come_and_go() {
    let source = Source::in_directory(c"/dev/shm", 256 << 20).unwrap();
    let options = PoolOptions { purge: PurgePolicy::AfterMs(5), ..PoolOptions::default() };
    let pool = Pool::create(source, &options).unwrap();
    let exchange = Exchange::new(500);
    // Eight threads at a time, each followed by the next as soon as it ends.
    with_threads(8, |lane| {
        for turn in 0..steps(150) as u64 {
            let (pool, exchange) = (&pool, &exchange);
            std::thread::scope(|scope| {
                let thread = scope.spawn(move || {
                    let mut random = Random::new(lane * 1_000_000 + turn);
                    // Few operations work without a cache, more with one.
                    for _ in 0..random.below(300) {
                        let block = allocate(pool, &mut random, 8 << 10);
                        assert!(!block.is_null());
                        release(pool, exchange.swap(&mut random, block));
                    }
                });
                thread.join().unwrap();
            });
        }
    });
    assert_eq!(pool.stats().thread_caches, 0, "caches of threads that have ended");
    exchange.clear(&pool);
    nothing_is_left(&pool);
}

#[test]
fn trim_stats_and_check_disturb_nobody() {
    for policy in [PurgePolicy::AfterMs(1), PurgePolicy::Immediate, PurgePolicy::Never] {
        let source = Source::in_directory(c"/dev/shm", 128 << 20).unwrap();
        let options = PoolOptions { purge: policy, ..PoolOptions::default() };
        let pool = Pool::create(source, &options).unwrap();
        let exchange = Exchange::new(300);
        let working = AtomicUsize::new(4);
        with_threads(7, |number| {
            let mut random = Random::new(number);
            match number {
                0..4 => {
                    let _ended = CountDown(&working);
                    for _ in 0..steps(3_000) {
                        let max = if random.below(8) == 0 { 512 << 10 } else { 2048 };
                        let block = allocate(&pool, &mut random, max);
                        assert!(!block.is_null());
                        release(&pool, exchange.swap(&mut random, block));
                    }
                }
                _ => {
                    while working.load(Ordering::Relaxed) > 0 {
                        match number {
                            4 => drop(pool.trim()),
                            5 => pool.check().unwrap(),
                            _ => {
                                let stats = pool.stats();
                                assert!(stats.active_bytes <= stats.committed_bytes);
                                assert!(stats.committed_bytes <= stats.pool_bytes);
                                assert!(stats.committed_bytes <= stats.peak_committed_bytes);
                            }
                        }
                        std::thread::yield_now();
                    }
                }
            }
        });
        exchange.clear(&pool);
        nothing_is_left(&pool);
    }
}
