//! Forks of a process whose threads use a pool: parent and child go on, each with its own bytes.

use pmem_core::source::{HugePageSize, Source};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use vmem_engine::fork::{self, ForkMode};
use vmem_engine::{Pool, PoolOptions, PurgePolicy};

/// Forks here must not meet each other.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Forks, runs `in_child` and then `in_parent`, and returns whether the child ended well.
fn fork_with(mode: ForkMode, in_child: impl FnOnce() -> bool, in_parent: impl FnOnce()) -> bool {
    // SAFETY: the handlers are called as they ask for; the child only uses the pool and exits.
    unsafe {
        if let Err(error) = fork::prepare(mode) {
            fork::parent();
            panic!("{error:?}");
        }
        let pid = libc::fork();
        if pid == 0 {
            end_child(|| fork::child().is_ok() && in_child());
        }
        assert!(pid > 0);
        fork::parent();
        in_parent();
        let mut status = 0;
        assert_eq!(libc::waitpid(pid, &raw mut status, 0), pid);
        libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0
    }
}

/// Ends a child with what `body` says. (A panic that left the body would end the only thread of the
/// child, and that counts as success.)
fn end_child(body: impl FnOnce() -> bool) -> ! {
    let fine = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).unwrap_or(false);
    // SAFETY: ends the child without running anybody's handlers.
    unsafe { libc::_exit(if fine { 0 } else { 1 }) }
}

/// Whether all bytes equal `stamp`; by memcmp, because debug builds are slow at loops.
fn all_are(bytes: &[u8], stamp: u8) -> bool {
    bytes.is_empty() || (bytes[0] == stamp && bytes[1..] == bytes[..bytes.len() - 1])
}

struct Block(*mut u8, usize);

impl Block {
    fn new(pool: &Pool, size: usize, stamp: u8) -> Block {
        let pointer = pool.alloc(size);
        assert!(!pointer.is_null());
        let block = Block(pointer, size);
        block.fill(stamp);
        block
    }

    fn fill(&self, stamp: u8) {
        // SAFETY: a live block of this size.
        unsafe { self.0.write_bytes(stamp, self.1) };
    }

    fn holds(&self, stamp: u8) -> bool {
        // SAFETY: a live block of this size.
        let bytes = unsafe { std::slice::from_raw_parts(self.0, self.1) };
        all_are(bytes, stamp)
    }
}

fn sizes() -> impl Iterator<Item = usize> {
    (0..400).map(|n| [24, 300, 5000, 40_000, 300_000][n % 5])
}

/// Uses the pool for a while; false when a content is wrong.
fn churn(pool: &Pool, stamp: u8) -> bool {
    let mut live = Vec::new();
    for round in 0..20 {
        for size in sizes().take(100) {
            live.push(Block::new(pool, size, stamp));
        }
        for (at, block) in live.iter().enumerate() {
            if !block.holds(stamp) {
                eprintln!("round {round}: block {at} of {} bytes is not {stamp}", block.1);
                return false;
            }
        }
        for block in live.drain(..) {
            // SAFETY: live and not used again.
            unsafe { pool.free(block.0) };
        }
    }
    if let Err(fault) = pool.check() {
        eprintln!("{fault}");
        return false;
    }
    true
}

/// Ends the churning threads, also when an assertion fails.
struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn isolation(make_pool: impl Fn() -> Pool, mode: ForkMode, rounds: usize) {
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    // Made under the lock: a fork of another test would prepare this pool too.
    let (stop, pool) = (&AtomicBool::new(false), &make_pool());
    std::thread::scope(|scope| {
        let _stop = StopAtEnd(stop);
        for stamp in [1, 2] {
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    assert!(churn(pool, stamp));
                }
            });
        }
        for _ in 0..rounds {
            let blocks: Vec<Block> = sizes().map(|size| Block::new(pool, size, 7)).collect();
            let fine = fork_with(
                mode,
                || {
                    let seen = blocks.iter().all(|block| block.holds(7));
                    if mode != ForkMode::Share {
                        blocks.iter().for_each(|block| block.fill(8));
                    }
                    let worked = churn(pool, 9);
                    let kept = mode == ForkMode::Share || blocks.iter().all(|b| b.holds(8));
                    // Nested: the grandchild sees the child's bytes and leaves them alone.
                    let nested = fork_with(
                        mode,
                        || {
                            let seen = mode == ForkMode::Share || blocks.iter().all(|b| b.holds(8));
                            seen && churn(pool, 10)
                        },
                        || assert!(churn(pool, 11)),
                    );
                    for block in &blocks {
                        // SAFETY: live in this process and not used again.
                        unsafe { pool.free(block.0) };
                    }
                    pool.trim();
                    if !(seen && worked && kept && nested) {
                        eprintln!("seen {seen} worked {worked} kept {kept} nested {nested}");
                    }
                    seen && worked && kept && nested && pool.check().is_ok()
                },
                || {
                    assert!(churn(pool, 12));
                    assert!(blocks.iter().all(|block| block.holds(7)), "child wrote to parent");
                },
            );
            assert!(fine, "child of mode {mode:?}");
            assert!(blocks.iter().all(|block| block.holds(7)), "child wrote to parent");
            for block in blocks {
                // SAFETY: live and not used again.
                unsafe { pool.free(block.0) };
            }
        }
    });
    pool.check().unwrap();
}

