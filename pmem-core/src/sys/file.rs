//! Descriptors and files.

use core::ffi::CStr;
use core::mem::MaybeUninit;

use super::raw::{once, retry};
use crate::errno::Errno;

/// A descriptor's number. Does not own it: a process may lose any descriptor to `closefrom` and
/// friends at any time, so ownership is kept together with the identity of the file behind it (see
/// [`file::Descriptor`](crate::file::Descriptor)).
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Fd(i32);

impl Fd {
    /// Stands for the working directory in the `*_at` calls.
    pub const CURRENT_DIRECTORY: Fd = Fd(libc::AT_FDCWD);
    /// Standard error.
    pub const STDERR: Fd = Fd(libc::STDERR_FILENO);

    /// Wraps a number.
    #[must_use]
    pub const fn from_raw(number: i32) -> Fd {
        Fd(number)
    }

    /// The number.
    #[must_use]
    pub const fn raw(self) -> i32 {
        self.0
    }
}

/// What a file is opened for.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Access {
    /// Reading.
    Read,
    /// Reading and writing.
    ReadWrite,
    /// Writing.
    Write,
    /// Neither: only a place in the tree (`O_PATH`).
    Path,
}

/// How a file is opened. `O_CLOEXEC` is always added.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct OpenFlags(i32);

impl OpenFlags {
    /// An existing file.
    #[must_use]
    pub const fn new(access: Access) -> OpenFlags {
        OpenFlags(match access {
            Access::Read => libc::O_RDONLY,
            Access::ReadWrite => libc::O_RDWR,
            Access::Write => libc::O_WRONLY,
            Access::Path => libc::O_PATH,
        })
    }

    /// Only if it is a directory.
    #[must_use]
    pub const fn directory(self) -> OpenFlags {
        OpenFlags(self.0 | libc::O_DIRECTORY)
    }

    /// Made if it does not exist.
    #[must_use]
    pub const fn create(self) -> OpenFlags {
        OpenFlags(self.0 | libc::O_CREAT)
    }

    /// Made, and it must not exist; a symbolic link counts as existing.
    #[must_use]
    pub const fn create_new(self) -> OpenFlags {
        OpenFlags(self.0 | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW)
    }

    /// A file without a name, in the directory that the path names; no name can be given to it
    /// later.
    #[must_use]
    pub const fn temporary(self) -> OpenFlags {
        OpenFlags(self.0 | libc::O_TMPFILE | libc::O_EXCL)
    }
}

/// Opens `path`, relative to `directory`. New files get mode 0600.
///
/// # Errors
/// Those of `openat`.
pub fn open_at(directory: Fd, path: &CStr, flags: OpenFlags) -> Result<Fd, Errno> {
    const MODE: libc::c_uint = 0o600;
    // SAFETY: the path is a C string.
    let number = retry(|| unsafe {
        libc::syscall(libc::SYS_openat, directory.0, path.as_ptr(), flags.0 | libc::O_CLOEXEC, MODE)
    })?;
    descriptor(number)
}

fn descriptor(number: libc::c_long) -> Result<Fd, Errno> {
    i32::try_from(number).map(Fd).map_err(|_| Errno::EBADF)
}

/// Makes a file in memory without a name in any directory. `name` shows up in `/proc`;
/// `huge_page_bits` is 0 or the `MFD_HUGETLB` flags of a page size.
///
/// # Errors
/// Those of `memfd_create`; `ENODEV` or `EINVAL` when the kernel has no such huge pages.
pub fn memory_file(name: &CStr, huge_page_bits: u32) -> Result<Fd, Errno> {
    create_memory_file(name, huge_page_bits)
}

/// Makes a file in memory that can be sealed; see [`seal_writes`].
///
/// # Errors
/// Those of `memfd_create`.
pub fn sealable_file(name: &CStr) -> Result<Fd, Errno> {
    create_memory_file(name, libc::MFD_ALLOW_SEALING)
}

fn create_memory_file(name: &CStr, flags: u32) -> Result<Fd, Errno> {
    const MFD_NOEXEC_SEAL: u32 = 8;
    let create = |flags: u32| {
        // SAFETY: the name is a C string.
        once(|| unsafe { libc::syscall(libc::SYS_memfd_create, name.as_ptr(), flags) })
    };
    let flags = libc::MFD_CLOEXEC | flags;
    // Newer kernels ask for the flag, and may insist on it (`vm.memfd_noexec`); those before 6.3 do not know it.
    let number = match create(flags | MFD_NOEXEC_SEAL) {
        Err(Errno::EINVAL) => create(flags)?,
        result => result?,
    };
    descriptor(number)
}

/// Forbids all writing to a sealable file, for ever.
///
/// # Errors
/// `EBUSY` while any process maps it shared and writable; `EPERM` when it is no such file.
pub fn seal_writes(fd: Fd) -> Result<(), Errno> {
    // SAFETY: no memory is involved.
    once(|| unsafe { libc::fcntl(fd.0, libc::F_ADD_SEALS, libc::F_SEAL_WRITE) })?;
    Ok(())
}

