//! Hardened pools: each error of a program ends it with one line that tells what happened, and a
//! program without errors notices nothing.
#![cfg(not(miri))]

use pmem_core::source::Source;
use std::alloc::{GlobalAlloc, Layout};
use std::env;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, exit};
use std::ptr;
use vmem_engine::{Harden, Overflow, Pool, PoolOptions, PurgePolicy, VmemAlloc};

const VARIABLE: &str = "VMEM_ENGINE_TEST_ERROR";

/// Runs `body` in a process of its own, which must abort with one line that contains all `parts`.
/// `test` is the calling test's own name.
fn dies(test: &str, parts: &[&str], body: impl FnOnce()) {
    dies_with(test, 0, parts, body);
}

/// As [`dies`], once for each of several numbers: the child runs the body of its own.
fn dies_with(test: &str, number: usize, parts: &[&str], body: impl FnOnce()) {
    let name = format!("{test} {number}");
    if let Ok(wanted) = env::var(VARIABLE) {
        if wanted == name {
            body();
            exit(0);
        }
        return;
    }
    let output = Command::new(env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(VARIABLE, &name)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{test}: {:?}\n{text}", output.status);
    let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("vmem: ")).collect();
    let [line] = lines[..] else { panic!("{test}: not one line:\n{text}") };
    for part in parts {
        assert!(line.contains(part), "{test}: {part:?} is not in {line:?}");
    }
}

fn pool_with(harden: Harden) -> Pool {
    let options = PoolOptions { harden, ..PoolOptions::default() };
    Pool::create(Source::anonymous(64 << 20).unwrap(), &options).unwrap()
}

/// A pool of which the calling thread has a cache.
fn pool() -> Pool {
    let pool = pool_with(Harden::Checks);
    use_a_while(&pool, 48);
    pool
}

fn use_a_while(pool: &Pool, size: usize) {
    for _ in 0..200 {
        let block = pool.alloc(size);
        assert!(!block.is_null());
        // SAFETY: allocated just now.
        unsafe { pool.free(block) };
    }
}

#[test]
fn a_block_freed_twice_in_a_row_is_noticed_at_once() {
    for harden in [Harden::Checks, Harden::Poison] {
        dies_with(
            "a_block_freed_twice_in_a_row_is_noticed_at_once",
            harden as usize,
            &["double free of block 0x", "(size class 48)", "free() found it free"],
            || {
                let pool = pool_with(harden);
                use_a_while(&pool, 48);
                let block = pool.alloc(40);
                // SAFETY: the second one is the error that this test is about.
                unsafe {
                    pool.free(block);
                    pool.free(block);
                }
            },
        );
    }
}

#[test]
fn a_double_free_is_noticed_with_other_frees_in_between_and_without_a_cache() {
    dies(
        "a_double_free_is_noticed_with_other_frees_in_between_and_without_a_cache",
        &["double free of block 0x", "(size class 112)"],
        || {
            let pool = pool_with(Harden::Checks);
            let blocks: Vec<*mut u8> = (0..20).map(|_| pool.alloc(100)).collect();
            // SAFETY: the last one is the error that this test is about.
            unsafe {
                blocks.iter().for_each(|&block| pool.free(block));
                pool.free(blocks[3]);
            }
        },
    );
}

#[test]
fn a_double_free_by_another_thread_is_noticed() {
    dies(
        "a_double_free_by_another_thread_is_noticed",
        &["double free of block 0x", "(size class 1024)"],
        || {
            let pool = pool();
            use_a_while(&pool, 1000);
            let block = pool.alloc(1000).expose_provenance();
            // SAFETY: the second one is the error that this test is about.
            let free = || unsafe { pool.free(ptr::with_exposed_provenance_mut(block)) };
            free();
            std::thread::scope(|scope| scope.spawn(free).join().unwrap());
        },
    );
}

#[test]
fn a_double_free_of_whole_pages_is_noticed() {
    dies(
        "a_double_free_of_whole_pages_is_noticed",
        &["double free of block 0x", "(pages)"],
        || {
            let pool = pool();
            let (block, _other) = (pool.alloc(500_000), pool.alloc(500_000));
            // SAFETY: the second one is the error that this test is about.
            unsafe {
                pool.free(block);
                pool.free(block);
            }
        },
    );
}

