//! Files without a name, in a directory of the user's choice.

use core::ffi::CStr;

use super::Descriptor;
use crate::errno::Errno;
use crate::error::Error;
use crate::fmt::StackBuf;
use crate::sys::{self, Access, Fd, OpenFlags, SignalBlock};

/// Remembers a directory as a place (`O_PATH`): it stays reachable after `chdir` and `chroot`.
///
/// # Errors
/// Operation `open`: `ENOENT`, `ENOTDIR`, `EACCES`, ...
pub fn open_directory(path: &CStr) -> Result<Descriptor, Error> {
    let flags = OpenFlags::new(Access::Path).directory();
    let fd = sys::open_at(Fd::CURRENT_DIRECTORY, path, flags).map_err(Error::of("open"))?;
    // SAFETY: opened above.
    unsafe { Descriptor::adopt(fd) }.map(|(directory, _)| directory).map_err(Error::of("fstat"))
}

/// Makes a file that never has a name: `O_TMPFILE`, or where the file system cannot, a file
/// `vmem.XXXXXX` that is unlinked at once, with all signals blocked in between. Mode 0600, closed
/// on exec.
///
/// # Errors
/// Operation `open` or `mkstemp`: `EACCES`, `EROFS`, `ENOSPC`, `EMFILE`, ...; `EBADF` when the
/// program has closed the directory's descriptor.
pub fn temporary_in(directory: &Descriptor) -> Result<Descriptor, Error> {
    let Some((directory, _)) = directory.verified() else {
        return Err(Error::new("open", Errno::EBADF));
    };
    let fd = match unnamed(directory) {
        // EISDIR is the answer of a kernel that does not know the flag.
        Err(Errno::EOPNOTSUPP | Errno::EISDIR) => {
            named_and_unlinked(directory).map_err(Error::of("mkstemp"))?
        }
        result => result.map_err(Error::of("open"))?,
    };
    // SAFETY: opened above.
    unsafe { Descriptor::adopt(fd) }.map(|(file, _)| file).map_err(Error::of("fstat"))
}

fn unnamed(directory: Fd) -> Result<Fd, Errno> {
    sys::open_at(directory, c".", OpenFlags::new(Access::ReadWrite).temporary())
}

/// As `mkstemp`, which would allocate, followed by unlink.
pub(super) fn named_and_unlinked(directory: Fd) -> Result<Fd, Errno> {
    const ATTEMPTS: usize = 1000;
    for _ in 0..ATTEMPTS {
        let mut name = random_name();
        let name = name.as_c_str().ok_or(Errno::ENAMETOOLONG)?;
        // A handler that ends the process must not leave the name behind.
        let _block = SignalBlock::new();
        match sys::open_at(directory, name, OpenFlags::new(Access::ReadWrite).create_new()) {
            Err(Errno::EEXIST) => {}
            Err(errno) => return Err(errno),
            Ok(fd) => {
                return match sys::unlink_at(directory, name) {
                    Ok(()) => Ok(fd),
                    Err(errno) => {
                        // SAFETY: opened above.
                        unsafe { sys::close(fd) };
                        Err(errno)
                    }
                };
            }
        }
    }
    Err(Errno::EEXIST)
}

fn random_name() -> StackBuf<16> {
    const LETTERS: &[u8; 62] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    let mut random = [0; 6];
    sys::fill_random(&mut random);
    let mut name = StackBuf::new();
    name.push_bytes(b"vmem.");
    for byte in random {
        let letter = LETTERS.get(usize::from(byte) % LETTERS.len()).unwrap_or(&b'a');
        name.push_bytes(&[*letter]);
    }
    name
}

#[cfg(test)]
#[cfg(not(miri))]
mod tests {
    use super::*;
    use std::ffi::CString;
    use std::os::unix::fs::MetadataExt;
    use std::{env, format, fs, process};

    /// The way of file systems without `O_TMPFILE`, on one that has it: the outcome is the same.
    #[test]
    fn a_file_made_by_name_is_unlinked_at_once() {
        let path = env::temp_dir().join(format!("pmem-core-mkstemp-{}", process::id()));
        fs::create_dir(&path).unwrap();
        let directory = open_directory(&CString::new(path.to_str().unwrap()).unwrap()).unwrap();
        let (place, _) = directory.verified().unwrap();
        let files = [named_and_unlinked(place).unwrap(), unnamed(place).unwrap()];
        assert_eq!(fs::read_dir(&path).unwrap().count(), 0);
        for file in files {
            let status = fs::metadata(format!("/proc/self/fd/{}", file.raw())).unwrap();
            assert_eq!((status.nlink(), status.mode() & 0o777, status.len()), (0, 0o600, 0));
            // SAFETY: asks only for flags.
            let flags = unsafe { libc::fcntl(file.raw(), libc::F_GETFD) };
            assert_eq!(flags, libc::FD_CLOEXEC);
            crate::file::extend_to(file, 4096).unwrap();
            // SAFETY: the bytes live as long as the call.
            assert_eq!(unsafe { sys::pwrite(file, b"x".as_ptr(), 1, 4095) }, Ok(1));
            // SAFETY: opened above.
            unsafe { sys::close(file) };
        }
        fs::remove_dir(&path).unwrap();
    }

    #[test]
    fn the_first_way_is_not_there_everywhere() {
        let place = open_directory(c"/proc").unwrap();
        let (place, _) = place.verified().unwrap();
        // The kernel looks at permissions first.
        // SAFETY: no arguments.
        let root = unsafe { libc::geteuid() } == 0;
        assert_eq!(unnamed(place), Err(if root { Errno::EOPNOTSUPP } else { Errno::EACCES }));
        assert_eq!(named_and_unlinked(place), Err(Errno::ENOENT));
    }

    #[test]
    fn names_differ() {
        let (mut one, mut two) = (random_name(), random_name());
        assert_ne!(one.as_c_str(), two.as_c_str());
        assert_eq!(one.as_bytes().len(), "vmem.XXXXXX".len());
        assert!(one.as_bytes().starts_with(b"vmem."));
        assert!(two.as_bytes().iter().skip(5).all(u8::is_ascii_alphanumeric));
    }
}
