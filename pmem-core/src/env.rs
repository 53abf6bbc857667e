//! Environment variables and the numbers in them, without copies and before any constructor has
//! run.

mod size;

use core::ffi::{CStr, c_char};
use core::sync::atomic::{AtomicPtr, Ordering::Relaxed};

pub use size::{ParseSizeError, parse_size, parse_size_atoll};

unsafe extern "C" {
    /// The C library's list: null until the library has started.
    static mut environ: *const *const c_char;
}

/// A list that the process was started with, used while `environ` is not set yet.
static FALLBACK: AtomicPtr<*const c_char> = AtomicPtr::new(core::ptr::null_mut());

/// Remembers the environment that a constructor got as its third argument. [`get`] uses it as long
/// as the C library's own list does not exist, which is so in a library that the loader starts
/// before the C library (`-z initfirst`).
///
/// # Safety
/// `envp` is null or a null-terminated array of C strings that stays valid.
pub unsafe fn set_fallback(envp: *const *const c_char) {
    FALLBACK.store(envp.cast_mut(), Relaxed);
}

/// Finds a variable of the environment.
///
/// As with `getenv`, no other thread may change the environment meanwhile, and the text is the
/// environment's own: keep what you need if the program may change the variable. Reading it at the
/// start, as allocators do, satisfies both.
#[must_use]
pub fn get(name: &CStr) -> Option<&'static CStr> {
    // SAFETY: the C library's list is null or well-formed; the caller keeps it still (see above).
    let own = unsafe { (&raw const environ).read() };
    let list = if own.is_null() { FALLBACK.load(Relaxed).cast_const() } else { own };
    // SAFETY: well-formed by the C library or by the contract of `set_fallback`.
    unsafe { get_from(list, name) }
}

/// Finds a variable in a list of `NAME=value` strings.
///
/// # Safety
/// `list` is null or a null-terminated array of C strings, valid for `'static` as far as the result
/// is used.
#[must_use]
pub unsafe fn get_from(list: *const *const c_char, name: &CStr) -> Option<&'static CStr> {
    if list.is_null() {
        return None;
    }
    let mut next = list;
    loop {
        // SAFETY: the walk stops at the terminating null.
        let entry = unsafe { next.read() };
        if entry.is_null() {
            return None;
        }
        // SAFETY: entries are C strings.
        if let Some(value) = value_of(unsafe { CStr::from_ptr(entry) }, name) {
            return Some(value);
        }
        // SAFETY: the entry just read was not the last.
        next = unsafe { next.add(1) };
    }
}

fn value_of(entry: &'static CStr, name: &CStr) -> Option<&'static CStr> {
    let rest = entry.to_bytes_with_nul().strip_prefix(name.to_bytes())?;
    CStr::from_bytes_with_nul(rest.strip_prefix(b"=")?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::ptr::null;

    #[test]
    fn lists() {
        let list = [
            c"AB=1".as_ptr(),
            c"A=".as_ptr(),
            c"B".as_ptr(),
            c"C=x=y".as_ptr(),
            c"A=late".as_ptr(),
            null(),
        ];
        // SAFETY: a null-terminated list of literals.
        let find = |name| unsafe { get_from(list.as_ptr(), name) };
        assert_eq!(find(c"A"), Some(c""));
        assert_eq!(find(c"AB"), Some(c"1"));
        assert_eq!(find(c"B"), None);
        assert_eq!(find(c"C"), Some(c"x=y"));
        assert_eq!(find(c"D"), None);
        // SAFETY: null is allowed.
        assert_eq!(unsafe { get_from(null(), c"A") }, None);
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri gives the program an environment of its own")]
    fn process_environment() {
        let expected = std::env::var("CARGO_PKG_NAME").expect("cargo sets it for tests");
        assert_eq!(get(c"CARGO_PKG_NAME").unwrap().to_str(), Ok(expected.as_str()));
        assert_eq!(get(c"PMEM_CORE_SURELY_NOT_SET"), None);
    }
}
