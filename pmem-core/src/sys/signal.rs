//! Blocking signals around steps that a handler must not interrupt.

use super::raw::once;

/// Blocks every signal of the calling thread while it lives, then restores the mask.
///
/// Goes past the C library, which would leave its two internal signals open: they interrupt system
/// calls too.
#[derive(Debug)]
#[must_use = "signals are unblocked when the guard is dropped"]
pub struct SignalBlock {
    previous: u64,
}

const KERNEL_SIGSET_SIZE: usize = size_of::<u64>();

impl SignalBlock {
    /// Blocks all signals.
    pub fn new() -> SignalBlock {
        let mut previous = 0;
        set_mask(u64::MAX, Some(&mut previous));
        SignalBlock { previous }
    }
}

impl Default for SignalBlock {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for SignalBlock {
    fn drop(&mut self) {
        set_mask(self.previous, None);
    }
}

fn set_mask(mask: u64, previous: Option<&mut u64>) {
    let previous = previous.map_or(core::ptr::null_mut(), core::ptr::from_mut);
    // SAFETY: both pointers are null or point to one kernel signal set (64 bits) and outlive the
    // call.
    let result = once(|| unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const mask,
            previous,
            KERNEL_SIGSET_SIZE,
        )
    });
    debug_assert!(result.is_ok());
}

#[cfg(test)]
#[cfg(not(miri))]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

    static HITS: AtomicU32 = AtomicU32::new(0);

    extern "C" fn count(_signal: libc::c_int) {
        HITS.fetch_add(1, SeqCst);
    }

    #[test]
    fn a_blocked_signal_arrives_when_the_guard_goes() {
        // SAFETY: the handler only increments an atomic.
        unsafe { libc::signal(libc::SIGUSR2, count as *const () as libc::sighandler_t) };
        {
            let _block = SignalBlock::new();
            // SAFETY: sends a handled signal to this thread.
            unsafe { libc::pthread_kill(libc::pthread_self(), libc::SIGUSR2) };
            assert_eq!(HITS.load(SeqCst), 0);
        }
        assert_eq!(HITS.load(SeqCst), 1);
    }
}