/// Closes a descriptor. Nothing can be done about a failure, so none is reported.
///
/// # Safety
/// The descriptor is the caller's to close.
pub unsafe fn close(fd: Fd) {
    // SAFETY: the caller owns the descriptor. Not retried: Linux has released it even when it
    // answers EINTR.
    let _ = once(|| unsafe { libc::syscall(libc::SYS_close, fd.0) });
}

/// Duplicates a descriptor to the lowest free number not below `least`, with close-on-exec set.
///
/// # Errors
/// `EMFILE`, `EINVAL` when `least` is beyond the limit, `EBADF`.
pub fn duplicate_at_least(fd: Fd, least: i32) -> Result<Fd, Errno> {
    // SAFETY: F_DUPFD_CLOEXEC takes an int and touches no memory.
    once(|| unsafe { libc::fcntl(fd.0, libc::F_DUPFD_CLOEXEC, least) }).map(Fd)
}

/// What `fstat` tells about a file.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct FileStatus {
    /// The device that holds the file.
    pub device: u64,
    /// The file's number on that device.
    pub inode: u64,
    /// The file's type and permission bits.
    pub mode: u32,
    /// Length in bytes.
    pub len: u64,
    /// Bytes that the file occupies.
    pub allocated: u64,
    /// For a device node: the device it stands for, as (major, minor).
    pub node: (u32, u32),
}

impl FileStatus {
    /// A regular file?
    #[must_use]
    pub const fn is_regular(&self) -> bool {
        self.mode & libc::S_IFMT == libc::S_IFREG
    }

    /// A directory?
    #[must_use]
    pub const fn is_directory(&self) -> bool {
        self.mode & libc::S_IFMT == libc::S_IFDIR
    }

    /// The device that holds the file, as (major, minor).
    #[must_use]
    pub const fn device_numbers(&self) -> (u32, u32) {
        (libc::major(self.device), libc::minor(self.device))
    }

    /// A character device?
    #[must_use]
    pub const fn is_character_device(&self) -> bool {
        self.mode & libc::S_IFMT == libc::S_IFCHR
    }
}

/// Tells what is behind a descriptor.
///
/// # Errors
/// `EBADF`, `EOVERFLOW`.
pub fn file_status(fd: Fd) -> Result<FileStatus, Errno> {
    let mut status = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: the buffer is writable and large enough.
    once(|| unsafe { libc::fstat(fd.0, status.as_mut_ptr()) })?;
    // SAFETY: a successful fstat fills the structure.
    let status = unsafe { status.assume_init() };
    const BLOCK: u64 = 512;
    Ok(FileStatus {
        device: status.st_dev,
        inode: status.st_ino,
        mode: status.st_mode,
        len: u64::try_from(status.st_size).unwrap_or(0),
        allocated: u64::try_from(status.st_blocks).unwrap_or(0).saturating_mul(BLOCK),
        node: (libc::major(status.st_rdev), libc::minor(status.st_rdev)),
    })
}

/// Whether the file lies on tmpfs: its pages are the medium.
pub fn is_on_tmpfs(fd: Fd) -> bool {
    file_system(fd).is_ok_and(|status| status.f_type == libc::TMPFS_MAGIC)
}

/// Bytes that the file system of a file still has for this user.
///
/// # Errors
/// `EBADF`, `EIO`, `ENOSYS`.
pub fn free_space(fd: Fd) -> Result<u64, Errno> {
    let status = file_system(fd)?;
    let block = u64::try_from(status.f_bsize).unwrap_or(0);
    Ok(status.f_bavail.saturating_mul(block))
}

fn file_system(fd: Fd) -> Result<libc::statfs, Errno> {
    let mut status = MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: the buffer is writable and large enough.
    once(|| unsafe { libc::fstatfs(fd.0, status.as_mut_ptr()) })?;
    // SAFETY: a successful fstatfs fills the structure.
    Ok(unsafe { status.assume_init() })
}

fn offset(n: u64) -> Result<libc::off_t, Errno> {
    libc::off_t::try_from(n).map_err(|_| Errno::EFBIG)
}

/// Sets a file's length. The caller has compared it with
/// [`limit_file_size`](super::limit_file_size): beyond that limit the kernel raises `SIGXFSZ`.
///
/// # Errors
/// `EFBIG`, `EPERM`, `EINVAL`, `EIO`, ...
pub fn truncate(fd: Fd, len: u64) -> Result<(), Errno> {
    let len = offset(len)?;
    // SAFETY: no memory is involved.
    retry(|| unsafe { libc::ftruncate(fd.0, len) })?;
    Ok(())
}

