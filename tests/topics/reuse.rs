//! Freed memory serves every other size.

use std::time::Duration;

use pmem_e2e::artifact::program;
use pmem_e2e::cases::Cases;
use pmem_e2e::preload::Pool;

const LIMIT: Duration = Duration::from_secs(180);

#[test]
fn all_pairs_in_the_smallest_pool() {
    let program = program("reuse");
    Cases::of(&program).limit(LIMIT).run(&Pool::lazy(14));
}

#[test]
fn shuffled_pairs_in_a_larger_preallocated_pool() {
    let program = program("reuse");
    let cases = Cases::of(&program).limit(LIMIT);
    cases.only(|name| name == "odd_sizes_and_alignments").run(&Pool::prealloc(32));
}

#[test]
fn pairs_with_purging_at_once() {
    let program = program("reuse");
    let cases = Cases::of(&program).limit(LIMIT);
    let pool = Pool::lazy(14).set("VMMALLOC_PURGE_MS", "0");
    cases.only(|name| name == "all_pairs_freed_by_another_thread").run(&pool);
}
