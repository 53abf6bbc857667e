//! `pmem2_source_*`.

use std::ffi::{c_char, c_int, c_void};
use std::ptr::null_mut;
use std::slice;

use pmem::{Error, ErrorKind, Source};

use crate::result::{code, refuse};

/// C: `struct pmem2_source`.
pub(crate) struct Pmem2Source(pub(crate) Source);

/// # Safety
/// `out` is writable.
unsafe fn give(out: *mut *mut Pmem2Source, source: Result<Source, Error>) -> c_int {
    let (source, status) = match source {
        Ok(source) => (Box::into_raw(Box::new(Pmem2Source(source))), 0),
        Err(error) => (null_mut(), code(Err(error))),
    };
    // SAFETY: writable by the caller's contract.
    unsafe { out.write(source) };
    status
}

/// # Safety
/// `out` is writable; the descriptor stays open while the source is used.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pmem2_source_from_fd(
    out: *mut *mut Pmem2Source,
    fd: c_int,
) -> c_int {
    trace!("pmem2_source_from_fd", "out {out:p} fd {fd}");
    // SAFETY: forwarded from the caller's contract.
    unsafe { give(out, Source::from_fd(fd)) }
}

/// # Safety
/// `out` is writable.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pmem2_source_from_anon(
    out: *mut *mut Pmem2Source,
    size: usize,
) -> c_int {
    trace!("pmem2_source_from_anon", "out {out:p} size {size}");
    // SAFETY: forwarded from the caller's contract.
    unsafe { give(out, Ok(Source::anonymous(size))) }
}

/// # Safety
/// `source` points to NULL or a source, which nobody uses any more.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pmem2_source_delete(source: *mut *mut Pmem2Source) -> c_int {
    trace!("pmem2_source_delete", "source {source:p}");
    // SAFETY: readable by the caller's contract.
    let old = unsafe { source.replace(null_mut()) };
    if !old.is_null() {
        // SAFETY: made by `give`.
        drop(unsafe { Box::from_raw(old) });
    }
    0
}

/// Writes a value out.
///
/// # Safety
/// `out` is writable.
unsafe fn put<T>(out: *mut T, value: Result<T, Error>) -> c_int {
    code(value.map(|value| {
        // SAFETY: writable by the caller's contract.
        unsafe { out.write(value) }
    }))
}

/// # Safety
/// `source` is a source, `fd` writable.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pmem2_source_get_fd(
    source: *const Pmem2Source,
    fd: *mut c_int,
) -> c_int {
    trace!("pmem2_source_get_fd", "source {source:p} fd {fd:p}");
    // SAFETY: forwarded from the caller's contract.
    unsafe { put(fd, (*source).0.raw_fd()) }
}

/// # Safety
/// `source` is a source, `size` writable.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pmem2_source_size(
    source: *const Pmem2Source,
    size: *mut usize,
) -> c_int {
    trace!("pmem2_source_size", "source {source:p} size {size:p}");
    // SAFETY: forwarded from the caller's contract.
    unsafe { put(size, (*source).0.size()) }
}

/// # Safety
/// `source` is a source, `alignment` writable.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pmem2_source_alignment(
    source: *const Pmem2Source,
    alignment: *mut usize,
) -> c_int {
    trace!("pmem2_source_alignment", "source {source:p} alignment {alignment:p}");
    // SAFETY: forwarded from the caller's contract.
    unsafe { put(alignment, Ok((*source).0.alignment())) }
}

/// # Safety
/// `source` is a source, `len` readable and writable, and `id` NULL or writable for that many bytes.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pmem2_source_device_id(
    source: *const Pmem2Source,
    id: *mut c_char,
    len: *mut usize,
) -> c_int {
    trace!("pmem2_source_device_id", "source {source:p} id {id:p} len {len:p}");
    // SAFETY: a source by the caller's contract.
    let source = unsafe { &(*source).0 };
    let text = match source.device_id() {
        Ok(text) => text,
        Err(error) => return code(Err(error)),
    };
    let needed = text.len() + 1;
    if id.is_null() {
        // SAFETY: writable by the caller's contract.
        unsafe { len.write(needed) };
        return 0;
    }
    // SAFETY: readable by the caller's contract.
    if unsafe { len.read() } < needed {
        return refuse(ErrorKind::BufferTooSmall, "device id");
    }
    // SAFETY: room for the text and its end, checked above.
    unsafe {
        id.cast::<u8>().copy_from_nonoverlapping(text.as_ptr(), text.len());
        id.add(text.len()).write(0);
    }
    0
}

/// # Safety
/// `source` is a source, `count` writable.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pmem2_source_device_usc(
    source: *const Pmem2Source,
    count: *mut u64,
) -> c_int {
    trace!("pmem2_source_device_usc", "source {source:p} count {count:p}");
    // SAFETY: forwarded from the caller's contract.
    unsafe { put(count, (*source).0.unsafe_shutdown_count()) }
}

/// # Safety
/// `source` is a source, `node` writable.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pmem2_source_numa_node(
    source: *const Pmem2Source,
    node: *mut c_int,
) -> c_int {
    trace!("pmem2_source_numa_node", "source {source:p} node {node:p}");
    // SAFETY: a source by the caller's contract.
    let found = unsafe { (*source).0.numa_node() };
    // The kernel writes -1 for none.
    let found = found.map(|node| node.and_then(|node| c_int::try_from(node).ok()).unwrap_or(-1));
    // SAFETY: forwarded from the caller's contract.
    unsafe { put(node, found) }
}

/// # Safety
/// `source` is a source, `buffer` writable for `size` bytes.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pmem2_source_pread_mcsafe(
    source: *mut Pmem2Source,
    buffer: *mut c_void,
    size: usize,
    offset: usize,
) -> c_int {
    trace!(
        "pmem2_source_pread_mcsafe",
        "source {source:p} buffer {buffer:p} size {size} offset {offset}"
    );
    if size == 0 {
        // The buffer may be anything.
        // SAFETY: a source by the caller's contract.
        return code(unsafe { (*source).0.read_at(&mut [], offset) });
    }
    // SAFETY: forwarded from the caller's contract.
    code(unsafe { (*source).0.read_at(slice::from_raw_parts_mut(buffer.cast(), size), offset) })
}

/// # Safety
/// `source` is a source, `buffer` readable for `size` bytes.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pmem2_source_pwrite_mcsafe(
    source: *mut Pmem2Source,
    buffer: *mut c_void,
    size: usize,
    offset: usize,
) -> c_int {
    trace!(
        "pmem2_source_pwrite_mcsafe",
        "source {source:p} buffer {buffer:p} size {size} offset {offset}"
    );
    if size == 0 {
        // SAFETY: a source by the caller's contract.
        return code(unsafe { (*source).0.write_at(&[], offset) });
    }
    // SAFETY: forwarded from the caller's contract.
    code(unsafe { (*source).0.write_at(slice::from_raw_parts(buffer.cast(), size), offset) })
}
