//! Memory goes back to the file system after the decay, at once on demand, and never in between two uses.

use std::time::Duration;

use pmem_e2e::artifact::{need, program};
use pmem_e2e::cases::Cases;
use pmem_e2e::preload::Pool;
use pmem_e2e::run::run;

const LIMIT: Duration = Duration::from_secs(60);

fn run_with_purge(value: &str, prefix: &str) {
    let program = program("purge");
    let pool = Pool::lazy(128).set("VMMALLOC_PURGE_MS", value);
    Cases::of(&program).limit(LIMIT).only(|name| name.starts_with(prefix)).run(&pool);
}

#[test]
fn after_a_decay_of_100_ms() {
    run_with_purge("100", "ms100_");
}

#[test]
fn not_when_switched_off() {
    run_with_purge("off", "off_");
}

#[test]
fn at_once_with_0_ms() {
    run_with_purge("0", "ms0_");
}

#[test]
fn tight_loops_do_not_fault() {
    run_with_purge("50", "ms50_");
}

/// Trimming works whatever the decay is.
#[test]
fn trimming_with_the_default_decay() {
    let program = program("purge");
    let cases = Cases::of(&program).limit(LIMIT);
    cases.only(|name| name.starts_with("off_trim_")).run(&Pool::lazy(128));
}

/// The system calls of tight loops over all sizes, counted by strace.
#[test]
fn tight_loops_make_no_system_calls() {
    let pool = Pool::lazy(128).set("VMMALLOC_PURGE_MS", "50");
    for case in
        ["ms50_tight_loops_do_not_fault", "ms50_tight_loops_over_several_blocks_do_not_fault"]
    {
        // The tracer itself runs without the pool.
        let mut command = pool.command(need("strace", "strace"));
        command.env_remove("LD_PRELOAD");
        command.args([
            "-f",
            "--seccomp-bpf",
            "-c",
            "-e",
            "trace=madvise,fallocate,mmap,munmap,futex",
        ]);
        command.arg("-E").arg(format!("LD_PRELOAD={}", pmem_e2e::artifact::library().display()));
        command.arg(program("purge")).arg(case);
        let outcome = run(&mut command, LIMIT);
        assert_eq!(outcome.code(), Some(0), "{outcome}");
        let calls = |name: &str| -> u64 {
            let err = outcome.err();
            let line = err.lines().find(|l| l.split_whitespace().last() == Some(name));
            // % time, seconds, usecs/call, calls, [errors,] syscall
            line.map_or(0, |l| l.split_whitespace().nth(3).map_or(0, |n| n.parse().unwrap_or(0)))
        };
        // 24 sizes grow the heap once each, and what one size leaves decays during the next.
        for (name, most) in [("madvise", 200), ("fallocate", 200), ("munmap", 60), ("mmap", 200)] {
            assert!(calls(name) <= most, "{case}: {} calls of {name}\n{outcome}", calls(name));
        }
    }
}
