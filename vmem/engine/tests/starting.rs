//! The first allocation of a heap: who makes the pool, and what happens when that fails.
#![cfg(not(miri))]

use pmem_core::errno::Errno;
use pmem_core::source::Source;
use std::alloc::{GlobalAlloc, Layout};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use vmem_engine::{
    Backing, Heap, Overflow, Policy, Pool, PoolOptions, PurgePolicy, Runtime, VmemAlloc, fork,
};

const SMALL: Layout = Layout::new::<[u64; 8]>();

fn alloc(allocator: &VmemAlloc, layout: Layout) -> *mut u8 {
    // SAFETY: the layouts here have a size.
    unsafe { allocator.alloc(layout) }
}

#[test]
fn without_a_pool_every_allocation_fails() {
    static A: VmemAlloc =
        VmemAlloc::in_dir(c"/nowhere/at/all", 64 << 20).on_failure(Policy::Fail).ignore_env();
    assert_eq!((A.backing(), A.failure()), (Backing::NotMade, None));
    for _ in 0..3 {
        assert!(alloc(&A, SMALL).is_null());
        assert_eq!(Errno::last(), Errno::ENOMEM);
    }
    assert_eq!(A.backing(), Backing::Nothing);
    let failure = A.failure().unwrap();
    assert_eq!((failure.operation, failure.errno), ("open", Errno::ENOENT));
    assert!(A.stats().is_none() && A.trim() == 0 && A.check().is_ok());
}

#[test]
fn without_a_pool_dram_takes_its_place() {
    static A: VmemAlloc =
        VmemAlloc::in_dir(c"/proc/self/status", 20 << 20).on_failure(Policy::Dram).ignore_env();
    let block = alloc(&A, SMALL);
    assert!(!block.is_null() && A.contains(block));
    assert_eq!(A.backing(), Backing::Dram);
    assert_eq!(A.failure().unwrap().errno, Errno::ENOTDIR);
    assert_eq!(A.stats().unwrap().pool_bytes, 20 << 20);
    let too_much = Layout::from_size_align(21 << 20, 8).unwrap();
    assert!(alloc(&A, too_much).is_null(), "the size limit holds in DRAM too");
    // SAFETY: allocated above.
    unsafe { A.dealloc(block, SMALL) };
    assert_eq!(A.stats().unwrap().allocated_bytes, 0);
}

#[test]
fn nodes_that_make_no_sense_are_a_failure_like_others() {
    static A: VmemAlloc =
        VmemAlloc::on_nodes("zero", 64 << 20).on_failure(Policy::Fail).ignore_env();
    assert!(alloc(&A, SMALL).is_null());
    assert_eq!(A.failure().unwrap().operation, "mbind");
    static B: VmemAlloc = VmemAlloc::on_device(c"/dev/null").on_failure(Policy::Dram).ignore_env();
    assert!(!alloc(&B, SMALL).is_null());
    assert_eq!(B.failure().unwrap().errno, Errno::EINVAL);
}

#[test]
fn a_full_pool_overflows_only_where_that_is_wanted() {
    static STRICT: VmemAlloc = VmemAlloc::in_dir(c"/dev/shm", 16 << 20).ignore_env();
    static LAX: VmemAlloc = VmemAlloc::in_dir(c"/dev/shm", 16 << 20)
        .overflow(Overflow::Dram)
        .prealloc()
        .purge(PurgePolicy::Never)
        .dump(false)
        .ignore_env();
    let large = Layout::from_size_align(10 << 20, 4096).unwrap();
    for allocator in [&STRICT, &LAX] {
        assert!(!alloc(allocator, large).is_null());
        assert_eq!(allocator.backing(), Backing::Pool);
    }
    assert!(alloc(&STRICT, large).is_null());
    assert!(STRICT.overflow_stats().is_none());
    let spilled = alloc(&LAX, large);
    assert!(!spilled.is_null() && LAX.contains(spilled));
    assert_eq!(LAX.overflow_stats().unwrap().allocated_bytes, 10 << 20);
    assert_eq!(LAX.stats().unwrap().committed_bytes, 16 << 20, "preallocated");
    // SAFETY: allocated above.
    unsafe {
        let grown = LAX.realloc(spilled, large, 30 << 20);
        assert!(!grown.is_null());
        LAX.dealloc(grown, Layout::from_size_align(30 << 20, 4096).unwrap());
    }
    assert_eq!(LAX.overflow_stats().unwrap().allocated_bytes, 0);
    LAX.check().unwrap();
}

#[test]
fn threads_that_come_first_together_share_one_pool() {
    static A: VmemAlloc = VmemAlloc::in_dir(c"/dev/shm", 64 << 20).ignore_env();
    let blocks: Vec<_> = thread::scope(|scope| {
        let workers: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let block = alloc(&A, SMALL);
                    assert!(A.contains(block));
                    block.expose_provenance()
                })
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).collect()
    });
    assert!(blocks.iter().all(|block| *block != 0));
    assert_eq!(A.stats().unwrap().allocated_bytes, 8 * SMALL.size());
}

