//! Blocks for layouts: aligned, as large as asked for, with their content, whatever the way they came.

use std::alloc::{GlobalAlloc, Layout};
use vmem_engine::{Pool, PoolOptions, VmemAlloc};

/// The layout-based calls of both kinds of heap.
trait Calls {
    fn alloc(&self, layout: Layout) -> *mut u8;
    fn alloc_zeroed(&self, layout: Layout) -> *mut u8;
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8;
    unsafe fn free(&self, block: *mut u8, layout: Layout);
}

impl Calls for Pool {
    fn alloc(&self, layout: Layout) -> *mut u8 {
        self.alloc_layout(layout)
    }
    fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        self.alloc_layout_zeroed(layout)
    }
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: forwarded.
        unsafe { self.realloc_layout(block, layout, size) }
    }
    unsafe fn free(&self, block: *mut u8, _layout: Layout) {
        // SAFETY: forwarded.
        unsafe { Pool::free(self, block) }
    }
}

impl Calls for VmemAlloc {
    fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the sizes here are not 0.
        unsafe { GlobalAlloc::alloc(self, layout) }
    }
    fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the sizes here are not 0.
        unsafe { GlobalAlloc::alloc_zeroed(self, layout) }
    }
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: forwarded.
        unsafe { GlobalAlloc::realloc(self, block, layout, size) }
    }
    unsafe fn free(&self, block: *mut u8, layout: Layout) {
        // SAFETY: forwarded.
        unsafe { self.dealloc(block, layout) }
    }
}

fn pool(size: usize) -> Pool {
    let source = pmem_core::source::Source::anonymous(size).unwrap();
    Pool::create(source, &PoolOptions::default()).unwrap()
}

fn layout(size: usize, align: usize) -> Layout {
    Layout::from_size_align(size, align).unwrap()
}

/// Bytes that differ from place to place.
fn stamp(at: usize) -> u8 {
    (at * 31 + at / 251) as u8 | 1
}

/// Offsets that are checked: all of a small block, the ends and some in between of a large one.
fn probes(len: usize) -> impl Iterator<Item = usize> {
    (0..len).step_by((len / 64).max(1)).chain(len.checked_sub(1))
}

const SIZES: [usize; 14] =
    [1, 7, 8, 9, 15, 16, 17, 48, 100, 1000, 4096, 5000, 70_000, (256 << 10) + 1];

/// Every alignment up to `most` with every size: fresh, zeroed after use by others, and resized to
/// every other size.
fn sweep(calls: &impl Calls, most: usize, sizes: &[usize]) {
    let mut align = 1;
    while align <= most {
        for &size in sizes {
            let layout = layout(size, align);
            let dirty = calls.alloc(layout);
            assert!(!dirty.is_null() && dirty.addr().is_multiple_of(align), "{layout:?}");
            // SAFETY: blocks of these layouts, each freed once.
            unsafe {
                dirty.write_bytes(0xEE, size);
                calls.free(dirty, layout);
                let zeroed = calls.alloc_zeroed(layout);
                assert!(!zeroed.is_null() && zeroed.addr().is_multiple_of(align), "{layout:?}");
                assert!(probes(size).all(|at| zeroed.add(at).read() == 0), "{layout:?}");
                calls.free(zeroed, layout);
                for &new_size in sizes {
                    resize(calls, layout, new_size);
                }
            }
        }
        align *= 2;
    }
}

/// # Safety
/// The heap is sound; that is what is tested.
unsafe fn resize(calls: &impl Calls, old: Layout, size: usize) {
    let block = calls.alloc(old);
    assert!(!block.is_null(), "{old:?}");
    // SAFETY: a block of this layout, then one of the new size; freed once.
    unsafe {
        for at in probes(old.size()) {
            block.add(at).write(stamp(at));
        }
        let new = calls.realloc(block, old, size);
        assert!(!new.is_null() && new.addr().is_multiple_of(old.align()), "{old:?} to {size}");
        for at in probes(old.size()).filter(|&at| at < size) {
            assert_eq!(new.add(at).read(), stamp(at), "{old:?} to {size} at {at}");
        }
        new.write_bytes(0xDD, size);
        calls.free(new, layout(size, old.align()));
    }
}

#[test]
fn blocks_of_a_pool() {
    let (most, sizes) = if cfg!(miri) { (64, &SIZES[2..6]) } else { (8 << 20, &SIZES[..]) };
    let pool = pool(64 << 20);
    sweep(&pool, most, sizes);
    assert_eq!(pool.stats().allocated_bytes, 0);
    pool.check().unwrap();
}

#[test]
#[cfg_attr(miri, ignore = "fork handlers")]
fn blocks_of_a_global_allocator() {
    static A: VmemAlloc = VmemAlloc::anonymous(64 << 20).ignore_env();
    sweep(&A, 8 << 20, &SIZES);
    assert_eq!(A.stats().unwrap().allocated_bytes, 0);
    A.check().unwrap();
}

/// Fills a pool with page runs of all sizes, so that nothing of a page or more is left.
fn fill(pool: &Pool) {
    for shift in (0..=25).rev() {
        while !pool.alloc(1 << shift).is_null() {}
    }
}

#[test]
#[cfg_attr(miri, ignore = "fills a pool")]
fn in_a_full_pool_growing_fails_and_keeps_the_block_and_shrinking_succeeds() {
    let pool = pool(16 << 20);
    for align in [8, 64, 4096, 16384] {
        let old = layout(600_000, align);
        let block = pool.alloc_layout(old);
        assert!(!block.is_null());
        fill(&pool);
        // SAFETY: a live block of this layout, followed by one of fewer bytes.
        unsafe {
            block.write_bytes(7, 600_000);
            assert!(pool.realloc_layout(block, old, 20 << 20).is_null());
            assert_eq!(block.add(599_999).read(), 7);
            let small = pool.realloc_layout(block, old, 100_000);
            assert!(!small.is_null() && small.addr().is_multiple_of(align), "align {align}");
            assert_eq!(small.add(99_999).read(), 7);
            pool.free(small);
        }
    }
    pool.check().unwrap();
}

#[test]
fn layouts_that_cannot_be_had_give_null() {
    let pool = pool(16 << 20);
    let half = isize::MAX.unsigned_abs() / 2;
    for layout in [layout(32 << 20, 8), layout(half, 1), layout(64, 1 << 40), layout(1, 1 << 62)] {
        assert!(pool.alloc_layout(layout).is_null(), "{layout:?}");
        assert!(pool.alloc_layout_zeroed(layout).is_null(), "{layout:?}");
    }
    assert!(pool.alloc_aligned(3, 8).is_null());
    pool.check().unwrap();
}
