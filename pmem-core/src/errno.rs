//! The C error number as a type, its texts, and a guard that keeps the caller's `errno` unchanged.

mod table;

use core::fmt;

/// An error number of the operating system, for example [`Errno::ENOSPC`].
#[derive(Copy, Clone, PartialEq, Eq, Hash)]
pub struct Errno(pub i32);

impl Errno {
    /// Reads the calling thread's `errno`.
    #[inline]
    #[must_use]
    pub fn last() -> Errno {
        // SAFETY: the C library returns the address of the calling thread's own errno, valid while
        // the thread lives.
        Errno(unsafe { *libc::__errno_location() })
    }

    /// Writes the calling thread's `errno`.
    #[inline]
    pub fn set(self) {
        // SAFETY: as in `last`; nobody else holds a reference to the word.
        unsafe { *libc::__errno_location() = self.0 }
    }

    /// The symbolic name, for example `"ENOSPC"`; `"UNKNOWN"` for a number that Linux does not
    /// define.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match table::name(self.0) {
            Some(name) => name,
            None => "UNKNOWN",
        }
    }

    /// The text that `strerror` gives in the C locale, for example `"No space left on device"`.
    ///
    /// For a number that Linux does not define it is `"Unknown error"`; the
    /// [`Display`](fmt::Display) form adds the number.
    #[must_use]
    pub const fn message(self) -> &'static str {
        match table::message(self.0) {
            Some(message) => message,
            None => "Unknown error",
        }
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match table::message(self.0) {
            Some(message) => f.write_str(message),
            None => write!(f, "Unknown error {}", self.0),
        }
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({})", self.name(), self.0)
    }
}

impl core::error::Error for Errno {}

/// Saves `errno` when made and restores it when dropped.
///
/// # Examples
/// ```
/// use pmem_core::errno::{Errno, ErrnoGuard};
/// Errno::ENOENT.set();
/// {
///     let _keep = ErrnoGuard::new();
///     Errno::EINVAL.set();
/// }
/// assert_eq!(Errno::last(), Errno::ENOENT);
/// ```
#[derive(Debug)]
#[must_use = "errno is restored when the guard is dropped"]
pub struct ErrnoGuard {
    saved: Errno,
}

impl ErrnoGuard {
    /// Saves the calling thread's `errno`.
    #[inline]
    pub fn new() -> ErrnoGuard {
        ErrnoGuard { saved: Errno::last() }
    }
}

impl Default for ErrnoGuard {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for ErrnoGuard {
    #[inline]
    fn drop(&mut self) {
        self.saved.set();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CStr;
    use std::format;
    use std::string::ToString;

    fn c_library_text(number: i32) -> std::string::String {
        let mut buffer = [0 as libc::c_char; 256];
        // SAFETY: the buffer is writable for its whole length; the XSI form terminates what it
        // writes.
        unsafe { libc::strerror_r(number, buffer.as_mut_ptr(), buffer.len()) };
        // SAFETY: terminated above.
        unsafe { CStr::from_ptr(buffer.as_ptr()) }.to_str().unwrap().to_string()
    }

    #[test]
    #[cfg_attr(miri, ignore = "compares with the C library, which Miri does not run")]
    fn texts_equal_those_of_the_c_library() {
        for number in 0..=133 {
            assert_eq!(format!("{}", Errno(number)), c_library_text(number), "errno {number}");
        }
        assert_eq!(format!("{}", Errno(4095)), c_library_text(4095));
    }

    #[test]
    fn names() {
        assert_eq!(Errno::ENOSPC.name(), "ENOSPC");
        assert_eq!(Errno(28).message(), "No space left on device");
        assert_eq!(Errno(9999).name(), "UNKNOWN");
        assert_eq!(Errno(9999).message(), "Unknown error");
        assert_eq!(format!("{:?}", Errno::EDEADLK), "EDEADLK(35)");
    }

    #[test]
    fn guards_nest() {
        Errno(7).set();
        {
            let _outer = ErrnoGuard::new();
            Errno(8).set();
            {
                let _inner = ErrnoGuard::new();
                Errno(9).set();
            }
            assert_eq!(Errno::last(), Errno(8));
        }
        assert_eq!(Errno::last(), Errno(7));
    }
}
