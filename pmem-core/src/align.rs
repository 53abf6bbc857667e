//! Page, huge-page and cache-line constants, and checked rounding.
//!
//! Everything here is `const` and panic-free; alignments must be powers of two, which debug builds
//! assert.

/// The unit in which pools count memory, in bytes. The system's own page may be larger
/// (see [`sys::page_size`](crate::sys::page_size)); a source's granule is a multiple of both.
pub const PAGE_SIZE: usize = 4096;

/// Size of the huge pages that 4 KiB page tables offer, in bytes.
pub const HUGE_PAGE_SIZE: usize = 2 << 20;

/// Size of one cache line, in bytes, on every architecture this crate supports.
pub const CACHE_LINE: usize = 64;

/// Rounds `n` down to a multiple of `alignment`.
#[inline]
#[must_use]
pub const fn align_down(n: usize, alignment: usize) -> usize {
    debug_assert!(alignment.is_power_of_two());
    n & !(alignment - 1)
}

/// Rounds `n` up to a multiple of `alignment`.
///
/// The caller knows that the result fits; use [`checked_align_up`] for numbers that come from
/// outside.
#[inline]
#[must_use]
pub const fn align_up(n: usize, alignment: usize) -> usize {
    debug_assert!(alignment.is_power_of_two());
    align_down(n + (alignment - 1), alignment)
}

/// Rounds `n` up to a multiple of `alignment`, or gives `None` when the result does not fit into a
/// `usize`.
#[inline]
#[must_use]
pub const fn checked_align_up(n: usize, alignment: usize) -> Option<usize> {
    match n.checked_add(alignment - 1) {
        Some(sum) => Some(align_down(sum, alignment)),
        None => None,
    }
}

/// Says whether `n` is a multiple of `alignment`.
#[inline]
#[must_use]
pub const fn is_aligned(n: usize, alignment: usize) -> bool {
    debug_assert!(alignment.is_power_of_two());
    n & (alignment - 1) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_agrees_with_division() {
        for alignment in [1, 2, 8, 64, PAGE_SIZE, HUGE_PAGE_SIZE] {
            for n in (0..5).flat_map(|k| {
                let edge = k * alignment;
                [edge.saturating_sub(1), edge, edge + 1]
            }) {
                assert_eq!(align_down(n, alignment), n / alignment * alignment);
                assert_eq!(align_up(n, alignment), n.div_ceil(alignment) * alignment);
                assert_eq!(checked_align_up(n, alignment), Some(align_up(n, alignment)));
                assert_eq!(is_aligned(n, alignment), n % alignment == 0);
            }
        }
    }

    #[test]
    fn overflow_is_reported_not_wrapped() {
        assert_eq!(checked_align_up(usize::MAX, PAGE_SIZE), None);
        assert_eq!(
            checked_align_up(usize::MAX - PAGE_SIZE + 1, PAGE_SIZE),
            Some(usize::MAX - PAGE_SIZE + 1)
        );
        assert_eq!(checked_align_up(usize::MAX - PAGE_SIZE + 2, PAGE_SIZE), None);
    }
}
