//! What a cache takes: DRAM per entry, payload of all memory, allocations per operation. One test after the other, for
//! those of memory look at the whole process.

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Mutex;
use support::Random;
use vmemcache::policy::Kind;
use vmemcache::{Cache, Stats};

struct Counting;

thread_local! {
    /// Of this thread: the harness and other tests allocate as well.
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: the system's allocator, and a counter that is neither allocated nor dropped.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.set(CALLS.get() + 1);
        // SAFETY: forwarded.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: forwarded.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

static ALONE: Mutex<()> = Mutex::new(());

/// What the payload of small values must be of pool and DRAM, in per cent.
const LEAST_OF_ALL: f64 = 89.0;

/// Private memory of the process in bytes. The pools of these tests are not in it.
fn private_bytes() -> i64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<i64>().unwrap() * 1024
}

/// Means of the 64 quantile groups of value sizes of three services, from CacheLib's published distributions.
const OBJECTS: [u32; 64] = [
    31, 31, 31, 31, 31, 59, 63, 63, 63, 63, 63, 88, 95, 95, 95, 118, 127, 127, 127, 128, 159, 159,
    159, 165, 191, 191, 191, 191, 191, 213, 223, 223, 223, 223, 254, 255, 255, 255, 255, 256, 287,
    287, 297, 319, 319, 343, 351, 351, 351, 374, 383, 383, 411, 415, 443, 459, 484, 522, 612, 736,
    919, 1007, 1250, 4769,
];
const KEY_VALUE: [u32; 64] = [
    92, 95, 95, 95, 95, 95, 95, 95, 112, 127, 127, 127, 127, 127, 127, 127, 127, 127, 127, 127,
    127, 127, 127, 132, 159, 159, 159, 159, 159, 159, 159, 159, 159, 159, 159, 159, 159, 159, 159,
    159, 159, 159, 159, 159, 159, 159, 159, 159, 159, 159, 159, 159, 159, 159, 159, 181, 191, 191,
    222, 267, 334, 461, 619, 11278,
];

/// Churns a cache with keys of 8 to `longest_key` bytes until a multiple of its size was stored. Gives the
/// statistics, and the DRAM used.
fn churn(kind: Kind, longest_key: u64, len_of: impl Fn(u64) -> usize) -> (Stats, i64) {
    const SIZE: u64 = if cfg!(debug_assertions) { 16 << 20 } else { 64 << 20 };
    let value = vec![7; 1 << 20];
    let before = private_bytes();
    let cache = Cache::builder().size(SIZE as usize).policy(kind).in_directory("/dev/shm").unwrap();
    let mut random = Random::new(1);
    let mut stored = 0;
    while stored < if cfg!(debug_assertions) { 2 * SIZE } else { 4 * SIZE } {
        let n = random.below(2_000_000);
        let mut key = [0; 256];
        key[..8].copy_from_slice(&n.to_le_bytes());
        let key_len = 8 + (n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) % (longest_key - 7);
        let key = &key[..key_len as usize];
        let len = len_of(n.wrapping_mul(0xD6E8_FEB8_6659_FD93) >> 20);
        if cache.get(key).is_none() {
            cache.put(key, &value[..len]).unwrap();
            stored += key_len + len as u64;
        }
    }
    (cache.stats(), private_bytes() - before)
}

fn share(part: u64, whole: u64) -> f64 {
    100.0 * part as f64 / whole as f64
}

