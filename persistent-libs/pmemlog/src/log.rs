//! The log.

use crate::combine::Combiner;
use crate::commit::{Ends, Request, commit};
use crate::read::{Contents, Readers};
use crate::{Access, Error, Options, Result};
use core::sync::atomic::{AtomicU64, Ordering};
use pmem_core::errno::Errno;
use pool_format::log::{DATA_OFFSET, DESCRIPTOR_OFFSET, LogDescriptor};
use pool_format::{Mapping, NewPool, Pool};
use std::io::IoSlice;
use std::path::Path;
use zerocopy::IntoBytes;

/// A log in persistent memory. What an append has acknowledged is there after a crash; an append that a crash
/// interrupts leaves no trace.
///
/// All methods may be called by many threads at once. Appends that come while another one is under way are
/// committed together.
///
/// # Examples
/// ```
/// use pmemlog::PmemLog;
/// let directory = tempfile::tempdir()?;
/// let path = directory.path().join("log");
/// let log = PmemLog::create(&path, 2 << 20)?;
/// log.append(b"hello ")?;
/// log.append(b"world")?;
/// drop(log);
/// assert_eq!(&*PmemLog::open(&path)?.contents(), b"hello world");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct PmemLog {
    pool: Pool,
    ends: Ends,
    appends: Combiner,
    readers: Readers,
}

impl PmemLog {
    /// Makes a log of `size` bytes in a new file; 8 KiB of them are not for data. [`Options`] can do more.
    ///
    /// # Errors
    /// See [`Options::create`].
    pub fn create(path: impl AsRef<Path>, size: u64) -> Result<PmemLog> {
        Options::new().create(path, size)
    }

