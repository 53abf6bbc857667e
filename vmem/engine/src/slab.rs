//! Slabs: extents cut into equal slots, with a bitmap of free slots in the descriptor.
//!
//! Everything here runs under the lock of the slab's bin. The slots themselves are never touched.
//! Only what belongs to the bin is borrowed: the arena looks at the rest of the descriptor meanwhile.

use crate::config::PAGE_SHIFT;
use crate::extent::Extent;
use crate::size_class::{ClassId, Geometry};

/// Groups of slabs by how many slots are free; the fullest are used first, so that the emptiest
/// can become whole free extents again.
pub(crate) const GROUPS: usize = 4;

/// Number of slots in a slab of `pages` pages: what the geometry says, or as many as fit into a
/// smaller one, which may have a tail.
pub(crate) fn slots_in(geometry: &Geometry, pages: usize) -> u16 {
    if pages == usize::from(geometry.pages) {
        return geometry.slots;
    }
    let fit = (pages << PAGE_SHIFT) / geometry.size as usize;
    fit.min(usize::from(geometry.slots)) as u16
}

/// Marks all slots of a fresh slab free.
///
/// # Safety
/// `extent` is a run in state `Slab`, of at most `class.geometry().pages` pages but large enough for
/// a slot, owned by the caller.
pub(crate) unsafe fn format(extent: *mut Extent, class: ClassId) {
    let geometry = class.geometry();
    // SAFETY: contract.
    let (bitmap, slots) = unsafe {
        let slots = slots_in(geometry, (*extent).pages());
        (*extent).class = class.0;
        (*extent).slots = slots;
        (*extent).free_slots = slots;
        (&mut (*extent).bitmap, slots)
    };
    let mut left = usize::from(slots);
    for word in bitmap {
        let here = left.min(64);
        *word = if here == 0 { 0 } else { !0 >> (64 - here) };
        left -= here;
    }
}

/// The occupancy group of a slab with `free` of its `slots` free.
#[inline]
pub(crate) fn group_of(free: u16, slots: u16) -> u8 {
    let scaled = u32::from(free) * GROUPS as u32;
    // Nearly always a power of two.
    let quarter = match slots.is_power_of_two() {
        true => scaled >> slots.trailing_zeros(),
        false => scaled / u32::from(slots),
    };
    quarter.min(GROUPS as u32 - 1) as u8
}

/// Takes up to `want` free slots, writing their addresses to `out[..taken]` so that the lowest
/// comes last. Returns how many were taken.
///
/// # Safety
/// The bin lock of the slab is held; `first` is the address of its first slot; `out` has room.
pub(crate) unsafe fn take(
    extent: *mut Extent,
    geometry: &Geometry,
    first: *mut u8,
    out: *mut *mut u8,
    want: usize,
) -> usize {
    // SAFETY: contract.
    let (bitmap, free_slots) = unsafe { (&mut (*extent).bitmap, &mut (*extent).free_slots) };
    let count = want.min(usize::from(*free_slots));
    let mut left = count;
    let mut word_first = first;
    for word in bitmap {
        let mut bits = *word;
        while bits != 0 && left > 0 {
            left -= 1;
            let slot = bits.trailing_zeros() as usize;
            bits &= bits - 1;
            // SAFETY: `left < count <= want`, room by contract.
            unsafe { out.add(left).write(word_first.wrapping_add(slot * geometry.size as usize)) };
        }
        *word = bits;
        if left == 0 {
            break;
        }
        word_first = word_first.wrapping_add(64 * geometry.size as usize);
    }
    debug_assert_eq!(left, 0, "free_slots agrees with the bitmap");
    *free_slots -= count as u16;
    count
}

/// Result of [`give`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Given {
    /// The slot is free again.
    Done,
    /// The slot was free already: a double free.
    AlreadyFree,
    /// The address is not the start of a slot.
    Misaligned,
}

/// Marks the slot at byte `offset` of the slab free.
///
/// # Safety
/// The bin lock of the slab is held; `offset` lies inside the slab.
pub(crate) unsafe fn give(extent: *mut Extent, geometry: &Geometry, offset: usize) -> Given {
    // SAFETY: contract.
    let (bitmap, free_slots) = unsafe { (&mut (*extent).bitmap, &mut (*extent).free_slots) };
    let slot = slot_of(geometry, offset);
    // SAFETY: contract.
    let slots = unsafe { (*extent).slots };
    if slot * geometry.size as usize != offset || slot >= usize::from(slots) {
        return Given::Misaligned;
    }
    let (word, bit) = (&mut bitmap[slot / 64], 1u64 << (slot % 64));
    if *word & bit != 0 {
        return Given::AlreadyFree;
    }
    *word |= bit;
    *free_slots += 1;
    Given::Done
}

/// The slot that byte `offset` of a slab lies in.
#[inline]
pub(crate) fn slot_of(geometry: &Geometry, offset: usize) -> usize {
    ((offset as u128 * u128::from(geometry.reciprocal)) >> 64) as usize
}
