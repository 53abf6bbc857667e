//! `pmem2_badblock_*`.

use std::ffi::c_int;
use std::ptr::null_mut;

use pmem::{BadBlock, BadBlocks, ErrorKind};

use crate::result::{code, refuse};
use crate::source::Pmem2Source;

/// C: `struct pmem2_badblock_context`.
pub(crate) struct Pmem2BadBlocks(BadBlocks<'static>);

/// C: `struct pmem2_badblock`, in bytes.
#[repr(C)]
pub(crate) struct Pmem2BadBlock {
    offset: usize,
    length: usize,
}

const _: () = assert!(size_of::<Pmem2BadBlock>() == 16);

/// # Safety
/// `out` is writable, `source` a source.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pmem2_badblock_context_new(
    out: *mut *mut Pmem2BadBlocks,
    source: *const Pmem2Source,
) -> c_int {
    trace!("pmem2_badblock_context_new", "out {out:p} source {source:p}");
    // SAFETY: a source by the caller's contract.
    let (context, status) = match BadBlocks::of(unsafe { &(*source).0 }) {
        Ok(blocks) => (Box::into_raw(Box::new(Pmem2BadBlocks(blocks))), 0),
        Err(error) => (null_mut(), code(Err(error))),
    };
    // SAFETY: writable by the caller's contract.
    unsafe { out.write(context) };
    status
}

/// # Safety
/// `context` points to NULL or a context, which nobody uses any more.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pmem2_badblock_context_delete(context: *mut *mut Pmem2BadBlocks) {
    trace!("pmem2_badblock_context_delete", "context {context:p}");
    // SAFETY: readable and writable by the caller's contract.
    let old = unsafe { context.replace(null_mut()) };
    if !old.is_null() {
        // SAFETY: made by `pmem2_badblock_context_new`.
        drop(unsafe { Box::from_raw(old) });
    }
}

/// # Safety
/// `context` is a context, `block` writable.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pmem2_badblock_next(
    context: *mut Pmem2BadBlocks,
    block: *mut Pmem2BadBlock,
) -> c_int {
    trace!("pmem2_badblock_next", "context {context:p} block {block:p}");
    // SAFETY: a context by the caller's contract.
    let next = unsafe { (*context).0.next() };
    let BadBlock { offset, len } = next.unwrap_or_default();
    let (offset, length) = (offset as usize, len as usize);
    // SAFETY: writable by the caller's contract.
    unsafe { block.write(Pmem2BadBlock { offset, length }) };
    match next {
        Some(_) => 0,
        None => refuse(ErrorKind::NoBadBlock, "next bad block"),
    }
}

/// # Safety
/// `context` is a context whose source is alive, `block` readable.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pmem2_badblock_clear(
    context: *mut Pmem2BadBlocks,
    block: *const Pmem2BadBlock,
) -> c_int {
    trace!("pmem2_badblock_clear", "context {context:p} block {block:p}");
    // SAFETY: readable by the caller's contract.
    let (offset, len) = unsafe { ((*block).offset as u64, (*block).length as u64) };
    // SAFETY: a context by the caller's contract.
    code(unsafe { (*context).0.clear(&BadBlock { offset, len }) })
}