#[test]
fn small_values_fill_nine_tenths_of_all_memory() {
    let _alone = ALONE.lock();
    for (name, sizes, longest_key) in [("objects", &OBJECTS, 64), ("key-value", &KEY_VALUE, 255)] {
        for &kind in Kind::ALL {
            let (stats, dram) = churn(kind, longest_key, |n| sizes[(n % 64) as usize] as usize);
            // What an earlier cache left to malloc does not show in the process.
            let all = stats.pool_bytes + stats.metadata_bytes.max(dram as u64);
            println!(
                "{name} {kind}: payload {:.2} % of pool, {:.2} % of all; {:.1} B DRAM per entry ({:.1} by its own count), {:.1} % in pieces",
                share(stats.payload_bytes, stats.pool_bytes),
                share(stats.payload_bytes, all),
                dram as f64 / stats.entries as f64,
                stats.metadata_bytes as f64 / stats.entries as f64,
                share(stats.chained, stats.inserted),
            );
            assert!(share(stats.payload_bytes, stats.pool_bytes) > 94.0);
            assert!(share(stats.payload_bytes, all) > LEAST_OF_ALL, "{name} {kind}");
        }
    }
}

#[test]
fn large_values_fill_the_pool() {
    let _alone = ALONE.lock();
    for &kind in Kind::ALL {
        let (stats, _) = churn(kind, 8, |n| 4096 + (n % 60_000) as usize);
        println!(
            "large {kind}: payload {:.2} % of pool",
            share(stats.payload_bytes, stats.pool_bytes)
        );
        assert!(share(stats.payload_bytes, stats.pool_bytes) > 99.0, "{kind}");
    }
}

#[test]
fn dram_per_entry() {
    let _alone = ALONE.lock();
    const ENTRIES: u64 = if cfg!(debug_assertions) { 200_000 } else { 1_000_000 };
    for &kind in Kind::ALL {
        let before = private_bytes();
        let cache =
            Cache::builder().size(ENTRIES as usize * 48).policy(kind).in_directory("/dev/shm");
        let cache = cache.unwrap();
        for n in 0..2 * ENTRIES {
            cache.put(&n.to_le_bytes(), &[5; 32]).unwrap();
        }
        let stats = cache.stats();
        // Few entries do not hide what a table takes that is not full.
        let most = if cfg!(debug_assertions) { 26.0 } else { 24.0 };
        let dram = (private_bytes() - before).max(stats.metadata_bytes as i64);
        // Few entries do not hide what a cache takes when it is empty.
        let dram = if cfg!(debug_assertions) { dram - (384 << 10) } else { dram };
        let each = dram as f64 / stats.entries as f64;
        println!("{kind}: {each:.2} bytes of DRAM per entry, {} entries", stats.entries);
        assert!(stats.entries > ENTRIES * 98 / 100 && each < most, "{kind}");
    }
}

#[test]
fn operations_do_not_allocate() {
    let _alone = ALONE.lock();
    for &kind in Kind::ALL {
        let cache = Cache::builder().size(8 << 20).policy(kind).in_directory("/dev/shm").unwrap();
        let mut random = Random::new(2);
        let mut calls = 0;
        // Tables that follow the load grow for a while.
        for round in 0..8 {
            let before = CALLS.get();
            for _ in 0..100_000 {
                let key = random.below(30_000).to_le_bytes();
                if cache.get(&key).is_none() {
                    cache.put(&key, &[1; 400][..200 + random.below(200) as usize]).unwrap();
                }
            }
            calls = CALLS.get() - before;
            println!("{kind} round {round}: {calls} allocations in 100000 operations");
        }
        // The default policy's lists of what left change their sizes with the load, a few at a time.
        assert!(calls < 300, "{kind}: {calls} when the cache is full");
    }
}

#[test]
fn allocations_are_counted_per_thread() {
    let before = CALLS.get();
    std::thread::spawn(|| drop(std::hint::black_box(vec![0; 100]))).join().unwrap();
    let thread = CALLS.get();
    for _ in 0..1000 {
        drop(std::hint::black_box(Box::new(7)));
    }
    assert_eq!(CALLS.get() - thread, 1000);
    let other = std::thread::spawn(|| {
        let before = CALLS.get();
        (0..1000).for_each(|n| drop(std::hint::black_box(Box::new(n))));
        CALLS.get() - before
    });
    let here = CALLS.get();
    assert_eq!((other.join().unwrap(), CALLS.get() - here), (1000, 0));
    assert!(thread - before < 1000, "a thread is started with few allocations");
}
