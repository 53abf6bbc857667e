//! Large blocks that grow and have no room behind them.

use pmem_e2e::artifact::program;
use pmem_e2e::cases::Cases;
use pmem_e2e::preload::Pool;

#[test]
fn large_blocks_grow_in_every_fork_mode_that_isolates() {
    for mode in 1..=3 {
        Cases::of(&program("growing")).run(&Pool::lazy(512).fork(mode));
    }
}

#[test]
fn large_blocks_grow_in_a_preallocated_pool() {
    Cases::of(&program("growing")).run(&Pool::prealloc(512));
}

#[test]
fn large_blocks_grow_in_a_pool_that_purges_at_once() {
    Cases::of(&program("growing")).run(&Pool::lazy(512).set("VMMALLOC_PURGE_MS", "0"));
}

#[test]
fn large_blocks_grow_with_huge_pages_advised() {
    Cases::of(&program("growing")).run(&Pool::lazy(512).set("VMMALLOC_HUGEPAGE", "advise"));
}