#[test]
fn a_pointer_into_a_block_is_not_a_block() {
    for inside in [16, 3] {
        dies_with(
            "a_pointer_into_a_block_is_not_a_block",
            inside,
            &["free(): not the start of a live block: 0x", " bytes inside block 0x", "class 112)"],
            || {
                let pool = pool();
                let block = pool.alloc(100);
                // SAFETY: this is the error that this test is about.
                unsafe { pool.free(block.add(inside)) };
            },
        );
    }
}

#[test]
fn a_pointer_into_whole_pages_is_not_a_block() {
    dies(
        "a_pointer_into_whole_pages_is_not_a_block",
        &["free(): not the start of a live block: 0x", "no block of pages starts there"],
        || {
            let pool = pool();
            let block = pool.alloc(500_000);
            // SAFETY: this is the error that this test is about.
            unsafe { pool.free(block.add(8192)) };
        },
    );
}

#[test]
fn a_slot_that_was_never_handed_out_is_not_a_block() {
    dies(
        "a_slot_that_was_never_handed_out_is_not_a_block",
        &["free(): not the start of a live block: 0x", "never allocated block 0x"],
        || {
            let pool = pool_with(Harden::Checks);
            let blocks: Vec<*mut u8> = (0..4).map(|_| pool.alloc(112)).collect();
            // The first slab is at the start of the pool.
            let slab = pool.range().0.addr().get();
            let unused = (0..256).map(|slot| slab + slot * 112);
            let unused = unused.filter(|&slot| blocks.iter().all(|block| block.addr() != slot));
            // SAFETY: these are the errors that this test is about.
            unused.for_each(|slot| unsafe { pool.free(ptr::with_exposed_provenance_mut(slot)) });
        },
    );
}

#[test]
fn a_pointer_outside_of_the_pool_is_named() {
    dies(
        "a_pointer_outside_of_the_pool_is_named",
        &["free(): not the start of a live block: 0x", ": not in the pool"],
        || {
            let foreign = Box::into_raw(Box::new(0_u64));
            // SAFETY: this is the error that this test is about.
            unsafe { pool().free(foreign.cast()) };
        },
    );
}

#[test]
fn a_realloc_of_a_free_block_is_noticed() {
    dies(
        "a_realloc_of_a_free_block_is_noticed",
        &["double free of block 0x", "realloc() found it free"],
        || {
            let pool = pool();
            let block = pool.alloc(40);
            // SAFETY: the second call is the error that this test is about.
            unsafe {
                pool.free(block);
                pool.realloc(block, 100);
            }
        },
    );
}

#[test]
fn one_zero_behind_a_block_is_noticed_whatever_its_size() {
    for size in [1, 9, 41, 47, 100, 1000, 3000, 70_000, 250_000, 300_001] {
        dies_with(
            "one_zero_behind_a_block_is_noticed_whatever_its_size",
            size,
            &[
                "heap overflow of block 0x",
                &format!("free() found a write behind its {size} bytes"),
            ],
            || {
                let pool = pool();
                let block = pool.alloc(size);
                // SAFETY: this is the error that this test is about.
                unsafe {
                    block.add(size).write(0);
                    pool.free(block);
                }
            },
        );
    }
}

#[test]
fn an_overflow_is_noticed_by_realloc() {
    dies(
        "an_overflow_is_noticed_by_realloc",
        &["heap overflow of block 0x", "realloc() found a write behind its 41 bytes"],
        || {
            let pool = pool();
            let block = pool.alloc(41);
            // SAFETY: this is the error that this test is about.
            unsafe {
                block.add(41).write(8);
                pool.realloc(block, 45);
            }
        },
    );
}

#[test]
fn an_overflow_after_a_resize_in_place_is_noticed() {
    dies(
        "an_overflow_after_a_resize_in_place_is_noticed",
        &["heap overflow of block 0x", "free() found a write behind its 43 bytes"],
        || {
            let pool = pool();
            let block = pool.alloc(41);
            // SAFETY: the write is the error that this test is about.
            unsafe {
                assert_eq!(pool.realloc(block, 43), block);
                block.add(43).write(8);
                pool.free(block);
            }
        },
    );
}

