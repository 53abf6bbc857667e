//! Forks and the medium: what a fork copies, how the parent's pages come home, and children that no
//! handler knows of.

use pmem_core::source::Source;
use pmem_test_support::child;
use std::ffi::CString;
use std::fs;
use std::time::{Duration, Instant};
use vmem_engine::fork::{self, ForkMode};
use vmem_engine::{Harden, Pool, PoolOptions};

/// Runs `body` in a process with one thread: the test harness has two.
fn alone(test: &str, body: impl FnOnce()) {
    child::run(test, || {
        // SAFETY: the child runs the body and exits.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            let body = std::panic::AssertUnwindSafe(body);
            let fine = std::panic::catch_unwind(body).is_ok();
            // SAFETY: ends the child without running anybody's handlers.
            unsafe { libc::_exit(if fine { 0 } else { 1 }) };
        }
        assert!(ended_well(pid));
    });
}

const MIB: usize = 1 << 20;

fn pool(options: &PoolOptions) -> Pool {
    Pool::create(Source::in_directory(c"/dev/shm", 256 * MIB).unwrap(), options).unwrap()
}

/// Blocks of 20 MiB together, of all kinds, filled with `stamp`.
fn blocks(pool: &Pool, stamp: u8) -> Vec<(*mut u8, usize)> {
    let sizes = [24, 300, 5000, 40_000, 300_000];
    let blocks: Vec<_> =
        (0..300).map(|n| sizes[n % 5]).map(|size| (pool.alloc(size), size)).collect();
    assert!(blocks.iter().all(|block| !block.0.is_null()));
    fill(&blocks, stamp);
    blocks
}

fn fill(blocks: &[(*mut u8, usize)], stamp: u8) {
    // SAFETY: live blocks of these sizes.
    blocks.iter().for_each(|&(block, size)| unsafe { block.write_bytes(stamp, size) });
}

fn hold(blocks: &[(*mut u8, usize)], stamp: u8) -> bool {
    // SAFETY: as above.
    let bytes = |&(block, size): &(*mut u8, usize)| unsafe {
        std::slice::from_raw_parts(block, size).to_vec()
    };
    blocks.iter().all(|block| bytes(block) == vec![stamp; block.1])
}

/// Forks; the child ends with what `in_child` says. Returns its process id.
fn fork_with(mode: ForkMode, in_child: impl FnOnce() -> bool) -> i32 {
    // SAFETY: the handlers are called as they ask for; the child only uses the pool and exits.
    unsafe {
        fork::prepare(mode).unwrap();
        let pid = libc::fork();
        if pid == 0 {
            let fine = fork::child().is_ok() && in_child();
            libc::_exit(if fine { 0 } else { 1 });
        }
        fork::parent();
        assert!(pid > 0);
        pid
    }
}

fn ended_well(pid: i32) -> bool {
    let mut status = 0;
    // SAFETY: our child.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    status == 0
}

/// Bytes of private mappings in the pool: pages that are away.
fn away(pool: &Pool) -> usize {
    let (base, len) = pool.range();
    let range = base.addr().get()..base.addr().get() + len;
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let private = maps.lines().filter_map(|line| {
        let (bounds, rest) = line.split_once(' ')?;
        let (start, end) = bounds.split_once('-')?;
        let [start, end] = [start, end].map(|text| usize::from_str_radix(text, 16).unwrap());
        (range.contains(&start) && rest.starts_with("rw-p")).then_some(end - start)
    });
    private.sum()
}

/// Uses the pool until everything is at home; false after a time that is long even for slow tools.
fn comes_home(pool: &Pool) -> bool {
    let start = Instant::now();
    while away(pool) > 0 {
        if start.elapsed() > Duration::from_secs(30) {
            return false;
        }
        // SAFETY: live and not used again.
        unsafe { pool.free(pool.alloc(400_000)) };
        std::thread::sleep(Duration::from_millis(1));
    }
    true
}

#[test]
fn pages_come_home_when_the_child_has_ended() {
    alone("pages_come_home_when_the_child_has_ended", || {
        fork::set_home_ms(Some(40));
        let pool = pool(&PoolOptions::default());
        let blocks = blocks(&pool, 1);
        for round in 1..10 {
            let pid = fork_with(ForkMode::Private, || hold(&blocks, round));
            assert!(away(&pool) >= 19 * MIB);
            fill(&blocks, round + 1);
            assert!(ended_well(pid));
            assert!(comes_home(&pool), "{} bytes are away", away(&pool));
            assert!(hold(&blocks, round + 1));
            pool.check().unwrap();
        }
        // SAFETY: live and not used again.
        blocks.iter().for_each(|block| unsafe { pool.free(block.0) });
        pool.check().unwrap();
    });
}

