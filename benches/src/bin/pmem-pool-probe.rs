//! The tracee of `pmem-bench pools`: makes pools, brings one or all of them into a steady state, and runs
//! pairs of malloc and free on them between two marks.
//!
//! `pmem-pool-probe DIRECTORY POOLS BYTES same|next|empty COUNT`: pairs on one of the pools, on each in turn,
//! or the loop alone, which is to be taken off.

use std::hint::black_box;
use std::process::ExitCode;

use vmem::Pool;

const BLOCK_BYTES: usize = 64;
const WARM_UP: usize = 20_000;

/// A trap instruction in one place, which the tracer knows: 1 begins what is counted, 0 ends it.
#[inline(never)]
fn mark(kind: u64) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a trap that the tracer takes; it changes neither memory nor registers.
    unsafe {
        std::arch::asm!("int3", in("rdi") kind);
    }
    #[cfg(not(target_arch = "x86_64"))]
    panic!("instructions are counted on x86-64 only, not {kind}");
}

/// `count` turns, each on the pool `step` behind the one before.
#[inline(never)]
fn turns(pools: &[Pool], step: usize, count: usize, mut turn: impl FnMut(&Pool)) {
    let mut index = pools.len() - 1;
    for _ in 0..count {
        turn(black_box(&pools[index]));
        index += step;
        if index >= pools.len() {
            index = 0;
        }
    }
}

fn pair(pool: &Pool) {
    let block = pool.alloc(BLOCK_BYTES).expect("a pool has room");
    // SAFETY: a live block that nobody uses.
    unsafe { pool.free(black_box(block)) };
}

/// A pool may keep a file open; the usual limit is not far above a thousand.
fn allow_many_files() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure is valid for both calls.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
        }
    }
}

fn run(arguments: &[String]) -> Result<(), String> {
    let [directory, pools, bytes, pattern, count] = arguments else {
        return Err("usage: DIRECTORY POOLS BYTES same|next|empty COUNT".to_owned());
    };
    let number = |text: &String| text.parse::<usize>().map_err(|error| format!("{text}: {error}"));
    let (pools, bytes, count) = (number(pools)?, number(bytes)?, number(count)?);
    allow_many_files();
    let pools: Vec<Pool> = (0..pools)
        .map(|_| Pool::in_directory(directory, bytes).map_err(|error| error.to_string()))
        .collect::<Result<_, _>>()?;
    for pool in &pools {
        // Stays, so that no pool is ever empty.
        pool.alloc(BLOCK_BYTES).ok_or("a pool is full")?;
    }
    let step = usize::from(pattern == "next");
    turns(&pools, step, WARM_UP.max(50 * pools.len()), pair);
    mark(1);
    match pattern.as_str() {
        "empty" => turns(&pools, step, count, |_| {}),
        _ => turns(&pools, step, count, pair),
    }
    mark(0);
    Ok(())
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pmem-pool-probe: {error}");
            ExitCode::from(2)
        }
    }
}
