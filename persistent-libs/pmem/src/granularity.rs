//! Which granularity memory has.

use std::sync::OnceLock;

use pmem_core::env;
use pmem_core::errno::Errno;
use pmem_core::nvdimm;
use pmem_core::persist::{Granularity, Options};

/// Whether stores are durable without a flush on this machine; the variable `PMEM_NO_FLUSH` overrides
/// what the platform says. Asked once.
///
/// # Errors
/// Those of reading sysfs.
pub fn auto_flush() -> Result<bool, Errno> {
    static ANSWER: OnceLock<Result<bool, Errno>> = OnceLock::new();
    *ANSWER.get_or_init(|| match Options::from_environment().auto_flush {
        Some(forced) => Ok(forced),
        None => nvdimm::SYSTEM.auto_flush(),
    })
}

/// Reads a value of `PMEM2_FORCE_GRANULARITY`: `BYTE`, `CACHE_LINE`, `CACHELINE` or `PAGE`, in any
/// case.
#[must_use]
pub fn parse_granularity(text: &[u8]) -> Option<Granularity> {
    let names = [
        ("BYTE", Granularity::Byte),
        ("CACHE_LINE", Granularity::CacheLine),
        ("CACHELINE", Granularity::CacheLine),
        ("PAGE", Granularity::Page),
    ];
    let named = names.into_iter().find(|(name, _)| text.eq_ignore_ascii_case(name.as_bytes()));
    named.map(|(_, granularity)| granularity)
}

/// What `PMEM2_FORCE_GRANULARITY` says now.
#[must_use]
pub fn forced_granularity() -> Option<Granularity> {
    parse_granularity(env::get(c"PMEM2_FORCE_GRANULARITY")?.to_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert_eq!(parse_granularity(b"byte"), Some(Granularity::Byte));
        assert_eq!(parse_granularity(b"Cache_Line"), Some(Granularity::CacheLine));
        assert_eq!(parse_granularity(b"CACHELINE"), Some(Granularity::CacheLine));
        assert_eq!(parse_granularity(b"PAGE"), Some(Granularity::Page));
        for text in [&b""[..], b"PAGE ", b"CACHE-LINE", b"1"] {
            assert_eq!(parse_granularity(text), None);
        }
    }
}
