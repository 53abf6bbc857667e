//! Layout of blocks that are written atomically (BTT).
//!
//! A namespace is a row of arenas. An arena:
//!
//! ```text
//! 0         info block                      4096 bytes
//! dataoff   internal_nlba blocks of internal_lbasize bytes
//! mapoff    map: external_nlba entries of 4 bytes
//! flogoff   flog: nfree slots of 64 bytes
//! infooff   copy of the info block          4096 bytes
//! ```

use crate::{Uuid, checksum};
use core::mem::offset_of;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of an info block; also what all parts of an arena are multiples of.
pub const INFO_SIZE: u64 = 4096;
/// The smallest arena in bytes.
pub const LEAST_ARENA: u64 = 1 << 24;
/// The largest arena in bytes.
pub const MOST_ARENA: u64 = 1 << 39;
/// Free blocks, and flog slots, of a new arena.
pub const DEFAULT_NFREE: u32 = 256;
/// Bytes of a flog slot: two entries and padding.
pub const FLOG_SLOT_SIZE: u64 = 64;
/// Bytes of a map entry.
pub const MAP_ENTRY_SIZE: u64 = 4;
const SIGNATURE: [u8; 16] = *b"BTT_ARENA_INFO\0\0";
const LEAST_INTERNAL_BLOCK: u64 = 512;
const INTERNAL_BLOCK_ALIGNMENT: u64 = 256;

/// Flags of an info block.
pub const INFO_FLAG_ERROR: u32 = 1;

/// The info block: what an arena looks like.
#[derive(Clone, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct InfoBlock {
    signature: [u8; 16],
    /// The same in all arenas of a pool.
    pub uuid: Uuid,
    /// That of the pool set.
    pub parent_uuid: Uuid,
    /// See [`INFO_FLAG_ERROR`].
    pub flags: U32,
    /// 1.
    pub major: U16,
    /// 1.
    pub minor: U16,
    /// Bytes of a block, as the user sees it.
    pub external_lbasize: U32,
    /// Blocks the user sees.
    pub external_nlba: U32,
    /// Bytes from block to block on the medium.
    pub internal_lbasize: U32,
    /// Blocks on the medium.
    pub internal_nlba: U32,
    /// Blocks that are free at any time; flog slots.
    pub nfree: U32,
    /// 4096.
    pub infosize: U32,
    /// Distance to the next arena; 0 in the last one.
    pub nextoff: U64,
    /// Distance to the first block.
    pub dataoff: U64,
    /// Distance to the map.
    pub mapoff: U64,
    /// Distance to the flog.
    pub flogoff: U64,
    /// Distance to the copy of the info block.
    pub infooff: U64,
    unused: [u8; 3968],
    checksum: U64,
}

const _: () = {
    assert!(size_of::<InfoBlock>() as u64 == INFO_SIZE);
    assert!(offset_of!(InfoBlock, uuid) == 16);
    assert!(offset_of!(InfoBlock, parent_uuid) == 32);
    assert!(offset_of!(InfoBlock, flags) == 48);
    assert!(offset_of!(InfoBlock, major) == 52);
    assert!(offset_of!(InfoBlock, minor) == 54);
    assert!(offset_of!(InfoBlock, external_lbasize) == 56);
    assert!(offset_of!(InfoBlock, external_nlba) == 60);
    assert!(offset_of!(InfoBlock, internal_lbasize) == 64);
    assert!(offset_of!(InfoBlock, internal_nlba) == 68);
    assert!(offset_of!(InfoBlock, nfree) == 72);
    assert!(offset_of!(InfoBlock, infosize) == 76);
    assert!(offset_of!(InfoBlock, nextoff) == 80);
    assert!(offset_of!(InfoBlock, dataoff) == 88);
    assert!(offset_of!(InfoBlock, mapoff) == 96);
    assert!(offset_of!(InfoBlock, flogoff) == 104);
    assert!(offset_of!(InfoBlock, infooff) == 112);
    assert!(offset_of!(InfoBlock, unused) == 120);
    assert!(offset_of!(InfoBlock, checksum) == 4088);
};

/// Sizes of the arenas of a namespace of so many bytes. What is left is smaller than an arena.
pub fn arena_sizes(namespace: u64) -> impl Iterator<Item = u64> {
    let mut rest = namespace;
    core::iter::from_fn(move || {
        let size = rest.min(MOST_ARENA);
        rest -= size;
        (size >= LEAST_ARENA).then_some(size)
    })
}

