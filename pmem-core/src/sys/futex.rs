//! Waiting on a 4-byte word, through the raw system call: not a cancellation point, no C library
//! state.

use core::ptr;
use core::sync::atomic::AtomicU32;

use super::raw::once;

/// Sleeps while `word` holds `expected`. May return early for any reason; the caller looks at the
/// word again.
pub(crate) fn futex_wait(word: &AtomicU32, expected: u32) {
    const WAIT: i32 = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
    let forever = ptr::null::<libc::timespec>();
    // SAFETY: `word` outlives the call, which only reads it.
    let result =
        once(|| unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), WAIT, expected, forever) });
    // EAGAIN (the word changed) and EINTR mean the same to the caller.
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
