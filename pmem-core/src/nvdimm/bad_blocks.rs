//! Lists of bad blocks, as `badblocks` attributes have them.

/// A range of bytes that cannot be read.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct BadRange {
    /// Where it starts, in bytes from the start of the device or region.
    pub offset: u64,
    /// Its length in bytes.
    pub len: u64,
}

const SECTOR: u64 = 512;

/// Reads lines of the form `first-sector count`. Lines of another form, and ranges beyond what a file
/// can have, are left out.
///
/// # Examples
/// ```
/// use pmem_core::nvdimm::{BadRange, bad_ranges};
/// let bad: Vec<_> = bad_ranges(b"8 1\n1024 16\n").collect();
/// assert_eq!(bad[1], BadRange { offset: 1024 * 512, len: 16 * 512 });
/// ```
pub fn bad_ranges(text: &[u8]) -> impl Iterator<Item = BadRange> {
    text.split(|&byte| byte == b'\n').filter_map(|line| {
        let mut numbers = line.split(u8::is_ascii_whitespace).filter(|part| !part.is_empty());
        let first = crate::file::parse_decimal(numbers.next()?)?;
        let count = crate::file::parse_decimal(numbers.next()?)?;
        if numbers.next().is_some() || count == 0 {
            return None;
        }
        let (offset, len) = (first.checked_mul(SECTOR)?, count.checked_mul(SECTOR)?);
        let end = offset.checked_add(len)?;
        i64::try_from(end).ok()?;
        Some(BadRange { offset, len })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn odd_lines_are_left_out() {
        let text = b"0 8\n\nx 1\n3\n4 0\n5 1 6\n-1 2\n 16 2 \n18446744073709551615 1\n7 99999999999999999\n";
        let bad: Vec<_> = bad_ranges(text).collect();
        assert_eq!(bad, [BadRange { offset: 0, len: 4096 }, BadRange { offset: 8192, len: 1024 }]);
    }
}
