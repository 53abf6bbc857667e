//! Checks that every method shares.

use core::ptr::NonNull;
use core::sync::atomic::Ordering::Relaxed;

use super::Source;
use crate::align::is_aligned;
use crate::errno::Errno;

impl Source {
    /// The address of a range that lies inside the source on granule borders.
    pub(super) fn range(&self, offset: usize, len: usize) -> Result<NonNull<u8>, Errno> {
        let inside = offset.checked_add(len).is_some_and(|end| end <= self.len);
        if !inside || !is_aligned(offset | len, self.granule) {
            return Err(Errno::EINVAL);
        }
        // SAFETY: the offset is inside the range that starts at `base`.
        Ok(unsafe { self.base.add(offset) })
    }

    /// Makes a later call fail: after `n` more calls of [`commit`](Self::commit),
    /// [`populate`](Self::populate), [`freeze`](Self::freeze), [`share`](Self::share),
    /// [`replace_anonymous`](Self::replace_anonymous) and those of a clone, or steps of
    /// [`exchange`](Self::exchange), the next one gives `ENOSPC` and does nothing; then all is well again. `u64::MAX` switches it off.
    ///
    /// For tests of what happens without space. One relaxed load on paths that make system calls
    /// anyway.
    #[doc(hidden)]
    pub fn set_fault_after(&self, n: u64) {
        self.calls_before_fault.store(n, Relaxed);
    }

    pub(super) fn injected_fault(&self) -> Result<(), Errno> {
        const OFF: u64 = u64::MAX;
        if self.calls_before_fault.load(Relaxed) == OFF {
            return Ok(());
        }
        // 0 counts down to OFF, so that exactly one call fails.
        match self
            .calls_before_fault
            .try_update(Relaxed, Relaxed, |left| (left != OFF).then_some(left.wrapping_sub(1)))
        {
            Ok(0) => Err(Errno::ENOSPC),
            _ => Ok(()),
        }
    }
}
