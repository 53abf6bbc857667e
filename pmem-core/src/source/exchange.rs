//! Exchanging what two ranges show, by moving mappings.
//!
//! ```text
//!   source          a: A        b: B
//!   1  out          a: -        b: -        elsewhere: A  B     (all or nothing)
//!   2  in           a: B        b: A        elsewhere: nothing
//! ```
//!
//! The kernel moves tables of pages, not bytes, and each mapping keeps what belongs to it: advice,
//! NUMA policy. Step 1 replaces nothing: whatever the kernel does not like about the ranges, or
//! lacks for them, shows there, and is undone. Step 2 replaces mappings by mappings. No address of
//! the source is ever unmapped, so no other thread can get one from `mmap`.
//!
//! Step 2 may need some mappings more than there were, and a process may have about 65,000. They
//! are taken before step 1 and given up before step 2, so that it does not fail for want of them.

use core::ptr::NonNull;
use core::sync::atomic::Ordering::Relaxed;

use super::{Source, SourceKind};
use crate::align::{align_up, is_aligned};
use crate::errno::Errno;
use crate::sys::{self, Protection};

/// Most places where neighbours in a source are none in its file: each costs a mapping, of about
/// 65,000 that a process may have.
const MAX_BREAKS: usize = 8192;

/// An exchange adds at most this many, at the ends of the two ranges.
const NEW_BREAKS: usize = 4;

/// Most mappings that one exchange moves.
const MAX_MOVES: usize = 64;

impl Source {
    /// Whether [`exchange`](Self::exchange) is possible here. It may turn out that the kernel cannot
    /// do it; then this changes to `false`.
    #[must_use]
    pub fn can_exchange(&self) -> bool {
        let kind = self.kind.is_file() || self.kind == SourceKind::Anonymous;
        kind && self.huge.is_none() && self.granule <= Source::CHUNK && self.exchanges.load(Relaxed)
    }

    /// Exchanges what the ranges of `len` bytes at `a` and at `b` show: content, and with it the
    /// space behind it. What is committed of one range is so in the other afterwards. Costs some ten
    /// microseconds, and a fraction of a microsecond per MiB.
    ///
    /// # Errors
    /// `EINVAL` for ranges that are not on borders of [`CHUNK`](Self::CHUNK) bytes, leave the
    /// source, or overlap, and where the kernel cannot do it (before Linux 5.7, for files before
    /// 5.13); `EOPNOTSUPP` for huge pages, device DAX and a caller's region; `ENOMEM`, `E2BIG`,
    /// `EFAULT` when there are too many mappings. Nothing has changed then.
    ///
    /// # Safety
    /// No other thread uses the ranges or makes an exchange in this source meanwhile. Neither range
    /// is frozen or replaced, not even in part.
    pub unsafe fn exchange(&self, a: usize, b: usize, len: usize) -> Result<(), Errno> {
        self.range(a, len)?;
        self.range(b, len)?;
        if !is_aligned(a | b | len, Source::CHUNK) || a.abs_diff(b) < len {
            return Err(Errno::EINVAL);
        }
        if !self.can_exchange() {
            return Err(Errno::EOPNOTSUPP);
        }
        self.injected_fault()?;
        if len == 0 {
            return Ok(());
        }
        self.chunks.make()?;
        if self.chunks.breaks() + NEW_BREAKS > MAX_BREAKS {
            return Err(Errno::ENOMEM);
        }
        let mut moves = self.moves(a, b, len)?;
        let room = Room::take(moves.count())?;
        let out = self.move_out(&mut moves, len);
        drop(room);
        for step in moves.done() {
            let to = if out.is_ok() { step.to } else { step.from };
            // SAFETY: the mapping is ours, `to` is a part of the source whose pages were moved out;
            // its users wait by contract.
            unsafe { move_in(step.aside, to, step.len) };
        }
        match out {
            Ok(()) => {
                let [a, b, count] = [a, b, len].map(|bytes| bytes / Source::CHUNK);
                self.chunks.exchange(a, b, count);
                Ok(())
            }
            Err(errno) => {
                if errno == Errno::EINVAL {
                    self.exchanges.store(false, Relaxed);
                }
                Err(errno)
            }
        }
    }

    /// What has to be moved: each part that is one mapping, in both ranges.
    fn moves(&self, a: usize, b: usize, len: usize) -> Result<Moves, Errno> {
        let mut moves = Moves::new()?;
        let mut done = 0;
        while done < len {
            let part = self.run(a + done, len - done).min(self.run(b + done, len - done));
            for (from, to) in [(a, b), (b, a)] {
                // SAFETY: both are inside the source, as `exchange` has checked.
                let [from, to] = [from, to].map(|offset| unsafe { self.base.add(offset + done) });
                moves.push(Move { from, to, len: part, aside: from })?;
            }
            done += part;
        }
        Ok(moves)
    }

