//! Identities of pools and parts.

use core::fmt;
use core::str::FromStr;
use pmem_core::sys;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// 16 bytes that name a pool set, a part or a block layout.
///
/// As text the first three fields are read little-endian.
///
/// # Examples
/// ```
/// use pool_format::Uuid;
/// let uuid: Uuid = "e607abfc-b6c6-49ed-b5c4-0e8b2f0af423".parse()?;
/// assert_eq!(uuid.0[..4], [0xfc, 0xab, 0x07, 0xe6]);
/// assert_eq!(uuid.to_string(), "e607abfc-b6c6-49ed-b5c4-0e8b2f0af423");
/// # Ok::<(), pool_format::ParseUuidError>(())
/// ```
#[derive(
    Copy, Clone, PartialEq, Eq, Hash, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(transparent)]
pub struct Uuid(pub [u8; 16]);

/// The text is no UUID.
#[derive(Copy, Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not a UUID: 32 hexadecimal digits in groups of 8-4-4-4-12 are expected")]
pub struct ParseUuidError;

/// Where the digits of the text come from; the fields of 4, 2 and 2 bytes are little-endian.
const TEXT_ORDER: [usize; 16] = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];

impl Uuid {
    /// 16 zero bytes: no identity.
    pub const NULL: Uuid = Uuid([0; 16]);

    /// A new one (version 4).
    #[must_use]
    pub fn random() -> Uuid {
        let mut bytes = [0; 16];
        sys::fill_random(&mut bytes);
        // Version and variant, in the places of the text.
        bytes[7] = bytes[7] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        Uuid(bytes)
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, from) in TEXT_ORDER.into_iter().enumerate() {
            if matches!(position, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{:02x}", self.0[from])?;
        }
        Ok(())
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for Uuid {
    type Err = ParseUuidError;

    fn from_str(text: &str) -> Result<Uuid, ParseUuidError> {
        let text = text.as_bytes();
        if text.len() != 36 || [8, 13, 18, 23].iter().any(|&at| text[at] != b'-') {
            return Err(ParseUuidError);
        }
        let mut digits = text
            .iter()
            .filter(|&&byte| byte != b'-')
            .map(|&byte| char::from(byte).to_digit(16).ok_or(ParseUuidError));
        let mut bytes = [0; 16];
        for to in TEXT_ORDER {
            let mut digit = || digits.next().unwrap_or(Err(ParseUuidError));
            bytes[to] = (digit()? << 4 | digit()?) as u8;
        }
        Ok(Uuid(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        for _ in 0..100 {
            let uuid = Uuid::random();
            assert_eq!(uuid.to_string().parse(), Ok(uuid));
            assert_eq!(uuid.to_string().as_bytes()[14], b'4');
        }
    }

    #[test]
    fn other_texts() {
        for text in [
            "",
            "e607abfc-b6c6-49ed-b5c4-0e8b2f0af42",
            "e607abfc-b6c6-49ed-b5c4-0e8b2f0af4zz",
            "e607abfcb-6c6-49ed-b5c4-0e8b2f0af423",
            "------------------------------------",
        ] {
            assert_eq!(text.parse::<Uuid>(), Err(ParseUuidError), "{text}");
        }
    }
}