#[test]
fn calls_are_counted_when_asked_for() {
    static A: VmemAlloc = VmemAlloc::anonymous(16 << 20).ignore_env();
    assert!(A.call_counts().is_none());
    A.count_calls();
    for _ in 0..1000 {
        let block = alloc(&A, SMALL);
        // SAFETY: allocated above.
        unsafe { A.dealloc(block, SMALL) };
    }
    let counts = A.call_counts().unwrap();
    assert_eq!((counts.allocations, counts.frees), (1000, 1000));
}

/// Its first pool is never finished, every other one is made at once.
struct Stuck {
    calls: AtomicU32,
    overflow_calls: AtomicU32,
}

impl Stuck {
    fn make(calls: &AtomicU32) -> Option<Pool> {
        if calls.fetch_add(1, Ordering::Relaxed) == 0 {
            thread::sleep(Duration::from_secs(3600));
        }
        Pool::create(Source::anonymous(16 << 20).ok()?, &PoolOptions::default()).ok()
    }
}

impl Runtime for Stuck {
    const SOLE: bool = false;
    fn create(&self) -> Option<Pool> {
        Stuck::make(&self.calls)
    }
    fn create_overflow(&self) -> Option<Pool> {
        Stuck::make(&self.overflow_calls)
    }
    fn out_of_memory(&self) {}
    unsafe fn foreign_free(&self, _: *mut u8) {}
    unsafe fn foreign_realloc(&self, _: *mut u8, _: usize) -> *mut u8 {
        std::ptr::null_mut()
    }
    unsafe fn foreign_usable_size(&self, _: *mut u8) -> usize {
        0
    }
}

static STUCK: Heap<Stuck> =
    Heap::new(Stuck { calls: AtomicU32::new(0), overflow_calls: AtomicU32::new(0) });
static STUCK_OVERFLOW: Heap<Stuck> =
    Heap::new(Stuck { calls: AtomicU32::new(1), overflow_calls: AtomicU32::new(0) });

/// Forks, and tells whether `in_child` returned true there within a minute.
fn child_succeeds(in_child: impl FnOnce() -> bool) -> bool {
    // SAFETY: the child only uses heaps, which are made for that, and ends.
    unsafe {
        let pid = libc::fork();
        if pid == 0 {
            libc::alarm(60);
            libc::_exit(if in_child() { 0 } else { 1 });
        }
        assert!(pid > 0);
        let mut status = 0;
        assert_eq!(libc::waitpid(pid, &raw mut status, 0), pid);
        libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0
    }
}

fn wait_for(calls: &AtomicU32) {
    let start = Instant::now();
    while calls.load(Ordering::Relaxed) == 0 {
        assert!(start.elapsed() < Duration::from_secs(60), "the thread does not come");
        thread::yield_now();
    }
}

#[test]
fn a_child_makes_the_pool_that_a_vanished_thread_was_making() {
    fork::install().unwrap();
    thread::spawn(|| STUCK.alloc(8).is_null());
    wait_for(&STUCK.runtime().calls);
    assert!(child_succeeds(|| !STUCK.alloc(8).is_null()));
}

#[test]
fn a_child_makes_the_overflow_that_a_vanished_thread_was_making() {
    fork::install().unwrap();
    assert!(!STUCK_OVERFLOW.alloc(8).is_null());
    thread::spawn(|| STUCK_OVERFLOW.alloc(20 << 20).is_null());
    wait_for(&STUCK_OVERFLOW.runtime().overflow_calls);
    assert!(child_succeeds(|| !STUCK_OVERFLOW.alloc(16 << 20).is_null()));
}

#[test]
fn installing_fork_handlers_again_does_nothing() {
    for _ in 0..3 {
        fork::install().unwrap();
    }
    let source = Source::in_directory(c"/dev/shm", 16 << 20).unwrap();
    let pool = Pool::create(source, &PoolOptions::default()).unwrap();
    let block = pool.alloc(100);
    // SAFETY: a live block of this size.
    unsafe {
        block.write_bytes(1, 100);
        assert!(child_succeeds(|| {
            block.write_bytes(2, 100);
            !pool.alloc(100).is_null()
        }));
        assert_eq!(block.read(), 1, "the child has its own bytes");
    }
}

#[test]
fn a_head_that_leaves_nothing_is_refused() {
    for (head_bytes, fits) in
        [(0, true), (1, true), (15 << 20, true), (16 << 20, false), (usize::MAX, false)]
    {
        let source = Source::anonymous(16 << 20).unwrap();
        let options = PoolOptions { head_bytes, ..PoolOptions::default() };
        let result = Pool::create(source, &options);
        assert_eq!(result.is_ok(), fits, "{head_bytes}");
        assert!(result.map_or_else(|error| error.errno == Errno::EINVAL, |p| p.check().is_ok()));
    }
}

#[test]
fn a_decay_in_time_units_becomes_a_policy() {
    assert_eq!(PurgePolicy::from(Duration::ZERO), PurgePolicy::Immediate);
    assert_eq!(PurgePolicy::from(Duration::from_nanos(1)), PurgePolicy::AfterMs(1));
    assert_eq!(PurgePolicy::from(Duration::from_secs(2)), PurgePolicy::AfterMs(2000));
    assert_eq!(PurgePolicy::from(Duration::MAX), PurgePolicy::AfterMs(u32::MAX));
}
