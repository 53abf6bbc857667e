//! Reading: what has been appended never changes, except by a rewind, which waits for readers.

use core::ops::Deref;
use core::slice;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Who reads.
#[derive(Debug, Default)]
pub(crate) struct Readers {
    count: Mutex<usize>,
    none: Condvar,
}

impl Readers {
    fn lock(&self) -> MutexGuard<'_, usize> {
        // A count is right whatever happened around it.
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until nobody reads, and keeps others from beginning while `work` runs.
    pub(crate) fn exclude<T>(&self, work: impl FnOnce() -> T) -> T {
        let mut count = self.lock();
        while *count > 0 {
            count = self.none.wait(count).unwrap_or_else(PoisonError::into_inner);
        }
        work()
    }
}

/// The content of a log, as it was when reading began. While it lives appends go on, and rewinds wait: a thread that
/// rewinds a log whose content it holds waits for ever.
#[derive(Debug)]
pub struct Contents<'l> {
    bytes: &'l [u8],
    readers: &'l Readers,
}

impl<'l> Contents<'l> {
    /// # Safety
    /// `bytes` gives memory that stays as it is until the value is dropped, if nobody rewinds the log.
    pub(crate) unsafe fn new(
        readers: &'l Readers,
        bytes: impl FnOnce() -> (*const u8, usize),
    ) -> Contents<'l> {
        *readers.lock() += 1;
        let (start, len) = bytes();
        // SAFETY: by the caller's contract; rewinds wait for the count.
        Contents { bytes: unsafe { slice::from_raw_parts(start, len) }, readers }
    }
}

impl Deref for Contents<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes
    }
}

impl Drop for Contents<'_> {
    fn drop(&mut self) {
        let mut count = self.readers.lock();
        *count -= 1;
        if *count == 0 {
            self.readers.none.notify_all();
        }
    }
}
