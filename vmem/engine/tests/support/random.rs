//! A generator with a printable seed, and the stamps by which tests recognise their blocks.

/// 64 bits of state, never 0 (xorshift).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// A generator whose seed is well mixed, for small and for consecutive numbers.
    pub(crate) fn new(number: u64) -> Random {
        Random((number + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// In `0..limit`.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        (self.next() >> 11) as usize % limit
    }

    /// Log-uniform, from 1 to less than `2 * max`.
    pub(crate) fn size(&mut self, max: usize) -> usize {
        let bits = self.below(max.ilog2() as usize + 1);
        (1 << bits) + self.below(1 << bits)
    }

    /// Puts a list into random order.
    pub(crate) fn shuffle<T>(&mut self, list: &mut [T]) {
        for last in (1..list.len()).rev() {
            list.swap(last, self.below(last + 1));
        }
    }
}

/// Whether all bytes equal `stamp`; by memcmp, because debug builds are slow at loops.
pub(crate) fn all_are(bytes: &[u8], stamp: u8) -> bool {
    bytes.is_empty() || (bytes[0] == stamp && bytes[1..] == bytes[..bytes.len() - 1])
}
