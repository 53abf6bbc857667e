//! Slots in random order, so that what lies behind a block cannot be told from the order of
//! allocations.
//!
//! A slab is used window by window, from a random one on, and the slots of a window come in random
//! order. Blocks allocated together thus lie close together, which programs depend on: taken from
//! anywhere in the slab they would cost a program that builds trees or lists half of its speed.

use crate::extent::Extent;
use crate::size_class::Geometry;

/// Slots that are shuffled with each other: one of these divides a word of the bitmap.
const WINDOW: usize = 16;
const WINDOWS_PER_WORD: usize = 64 / WINDOW;

/// The next of a sequence of numbers that nobody can tell from random ones by accident.
fn next(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    mixed(*seed)
}

/// The last step of splitmix64.
fn mixed(mut number: u64) -> u64 {
    number = (number ^ number >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    number = (number ^ number >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ number >> 31
}

/// As [`crate::slab::take`], in random order. `secret` decides where each slab begins.
///
/// # Safety
/// As there.
pub(super) unsafe fn take(
    slab: *mut Extent,
    geometry: &Geometry,
    first: *mut u8,
    out: *mut *mut u8,
    want: usize,
    secret: u64,
    seed: &mut u64,
) -> usize {
    // SAFETY: contract.
    let (bitmap, free_slots, slots) =
        unsafe { (&mut (*slab).bitmap, &mut (*slab).free_slots, (*slab).slots) };
    let windows = usize::from(slots).div_ceil(WINDOW);
    let start = mixed(secret ^ first.addr() as u64);
    let mut window = ((start >> 32) as usize * windows) >> 32;
    let count = want.min(usize::from(*free_slots));
    let mut left = count;
    while left > 0 {
        let shift = window % WINDOWS_PER_WORD * WINDOW;
        let word = &mut bitmap[window / WINDOWS_PER_WORD];
        let mut bits = (*word >> shift) as u16;
        // Four bits of it for each slot.
        let mut random = if bits == 0 { 0 } else { next(seed) };
        while bits != 0 && left > 0 {
            let turn = random as u32 % WINDOW as u32;
            random >>= WINDOW.trailing_zeros();
            let bit = (bits.rotate_right(turn).trailing_zeros() + turn) % WINDOW as u32;
            bits &= !(1 << bit);
            *word &= !(1 << (shift + bit as usize));
            let slot = window * WINDOW + bit as usize;
            left -= 1;
            // SAFETY: `left < count <= want`, room by contract.
            unsafe { out.add(left).write(first.wrapping_add(slot * geometry.size as usize)) };
        }
        window = if window + 1 == windows { 0 } else { window + 1 };
    }
    *free_slots -= count as u16;
    count
}

const _: () = assert!(WINDOW == u16::BITS as usize && WINDOW * 4 <= u64::BITS as usize);
