//! Buckets for numbers of any size with a bounded relative width: eight per power of two.

const SUB_BITS: u32 = 3;
const SUB: u64 = 1 << SUB_BITS;

/// The number of buckets for values below 2^`bits`.
pub(crate) const fn count(bits: u32) -> usize {
    ((bits - SUB_BITS + 1) << SUB_BITS) as usize
}

/// The bucket of a value.
#[inline]
pub(crate) const fn of(value: u64) -> usize {
    if value < SUB {
        return value as usize;
    }
    let exponent = value.ilog2() - SUB_BITS;
    ((exponent as usize + 1) << SUB_BITS) + ((value >> exponent) & (SUB - 1)) as usize
}

/// The smallest value of a bucket.
pub(crate) const fn start(bucket: usize) -> u64 {
    let (row, sub) = ((bucket >> SUB_BITS) as u32, bucket as u64 & (SUB - 1));
    if row == 0 { sub } else { (SUB + sub) << (row - 1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_each_other_and_are_narrow() {
        for bucket in 0..count(40) {
            let (first, next) = (start(bucket), start(bucket + 1));
            assert!(first < next);
            assert_eq!((of(first), of(next - 1)), (bucket, bucket));
            assert!((next - first) * 8 <= first.max(8));
        }
        assert_eq!(of((1 << 40) - 1), count(40) - 1);
    }
}
