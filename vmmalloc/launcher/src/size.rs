//! Limits of the pool's size, and sizes as people read them.

/// The smallest pool the library accepts, in bytes.
pub(crate) const MIN_POOL_BYTES: u64 = 14 << 20;

/// The largest one: it counts pages of 4 KiB in 32 bits.
pub(crate) const MAX_POOL_BYTES: u64 = (u32::MAX as u64) << 12;

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
    fn human_sizes_are_short() {
        assert_eq!(human(512), "512 bytes");
        assert_eq!(human(MIN_POOL_BYTES), "14 MiB");
        assert_eq!(human(1536), "1.50 KiB");
        assert_eq!(human(12_700_000_000), "11.8 GiB");
        assert_eq!(human(100 << 30), "100 GiB");
    }
}
