//! Slabs: extents cut into equal slots, with a bitmap of free slots in the descriptor.
//!
//! Pages of a slab on which no slot is in use can be given back to the source: they are *punched*, and so
//! are the slots on them, which leave the bitmap until their pages are backed again.
//!
//! ```text
//! pages    |  backed  |  backed  | punched  | punched  |  backed  |
//! slots    | live | free | free | punched     | punched | free | live |
//! bitmap      0      1      1       0            0        1       0
//! ```
//!
//! Everything here runs under the lock of the slab's bin. The slots themselves are never touched.
//! Only what belongs to the bin is borrowed: the arena looks at the rest of the descriptor meanwhile.

use crate::config::{PAGE, PAGE_SHIFT};
use crate::extent::Extent;
use crate::size_class::{ClassId, Geometry};

use core::ops::Range;

/// Groups of slabs by how many slots are free; the fullest are used first, so that the emptiest
/// can become whole free extents again.
pub(crate) const GROUPS: usize = 4;
/// The list of slabs all of whose free slots are punched, behind those of the groups.
pub(crate) const PUNCHED_LIST: usize = GROUPS;
/// Lists of slabs in a bin.
pub(crate) const LISTS: usize = GROUPS + 1;

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
        (*extent).punched_slots = 0;
        (*extent).idle_pages = 0;
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

/// Whether no slot of a slab is in use.
///
/// # Safety
/// The bin lock of the slab is held.
pub(crate) unsafe fn is_empty(slab: *const Extent) -> bool {
    // SAFETY: contract.
    unsafe { (*slab).free_slots + (*slab).punched_slots == (*slab).slots }
}

/// The list for a slab of `slots` slots, of which so many are free and punched; `None` for a full one.
pub(crate) fn list_of(free: u16, punched: u16, slots: u16) -> Option<u8> {
    match (free, punched) {
        (0, 0) => None,
        (0, _) => Some(PUNCHED_LIST as u8),
        _ => Some(group_of(free, slots - punched)),
    }
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

/// The pages that `slot` lies on, as bits. Only for slabs of several slots.
#[inline(never)]
fn pages_of(geometry: &Geometry, slot: usize) -> u16 {
    let first = slot * geometry.size as usize;
    bits_of(first >> PAGE_SHIFT, ((first + geometry.size as usize - 1) >> PAGE_SHIFT) + 1)
}

/// Bits `first..end`, of which the slabs that can be punched have no more.
pub(crate) fn bits_of(first: usize, end: usize) -> u16 {
    let below = |end: usize| ((1u32 << end.min(16)) - 1) as u16;
    below(end) & !below(first)
}

/// The slots of a slab of `slots` slots that lie on its page `page`, at least in part.
fn slots_on(slots: u16, geometry: &Geometry, page: usize) -> Range<usize> {
    let end = slot_of(geometry, (page << PAGE_SHIFT) + PAGE - 1) + 1;
    slot_of(geometry, page << PAGE_SHIFT)..end.min(usize::from(slots))
}

/// Whether pages of slabs of this shape can be punched: not if a slot is all there is.
pub(crate) fn can_be_punched(geometry: &Geometry) -> bool {
    geometry.slots > 1
}

/// The backed pages of a slab on which no slot is in use, as bits.
///
/// # Safety
/// The bin lock of the slab is held.
#[inline(never)]
pub(crate) unsafe fn empty_pages(slab: *const Extent, geometry: &Geometry) -> u16 {
    // SAFETY: contract.
    let (bitmap, slots, pages, punched) =
        unsafe { (&(*slab).bitmap, (*slab).slots, (*slab).pages as usize, (*slab).punched) };
    let mut empty = 0;
    for page in (0..pages).filter(|page| punched >> page & 1 == 0) {
        let mut on = slots_on(slots, geometry, page);
        // A tail without slots stays as it is.
        let is_empty = !on.is_empty()
            && on.all(|slot| {
                let free = bitmap[slot / 64] >> (slot % 64) & 1 == 1;
                free || punched & pages_of(geometry, slot) != 0
            });
        empty |= u16::from(is_empty) << page;
    }
    empty
}

/// Takes the slots on pages `pages`, which were punched just now, out of the bitmap, and calls `visit`
/// with each. Returns how many.
///
/// # Safety
/// The bin lock of the slab is held; no slot on these pages is in use.
pub(crate) unsafe fn withdraw(
    slab: *mut Extent,
    geometry: &Geometry,
    pages: u16,
    mut visit: impl FnMut(usize),
) -> u16 {
    let mut withdrawn = 0;
    // SAFETY: contract.
    unsafe {
        for slot in 0..usize::from((*slab).slots) {
            let (word, bit) = (&mut (*slab).bitmap[slot / 64], 1u64 << (slot % 64));
            if *word & bit != 0 && pages_of(geometry, slot) & pages != 0 {
                *word &= !bit;
                withdrawn += 1;
                visit(slot);
            }
        }
        (*slab).free_slots -= withdrawn;
        (*slab).punched_slots += withdrawn;
    }
    withdrawn
}

/// Puts slots on pages `pages`, which are backed again, into the bitmap. Returns how many.
///
/// # Safety
/// The bin lock of the slab is held; these pages were punched before.
#[inline(never)]
pub(crate) unsafe fn restore(slab: *mut Extent, geometry: &Geometry, pages: u16) -> u16 {
    let mut restored = 0;
    // SAFETY: contract.
    unsafe {
        let punched = (*slab).punched;
        for slot in 0..usize::from((*slab).slots) {
            let lies_on = pages_of(geometry, slot);
            if lies_on & pages != 0 && lies_on & punched == 0 {
                (*slab).bitmap[slot / 64] |= 1 << (slot % 64);
                restored += 1;
            }
        }
        (*slab).free_slots += restored;
        (*slab).punched_slots -= restored;
    }
    restored
}

/// Slots on punched pages, at least in part; `None` if one of them is in the bitmap.
///
/// # Safety
/// The bin lock of the slab is held.
#[inline(never)]
pub(crate) unsafe fn count_punched(slab: *const Extent, geometry: &Geometry) -> Option<u16> {
    // SAFETY: contract.
    let (bitmap, slots, punched) = unsafe { (&(*slab).bitmap, (*slab).slots, (*slab).punched) };
    let on_them = (0..usize::from(slots)).filter(|&slot| punched & pages_of(geometry, slot) != 0);
    let none_free = on_them.clone().all(|slot| bitmap[slot / 64] >> (slot % 64) & 1 == 0);
    none_free.then(|| on_them.count() as u16)
}

/// The punched pages that have to be backed for `want` more slots, or as many as there are; 0 when
/// none is punched.
///
/// # Safety
/// The bin lock of the slab is held.
#[inline(never)]
pub(crate) unsafe fn pages_for(slab: *const Extent, geometry: &Geometry, want: usize) -> u16 {
    // SAFETY: contract.
    let (slots, punched) = unsafe { (usize::from((*slab).slots), (*slab).punched) };
    let mut found = (0..slots).map(|slot| pages_of(geometry, slot)).filter(|on| on & punched != 0);
    let pages = found.by_ref().take(want).fold(0, |all, pages| all | pages);
    pages & punched
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
    // SAFETY: contract.
    let punched = unsafe { (*extent).punched };
    if *word & bit != 0 || punched != 0 && punched & pages_of(geometry, slot) != 0 {
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