impl InfoBlock {
    /// Plans an arena of `size` bytes (a multiple of 4096) for blocks of `block_size`; `rest` bytes of the
    /// namespace follow it. `None` when so few blocks would fit that they could not be written atomically.
    /// The checksum is set.
    #[must_use]
    pub fn plan(
        size: u64,
        rest: u64,
        block_size: u32,
        uuid: Uuid,
        parent_uuid: Uuid,
    ) -> Option<InfoBlock> {
        let internal = u64::from(block_size)
            .max(LEAST_INTERNAL_BLOCK)
            .next_multiple_of(INTERNAL_BLOCK_ALIGNMENT);
        let internal_lbasize = u32::try_from(internal).ok()?;
        let nfree = u64::from(DEFAULT_NFREE);
        let flog = (nfree * FLOG_SLOT_SIZE).next_multiple_of(INFO_SIZE);
        let available = size.checked_sub(2 * INFO_SIZE + flog + INFO_SIZE)?;
        let blocks = available / (internal + MAP_ENTRY_SIZE);
        if blocks < 2 * nfree {
            return None;
        }
        let infooff = size - INFO_SIZE;
        let flogoff = infooff - flog;
        let external = blocks - nfree;
        let mapoff = flogoff - (external * MAP_ENTRY_SIZE).next_multiple_of(INFO_SIZE);
        let mut info = InfoBlock {
            signature: SIGNATURE,
            uuid,
            parent_uuid,
            flags: U32::ZERO,
            major: U16::new(1),
            minor: U16::new(1),
            external_lbasize: block_size.into(),
            // An arena of 512 GiB has at most 2^30 blocks.
            external_nlba: u32::try_from(external).ok()?.into(),
            internal_lbasize: internal_lbasize.into(),
            internal_nlba: u32::try_from(blocks).ok()?.into(),
            nfree: DEFAULT_NFREE.into(),
            infosize: U32::new(INFO_SIZE as u32),
            nextoff: if rest >= LEAST_ARENA { size } else { 0 }.into(),
            dataoff: INFO_SIZE.into(),
            mapoff: mapoff.into(),
            flogoff: flogoff.into(),
            infooff: infooff.into(),
            unused: [0; 3968],
            checksum: U64::ZERO,
        };
        info.seal();
        Some(info)
    }

    /// Whether it was one of the pool set `parent` once, whatever has become of it.
    #[must_use]
    pub fn is_of(&self, parent: Uuid) -> bool {
        self.signature == SIGNATURE && self.parent_uuid == parent
    }

    fn sum(&self) -> u64 {
        checksum(self.as_bytes(), Some(offset_of!(InfoBlock, checksum)), None)
    }

    /// Sets the checksum.
    pub fn seal(&mut self) {
        self.checksum = self.sum().into();
    }

    /// Whether this is an info block of the pool set `parent`.
    #[must_use]
    pub fn is_valid(&self, parent: Uuid) -> bool {
        self.signature == SIGNATURE
            && self.parent_uuid == parent
            && self.major.get() >= 1
            && self.checksum.get() == self.sum()
    }

    /// Why blocks of `block_size` cannot be had from an arena with this info block that has `size` bytes, if so.
    ///
    /// A valid checksum says nothing about whether offsets lie inside of the arena.
    #[must_use]
    pub fn fault(&self, size: u64, block_size: u32) -> Option<String> {
        let number = |field: U32| u64::from(field.get());
        let inside = |offset: U64, len: Option<u64>, limit: u64| {
            let end = len.and_then(|len| offset.get().checked_add(len));
            offset.get() >= INFO_SIZE && end.is_some_and(|end| end <= limit)
        };
        let (external, internal) = (number(self.external_nlba), number(self.internal_nlba));
        let nfree = number(self.nfree);
        let data = internal.checked_mul(number(self.internal_lbasize));
        let infooff = self.infooff.get();
        if number(self.external_lbasize) != u64::from(block_size) {
            Some(format!("blocks of {} bytes, not {block_size}", self.external_lbasize))
        } else if nfree == 0 {
            Some("no free blocks (nfree is 0)".into())
        } else if external == 0 {
            Some("no blocks (external_nlba is 0)".into())
        } else if number(self.internal_lbasize) < u64::from(block_size) {
            Some(format!("internal blocks of {} bytes", self.internal_lbasize))
        } else if internal < external + nfree || internal > u64::from(MapEntry::BLOCK) + 1 {
            Some(format!("{internal} internal blocks for {external} and {nfree} free ones"))
        } else if infooff.checked_add(INFO_SIZE).is_none_or(|end| end > size)
            || !inside(self.dataoff, data, infooff)
            || !inside(self.mapoff, Some(self.map_size()), infooff)
            || !inside(self.flogoff, nfree.checked_mul(FLOG_SLOT_SIZE), infooff)
        {
            Some(format!("map, flog or data outside of an arena of {size} bytes"))
        } else if !self.mapoff.get().is_multiple_of(8)
            || !self.flogoff.get().is_multiple_of(16)
            || !infooff.is_multiple_of(INFO_SIZE)
        {
            Some("map, flog or copy of the info block are not aligned".into())
        } else {
            self.overlap(data.unwrap_or(u64::MAX))
        }
    }

