//! Compares two builds of libpmemlog and libpmemblk in one process: both have a pool, and take turns of a few
//! milliseconds, in the order A B B A. What is reported is the median time of an operation, and the median of the ratios
//! of neighbouring turns, which does not mind how fast the machine is at that moment.
//!
//! ```text
//! pmem-bench-pools --ours DIR [--theirs DIR] --pools DIR [--turns N] [--turn-ms N]
//! ```
//!
//! `PMEM_IS_PMEM_FORCE=1` makes both take any file for persistent memory; without it they call `msync` on ordinary files.

mod library;

use library::{Blk, Log, text};
use std::ffi::{CString, c_void};
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::time::{Duration, Instant};

const LOG_BYTES: usize = 64 << 20;
const BLK_BYTES: usize = 128 << 20;

struct Options {
    ours: PathBuf,
    theirs: PathBuf,
    pools: PathBuf,
    turns: usize,
    turn: Duration,
}

fn main() {
    if let Err(text) = parse().and_then(|options| run(&options)) {
        eprintln!("pmem-bench-pools: {text}");
        std::process::exit(1);
    }
}

fn parse() -> Result<Options, String> {
    use lexopt::prelude::*;
    let theirs = format!("/usr/lib/{}-linux-gnu", std::env::consts::ARCH);
    let (mut ours, mut pools, mut turns, mut turn) = (None, None, 40, 20);
    let mut theirs = PathBuf::from(theirs);
    let mut parser = lexopt::Parser::from_env();
    let error = |error: lexopt::Error| error.to_string();
    while let Some(argument) = parser.next().map_err(error)? {
        match argument {
            Long("ours") => ours = Some(PathBuf::from(parser.value().map_err(error)?)),
            Long("theirs") => theirs = parser.value().map_err(error)?.into(),
            Long("pools") => pools = Some(PathBuf::from(parser.value().map_err(error)?)),
            Long("turns") => {
                turns = parser.value().and_then(|value| value.parse()).map_err(error)?;
            }
            Long("turn-ms") => {
                turn = parser.value().and_then(|value| value.parse()).map_err(error)?;
            }
            other => return Err(other.unexpected().to_string()),
        }
    }
    Ok(Options {
        ours: ours.ok_or("--ours DIR: where our libraries are")?,
        theirs,
        pools: pools.ok_or("--pools DIR: where the pools go")?,
        turns,
        turn: Duration::from_millis(turn),
    })
}

/// An operation on a pool: the pool, the number of the thread, a random number.
type Operation<'o> = &'o (dyn Fn(usize, usize, u64) + Sync);

/// A library's pool, closed and removed at the end.
struct Pool {
    handle: *mut c_void,
    close: unsafe extern "C" fn(*mut c_void),
    path: PathBuf,
}

impl Drop for Pool {
    fn drop(&mut self) {
        // SAFETY: the handle is open, and this is its last use.
        unsafe { (self.close)(self.handle) };
        let _ = std::fs::remove_file(&self.path);
    }
}

fn c_path(path: &Path) -> Result<CString, String> {
    CString::new(path.as_os_str().as_encoded_bytes()).map_err(|error| error.to_string())
}

fn run(options: &Options) -> Result<(), String> {
    let logs = [&options.ours, &options.theirs].map(|d| Log::load(&d.join("libpmemlog.so.1")));
    let blks = [&options.ours, &options.theirs].map(|d| Blk::load(&d.join("libpmemblk.so.1")));
    let [log_ours, log_theirs] = logs;
    let [blk_ours, blk_theirs] = blks;
    println!("| operation | threads | ours, ns | theirs, ns | theirs / ours |");
    println!("|---|---|---|---|---|");
    logs_of(options, [log_ours?, log_theirs?])?;
    blocks_of(options, [blk_ours?, blk_theirs?])
}

fn logs_of(options: &Options, libraries: [Log; 2]) -> Result<(), String> {
    let mut pools = Vec::new();
    for (number, library) in libraries.iter().enumerate() {
        let path = options.pools.join(format!("bench-log-{number}"));
        // SAFETY: a C string.
        let handle = unsafe { (library.pmemlog_create)(c_path(&path)?.as_ptr(), LOG_BYTES, 0o600) };
        if handle.is_null() {
            // SAFETY: no requirement.
            return Err(text(unsafe { (library.pmemlog_errormsg)() }));
        }
        pools.push(Pool { handle, close: library.pmemlog_close, path });
    }
    let handles: Vec<usize> = pools.iter().map(|pool| pool.handle.expose_provenance()).collect();
    let handle = |which: usize| core::ptr::with_exposed_provenance_mut::<c_void>(handles[which]);
    let data = vec![0x5a_u8; 4096];
    let piece = libc::iovec { iov_base: data.as_ptr().cast_mut().cast(), iov_len: 64 };
    let pieces = [piece; 16];
    // SAFETY: open logs and valid buffers; a full log is emptied.
    let append = |which: usize, len: usize| unsafe {
        let library = &libraries[which];
        if (library.pmemlog_append)(handle(which), data.as_ptr().cast(), len) != 0 {
            (library.pmemlog_rewind)(handle(which));
        }
    };
    let vector = pieces.as_ptr() as usize;
    // SAFETY: as above.
    let append_vector = |which: usize| unsafe {
        let library = &libraries[which];
        let pieces = core::ptr::with_exposed_provenance::<libc::iovec>(vector);
        if (library.pmemlog_appendv)(handle(which), pieces, 16) != 0 {
            (library.pmemlog_rewind)(handle(which));
        }
    };
    for threads in [1, 2, 4] {
        compare(options, "append 64 B", threads, &|which, _, _| append(which, 64));
        compare(options, "append 4 KiB", threads, &|which, _, _| append(which, 4096));
        compare(options, "appendv 16 x 64 B", threads, &|which, _, _| append_vector(which));
    }
    Ok(())
}

