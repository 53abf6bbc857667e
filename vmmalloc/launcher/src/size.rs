//! Sizes as people write them: decimal or `0x` bytes, or a number with a suffix K, M, G or T (multiples of 1024).

/// The smallest pool the library accepts, in bytes.
pub(crate) const MIN_POOL_BYTES: u64 = 14 * 1024 * 1024;

/// The largest pool that fits the address space of a process, in bytes (half of the 47-bit user half).
pub(crate) const MAX_POOL_BYTES: u64 = 1 << 46;

/// Why a text is not a size.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub(crate) enum SizeError {
    /// No number, or something other than one suffix after it.
    Malformed,
    /// A minus sign.
    Negative,
    /// More than 2^64-1 bytes.
    TooLarge,
}

/// Bytes of `text`.
///
/// # Errors
/// When `text` is anything but a number with at most one of the suffixes `K`, `M`, `G`, `T` (either case,
/// optionally followed by `B` or `iB`).
pub(crate) fn parse(text: &str) -> Result<u64, SizeError> {
    let text = text.trim();
    if text.starts_with('-') {
        return Err(SizeError::Negative);
    }
    if let Some(hex) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        if hex.is_empty() || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(SizeError::Malformed);
        }
        return u64::from_str_radix(hex, 16).map_err(|_| SizeError::TooLarge);
    }
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, suffix) = text.split_at(digits);
    if number.is_empty() {
        return Err(SizeError::Malformed);
    }
    let shift = match suffix.to_ascii_lowercase().as_str() {
        "" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return Err(SizeError::Malformed),
    };
    let number: u64 = number.parse().map_err(|_| SizeError::TooLarge)?;
    number.checked_mul(1 << shift).ok_or(SizeError::TooLarge)
}

/// `bytes` for people: three significant digits and a binary unit.
pub(crate) fn human(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} bytes");
    }
    let mut unit = 0;
    let mut value = bytes as f64 / 1024.0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if value < 10.0 && value.fract() != 0.0 {
        format!("{value:.2} {}", UNITS[unit])
    } else if value < 100.0 && value.fract() != 0.0 {
        format!("{value:.1} {}", UNITS[unit])
    } else {
        format!("{value:.0} {}", UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes_are_powers_of_1024() {
        assert_eq!(parse("14680064"), Ok(MIN_POOL_BYTES));
        assert_eq!(parse("14M"), Ok(MIN_POOL_BYTES));
        assert_eq!(parse("0xE00000"), Ok(MIN_POOL_BYTES));
        assert_eq!(parse("3k"), Ok(3072));
        assert_eq!(parse("2G"), Ok(2 << 30));
        assert_eq!(parse("1t"), Ok(1 << 40));
        assert_eq!(parse("1GiB"), Ok(1 << 30));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "M", "12X", "1 2", "0x", "0xzz", "1.5G", "1GG", "G1", "1M1"] {
            assert_eq!(parse(text), Err(SizeError::Malformed), "{text:?}");
        }
        assert_eq!(parse("-1"), Err(SizeError::Negative));
        assert_eq!(parse("99999999999999999999"), Err(SizeError::TooLarge));
        assert_eq!(parse("16777216T"), Err(SizeError::TooLarge));
        assert_eq!(parse("0xFFFFFFFFFFFFFFFFF"), Err(SizeError::TooLarge));
    }

    #[test]
    fn human_sizes_are_short() {
        assert_eq!(human(512), "512 bytes");
        assert_eq!(human(MIN_POOL_BYTES), "14 MiB");
        assert_eq!(human(1536), "1.50 KiB");
        assert_eq!(human(12_700_000_000), "11.8 GiB");
        assert_eq!(human(100 << 30), "100 GiB");
    }
}
