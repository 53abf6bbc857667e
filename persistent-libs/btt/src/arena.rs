//! An arena: places of its structures, and what is known of it in memory.

use crate::Error;
use crate::readers::Readers;
use core::sync::atomic::{AtomicBool, Ordering};
use pmem_core::errno::Errno;
use pmem_core::sync::CachePadded;
use pool_format::Mapping;
use pool_format::btt::{
    FLOG_SECOND, FLOG_SLOT_SIZE, FlogEntry, INFO_FLAG_ERROR, INFO_SIZE, InfoBlock, MAP_ENTRY_SIZE,
    MapEntry, next_seq,
};
use std::sync::{Mutex, MutexGuard, PoisonError};
use zerocopy::{FromZeros, IntoBytes};

/// Bytes of the map that share a lock, and are made durable together.
const MAP_LINE: u64 = 64;

/// An arena that is in use.
#[derive(Debug)]
pub(crate) struct Arena {
    /// Blocks the user sees.
    pub(crate) external: u32,
    /// Blocks on the medium.
    pub(crate) internal: u32,
    /// Flog slots.
    pub(crate) nfree: u32,
    stride: u64,
    // Offsets in the mapping.
    start: u64,
    data: u64,
    map: u64,
    flog: u64,
    backup: u64,
    /// Entries of a line change one at a time. What it guards: the word whose last change may not be durable, or 0.
    map_locks: Box<[CachePadded<Mutex<u64>>]>,
    pub(crate) readers: Readers,
    /// Writes are refused.
    failed: AtomicBool,
}

/// What a lane knows of its flog slot in an arena.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FlogState {
    /// The block that the next write goes to.
    pub(crate) free: u32,
    /// Where the next entry goes.
    pub(crate) next_entry: u64,
    pub(crate) next_seq: u32,
    /// The word of the map that the last write changed, as long as that may not be durable; or 0.
    pub(crate) pending: u64,
}

/// A locked line of the map.
pub(crate) struct MapLine<'a> {
    pub(crate) pending: MutexGuard<'a, u64>,
}

impl Arena {
    /// Takes an arena into use. The info block has no fault.
    pub(crate) fn new(info: &InfoBlock, start: u64, slots: usize) -> Arena {
        let nfree = info.nfree.get();
        let locks = (0..nfree.min(1024)).map(|_| CachePadded::new(Mutex::new(0)));
        Arena {
            external: info.external_nlba.get(),
            internal: info.internal_nlba.get(),
            nfree,
            stride: info.internal_lbasize.get().into(),
            start,
            data: start + info.dataoff.get(),
            map: start + info.mapoff.get(),
            flog: start + info.flogoff.get(),
            backup: start + info.infooff.get(),
            map_locks: locks.collect(),
            readers: Readers::new(slots),
            failed: AtomicBool::new(info.flags.get() & INFO_FLAG_ERROR != 0),
        }
    }

    /// Where a block lies. Fails for blocks that the arena has not: the map is damaged.
    pub(crate) fn block(&self, block: u32) -> Result<u64, Error> {
        if block < self.internal {
            Ok(self.data + u64::from(block) * self.stride)
        } else {
            let text = format!("the map leads to block {block} of {}", self.internal);
            Err(Error::new(Errno::EIO, text))
        }
    }

    /// The word that has the entry of a block, and how far it is shifted in there.
    fn place(&self, lba: u32) -> (u64, u32) {
        let word = self.map + u64::from(lba) * MAP_ENTRY_SIZE / 8 * 8;
        (word, lba % 2 * 32)
    }

    /// The entry as it is: an initial one is not resolved.
    pub(crate) fn load(&self, mapping: &Mapping, lba: u32) -> MapEntry {
        let (word, shift) = self.place(lba);
        MapEntry((u64::from_le(mapping.load(word)) >> shift) as u32)
    }

    /// Changes an entry, not durably; tells which word it is in. The caller has locked the line: the other entry of the
    /// word is of the same one.
    pub(crate) fn store(
        &self,
        mapping: &Mapping,
        _line: &MapLine<'_>,
        lba: u32,
        entry: MapEntry,
    ) -> u64 {
        let (word, shift) = self.place(lba);
        let others = u64::from_le(mapping.load(word)) & !(u64::from(u32::MAX) << shift);
        mapping.store(word, (others | u64::from(entry.0) << shift).to_le());
        word
    }

    /// Locks the line of an entry.
    pub(crate) fn lock_line(&self, lba: u32) -> MapLine<'_> {
        let line = u64::from(lba) * MAP_ENTRY_SIZE / MAP_LINE;
        let lock = &self.map_locks[(line % self.map_locks.len() as u64) as usize];
        MapLine { pending: lock.lock().unwrap_or_else(PoisonError::into_inner) }
    }

    fn slot(&self, lane: u32) -> u64 {
        self.flog + u64::from(lane) * FLOG_SLOT_SIZE
    }

    /// Both entries of a lane.
    pub(crate) fn flog(&self, mapping: &Mapping, lane: u32) -> [FlogEntry; 2] {
        let mut pair = [FlogEntry::default(); 2];
        mapping.read(self.slot(lane), pair.as_mut_bytes());
        pair
    }

    /// What the current entry, number `which`, means for the next write.
    pub(crate) fn flog_state(&self, lane: u32, pair: &[FlogEntry; 2], which: usize) -> FlogState {
        let other = if which == 0 { FLOG_SECOND } else { 0 };
        FlogState {
            free: MapEntry(pair[which].old_map.get()).block(),
            next_entry: self.slot(lane) + other,
            next_seq: next_seq(pair[which].seq.get()),
            pending: 0,
        }
    }

    /// Whether writes are refused.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// Refuses writes from now on, in this process.
    pub(crate) fn fail(&self) {
        self.failed.store(true, Ordering::Relaxed);
    }

    /// Refuses writes from now on, for everybody.
    pub(crate) fn fail_for_ever(&self, mapping: &Mapping) {
        if self.failed.swap(true, Ordering::Relaxed) {
            return;
        }
        let mut info = InfoBlock::new_zeroed();
        mapping.read(self.start, info.as_mut_bytes());
        info.flags = (info.flags.get() | INFO_FLAG_ERROR).into();
        info.seal();
        // The medium has failed before; what fails now changes nothing.
        let _ = mapping.write(self.start, info.as_bytes());
        let _ = mapping.write(self.backup, info.as_bytes());
    }

    /// From the first to the last byte, for waiting with page granularity.
    pub(crate) fn bytes(&self) -> (u64, u64) {
        (self.start, self.backup + INFO_SIZE - self.start)
    }
}
