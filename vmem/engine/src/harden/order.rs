//! Slots in random order, so that what lies behind a block cannot be told from the order of
//! allocations.

use crate::extent::Extent;
use crate::size_class::Geometry;

/// The next of a sequence of numbers that nobody can tell from random ones by accident.
fn next(seed: &mut u64) -> u64 {
    // splitmix64
    *seed = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut number = *seed;
    number = (number ^ number >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    number = (number ^ number >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ number >> 31
}

/// As [`crate::slab::take`], with slots from anywhere in the slab.
///
/// # Safety
/// As there.
pub(super) unsafe fn take(
    slab: *mut Extent,
    geometry: &Geometry,
    first: *mut u8,
    out: *mut *mut u8,
    want: usize,
    seed: &mut u64,
) -> usize {
    // SAFETY: contract.
    let (bitmap, free_slots, slots) =
        unsafe { (&mut (*slab).bitmap, &mut (*slab).free_slots, (*slab).slots) };
    let words = usize::from(slots).div_ceil(64);
    let count = want.min(usize::from(*free_slots));
    for taken in 0..count {
        let random = next(seed);
        let mut word = ((random >> 32) as usize * words) >> 32;
        while bitmap[word] == 0 {
            word = if word + 1 == words { 0 } else { word + 1 };
        }
        let turn = random as u32 % 64;
        let bit = (bitmap[word].rotate_right(turn).trailing_zeros() + turn) % 64;
        bitmap[word] &= !(1 << bit);
        let slot = word * 64 + bit as usize;
        // SAFETY: `taken < want`, room by contract.
        unsafe { out.add(taken).write(first.wrapping_add(slot * geometry.size as usize)) };
    }
    *free_slots -= count as u16;
    count
}
