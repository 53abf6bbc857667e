//! Tables in DRAM that grow without moving and without `malloc`: their addresses are reserved for the largest size, and
//! memory comes page by page as it is touched.

use crate::error::Error;
use pmem_core::source::{Purged, Source};
use pmem_core::valgrind;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Release;

/// What an [`Array`] can hold.
///
/// # Safety
/// All bytes zero is a valid value, and nothing needs to be dropped.
pub(crate) unsafe trait Zeroed {}

/// Tables of at least so many bytes are in huge pages, where the system has them; what a half-used page wastes is small
/// against the table when it is in use.
const HUGE_FROM: usize = 64 << 20;

/// `len` values, all zero at first.
#[derive(Debug)]
pub(crate) struct Array<T: Zeroed> {
    source: Source,
    len: usize,
    values: PhantomData<T>,
}

impl<T: Zeroed> Array<T> {
    pub(crate) fn new(len: usize) -> Result<Array<T>, Error> {
        let bytes = len.saturating_mul(size_of::<T>()).max(1);
        let source = Source::anonymous(bytes).map_err(|cause| Error::Metadata { bytes, cause })?;
        if valgrind::is_running() {
            valgrind::ignore_races(source.base().as_ptr(), source.len());
        }
        debug_assert!(source.base().as_ptr().addr().is_multiple_of(align_of::<T>()));
        if bytes >= HUGE_FROM {
            source.advise_huge(0, source.len());
        }
        Ok(Array { source, len, values: PhantomData })
    }

    /// Where the values are.
    #[cfg(test)]
    pub(crate) fn range(&self) -> (std::ptr::NonNull<u8>, usize) {
        (self.source.base(), self.source.len())
    }

    /// Makes all values zero again and gives their memory back.
    pub(crate) fn clear(&self) {
        if self.source.purge(0, self.source.len()) == Purged::Kept {
            self.zero();
        }
    }

    /// As [`clear`](Self::clear), for memory that cannot be given back because it is locked.
    #[cold]
    fn zero(&self) {
        let words = self.source.len() / size_of::<AtomicU64>();
        // SAFETY: the source is ours, on a page border and has whole pages. All zero is valid (`Zeroed`), and who looks at values
        // meanwhile does so by atomic loads.
        let words = unsafe {
            std::slice::from_raw_parts(self.source.base().as_ptr().cast::<AtomicU64>(), words)
        };
        words.iter().for_each(|word| word.store(0, Release));
    }
}

impl<T: Zeroed> Deref for Array<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        // SAFETY: the source has room for `len` values, aligned and zero at first, which is valid (`Zeroed`); they are
        // only changed through shared references.
        unsafe { std::slice::from_raw_parts(self.source.base().as_ptr().cast::<T>(), self.len) }
    }
}

#[cfg(test)]
#[cfg(not(miri))]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering::Acquire;

    // SAFETY: plain numbers.
    unsafe impl Zeroed for AtomicU64 {}

    #[test]
    fn locked_tables_are_cleared() {
        let array = Array::<AtomicU64>::new(1000).unwrap();
        let (start, len) = array.range();
        // SAFETY: changes no memory.
        assert_eq!(unsafe { libc::mlock(start.as_ptr().cast(), len) }, 0);
        array.iter().for_each(|value| value.store(7, Release));
        array.clear();
        assert!(array.iter().all(|value| value.load(Acquire) == 0));
    }
}