/// Blocks that fill their slot have room for a canary now and then.
#[test]
fn an_overflow_of_one_in_sixteen_blocks_without_slack_is_noticed() {
    dies(
        "an_overflow_of_one_in_sixteen_blocks_without_slack_is_noticed",
        &["heap overflow of block 0x", "behind its 64 bytes"],
        || {
            let pool = pool();
            use_a_while(&pool, 64);
            let blocks: Vec<*mut u8> = (0..16).map(|_| pool.alloc(64)).collect();
            for block in blocks {
                // SAFETY: this is the error that this test is about. What lies behind a slot of 64
                // bytes is in the same slab, or ours as well.
                unsafe {
                    block.add(64).write(0);
                    pool.free(block);
                }
            }
        },
    );
}

#[test]
fn a_write_to_a_freed_block_is_noticed_when_it_is_handed_out_again() {
    dies(
        "a_write_to_a_freed_block_is_noticed_when_it_is_handed_out_again",
        &["use after free of block 0x", "(size class 112)", "malloc() found byte 33 changed"],
        || {
            let pool = pool_with(Harden::Poison);
            use_a_while(&pool, 100);
            let block = pool.alloc(100);
            // SAFETY: the write is the error that this test is about.
            unsafe {
                pool.free(block);
                block.add(33).write(0);
            }
            (0..1000).for_each(|_| assert!(!pool.alloc(100).is_null()));
        },
    );
}

/// The block is in the cache of the heap's fast path.
#[test]
fn a_global_allocator_notices_the_same_errors() {
    static A: VmemAlloc =
        VmemAlloc::anonymous(64 << 20).harden(Harden::Checks).overflow(Overflow::Dram).ignore_env();
    let layout = Layout::from_size_align(50, 1).unwrap();
    let use_a_while = || {
        for _ in 0..100 {
            // SAFETY: allocated and freed with one layout.
            unsafe { A.dealloc(A.alloc(layout), layout) };
        }
    };
    dies("a_global_allocator_notices_the_same_errors", &["double free", "class 64)"], || {
        use_a_while();
        // SAFETY: the last call is the error that this test is about.
        unsafe {
            let block = A.alloc(layout);
            assert!(A.contains(block));
            A.dealloc(block, layout);
            A.dealloc(block, layout);
        }
    });
}

#[test]
fn a_global_allocator_notices_an_overflow() {
    static A: VmemAlloc = VmemAlloc::anonymous(64 << 20).harden(Harden::Checks).ignore_env();
    dies("a_global_allocator_notices_an_overflow", &["heap overflow", "its 50 bytes"], || {
        let layout = Layout::from_size_align(50, 1).unwrap();
        // SAFETY: the write is the error that this test is about.
        unsafe {
            let block = A.alloc(layout);
            block.add(50).write(2);
            A.dealloc(block, layout);
        }
    });
}

#[test]
fn an_overflow_pool_is_hardened_too() {
    static A: VmemAlloc =
        VmemAlloc::anonymous(14 << 20).harden(Harden::Checks).overflow(Overflow::Dram).ignore_env();
    dies("an_overflow_pool_is_hardened_too", &["double free of block 0x"], || {
        let layout = Layout::from_size_align(50, 1).unwrap();
        // SAFETY: the last call is the error that this test is about.
        unsafe {
            while A.overflow_stats().is_none() {
                assert!(!A.alloc(layout).is_null());
            }
            let block = A.alloc(layout);
            A.dealloc(block, layout);
            A.dealloc(block, layout);
        }
    });
}

