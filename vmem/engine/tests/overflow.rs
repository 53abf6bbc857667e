//! A heap whose pool is full and which goes on in DRAM.
#![cfg(not(miri))]

use std::alloc::{GlobalAlloc, Layout};
use std::ptr::NonNull;
use vmem_engine::config::OVERFLOW_STREAK;
use vmem_engine::{Overflow, VmemAlloc};

const SMALL: Layout = Layout::new::<[u64; 3]>();

fn alloc(allocator: &VmemAlloc, layout: Layout) -> *mut u8 {
    // SAFETY: the layouts here have a size.
    unsafe { allocator.alloc(layout) }
}

fn overflowed(allocator: &VmemAlloc) -> usize {
    allocator.overflow_stats().map_or(0, |stats| stats.allocated_bytes)
}

/// Allocates small blocks until the first of them overflows. Those in the pool are returned.
fn fill(allocator: &VmemAlloc) -> Vec<NonNull<u8>> {
    let mut blocks = Vec::new();
    while overflowed(allocator) == 0 {
        blocks.extend((0..100).filter_map(|_| NonNull::new(alloc(allocator, SMALL))));
    }
    blocks.truncate(blocks.len() - 100);
    blocks
}

/// Nanoseconds that the calling thread has worked.
fn thread_time() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is writable.
    assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut now) }, 0);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

#[test]
fn overflow_costs_about_as_much_as_allocation_in_a_pool_with_room() {
    static FULL: VmemAlloc = VmemAlloc::anonymous(14 << 20).overflow(Overflow::Dram).ignore_env();
    static ROOMY: VmemAlloc = VmemAlloc::anonymous(256 << 20).ignore_env();
    fill(&FULL);
    let time = |allocator: &VmemAlloc| {
        let start = thread_time();
        for _ in 0..50_000 {
            assert!(!alloc(allocator, SMALL).is_null());
        }
        thread_time() - start
    };
    time(&ROOMY); // makes the pool
    let (full, roomy) = (time(&FULL), time(&ROOMY));
    assert!(full < roomy * 20, "full {full} ns, with room {roomy} ns");
    assert!(overflowed(&FULL) >= 50_000 * 24);
}

#[test]
fn a_pool_that_has_room_again_is_used_again() {
    static A: VmemAlloc = VmemAlloc::anonymous(14 << 20).overflow(Overflow::Dram).ignore_env();
    let blocks = fill(&A);
    assert!(A.stats().unwrap().allocated_bytes > 12 << 20);
    for block in blocks {
        // SAFETY: allocated with this layout, freed once.
        unsafe { A.dealloc(block.as_ptr(), SMALL) };
    }
    let before = overflowed(&A);
    // Blocks that no thread cache holds.
    let page_run = Layout::from_size_align(300 << 10, 8).unwrap();
    let streak = OVERFLOW_STREAK as usize;
    for _ in 0..streak + 20 {
        let block = alloc(&A, page_run);
        // SAFETY: allocated with this layout, freed once.
        unsafe { A.dealloc(block, page_run) };
    }
    assert_eq!(overflowed(&A), before, "everything was freed");
    let block = alloc(&A, page_run);
    assert!(!block.is_null());
    assert_eq!(overflowed(&A), before, "the pool is used again");
    A.check().unwrap();
}

#[test]
fn a_larger_failure_does_not_send_smaller_requests_away() {
    static A: VmemAlloc = VmemAlloc::anonymous(14 << 20).overflow(Overflow::Dram).ignore_env();
    let large = Layout::from_size_align(20 << 20, 8).unwrap();
    assert!(!alloc(&A, large).is_null());
    let before = overflowed(&A);
    for size in [8, 1000, 100_000, 1 << 20, 8 << 20] {
        assert!(!alloc(&A, Layout::from_size_align(size, 8).unwrap()).is_null());
    }
    assert_eq!(overflowed(&A), before);
}
