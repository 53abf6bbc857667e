//! Is the library new enough?

use crate::message;
use core::ffi::{c_char, c_uint};
use core::ptr;

/// Null when a program that needs `major.minor` can use version 1.1 of `library`, else a text.
#[must_use]
pub fn check(library: &str, major: c_uint, minor: c_uint) -> *const c_char {
    let mismatch = |which: &str, needed: c_uint| {
        message::set(&format!("{library} {which} version mismatch (need {needed}, found 1)"))
    };
    if major != 1 {
        mismatch("major", major)
    } else if minor > 1 {
        mismatch("minor", minor)
    } else {
        ptr::null()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::ffi::CStr;

    #[test]
    fn versions() {
        assert!(check("libx", 1, 0).is_null() && check("libx", 1, 1).is_null());
        let text = |major, minor| {
            // SAFETY: a C string of this thread.
            unsafe { CStr::from_ptr(check("libx", major, minor)) }.to_str().unwrap().to_owned()
        };
        assert_eq!(text(2, 0), "libx major version mismatch (need 2, found 1)");
        assert_eq!(text(1, 5), "libx minor version mismatch (need 5, found 1)");
    }
}