/// A cache in a thread that has ended, a new thread, and a block that went from one to the other.
#[test]
fn blocks_may_be_freed_by_any_thread_once() {
    for harden in [Harden::Checks, Harden::Poison] {
        let pool = &pool_with(harden);
        for round in 0..20 {
            let blocks: Vec<(usize, usize)> = std::thread::scope(|scope| {
                let allocate = move |size: usize| (pool.alloc(size).expose_provenance(), size);
                scope.spawn(move || (1..500).map(allocate).collect()).join().unwrap()
            });
            std::thread::scope(|scope| {
                for part in blocks.chunks(250) {
                    scope.spawn(move || {
                        for &(block, size) in part {
                            let block = ptr::with_exposed_provenance_mut::<u8>(block);
                            // SAFETY: live blocks of this size, each in one part.
                            unsafe {
                                assert_eq!(pool.usable_size(block), size);
                                block.write_bytes(round, size);
                                pool.free(block);
                            }
                        }
                    });
                }
            });
            pool.check().unwrap();
        }
        pool.trim();
        assert_eq!(pool.stats().allocated_bytes, 0);
    }
}

#[test]
fn usable_is_what_was_asked_for() {
    let pool = pool();
    let asked_for = |size: usize| if size == 0 { 8 } else { size };
    for size in [0, 1, 8, 15, 16, 17, 100, 128, 129, 1000, 5000, 70_000, 262_144, 300_000, 3 << 20]
    {
        let block = pool.alloc(size);
        assert!(block.addr().is_multiple_of(16));
        // SAFETY: a live block of this size.
        unsafe {
            assert_eq!(pool.usable_size(block), asked_for(size));
            block.write_bytes(0xFF, size);
            let block = pool.realloc(block, size + 3);
            assert_eq!(pool.usable_size(block), size + 3);
            block.write_bytes(0xFF, size + 3);
            let block = pool.realloc(block, size / 3);
            assert_eq!(pool.usable_size(block), asked_for(size / 3));
            block.write_bytes(0xFF, size / 3);
            pool.free(block);
        }
        let block = pool.alloc_zeroed(size);
        // SAFETY: a live block of this size.
        unsafe {
            assert!((0..size).all(|at| block.add(at).read() == 0), "{size} zero bytes");
            pool.free(block);
        }
        let block = pool.alloc_aligned(256, size);
        assert!(block.addr().is_multiple_of(256));
        // SAFETY: a live block of this size.
        unsafe {
            assert_eq!(pool.usable_size(block), asked_for(size));
            block.write_bytes(0xFF, size);
            pool.free(block);
        }
    }
    pool.check().unwrap();
}

/// Blocks of a fresh slab, in the order of allocation.
fn order_of_slots(harden: Harden) -> Vec<isize> {
    let pool = pool_with(harden);
    let blocks: Vec<*mut u8> = (0..256).map(|_| pool.alloc(60)).collect();
    let steps = blocks.windows(2).map(|pair| pair[1].addr() as isize - pair[0].addr() as isize);
    steps.collect()
}

#[test]
fn slots_of_a_fresh_slab_come_in_random_order() {
    let in_order = |steps: &[isize]| steps.iter().filter(|&&step| step == 64).count();
    let (hardened, again) = (order_of_slots(Harden::Checks), order_of_slots(Harden::Checks));
    assert!(in_order(&order_of_slots(Harden::Off)) > 200);
    // 43 on average, with a deviation of 7.
    assert!(in_order(&hardened) < 110, "{hardened:?}");
    assert_ne!(hardened, again, "not the same order twice");
}

#[test]
fn a_freed_block_is_overwritten() {
    let pool = pool_with(Harden::Poison);
    for size in [100, 1000, 60_000] {
        use_a_while(&pool, size);
        let block = pool.alloc(size);
        // SAFETY: a live block; its memory stays the pool's when it is free.
        unsafe {
            block.write_bytes(1, size);
            pool.free(block);
            assert!((0..size).all(|at| block.add(at).read() == 0xDF), "{size} bytes");
        }
    }
}

