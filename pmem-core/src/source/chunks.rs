//! Which part of the file shows where in a source.
//!
//! At first every byte of the file shows at its own offset. When ranges have been exchanged, a table
//! tells for each chunk of the source which chunk of the file it shows. The table is made at the
//! first exchange, in private memory: a child of a fork has its own, like its mappings.
//!
//! Anonymous memory has no file; there the table tells from which chunk the mapping came, since what
//! did not lie side by side at first is never one mapping.

use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicUsize, Ordering};

use super::Source;
use crate::align::HUGE_PAGE_SIZE;
use crate::errno::Errno;
use crate::sys;

impl Source {
    /// The unit of [`exchange`](Self::exchange) in bytes: what one table of pages maps, and a huge
    /// page.
    pub const CHUNK: usize = HUGE_PAGE_SIZE;

    /// How many bytes from `offset` on, at most `len`, lie side by side in the file too.
    #[must_use]
    pub fn run(&self, offset: usize, len: usize) -> usize {
        self.chunks.run(offset, len)
    }
}

/// See the module text.
#[derive(Debug)]
pub(super) struct Chunks {
    /// The chunk that shows, by chunk of the source; null as long as every chunk shows itself.
    table: AtomicPtr<AtomicU32>,
    /// Chunks of the source; the last may be a part.
    count: usize,
    /// Neighbours in the source that are none in the file.
    breaks: AtomicUsize,
}

impl Chunks {
    pub(super) fn new(len: usize) -> Chunks {
        let count = len.div_ceil(Source::CHUNK);
        Chunks { table: AtomicPtr::new(ptr::null_mut()), count, breaks: AtomicUsize::new(0) }
    }

