//! The entries of one space, by token: where each one is, what filters and marks it. 8 bytes each.

use crate::arena::{Array, Zeroed};
use crate::atomic::Ordering::{Acquire, Relaxed, Release};
use crate::atomic::{AtomicU8, AtomicU16, AtomicU32};
use crate::block::Loc;
use crate::error::Error;
use crate::policy::Token;

/// Set in `place` of a slot without entry; the other bits are then the next such slot.
const EMPTY: u32 = 1 << 31;
const NIL: u32 = EMPTY - 1;

/// The units that a location can name.
pub(crate) const MAX_LOC: u32 = EMPTY - 1;

/// Somebody is telling the listener that the entry leaves.
pub(crate) const LEAVING: u8 = 1;
/// The entry expires at some time.
pub(crate) const EXPIRES: u8 = 2;

/// One entry.
#[derive(Debug)]
#[cfg_attr(pmem_loom, derive(Default))]
pub(crate) struct Slot {
    place: AtomicU32,
    /// The upper half of the hash that the index keeps.
    hash: AtomicU16,
    pub(crate) flags: AtomicU8,
    pub(crate) mark: AtomicU8,
}

#[cfg(not(pmem_loom))]
const _: () = assert!(size_of::<Slot>() == 8);

// SAFETY: atomics of plain numbers. A zeroed slot is in use by its bits, but no token leads to it before it was made.
unsafe impl Zeroed for Slot {
    #[cfg(pmem_loom)]
    fn clear(&self) {
        unreachable!("slots are never cleared");
    }
}

impl Slot {
    /// Where the entry is; none when the slot is empty.
    #[inline]
    pub(crate) fn loc(&self) -> Option<Loc> {
        let place = self.place.load(Acquire);
        (place & EMPTY == 0 && place != 0).then_some(place)
    }

    /// Puts another block in the place of the entry's.
    #[inline]
    pub(crate) fn set_loc(&self, loc: Loc) {
        debug_assert!(loc & EMPTY == 0 && loc != 0);
        self.place.store(loc, Release);
    }

    #[inline]
    pub(crate) fn hash(&self) -> u16 {
        self.hash.load(Relaxed)
    }

    pub(crate) fn has(&self, flag: u8) -> bool {
        self.flags.load(Relaxed) & flag != 0
    }

    /// Under the shard's lock, which all writers of flags hold.
    pub(crate) fn set_flag(&self, flag: u8, on: bool) {
        let flags = self.flags.load(Relaxed);
        self.flags.store(if on { flags | flag } else { flags & !flag }, Relaxed);
    }
}

/// The slots, as readers see them.
#[derive(Debug)]
pub(crate) struct Slab {
    slots: Array<Slot>,
}

/// What only the holder of the lock sees.
#[derive(Debug)]
pub(crate) struct SlabState {
    empty: u32,
    /// Slots that were ever in use.
    used: u32,
    pub(crate) live: u32,
}

impl Slab {
    pub(crate) fn new(max: u32) -> Result<(Slab, SlabState), Error> {
        let slots = Array::new(max.min(Token::MAX) as usize + 1)?;
        Ok((Slab { slots }, SlabState { empty: NIL, used: 0, live: 0 }))
    }

    #[cfg(all(test, not(pmem_loom)))]
    pub(crate) fn range(&self) -> (std::ptr::NonNull<u8>, usize) {
        self.slots.range()
    }

    #[inline]
    pub(crate) fn get(&self, token: u32) -> &Slot {
        &self.slots[token as usize]
    }

    /// The same without a check.
    ///
    /// # Safety
    /// The token was made by [`take`](Self::take).
    #[inline(always)]
    pub(crate) unsafe fn get_known(&self, token: u32) -> &Slot {
        debug_assert!((token as usize) < self.slots.len());
        // SAFETY: slots stay, also when they are given back.
        unsafe { self.slots.get_unchecked(token as usize) }
    }

    /// A slot for a new entry; none when there are as many entries as a slab can have.
    pub(crate) fn take(&self, state: &mut SlabState, hash: u16, flags: u8) -> Option<u32> {
        let token = match state.empty {
            NIL if (state.used as usize) < self.slots.len() => {
                state.used += 1;
                state.used - 1
            }
            NIL => return None,
            token => {
                state.empty = self.get(token).place.load(Relaxed) & !EMPTY;
                token
            }
        };
        let slot = self.get(token);
        slot.hash.store(hash, Relaxed);
        slot.flags.store(flags, Relaxed);
        slot.mark.store(0, Relaxed);
        state.live += 1;
        Some(token)
    }

    /// Whether [`take`](Self::take) has one.
    pub(crate) fn has_room(&self, state: &SlabState) -> bool {
        state.empty != NIL || (state.used as usize) < self.slots.len()
    }

    pub(crate) fn give_back(&self, state: &mut SlabState, token: u32) {
        self.get(token).place.store(EMPTY | state.empty, Release);
        state.empty = token;
        state.live -= 1;
    }

    /// Every token that may be live; check with [`Slot::loc`].
    pub(crate) fn tokens(state: &SlabState) -> std::ops::Range<u32> {
        0..state.used
    }

    /// DRAM in bytes for the entries there are.
    pub(crate) fn memory(state: &SlabState) -> u64 {
        u64::from(state.used) * size_of::<Slot>() as u64
    }
}