/// A block that grows by little gets room to grow; only what was asked for is the program's.
#[test]
fn growing_blocks_are_guarded_at_every_length() {
    fn grown(allocator: &VmemAlloc, to: usize) -> *mut u8 {
        let layout = |size| Layout::from_size_align(size, 1).unwrap();
        // SAFETY: allocated and resized with its layout, and written inside.
        unsafe {
            let mut block = allocator.alloc(layout(16));
            let (mut moves, mut before) = (0, 16);
            block.write_bytes(16, 16);
            for size in (17..=to).chain((to / 2..to).rev()).chain(to / 2..=to) {
                let old = block;
                block = allocator.realloc(old, layout(before), size);
                moves += usize::from(block != old);
                let kept = before.min(size);
                assert!((0..kept).all(|at| block.add(at).read() == 16), "{size} bytes");
                block.write_bytes(16, size);
                before = size;
            }
            assert!(moves < 60, "{moves} of {to}");
            block
        }
    }
    static CHECKS: VmemAlloc = VmemAlloc::anonymous(64 << 20).harden(Harden::Checks).ignore_env();
    static POISON: VmemAlloc = VmemAlloc::anonymous(64 << 20).harden(Harden::Poison).ignore_env();
    for allocator in [&CHECKS, &POISON] {
        let block = grown(allocator, 3000);
        // SAFETY: live and not used again.
        unsafe { allocator.dealloc(block, Layout::from_size_align(3000, 1).unwrap()) };
        allocator.check().unwrap();
        assert_eq!(allocator.stats().unwrap().allocated_bytes, 0);
    }
    let test = "growing_blocks_are_guarded_at_every_length";
    for (number, size) in [33, 100, 1000, 1500].into_iter().enumerate() {
        let bytes = format!("its {size} bytes");
        dies_with(test, number, &["heap overflow", &bytes], || {
            // SAFETY: the write is the error that this test is about.
            unsafe {
                let block = grown(&CHECKS, size);
                block.add(size).write(2);
                CHECKS.dealloc(block, Layout::from_size_align(size, 1).unwrap());
            }
        });
    }
}

/// Every size class by exact sizes, through the fast paths of a heap.
#[test]
fn blocks_of_any_size_come_and_go_in_a_global_allocator() {
    static CHECKS: VmemAlloc = VmemAlloc::anonymous(64 << 20).harden(Harden::Checks).ignore_env();
    static POISON: VmemAlloc = VmemAlloc::anonymous(64 << 20).harden(Harden::Poison).ignore_env();
    for allocator in [&CHECKS, &POISON] {
        for class in vmem_engine::ClassId::all() {
            for size in class.size() - 1..=class.size() + 1 {
                let layout = Layout::from_size_align(size, 1).unwrap();
                for round in 0..3 {
                    // SAFETY: allocated and freed with one layout, and written inside.
                    unsafe {
                        let blocks: [*mut u8; 20] = std::array::from_fn(|_| {
                            let block = allocator.alloc(layout);
                            block.write_bytes(round, size);
                            block
                        });
                        for block in blocks {
                            allocator.dealloc(block, layout);
                        }
                        let block = allocator.alloc_zeroed(layout);
                        assert!((0..size).all(|at| block.add(at).read() == 0), "{size} bytes");
                        allocator.dealloc(block, layout);
                    }
                }
            }
        }
        allocator.check().unwrap();
        assert_eq!(allocator.stats().unwrap().allocated_bytes, 0);
    }
}

/// Slabs come and go, and with them what is known of their slots.
#[test]
fn memory_that_was_given_back_is_as_good_as_new() {
    for harden in [Harden::Checks, Harden::Poison] {
        let options =
            PoolOptions { harden, purge: PurgePolicy::Immediate, ..PoolOptions::default() };
        let pool = Pool::create(Source::in_directory(c"/dev/shm", 32 << 20).unwrap(), &options);
        let pool = pool.unwrap();
        for size in [24, 500, 64, 48, 9000, 400_000, 16, 200_000, 32] {
            let count = (2 << 20) / size + 1;
            let blocks: Vec<*mut u8> = (0..count).map(|_| pool.alloc(size)).collect();
            for block in blocks {
                // SAFETY: a live block of this size.
                unsafe {
                    block.write_bytes(7, size);
                    pool.free(block);
                }
            }
            pool.trim();
            pool.check().unwrap();
        }
        assert_eq!(pool.stats().active_bytes, 0);
    }
}