    /// Bytes of the map; entries are changed in pairs, as words of 8 bytes.
    #[must_use]
    pub fn map_size(&self) -> u64 {
        (u64::from(self.external_nlba.get()) * MAP_ENTRY_SIZE).next_multiple_of(8)
    }

    fn overlap(&self, data: u64) -> Option<String> {
        let mut ranges = [
            (self.dataoff.get(), data),
            (self.mapoff.get(), self.map_size()),
            (self.flogoff.get(), u64::from(self.nfree.get()) * FLOG_SLOT_SIZE),
        ];
        ranges.sort_unstable();
        let apart = ranges.windows(2).all(|pair| pair[0].0 + pair[0].1 <= pair[1].0);
        (!apart).then(|| "map, flog and data overlap".into())
    }
}

/// State of a block.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum BlockState {
    /// Never written: reads as zeros, and has the block with its own number.
    Initial,
    /// Reads as zeros.
    Zero,
    /// Cannot be read until it is written.
    Error,
    /// Has data.
    Normal,
}

/// An entry of the map: where a block lies, and its state.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct MapEntry(pub u32);

impl MapEntry {
    /// The bits of the block number.
    pub const BLOCK: u32 = (1 << 30) - 1;
    const ZERO: u32 = 0x8000_0000;
    const ERROR: u32 = 0x4000_0000;

    /// Data in `block`.
    #[inline]
    #[must_use]
    pub const fn normal(block: u32) -> MapEntry {
        MapEntry(block | Self::ZERO | Self::ERROR)
    }

    /// Zeros; owns `block`.
    #[inline]
    #[must_use]
    pub const fn zero(block: u32) -> MapEntry {
        MapEntry(block | Self::ZERO)
    }

    /// An error; owns `block`.
    #[inline]
    #[must_use]
    pub const fn error(block: u32) -> MapEntry {
        MapEntry(block | Self::ERROR)
    }

    /// The state.
    #[inline]
    #[must_use]
    pub const fn state(self) -> BlockState {
        match (self.0 & Self::ZERO != 0, self.0 & Self::ERROR != 0) {
            (false, false) => BlockState::Initial,
            (true, false) => BlockState::Zero,
            (false, true) => BlockState::Error,
            (true, true) => BlockState::Normal,
        }
    }

    /// The same with an initial entry, of the block `own`, written out.
    #[inline]
    #[must_use]
    pub const fn resolved(self, own: u32) -> MapEntry {
        match self.state() {
            BlockState::Initial => MapEntry::normal(own),
            _ => self,
        }
    }

    /// The block on the medium. Of a resolved entry.
    #[inline]
    #[must_use]
    pub const fn block(self) -> u32 {
        self.0 & Self::BLOCK
    }
}

/// One of the two entries of a flog slot.
#[derive(
    Copy,
    Clone,
    PartialEq,
    Eq,
    Debug,
    Default,
    FromBytes,
    IntoBytes,
    KnownLayout,
    Immutable,
    Unaligned,
)]
#[repr(C)]
pub struct FlogEntry {
    /// The block that was written.
    pub lba: U32,
    /// Its map entry before; the block in it is free.
    pub old_map: U32,
    /// Its map entry after.
    pub new_map: U32,
    /// 1, 2, 3, 1, ...; 0: never used.
    pub seq: U32,
}

const _: () = {
    assert!(size_of::<FlogEntry>() == 16);
    assert!(offset_of!(FlogEntry, new_map) == 8);
};

