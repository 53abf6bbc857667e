//! Which lanes of a bucket hold a tag. Exact, and without a branch.

/// A set of lanes.
#[derive(Clone, Copy)]
pub(super) struct Lanes(Bits);

#[cfg(target_arch = "x86_64")]
type Bits = u32;
#[cfg(not(target_arch = "x86_64"))]
type Bits = u64;

/// Bit n is lane n.
#[cfg(target_arch = "x86_64")]
impl Lanes {
    #[inline(always)]
    pub(super) fn of(words: [u64; 3], tag: u16) -> Lanes {
        use std::arch::x86_64::*;
        // SAFETY: every x86_64 has SSE2.
        let mask = unsafe {
            let tags = _mm_set1_epi16(tag.cast_signed());
            let low = _mm_set_epi64x(words[1].cast_signed(), words[0].cast_signed());
            let high = _mm_cvtsi64_si128(words[2].cast_signed());
            let low = _mm_cmpeq_epi16(low, tags);
            let high = _mm_cmpeq_epi16(high, tags);
            _mm_movemask_epi8(_mm_packs_epi16(low, high))
        };
        Lanes(mask.cast_unsigned() & ((1 << super::LANES) - 1))
    }

    #[inline(always)]
    fn lane(bit: usize) -> usize {
        bit
    }
}

/// Bit 16 * (lane % 4) + lane / 4 is a lane.
#[cfg(not(target_arch = "x86_64"))]
impl Lanes {
    #[inline(always)]
    pub(super) fn of(words: [u64; 3], tag: u16) -> Lanes {
        Lanes(generic::of(words, tag))
    }

    #[inline(always)]
    fn lane(bit: usize) -> usize {
        generic::lane(bit)
    }
}

impl Lanes {
    #[inline(always)]
    pub(super) fn count(self) -> usize {
        self.0.count_ones() as usize
    }
}

impl Iterator for Lanes {
    type Item = usize;

    #[inline(always)]
    fn next(&mut self) -> Option<usize> {
        if self.0 == 0 {
            return None;
        }
        let bit = self.0.trailing_zeros() as usize;
        self.0 &= self.0 - 1;
        Some(Self::lane(bit))
    }
}

#[cfg(any(test, not(target_arch = "x86_64")))]
mod generic {
    const LOW_BITS: u64 = 0x0001_0001_0001_0001;
    const OTHER_BITS: u64 = LOW_BITS * 0x7fff;
    /// The lanes of the third word that are tags.
    const THIRD: u64 = 0xffff_ffff;

    /// The lanes of a word that hold `tag`, as their highest bits.
    const fn matching(word: u64, tag: u16) -> u64 {
        let different = word ^ (LOW_BITS * tag as u64);
        !(((different & OTHER_BITS) + OTHER_BITS) | different | OTHER_BITS)
    }

    pub(super) const fn of(words: [u64; 3], tag: u16) -> u64 {
        matching(words[0], tag) >> 15
            | matching(words[1], tag) >> 14
            | (matching(words[2], tag) & THIRD) >> 13
    }

    pub(super) const fn lane(bit: usize) -> usize {
        (bit % 4) * 4 + bit / 16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_find_the_same_lanes() {
        let mut random = 1_u64;
        let mut next = || {
            random = random.wrapping_mul(0xD134_2543_DE82_EF95).wrapping_add(1);
            // Words of few tags, among them the most and the least.
            let pick = |n: u64| [0, 1, 0x7fff, 0x8000, 0x8001, 0xffff, 0xfffe, 2][(n % 8) as usize];
            (0..4).fold(0, |word, at| word << 16 | pick(random >> (40 + 5 * at)))
        };
        for _ in 0..if cfg!(miri) { 50 } else { 20_000 } {
            let words = [next(), next(), next()];
            for tag in [0, 1, 2, 0x7fff, 0x8000, 0xffff] {
                let lane = |&lane: &usize| (words[lane / 4] >> (lane % 4 * 16)) as u16 == tag;
                let wanted: Vec<_> = (0..super::super::LANES).filter(lane).collect();
                assert!(Lanes::of(words, tag).eq(wanted.iter().copied()), "{words:x?} {tag:x}");
                let bits = generic::of(words, tag);
                let mut lanes: Vec<_> =
                    (0..64).filter(|bit| bits >> bit & 1 != 0).map(generic::lane).collect();
                lanes.sort_unstable();
                assert_eq!(lanes, wanted, "{words:x?} {tag:x}");
                assert_eq!(Lanes::of(words, tag).count(), wanted.len());
            }
        }
    }
}
