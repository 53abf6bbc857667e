//! Files that back a pool: how they are made, found again, and kept apart from files of others.

mod descriptor;
mod temporary;

use core::ffi::CStr;

use crate::errno::Errno;
use crate::error::Error;
use crate::sys::{self, Access, Fd, OpenFlags};

pub use descriptor::Descriptor;
pub use temporary::{open_directory, temporary_in};

/// How a named file is opened.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum OpenMode {
    /// It is made if it does not exist.
    Create,
    /// It is made and must not exist.
    CreateNew,
    /// It must exist.
    Existing,
}

/// Makes a file longer, never shorter. Gives the length it had.
///
/// # Errors
/// `EFBIG` when the process may not have files of that size (`RLIMIT_FSIZE`; no signal is raised)
/// or the file system cannot, and those of `fstat` and `ftruncate`.
pub fn extend_to(file: Fd, len: u64) -> Result<u64, Error> {
    let old = sys::file_status(file).map_err(Error::of("fstat"))?.len;
    if old < len {
        if len > sys::limit_file_size() {
            return Err(Error::new("ftruncate", Errno::EFBIG));
        }
        sys::truncate(file, len).map_err(Error::of("ftruncate"))?;
    }
    Ok(old)
}

/// Reads a small file as a whole, as the pseudo file systems have them.
///
/// # Errors
/// Those of `open` and `read`; `EFBIG` when it does not fit into the buffer.
pub(crate) fn read_small<'b>(path: &CStr, buffer: &'b mut [u8]) -> Result<&'b [u8], Errno> {
    let file = sys::open_at(Fd::CURRENT_DIRECTORY, path, OpenFlags::new(Access::Read))?;
    let result = read_to_end(file, buffer);
    // SAFETY: opened above and used nowhere else.
    unsafe { sys::close(file) };
    let len = result?;
    buffer.get(..len).ok_or(Errno::EFBIG)
}

fn read_to_end(file: Fd, buffer: &mut [u8]) -> Result<usize, Errno> {
    let mut len = 0;
    loop {
        let rest = buffer.get_mut(len..).unwrap_or(&mut []);
        if rest.is_empty() {
            return Err(Errno::EFBIG);
        }
        match sys::read(file, rest)? {
            0 => return Ok(len),
            read => len += read,
        }
    }
}

/// Reads a number that consists of decimal digits only.
pub(crate) fn parse_decimal(text: &[u8]) -> Option<u64> {
    let digit = |byte: &u8| byte.is_ascii_digit().then(|| u64::from(byte - b'0'));
    let first = digit(text.first()?)?;
    text.iter()
        .skip(1)
        .try_fold(first, |number, byte| number.checked_mul(10)?.checked_add(digit(byte)?))
}
