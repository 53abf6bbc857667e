//! Children, and what the kernel says about this process.

use std::fs;
use std::io::{PipeReader, PipeWriter, Read, Write, pipe};
use std::os::unix::fs::MetadataExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use pmem_e2e::procfs::descriptors;

/// A forked child that is not waited for yet.
pub(crate) struct Child(libc::pid_t);

/// Forks; the child runs `body`, and has succeeded when that returns. It has two minutes.
pub(crate) fn fork(body: impl FnOnce()) -> Child {
    // SAFETY: the test has one thread when it forks, so the child may do anything.
    match unsafe { libc::fork() } {
        0 => {
            // SAFETY: only sets a timer.
            unsafe { libc::alarm(120) };
            let code = i32::from(catch_unwind(AssertUnwindSafe(body)).is_err());
            // SAFETY: ends the process without running what the parent registered for its own end.
            unsafe { libc::_exit(code) }
        }
        -1 => panic!("fork: {}", std::io::Error::last_os_error()),
        pid => Child(pid),
    }
}

impl Child {
    /// Waits for it.
    ///
    /// # Panics
    /// When it panicked or was ended by a signal.
    pub(crate) fn succeeds(self) {
        let mut status = 0;
        // SAFETY: our own child, waited for once; the status is a valid place.
        let waited = unsafe { libc::waitpid(self.0, &raw mut status, 0) };
        assert_eq!(waited, self.0);
        assert!(!libc::WIFSIGNALED(status), "the child got signal {}", libc::WTERMSIG(status));
        assert_eq!(libc::WEXITSTATUS(status), 0, "the child failed; it says why above");
    }
}

/// Lets two processes take turns: each has one, made before the fork.
pub(crate) struct Turn(PipeReader, PipeWriter);

/// Two ends; what one `pass`es, the other `take`s.
pub(crate) fn turns() -> (Turn, Turn) {
    let (from_left, to_right) = pipe().expect("a pipe");
    let (from_right, to_left) = pipe().expect("a pipe");
    (Turn(from_right, to_right), Turn(from_left, to_left))
}

impl Turn {
    pub(crate) fn pass(&mut self) {
        self.1.write_all(b".").expect("the other side listens");
    }

    pub(crate) fn take(&mut self) {
        self.0.read_exact(&mut [0]).expect("the other side lives");
    }
}

/// Bytes of storage that the files without a name have that this process holds open in `directory`.
pub(crate) fn storage(directory: &Path) -> usize {
    let files = descriptors(std::process::id()).into_iter();
    // The directory itself is open too, for children.
    let pools = files.filter(|(_, target)| target.starts_with(directory) && target != directory);
    let blocks = pools.map(|(link, _)| fs::metadata(link).expect("an open file").blocks());
    blocks.sum::<u64>() as usize * 512
}

/// Bytes that anybody can still use in the file system of `directory`.
pub(crate) fn free_space(directory: &Path) -> usize {
    let path = std::ffi::CString::new(directory.as_os_str().as_encoded_bytes()).expect("a path");
    // SAFETY: all zero is a valid value of the plain structure.
    let mut info: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: a terminated path and a place for the answer.
    let result = unsafe { libc::statvfs(path.as_ptr(), &raw mut info) };
    assert_eq!(result, 0, "statvfs: {}", std::io::Error::last_os_error());
    info.f_bavail as usize * info.f_frsize as usize
}

/// The number behind `name` in a file of lines like those of `/proc/meminfo`.
pub(crate) fn number_in(file: &str, name: &str) -> usize {
    let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{file}: {error}"));
    let line = text.lines().find(|line| line.starts_with(name));
    let line = line.unwrap_or_else(|| panic!("no {name} in {file}"));
    let word = line.split_whitespace().nth(1).expect("a number behind the name");
    word.parse().unwrap_or_else(|_| panic!("{line} in {file}"))
}