    /// Opens a log.
    ///
    /// # Errors
    /// See [`Options::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<PmemLog> {
        Options::new().open(path)
    }

    /// Whether a log can be opened and is consistent. Nothing is changed; the file need not be writable.
    ///
    /// # Errors
    /// As for [`Options::open`]: what opening finds wrong.
    ///
    /// # Examples
    /// ```
    /// let error = pmemlog::PmemLog::check("/nowhere/log").unwrap_err();
    /// assert_eq!(error.to_string(), "open \"/nowhere/log\": No such file or directory");
    /// ```
    pub fn check(path: impl AsRef<Path>) -> Result<()> {
        // Everything there is to check is checked by opening.
        Options::new().access(Access::ReadOnly).open(path).map(drop)
    }

    pub(crate) fn format(new: NewPool) -> Result<PmemLog> {
        let descriptor = LogDescriptor::empty(new.size());
        for replica in new.replicas() {
            // A file that was there before may have anything in the rest of the page.
            let mapping = replica.mapping();
            let written = mapping
                .zero(DESCRIPTOR_OFFSET, DATA_OFFSET - DESCRIPTOR_OFFSET)
                .and_then(|()| mapping.write(DESCRIPTOR_OFFSET, descriptor.as_bytes()));
            written.map_err(|errno| Error::system("msync", replica.parts()[0].path(), errno))?;
        }
        PmemLog::load(new.finish()?)
    }

    /// Uses the log in a pool that is open already.
    ///
    /// # Errors
    /// `EINVAL` when its descriptor is wrong.
    pub fn load(pool: Pool) -> Result<PmemLog> {
        let limit = pool.size();
        let mut descriptor = LogDescriptor::empty(limit);
        pool.mapping().read(DESCRIPTOR_OFFSET, descriptor.as_mut_bytes());
        if let Some(fault) = descriptor.fault(limit) {
            return Err(Error::pool(fault, pool.path(), Errno::EINVAL));
        }
        let write = descriptor.write.get();
        synchronise(&pool, &descriptor)?;
        Ok(PmemLog {
            pool,
            ends: Ends { write: AtomicU64::new(write), limit },
            appends: Combiner::new(),
            readers: Readers::default(),
        })
    }

    fn mapping(&self) -> &Mapping {
        self.pool.mapping()
    }

    fn must_be_writable(&self) -> Result<()> {
        if self.pool.access() == Access::ReadOnly {
            let text = "the pool is open for reading only";
            return Err(Error::pool(text, self.pool.path(), Errno::EROFS));
        }
        Ok(())
    }

    fn run(&self, request: Request<'_>) -> Result<()> {
        let (replicas, ends) = (self.pool.replicas(), &self.ends);
        let process = |requests: &[&Request<'_>], results: &mut [i32]| {
            commit(replicas, ends, requests, results);
        };
        match self.appends.run(request, &process) {
            0 => Ok(()),
            libc::ENOSPC => {
                let text = "no space left in the log";
                Err(Error::pool(text, self.pool.path(), Errno::ENOSPC))
            }
            errno => Err(Error::system("msync", self.pool.path(), Errno(errno))),
        }
    }

    /// Appends bytes; they are durable when the call returns.
    ///
    /// # Errors
    /// `ENOSPC` when they do not fit, and when the log is full; `EROFS` when it is open for reading only; those of
    /// `msync` on an ordinary file.
    pub fn append(&self, bytes: &[u8]) -> Result<()> {
        self.append_vectored(&[IoSlice::new(bytes)])
    }

    /// Appends several buffers as one: after a crash all of them are there, or none.
    ///
    /// # Errors
    /// As for [`append`](Self::append).
    ///
    /// # Examples
    /// ```
    /// # let directory = tempfile::tempdir()?;
    /// use std::io::IoSlice;
    /// let log = pmemlog::PmemLog::create(directory.path().join("log"), 2 << 20)?;
    /// log.append_vectored(&[IoSlice::new(b"length, "), IoSlice::new(b"text")])?;
    /// assert_eq!(&*log.contents(), b"length, text");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn append_vectored(&self, buffers: &[IoSlice<'_>]) -> Result<()> {
        // SAFETY: an `IoSlice` has the layout of an `iovec`, and is readable as long as it is borrowed.
        unsafe { self.append_iovec(&*(core::ptr::from_ref(buffers) as *const [libc::iovec])) }
    }

    /// As [`append_vectored`](Self::append_vectored), with the structures of C.
    ///
    /// # Safety
    /// Each buffer is readable for its length, or the length is 0; nobody changes them meanwhile.
    ///
    /// # Errors
    /// As for [`append`](Self::append).
    pub unsafe fn append_iovec(&self, buffers: &[libc::iovec]) -> Result<()> {
        self.must_be_writable()?;
        let len = buffers.iter().try_fold(0u64, |sum, part| sum.checked_add(part.iov_len as u64));
        // More than any log holds, if the sum is no number.
        self.run(Request::Append(buffers, len.unwrap_or(u64::MAX)))
    }

    /// Makes the log empty. Waits until nobody reads it.
    ///
    /// # Errors
    /// `EROFS` when it is open for reading only; those of `msync` on an ordinary file.
    pub fn rewind(&self) -> Result<()> {
        self.must_be_writable()?;
        self.readers.exclude(|| self.run(Request::Rewind))
    }

    /// How many bytes have been appended.
    #[must_use]
    pub fn tell(&self) -> u64 {
        self.ends.write.load(Ordering::Acquire) - DATA_OFFSET
    }

    /// How many bytes fit into the empty log.
    #[must_use]
    pub fn capacity(&self) -> u64 {
        self.ends.limit - DATA_OFFSET
    }

    /// What has been appended, without copying it. Appends go on meanwhile, rewinds wait.
    #[must_use]
    pub fn contents(&self) -> Contents<'_> {
        // SAFETY: bytes before the end change only after a rewind. The mapping lives as long as the log.
        unsafe {
            Contents::new(&self.readers, || {
                let len = self.tell();
                (self.mapping().at(DATA_OFFSET, len).cast_const(), len as usize)
            })
        }
    }

    /// Calls `visit` with successive pieces of `chunk` bytes (the last may be shorter) until it says `false`; with
    /// `chunk` 0 once, with everything.
    ///
    /// # Examples
    /// ```
    /// # let directory = tempfile::tempdir()?;
    /// let log = pmemlog::PmemLog::create(directory.path().join("log"), 2 << 20)?;
    /// log.append(b"abcdefgh")?;
    /// let mut pieces = Vec::new();
    /// log.walk(3, |piece| {
    ///     pieces.push(piece.to_vec());
    ///     true
    /// });
    /// assert_eq!(pieces, [&b"abc"[..], b"def", b"gh"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn walk(&self, chunk: usize, mut visit: impl FnMut(&[u8]) -> bool) {
        let contents = self.contents();
        if chunk == 0 {
            visit(&contents);
            return;
        }
        for piece in contents.chunks(chunk) {
            if !visit(piece) {
                return;
            }
        }
    }
}

/// Brings the other replicas to the state of the first: a crash may have come between them.
fn synchronise(pool: &Pool, descriptor: &LogDescriptor) -> Result<()> {
    let (master, others) = pool.replicas().split_first().expect("a pool has a replica");
    for replica in others {
        let mut other = LogDescriptor::empty(pool.size());
        replica.mapping().read(DESCRIPTOR_OFFSET, other.as_mut_bytes());
        if other == *descriptor {
            continue;
        }
        let end = descriptor.write.get();
        let path = replica.parts()[0].path();
        let mut bytes = vec![0; 1 << 20];
        let mut at = DATA_OFFSET;
        let written = loop {
            let len = (end - at).min(bytes.len() as u64);
            if len == 0 {
                break replica.mapping().write(DESCRIPTOR_OFFSET, descriptor.as_bytes());
            }
            let piece = &mut bytes[..len as usize];
            master.mapping().read(at, piece);
            if let Err(errno) = replica.mapping().write(at, piece) {
                break Err(errno);
            }
            at += len;
        };
        written.map_err(|errno| Error::system("msync", path, errno))?;
    }
    Ok(())
}
