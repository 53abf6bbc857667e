//! Appending: data first, then the one word that makes it part of the log.
//!
//! ```text
//! copy the data behind the end ── wait ── store the new end ── wait ── acknowledge
//! ```
//!
//! Two waits for all requests of a batch, and for all replicas. After a crash the end is the old or the new one; what
//! lies behind it is not part of the log.

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
    let mut copied = Ok(());
    for (request, result) in requests.iter().zip(&mut *results) {
        let &&Request::Append(buffers, len) = request else { continue };
        // A full log refuses even an empty append.
        if new == ends.limit || len > ends.limit - new {
            *result = libc::ENOSPC;
            continue;
        }
        for replica in replicas {
            copied = copied.and(copy(replica.mapping(), new, buffers));
        }
        new += len;
    }
    let done =
        copied.and_then(|()| wait(replicas, old..new)).and_then(|()| move_end(replicas, ends, new));
    if let Err(errno) = done {
        results.iter_mut().filter(|result| **result == 0).for_each(|result| *result = errno.0);
    }
}

fn copy(mapping: &Mapping, mut at: u64, buffers: &[libc::iovec]) -> Result<(), Errno> {
    let memory = mapping.memory();
    // Pages are written together, in `wait`.
    let flags = match memory.granularity() {
        Granularity::Page => CopyFlags::NOFLUSH,
        _ => CopyFlags::NODRAIN,
    };
    for buffer in buffers {
        let len = buffer.iov_len;
        let to = mapping.at(at, len as u64);
        // SAFETY: the buffer is readable, by the contract of `append_iovec`; nobody else writes behind the end of
        // the log, and nobody reads there.
        unsafe { memory.copy(to, buffer.iov_base.cast(), len, flags) }?;
        at += len as u64;
    }
    Ok(())
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
