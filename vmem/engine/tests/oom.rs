//! No space and no memory: every failure shows as null (or as an error), nothing crashes, nothing is
//! lost, and all is well again when there is room.

#[path = "support/process.rs"]
#[allow(dead_code, reason = "shared by several tests")]
mod process;
#[path = "support/random.rs"]
#[allow(dead_code, reason = "shared by several tests")]
mod random;

use pmem_core::errno::Errno;
use pmem_core::source::Source;
use pmem_test_support::child;
use pmem_test_support::tmpfs::SmallTmpfs;
use random::{Random, all_are};
use std::panic::{AssertUnwindSafe, catch_unwind};
use vmem_engine::config::MIN_POOL_BYTES;
use vmem_engine::fork::{self, ForkMode};
use vmem_engine::{Pool, PoolOptions, PurgePolicy};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

struct Block {
    pointer: *mut u8,
    size: usize,
    stamp: u8,
}

impl Block {
    fn fill(&self) {
        // SAFETY: a live block of this size.
        unsafe { self.pointer.write_bytes(self.stamp, self.size) };
    }

    fn verify(&self) {
        // SAFETY: a live block of this size.
        let bytes = unsafe { std::slice::from_raw_parts(self.pointer, self.size) };
        assert!(all_are(bytes, self.stamp), "content of {:p}, {} bytes", self.pointer, self.size);
    }
}

/// How a sequence of operations went.
struct Outcome {
    live: Vec<Block>,
    failures: usize,
}

/// Always the same operations, with all that a pool can do. Every block is written over its whole
/// length at once: space that is missing shows as a signal.
fn operate(pool: &Pool) -> Outcome {
    let mut random = Random::new(5);
    let mut live: Vec<Block> = Vec::with_capacity(200);
    let mut failures = 0;
    for step in 0..200 {
        let size = random.size(1 << 18);
        let pointer = match random.below(8) {
            0 => pool.alloc_zeroed(size),
            1 => pool.alloc_aligned(1 << random.below(20), size),
            2 | 3 if !live.is_empty() => {
                let at = random.below(live.len());
                let old = &live[at];
                old.verify();
                // SAFETY: live; forgotten when the call succeeds.
                let new = unsafe { pool.realloc(old.pointer, size) };
                if !new.is_null() {
                    live.swap_remove(at);
                } else {
                    assert!(size > old.size, "shrinking cannot fail");
                    old.verify();
                }
                new
            }
            4 if live.len() > 8 => {
                for _ in 0..6 {
                    let block = live.swap_remove(random.below(live.len()));
                    block.verify();
                    // SAFETY: live and forgotten.
                    unsafe { pool.free(block.pointer) };
                }
                if step % 2 == 0 {
                    pool.trim();
                }
                continue;
            }
            _ => pool.alloc(size),
        };
        if pointer.is_null() {
            failures += 1;
        } else {
            let block = Block { pointer, size, stamp: step as u8 };
            block.fill();
            live.push(block);
        }
        pool.check().unwrap();
    }
    live.iter().for_each(Block::verify);
    Outcome { live, failures }
}

/// Frees everything; then the pool must be as good as new.
fn recover(pool: &Pool, live: Vec<Block>) {
    for block in live {
        block.verify();
        // SAFETY: live and not used again.
        unsafe { pool.free(block.pointer) };
    }
    pool.check().unwrap();
    pool.trim();
    pool.check().unwrap();
    let stats = pool.stats();
    assert_eq!((stats.allocated_bytes, stats.active_bytes, stats.committed_bytes), (0, 0, 0));
    assert_eq!(stats.resident_bytes, 0);
}

/// Whether a fault that was set for later has not happened yet. It does not happen afterwards.
fn still_to_come(pool: &Pool, faults_after: u64) -> bool {
    let source = pool.source();
    let come = (0..=faults_after).any(|_| source.commit(0, source.granule()).is_err());
    source.set_fault_after(u64::MAX);
    come
}

