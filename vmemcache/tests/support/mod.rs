//! What the tests share.
#![allow(dead_code, unreachable_pub, reason = "each test uses a part")]

/// A small random generator: a test is repeated by its seed.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }
}

/// Bytes that say which value they belong to, and where in it they are.
pub fn stamped(stamp: u64, len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len + 8);
    let mut word = stamp;
    while bytes.len() < len {
        bytes.extend_from_slice(&word.to_le_bytes());
        word = word.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(stamp);
    }
    bytes.truncate(len);
    bytes
}

/// Checks bytes made by [`stamped`], and gives the stamp.
pub fn check_stamped(bytes: &[u8]) -> u64 {
    let stamp = u64::from_le_bytes(bytes[..8].try_into().unwrap());
    assert!(bytes == stamped(stamp, bytes.len()), "a mixture of values");
    stamp
}
