//! Freed memory goes back to where it came from: after the decay time, at once, or never, as asked
//! for; and memory that is in use over and over does not.

#[path = "support/process.rs"]
#[allow(dead_code, reason = "shared by several tests")]
mod process;
#[path = "support/random.rs"]
#[allow(dead_code, reason = "shared by several tests")]
mod random;

use pmem_core::source::Source;
use random::Random;
use std::ffi::{CStr, CString};
use std::thread::sleep;
use std::time::{Duration, Instant};
use vmem_engine::{HugePages, Pool, PoolOptions, PurgePolicy};

const MIB: usize = 1 << 20;

fn pool(len: usize, purge: PurgePolicy) -> Pool {
    let source = Source::in_directory(c"/dev/shm", len).unwrap();
    Pool::create(source, &PoolOptions { purge, ..PoolOptions::default() }).unwrap()
}

/// What the file really takes.
fn resident(pool: &Pool) -> usize {
    pool.stats().resident_bytes.try_into().unwrap()
}

/// Allocates `bytes` in blocks of log-uniform sizes up to `max`.
fn fill(pool: &Pool, bytes: usize, max: usize, random: &mut Random) -> Vec<*mut u8> {
    let (mut blocks, mut total) = (Vec::new(), 0);
    while total < bytes {
        let size = random.size(max);
        let block = pool.alloc(size);
        assert!(!block.is_null());
        blocks.push(block);
        total += size;
    }
    blocks
}

fn free_all(pool: &Pool, blocks: Vec<*mut u8>) {
    for block in blocks {
        // SAFETY: live and not used again.
        unsafe { pool.free(block) };
    }
}

/// The few operations that an otherwise quiet program does now and then.
fn a_few_operations(pool: &Pool) {
    for size in [20, 3_000, 300_000] {
        let block = pool.alloc(size);
        assert!(!block.is_null());
        free_all(pool, vec![block]);
    }
}

/// Whole units of 2 MiB go back by age, and everything when that is asked for now.
#[test]
fn huge_pages_go_back_as_a_whole() {
    let source = Source::in_directory(c"/dev/shm", 128 * MIB).unwrap();
    let options = PoolOptions {
        huge_pages: HugePages::Advise,
        purge: PurgePolicy::AfterMs(20),
        ..PoolOptions::default()
    };
    let pool = Pool::create(source, &options).unwrap();
    let mut random = Random(7);
    let mut blocks = fill(&pool, 60 * MIB, 300_000, &mut random);
    let peak = resident(&pool);
    // Every second one: hardly a unit is empty.
    let kept: Vec<_> = blocks.iter().copied().step_by(2).collect();
    let freed = blocks.drain(..).skip(1).step_by(2).collect();
    free_all(&pool, freed);
    sleep(Duration::from_millis(100));
    a_few_operations(&pool);
    let after_decay = resident(&pool);
    assert!(after_decay > peak / 10 * 8, "{after_decay} of {peak}: units were broken up");
    pool.trim();
    let after_trim = resident(&pool);
    assert!(after_trim < peak / 10 * 7, "{after_trim} of {peak}");
    pool.check().unwrap();
    free_all(&pool, kept);
    sleep(Duration::from_millis(100));
    for _ in 0..8 {
        a_few_operations(&pool);
        sleep(Duration::from_millis(10));
    }
    let left = resident(&pool);
    assert!(left < peak / 10, "{left} of {peak}");
    pool.check().unwrap();
}

/// What is left of the peak, in percent, after all blocks were freed, the decay time passed, and a few
/// operations were done.
fn left_after_decay(max: usize, shuffled: bool) -> usize {
    const DECAY_MS: u32 = 10;
    let pool = pool(256 * MIB, PurgePolicy::AfterMs(DECAY_MS));
    let mut random = Random::new(max as u64);
    let mut blocks = fill(&pool, 64 * MIB, max, &mut random);
    let peak = resident(&pool);
    assert!(peak >= 64 * MIB);
    if shuffled {
        random.shuffle(&mut blocks);
    }
    free_all(&pool, blocks);
    for _ in 0..10 {
        sleep(Duration::from_millis(u64::from(DECAY_MS) + 2));
        a_few_operations(&pool);
    }
    pool.check().unwrap();
    assert_eq!(pool.stats().allocated_bytes, 0);
    resident(&pool) * 100 / peak
}