/// The n-th call to the source fails, for every n that there is.
#[test]
fn any_single_failure_of_the_source_is_survived() {
    let mut failed = 0;
    for (purge, len) in [
        (PurgePolicy::AfterMs(1_000), 64 * MIB),
        (PurgePolicy::Immediate, 64 * MIB),
        (PurgePolicy::AfterMs(1_000), MIN_POOL_BYTES),
    ] {
        let mut n = 0;
        loop {
            let source = Source::in_directory(c"/dev/shm", len).unwrap();
            source.set_fault_after(n);
            let options = PoolOptions { purge, ..PoolOptions::default() };
            let pool = Pool::create(source, &options).unwrap();
            let outcome = operate(&pool);
            failed += outcome.failures;
            recover(&pool, outcome.live);
            if still_to_come(&pool, n) {
                break;
            }
            n += 1;
        }
        println!("{purge:?}, {} MiB: {n} calls failed in turn", len / MIB);
        assert!(n > 10);
    }
    println!("{failed} operations failed");
}

#[test]
fn preallocation_without_space_is_an_error() {
    let options = PoolOptions { prealloc: true, ..PoolOptions::default() };
    let source = Source::in_directory(c"/dev/shm", MIN_POOL_BYTES).unwrap();
    source.set_fault_after(0);
    assert_eq!(Pool::create(source, &options).unwrap_err().errno, Errno::ENOSPC);
    let Some(small) = SmallTmpfs::mount(8 * MIB) else { return };
    let source = Source::in_directory(small.c_path(), MIN_POOL_BYTES).unwrap();
    assert_eq!(Pool::create(source, &options).unwrap_err().errno, Errno::ENOSPC);
    assert_eq!(small.free(), 8 * MIB as u64);
}

/// File systems of many sizes, all too small: the pool ends where they end.
#[test]
fn a_full_file_system_is_a_null_and_no_signal() {
    let mut failed = 0;
    for size in (256 * KIB..8 * MIB).step_by(256 * KIB) {
        let Some(small) = SmallTmpfs::mount(size) else { return };
        let source = Source::in_directory(small.c_path(), 64 * MIB).unwrap();
        let pool = Pool::create(source, &PoolOptions::default()).unwrap();
        let outcome = operate(&pool);
        failed += outcome.failures;
        recover(&pool, outcome.live);
        assert_eq!(small.free(), size as u64);
    }
    assert!(failed > 0);
}

/// Fills the pool with blocks of `size` bytes, written over their whole length.
fn fill(pool: &Pool, size: usize) -> Vec<Block> {
    let mut blocks = Vec::new();
    loop {
        let pointer = pool.alloc(size);
        if pointer.is_null() {
            return blocks;
        }
        let block = Block { pointer, size, stamp: blocks.len() as u8 };
        block.fill();
        blocks.push(block);
    }
}

/// What there is room for, on a file system of 8 MiB: most of it, over and over.
fn fill_and_recover(pool: &Pool) {
    for size in [64 * KIB, 100, 3_000, 700 * KIB, 20 * KIB] {
        let mut blocks = fill(pool, size);
        let bytes = blocks.len() * size;
        println!("{size}-byte blocks: {bytes} bytes");
        assert!(bytes > 8 * MIB * 8 / 10, "{bytes} bytes in blocks of {size}");
        // A request far beyond what there is takes nothing from those that fit.
        assert!(pool.alloc(32 * MIB).is_null());
        let count = blocks.len();
        for block in blocks.drain(count / 2..) {
            // SAFETY: live and not used again.
            unsafe { pool.free(block.pointer) };
        }
        assert!(pool.alloc(32 * MIB).is_null());
        let more = fill(pool, size);
        assert!(more.len() * 10 >= (count - count / 2) * 9, "{} of {count}", more.len());
        blocks.extend(more);
        for block in blocks {
            block.verify();
            // SAFETY: live and not used again.
            unsafe { pool.free(block.pointer) };
        }
        pool.check().unwrap();
    }
}

#[test]
fn all_of_a_small_file_system_is_used_and_returned() {
    let Some(small) = SmallTmpfs::mount(8 * MIB) else { return };
    let source = Source::in_directory(small.c_path(), 64 * MIB).unwrap();
    let pool = Pool::create(source, &PoolOptions::default()).unwrap();
    fill_and_recover(&pool);
    recover(&pool, Vec::new());
    assert_eq!(small.free(), 8 * MIB as u64);
}