    /// Makes the table if there is none.
    ///
    /// # Errors
    /// `ENOMEM`; `EFBIG` for a source with too many chunks to be counted.
    pub(super) fn make(&self) -> Result<(), Errno> {
        if !self.table.load(Ordering::Acquire).is_null() {
            return Ok(());
        }
        let count = u32::try_from(self.count).map_err(|_| Errno::EFBIG)?;
        let memory = sys::map_anonymous(self.bytes())?;
        let table = memory.cast::<AtomicU32>().as_ptr();
        for chunk in 0..count {
            // SAFETY: new memory for so many numbers.
            unsafe { table.add(chunk as usize).write(AtomicU32::new(chunk)) };
        }
        let (new, first) = (Ordering::AcqRel, Ordering::Relaxed);
        if self.table.compare_exchange(ptr::null_mut(), table, new, first).is_err() {
            // SAFETY: nobody has seen it.
            let _ = unsafe { sys::unmap(memory, self.bytes()) };
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.count * size_of::<AtomicU32>()
    }

    fn table(&self) -> Option<&[AtomicU32]> {
        let table = self.table.load(Ordering::Acquire);
        // SAFETY: a table has `count` numbers, and lives as long as self.
        (!table.is_null()).then(|| unsafe { core::slice::from_raw_parts(table, self.count) })
    }

    /// The chunk of the file that shows in a chunk of the source.
    fn shown(&self, chunk: usize) -> usize {
        let entry = self.table().and_then(|table| table.get(chunk));
        entry.map_or(chunk, |entry| entry.load(Ordering::Relaxed) as usize)
    }

    /// Are a chunk and the next one no neighbours in the file?
    pub(super) fn breaks_after(&self, chunk: usize) -> bool {
        chunk + 1 < self.count && self.shown(chunk) + 1 != self.shown(chunk + 1)
    }

    /// Number of places where neighbours in the source are none in the file.
    pub(super) fn breaks(&self) -> usize {
        self.breaks.load(Ordering::Relaxed)
    }

    /// See [`Source::run`].
    pub(super) fn run(&self, offset: usize, len: usize) -> usize {
        if self.table().is_none() {
            return len;
        }
        let mut chunk = offset / Source::CHUNK;
        let end = offset + len;
        while (chunk + 1) * Source::CHUNK < end && !self.breaks_after(chunk) {
            chunk += 1;
        }
        len.min((chunk + 1) * Source::CHUNK - offset)
    }

    /// Where in the file the byte at `offset` lies.
    pub(super) fn in_file(&self, offset: usize) -> u64 {
        (self.shown(offset / Source::CHUNK) * Source::CHUNK + offset % Source::CHUNK) as u64
    }

    /// Calls `visit` with offset in the source, offset in the file, and length of each part of a
    /// range that lies side by side in the file; stops at an error.
    pub(super) fn for_runs<E>(
        &self,
        offset: usize,
        len: usize,
        mut visit: impl FnMut(usize, u64, usize) -> Result<(), E>,
    ) -> Result<(), E> {
        let (mut at, end) = (offset, offset + len);
        while at < end {
            let run = self.run(at, end - at);
            visit(at, self.in_file(at), run)?;
            at += run;
        }
        Ok(())
    }

    /// Records that `count` chunks from `a` and from `b`, which do not overlap, show what the others
    /// showed. There is a table, and nobody else changes it meanwhile.
    pub(super) fn exchange(&self, a: usize, b: usize, count: usize) {
        let Some(table) = self.table() else { return };
        let (low, high) = (a.min(b), a.max(b));
        // Each neighbourhood that may change, once.
        let before = low.saturating_sub(1)..low + count;
        let behind = before.end.max(high.saturating_sub(1))..high + count;
        let breaks = || {
            let places = before.clone().chain(behind.clone());
            places.filter(|&chunk| self.breaks_after(chunk)).count()
        };
        let old = breaks();
        for chunk in 0..count {
            if let (Some(a), Some(b)) = (table.get(a + chunk), table.get(b + chunk)) {
                let shown = a.load(Ordering::Relaxed);
                a.store(b.load(Ordering::Relaxed), Ordering::Relaxed);
                b.store(shown, Ordering::Relaxed);
            }
        }
        let all = self.breaks() + breaks() - old;
        self.breaks.store(all, Ordering::Relaxed);
    }

    /// Every chunk shows itself again. Nobody else uses the table.
    pub(super) fn reset(&self) {
        for (chunk, entry) in (0..).zip(self.table().unwrap_or(&[])) {
            entry.store(chunk, Ordering::Relaxed);
        }
        self.breaks.store(0, Ordering::Relaxed);
    }
}

impl Drop for Chunks {
    fn drop(&mut self) {
        if let Some(table) = ptr::NonNull::new(self.table.load(Ordering::Acquire)) {
            // SAFETY: made by `make` with this size; nobody else has the source any more.
            let _ = unsafe { sys::unmap(table.cast(), self.bytes()) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    const CHUNK: usize = Source::CHUNK;

    #[test]
    fn without_an_exchange_every_byte_shows_itself() {
        let chunks = Chunks::new(5 * CHUNK + 4096);
        assert_eq!(chunks.run(4096, 5 * CHUNK), 5 * CHUNK);
        let mut runs = Vec::new();
        let all = chunks.for_runs(4096, 5 * CHUNK, |at, in_file, len| {
            runs.push((at, in_file, len));
            Ok::<(), ()>(())
        });
        assert_eq!((all, runs.as_slice()), (Ok(()), &[(4096, 4096, 5 * CHUNK)][..]));
    }

    /// Random exchanges against a plain array.
    #[test]
    fn the_table_agrees_with_a_naive_one() {
        let count = if cfg!(miri) { 9 } else { 40 };
        let chunks = Chunks::new(count * CHUNK - 4096);
        chunks.make().unwrap();
        chunks.make().unwrap();
        let mut naive: Vec<usize> = (0..count).collect();
        let mut random = 1u64;
        let mut below = |limit: usize| {
            random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (random >> 33) as usize % limit
        };
        for _ in 0..if cfg!(miri) { 20 } else { 2_000 } {
            let len = 1 + below(count / 3);
            let (a, b) = (below(count - len), below(count - len));
            if a.abs_diff(b) < len {
                continue;
            }
            chunks.exchange(a, b, len);
            (0..len).for_each(|n| naive.swap(a + n, b + n));
            let breaks = naive.windows(2).filter(|pair| pair[0] + 1 != pair[1]).count();
            assert_eq!(chunks.breaks(), breaks);
            let (start, len) = (below(count - 2) * CHUNK + 8192, CHUNK + 4096 * below(300));
            let len = len.min(count * CHUNK - 4096 - start);
            let mut seen = start;
            let all = chunks.for_runs(start, len, |at, in_file, run| {
                assert!(at == seen && run > 0);
                for byte in (at..at + run).step_by(4096) {
                    let expected = naive[byte / CHUNK] * CHUNK + byte % CHUNK;
                    assert_eq!(in_file as usize + byte - at, expected);
                }
                let end = at + run;
                let on = end < start + len && naive[end / CHUNK] == naive[(end - 1) / CHUNK] + 1;
                assert!(!on, "a run is as long as it can be");
                seen += run;
                Ok::<(), ()>(())
            });
            assert!(all.is_ok() && seen == start + len);
        }
        chunks.reset();
        assert_eq!((chunks.breaks(), chunks.run(0, count * CHUNK)), (0, count * CHUNK));
    }
}
