//! Valgrind's tools that watch threads: they report what a program does wrong, and nothing of the libraries' own.

use std::process::Command;
use std::time::Duration;

use pmem_e2e::artifact::{need, program};
use pmem_e2e::capi::{self, Build};
use pmem_e2e::preload::Pool;
use pmem_e2e::run::{Outcome, run};
use pmem_e2e::scratch::Scratch;

const LIMIT: Duration = Duration::from_secs(240);

/// Each with what it calls a race.
const TOOLS: [(&str, &str); 2] = [("helgrind", "Possible data race"), ("drd", "Conflicting store")];

fn valgrind(tool: &str) -> Command {
    let mut command = Command::new(need("valgrind", "valgrind"));
    command.arg(format!("--tool={tool}")).args(["--error-exitcode=99", "--fair-sched=yes"]);
    command
}

fn check_clean(outcome: &Outcome) {
    assert_eq!(outcome.code(), Some(0), "{outcome}");
    assert!(outcome.err().contains("ERROR SUMMARY: 0 errors"), "{outcome}");
}

fn check_race(outcome: &Outcome, text: &str) {
    assert_eq!(outcome.code(), Some(99), "{outcome}");
    assert!(outcome.err().contains(text) && outcome.err().contains(": count ("), "{outcome}");
}

fn in_pools(tool: &str, build: Build, case: &str) -> Outcome {
    let scratch = Scratch::in_memory("order");
    let mut command = valgrind(tool);
    build.choose(command.arg(capi::program("vmem_order")).arg(case).arg(scratch.path()));
    run(&mut command, LIMIT)
}

#[test]
fn threads_with_pools_are_clean() {
    for (tool, _) in TOOLS {
        for build in Build::ALL {
            check_clean(&in_pools(tool, build, "threads_in_order"));
            check_clean(&in_pools(tool, build, "pools_of_threads"));
        }
    }
}

#[test]
fn races_for_blocks_of_pools_are_reported() {
    for (tool, text) in TOOLS {
        check_race(&in_pools(tool, Build::Release, "threads_without_order"), text);
    }
}

/// With `own` malloc is left to the library; without, valgrind puts its own in the place of it.
fn preloaded(tool: &str, build: Build, own: bool, case: &str) -> Outcome {
    let mut command = valgrind(tool);
    if own {
        command.arg("--soname-synonyms=somalloc=nouserintercepts");
    }
    let pool = Pool::prealloc(64);
    pool.describe(command.arg(program("order")).arg(case))
        .env("LD_PRELOAD", build.folder().join("libvmmalloc.so.1"));
    run(&mut command, LIMIT)
}

#[test]
fn threads_with_the_heap_in_a_pool_are_clean() {
    for (tool, _) in TOOLS {
        for build in Build::ALL {
            check_clean(&preloaded(tool, build, true, "threads_in_order"));
        }
        // Of the heap that valgrind brings nothing is in the pool.
        check_clean(&preloaded(tool, Build::Release, false, "threads_in_order_anywhere"));
    }
}

#[test]
fn races_for_blocks_of_the_heap_are_reported() {
    for (tool, text) in TOOLS {
        check_race(&preloaded(tool, Build::Release, true, "threads_without_order"), text);
    }
}
