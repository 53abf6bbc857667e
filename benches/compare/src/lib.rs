//! The allocators that `cargo bench` compares in one process, and a global allocator that can be switched
//! between them.
//!
//! Each peer is behind a feature. Ours are there as a global allocator ([`vmem::VmemAlloc`]), and as pools in
//! a directory and in anonymous memory with the interface of allocator-api2.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ptr::{self, NonNull};
use std::sync::LazyLock;

use vmem::allocator_api2::alloc::Allocator;
use vmem::{Pool, VmemAlloc};

/// Size limit of our pools; space is taken as it is needed.
const POOL_BYTES: usize = 4 << 30;

/// Names the directory of our pools, here as in programs on [`VmemAlloc`].
const DIRECTORY_VARIABLE: &str = "VMEM_ALLOC_DIR";

static VMEM: VmemAlloc = VmemAlloc::in_dir(c"/dev/shm", POOL_BYTES);
static VMEM_POOL: LazyLock<InPool> = LazyLock::new(|| {
    let directory = std::env::var_os(DIRECTORY_VARIABLE).unwrap_or_else(|| "/dev/shm".into());
    InPool(Pool::in_directory(directory, POOL_BYTES).expect("a pool can be made"))
});
static VMEM_ANONYMOUS: LazyLock<InPool> =
    LazyLock::new(|| InPool(Pool::anonymous(POOL_BYTES).expect("a pool can be made")));

/// A pool behind the interface that all others have; its own is what containers call.
struct InPool(Pool);

impl InPool {
    fn start(block: Result<NonNull<[u8]>, impl Sized>) -> *mut u8 {
        block.map_or(ptr::null_mut(), |block| block.as_ptr().cast())
    }
}

// SAFETY: blocks of the pool are as large and aligned as asked for, and live until they are freed.
unsafe impl GlobalAlloc for InPool {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::start((&&self.0).allocate(layout))
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's contract: a live block, which is not null.
        unsafe { (&&self.0).deallocate(NonNull::new_unchecked(block), layout) }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's contract: the size does not overflow when it is rounded up.
        let new = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        // SAFETY: as above; a live block of this layout.
        let block = unsafe { NonNull::new_unchecked(block) };
        // SAFETY: as above.
        Self::start(unsafe {
            if size > layout.size() {
                (&&self.0).grow(block, layout, new)
            } else {
                (&&self.0).shrink(block, layout, new)
            }
        })
    }
}

/// Something to do with any of the allocators, compiled for each.
pub trait Visit {
    /// Does it.
    fn visit<A: GlobalAlloc + Sync>(&mut self, name: &str, allocator: &'static A);
}

/// The names of all allocators that were compiled in.
pub fn names() -> Vec<&'static str> {
    let mut names = vec!["system", "vmem-global", "vmem-pool", "vmem-pool-anonymous"];
    for (is_there, name) in [
        (cfg!(feature = "mimalloc"), "mimalloc"),
        (cfg!(feature = "snmalloc"), "snmalloc"),
        (cfg!(feature = "rpmalloc"), "rpmalloc"),
        (cfg!(feature = "jemalloc"), "jemalloc"),
    ] {
        if is_there {
            names.push(name);
        }
    }
    names
}

/// Calls the visitor with the allocator of this name.
///
/// # Panics
/// There is none of this name.
pub fn visit(name: &str, visitor: &mut impl Visit) {
    match name {
        "system" => visitor.visit(name, &System),
        "vmem-global" => visitor.visit(name, &VMEM),
        "vmem-pool" => visitor.visit(name, &*VMEM_POOL),
        "vmem-pool-anonymous" => visitor.visit(name, &*VMEM_ANONYMOUS),
        #[cfg(feature = "mimalloc")]
        "mimalloc" => visitor.visit(name, &mimalloc::MiMalloc),
        #[cfg(feature = "snmalloc")]
        "snmalloc" => visitor.visit(name, &snmalloc_rs::SnMalloc),
        #[cfg(feature = "rpmalloc")]
        "rpmalloc" => visitor.visit(name, &rpmalloc::RpMalloc),
        #[cfg(feature = "jemalloc")]
        "jemalloc" => visitor.visit(name, &tikv_jemallocator::Jemalloc),
        _ => panic!("no allocator '{name}'"),
    }
}

