//! Page granularity: `msync`.

use core::sync::atomic::{Ordering, fence};

use super::{CopyFlags, Cpu, Granularity, Persist, Range};
use crate::errno::Errno;
use crate::sys;

/// Memory of an ordinary file, made durable by `msync`.
///
/// # Cost
/// A system call for each flush, and the writing of whole pages.
#[derive(Copy, Clone, Debug, Default)]
pub struct PageSync;

impl PageSync {
    /// The pages that a range touches, as start and end.
    fn pages(range: Range) -> (usize, usize) {
        let page = sys::page_size();
        let start = range.addr.addr() & !(page - 1);
        let end = range.addr.addr().saturating_add(range.len).saturating_add(page - 1);
        (start, end & !(page - 1))
    }
}

impl Persist for PageSync {
    fn granularity(&self) -> Granularity {
        Granularity::Page
    }

    unsafe fn flush(&self, addr: *const u8, len: usize) -> Result<(), Errno> {
        if len == 0 {
            return Ok(());
        }
        let (start, end) = PageSync::pages(Range::new(addr, len));
        sys::sync_mapping(start, end - start)
    }

    #[inline]
    fn drain(&self) {
        // The kernel has waited; what is left is the order of this thread's stores.
        fence(Ordering::SeqCst);
    }

    /// Ranges that follow each other and whose pages meet are written by one system call.
    unsafe fn persist_ranges(&self, ranges: &[Range]) -> Result<(), Errno> {
        let mut result = Ok(());
        let mut ranges = ranges.iter().filter(|range| range.len != 0);
        let Some(&first) = ranges.next() else { return Ok(()) };
        let (mut start, mut end) = PageSync::pages(first);
        for &range in ranges {
            let (next_start, next_end) = PageSync::pages(range);
            if next_start <= end && next_end >= start {
                (start, end) = (start.min(next_start), end.max(next_end));
            } else {
                result = result.and(sys::sync_mapping(start, end - start));
                (start, end) = (next_start, next_end);
            }
        }
        result = result.and(sys::sync_mapping(start, end - start));
        self.drain();
        result
    }

    unsafe fn copy(
        &self,
        dest: *mut u8,
        src: *const u8,
        len: usize,
        flags: CopyFlags,
    ) -> Result<(), Errno> {
        // SAFETY: forwarded from the caller's contract.
        unsafe { Cpu::get().copy(dest, src, len, CopyFlags::NOFLUSH) }?;
        if flags.contains(CopyFlags::NOFLUSH) {
            return Ok(());
        }
        // SAFETY: the destination is mapped.
        unsafe { self.flush(dest, len) }
    }

    unsafe fn set(
        &self,
        dest: *mut u8,
        byte: u8,
        len: usize,
        flags: CopyFlags,
    ) -> Result<(), Errno> {
        // SAFETY: forwarded from the caller's contract.
        unsafe { Cpu::get().set(dest, byte, len, CopyFlags::NOFLUSH) }?;
        if flags.contains(CopyFlags::NOFLUSH) {
            return Ok(());
        }
        // SAFETY: the destination is mapped.
        unsafe { self.flush(dest, len) }
    }

    unsafe fn deep_persist(&self, addr: *const u8, len: usize) -> Result<(), Errno> {
        // SAFETY: forwarded from the caller's contract.
        unsafe { self.flush(addr, len) }
    }
}
