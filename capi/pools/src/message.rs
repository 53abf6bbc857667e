//! The text of the last error, for each thread: empty at first, and never cleared by success.

use core::ffi::c_char;
use core::fmt::Display;
use pmem_core::errno::Errno;
use std::cell::RefCell;

/// Bytes of a text, with the zero at its end.
const BYTES: usize = 8192;

thread_local! {
    static TEXT: RefCell<Box<[u8; BYTES]>> = RefCell::new(Box::new([0; BYTES]));
}

/// Sets the calling thread's text and gives it; what does not fit is cut.
pub fn set(text: &impl Display) -> *const c_char {
    // Formatted before the buffer is borrowed: the text may come from there.
    let text = text.to_string();
    let written = TEXT.try_with(|buffer| {
        let mut buffer = buffer.borrow_mut();
        let len = text.len().min(BYTES - 1);
        buffer[..len].copy_from_slice(&text.as_bytes()[..len]);
        buffer[len] = 0;
    });
    // A thread that is ending has no text any more.
    let _ = written;
    get()
}

/// The calling thread's text: the same place every time.
#[must_use]
pub fn get() -> *const c_char {
    TEXT.try_with(|buffer| buffer.borrow().as_ptr().cast()).unwrap_or(c"".as_ptr())
}

/// Sets `errno` and the text.
pub fn fail(errno: Errno, text: &impl Display) {
    set(text);
    errno.set();
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::ffi::CStr;

    fn text() -> String {
        // SAFETY: a C string of this thread.
        unsafe { CStr::from_ptr(get()) }.to_str().unwrap().into()
    }

    #[test]
    fn each_thread_has_its_text() {
        assert_eq!(text(), "");
        fail(Errno::ENOENT, &"one");
        assert_eq!((text().as_str(), Errno::last()), ("one", Errno::ENOENT));
        std::thread::spawn(|| assert_eq!(text(), "")).join().unwrap();
        set(&"x".repeat(BYTES * 2));
        assert_eq!(text().len(), BYTES - 1);
    }
}