/// Blocks whose mappings have moved: their bytes do not lie at the same offset in the file.
#[test]
fn moved_blocks_come_home() {
    alone("moved_blocks_come_home", || {
        fork::set_home_ms(Some(40));
        let pool = pool(&PoolOptions::default());
        let small = blocks(&pool, 1);
        let mut large: Vec<_> = (0..4).map(|_| (pool.alloc(8 * MIB), 8 * MIB)).collect();
        fill(&large, 1);
        for round in 1..6 {
            // In turns, so that none has room behind it.
            for (block, size) in &mut large {
                // SAFETY: live, and used only through what this gives.
                *block = unsafe { pool.realloc(*block, *size + 4 * MIB) };
                assert!(!block.is_null());
                assert!(hold(&[(*block, *size)], round));
                *size += 4 * MIB;
            }
            fill(&large, round);
            assert!(!pool.source().can_exchange() || pool.source().run(0, 256 * MIB) < 256 * MIB);
            let pid = fork_with(ForkMode::Private, || hold(&small, round) && hold(&large, round));
            assert!(away(&pool) >= 19 * MIB + large.len() * large[0].1);
            fill(&small, round + 1);
            fill(&large, round + 1);
            assert!(ended_well(pid));
            assert!(comes_home(&pool), "{} bytes are away", away(&pool));
            assert!(hold(&small, round + 1) && hold(&large, round + 1));
            pool.check().unwrap();
        }
    });
}

/// Of a hardened pool the threads see no cache; there is one all the same.
#[test]
fn hardened_pools_come_home_and_are_left_alone() {
    alone("hardened_pools_come_home_and_are_left_alone", || {
        fork::set_home_ms(Some(40));
        for harden in [Harden::Checks, Harden::Poison] {
            let pool = pool(&PoolOptions { harden, ..PoolOptions::default() });
            let blocks = blocks(&pool, 1);
            for round in 1..4 {
                let pid = fork_with(ForkMode::Private, || hold(&blocks, round));
                fill(&blocks, round + 1);
                assert!(ended_well(pid));
                assert!(comes_home(&pool), "{} bytes are away", away(&pool));
                assert!(hold(&blocks, round + 1));
                pool.check().unwrap();
            }
            // SAFETY: the child only uses the pool and exits.
            let pid = unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) };
            if pid == 0 {
                let mut fine = hold(&blocks, 4);
                for &(block, size) in &blocks {
                    // SAFETY: live blocks, not used again in this process.
                    unsafe {
                        fine &= pool.usable_size(block) == size;
                        fine &= pool.realloc(block, size * 2).is_null();
                        pool.free(block);
                    }
                }
                fine &= [1, 24, 2000, 1 << 20].iter().all(|&size| pool.alloc(size).is_null());
                // SAFETY: ends this child.
                unsafe { libc::_exit(if fine { 0 } else { 1 }) };
            }
            assert!(ended_well(pid as i32));
            assert!(hold(&blocks, 4));
            // SAFETY: live and not used again.
            blocks.iter().for_each(|block| unsafe { pool.free(block.0) });
            pool.check().unwrap();
        }
    });
}

#[test]
fn trim_brings_home_at_once_what_can_come() {
    alone("trim_brings_home_at_once_what_can_come", || {
        fork::set_home_ms(Some(1_000_000));
        let pool = pool(&PoolOptions::default());
        let blocks = blocks(&pool, 1);
        let mut ends = [0; 2];
        // SAFETY: room for two descriptors.
        assert_eq!(unsafe { libc::pipe(ends.as_mut_ptr()) }, 0);
        let pid = fork_with(ForkMode::Private, || {
            let mut byte = 0u8;
            // SAFETY: the buffer has room for one byte.
            unsafe { libc::read(ends[0], (&raw mut byte).cast(), 1) == 1 && hold(&blocks, 1) }
        });
        fill(&blocks, 2);
        pool.trim();
        assert!(away(&pool) >= 19 * MIB, "the child still reads its pages");
        // SAFETY: one byte.
        assert_eq!(unsafe { libc::write(ends[1], c"x".as_ptr().cast(), 1) }, 1);
        assert!(ended_well(pid));
        pool.trim();
        assert_eq!(away(&pool), 0);
        assert!(hold(&blocks, 2));
    });
}

