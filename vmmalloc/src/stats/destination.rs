//! Where the report goes: a file of the user's choice, or what was standard error at the start.

use core::ffi::CStr;
use core::fmt::Write;
use pmem_core::file::Descriptor;
use pmem_core::fmt::{StackBuf, write_all};
use pmem_core::sync::{Mutex, Rank};
use pmem_core::sys::{self, Fd};

const LONGEST_PATH: usize = libc::PATH_MAX as usize;

/// Chosen at the start, used at the end.
struct Destination {
    /// The file's absolute path. A trailing `-` stands for the process id.
    file: StackBuf<LONGEST_PATH>,
    stderr: Option<SavedStderr>,
}

/// A duplicate of standard error, and what it was a duplicate of.
struct SavedStderr {
    duplicate: Descriptor,
    device: u64,
    inode: u64,
}

static DESTINATION: Mutex<Destination> =
    Mutex::new(Rank::LEAF, Destination { file: StackBuf::new(), stderr: None });

/// Remembers where the report is to go.
pub(super) fn choose(file: Option<&CStr>) {
    let mut destination = DESTINATION.lock();
    match file {
        Some(file) => {
            let mut path = StackBuf::new();
            // The program may change its directory meanwhile.
            if !file.to_bytes().starts_with(b"/") {
                path.push_bytes(working_directory(&mut [0; LONGEST_PATH]));
                path.push_bytes(b"/");
            }
            path.push_bytes(file.to_bytes());
            destination.file = path;
        }
        None => destination.stderr = save_stderr(),
    }
}

fn working_directory(buffer: &mut [u8; LONGEST_PATH]) -> &[u8] {
    // SAFETY: the buffer is writable for its length; with one given, nothing is allocated.
    let result = unsafe { libc::getcwd(buffer.as_mut_ptr().cast(), buffer.len()) };
    if result.is_null() {
        return b".";
    }
    CStr::from_bytes_until_nul(buffer).map_or(b".", CStr::to_bytes)
}

fn save_stderr() -> Option<SavedStderr> {
    let fd = sys::duplicate_at_least(Fd::STDERR, 0).ok()?;
    // SAFETY: made above; `adopt` moves it out of the way of programs that count on low numbers.
    let (duplicate, status) = unsafe { Descriptor::adopt(fd) }.ok()?;
    Some(SavedStderr { duplicate, device: status.device, inode: status.inode })
}

/// An open destination.
pub(super) struct Output {
    fd: Fd,
    /// Opened for this report.
    ours: bool,
}

/// Opens the destination, before the report is made: what a sandbox forbids us to write need not be counted, and
/// counting takes system calls that end the process in some.
/// `None` when there is nowhere to write, and nobody to tell.
pub(super) fn open() -> Option<Output> {
    // In the child of a fork the lock may belong to a thread that is not there; the content is not
    // changed after the start, so that can only be during it.
    let destination = DESTINATION.try_lock()?;
    if destination.file.as_bytes().is_empty() {
        let fd = destination.stderr.as_ref().and_then(SavedStderr::present)?;
        return Some(Output { fd, ours: false });
    }
    open_file(&destination.file).map(|fd| Output { fd, ours: true })
}

impl Output {
    /// Failures are ignored.
    pub(super) fn write(&self, report: &[u8]) {
        write_all(self.fd, report);
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if self.ours {
            // SAFETY: opened for this value and used nowhere else.
            unsafe { sys::close(self.fd) };
        }
    }
}

impl SavedStderr {
    /// The duplicate, or standard error itself when the program has closed the duplicate and left
    /// the other.
    fn present(&self) -> Option<Fd> {
        let same = |fd: &Fd| {
            sys::file_status(*fd)
                .is_ok_and(|status| (status.device, status.inode) == (self.device, self.inode))
        };
        self.duplicate.verified().map(|(fd, _)| fd).or(Some(Fd::STDERR).filter(same))
    }
}

/// Opens the file for appending, so that processes that share it do not overwrite each other.
fn open_file(path: &StackBuf<LONGEST_PATH>) -> Option<Fd> {
    let mut path = path.clone();
    if path.as_bytes().ends_with(b"-") {
        let _ = write!(path, "{}", sys::process_id());
    }
    let path = path.as_c_str()?;
    const FLAGS: libc::c_int =
        libc::O_WRONLY | libc::O_CREAT | libc::O_APPEND | libc::O_CLOEXEC | libc::O_NOCTTY;
    const MODE: libc::mode_t = 0o644;
    // Not through `open`, where a thread may be cancelled.
    // SAFETY: the path is a C string.
    let fd = unsafe { libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path.as_ptr(), FLAGS, MODE) };
    i32::try_from(fd).ok().filter(|&fd| fd >= 0).map(Fd::from_raw)
}