fn pool(source: Source) -> Pool {
    Pool::create(source, &PoolOptions::default()).unwrap()
}

fn file_pool() -> Pool {
    pool(Source::in_directory(c"/dev/shm", 512 << 20).unwrap())
}

#[test]
fn private_mode_isolates_parent_and_child() {
    isolation(file_pool, ForkMode::Private, 5);
}

#[test]
fn copy_mode_isolates_parent_and_child() {
    isolation(file_pool, ForkMode::Copy, 3);
    isolation(file_pool, ForkMode::CopyOrPrivate, 2);
}

#[test]
fn share_mode_keeps_the_allocator_sound() {
    isolation(file_pool, ForkMode::Share, 3);
}

#[test]
fn anonymous_pools_need_nothing() {
    isolation(|| pool(Source::anonymous(512 << 20).unwrap()), ForkMode::Private, 3);
}

#[test]
fn a_closed_descriptor_does_not_matter() {
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    // In a process of its own: the test closes all descriptors.
    // SAFETY: the child uses the pool, forks and exits.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let pool = file_pool();
        let block = Block::new(&pool, 100_000, 7);
        // SAFETY: nothing in this child needs its descriptors above 2.
        unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) };
        let fine = fork_with(
            ForkMode::Private,
            || {
                let seen = block.holds(7);
                block.fill(8);
                seen && churn(&pool, 9)
            },
            || {},
        );
        let fine = fine && block.holds(7) && churn(&pool, 10);
        // SAFETY: ends this child.
        unsafe { libc::_exit(if fine { 0 } else { 1 }) };
    }
    let mut status = 0;
    // SAFETY: our child.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    assert_eq!(status, 0);
}

#[test]
fn after_a_fork_new_blocks_of_the_parent_come_from_the_file() {
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let pool = file_pool();
    let kept = Block::new(&pool, 1 << 20, 7);
    assert!(fork_with(ForkMode::Private, || kept.holds(7), || {}));
    let before = pool.stats().resident_bytes;
    let new = Block::new(&pool, 32 << 20, 8);
    assert!(pool.stats().resident_bytes >= before + (32 << 20));
    assert!(new.holds(8) && kept.holds(7));
}

#[test]
fn huge_page_pools_are_copied() {
    let source = || Source::memfd(64 << 20, Some(HugePageSize::Mib2));
    let first_block = source().map(|source| pool(source).alloc(64));
    if !first_block.is_ok_and(|block| !block.is_null()) {
        println!("NOT CHECKED: no free huge pages (vm.nr_hugepages)");
        return;
    }
    for mode in [ForkMode::Private, ForkMode::Copy, ForkMode::CopyOrPrivate] {
        isolation(|| pool(source().unwrap()), mode, 1);
    }
}

/// What the child frees is the parent's, who goes on using it.
#[test]
fn in_share_mode_the_child_never_reuses_what_the_parent_has() {
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    children_share_and_never_reuse(&file_pool());
}

/// There a page can be free in a granule that has others which are not.
#[test]
fn in_share_mode_the_child_never_reuses_a_part_of_a_huge_page() {
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let pool = Source::memfd(64 << 20, Some(HugePageSize::Mib2)).map(pool);
    let Some(pool) = pool.ok().filter(|pool| !pool.alloc(64).is_null()) else {
        println!("NOT CHECKED: no free huge pages (vm.nr_hugepages)");
        return;
    };
    children_share_and_never_reuse(&pool);
}

