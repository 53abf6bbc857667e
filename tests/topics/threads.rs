//! Threads: starvation, short lives, exchange of blocks, cancellation, the end of a thread.

use std::time::Duration;

use pmem_e2e::artifact::program;
use pmem_e2e::cases::Cases;
use pmem_e2e::preload::Pool;

const LIMIT: Duration = Duration::from_secs(120);

/// 64 threads that allocate together get 90 % of the smallest pool before the first failure.
#[test]
fn no_thread_starves() {
    let program = program("threads");
    Cases::of(&program).only(|name| name.starts_with("fill_")).run(&Pool::lazy(14));
}

#[test]
fn short_threads_never_fail_in_64_mib() {
    let program = program("threads");
    let cases = Cases::of(&program).limit(LIMIT);
    cases.only(|name| name.starts_with("short_threads_")).run(&Pool::lazy(64));
}

/// Blocks that change hands do not pile up on one side: hundreds of MiB pass through 14.
#[test]
fn blocks_change_hands_in_the_smallest_pool() {
    let names = [
        "producers_and_consumers",
        "blocks_of_other_threads_are_freed_here",
        "blocks_of_this_thread_are_freed_elsewhere",
        "blocks_survive_their_threads",
    ];
    let program = program("threads");
    let cases = Cases::of(&program).limit(LIMIT);
    cases.only(|name| names.contains(&name)).run(&Pool::lazy(14));
}

#[test]
fn everything_else() {
    let names = [
        "a_thousand_threads_at_once",
        "random_load_of_8_threads",
        "random_load_of_64_threads",
        "key_destructors_allocate_and_free_in_every_round",
        "detached_threads_end_during_exit",
        "cancellation_storm",
        "allocation_is_no_cancellation_point",
    ];
    let program = program("threads");
    let cases = Cases::of(&program).limit(LIMIT);
    cases.only(|name| names.contains(&name)).run(&Pool::lazy(256));
}