thread_local! {
    /// What serves this thread; the system's allocator if nothing else is said.
    static CURRENT: Cell<Option<&'static (dyn GlobalAlloc + Sync)>> = const { Cell::new(None) };
}

/// The containers of the standard library take no allocator: this one hands their calls on to the one
/// under test. The detour costs the same for all.
struct Switch;

#[global_allocator]
static SWITCH: Switch = Switch;

// SAFETY: each call is handed on unchanged, and the contract of `within` keeps blocks with those who
// allocated them.
unsafe impl GlobalAlloc for Switch {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's contract.
        unsafe {
            match CURRENT.get() {
                None => System.alloc(layout),
                Some(current) => current.alloc(layout),
            }
        }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's contract.
        unsafe {
            match CURRENT.get() {
                None => System.alloc_zeroed(layout),
                Some(current) => current.alloc_zeroed(layout),
            }
        }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's contract.
        unsafe {
            match CURRENT.get() {
                None => System.dealloc(block, layout),
                Some(current) => current.dealloc(block, layout),
            }
        }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's contract.
        unsafe {
            match CURRENT.get() {
                None => System.realloc(block, layout, size),
                Some(current) => current.realloc(block, layout, size),
            }
        }
    }
}

/// Does some work of this thread with all its allocations from `allocator`.
///
/// # Safety
/// The work frees all blocks that it allocates, and no others; what it returns holds no block.
#[inline]
pub unsafe fn within<R: Copy>(
    allocator: &'static (dyn GlobalAlloc + Sync),
    work: impl FnOnce() -> R,
) -> R {
    /// Switches back also when the work panics.
    struct Back(Option<&'static (dyn GlobalAlloc + Sync)>);
    impl Drop for Back {
        fn drop(&mut self) {
            CURRENT.set(self.0);
        }
    }
    let _back = Back(CURRENT.replace(Some(allocator)));
    work()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicIsize, Ordering};

    /// Blocks that were allocated here and not freed.
    struct Counting(AtomicIsize);

    // SAFETY: the system's allocator does everything.
    unsafe impl GlobalAlloc for Counting {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            self.0.fetch_add(1, Ordering::Relaxed);
            // SAFETY: the caller's contract.
            unsafe { System.alloc(layout) }
        }

        unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
            self.0.fetch_sub(1, Ordering::Relaxed);
            // SAFETY: the caller's contract.
            unsafe { System.dealloc(block, layout) }
        }
    }

    #[test]
    fn within_uses_the_allocator_and_nothing_stays() {
        static COUNTING: Counting = Counting(AtomicIsize::new(0));
        // SAFETY: the vector is gone at the end.
        let alive = unsafe {
            within(&COUNTING, || {
                let kept = vec![1u8; 100];
                std::hint::black_box(&kept);
                COUNTING.0.load(Ordering::Relaxed)
            })
        };
        assert_eq!(alive, 1);
        assert_eq!(COUNTING.0.load(Ordering::Relaxed), 0);
        drop(std::hint::black_box(vec![1u8; 100]));
        assert_eq!(COUNTING.0.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn every_allocator_keeps_what_is_written() {
        struct Check(usize);
        impl Visit for Check {
            fn visit<A: GlobalAlloc + Sync>(&mut self, name: &str, allocator: &'static A) {
                let layout = Layout::from_size_align(1000, 16).unwrap();
                // SAFETY: a block of this layout, grown, read within its size and freed.
                unsafe {
                    let block = allocator.alloc(layout);
                    assert!(!block.is_null() && block.addr().is_multiple_of(16), "{name}");
                    block.write_bytes(0xa5, 1000);
                    let grown = allocator.realloc(block, layout, 100_000);
                    assert_eq!(grown.add(999).read(), 0xa5, "{name}");
                    allocator.dealloc(grown, Layout::from_size_align(100_000, 16).unwrap());
                }
                self.0 += 1;
            }
        }
        let mut check = Check(0);
        for name in names() {
            visit(name, &mut check);
        }
        assert_eq!(check.0, names().len());
    }
}