/// Allocates space for a range inside the file without changing its length or content. Made once:
/// `EINTR` is reported.
///
/// # Errors
/// `ENOSPC`, `EDQUOT`, `EOPNOTSUPP` where the file system cannot, `EINTR`, ...
pub fn fallocate(fd: Fd, start: u64, len: u64) -> Result<(), Errno> {
    let (start, len) = (offset(start)?, offset(len)?);
    // SAFETY: no memory is involved.
    once(|| unsafe {
        libc::syscall(libc::SYS_fallocate, fd.0, libc::FALLOC_FL_KEEP_SIZE, start, len)
    })?;
    Ok(())
}

fn count(n: libc::c_long) -> usize {
    usize::try_from(n).unwrap_or(0)
}

/// Reads at the file's position; 0 at its end.
///
/// # Errors
/// Those of `read`.
pub fn read(fd: Fd, buffer: &mut [u8]) -> Result<usize, Errno> {
    // SAFETY: the buffer is writable for its length.
    retry(|| unsafe { libc::syscall(libc::SYS_read, fd.0, buffer.as_mut_ptr(), buffer.len()) })
        .map(count)
}

/// Reads at `start`; 0 at the end of the file.
///
/// # Errors
/// Those of `pread`.
pub fn pread(fd: Fd, buffer: &mut [u8], start: u64) -> Result<usize, Errno> {
    let start = offset(start)?;
    // SAFETY: the buffer is writable for its length.
    retry(|| unsafe {
        libc::syscall(libc::SYS_pread64, fd.0, buffer.as_mut_ptr(), buffer.len(), start)
    })
    .map(count)
}

/// Writes at the file's position.
///
/// # Errors
/// Those of `write`.
pub fn write(fd: Fd, bytes: &[u8]) -> Result<usize, Errno> {
    // SAFETY: the bytes are readable for their length.
    retry(|| unsafe { libc::syscall(libc::SYS_write, fd.0, bytes.as_ptr(), bytes.len()) })
        .map(count)
}

/// Writes `len` bytes of memory at `start`.
///
/// Takes an address and not a slice because other threads may be writing to that memory meanwhile.
///
/// # Safety
/// The memory is mapped and readable.
///
/// # Errors
/// Those of `pwrite`.
pub unsafe fn pwrite(fd: Fd, memory: *const u8, len: usize, start: u64) -> Result<usize, Errno> {
    let start = offset(start)?;
    // SAFETY: readable by the caller's word; the kernel copies, so there is no Rust-visible race.
    retry(|| unsafe { libc::syscall(libc::SYS_pwrite64, fd.0, memory, len, start) }).map(count)
}

/// Reads the target of a symbolic link; gives how many bytes of `buffer` it fills (a longer target
/// is cut).
///
/// # Errors
/// Those of `readlinkat`; `EINVAL` when it is no link.
pub fn read_link_at(directory: Fd, path: &CStr, buffer: &mut [u8]) -> Result<usize, Errno> {
    // SAFETY: path is a C string, the buffer is writable for its length.
    once(|| unsafe {
        libc::syscall(
            libc::SYS_readlinkat,
            directory.0,
            path.as_ptr(),
            buffer.as_mut_ptr(),
            buffer.len(),
        )
    })
    .map(count)
}

/// Reads entries of a directory, in the form of `getdents64`; 0 at its end.
///
/// # Errors
/// Those of `getdents64`; `EINVAL` when the buffer is too small for one entry.
pub fn read_directory(directory: Fd, buffer: &mut [u8]) -> Result<usize, Errno> {
    // SAFETY: the buffer is writable for its length.
    once(|| unsafe {
        libc::syscall(libc::SYS_getdents64, directory.0, buffer.as_mut_ptr(), buffer.len())
    })
    .map(count)
}

/// Removes a name.
///
/// # Errors
/// Those of `unlinkat`.
pub fn unlink_at(directory: Fd, path: &CStr) -> Result<(), Errno> {
    // SAFETY: the path is a C string.
    retry(|| unsafe { libc::unlinkat(directory.0, path.as_ptr(), 0) })?;
    Ok(())
}

/// How a whole file is locked.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum LockMode {
    /// Nobody else may hold a lock.
    Exclusive,
    /// Others may hold the same kind of lock.
    Shared,
}

/// Takes an advisory lock on a whole file without waiting. It goes with the last descriptor of this
/// opening.
///
/// # Errors
/// `EWOULDBLOCK` when somebody else holds a lock that conflicts; `EOPNOTSUPP`, `ENOLCK` where the
/// file system cannot.
pub fn lock_file(fd: Fd, mode: LockMode) -> Result<(), Errno> {
    let operation = libc::LOCK_NB
        | match mode {
            LockMode::Exclusive => libc::LOCK_EX,
            LockMode::Shared => libc::LOCK_SH,
        };
    // SAFETY: no memory is involved.
    retry(|| unsafe { libc::flock(fd.0, operation) })?;
    Ok(())
}
