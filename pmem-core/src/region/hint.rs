//! Where the process's mappings leave room: for users who want their pools at certain addresses, to read
//! dumps or to repeat a run.

use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::errno::Errno;
use crate::sys::{self, Access, Fd, OpenFlags};

/// Addresses below are the system's choice.
static FROM: AtomicUsize = AtomicUsize::new(0);

/// Files and devices that are mapped from now on go to the first free, aligned range at or above `address`; 0 leaves
/// the choice to the system.
pub fn prefer_addresses_from(address: usize) {
    FROM.store(address, Relaxed);
}

/// Reads a value of `PMEM_MMAP_HINT`: hexadecimal, with or without `0x`. `None` for anything else.
#[must_use]
pub fn parse_hint(text: &[u8]) -> Option<usize> {
    let digits = text.strip_prefix(b"0x").or(text.strip_prefix(b"0X")).unwrap_or(text);
    let digits = str::from_utf8(digits).ok().filter(|digits| !digits.starts_with('+'))?;
    usize::from_str_radix(digits, 16).ok()
}

/// The preferred place for `len` bytes; `None` when there is no preference, or no such place.
pub(super) fn preferred_place(len: usize, alignment: usize) -> Option<usize> {
    match FROM.load(Relaxed) {
        0 => None,
        from => {
            let maps = sys::open_at(
                Fd::CURRENT_DIRECTORY,
                c"/proc/self/maps",
                OpenFlags::new(Access::Read),
            );
            let maps = maps.ok()?;
            let place = first_gap(from, len, alignment, |buffer| sys::read(maps, buffer));
            // SAFETY: opened above and used nowhere else.
            unsafe { sys::close(maps) };
            place
        }
    }
}

/// Looks for a gap between the mappings that `read` tells in the form of `/proc/self/maps`.
fn first_gap(
    from: usize,
    len: usize,
    alignment: usize,
    mut read: impl FnMut(&mut [u8]) -> Result<usize, Errno>,
) -> Option<usize> {
    /// Which part of a line comes next.
    enum Part {
        Start,
        End,
        Rest,
    }
    let mut candidate = from.checked_next_multiple_of(alignment)?;
    let (mut part, mut start, mut end) = (Part::Start, 0usize, 0usize);
    let mut buffer = [0; 1024];
    loop {
        let got = read(&mut buffer).ok()?;
        if got == 0 {
            break;
        }
        for &byte in buffer.get(..got)? {
            let digit = char::from(byte).to_digit(16).map(|digit| digit as usize);
            match (&part, digit) {
                (Part::Start, Some(digit)) => start = start << 4 | digit,
                (Part::Start, None) => part = Part::End,
                (Part::End, Some(digit)) => end = end << 4 | digit,
                (Part::End, None) => {
                    // Mappings come in ascending order.
                    if candidate.checked_add(len)? <= start {
                        return Some(candidate);
                    }
                    if end > candidate {
                        candidate = end.checked_next_multiple_of(alignment)?;
                    }
                    part = Part::Rest;
                }
                (Part::Rest, _) if byte == b'\n' => (part, start, end) = (Part::Start, 0, 0),
                (Part::Rest, _) => {}
            }
        }
    }
    Some(candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAPS: &[u8] = b"00400000-00500000 r-xp 00000000 08:01 1 /a b\n\
        00800000-00c00000 rw-p 00000000 00:00 0 [heap]\n\
        7f0000000000-7f0000001000 r--s 00000000 00:01 2 /dev/shm/100-200\n";

    fn gap(from: usize, len: usize, piece: usize) -> Option<usize> {
        let mut rest = MAPS;
        first_gap(from, len, 4 << 20, |buffer| {
            let (now, later) = rest.split_at(piece.min(buffer.len()).min(rest.len()));
            buffer[..now.len()].copy_from_slice(now);
            rest = later;
            Ok(now.len())
        })
    }

    #[test]
    fn the_first_gap_that_is_large_enough_is_taken() {
        for piece in [1, 7, 1024] {
            assert_eq!(gap(0, 4 << 20, piece), Some(0));
            assert_eq!(gap(1, 1 << 20, piece), Some(0xc0_0000), "not between the first two");
            assert_eq!(gap(0x100_0000, 1 << 20, piece), Some(0x100_0000));
            assert_eq!(gap(0x7eff_ffff_ffff, 1 << 20, piece), Some(0x7f00_0040_0000));
            assert_eq!(gap(usize::MAX, 1, piece), None);
        }
    }

    #[test]
    fn hints_are_hexadecimal() {
        assert_eq!(parse_hint(b"0x10000000000"), Some(1 << 40));
        assert_eq!(parse_hint(b"400000"), Some(0x40_0000));
        for nonsense in [&b""[..], b"0x", b"xyz", b"12 34", b"+1", b"-1", b"1ffffffffffffffff"] {
            assert_eq!(parse_hint(nonsense), None, "{nonsense:?}");
        }
    }
}
