//! The checksum of all formats: a variant of Fletcher-64 over 32-bit little-endian words.

/// Sums `bytes`. Words at `stored_at` (8 bytes, the place of the sum itself) and from `skip_from` on count as zero,
/// but still advance the upper half.
///
/// Bytes behind the last whole word are not summed; every structure of the formats is a multiple of 4 bytes.
///
/// # Examples
/// ```
/// assert_eq!(pool_format::checksum(b"abcdefgh", None, None), 0x312e_2b27_ccca_c8c6);
/// ```
#[must_use]
pub fn checksum(bytes: &[u8], stored_at: Option<usize>, skip_from: Option<usize>) -> u64 {
    let counts = |offset: usize| {
        stored_at.is_none_or(|at| offset < at || offset >= at + 8)
            && skip_from.is_none_or(|from| offset < from)
    };
    let (mut low, mut high) = (0u32, 0u32);
    let (words, _) = bytes.as_chunks::<4>();
    for (index, word) in words.iter().enumerate() {
        if counts(index * 4) {
            low = low.wrapping_add(u32::from_le_bytes(*word));
        }
        high = high.wrapping_add(low);
    }
    u64::from(high) << 32 | u64::from(low)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_sums() {
        assert_eq!(checksum(&[0; 4096], None, None), 0);
        assert_eq!(checksum(b"abcdefgh", None, None), 0x312e_2b27_ccca_c8c6);
        let bytes: [u8; 16] = core::array::from_fn(|index| index as u8);
        assert_eq!(checksum(&bytes, None, None), 0x463c_3228_2420_1c18);
    }

    #[test]
    fn what_is_left_out_does_not_count() {
        let mut bytes = [7u8; 64];
        let sum = checksum(&bytes, Some(56), None);
        bytes[56..].fill(99);
        assert_eq!(checksum(&bytes, Some(56), None), sum);
        let sum = checksum(&bytes, None, Some(32));
        bytes[32..].fill(3);
        assert_eq!(checksum(&bytes, None, Some(32)), sum);
        bytes[31] = 0;
        assert_ne!(checksum(&bytes, None, Some(32)), sum);
    }
}