/// Each call to the system may fail; what is away then stays usable where it is, and comes home later.
#[test]
fn a_failure_on_the_way_home_harms_nothing() {
    alone("a_failure_on_the_way_home_harms_nothing", || {
        fork::set_home_ms(Some(8));
        let pool = pool(&PoolOptions::default());
        let blocks = blocks(&pool, 1);
        for fault in 0..30 {
            let stamp = fault as u8 + 2;
            let pid = fork_with(ForkMode::Private, || true);
            fill(&blocks, stamp);
            assert!(ended_well(pid));
            pool.source().set_fault_after(fault);
            pool.trim();
            assert!(hold(&blocks, stamp), "fault {fault}");
            pool.source().set_fault_after(u64::MAX);
            assert!(comes_home(&pool), "fault {fault}");
            assert!(hold(&blocks, stamp), "fault {fault}");
            pool.check().unwrap();
        }
    });
}

/// What a fork with a file of its own costs depends on what is in use, not on the size of the pool.
#[test]
fn copy_modes_copy_live_extents_only() {
    alone("copy_modes_copy_live_extents_only", || {
        let pool = pool(&PoolOptions { prealloc: true, ..PoolOptions::default() });
        assert!(pool.stats().resident_bytes >= 256 << 20);
        let blocks = blocks(&pool, 1);
        let large = pool.alloc(100 * MIB);
        // SAFETY: live, and then not used again.
        unsafe {
            large.write_bytes(9, 100 * MIB);
            pool.free(large);
        }
        for mode in [ForkMode::Copy, ForkMode::CopyOrPrivate] {
            let pid = fork_with(mode, || {
                let resident = pool.stats().resident_bytes;
                hold(&blocks, 1) && (19 << 20..32 << 20).contains(&resident)
            });
            assert!(ended_well(pid), "{mode:?}");
            assert_eq!(away(&pool), 0, "the parent is not touched");
        }
    });
}

/// The file of a child has the space that it needs, and no reserve: what it never had it does not give back.
#[test]
fn the_copy_of_a_preallocated_pool_has_no_reserve() {
    alone("the_copy_of_a_preallocated_pool_has_no_reserve", || {
        let disk = CString::new(env!("CARGO_TARGET_TMPDIR")).unwrap();
        for directory in [c"/dev/shm", disk.as_c_str()] {
            let options = PoolOptions { prealloc: true, ..PoolOptions::default() };
            let source = Source::in_directory(directory, 256 * MIB).unwrap();
            let pool = Pool::create(source, &options).unwrap();
            let blocks = blocks(&pool, 1);
            let pid = fork_with(ForkMode::Copy, || {
                let given_back = pool.trim();
                hold(&blocks, 1) && given_back < 4 * MIB
            });
            assert!(ended_well(pid), "{directory:?}");
            assert!(hold(&blocks, 1));
        }
    });
}

#[test]
fn a_child_without_handlers_leaves_pools_alone() {
    alone("a_child_without_handlers_leaves_pools_alone", || {
        let pool = pool(&PoolOptions::default());
        let anonymous =
            Pool::create(Source::anonymous(64 * MIB).unwrap(), &PoolOptions::default()).unwrap();
        let blocks = blocks(&pool, 1);
        // SAFETY: the child only uses the pools and exits.
        let pid = unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) };
        if pid == 0 {
            let mut fine = hold(&blocks, 1);
            for &(block, size) in &blocks {
                // SAFETY: live blocks, not used again in this process.
                unsafe {
                    fine &= pool.usable_size(block) >= size;
                    fine &= pool.realloc(block, size / 2 + 1) == block;
                    pool.free(block);
                }
            }
            fine &= pool.alloc(24).is_null() && pool.alloc(1 << 20).is_null();
            fine &= pool.alloc_aligned(4096, 100).is_null() && pool.trim() == 0;
            // Memory that is private anyway goes on serving.
            fine &= !anonymous.alloc(24).is_null();
            // And a fork with handlers does nothing.
            let inner = fork_with(ForkMode::Private, || pool.alloc(24).is_null());
            fine &= ended_well(inner);
            drop(pool);
            // SAFETY: ends this child.
            unsafe { libc::_exit(if fine { 0 } else { 1 }) };
        }
        assert!(pid > 0);
        assert!(ended_well(pid as i32));
        assert!(hold(&blocks, 1));
        pool.check().unwrap();
        let others = self::blocks(&pool, 2);
        assert!(hold(&blocks, 1) && hold(&others, 2));
    });
}
