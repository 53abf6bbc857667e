//! Forks of a process whose slabs have pages that were given back, or are on their way.
#![cfg(not(miri))]

#[path = "support/random.rs"]
#[allow(dead_code, reason = "shared by several tests")]
mod random;
#[path = "support/thinning.rs"]
#[allow(dead_code, reason = "shared by several tests")]
mod thinning;

use pmem_core::source::Source;
use random::Random;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use thinning::{Block, MIB, MODES, fill, free_all, sources, thin_out};
use vmem_engine::fork::{self, ForkMode};
use vmem_engine::{Pool, PoolOptions, PurgePolicy};

/// Forks here must not meet each other.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Forks, runs `in_child` there and `in_parent` here; whether the child ended well.
fn fork_with(mode: ForkMode, in_child: impl FnOnce() -> bool, in_parent: impl FnOnce()) -> bool {
    // SAFETY: the handlers are called as they ask for; the child only uses the pool and exits.
    unsafe {
        fork::prepare(mode).unwrap();
        let pid = libc::fork();
        if pid == 0 {
            let body = || fork::child().is_ok() && in_child();
            let fine = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
            libc::_exit(if fine.unwrap_or(false) { 0 } else { 1 });
        }
        fork::parent();
        in_parent();
        let mut status = 0;
        assert_eq!(libc::waitpid(pid, &raw mut status, 0), pid);
        libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0
    }
}

/// Uses slabs with punched pages: takes some again, punches others.
fn breathe(pool: &Pool, stamp: u8) -> bool {
    let mut random = Random::new(u64::from(stamp));
    for size in [112, 1000, 5000] {
        let blocks: Vec<Block> =
            (0..MIB / size).map(|_| Block::new(pool, size, stamp).unwrap()).collect();
        let kept = thin_out(pool, blocks, 20, &mut random);
        pool.trim();
        if !kept.iter().all(Block::is_whole) {
            return false;
        }
        kept.into_iter().for_each(|block| block.free(pool));
    }
    pool.check().is_ok()
}

const FORK_MODES: [ForkMode; 4] =
    [ForkMode::Share, ForkMode::Private, ForkMode::Copy, ForkMode::CopyOrPrivate];

/// Parent and child both use slabs that had punched pages at the fork.
#[test]
fn forks_find_slabs_with_punched_pages() {
    let _alone = ONE_AT_A_TIME.lock().unwrap();
    for (mode, harden) in FORK_MODES.into_iter().flat_map(|mode| MODES.map(|hard| (mode, hard))) {
        for (name, source) in sources() {
            let pool =
                Pool::create(source, &PoolOptions { harden, ..PoolOptions::default() }).unwrap();
            let mut random = Random::new(6);
            let mut live = Vec::new();
            for size in [112, 1000, 5000] {
                live.extend(thin_out(&pool, fill(&pool, size, 2 * MIB), 30, &mut random));
            }
            pool.trim();
            let whole = || live.iter().all(Block::is_whole);
            let fine = fork_with(
                mode,
                || pool.check().is_ok() && whole() && breathe(&pool, 101) && whole(),
                || {
                    pool.check().unwrap();
                    assert!(whole() && breathe(&pool, 103) && whole());
                },
            );
            assert!(fine, "{mode:?}, {harden:?}, {name}");
            pool.check().unwrap();
            free_all(&pool, live);
        }
    }
}

/// Forks come at any moment while other threads give pages back and take them again; what lives is whole
/// in parent and child, and both go on.
#[test]
fn forks_meet_pages_on_their_way() {
    let _alone = ONE_AT_A_TIME.lock().unwrap();
    for mode in FORK_MODES {
        let options = PoolOptions { purge: PurgePolicy::AfterMs(1), ..PoolOptions::default() };
        let source = Source::in_directory(c"/dev/shm", 256 * MIB).unwrap();
        let pool = Pool::create(source, &options).unwrap();
        let mut random = Random::new(8);
        let mut live = thin_out(&pool, fill(&pool, 1000, 4 * MIB), 30, &mut random);
        live.extend(thin_out(&pool, fill(&pool, 112, MIB), 30, &mut random));
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let threads = [1, 3].map(|stamp| {
                let (pool, stop) = (&pool, &stop);
                scope.spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        assert!(breathe(pool, stamp));
                    }
                })
            });
            for round in 0..12 {
                let whole = || live.iter().all(Block::is_whole);
                let fine = fork_with(
                    mode,
                    || whole() && breathe(&pool, 105) && whole() && pool.check().is_ok(),
                    || assert!(whole() && breathe(&pool, 107)),
                );
                assert!(fine, "{mode:?}, round {round}");
            }
            stop.store(true, Ordering::Relaxed);
            // Joining waits for the thread's exit hook; the end of the scope does not.
            for thread in threads {
                thread.join().unwrap();
            }
        });
        pool.check().unwrap();
        free_all(&pool, live);
    }
}

/// Holes by the thousand would take a mapping each: they are filled before a fork.
#[test]
fn many_holes_are_filled_before_a_fork() {
    let _alone = ONE_AT_A_TIME.lock().unwrap();
    let source = Source::in_directory(c"/dev/shm", 1024 * MIB).unwrap();
    let pool = Pool::create(source, &PoolOptions::default()).unwrap();
    // One page in eight.
    let mut live = Vec::new();
    for (n, block) in fill(&pool, 4096, 512 * MIB).into_iter().enumerate() {
        if n % 8 == 0 { live.push(block) } else { block.free(&pool) }
    }
    pool.trim();
    let mappings = || std::fs::read_to_string("/proc/self/maps").unwrap().lines().count();
    let before = mappings();
    let punched = pool.stats().committed_bytes;
    let whole = || live.iter().all(Block::is_whole);
    assert!(fork_with(
        ForkMode::Private,
        || whole() && breathe(&pool, 9),
        || {
            assert!(mappings() < before + 10_000, "{} and {before}", mappings());
            assert!(pool.stats().committed_bytes > 4 * punched);
            assert!(whole() && breathe(&pool, 11));
        }
    ));
    assert!(whole());
    free_all(&pool, live);
}
