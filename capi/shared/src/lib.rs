//! What the drop-in libraries of the persistent family share: each thread's message of its last failure.
//!
//! Every shared object has its own copy.

use std::cell::UnsafeCell;
use std::ffi::c_char;
use std::fmt::{self, Write};

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

/// Sets the calling thread's message; what does not fit is cut off.
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
}

/// The calling thread's message as a C string: empty until the first failure, valid while the thread
/// lives.
#[must_use]
pub fn message() -> *const c_char {
    MESSAGE.with(|buffer| buffer.0.get().cast_const().cast())
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
}
