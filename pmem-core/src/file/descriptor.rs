//! A descriptor that knows which file it stands for.
//!
//! A library that lives in someone else's process cannot rely on its descriptors: programs close
//! all of them (`closefrom`, `close_range`) or put other files on their numbers (`dup2`). So the
//! identity of the file is remembered when the descriptor is made, and compared before every use.

use core::sync::atomic::{AtomicI32, AtomicU64, Ordering::Relaxed};

use crate::errno::Errno;
use crate::sys::{self, Fd, FileStatus};

/// An owned descriptor; closed when dropped, if it still is ours.
#[derive(Debug)]
pub struct Descriptor {
    number: AtomicI32,
    device: AtomicU64,
    inode: AtomicU64,
}

impl Descriptor {
    /// Takes a descriptor over and moves it to a high number, out of the way of programs that count
    /// on low ones.
    ///
    /// # Errors
    /// Those of `fstat`; the descriptor is then closed.
    ///
    /// # Safety
    /// The descriptor is the caller's, who uses it no more.
    pub unsafe fn adopt(fd: Fd) -> Result<(Descriptor, FileStatus), Errno> {
        // SAFETY: given up by the caller.
        let fd = unsafe { move_high(fd) };
        match sys::file_status(fd) {
            Ok(status) => {
                let descriptor = Descriptor {
                    number: AtomicI32::new(fd.raw()),
                    device: AtomicU64::new(status.device),
                    inode: AtomicU64::new(status.inode),
                };
                Ok((descriptor, status))
            }
            Err(errno) => {
                // SAFETY: ours alone.
                unsafe { sys::close(fd) };
                Err(errno)
            }
        }
    }

    /// The descriptor and the present status of its file; `None` when the program has closed or
    /// replaced it.
    #[must_use]
    pub fn verified(&self) -> Option<(Fd, FileStatus)> {
        let fd = Fd::from_raw(self.number.load(Relaxed));
        let status = sys::file_status(fd).ok()?;
        let same =
            status.device == self.device.load(Relaxed) && status.inode == self.inode.load(Relaxed);
        same.then_some((fd, status))
    }

    /// Closes the descriptor, if it still is ours; from then on there is none.
    pub fn close(&self) {
        const NONE: i32 = -1;
        let verified = self.verified();
        let number = self.number.swap(NONE, Relaxed);
        if let Some((fd, _)) = verified
            && fd.raw() == number
        {
            // SAFETY: it still stood for our file, and only this call has taken the number.
            unsafe { sys::close(fd) };
        }
    }

    /// Takes the place of `self`; what `self` stood for is closed.
    ///
    /// # Safety
    /// No other thread uses `self` meanwhile: it could see parts of both.
    pub(crate) unsafe fn replace(&self, other: Descriptor) {
        let swap = |ours: &AtomicU64, theirs: &AtomicU64| {
            let old = ours.swap(theirs.load(Relaxed), Relaxed);
            theirs.store(old, Relaxed);
        };
        swap(&self.device, &other.device);
        swap(&self.inode, &other.inode);
        let old = self.number.swap(other.number.load(Relaxed), Relaxed);
        other.number.store(old, Relaxed);
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        self.close();
    }
}

/// # Safety
/// The descriptor is the caller's, who uses only the returned one afterwards.
unsafe fn move_high(fd: Fd) -> Fd {
    match sys::duplicate_at_least(fd, high_number()) {
        Ok(high) => {
            // SAFETY: given up by the caller.
            unsafe { sys::close(fd) };
            high
        }
        // No such number is free: the old one serves too.
        Err(_) => fd,
    }
}

/// Seven eighths of the limit, and not beyond the usual limit of 1024: the kernel's table grows
/// with the highest number.
fn high_number() -> i32 {
    const USUAL_LIMIT: u64 = 1024;
    let limit = sys::limit_open_files().min(USUAL_LIMIT);
    i32::try_from(limit - limit / 8).unwrap_or(0)
}