/// The same when the program has closed the pool's descriptor.
#[test]
fn a_full_file_system_without_a_descriptor() {
    child::run("a_full_file_system_without_a_descriptor", || {
        let Some(small) = SmallTmpfs::mount(8 * MIB) else { return };
        let source = Source::in_directory(small.c_path(), 64 * MIB).unwrap();
        let pool = Pool::create(source, &PoolOptions::default()).unwrap();
        // SAFETY: nothing here needs its descriptors above 2.
        unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) };
        assert!(!pool.source().has_descriptor());
        fill_and_recover(&pool);
        pool.trim();
        assert_eq!(small.free(), 8 * MIB as u64);
    });
}

/// A fork for which a mapping or a copy cannot be made: the parent goes on, and a child that could
/// not be set up says so.
#[test]
fn failures_around_a_fork_leave_the_parent_alone() {
    child::run("failures_around_a_fork_leave_the_parent_alone", || {
        for mode in [ForkMode::Private, ForkMode::Copy, ForkMode::CopyOrPrivate] {
            let (mut refused, mut n) = (0, 0);
            loop {
                let source = Source::in_directory(c"/dev/shm", 64 * MIB).unwrap();
                let pool = Pool::create(source, &PoolOptions::default()).unwrap();
                let outcome = operate(&pool);
                pool.source().set_fault_after(n);
                // SAFETY: the handlers are called as they ask for; the child looks and exits.
                let status = unsafe {
                    let prepared = fork::prepare(mode);
                    let pid = if prepared.is_ok() { libc::fork() } else { -1 };
                    if pid == 0 {
                        // A panic that went on would end the only thread, with success.
                        let look = AssertUnwindSafe(|| match fork::child() {
                            Ok(()) => {
                                outcome.live.iter().for_each(Block::verify);
                                pool.check().unwrap();
                                0
                            }
                            Err(_) => 3,
                        });
                        libc::_exit(catch_unwind(look).unwrap_or(2));
                    }
                    fork::parent();
                    let mut status = -1;
                    if pid > 0 {
                        assert_eq!(libc::waitpid(pid, &raw mut status, 0), pid);
                    }
                    status
                };
                match status {
                    -1 => refused += 1,
                    status => assert!(matches!(status >> 8, 0 | 3), "{mode:?} {n}: {status:#x}"),
                }
                let over = status == 0 && still_to_come(&pool, n);
                pool.source().set_fault_after(u64::MAX);
                outcome.live.iter().for_each(Block::verify);
                pool.check().unwrap();
                assert!(!pool.alloc(MIB).is_null());
                if over {
                    break;
                }
                n += 1;
            }
            println!("{mode:?}: {n} calls failed in turn, {refused} forks refused");
            assert!(n > 0);
            assert_eq!(refused > 0, mode != ForkMode::CopyOrPrivate);
        }
    });
}

/// Lets the address space grow by `bytes` and no more.
fn leave_address_space(bytes: usize) {
    process::set_limit(libc::RLIMIT_AS, (process::status_bytes("VmSize") + bytes) as u64);
}

/// Lets the address space grow no more, to the page. Gives the mappings that took what was left.
fn leave_no_address_space() -> usize {
    leave_address_space(0);
    let mut taken = 0;
    loop {
        // SAFETY: a new mapping of a page that nobody uses.
        let page = unsafe {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            libc::mmap(std::ptr::null_mut(), 4096, libc::PROT_NONE, flags, -1, 0)
        };
        if page == libc::MAP_FAILED {
            return taken;
        }
        taken += 1;
    }
}