#[test]
fn freed_memory_goes_back_after_the_decay_time() {
    for max in [16, 128, 1 << 10, 16 << 10, 256 << 10, 4 << 20] {
        for shuffled in [false, true] {
            let left = left_after_decay(max, shuffled);
            println!("blocks up to {max} bytes, shuffled {shuffled}: {left} % of the peak left");
            assert!(left < 5);
        }
    }
}

#[test]
fn trim_gives_back_at_once() {
    for policy in [PurgePolicy::AfterMs(1_000_000), PurgePolicy::Never] {
        let pool = pool(256 * MIB, policy);
        let mut random = Random::new(1);
        let mut blocks = fill(&pool, 64 * MIB, 64 << 10, &mut random);
        let peak = resident(&pool);
        random.shuffle(&mut blocks);
        free_all(&pool, blocks);
        assert!(resident(&pool) * 100 >= peak * 99, "too early");
        let given_back = pool.trim();
        assert_eq!(resident(&pool), peak - given_back);
        assert_eq!(resident(&pool), 0);
        assert_eq!(pool.trim(), 0);
        pool.check().unwrap();
    }
}

#[test]
fn never_keeps_what_was_freed() {
    let pool = pool(64 * MIB, PurgePolicy::Never);
    for _ in 0..20 {
        free_all(&pool, fill(&pool, 16 * MIB, MIB, &mut Random::new(2)));
    }
    sleep(Duration::from_millis(5));
    a_few_operations(&pool);
    assert_eq!(pool.stats().purged_bytes, 0);
    assert!(resident(&pool) >= 16 * MIB);
}

#[test]
fn immediate_gives_back_directly() {
    let pool = pool(64 * MIB, PurgePolicy::Immediate);
    let block = pool.alloc(16 * MIB);
    assert!(resident(&pool) >= 16 * MIB);
    free_all(&pool, vec![block]);
    assert_eq!(resident(&pool), 0);
    // Shrinking frees as well.
    let block = pool.alloc(16 * MIB);
    // SAFETY: live, used only through what realloc gives.
    let block = unsafe { pool.realloc(block, 9 * MIB) };
    assert_eq!(resident(&pool), 9 * MIB);
    free_all(&pool, vec![block]);
    assert_eq!(resident(&pool), 0);
}

/// A preallocated pool has its space from the start, and nothing takes it away but a trim.
#[test]
fn preallocated_space_stays() {
    preallocated_space_stays_in(c"/dev/shm");
}

#[test]
fn preallocated_space_stays_on_a_disk() {
    preallocated_space_stays_in(&CString::new(env!("CARGO_TARGET_TMPDIR")).unwrap());
}

fn preallocated_space_stays_in(directory: &CStr) {
    let source = Source::in_directory(directory, 32 * MIB).unwrap();
    let options =
        PoolOptions { prealloc: true, purge: PurgePolicy::AfterMs(1), ..PoolOptions::default() };
    let pool = Pool::create(source, &options).unwrap();
    // A file system on a disk has records of its own in the file.
    let space = || resident(&pool) / MIB * MIB;
    assert_eq!(space(), 32 * MIB);
    for _ in 0..5 {
        free_all(&pool, fill(&pool, 16 * MIB, MIB, &mut Random::new(3)));
        sleep(Duration::from_millis(2));
    }
    assert_eq!(space(), 32 * MIB);
    assert_eq!(pool.stats().purged_bytes, 0);
    assert_eq!(pool.trim(), 32 * MIB);
    assert_eq!(space(), 0);
    assert_eq!(pool.trim(), 0);
    pool.check().unwrap();
}

