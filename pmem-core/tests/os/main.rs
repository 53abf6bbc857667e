//! What the crate does with a real operating system: mappings, files, limits, forks.
#![cfg(all(not(miri), not(pmem_loom)))]

mod commit;
mod descriptors;
mod exchange;
mod fork;
mod home;
mod limits;
mod making;
mod numa;
mod process;
mod purge;
mod stack;
mod torn;

use pmem_core::source::Source;

const MIB: usize = 1 << 20;

/// Writes one byte per page of a committed range.
fn stamp(source: &Source, offset: usize, len: usize, byte: u8) {
    for place in (offset..offset + len).step_by(4096) {
        assert!(place < source.len());
        // SAFETY: the tests stamp only what they have committed.
        unsafe { source.base().add(place).write_volatile(byte) };
    }
}

/// Are all pages of a range stamped with `byte`?
fn stamped(source: &Source, offset: usize, len: usize, byte: u8) -> bool {
    (offset..offset + len).step_by(4096).all(|place| {
        assert!(place < source.len());
        // SAFETY: the tests read only what they have committed.
        unsafe { source.base().add(place).read_volatile() == byte }
    })
}