fn children_share_and_never_reuse(pool: &Pool) {
    let blocks: Vec<Block> = sizes().map(|size| Block::new(pool, size, 7)).collect();
    let in_child = || {
        for (at, block) in blocks.iter().enumerate() {
            // SAFETY: live in this process; not used again but through what realloc gives.
            unsafe {
                let usable = pool.usable_size(block.0);
                assert!(usable >= block.1 && usable < block.1 + 4096);
                match at % 3 {
                    0 => pool.free(block.0),
                    1 => assert_eq!(pool.realloc(block.0, block.1 / 2), block.0),
                    _ => {
                        let moved = pool.realloc(block.0, usable + 1);
                        assert!(moved != block.0 && Block(moved, block.1).holds(7));
                        pool.free(moved);
                    }
                }
            }
        }
        pool.trim();
        for size in sizes() {
            let zeroed = Block(pool.alloc_zeroed(size), size);
            assert!(zeroed.holds(0), "{size} bytes are not zero");
            zeroed.fill(9);
        }
        churn(pool, 10) && pool.check().is_ok()
    };
    let unharmed = || assert!(blocks.iter().all(|block| block.holds(7)), "child wrote to parent");
    assert!(fork_with(ForkMode::Share, in_child, unharmed));
    unharmed();
    for block in blocks {
        // SAFETY: live and not used again.
        unsafe { pool.free(block.0) };
    }
    assert!(churn(pool, 11));
}

/// Fork handlers of other libraries may run between ours and the fork, and allocate.
#[test]
fn blocks_of_other_fork_handlers_are_isolated_too() {
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let pool = file_pool();
    let old = Block::new(&pool, 24, 7);
    // SAFETY: the handlers are called as they ask for; the child only uses the pool and exits.
    unsafe {
        fork::prepare(ForkMode::Private).unwrap();
        // In a slab that was there, in new slabs, and in pages of their own; freed ones as well.
        let late: Vec<Block> = sizes().map(|size| Block::new(&pool, size, 7)).collect();
        late.iter().step_by(3).for_each(|block| pool.free(block.0));
        let late: Vec<&Block> =
            late.iter().enumerate().filter(|b| b.0 % 3 != 0).map(|b| b.1).collect();
        let pid = libc::fork();
        if pid == 0 {
            end_child(|| {
                assert!(fork::child().is_ok() && late.iter().all(|block| block.holds(7)));
                late.iter().for_each(|block| block.fill(8));
                assert!(churn(&pool, 9) && late.iter().all(|block| block.holds(8)));
                late.iter().for_each(|block| pool.free(block.0));
                churn(&pool, 9)
            });
        }
        fork::parent();
        let mut status = 0;
        assert_eq!(libc::waitpid(pid, &raw mut status, 0), pid);
        assert_eq!(status, 0);
        assert!(late.iter().all(|block| block.holds(7)) && old.holds(7), "child wrote to parent");
        assert!(churn(&pool, 10));
        late.iter().for_each(|block| pool.free(block.0));
    }
    pool.check().unwrap();
}

/// A thread that finds no room waits for what others are giving back; in a fork they wait for it.
#[test]
fn a_full_pool_does_not_hang_a_fork() {
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let source = Source::in_directory(c"/dev/shm", 14 << 20).unwrap();
    let options = PoolOptions { purge: PurgePolicy::Immediate, ..PoolOptions::default() };
    let pool = &Pool::create(source, &options).unwrap();
    let stop = &AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _stop = StopAtEnd(stop);
        for _ in 0..2 {
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let block = Block::new(pool, 4 << 20, 1);
                    // SAFETY: live and not used again.
                    unsafe { pool.free(block.0) };
                }
            });
        }
        let start = std::time::Instant::now();
        while start.elapsed() < std::time::Duration::from_millis(300) {
            // SAFETY: there is no child, which the parent's handler does not mind. (In this mode
            // nothing is frozen; what is frozen is never given back.)
            unsafe {
                fork::prepare(ForkMode::Share).unwrap();
                let block = pool.alloc(14 << 20);
                pool.free(block);
                fork::parent();
            }
        }
    });
    pool.check().unwrap();
}