#[test]
fn a_pool_without_dram_for_its_metadata_is_an_error() {
    child::run("a_pool_without_dram_for_its_metadata_is_an_error", || {
        let create = |room: usize| {
            let source = Source::in_directory(c"/dev/shm", 64 * MIB).unwrap();
            leave_address_space(room);
            let result = Pool::create(source, &PoolOptions::default());
            process::set_limit(libc::RLIMIT_AS, libc::RLIM_INFINITY);
            result
        };
        drop(create(4 * MIB).unwrap());
        let before = (process::mappings(), process::descriptors());
        let mut refused = 0;
        for room in (0..512 * KIB).step_by(4 * KIB) {
            match create(room) {
                Err(error) => {
                    assert_eq!(error.errno, Errno::ENOMEM, "{error}");
                    refused += 1;
                }
                Ok(pool) => drop(pool),
            }
            assert_eq!((process::mappings(), process::descriptors()), before);
        }
        println!("{refused} sizes were too small");
        assert!(refused > 10);
    });
}

/// Blocks that each need a descriptor, until DRAM for descriptors is short.
#[test]
fn without_dram_allocations_fail_and_frees_work() {
    child::run("without_dram_allocations_fail_and_frees_work", || {
        for room in (0..160 * KIB).step_by(16 * KIB) {
            let source = Source::in_directory(c"/dev/shm", 256 * MIB).unwrap();
            let pool = Pool::create(source, &PoolOptions::default()).unwrap();
            let mut blocks = Vec::with_capacity(100_000);
            let mut late = Vec::with_capacity(1_000);
            leave_address_space(room);
            loop {
                // Runs with a gap before each.
                let pointer = pool.alloc_aligned(8 * KIB, 4 * KIB);
                if pointer.is_null() {
                    break;
                }
                let block = Block { pointer, size: 4 * KIB, stamp: blocks.len() as u8 };
                block.fill();
                blocks.push(block);
                assert!(blocks.len() < blocks.capacity(), "DRAM never ran out");
            }
            pool.check().unwrap();
            // Whatever still works, works right; nothing crashes.
            for step in 0..1_000 {
                let size = [8, 40, 1_000, 30_000, 600_000][step % 5];
                let pointer = pool.alloc(size);
                if !pointer.is_null() {
                    let block = Block { pointer, size, stamp: step as u8 };
                    block.fill();
                    late.push(block);
                }
                let at = step * 7 % blocks.len();
                let old = &blocks[at];
                // SAFETY: live; shrinking it does not move it, or gives the new place.
                let new = unsafe { pool.realloc(old.pointer, 2 * old.size) };
                if !new.is_null() {
                    let (size, stamp) = (2 * old.size, old.stamp);
                    blocks[at] = Block { pointer: new, size, stamp };
                    blocks[at].fill();
                }
            }
            pool.trim();
            pool.check().unwrap();
            late.iter().chain(&blocks).for_each(Block::verify);
            for block in late.drain(..).chain(blocks.drain(..)) {
                // SAFETY: live and not used again.
                unsafe { pool.free(block.pointer) };
            }
            pool.check().unwrap();
            process::set_limit(libc::RLIMIT_AS, libc::RLIM_INFINITY);
            assert!(!pool.alloc(200 * MIB).is_null(), "all of it is free again");
        }
    });
}

/// A thread for which there is no DRAM for a cache works without one.
#[test]
fn without_dram_a_thread_does_without_a_cache() {
    child::run("without_dram_a_thread_does_without_a_cache", || {
        // The first pools fit into the first table of a thread, the last one does not.
        let pools: Vec<Pool> = (0..300)
            .map(|_| {
                let source = Source::anonymous(MIN_POOL_BYTES).unwrap();
                Pool::create(source, &PoolOptions::default()).unwrap()
            })
            .collect();
        let barrier = std::sync::Barrier::new(2);
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                // What the standard library and the C library need for a thread they have by now.
                drop(vec![0u8; 10_000]);
                barrier.wait();
                barrier.wait();
                let pool = &pools[299];
                for round in 0..100 {
                    let block = pool.alloc(100 + round);
                    assert!(!block.is_null());
                    // SAFETY: live and not used again.
                    unsafe { pool.free(block) };
                }
                assert_eq!(pool.stats().thread_caches, 0);
            });
            barrier.wait();
            leave_no_address_space();
            barrier.wait();
            let result = thread.join();
            process::set_limit(libc::RLIMIT_AS, libc::RLIM_INFINITY);
            result.unwrap();
        });
    });
}