/// Writing pages may fail in spite of their space. What is free keeps its own: it would be missing later.
#[test]
fn a_failure_gives_no_preallocated_space_back() {
    let disk = CString::new(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let source = Source::in_directory(&disk, 64 * MIB).unwrap();
    let options = PoolOptions { prealloc: true, ..PoolOptions::default() };
    let pool = Pool::create(source, &options).unwrap();
    // SAFETY: a live block, not used again.
    unsafe { pool.free(pool.alloc(16 * MIB)) };
    pool.source().set_fault_after(0);
    // All there is, so nothing ahead of need that could fail in its place. It is tried again, then without a failure.
    assert!(!pool.alloc(64 * MIB).is_null());
    pool.source().set_fault_after(u64::MAX);
    assert_eq!(pool.stats().purged_bytes, 0);
    pool.check().unwrap();
}

/// Sizes of 8 bytes to 64 MiB.
fn sizes() -> impl Iterator<Item = usize> {
    (3..=26).map(|bits| 1 << bits)
}

/// Repeats `cycle` for longer than the decay time of 50 ms. When the machine has stopped the thread for that long, what
/// was free has gone back rightly, and costs a few faults.
fn costs_no_page(size: usize, mut cycle: impl FnMut()) {
    let faults = process::minor_faults();
    let start = Instant::now();
    let (mut cycles, mut pauses, mut last) = (0, 0, start);
    while cycles < 1_000 || start.elapsed() < Duration::from_millis(120) {
        cycle();
        cycles += 1;
        let now = Instant::now();
        pauses += u64::from(now - last > Duration::from_millis(20));
        last = now;
    }
    let faults = process::minor_faults() - faults;
    println!("{size} bytes: {cycles} cycles, {faults} page faults, {pauses} pauses");
    assert!(
        faults <= 3 + 3 * pauses,
        "size {size}: {faults} page faults in {cycles} cycles, {pauses} pauses"
    );
}

/// A block that is allocated and freed over and over stays where it is: no space goes back, none is
/// asked for again, and no page is missing.
#[test]
fn a_tight_loop_of_any_size_costs_no_page() {
    let pool = pool(256 * MIB, PurgePolicy::AfterMs(50));
    for size in sizes() {
        let cycle = || {
            let block = pool.alloc(size);
            // SAFETY: a new block of `size` bytes, not used again.
            unsafe {
                assert!(!block.is_null());
                block.write(1);
                block.add(size / 2).write(1);
                block.add(size - 1).write(1);
                pool.free(block);
            }
        };
        (0..100).for_each(|_| cycle());
        let before = pool.stats();
        costs_no_page(size, cycle);
        let after = pool.stats();
        // What other sizes have left behind may go back meanwhile; the peak shows new commits.
        assert_eq!(after.peak_committed_bytes, before.peak_committed_bytes, "size {size}");
        pool.trim();
    }
}

/// Two blocks of which one is always live, as in a buffer that is replaced by a new one.
#[test]
fn replacing_a_buffer_costs_no_page() {
    let pool = pool(256 * MIB, PurgePolicy::AfterMs(50));
    for size in sizes() {
        let mut live = pool.alloc(size);
        let mut cycle = || {
            let block = pool.alloc(size);
            // SAFETY: a new block of `size` bytes; the old one is not used again.
            unsafe {
                assert!(!block.is_null());
                block.write(1);
                block.add(size - 1).write(1);
                pool.free(live);
            }
            live = block;
        };
        (0..100).for_each(|_| cycle());
        costs_no_page(size, cycle);
        // SAFETY: live and not used again.
        unsafe { pool.free(live) };
        pool.trim();
    }
}

/// A population of live blocks of about constant total size.
struct Population<'a> {
    pool: &'a Pool,
    blocks: Vec<(*mut u8, usize)>,
    bytes: usize,
    /// What `bytes` is kept at.
    target: usize,
    random: Random,
}

