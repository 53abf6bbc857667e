//! Allocators against each other in one process, called directly: `cargo bench --all-features`.
//!
//! Each case runs under every allocator, one directly after the other, in an order drawn from
//! `PMEM_BENCH_SEED`. `pmem-bench in-process` does this in rounds and takes ratios within each.

use std::alloc::{GlobalAlloc, Layout};
use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::hint::black_box;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion};
use pmem_bench_compare::{Visit, names, visit, within};

/// What is done with an allocator, and how often in one iteration.
#[derive(Clone, Copy)]
enum Work {
    /// Allocate and free one block.
    Pair(usize),
    /// Allocate 200 blocks of 64 bytes, free the last one first.
    Lifo,
    /// The same, the first one first.
    Fifo,
    /// Push 10,000 numbers onto an empty vector.
    VecGrowth,
    /// Fill an ordered map with strings, remove half, look the rest up, drop it.
    Tree,
    /// The same with a hash map.
    Hash,
    /// Batches of blocks allocated here and freed by another thread.
    HandOver,
    /// Allocate 1 MiB, write each page, free it.
    Touch,
}

const CASES: [(&str, Work); 13] = [
    ("pair-16", Work::Pair(16)),
    ("pair-64", Work::Pair(64)),
    ("pair-1000", Work::Pair(1000)),
    ("lifo-64", Work::Lifo),
    ("fifo-64", Work::Fifo),
    ("pair-8k", Work::Pair(8 << 10)),
    ("pair-40k", Work::Pair(40 << 10)),
    ("pair-200k", Work::Pair(200 << 10)),
    ("vec-growth", Work::VecGrowth),
    ("btree-map", Work::Tree),
    ("hash-map", Work::Hash),
    ("hand-over", Work::HandOver),
    ("touch-1m", Work::Touch),
];

const BATCH: usize = 200;
/// Blocks that go to the other thread at a time.
const HANDED: usize = 128;
const KEYS: usize = 2_000;
const PAGE: usize = 4096;

fn layout(size: usize) -> Layout {
    Layout::from_size_align(size, 16).expect("a valid layout")
}

#[inline]
fn pair<A: GlobalAlloc>(allocator: &A, layout: Layout) {
    // SAFETY: the layout is not empty; the block is freed once, with the same layout.
    unsafe {
        let block = black_box(allocator.alloc(layout));
        allocator.dealloc(block, layout);
    }
}

/// Allocates 200 blocks and frees them, the one at `order(i)` as the i-th.
#[inline]
fn batch<A: GlobalAlloc>(allocator: &A, order: impl Fn(usize) -> usize) {
    let layout = layout(64);
    let mut blocks = [std::ptr::null_mut(); BATCH];
    // SAFETY: the layout is not empty; `order` is a permutation, so that each block is freed once.
    unsafe {
        for block in &mut blocks {
            *block = allocator.alloc(layout);
        }
        black_box(&mut blocks);
        for i in 0..BATCH {
            allocator.dealloc(blocks[order(i)], layout);
        }
    }
}

fn touch<A: GlobalAlloc>(allocator: &A) {
    let layout = layout(1 << 20);
    // SAFETY: writes stay in the block, which is freed once.
    unsafe {
        let block = allocator.alloc(layout);
        assert!(!block.is_null(), "out of memory");
        for page in (0..layout.size()).step_by(PAGE) {
            block.add(page).write_volatile(1);
        }
        allocator.dealloc(block, layout);
    }
}

/// Time in which `count` batches go to a second thread, which frees them.
fn hand_over<A: GlobalAlloc + Sync>(allocator: &'static A, count: u64) -> Duration {
    /// Blocks on their way; nobody else has them.
    struct Handed([*mut u8; HANDED]);
    // SAFETY: whoever holds it owns the blocks.
    unsafe impl Send for Handed {}

    let layout = layout(64);
    let (sender, receiver) = sync_channel::<Handed>(4);
    std::thread::scope(|scope| {
        let freeing = scope.spawn(move || {
            for Handed(blocks) in receiver {
                for block in blocks {
                    // SAFETY: allocated by the other thread with this layout, and handed over.
                    unsafe { allocator.dealloc(block, layout) };
                }
            }
        });
        let start = Instant::now();
        for _ in 0..count {
            let mut blocks = [std::ptr::null_mut(); HANDED];
            for block in &mut blocks {
                // SAFETY: the layout is not empty.
                *block = unsafe { allocator.alloc(layout) };
            }
            sender.send(Handed(blocks)).expect("the other thread receives");
        }
        drop(sender);
        freeing.join().expect("the other thread ends");
        start.elapsed()
    })
}

fn next_random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// A string of 8 to 40 letters.
fn key(state: &mut u64) -> String {
    let length = 8 + next_random(state) as usize % 33;
    (0..length).map(|_| char::from(b'a' + (next_random(state) % 26) as u8)).collect()
}

fn vec_growth() -> u64 {
    let mut numbers = Vec::new();
    for i in 0..10_000_u64 {
        numbers.push(black_box(i));
    }
    numbers.iter().sum()
}

/// The work on either map, which have the same methods and no trait for them.
macro_rules! map_work {
    ($map:expr) => {{
        let mut map = $map;
        let mut state = 42;
        for value in 0..KEYS as u64 {
            map.insert(key(&mut state), value);
        }
        let mut state = 42;
        for value in 0..KEYS {
            let key = key(&mut state);
            if value % 2 == 0 {
                map.remove(&key);
            }
        }
        map.values().sum::<u64>() + map.len() as u64
    }};
}

fn tree() -> u64 {
    map_work!(BTreeMap::<String, u64>::new())
}

fn hash() -> u64 {
    map_work!(HashMap::<String, u64, BuildHasherDefault<DefaultHasher>>::default())
}

/// One case under one allocator.
struct Run<'a, 'c> {
    group: &'a mut BenchmarkGroup<'c, WallTime>,
    work: Work,
}

impl Visit for Run<'_, '_> {
    fn visit<A: GlobalAlloc + Sync>(&mut self, name: &str, allocator: &'static A) {
        let work = self.work;
        self.group.bench_function(name, |bencher| match work {
            Work::Pair(size) => {
                let layout = layout(size);
                bencher.iter(|| pair(allocator, black_box(layout)));
            }
            Work::Lifo => bencher.iter(|| batch(allocator, |i| BATCH - 1 - i)),
            Work::Fifo => bencher.iter(|| batch(allocator, |i| i)),
            Work::Touch => bencher.iter(|| touch(allocator)),
            Work::HandOver => bencher.iter_custom(|count| hand_over(allocator, count)),
            // SAFETY: these three own all they allocate and return a number.
            Work::VecGrowth => bencher.iter(|| unsafe { within(allocator, vec_growth) }),
            // SAFETY: as above.
            Work::Tree => bencher.iter(|| unsafe { within(allocator, tree) }),
            // SAFETY: as above.
            Work::Hash => bencher.iter(|| unsafe { within(allocator, hash) }),
        });
    }
}

fn main() {
    let seed = std::env::var("PMEM_BENCH_SEED").ok().and_then(|text| text.parse::<u64>().ok());
    let mut state = seed.unwrap_or(42).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut criterion = Criterion::default().without_plots().configure_from_args();
    for (case, work) in CASES {
        let mut order = names();
        for i in (1..order.len()).rev() {
            order.swap(i, (next_random(&mut state) >> 32) as usize % (i + 1));
        }
        let mut group = criterion.benchmark_group(case);
        for name in order {
            visit(name, &mut Run { group: &mut group, work });
        }
        group.finish();
    }
    criterion.final_summary();
}