fn blocks_of(options: &Options, libraries: [Blk; 2]) -> Result<(), String> {
    for size in [512, 4096] {
        let mut pools = Vec::new();
        for (number, library) in libraries.iter().enumerate() {
            let path = options.pools.join(format!("bench-blk-{number}"));
            // SAFETY: a C string.
            let handle = unsafe {
                (library.pmemblk_create)(c_path(&path)?.as_ptr(), size, BLK_BYTES, 0o600)
            };
            if handle.is_null() {
                // SAFETY: no requirement.
                return Err(text(unsafe { (library.pmemblk_errormsg)() }));
            }
            pools.push(Pool { handle, close: library.pmemblk_close, path });
        }
        let handles: Vec<usize> =
            pools.iter().map(|pool| pool.handle.expose_provenance()).collect();
        let handle =
            |which: usize| core::ptr::with_exposed_provenance_mut::<c_void>(handles[which]);
        // SAFETY: an open pool.
        let count = unsafe { (libraries[0].pmemblk_nblock)(handle(0)) } as u64;
        let data = vec![0x5a_u8; size];
        // Written to once: what is read then has data. With `msync` a part has to do.
        let first = if std::env::var_os("PMEM_IS_PMEM_FORCE").is_some() { count } else { 2000 };
        for which in [0, 1] {
            for block in 0..first {
                let block = block.cast_signed();
                // SAFETY: an open pool, a block of data.
                unsafe {
                    (libraries[which].pmemblk_write)(handle(which), data.as_ptr().cast(), block)
                };
            }
        }
        let read = |which: usize, _, random: u64| {
            let mut buffer = [0_u8; 4096];
            let block = (random % first).cast_signed();
            // SAFETY: an open pool, room for a block.
            let done = unsafe {
                (libraries[which].pmemblk_read)(handle(which), buffer.as_mut_ptr().cast(), block)
            };
            assert_eq!(done, 0);
        };
        let write = |which: usize, _, random: u64| {
            let block = (random % count).cast_signed();
            // SAFETY: an open pool, a block of data.
            let done = unsafe {
                (libraries[which].pmemblk_write)(handle(which), data.as_ptr().cast(), block)
            };
            assert_eq!(done, 0);
        };
        for threads in [1, 2] {
            compare(options, &format!("read {size} B, random"), threads, &read);
            compare(options, &format!("write {size} B, random"), threads, &write);
        }
    }
    Ok(())
}

/// Prints a row: medians over all turns.
fn compare(options: &Options, name: &str, threads: usize, operation: Operation<'_>) {
    let mut times = [Vec::new(), Vec::new()];
    let mut ratios = Vec::new();
    for which in [0, 1] {
        turn(options, threads, which, operation); // caches, page faults
    }
    for number in 0..options.turns {
        let order = if number % 2 == 0 { [0, 1] } else { [1, 0] };
        let mut pair = [0.0; 2];
        for which in order {
            pair[which] = turn(options, threads, which, operation);
            times[which].push(pair[which]);
        }
        ratios.push(pair[1] / pair[0]);
    }
    let [ours, theirs] = &mut times;
    println!(
        "| {name} | {threads} | {:.0} | {:.0} | {:.2} |",
        median(ours),
        median(theirs),
        median(&mut ratios)
    );
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Nanoseconds of this thread's processor time.
fn processor_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes the time.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Nanoseconds per operation, over all threads: time divided by the operations that got done. The time is what the clock
/// says; for a single thread on persistent memory, that never sleeps, what the processor spent on it, which other programs
/// of the machine change less.
fn turn(options: &Options, threads: usize, which: usize, operation: Operation<'_>) -> f64 {
    let barrier = Barrier::new(threads);
    let (time, done) = std::thread::scope(|scope| {
        let worker = |number: usize| {
            let barrier = &barrier;
            move || {
                let mut random = 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(number as u64 + 1);
                barrier.wait();
                let alone = threads == 1 && std::env::var_os("PMEM_IS_PMEM_FORCE").is_some();
                let (start, processor) = (Instant::now(), processor_time());
                let mut done = 0_u64;
                loop {
                    for _ in 0..16 {
                        random ^= random << 13;
                        random ^= random >> 7;
                        random ^= random << 17;
                        operation(which, number, random);
                    }
                    done += 16;
                    let time = start.elapsed();
                    if time >= options.turn {
                        let time = if alone { processor_time() - processor } else { time };
                        return (time, done);
                    }
                }
            }
        };
        let others: Vec<_> = (1..threads).map(|number| scope.spawn(worker(number))).collect();
        let (mut longest, mut sum) = worker(0)();
        for other in others {
            let (time, done) = other.join().expect("a worker does not panic");
            longest = longest.max(time);
            sum += done;
        }
        (longest, sum)
    });
    time.as_nanos() as f64 / done as f64
}
