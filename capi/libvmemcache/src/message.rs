//! The text of the last error, for each thread, in storage of the thread's own: nothing is allocated.

use pmem_core::errno::Errno;
use pmem_core::fmt::StackBuf;
use std::cell::UnsafeCell;
use std::ffi::c_char;
use std::fmt::{self, Write};

/// Bytes of a text with the zero at its end. As in the contract; our texts are short.
const BYTES: usize = 8192;
const LONGEST: usize = 511;

thread_local! {
    static TEXT: UnsafeCell<[u8; BYTES]> = const { UnsafeCell::new([0; BYTES]) };
}

/// Sets errno and the calling thread's text, and gives -1.
#[cold]
pub(crate) fn fail(errno: Errno, text: fmt::Arguments<'_>) -> i32 {
    tell(text);
    errno.set();
    -1
}

/// Sets the calling thread's text.
pub(crate) fn tell(text: fmt::Arguments<'_>) {
    let mut line = StackBuf::<LONGEST>::new();
    // What does not fit is cut.
    let _ = line.write_fmt(text);
    let line = line.as_bytes();
    TEXT.with(|buffer| {
        // SAFETY: the thread's own; pointers that the program has are not followed meanwhile.
        let buffer = unsafe { &mut *buffer.get() };
        buffer[..line.len()].copy_from_slice(line);
        buffer[line.len()] = 0;
    });
}

/// The calling thread's text: empty before its first error, and the same place every time.
pub(crate) fn get() -> *const c_char {
    TEXT.with(|text| text.get().cast::<c_char>())
}
