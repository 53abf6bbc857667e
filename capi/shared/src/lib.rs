//! What the drop-in libraries with std share: each thread's message of its last failure, and the check of versions.
//!
//! Every shared object has its own copy.

use pmem_core::errno::Errno;
use std::cell::UnsafeCell;
use std::ffi::{CStr, c_char, c_int, c_uint};
use std::fmt::{self, Write};
use std::ptr;
use std::sync::OnceLock;

/// Bytes for a message, with the 0 at its end.
pub const MESSAGE_SIZE: usize = 8192;

struct Buffer(UnsafeCell<[u8; MESSAGE_SIZE]>);

thread_local! {
    static MESSAGE: Buffer = const { Buffer(UnsafeCell::new([0; MESSAGE_SIZE])) };
}

/// Writes into bytes, and stops at their end.
struct Cut<'b> {
    left: &'b mut [u8],
}

impl Write for Cut<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let len = text.len().min(self.left.len());
        let (now, rest) = std::mem::take(&mut self.left).split_at_mut(len);
        now.copy_from_slice(&text.as_bytes()[..len]);
        self.left = rest;
        Ok(())
    }
}

/// Sets the calling thread's message; what does not fit is cut off. Nothing is allocated. `message` must not read the
/// present one.
pub fn set_message(message: fmt::Arguments<'_>) {
    MESSAGE.with(|buffer| {
        // SAFETY: the buffer is this thread's; C callers read it between calls only.
        let bytes = unsafe { &mut *buffer.0.get() };
        let (text, _) = bytes.split_at_mut(MESSAGE_SIZE - 1);
        let mut cut = Cut { left: text };
        let _ = cut.write_fmt(message);
        let len = MESSAGE_SIZE - 1 - cut.left.len();
        bytes[len] = 0;
    });
    if let Some(observer) = OBSERVER.get() {
        // SAFETY: terminated above.
        observer(unsafe { CStr::from_ptr(self::message()) });
    }
}

static OBSERVER: OnceLock<fn(&CStr)> = OnceLock::new();

/// Shows every message to `observer`, too: the log of a debug twin. Only the first observer counts.
pub fn observe_messages(observer: fn(&CStr)) {
    let _ = OBSERVER.set(observer);
}

/// A C string to be printed.
pub struct Text(*const c_char);

impl Text {
    /// What `text` points to.
    ///
    /// # Safety
    /// It is NULL or a C string, as long as the value lives.
    #[must_use]
    pub unsafe fn new(text: *const c_char) -> Text {
        Text(text)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_null() {
            return f.write_str("(null)");
        }
        // SAFETY: by the contract of `new`.
        f.write_str(&unsafe { CStr::from_ptr(self.0) }.to_string_lossy())
    }
}

/// The calling thread's message as a C string: empty until the first failure, valid while the thread
/// lives.
#[must_use]
pub fn message() -> *const c_char {
    MESSAGE.with(|buffer| buffer.0.get().cast_const().cast())
}

/// Sets errno and the calling thread's message, and gives -1.
#[cold]
pub fn fail(errno: Errno, message: fmt::Arguments<'_>) -> c_int {
    set_message(message);
    errno.set();
    -1
}

/// What `..._check_version` answers for version 1.1 of `library`: null for a program that needs no more than that,
/// else the message, which `tell` sets.
pub fn check_version(
    library: &str,
    major: c_uint,
    minor: c_uint,
    tell: impl FnOnce(fmt::Arguments<'_>),
) -> *const c_char {
    let (which, needed) = match (major, minor) {
        (1, 0..=1) => return ptr::null(),
        (1, _) => ("minor", minor),
        _ => ("major", major),
    };
    tell(format_args!("{library} {which} version mismatch (need {needed}, found 1)"));
    message()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CStr;

    fn text() -> String {
        // SAFETY: the buffer always holds a terminated string.
        unsafe { CStr::from_ptr(message()) }.to_str().unwrap().to_owned()
    }

    #[test]
    fn each_thread_has_its_own() {
        assert_eq!(text(), "");
        set_message(format_args!("{} of {}", 1, 2));
        std::thread::spawn(|| assert_eq!(text(), "")).join().unwrap();
        assert_eq!(text(), "1 of 2");
        set_message(format_args!("x"));
        assert_eq!(text(), "x");
        set_message(format_args!("{}", "y".repeat(10_000)));
        assert_eq!(text(), "y".repeat(MESSAGE_SIZE - 1));
    }
    #[test]
    fn failures_have_a_number_and_a_text() {
        assert_eq!(fail(Errno::ENOENT, format_args!("one")), -1);
        assert_eq!((text().as_str(), Errno::last()), ("one", Errno::ENOENT));
    }

    #[test]
    fn versions() {
        let check = |major, minor| check_version("libx", major, minor, set_message);
        assert!(check(1, 0).is_null() && check(1, 1).is_null());
        assert!(!check(2, 0).is_null());
        assert_eq!(text(), "libx major version mismatch (need 2, found 1)");
        assert_eq!(check(1, 5), message());
        assert_eq!(text(), "libx minor version mismatch (need 5, found 1)");
    }
}
