//! Appending: data first, then the one word that makes it part of the log.
//!
//! ```text
//! copy the data behind the end ── wait ── store the new end ── wait ── acknowledge
//! ```
//!
//! Two waits for all requests of a batch, and for all replicas. After a crash the end is the old or the new one; what
//! lies behind it is not part of the log.

use core::mem::MaybeUninit;
use core::ops::Range;
use core::sync::atomic::{AtomicU64, Ordering};
use pmem_core::errno::Errno;
use pmem_core::persist::{CopyFlags, Granularity};
use pool_format::log::{DATA_OFFSET, WRITE_OFFSET};
use pool_format::{Mapping, Replica};

/// What threads ask for.
pub(crate) enum Request<'b> {
    /// Appends these buffers, as one.
    Append(&'b [libc::iovec], u64),
    /// Begins anew.
    Rewind,
}

// SAFETY: the buffers are only read, and stay as they are until the request is done (contract of
// `PmemLog::append_iovec`).
unsafe impl Sync for Request<'_> {}

/// Where the log ends, as everybody may know: what lies before is durable.
#[derive(Debug)]
pub(crate) struct Ends {
    /// End of the log.
    pub(crate) write: AtomicU64,
    /// End of the pool.
    pub(crate) limit: u64,
}

/// Processes a batch; the result of a request is an error number, 0 for none.
pub(crate) fn commit(
    replicas: &[Replica],
    ends: &Ends,
    requests: &[&Request<'_>],
    results: &mut [i32],
) {
    let mut start = 0;
    while start < requests.len() {
        if matches!(requests[start], Request::Rewind) {
            results[start] = number(move_end(replicas, ends, DATA_OFFSET));
            start += 1;
            continue;
        }
        let appends = requests[start..].iter();
        let count = appends.take_while(|request| matches!(request, Request::Append(..))).count();
        let batch = start..start + count;
        append(replicas, ends, &requests[batch.clone()], &mut results[batch]);
        start += count;
    }
}

fn number(result: Result<(), Errno>) -> i32 {
    result.err().map_or(0, |errno| errno.0)
}

fn append(replicas: &[Replica], ends: &Ends, requests: &[&Request<'_>], results: &mut [i32]) {
    let old = ends.write.load(Ordering::Relaxed);
    let mut new = old;
    for (request, result) in requests.iter().zip(&mut *results) {
        let &&Request::Append(_, len) = request else { continue };
        // A full log refuses even an empty append.
        if new == ends.limit || len > ends.limit - new {
            *result = libc::ENOSPC;
        } else {
            new += len;
        }
    }
    let mut copied = Ok(());
    for replica in replicas {
        copied = copied.and(copy_all(replica.mapping(), old, requests, results));
    }
    let done =
        copied.and_then(|()| wait(replicas, old..new)).and_then(|()| move_end(replicas, ends, new));
    if let Err(errno) = done {
        results.iter_mut().filter(|result| **result == 0).for_each(|result| *result = errno.0);
    }
}

/// Copies what was taken in a row, not waiting for the medium.
fn copy_all(
    mapping: &Mapping,
    at: u64,
    requests: &[&Request<'_>],
    results: &[i32],
) -> Result<(), Errno> {
    let mut writer = Writer::new(mapping, at);
    if let [Request::Append([buffer], _)] = requests {
        // By far the most frequent case.
        return if results[0] == 0 { writer.put(buffer) } else { Ok(()) };
    }
    let mut gathered = Gathered::new();
    for (request, result) in requests.iter().zip(results) {
        let Request::Append(buffers, _) = request else { continue };
        if *result != 0 {
            continue;
        }
        for buffer in *buffers {
            if !gathered.has_room(buffer.iov_len) {
                writer.put(&gathered.take())?;
            }
            if gathered.has_room(buffer.iov_len) {
                gathered.add(buffer);
            } else {
                writer.put(buffer)?;
            }
        }
    }
    writer.put(&gathered.take())
}

/// Writes buffers one behind the other.
struct Writer<'m> {
    mapping: &'m Mapping,
    at: u64,
    flags: CopyFlags,
}

impl<'m> Writer<'m> {
    fn new(mapping: &'m Mapping, at: u64) -> Writer<'m> {
        // Pages are written together, in `wait`.
        let page = mapping.memory().granularity() == Granularity::Page;
        let flags = if page { CopyFlags::NOFLUSH } else { CopyFlags::NODRAIN };
        Writer { mapping, at, flags }
    }

    fn put(&mut self, buffer: &libc::iovec) -> Result<(), Errno> {
        let len = buffer.iov_len;
        let to = self.mapping.at(self.at, len as u64);
        self.at += len as u64;
        // SAFETY: the bytes are readable, by the contract of `append_iovec`; nobody else writes behind the end of the
        // log, and nobody reads there.
        unsafe { self.mapping.memory().copy(to, buffer.iov_base.cast(), len, self.flags) }
    }
}

/// Small pieces, put together in ordinary memory: a line of the medium is written once, and whole.
struct Gathered {
    bytes: MaybeUninit<[u8; Gathered::SIZE]>,
    len: usize,
}

impl Gathered {
    const SIZE: usize = 2048;

    fn new() -> Gathered {
        Gathered { bytes: MaybeUninit::uninit(), len: 0 }
    }

    fn has_room(&self, len: usize) -> bool {
        len <= Gathered::SIZE - self.len
    }

    fn add(&mut self, buffer: &libc::iovec) {
        assert!(self.has_room(buffer.iov_len), "asked before");
        // SAFETY: there is room; the buffer is readable, by the contract of `append_iovec`, if it has any bytes.
        unsafe {
            let to = self.bytes.as_mut_ptr().cast::<u8>().add(self.len);
            if buffer.iov_len > 0 {
                core::ptr::copy_nonoverlapping(buffer.iov_base.cast(), to, buffer.iov_len);
            }
        }
        self.len += buffer.iov_len;
    }

    /// What has been put together; to be written before anything is added.
    fn take(&mut self) -> libc::iovec {
        let iov_len = core::mem::take(&mut self.len);
        libc::iovec { iov_base: self.bytes.as_mut_ptr().cast(), iov_len }
    }
}

/// Waits until the data is durable.
fn wait(replicas: &[Replica], data: Range<u64>) -> Result<(), Errno> {
    if data.is_empty() {
        return Ok(());
    }
    let mut result = Ok(());
    for replica in replicas {
        let mapping = replica.mapping();
        match mapping.memory().granularity() {
            Granularity::Page => {
                result = result.and(mapping.persist(data.start, data.end - data.start));
            }
            _ => mapping.drain(),
        }
    }
    result
}

/// Moves the end of the log, durably.
fn move_end(replicas: &[Replica], ends: &Ends, to: u64) -> Result<(), Errno> {
    let store = |end: u64| {
        for replica in replicas {
            replica.mapping().store(WRITE_OFFSET, end.to_le());
        }
    };
    let old = ends.write.load(Ordering::Relaxed);
    store(to);
    let mut result = Ok(());
    for replica in replicas {
        result = result.and(replica.mapping().persist(WRITE_OFFSET, 8));
    }
    match result {
        Ok(()) => ends.write.store(to, Ordering::Release),
        // Refused requests must not show up later.
        Err(_) => store(old),
    }
    result
}