impl Population<'_> {
    fn add(&mut self, size: usize) {
        let block = self.pool.alloc(size);
        assert!(!block.is_null());
        // SAFETY: a live block.
        let usable = unsafe { self.pool.usable_size(block) };
        self.blocks.push((block, usable));
        self.bytes += usable;
    }

    /// Frees any of the first `among` blocks; the youngest block takes its place.
    fn remove(&mut self, among: usize) {
        let (block, usable) = self.blocks.swap_remove(self.random.below(among));
        // SAFETY: live and not used again.
        unsafe { self.pool.free(block) };
        self.bytes -= usable;
    }

    /// Replaces blocks at random by new ones, `rounds` times as many bytes as are live.
    fn replace(&mut self, rounds: usize, mut size: impl FnMut(&mut Random) -> usize) {
        let mut replaced = 0;
        while replaced < rounds * self.target {
            let size = size(&mut self.random);
            self.add(size);
            replaced += size;
            while self.bytes > self.target {
                self.remove(self.blocks.len());
            }
        }
    }

    /// Replaces all blocks, in random order, by new ones.
    fn replace_all(&mut self, mut size: impl FnMut(&mut Random) -> usize) {
        let mut old = std::mem::take(&mut self.blocks);
        self.random.shuffle(&mut old);
        while !old.is_empty() || self.bytes < self.target {
            let size = size(&mut self.random);
            self.add(size);
            while self.bytes > self.target
                && let Some((block, usable)) = old.pop()
            {
                // SAFETY: live and not used again.
                unsafe { self.pool.free(block) };
                self.bytes -= usable;
            }
        }
    }

    /// Committed space in percent of the live blocks.
    fn committed(&self) -> usize {
        // A phase is short: time for caches to notice that a size is out of use, and for what they
        // return to be old enough to go.
        for _ in 0..4 {
            sleep(Duration::from_millis(u64::from(FRAGMENTATION_DECAY_MS) + 2));
            a_few_operations(self.pool);
        }
        self.pool.stats().committed_bytes * 100 / self.bytes
    }
}

const FRAGMENTATION_DECAY_MS: u32 = 10;

fn population(pool: &Pool, target: usize) -> Population<'_> {
    let random = Random::new(target as u64);
    Population { pool, blocks: Vec::new(), bytes: 0, target, random }
}

/// The usual size shifts by orders of magnitude, again and again; each time all blocks of the old
/// size go in random order, and those of the new size are replaced at random for a while.
#[test]
fn shifting_sizes_do_not_scatter_a_pool() {
    let pool = pool(512 * MIB, PurgePolicy::AfterMs(FRAGMENTATION_DECAY_MS));
    let mut population = population(&pool, 24 * MIB);
    let mut worst = 0;
    for centre in [300, 5_000, 100, 70_000, 1_000, 600_000, 120, 20_000, 64, 200_000, 300] {
        let size = |random: &mut Random| centre / 2 + random.below(centre);
        population.replace_all(size);
        population.replace(2, size);
        let committed = population.committed();
        println!("about {centre} bytes: committed {committed} % of live");
        worst = committed.max(worst);
    }
    pool.check().unwrap();
    println!("at most {worst} %");
    assert!(worst <= 135);
}

/// Blocks of all sizes at once, replaced at random many times.
#[test]
fn mixed_sizes_do_not_scatter_a_pool() {
    for max in [1 << 10, 16 << 10, 256 << 10, 2 << 20] {
        let pool = pool(512 * MIB, PurgePolicy::AfterMs(FRAGMENTATION_DECAY_MS));
        let mut population = population(&pool, 48 * MIB);
        population.replace(10, |random| random.size(max));
        let committed = population.committed();
        println!("up to {max} bytes: committed {committed} % of live");
        assert!(committed <= 135);
        pool.check().unwrap();
    }
}

/// Of many blocks a few stay, all over the pool, and are replaced now and then: the few come to lie
/// together, and the rest of the memory goes back.
#[test]
fn a_population_that_shrinks_moves_together() {
    let pool = pool(64 * MIB, PurgePolicy::AfterMs(5));
    let mut population = population(&pool, 16 * MIB);
    (0..16_000).for_each(|_| population.add(1_000));
    while population.blocks.len() > 1_000 {
        population.remove(population.blocks.len());
    }
    let at_first = pool.stats().active_bytes * 100 / population.bytes;
    for _ in 0..60 {
        sleep(Duration::from_millis(6));
        (0..100).for_each(|_| population.remove(900));
        sleep(Duration::from_millis(6));
        a_few_operations(&pool);
        (0..100).for_each(|_| population.add(1_000));
        a_few_operations(&pool);
    }
    let active = pool.stats().active_bytes * 100 / population.bytes;
    println!("in slabs: {at_first} % of live at first, {active} % later");
    assert!(at_first > 1_000);
    assert!(active < 300);
}
