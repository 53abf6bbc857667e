//! Lists of free blocks by size: one per size below 512 units, 32 per doubling above.

use crate::block::Loc;

const EXACT: u32 = 512;
const EXACT_BITS: u32 = EXACT.trailing_zeros();
const STEP_BITS: u32 = 5;
const DOUBLINGS: u32 = 32 - EXACT_BITS;
const COUNT: usize = (EXACT + (DOUBLINGS << STEP_BITS)) as usize;
const WORDS: usize = COUNT.div_ceil(64);

const _: () = assert!(WORDS <= 64, "one summary word");

#[derive(Debug)]
pub(super) struct Bins {
    heads: [Loc; COUNT],
    /// One bit per list that is not empty, and one per word of these.
    filled: [u64; WORDS],
    summary: u64,
}

impl Bins {
    pub(super) const fn new() -> Bins {
        Bins { heads: [0; COUNT], filled: [0; WORDS], summary: 0 }
    }

    /// The list of blocks of this size.
    #[inline]
    pub(super) const fn of(units: u32) -> usize {
        if units < EXACT {
            return units as usize;
        }
        let doubling = units.ilog2();
        let step = (units >> (doubling - STEP_BITS)) & ((1 << STEP_BITS) - 1);
        (EXACT + ((doubling - EXACT_BITS) << STEP_BITS) + step) as usize
    }

    /// Whether all blocks of the list have the same size.
    pub(super) const fn is_exact(bin: usize) -> bool {
        bin < EXACT as usize
    }

    #[inline]
    pub(super) fn head(&self, bin: usize) -> Option<Loc> {
        let head = self.heads[bin];
        (head != 0).then_some(head)
    }

    #[inline]
    pub(super) fn set_head(&mut self, bin: usize, loc: Loc) {
        self.heads[bin] = loc;
        let (word, bit) = (bin / 64, 1 << (bin % 64));
        if loc != 0 {
            self.filled[word] |= bit;
            self.summary |= 1 << word;
        } else {
            self.filled[word] &= !bit;
            if self.filled[word] == 0 {
                self.summary &= !(1 << word);
            }
        }
    }

    /// The first list from `bin` on that is not empty.
    #[inline]
    pub(super) fn first_from(&self, bin: usize) -> Option<usize> {
        let word = bin / 64;
        if word >= WORDS {
            return None;
        }
        let here = self.filled[word] & (!0 << (bin % 64));
        if here != 0 {
            return Some(word * 64 + here.trailing_zeros() as usize);
        }
        let later = self.summary & (!1 << word);
        (later != 0).then(|| {
            let word = later.trailing_zeros() as usize;
            word * 64 + self.filled[word].trailing_zeros() as usize
        })
    }

    /// The list with the largest blocks.
    pub(super) fn last(&self) -> Option<usize> {
        let word = self.summary.checked_ilog2()? as usize;
        Some(word * 64 + self.filled[word].ilog2() as usize)
    }

    pub(super) fn each_head(&self, mut visit: impl FnMut(usize, Loc)) {
        for (bin, &head) in self.heads.iter().enumerate() {
            if head != 0 {
                visit(bin, head);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_map_to_rising_lists() {
        let mut last = 0;
        for units in 1..if cfg!(miri) { 3000 } else { 100_000 } {
            let bin = Bins::of(units);
            assert!(bin == last || bin == last + 1, "{units}");
            last = bin;
        }
        assert!(Bins::of(u32::MAX) < COUNT);
    }

    #[test]
    fn filled_lists_are_found() {
        let mut bins = Bins::new();
        for bin in [3, 63, 64, 700, COUNT - 1] {
            bins.set_head(bin, 1);
        }
        let mut found = vec![];
        let mut from = 0;
        while let Some(bin) = bins.first_from(from) {
            found.push(bin);
            from = bin + 1;
        }
        assert_eq!(found, [3, 63, 64, 700, COUNT - 1]);
        assert_eq!(bins.last(), Some(COUNT - 1));
        bins.set_head(COUNT - 1, 0);
        bins.set_head(63, 0);
        assert_eq!((bins.last(), bins.first_from(4)), (Some(700), Some(64)));
    }
}
