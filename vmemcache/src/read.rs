//! Reading without a copy.

use crate::block::{Header, Loc, Pieces};
use crate::shard::Shard;
use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Release;

/// What keeps an entry's bytes from being overwritten.
#[derive(Debug)]
enum Pin {
    /// A cell with the entry's address.
    Cell(&'static AtomicUsize),
    /// An entry in the shard's list, for threads that have no cell left.
    Listed,
}

/// A value in the cache, readable in place.
///
/// The bytes stay as they are while the guard lives, even if the entry is evicted or replaced meanwhile; their space
/// comes back when the guard is dropped. So guards are for reading, not for keeping: a put that needs the space of a pinned value
/// evicts others, and fails when nothing else is left.
///
/// # Cost
/// Made and dropped with one store each, in memory that no other thread writes. The eighth guard that a thread holds at once, and
/// all beyond, take the shard's lock instead.
pub struct Value<'c> {
    shard: &'c Shard,
    loc: Loc,
    header: Header,
    pin: Pin,
}

/// A [`Value`] apart from its shard: small enough for two registers. It has to become one again.
#[must_use]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pinned {
    cell: Option<&'static AtomicUsize>,
    /// 0 when there is nothing.
    loc: Loc,
}

impl Pinned {
    pub(crate) const NOTHING: Pinned = Pinned { cell: None, loc: 0 };
}

impl<'c> Value<'c> {
    pub(crate) fn into_pinned(self) -> Pinned {
        let value = ManuallyDrop::new(self);
        let cell = match value.pin {
            Pin::Cell(cell) => Some(cell),
            Pin::Listed => None,
        };
        Pinned { cell, loc: value.loc }
    }

    /// # Safety
    /// Made by [`into_pinned`](Self::into_pinned) of a value in this shard, and used once.
    #[inline]
    pub(crate) unsafe fn of(shard: &'c Shard, pinned: Pinned) -> Option<Value<'c>> {
        let Pinned { cell, loc } = pinned;
        (loc != 0).then(|| {
            // SAFETY: still pinned.
            let header = unsafe { shard.units.header(loc) };
            Value { shard, loc, header, pin: cell.map_or(Pin::Listed, Pin::Cell) }
        })
    }

    /// # Safety
    /// The cell protects the entry at `loc`, which has this header.
    #[inline]
    pub(crate) unsafe fn in_cell(
        shard: &'c Shard,
        loc: Loc,
        header: Header,
        cell: &'static AtomicUsize,
    ) -> Value<'c> {
        Value { shard, loc, header, pin: Pin::Cell(cell) }
    }

    /// # Safety
    /// `loc` is in the shard's list of pins once for this guard, and the entry there has this header.
    pub(crate) unsafe fn listed(shard: &'c Shard, loc: Loc, header: Header) -> Value<'c> {
        Value { shard, loc, header, pin: Pin::Listed }
    }

    /// Length in bytes.
    #[inline]
    pub fn len(&self) -> usize {
        self.header.value_len() as usize
    }

    /// Whether it has no bytes.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The key that it is stored under.
    pub fn key(&self) -> &[u8] {
        // SAFETY: pinned.
        unsafe { self.shard.units.key(self.loc, self.header) }
    }

    /// The whole value, if it is in one piece. It always is in caches that were built
    /// [`contiguous`](crate::Builder::contiguous).
    #[inline]
    pub fn as_slice(&self) -> Option<&[u8]> {
        if self.header.is_chained() {
            return None;
        }
        // SAFETY: pinned, and in one piece.
        Some(unsafe {
            let start = self.shard.units.layout(self.header).key + self.header.key_len();
            std::slice::from_raw_parts(self.shard.units.at(self.loc, start), self.len())
        })
    }

    /// The value in order, as one or more slices.
    pub fn slices(&self) -> Slices<'_> {
        Slices {
            // SAFETY: pinned.
            pieces: unsafe { self.shard.units.pieces(self.loc, self.header) },
            guard: PhantomData,
        }
    }

    /// The whole value, copied only if it is in several pieces.
    pub fn to_cow(&self) -> Cow<'_, [u8]> {
        self.as_slice().map_or_else(|| Cow::Owned(self.to_vec()), Cow::Borrowed)
    }

    /// A copy of the value.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut copy = Vec::with_capacity(self.len());
        for slice in self.slices() {
            copy.extend_from_slice(slice);
        }
        copy
    }

    /// Copies from byte `offset` of the value on, as much as there is and fits. Gives how much.
    #[inline]
    pub fn copy_to(&self, buffer: &mut [u8], offset: usize) -> usize {
        // SAFETY: the buffer has this room.
        unsafe { self.copy_raw(buffer.as_mut_ptr(), buffer.len(), offset) }
    }

    /// As [`copy_to`](Self::copy_to), to memory that need not have a value yet.
    ///
    /// # Safety
    /// At `buffer` is room for `room` bytes, or for as much of the value as there is.
    #[inline]
    pub(crate) unsafe fn copy_raw(&self, buffer: *mut u8, room: usize, offset: usize) -> usize {
        // SAFETY: pinned; the room is the caller's word.
        unsafe {
            let pieces = self.shard.units.pieces(self.loc, self.header);
            copy_pieces(pieces, buffer, room, offset)
        }
    }
}

/// Copies pieces from byte `offset` on into a buffer with `room` bytes.
///
/// # Safety
/// The pieces can be read. The buffer has the room, or as much of it as the pieces need.
#[inline]
pub(crate) unsafe fn copy_pieces(
    pieces: Pieces,
    buffer: *mut u8,
    room: usize,
    offset: usize,
) -> usize {
    let (mut skip, mut copied) = (offset, 0);
    for (start, len) in pieces {
        if copied == room {
            break;
        }
        if skip >= len {
            skip -= len;
            continue;
        }
        let count = (room - copied).min(len - skip);
        // SAFETY: `count` bytes are in the piece behind `skip`, by the caller's word, and fit into the buffer.
        unsafe { std::ptr::copy_nonoverlapping(start.add(skip), buffer.add(copied), count) };
        copied += count;
        skip = 0;
    }
    copied
}

impl Drop for Value<'_> {
    #[inline]
    fn drop(&mut self) {
        match self.pin {
            Pin::Cell(cell) => cell.store(0, Release),
            Pin::Listed => self.shard.unlist(self.loc),
        }
    }
}

impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Value").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl PartialEq<[u8]> for Value<'_> {
    fn eq(&self, other: &[u8]) -> bool {
        let mut rest = other;
        self.len() == other.len()
            && self.slices().all(|slice| {
                let (start, end) = rest.split_at(slice.len());
                rest = end;
                start == slice
            })
    }
}

/// The pieces of a [`Value`]; see [`Value::slices`].
#[derive(Clone, Debug)]
pub struct Slices<'v> {
    pieces: Pieces,
    guard: PhantomData<&'v Value<'v>>,
}

impl<'v> Iterator for Slices<'v> {
    type Item = &'v [u8];

    fn next(&mut self) -> Option<&'v [u8]> {
        let (start, len) = self.pieces.next()?;
        // SAFETY: the guard, which is borrowed, pins the entry.
        Some(unsafe { std::slice::from_raw_parts(start, len) })
    }
}
