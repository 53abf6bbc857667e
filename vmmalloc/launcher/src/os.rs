//! The few system calls that std does not offer, typed. The only file of the launcher with `unsafe` but `start.rs`.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// A path for the kernel.
///
/// # Errors
/// `EINVAL` when it contains a NUL byte.
pub(crate) fn c_path(path: &OsStr) -> io::Result<CString> {
    CString::new(path.as_bytes()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))
}

/// What `statfs` says of a file system.
pub(crate) struct FileSystem {
    /// Magic number of its kind.
    pub(crate) magic: u64,
    /// Bytes an unprivileged process can still take; root may use the reserve as well. `None` where the file
    /// system keeps no count (a tmpfs without a limit).
    pub(crate) free_bytes: Option<u64>,
}

/// The file system that holds `path`.
///
/// # Errors
/// Those of `statfs(2)`.
pub(crate) fn file_system(path: &Path) -> io::Result<FileSystem> {
    let path = c_path(path.as_os_str())?;
    let mut answer = MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: the path is a C string and the buffer has the size the call fills.
    if unsafe { libc::statfs(path.as_ptr(), answer.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded, so it filled the buffer.
    let answer = unsafe { answer.assume_init() };
    let blocks = if effective_uid() == 0 { answer.f_bfree } else { answer.f_bavail };
    let block_bytes = u64::try_from(answer.f_bsize).unwrap_or(0);
    Ok(FileSystem {
        // The magic numbers are 32 bits wide; some architectures sign-extend them.
        magic: (answer.f_type as u64) & 0xffff_ffff,
        free_bytes: (answer.f_blocks != 0).then(|| blocks.saturating_mul(block_bytes)),
    })
}

/// Who the process acts as.
pub(crate) fn effective_uid() -> u32 {
    // SAFETY: no arguments, cannot fail.
    unsafe { libc::geteuid() }
}

/// Who started it.
pub(crate) fn real_ids() -> (u32, u32) {
    // SAFETY: no arguments, cannot fail.
    unsafe { (libc::getuid(), libc::getgid()) }
}

/// Memory of the machine in bytes.
pub(crate) fn memory_bytes() -> u64 {
    // SAFETY: sysconf only reads its argument.
    let (pages, page) =
        unsafe { (libc::sysconf(libc::_SC_PHYS_PAGES), libc::sysconf(libc::_SC_PAGESIZE)) };
    u64::try_from(pages).unwrap_or(0).saturating_mul(u64::try_from(page).unwrap_or(0))
}

/// Which resource a limit is about.
#[derive(Clone, Copy)]
pub(crate) enum Limit {
    /// Largest file (`ulimit -f`).
    FileSize,
    /// Address space (`ulimit -v`).
    AddressSpace,
}

/// The soft limit in bytes; `None` when unlimited.
pub(crate) fn limit(which: Limit) -> Option<u64> {
    let resource = match which {
        Limit::FileSize => libc::RLIMIT_FSIZE,
        Limit::AddressSpace => libc::RLIMIT_AS,
    };
    let mut answer = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the resource is a known one and the buffer has the size the call fills.
    let failed = unsafe { libc::getrlimit(resource, &raw mut answer) } != 0;
    (!failed && answer.rlim_cur != libc::RLIM_INFINITY).then_some(answer.rlim_cur)
}

/// How a path is to be used.
#[derive(Clone, Copy)]
pub(crate) enum Access {
    /// Create files in it (a directory).
    Create,
    /// Read and write it.
    ReadWrite,
    /// Execute it.
    Execute,
}

/// Asks the kernel whether the process may use `path` so, with its effective ids.
///
/// # Errors
/// Those of `faccessat(2)`.
pub(crate) fn check_access(path: &Path, how: Access) -> io::Result<()> {
    let mode = match how {
        Access::Create => libc::W_OK | libc::X_OK,
        Access::ReadWrite => libc::R_OK | libc::W_OK,
        Access::Execute => libc::X_OK,
    };
    let path = c_path(path.as_os_str())?;
    // SAFETY: the path is a C string.
    let status = unsafe { libc::faccessat(libc::AT_FDCWD, path.as_ptr(), mode, libc::AT_EACCESS) };
    if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// True when the file carries capabilities, so that the kernel starts it in secure mode for ordinary users.
pub(crate) fn has_file_capabilities(path: &Path) -> bool {
    let Ok(path) = c_path(path.as_os_str()) else {
        return false;
    };
    // SAFETY: both names are C strings; a zero length asks for the size only and writes nothing.
    let size = unsafe {
        libc::getxattr(path.as_ptr(), c"security.capability".as_ptr(), std::ptr::null_mut(), 0)
    };
    size > 0
}

/// Maps `bytes` of `file` shared, as the library will, and unmaps them again; nothing is touched.
///
/// # Errors
/// Those of `mmap(2)`: `ENODEV` when the file system has no shared mappings, `ENOMEM` when the address space is too
/// small.
pub(crate) fn try_map(file: &File, bytes: u64) -> io::Result<()> {
    let len = usize::try_from(bytes).map_err(|_| io::Error::from_raw_os_error(libc::ENOMEM))?;
    // SAFETY: a new mapping at an address of the kernel's choice; nothing of ours lies there.
    let address = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            len,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_NORESERVE,
            file.as_raw_fd(),
            0,
        )
    };
    if address == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: exactly the mapping made above; nothing points into it.
    unsafe { libc::munmap(address, len) };
    Ok(())
}