/// Where the second entry of a slot lies in it.
pub const FLOG_SECOND: u64 = size_of::<FlogEntry>() as u64;

impl FlogEntry {
    /// Of a new arena.
    #[must_use]
    pub fn initial(lane: u32, external_nlba: u32) -> FlogEntry {
        let map = MapEntry::zero(external_nlba + lane).0.into();
        FlogEntry { lba: lane.into(), old_map: map, new_map: map, seq: U32::new(1) }
    }

    /// Which of two entries is the current one; `None` when they contradict each other.
    #[must_use]
    pub fn current(pair: &[FlogEntry; 2]) -> Option<usize> {
        match pair.map(|entry| entry.seq.get()) {
            [a, b] if a == b => None,
            [0, _] => Some(1),
            [_, 0] => Some(0),
            [a, b] => Some(usize::from(next_seq(a) == b)),
        }
    }
}

/// The number after `seq`: 1, 2, 3, 1, ...
#[inline]
#[must_use]
pub const fn next_seq(seq: u32) -> u32 {
    match seq {
        1 => 2,
        2 => 3,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(pool: u64, block_size: u32) -> Option<InfoBlock> {
        InfoBlock::plan(pool - 8192, 0, block_size, Uuid::NULL, Uuid::NULL)
    }

    #[test]
    fn known_plans() {
        let info = plan(16_785_408, 512).unwrap();
        assert_eq!(info.internal_nlba.get(), 0x7eca);
        assert_eq!(info.external_nlba.get(), 0x7dca);
        assert_eq!(info.mapoff.get(), 0xfdb000);
        assert_eq!(info.flogoff.get(), 0xffb000);
        assert_eq!(info.infooff.get(), 0xfff000);
        for (block_size, count) in
            [(512, 32202), (513, 21439), (520, 21439), (4096, 3829), (30000, 298)]
        {
            assert_eq!(plan(16_785_408, block_size).unwrap().external_nlba.get(), count);
        }
        assert!(plan(16_785_408, 65536).is_none());
        assert!(plan(16_785_408, u32::MAX).is_none());
    }

    #[test]
    fn plans_fit_their_arena() {
        let mut size = LEAST_ARENA;
        while size <= MOST_ARENA {
            for block_size in [1, 511, 512, 513, 4096, 4104, 1 << 14] {
                let info = InfoBlock::plan(size, 0, block_size, Uuid::NULL, Uuid::NULL).unwrap();
                assert_eq!(info.fault(size, block_size), None, "{size} {block_size}");
                assert!(info.is_valid(Uuid::NULL));
                assert!(info.fault(size, block_size + 1).is_some());
                assert!(info.fault(size - INFO_SIZE, block_size).is_some());
            }
            size = (size * 3 / 2) & !4095;
        }
    }

    #[test]
    fn arenas_of_a_namespace() {
        let sizes = |size| arena_sizes(size).collect::<Vec<_>>();
        assert_eq!(sizes(LEAST_ARENA - 1), [0; 0]);
        assert_eq!(sizes(LEAST_ARENA), [LEAST_ARENA]);
        assert_eq!(sizes(MOST_ARENA + LEAST_ARENA - 1), [MOST_ARENA]);
        assert_eq!(sizes(2 * MOST_ARENA + LEAST_ARENA), [MOST_ARENA, MOST_ARENA, LEAST_ARENA]);
    }

    #[test]
    fn current_entries() {
        let current = |a, b| {
            let entry = |seq: u32| FlogEntry { seq: seq.into(), ..Default::default() };
            FlogEntry::current(&[entry(a), entry(b)])
        };
        assert_eq!(current(1, 0), Some(0));
        assert_eq!(current(0, 1), Some(1));
        assert_eq!(current(1, 2), Some(1));
        assert_eq!(current(3, 2), Some(0));
        assert_eq!(current(3, 1), Some(1));
        assert_eq!(current(1, 3), Some(0));
        assert_eq!(current(2, 2), None);
        assert_eq!(current(0, 0), None);
    }

    #[test]
    fn entries() {
        assert_eq!(MapEntry(5).state(), BlockState::Initial);
        assert_eq!(MapEntry(5).resolved(9), MapEntry::normal(9));
        assert_eq!(MapEntry::zero(5).resolved(9), MapEntry(0x8000_0005));
        assert_eq!(MapEntry::error(5).state(), BlockState::Error);
        assert_eq!(MapEntry::normal(5).block(), 5);
    }
}
