//! Holding back writers: `userfaultfd` in its write-protecting form.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::file::{Access, Fd, OpenFlags, close, open_at};
use super::raw::once;
use crate::errno::Errno;

/// Holds back whoever writes to a range: threads of the process and system calls that they make. They
/// wait inside the kernel, and go on with whatever is mapped when they are released.
///
/// Only the form that holds back system calls too is used; it needs `CAP_SYS_PTRACE`,
/// `vm.unprivileged_userfaultfd=1`, or (Linux 6.1) the permission to open `/dev/userfaultfd`. With the other form a
/// `read` into the range would fail.
#[derive(Debug)]
pub struct WriteBarrier {
    fd: Fd,
}

#[repr(C)]
struct Api {
    api: u64,
    features: u64,
    ioctls: u64,
}

#[repr(C)]
#[derive(Copy, Clone)]
struct Range {
    start: u64,
    len: u64,
}

#[repr(C)]
struct Register {
    range: Range,
    mode: u64,
    ioctls: u64,
}

#[repr(C)]
struct WriteProtect {
    range: Range,
    mode: u64,
}

/// `_IOWR(0xAA, number, T)`, and `_IOR` for a call that only reads.
const fn request(direction: u64, number: u64, size: usize) -> u64 {
    direction << 30 | (size as u64) << 16 | 0xAA << 8 | number
}

/// Of `/dev/userfaultfd`.
const NEW: u64 = request(0, 0x00, 0);
const API: u64 = request(3, 0x3F, size_of::<Api>());
const REGISTER: u64 = request(3, 0x00, size_of::<Register>());
const WAKE: u64 = request(2, 0x02, size_of::<Range>());
const WRITE_PROTECT: u64 = request(3, 0x06, size_of::<WriteProtect>());

const VERSION: u64 = 0xAA;
/// Writes can be told from other faults.
const FEATURE_WRITES: u64 = 1 << 0;
/// Files in memory can be protected, also where no page is mapped (kernel 5.19).
const FEATURE_FILES: u64 = 1 << 12;
const REGISTER_WRITES: u64 = 1 << 1;
const PROTECT: u64 = 1 << 0;

/// Set when the system has said no, which it will say again.
static REFUSED: AtomicBool = AtomicBool::new(false);

fn descriptor() -> Result<Fd, Errno> {
    const FLAGS: libc::c_int = libc::O_CLOEXEC | libc::O_NONBLOCK;
    // SAFETY: makes a descriptor; no memory is involved.
    let number = once(|| unsafe { libc::syscall(libc::SYS_userfaultfd, FLAGS) });
    let number = number.or_else(|errno| {
        let flags = OpenFlags::new(Access::ReadWrite);
        let device =
            open_at(Fd::CURRENT_DIRECTORY, c"/dev/userfaultfd", flags).map_err(|_| errno)?;
        // SAFETY: as above.
        let made = once(|| unsafe { libc::syscall(libc::SYS_ioctl, device.raw(), NEW, FLAGS) });
        // SAFETY: opened above, and used nowhere else.
        unsafe { close(device) };
        made.map_err(|_| errno)
    })?;
    i32::try_from(number).map(Fd::from_raw).map_err(|_| Errno::EBADF)
}

impl WriteBarrier {
    /// # Errors
    /// `EPERM` without the right, `ENOSYS` or `EINVAL` where the kernel cannot, `EMFILE`.
    pub fn new() -> Result<WriteBarrier, Errno> {
        if REFUSED.load(Relaxed) {
            return Err(Errno::EPERM);
        }
        let made = descriptor().and_then(|fd| {
            let barrier = WriteBarrier { fd };
            let mut api = Api { api: VERSION, features: FEATURE_WRITES | FEATURE_FILES, ioctls: 0 };
            barrier.control(API, &mut api)?;
            Ok(barrier)
        });
        if matches!(made, Err(Errno::EPERM | Errno::ENOSYS | Errno::EINVAL)) {
            REFUSED.store(true, Relaxed);
        }
        made
    }

    fn control<T>(&self, request: u64, argument: &mut T) -> Result<(), Errno> {
        // SAFETY: each request is made with the structure that it is defined for.
        once(|| unsafe {
            libc::syscall(libc::SYS_ioctl, self.fd.raw(), request, core::ptr::from_mut(argument))
        })?;
        Ok(())
    }

    fn range(address: NonNull<u8>, len: usize) -> Range {
        Range { start: address.addr().get() as u64, len: len as u64 }
    }

    /// From now on every write to the range waits. A write that was under way is complete.
    ///
    /// # Safety
    /// The calling thread does not write to the range before it is released.
    ///
    /// # Errors
    /// `EINVAL` for memory of a kind that cannot be protected, `ENOMEM`.
    pub unsafe fn raise(&self, address: NonNull<u8>, len: usize) -> Result<(), Errno> {
        let range = WriteBarrier::range(address, len);
        self.control(REGISTER, &mut Register { range, mode: REGISTER_WRITES, ioctls: 0 })?;
        self.confirm(address, len)
    }

    /// Whether the barrier still holds, that is, nobody has closed its descriptor.
    ///
    /// # Errors
    /// `EBADF`, `ENOENT` when it does not.
    pub fn confirm(&self, address: NonNull<u8>, len: usize) -> Result<(), Errno> {
        let range = WriteBarrier::range(address, len);
        self.control(WRITE_PROTECT, &mut WriteProtect { range, mode: PROTECT })
    }

    /// Releases those who wait for a range that shows something else now.
    pub fn wake(&self, address: NonNull<u8>, len: usize) {
        // Without a descriptor nobody waits.
        let _ = self.control(WAKE, &mut WriteBarrier::range(address, len));
    }
}

impl Drop for WriteBarrier {
    /// Lifts every protection that is left and releases everybody.
    fn drop(&mut self) {
        // SAFETY: made by `new` and known to nobody else.
        unsafe { close(self.fd) };
    }
}
