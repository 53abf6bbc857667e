//! Text without allocation: a fixed buffer to format into, and standard error.

use core::ffi::CStr;
use core::fmt;

use crate::sys::{self, Fd};

/// `N` bytes to format into, on the stack or in a static.
///
/// Text that does not fit is cut at the end, which [`is_cut`](Self::is_cut) tells.
///
/// # Examples
/// ```
/// use core::fmt::Write;
/// use pmem_core::fmt::StackBuf;
/// let mut line = StackBuf::<16>::new();
/// write!(line, "{} pages", 12).unwrap();
/// assert_eq!(line.as_bytes(), b"12 pages");
/// ```
#[derive(Clone)]
pub struct StackBuf<const N: usize> {
    bytes: [u8; N],
    len: usize,
    cut: bool,
}

impl<const N: usize> StackBuf<N> {
    /// An empty buffer.
    #[must_use]
    pub const fn new() -> StackBuf<N> {
        StackBuf { bytes: [0; N], len: 0, cut: false }
    }

    /// What was written.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&[])
    }

    /// What was written, as text, up to the first byte that is no UTF-8 (text cut inside a
    /// character ends before it).
    #[must_use]
    pub fn as_str(&self) -> &str {
        match str::from_utf8(self.as_bytes()) {
            Ok(text) => text,
            Err(error) => {
                let valid = self.as_bytes().get(..error.valid_up_to()).unwrap_or(&[]);
                str::from_utf8(valid).unwrap_or("")
            }
        }
    }

    /// What was written, as a C string; `None` if it was cut, contains a zero byte, or leaves no
    /// room for the zero.
    pub fn as_c_str(&mut self) -> Option<&CStr> {
        if self.cut {
            return None;
        }
        *self.bytes.get_mut(self.len)? = 0;
        CStr::from_bytes_with_nul(self.bytes.get(..=self.len)?).ok()
    }

    /// Appends bytes, as many as fit.
    pub fn push_bytes(&mut self, bytes: &[u8]) {
        let room = N - self.len;
        let taken = bytes.len().min(room);
        for (to, from) in self.bytes.iter_mut().skip(self.len).zip(bytes) {
            *to = *from;
        }
        self.len += taken;
        self.cut |= taken < bytes.len();
    }

    /// Says whether something did not fit.
    #[must_use]
    pub const fn is_cut(&self) -> bool {
        self.cut
    }

    /// Empties the buffer.
    pub fn clear(&mut self) {
        self.len = 0;
        self.cut = false;
    }
}

impl<const N: usize> Default for StackBuf<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> fmt::Write for StackBuf<N> {
    /// Never fails, so that what follows a cut piece does not change what is reported.
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if !self.cut {
            self.push_bytes(text.as_bytes());
        }
        Ok(())
    }
}

impl<const N: usize> fmt::Debug for StackBuf<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// Writes all bytes to standard error. Errors are ignored: there is nobody to tell.
pub fn write_stderr(bytes: &[u8]) {
    write_all(Fd::STDERR, bytes);
}

/// Writes all bytes to a descriptor; stops at the first error.
pub fn write_all(fd: Fd, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match sys::write(fd, bytes) {
            Ok(written) if written > 0 => bytes = bytes.get(written..).unwrap_or(&[]),
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::fmt::Write;

    #[test]
    fn text_is_cut_not_lost() {
        let mut buffer = StackBuf::<8>::new();
        assert_eq!(write!(buffer, "{}-{}", 12345, 6789), Ok(()));
        assert_eq!(buffer.as_bytes(), b"12345-67");
        assert!(buffer.is_cut());
        assert_eq!(buffer.as_c_str(), None);
        let _ = write!(buffer, "x");
        assert_eq!(buffer.as_bytes(), b"12345-67");
        buffer.clear();
        assert_eq!((buffer.as_bytes(), buffer.is_cut()), (&b""[..], false));
    }

    #[test]
    fn cut_inside_a_character() {
        let mut buffer = StackBuf::<4>::new();
        buffer.push_bytes("ab\u{20ac}".as_bytes());
        assert_eq!(buffer.as_str(), "ab");
        assert_eq!(buffer.as_bytes().len(), 4);
    }

    #[test]
    fn c_strings_need_room_for_the_zero() {
        let mut buffer = StackBuf::<4>::new();
        buffer.push_bytes(b"abc");
        assert_eq!(buffer.as_c_str(), Some(c"abc"));
        buffer.push_bytes(b"d");
        assert_eq!(buffer.as_c_str(), None);
        buffer.clear();
        buffer.push_bytes(b"a\0b");
        assert_eq!(buffer.as_c_str(), None);
    }
}
