//! Who we are, what time it is, and what the process may do.

use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::raw::{once, retry};
use crate::align::PAGE_SIZE;
use crate::errno::ErrnoGuard;

/// The system's page size in bytes.
#[must_use]
pub fn page_size() -> usize {
    static CACHED: AtomicUsize = AtomicUsize::new(0);
    match CACHED.load(Relaxed) {
        0 => {
            let size = read_page_size();
            CACHED.store(size, Relaxed);
            size
        }
        size => size,
    }
}

#[cfg(not(miri))]
fn read_page_size() -> usize {
    let _keep = ErrnoGuard::new();
    // SAFETY: reads the auxiliary vector, which exists before any constructor runs.
    let size = unsafe { libc::getauxval(libc::AT_PAGESZ) };
    usize::try_from(size).ok().filter(|size| size.is_power_of_two()).unwrap_or(PAGE_SIZE)
}

#[cfg(miri)]
fn read_page_size() -> usize {
    PAGE_SIZE
}

/// Says whether the process runs with more rights than its caller (set-user-ID and the like), so
/// that the environment must not be trusted.
#[must_use]
pub fn is_secure() -> bool {
    let _keep = ErrnoGuard::new();
    // SAFETY: reads the auxiliary vector.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

/// The process id.
#[must_use]
pub fn process_id() -> i32 {
    // SAFETY: no arguments, cannot fail.
    unsafe { libc::getpid() }
}

/// The kernel's id of the calling thread.
#[must_use]
pub fn thread_id() -> i32 {
    // SAFETY: no arguments, cannot fail.
    unsafe { libc::gettid() }
}

/// The CPU the calling thread runs on right now; 0 when the system does not tell.
#[must_use]
pub fn current_cpu() -> usize {
    // SAFETY: no arguments.
    once(|| unsafe { libc::sched_getcpu() })
        .ok()
        .and_then(|cpu| usize::try_from(cpu).ok())
        .unwrap_or(0)
}

/// Gives the rest of the calling thread's time slice away.
pub fn yield_now() {
    // SAFETY: no arguments; never fails on Linux.
    let _ = once(|| unsafe { libc::sched_yield() });
}

/// Bytes of memory and swap space of the machine; 0 when the system does not tell.
#[must_use]
pub fn machine_memory() -> u64 {
    // SAFETY: zero is a valid value of this plain structure.
    let mut info = unsafe { core::mem::zeroed::<libc::sysinfo>() };
    // SAFETY: `info` is writable.
    match once(|| unsafe { libc::sysinfo(&raw mut info) }) {
        Ok(_) => info.totalram.saturating_add(info.totalswap).saturating_mul(info.mem_unit.into()),
        Err(_) => 0,
    }
}

/// Milliseconds of a coarse clock that never goes back; cheap (no system call where the kernel
/// offers it in user space).
#[must_use]
pub fn monotonic_ms() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is writable.
    let result = once(|| unsafe { libc::clock_gettime(CLOCK, &raw mut now) });
    debug_assert!(result.is_ok());
    // Both fields are never negative on this clock.
    now.tv_sec.unsigned_abs() * 1000 + now.tv_nsec.unsigned_abs() / 1_000_000
}

/// Microseconds of a fine clock that never goes back.
#[must_use]
pub fn monotonic_us() -> u64 {
    microseconds(libc::CLOCK_MONOTONIC)
}

/// Microseconds for which the calling thread has used a CPU.
#[must_use]
pub fn thread_us() -> u64 {
    microseconds(libc::CLOCK_THREAD_CPUTIME_ID)
}

fn microseconds(clock: libc::clockid_t) -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is writable.
    let result = once(|| unsafe { libc::clock_gettime(clock, &raw mut now) });
    debug_assert!(result.is_ok());
    now.tv_sec.unsigned_abs() * 1_000_000 + now.tv_nsec.unsigned_abs() / 1000
}

#[cfg(not(miri))]
const CLOCK: libc::clockid_t = libc::CLOCK_MONOTONIC_COARSE;
#[cfg(miri)]
const CLOCK: libc::clockid_t = libc::CLOCK_MONOTONIC;

/// The largest file size in bytes that the process may make now (`RLIMIT_FSIZE`); `u64::MAX` when
/// there is no limit.
///
/// Growing a file beyond it raises `SIGXFSZ`, so every growth is compared with it first.
#[must_use]
pub fn limit_file_size() -> u64 {
    soft_limit(|limit| {
        // SAFETY: `limit` is writable.
        unsafe { libc::getrlimit(libc::RLIMIT_FSIZE, limit) }
    })
}

/// How many descriptors the process may have (`RLIMIT_NOFILE`); `u64::MAX` when there is no limit.
#[must_use]
pub fn limit_open_files() -> u64 {
    soft_limit(|limit| {
        // SAFETY: `limit` is writable.
        unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, limit) }
    })
}

/// Takes the call and not the number of the resource, whose type differs between C libraries.
fn soft_limit(read: impl FnOnce(*mut libc::rlimit) -> i32) -> u64 {
    let mut limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // On failure the value stays: no limit.
    let _ = once(|| read(&raw mut limit));
    limit.rlim_cur
}

/// Fills `bytes` with unpredictable values; not for secrets (early at boot it mixes clock and
/// addresses instead).
pub fn fill_random(bytes: &mut [u8]) {
    // SAFETY: the buffer is writable for its length.
    let result = retry(|| unsafe {
        libc::syscall(libc::SYS_getrandom, bytes.as_mut_ptr(), bytes.len(), libc::GRND_NONBLOCK)
    });
    if result.is_ok_and(|got| usize::try_from(got) == Ok(bytes.len())) {
        return;
    }
    let seed = u64::from(process_id().unsigned_abs()) << 32
        ^ monotonic_ms()
        ^ bytes.as_ptr().addr() as u64;
    let mut state = seed | 1;
    for byte in bytes {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        *byte = state.to_le_bytes()[3];
    }
}

/// Writes a message (with its newline) to standard error and ends the process with `SIGABRT`: for
/// broken invariants and for refusals.
pub fn abort_with(message: &[u8]) -> ! {
    crate::fmt::write_stderr(message);
    // SAFETY: does not return.
    unsafe { libc::abort() }
}

/// What the kernel says the processor can, in bits of its own for each architecture.
#[cfg(target_arch = "aarch64")]
pub fn hardware_capabilities() -> u64 {
    // SAFETY: reads a number that the kernel gave to the process.
    unsafe { libc::getauxval(libc::AT_HWCAP) }
}
