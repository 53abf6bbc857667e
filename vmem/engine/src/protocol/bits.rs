//! Bits of pages that several threads own: each its own pages, but perhaps in the same word.

use super::atomic::{AtomicU64, Ordering::Relaxed};

/// One bit per page. A bit is written by the owner of its page: under the arena lock, or by the purge
/// that holds the extent outside it; neighbours in a word may belong to others, hence the atomics.
#[derive(Clone, Copy)]
pub(crate) struct PageBits<'a> {
    words: &'a [AtomicU64],
    /// No bit from here on was ever set.
    used: usize,
}

impl<'a> PageBits<'a> {
    /// The bits in `words`; no bit from `used` on was ever set, and they are not looked at.
    #[inline]
    pub(crate) fn new(words: &'a [AtomicU64], used: usize) -> PageBits<'a> {
        PageBits { words, used }
    }

    /// Calls `f(word, mask)` for each word that holds bits of `start..end`.
    fn for_words(self, start: usize, end: usize, mut f: impl FnMut(&AtomicU64, u64) -> bool) {
        let end = end.min(self.used);
        let mut page = start;
        while page < end {
            let last = ((page | 63) + 1).min(end);
            let width = last - page;
            let mask = (!0u64 >> (64 - width)) << (page % 64);
            if !f(&self.words[page / 64], mask) {
                return;
            }
            page = last;
        }
    }

    /// Sets the bits of pages that are declared used.
    pub(crate) fn set(self, start: usize, end: usize) {
        debug_assert!(end <= self.used);
        self.for_words(start, end, |word, mask| {
            // Most are set already, and looking is cheaper than an atomic store.
            if word.load(Relaxed) & mask != mask {
                word.fetch_or(mask, Relaxed);
            }
            true
        });
    }

    /// Clears the bits of `start..end`.
    pub(crate) fn clear(self, start: usize, end: usize) {
        self.for_words(start, end, |word, mask| {
            word.fetch_and(!mask, Relaxed);
            true
        });
    }

    /// Exchanges the bits of `pages` pages from `a` and from `b`: whole words of pages that the caller
    /// owns and that are declared used; the two ranges do not overlap.
    pub(crate) fn exchange(self, a: usize, b: usize, pages: usize) {
        debug_assert!((a | b | pages).is_multiple_of(64));
        debug_assert!(a.abs_diff(b) >= pages && a.max(b) + pages <= self.used);
        for word in 0..pages / 64 {
            let (a, b) = (&self.words[a / 64 + word], &self.words[b / 64 + word]);
            let bits = a.load(Relaxed);
            a.store(b.load(Relaxed), Relaxed);
            b.store(bits, Relaxed);
        }
    }

    /// Number of bits set in `start..end`.
    pub(crate) fn count(self, start: usize, end: usize) -> usize {
        let mut count = 0;
        self.for_words(start, end, |word, mask| {
            count += (word.load(Relaxed) & mask).count_ones() as usize;
            true
        });
        count
    }

    /// Whether no bit is set in `start..end`.
    pub(crate) fn none(self, start: usize, end: usize) -> bool {
        let mut none = true;
        self.for_words(start, end, |word, mask| {
            none = word.load(Relaxed) & mask == 0;
            none
        });
        none
    }

    /// First page in `start..end` whose bit equals `value`, or `end`.
    fn find(self, start: usize, end: usize, value: bool) -> usize {
        let used = end.min(self.used);
        if start >= used {
            return if value { end } else { start };
        }
        let mut page = start;
        while page < used {
            let word = self.words[page / 64].load(Relaxed);
            let word = if value { word } else { !word } >> (page % 64);
            if word != 0 {
                let found = page + word.trailing_zeros() as usize;
                if found < used {
                    return found;
                }
                break;
            }
            page = (page | 63) + 1;
        }
        if value { end } else { used }
    }

    /// The next maximal run of bits equal to `value` in `start..end`.
    pub(crate) fn next_run(self, start: usize, end: usize, value: bool) -> Option<(usize, usize)> {
        let first = self.find(start, end, value);
        (first < end).then(|| (first, self.find(first, end, !value)))
    }
}

#[cfg(all(test, not(pmem_loom)))]
mod tests {
    use super::*;

    #[test]
    fn bits_agree_with_a_naive_array() {
        for used in [256, 255, 129, 128, 64, 1, 0] {
            agree_with_a_naive_array(used);
        }
    }

    #[test]
    fn words_change_places() {
        let words: [AtomicU64; 4] = [1, 2, 3, 4].map(AtomicU64::new);
        let bits = PageBits::new(&words, 256);
        bits.exchange(128, 0, 128);
        assert_eq!(words.each_ref().map(|word| word.load(Relaxed)), [3, 4, 1, 2]);
        bits.exchange(64, 192, 64);
        assert_eq!(words.each_ref().map(|word| word.load(Relaxed)), [3, 2, 1, 4]);
    }

    fn agree_with_a_naive_array(used: usize) {
        let words: [AtomicU64; 4] = Default::default();
        let bits = PageBits::new(&words, used);
        let mut naive = [false; 256];
        let mut random = 1u64;
        for _ in 0..if cfg!(miri) { 200 } else { 10_000 } {
            random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let a = (random >> 20) as usize % 257;
            let b = (random >> 40) as usize % 257;
            let (a, b) = (a.min(b), a.max(b));
            match random >> 60 & 3 {
                0 => {
                    let (a, b) = (a.min(used), b.min(used));
                    bits.set(a, b);
                    naive[a..b].fill(true);
                }
                1 => {
                    bits.clear(a, b);
                    naive[a..b].fill(false);
                }
                _ => {
                    let expected = naive[a..b].iter().filter(|&&set| set).count();
                    assert_eq!(bits.count(a, b), expected);
                    assert_eq!(bits.none(a, b), expected == 0);
                    for value in [false, true] {
                        let first = (a..b).find(|&page| naive[page] == value);
                        let run = bits.next_run(a, b, value);
                        assert_eq!(run.map(|run| run.0), first);
                        if let Some((first, last)) = run {
                            assert!(naive[first..last].iter().all(|&bit| bit == value));
                            assert!(last == b || naive[last] != value);
                        }
                    }
                }
            }
        }
    }
}