    /// Step 1. Only what is done on return was moved.
    fn move_out(&self, moves: &mut Moves, len: usize) -> Result<(), Errno> {
        // Somewhere where huge pages stay whole; a wish, for another thread may be faster.
        let wanted = 2 * len + Source::CHUNK;
        let free = sys::reserve(wanted)?;
        // SAFETY: made just now. Should it fail, wishes are not granted and address space is lost.
        let _ = unsafe { sys::unmap(free, wanted) };
        let skip = align_up(free.as_ptr().addr(), Source::CHUNK) - free.as_ptr().addr();
        let mut offset = skip;
        while let Some(step) = moves.next() {
            let wish = NonNull::new(free.as_ptr().wrapping_add(offset)).unwrap_or(step.from);
            self.injected_fault()?;
            // SAFETY: a part of the source, whose users wait by contract.
            let aside = unsafe { sys::move_pages_out(step.from, step.len, wish) }?;
            offset += step.len;
            moves.moved_to(aside);
        }
        Ok(())
    }
}

/// Puts a mapping in the place of another one.
///
/// The kernel has done as much with these very mappings in the other direction, and there is room
/// for more of them: it can only be in want of memory for tables of pages, or other threads have
/// made very many mappings in the last microseconds. Neither lasts, and without the bytes nobody
/// can go on.
///
/// # Safety
/// Both ranges belong to the caller, nobody uses them, and the content of `to` is not needed.
unsafe fn move_in(aside: NonNull<u8>, to: NonNull<u8>, len: usize) {
    const ATTEMPTS: usize = 100_000;
    for _ in 0..ATTEMPTS {
        // SAFETY: contract.
        if unsafe { sys::move_mapping_over(aside, to, len) }.is_ok() {
            return;
        }
        sys::yield_now();
    }
    sys::abort_with(b"pmem: a mapping could not be moved back (out of memory)\n");
}

/// A mapping that is moved.
#[derive(Copy, Clone)]
struct Move {
    from: NonNull<u8>,
    to: NonNull<u8>,
    len: usize,
    /// Where the pages are between the two steps.
    aside: NonNull<u8>,
}

/// A list of [`Move`]s, of which the first ones have been moved out.
///
/// In a page of its own: whoever calls may have a small stack.
struct Moves {
    list: NonNull<Move>,
    count: usize,
    done: usize,
}

impl Moves {
    const BYTES: usize = MAX_MOVES * size_of::<Move>();

    fn new() -> Result<Moves, Errno> {
        Ok(Moves { list: sys::map_anonymous(Moves::BYTES)?.cast(), count: 0, done: 0 })
    }

    fn push(&mut self, step: Move) -> Result<(), Errno> {
        if self.count == MAX_MOVES {
            return Err(Errno::E2BIG);
        }
        // SAFETY: the mapping has room for so many.
        unsafe { self.list.add(self.count).write(step) };
        self.count += 1;
        Ok(())
    }

    fn list(&self) -> &[Move] {
        // SAFETY: so many have been written.
        unsafe { core::slice::from_raw_parts(self.list.as_ptr(), self.count) }
    }

    fn count(&self) -> usize {
        self.count
    }

    /// The next one to be moved out.
    fn next(&self) -> Option<Move> {
        self.list().get(self.done).copied()
    }

    fn moved_to(&mut self, aside: NonNull<u8>) {
        if self.done < self.count {
            // SAFETY: one of those that have been written.
            unsafe { (*self.list.add(self.done).as_ptr()).aside = aside };
            self.done += 1;
        }
    }

    fn done(&self) -> impl Iterator<Item = Move> {
        self.list().iter().take(self.done).copied()
    }
}

impl Drop for Moves {
    fn drop(&mut self) {
        // SAFETY: ours, and nobody uses it.
        let _ = unsafe { sys::unmap(self.list.cast(), Moves::BYTES) };
    }
}

/// Mappings that are taken in order to be given up.
struct Room {
    address: NonNull<u8>,
    len: usize,
}

impl Room {
    /// For so many moves in. One leaves a mapping on either side, where there was one.
    fn take(moves: usize) -> Result<Room, Errno> {
        const FOR_THE_KERNEL: usize = 8;
        let parts = 2 * moves + FOR_THE_KERNEL;
        let page = sys::page_size();
        let len = parts * page;
        let address = sys::reserve(len)?;
        let room = Room { address, len };
        for part in (1..parts).step_by(2) {
            // SAFETY: inside the range.
            let part = unsafe { address.add(part * page) };
            // SAFETY: ours, and nobody uses it. Neighbours that differ are mappings of their own.
            unsafe { sys::protect(part, page, Protection::Read) }?;
        }
        Ok(room)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        // SAFETY: ours, and nobody uses it.
        let _ = unsafe { sys::unmap(self.address, self.len) };
    }
}
