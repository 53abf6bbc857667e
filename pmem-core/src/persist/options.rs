//! What the environment says about flushing and copying.

use core::ffi::CStr;

use crate::env;

/// Wishes about how stores are made and flushed; the processor may not be able to fulfil them.
///
/// The default is what runs without any variable set.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Options {
    /// `PMEM_NO_FLUSH`: whether stores are durable without a flush; `None` asks the platform.
    pub auto_flush: Option<bool>,
    /// `PMEM_NO_CLWB`: use `clwb` where there is one.
    pub clwb: bool,
    /// `PMEM_NO_CLFLUSHOPT`: use `clflushopt` where there is one.
    pub clflushopt: bool,
    /// `PMEM_NO_MOVNT`: use non-temporal stores.
    pub non_temporal: bool,
    /// `PMEM_MOVNT_THRESHOLD`: the length in bytes from which on copies go past the cache.
    pub threshold: usize,
    /// `PMEM_AVX`: use AVX where there is one.
    pub avx: bool,
    /// `PMEM_AVX512F`: use AVX-512 where there is one.
    pub avx512: bool,
    /// `PMEM_MOVDIR64B`: use direct stores of 64 bytes where there are some.
    pub movdir64b: bool,
    /// `PMEM_WC_WORKAROUND`: a fence after every 12 lines of non-temporal SSE2 and AVX stores; `None`
    /// asks for the processor's vendor.
    pub write_combining_fences: Option<bool>,
    /// `PMEM_NO_GENERIC_MEMCPY`: copy by the C library where non-temporal stores are switched off.
    pub c_library: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            auto_flush: None,
            clwb: true,
            clflushopt: true,
            non_temporal: true,
            threshold: Options::DEFAULT_THRESHOLD,
            avx: true,
            avx512: true,
            movdir64b: false,
            write_combining_fences: None,
            c_library: false,
        }
    }
}

impl Options {
    /// Below this many bytes, eight lines, writing lines back is faster than going past the cache
    /// (see docs/benchmarks-persistence.md).
    pub const DEFAULT_THRESHOLD: usize = 512;

    /// Reads the variables of the process.
    #[must_use]
    pub fn from_environment() -> Options {
        Options::from_variables(env::get)
    }

    /// Reads variables that `get` finds.
    pub fn from_variables<'v>(get: impl Fn(&CStr) -> Option<&'v CStr>) -> Options {
        let text = |name| get(name).map(CStr::to_bytes);
        let is = |name, value: &[u8]| text(name) == Some(value);
        let default = Options::default();
        let threshold = text(c"PMEM_MOVNT_THRESHOLD").and_then(integer);
        // A negative one is ignored.
        let threshold = threshold.and_then(|threshold| usize::try_from(threshold).ok());
        Options {
            auto_flush: switch(text(c"PMEM_NO_FLUSH")),
            clwb: !is(c"PMEM_NO_CLWB", b"1"),
            clflushopt: !is(c"PMEM_NO_CLFLUSHOPT", b"1"),
            non_temporal: !is(c"PMEM_NO_MOVNT", b"1"),
            threshold: threshold.unwrap_or(default.threshold),
            avx: !is(c"PMEM_AVX", b"0"),
            avx512: !is(c"PMEM_AVX512F", b"0"),
            movdir64b: text(c"PMEM_MOVDIR64B").is_some_and(|value| value != b"0"),
            write_combining_fences: switch(text(c"PMEM_WC_WORKAROUND")),
            c_library: text(c"PMEM_NO_GENERIC_MEMCPY")
                .and_then(integer)
                .is_some_and(|value| value != 0),
        }
    }
}

/// `0` and `1`; anything else counts as not set.
fn switch(text: Option<&[u8]>) -> Option<bool> {
    match text {
        Some(b"0") => Some(false),
        Some(b"1") => Some(true),
        _ => None,
    }
}

/// A number as `atoi` reads it: blanks, a sign, digits, and whatever follows. `None` when there is no
/// digit; beyond the range it is the nearest number of the range.
#[must_use]
pub fn integer(text: &[u8]) -> Option<i64> {
    let text = text.trim_ascii_start();
    let (negative, digits) = match text.split_first() {
        Some((b'-', rest)) => (true, rest),
        Some((b'+', rest)) => (false, rest),
        _ => (false, text),
    };
    if !digits.first().is_some_and(u8::is_ascii_digit) {
        return None;
    }
    let digits = digits.iter().take_while(|byte| byte.is_ascii_digit());
    Some(digits.fold(0i64, |number, &byte| {
        let digit = i64::from(byte - b'0');
        let digit = if negative { -digit } else { digit };
        number.saturating_mul(10).saturating_add(digit)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(variables: &[(&CStr, &'static CStr)]) -> Options {
        Options::from_variables(|name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| *value)
        })
    }

    #[test]
    fn values_without_a_meaning_change_nothing() {
        assert_eq!(with(&[]), Options::default());
        let odd = [
            (c"PMEM_NO_FLUSH", c"yes"),
            (c"PMEM_NO_CLWB", c"2"),
            (c"PMEM_NO_CLFLUSHOPT", c""),
            (c"PMEM_NO_MOVNT", c"true"),
            (c"PMEM_MOVNT_THRESHOLD", c"-1"),
            (c"PMEM_AVX", c"1"),
            (c"PMEM_AVX512F", c"no"),
            (c"PMEM_MOVDIR64B", c"0"),
            (c"PMEM_WC_WORKAROUND", c"on"),
            (c"PMEM_NO_GENERIC_MEMCPY", c"0"),
        ];
        assert_eq!(with(&odd), Options::default());
    }

    #[test]
    fn each_variable_does_its_own() {
        assert_eq!(with(&[(c"PMEM_NO_FLUSH", c"1")]).auto_flush, Some(true));
        assert_eq!(with(&[(c"PMEM_NO_FLUSH", c"0")]).auto_flush, Some(false));
        assert!(!with(&[(c"PMEM_NO_CLWB", c"1")]).clwb);
        assert!(!with(&[(c"PMEM_NO_CLFLUSHOPT", c"1")]).clflushopt);
        assert!(!with(&[(c"PMEM_NO_MOVNT", c"1")]).non_temporal);
        assert_eq!(with(&[(c"PMEM_MOVNT_THRESHOLD", c"0")]).threshold, 0);
        assert_eq!(with(&[(c"PMEM_MOVNT_THRESHOLD", c"4096")]).threshold, 4096);
        assert!(!with(&[(c"PMEM_AVX", c"0")]).avx);
        assert!(!with(&[(c"PMEM_AVX512F", c"0")]).avx512);
        assert!(with(&[(c"PMEM_MOVDIR64B", c"1")]).movdir64b);
        assert_eq!(with(&[(c"PMEM_WC_WORKAROUND", c"0")]).write_combining_fences, Some(false));
        assert!(with(&[(c"PMEM_NO_GENERIC_MEMCPY", c"7")]).c_library);
    }

    #[test]
    fn integers() {
        assert_eq!(integer(b" +12x"), Some(12));
        assert_eq!(integer(b"-9"), Some(-9));
        assert_eq!(integer(b"99999999999999999999"), Some(i64::MAX));
        assert_eq!(integer(b"-99999999999999999999"), Some(i64::MIN));
        assert_eq!(integer(b"x1"), None);
        assert_eq!(integer(b""), None);
    }
}
