//! Reading and writing a source without a signal when the medium is broken.

use pmem_core::errno::Errno;
use pmem_core::mapping;
use pmem_core::sys::{self, Fd, Rights};

use crate::error::{Error, ErrorKind};
use crate::source::Source;

impl Source {
    fn check_io(&self, len: usize, offset: usize) -> Result<Fd, Error> {
        let fd = self
            .fd()
            .ok_or_else(|| Error::new(ErrorKind::SourceTypeNotSupported, "read or write"))?;
        let size = self.size()?;
        if offset > size || len > size - offset {
            return Err(Error::new(ErrorKind::LengthOutOfRange, "read or write")
                .detail(format!("{len} bytes at {offset} of {size}")));
        }
        Ok(fd)
    }

    /// Reads bytes at an offset.
    ///
    /// # Errors
    /// [`ErrorKind::IoFailed`] when the medium has lost them, [`ErrorKind::LengthOutOfRange`],
    /// [`ErrorKind::SourceTypeNotSupported`] for memory, and those of the system.
    pub fn read_at(&self, buffer: &mut [u8], offset: usize) -> Result<(), Error> {
        let fd = self.check_io(buffer.len(), offset)?;
        if self.is_device() {
            let len = buffer.len();
            return self.through_pipe(fd, len, offset, |pipe, memory, done, part| {
                // SAFETY: `part` mapped bytes; the kernel reports those that it cannot load.
                unsafe { raw(libc::SYS_write, pipe.write, memory, part) }?;
                // SAFETY: inside the buffer.
                unsafe { raw(libc::SYS_read, pipe.read, buffer[done..].as_mut_ptr(), part) }
            });
        }
        let mut done = 0;
        while done < buffer.len() {
            let read = sys::pread(fd, &mut buffer[done..], (offset + done) as u64);
            match read.map_err(io_error)? {
                0 => return Err(Error::new(ErrorKind::LengthOutOfRange, "read")),
                count => done += count,
            }
        }
        Ok(())
    }

    /// Writes bytes at an offset.
    ///
    /// # Errors
    /// As for [`read_at`](Self::read_at).
    pub fn write_at(&self, bytes: &[u8], offset: usize) -> Result<(), Error> {
        let fd = self.check_io(bytes.len(), offset)?;
        if self.is_device() {
            return self.through_pipe(fd, bytes.len(), offset, |pipe, memory, done, part| {
                let from = bytes[done..].as_ptr().cast_mut();
                // SAFETY: inside the bytes, which the kernel only reads.
                unsafe { raw(libc::SYS_write, pipe.write, from, part) }?;
                // SAFETY: `part` mapped bytes.
                unsafe { raw(libc::SYS_read, pipe.read, memory, part) }
            });
        }
        let mut done = 0;
        while done < bytes.len() {
            let rest = &bytes[done..];
            // SAFETY: the bytes are readable.
            let written =
                unsafe { sys::pwrite(fd, rest.as_ptr(), rest.len(), (offset + done) as u64) };
            done += written.map_err(io_error)?;
        }
        Ok(())
    }

    /// A device has no `read`. The kernel copies between its mapping and a pipe, and reports an error
    /// where an instruction of ours would raise a signal.
    fn through_pipe(
        &self,
        fd: Fd,
        len: usize,
        offset: usize,
        mut copy: impl FnMut(&Pipe, *mut u8, usize, usize) -> Result<(), Errno>,
    ) -> Result<(), Error> {
        if len == 0 {
            return Ok(());
        }
        let align = self.alignment();
        let start = offset & !(align - 1);
        let mapped_len = (offset - start + len).next_multiple_of(align);
        let base = mapping::reserve(mapped_len, align).map_err(Error::system("reserve"))?;
        let rights = Rights::READ_WRITE;
        // SAFETY: reserved above.
        let mapped =
            unsafe { mapping::map_shared_over(base, mapped_len, rights, fd, start as u64) };
        let result = mapped.map_err(Error::system("mmap")).and_then(|_| {
            let pipe = Pipe::new().map_err(Error::system("pipe"))?;
            let first = base.as_ptr().wrapping_add(offset - start);
            let mut done = 0;
            while done < len {
                let part = Pipe::SIZE.min(len - done);
                copy(&pipe, first.wrapping_add(done), done, part).map_err(io_error)?;
                done += part;
            }
            Ok(())
        });
        // SAFETY: mapped or reserved above, used no more.
        let _ = unsafe { sys::unmap(base, mapped_len) };
        result
    }
}

fn io_error(errno: Errno) -> Error {
    match errno {
        Errno::EIO | Errno::EFAULT => Error::new(ErrorKind::IoFailed, "read or write"),
        errno => Error::new(ErrorKind::System(errno), "read or write"),
    }
}

struct Pipe {
    read: i32,
    write: i32,
}

impl Pipe {
    /// A pipe takes at least this much without a reader.
    const SIZE: usize = 4096;

    fn new() -> Result<Pipe, Errno> {
        let mut ends = [0; 2];
        // SAFETY: two numbers are written.
        match unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) } {
            0 => Ok(Pipe { read: ends[0], write: ends[1] }),
            _ => Err(Errno::last()),
        }
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        for end in [self.read, self.write] {
            // SAFETY: opened in `new`, used no more.
            unsafe { sys::close(Fd::from_raw(end)) };
        }
    }
}

/// One `read` or `write` of all bytes: less than all means that the memory could not be accessed.
unsafe fn raw(call: libc::c_long, fd: i32, memory: *mut u8, len: usize) -> Result<(), Errno> {
    // SAFETY: forwarded from the caller; the kernel checks the memory.
    match unsafe { libc::syscall(call, fd, memory, len) } {
        count if count == len as libc::c_long => Ok(()),
        -1 => Err(Errno::last()),
        _ => Err(Errno::EFAULT),
    }
}
