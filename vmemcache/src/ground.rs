//! Where the shards of a pool lie, and how much of each has space behind it.
//!
//! ```text
//! | head | shard 0: in use ......... | shard 1: in use ......... | ...
//!                 |<- part ->|<- no space ->|
//! ```
//!
//! Every shard has addresses for the largest size, its stride; space is behind the first part of it. Pages that two
//! shards share always have space.

use crate::block::{Loc, Units};
use crate::restart::{HEAD, SIZE_WORD, size_word};
use pmem_core::align::{align_down, align_up};
use pmem_core::errno::Errno;
use pmem_core::source::{Purged, Source, SourceKind};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Release;

#[derive(Debug)]
pub(crate) struct Ground {
    pub(crate) source: Source,
    /// Of the pool at its largest, in bytes.
    pub(crate) len: usize,
    /// Bytes before the first shard.
    pub(crate) head: usize,
    pub(crate) shards: usize,
    /// Bytes per unit of the heaps as a power of two.
    pub(crate) shift: u32,
    /// The random number of a file.
    pub(crate) salt: u64,
}

impl Ground {
    /// Bytes from one shard to the next.
    pub(crate) fn stride(&self) -> usize {
        (self.len - self.head) / self.shards / 64 * 64
    }

    /// Units of each shard at the largest size.
    pub(crate) fn most(&self) -> Loc {
        (self.stride() >> self.shift) as Loc
    }

    /// Units of each shard when the pool has this size.
    pub(crate) fn part(&self, size: usize) -> Loc {
        let part = size.min(self.len).saturating_sub(self.head) / self.shards / 64 * 64;
        (part >> self.shift) as Loc
    }

    /// The size of the pool when each shard has so many units.
    pub(crate) fn size(&self, part: Loc) -> usize {
        if part == self.most() {
            return self.len;
        }
        self.head + self.shards * ((part as usize) << self.shift)
    }

    /// Why the pool has the size that it has.
    pub(crate) fn fixed(&self) -> Option<&'static str> {
        match self.source.kind() {
            SourceKind::DeviceDax => Some("a device keeps its space"),
            SourceKind::CallerRegion => Some("its memory is the caller's"),
            _ => None,
        }
    }

    fn start(&self, shard: usize) -> usize {
        self.head + shard * self.stride()
    }

    pub(crate) fn units(&self, shard: usize, checked: bool) -> Units {
        // SAFETY: inside the source.
        let start = unsafe { self.source.base().add(self.start(shard)) };
        Units::new(start, self.shift, checked)
    }

    /// The first byte of the pool that is the shard's alone and behind its first `units`, on a page border.
    fn edge(&self, shard: usize, units: Loc) -> usize {
        let granule = self.source.granule();
        let end = self.start(shard) + ((units as usize) << self.shift);
        align_up(end, granule).min(self.end(shard))
    }

    /// Where the pages end that are the shard's alone.
    fn end(&self, shard: usize) -> usize {
        let granule = self.source.granule();
        let end = align_down(self.start(shard) + self.stride(), granule);
        end.max(align_up(self.start(shard), granule))
    }

    /// The ranges with space behind them when each shard has so many units.
    fn ranges(&self, part: Loc) -> impl Iterator<Item = (usize, usize)> {
        let all = part == self.most();
        let shards = if all { 0 } else { self.shards };
        (0..=shards).map(move |shard| {
            let from = if shard == 0 { 0 } else { self.end(shard - 1) };
            let to = if shard == shards { self.source.len() } else { self.edge(shard, part) };
            (from, to.max(from))
        })
    }

    /// Takes the space of a whole pool that holds nothing, so that nothing is missing later.
    pub(crate) fn commit_fresh(&self, part: Loc) -> Result<(), Errno> {
        if self.source.is_in_memory() {
            // Fewer misses of the address cache; a hint. Not on disks: a store to a huge page of the page cache takes blocks for all
            // of it, also for holes behind the part of a shard.
            self.source.advise_huge(0, self.source.len());
        }
        if !self.source.needs_commit() {
            return Ok(());
        }
        self.each(self.ranges(part), |from, len| self.source.commit_writable(from, len))
    }

    /// As [`commit_fresh`](Self::commit_fresh) for a pool that holds something.
    pub(crate) fn commit_filled(&self, part: Loc) -> Result<(), Errno> {
        for (from, to) in self.ranges(part) {
            self.source.commit(from, to - from)?;
        }
        Ok(())
    }

    /// Brings the pages of a pool into memory; without it they come as they are touched.
    pub(crate) fn populate(&self, part: Loc) {
        for (from, to) in self.ranges(part) {
            let _ = self.source.populate(from, to - from);
        }
    }

    /// Takes space for a shard that had `from` units and gets `to`. On an error nothing is taken.
    pub(crate) fn commit_more(&self, shard: usize, from: Loc, to: Loc) -> Result<(), Errno> {
        if !self.source.needs_commit() {
            return Ok(());
        }
        let (from, to) = (self.edge(shard, from), self.edge(shard, to));
        self.source.commit_writable(from, to - from)
    }

    /// Takes space for all ranges, or for none.
    fn each(
        &self,
        ranges: impl Iterator<Item = (usize, usize)>,
        commit: impl Fn(usize, usize) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        let mut done = Vec::new();
        for (from, to) in ranges {
            if let Err(errno) = commit(from, to - from) {
                for (from, to) in done {
                    // What cannot go back stays, and is taken again by who wants it next.
                    let _ = self.source.purge(from, to - from);
                }
                return Err(errno);
            }
            done.push((from, to));
        }
        Ok(())
    }

    /// Gives back what a shard has beyond its first `units`. The bytes that could not go back.
    pub(crate) fn give_back_from(&self, shard: usize, units: Loc) -> usize {
        let (from, to) = (self.edge(shard, units), self.end(shard));
        self.give_back(from, to)
    }

    fn give_back(&self, from: usize, to: usize) -> usize {
        if from >= to || self.source.purge(from, to - from) == Purged::Zeroed {
            return 0;
        }
        to - from
    }

    /// The whole pages of a piece of a shard, without its first word.
    fn inside(&self, shard: usize, piece: (Loc, u32)) -> (usize, usize) {
        let granule = self.source.granule();
        let byte = |loc: Loc| self.start(shard) + ((loc as usize) << self.shift);
        let from = align_up(byte(piece.0) + 8, granule);
        (from, align_down(byte(piece.0 + piece.1), granule).max(from))
    }

    /// Gives back the whole pages of a piece of a shard but for its first word. The bytes that could not go back.
    pub(crate) fn give_back_piece(&self, shard: usize, piece: (Loc, u32)) -> usize {
        let (from, to) = self.inside(shard, piece);
        self.give_back(from, to)
    }

    /// Takes again what [`give_back_piece`](Self::give_back_piece) gave.
    pub(crate) fn commit_piece(&self, shard: usize, piece: (Loc, u32)) -> Result<(), Errno> {
        if !self.source.needs_commit() {
            return Ok(());
        }
        let (from, to) = self.inside(shard, piece);
        self.source.commit_writable(from, to - from)
    }

    /// In the file of a cache that outlives its process: writes down how many units each shard has.
    pub(crate) fn record(&self, part: Loc) {
        if self.head == HEAD {
            // SAFETY: inside the first page, which has space and is no heap's; aligned to words.
            let word = unsafe { self.source.base().add(SIZE_WORD).cast::<AtomicU64>().as_ref() };
            word.store(size_word(self.salt, part), Release);
        }
    }
}
