//! Waiting on a 4-byte word, through the raw system call: not a cancellation point, no C library
//! state.

use core::sync::atomic::AtomicU32;
use core::time::Duration;

use super::raw::once;

/// Sleeps while `word` holds `expected`. May return early for any reason; the caller looks at the
/// word again.
pub(crate) fn futex_wait(word: &AtomicU32, expected: u32, timeout: Option<Duration>) {
    let limit = timeout.map(|t| libc::timespec {
        tv_sec: t.as_secs().try_into().unwrap_or(libc::time_t::MAX),
        tv_nsec: t.subsec_nanos().into(),
    });
    let limit = limit.as_ref().map_or(core::ptr::null(), core::ptr::from_ref);
    // SAFETY: `word` and `limit` outlive the call; a private FUTEX_WAIT only reads them.
    let result = once(|| unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG,
            expected,
            limit,
        )
    });
    // EAGAIN (the word changed), EINTR and ETIMEDOUT all mean the same to the caller.
    let _ = result;
}

/// Wakes at most `count` threads that sleep on `word`.
pub(crate) fn futex_wake(word: &AtomicU32, count: i32) {
    // SAFETY: FUTEX_WAKE uses the address only as a key.
    let result = once(|| unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG,
            count,
        )
    });
    debug_assert!(result.is_ok());
}
