//! Sizes in text: `14680064`, `512M`, `1g`, `0x4000000`.

use core::fmt;

/// Why a text is not a size.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ParseSizeError {
    /// There is no text.
    Empty,
    /// It does not start with a digit.
    NotANumber,
    /// Something other than one of the suffixes K, M, G, T follows the number.
    UnknownSuffix,
    /// The number of bytes does not fit into 64 bits.
    TooLarge,
}

impl fmt::Display for ParseSizeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ParseSizeError::Empty => "is empty",
            ParseSizeError::NotANumber => "is not a number of bytes",
            ParseSizeError::UnknownSuffix => "has an unknown suffix (K, M, G and T are known)",
            ParseSizeError::TooLarge => "is too large",
        })
    }
}

impl core::error::Error for ParseSizeError {}

/// Reads a size in bytes: decimal or, after `0x`, hexadecimal digits, then optionally K, M, G or T
/// in either case (1024, 1024^2, ... bytes), which may be written as KiB, MiB, GiB, TiB.
///
/// # Errors
/// A [`ParseSizeError`]; its text continues a sentence that begins with the value.
///
/// # Examples
/// ```
/// use pmem_core::env::{ParseSizeError, parse_size};
/// assert_eq!(parse_size("512M"), Ok(512 << 20));
/// assert_eq!(parse_size("lots"), Err(ParseSizeError::NotANumber));
/// ```
pub fn parse_size(text: impl AsRef<[u8]>) -> Result<u64, ParseSizeError> {
    parse(text.as_ref())
}

fn parse(text: &[u8]) -> Result<u64, ParseSizeError> {
    if text.is_empty() {
        return Err(ParseSizeError::Empty);
    }
    let (digits, radix) = match text {
        [b'0', b'x' | b'X', rest @ ..] => (rest, 16),
        _ => (text, 10),
    };
    let value_of = |byte: &u8| char::from(*byte).to_digit(radix);
    let len = digits.iter().take_while(|byte| value_of(byte).is_some()).count();
    if len == 0 {
        return Err(ParseSizeError::NotANumber);
    }
    // A suffix that is wrong is a clearer message than a number that is too large, so it goes
    // first.
    let shift = suffix_shift(digits.get(len..).unwrap_or(&[]))?;
    let mut number = 0u64;
    for digit in digits.iter().map_while(value_of) {
        number = number
            .checked_mul(radix.into())
            .and_then(|n| n.checked_add(digit.into()))
            .ok_or(ParseSizeError::TooLarge)?;
    }
    number.checked_mul(1 << shift).ok_or(ParseSizeError::TooLarge)
}

fn suffix_shift(suffix: &[u8]) -> Result<u32, ParseSizeError> {
    let letter = match suffix {
        [] => return Ok(0),
        [letter] | [letter, b'i', b'B'] => *letter,
        _ => return Err(ParseSizeError::UnknownSuffix),
    };
    match letter {
        b'k' | b'K' => Ok(10),
        b'm' | b'M' => Ok(20),
        b'g' | b'G' => Ok(30),
        b't' | b'T' => Ok(40),
        _ => Err(ParseSizeError::UnknownSuffix),
    }
}

/// Reads a number as the C library's `atoll` does: white space, a sign, decimal digits; what
/// follows is ignored, no digits are 0, and a number that does not fit becomes the nearest that
/// does.
#[must_use]
pub fn parse_size_atoll(text: impl AsRef<[u8]>) -> i64 {
    let text = text.as_ref().trim_ascii_start_c();
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    let mut number = 0i64;
    for digit in
        digits.iter().take_while(|byte| byte.is_ascii_digit()).map(|byte| i64::from(byte - b'0'))
    {
        // Counted downwards, because the negative side reaches one further.
        number = number.saturating_mul(10).saturating_sub(digit);
    }
    if negative { number } else { number.checked_neg().unwrap_or(i64::MAX) }
}

trait TrimC {
    fn trim_ascii_start_c(&self) -> &[u8];
}

impl TrimC for [u8] {
    /// Like `isspace` in the C locale, which counts the vertical tab too.
    fn trim_ascii_start_c(&self) -> &[u8] {
        let blanks = self.iter().take_while(|byte| matches!(byte, b' ' | 9..=13)).count();
        self.get(blanks..).unwrap_or(&[])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ParseSizeError::*;

    #[test]
    fn sizes() {
        let table: &[(&str, Result<u64, ParseSizeError>)] = &[
            ("0", Ok(0)),
            ("14680064", Ok(14_680_064)),
            ("00012", Ok(12)),
            ("1k", Ok(1024)),
            ("512M", Ok(512 << 20)),
            ("1g", Ok(1 << 30)),
            ("3T", Ok(3 << 40)),
            ("2GiB", Ok(2 << 30)),
            ("16mIB", Err(UnknownSuffix)),
            ("0x4000000", Ok(0x400_0000)),
            ("0Xff", Ok(255)),
            ("0x10M", Ok(16 << 20)),
            ("18446744073709551615", Ok(u64::MAX)),
            ("18446744073709551616", Err(TooLarge)),
            ("16777215T", Ok(16_777_215 << 40)),
            ("16777216T", Err(TooLarge)),
            ("99999999999999999999x", Err(UnknownSuffix)),
            ("", Err(Empty)),
            ("M", Err(NotANumber)),
            ("0x", Err(NotANumber)),
            ("0xG", Err(NotANumber)),
            ("-1", Err(NotANumber)),
            (" 1", Err(NotANumber)),
            ("+1", Err(NotANumber)),
            ("1 ", Err(UnknownSuffix)),
            ("1.5G", Err(UnknownSuffix)),
            ("10MB", Err(UnknownSuffix)),
            ("10KK", Err(UnknownSuffix)),
            ("14680064xyz", Err(UnknownSuffix)),
        ];
        for (text, expected) in table {
            assert_eq!(parse_size(text), *expected, "{text:?}");
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "compares with the C library, which Miri does not run")]
    fn atoll_agrees_with_the_c_library() {
        for text in [
            c"0",
            c"14680064",
            c"14680064xyz",
            c"64M",
            c"-5",
            c"+7",
            c"- 7",
            c"",
            c"abc",
            c"  12",
            c"\t\n\x0b\x0c\r8",
            c"0x10",
            c"9223372036854775807",
            c"9223372036854775808",
            c"-9223372036854775808",
            c"-9223372036854775809",
            c"99999999999999999999999",
            c"-99999999999999999999999",
            c"--1",
        ] {
            // SAFETY: a literal C string.
            let expected = unsafe { libc::atoll(text.as_ptr()) };
            assert_eq!(parse_size_atoll(text.to_bytes()), expected, "{text:?}");
        }
    }
}
