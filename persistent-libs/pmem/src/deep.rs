//! Flushing down to the medium.

use pmem_core::errno::Errno;
use pmem_core::nvdimm::{NdRegion, SYSTEM};
use pmem_core::persist::{Cpu, Persist};
use pmem_core::sys;

use crate::registry::Registry;

/// What lies behind a mapping.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Backing {
    /// A file: the kernel knows how to reach its medium.
    File,
    /// Device DAX, on this region of NVDIMMs, if it is on one.
    Device(Option<NdRegion>),
    /// Memory of the process.
    Anonymous,
}

/// Makes durable what was flushed in a range before: by `msync` for files and for what `registry` does
/// not know, by a fence and the region's own flush for device DAX.
///
/// # Errors
/// Those of `msync`: `ENOMEM` when a part is not mapped, `EIO`, ...; those of the region's flush.
pub fn deep_flush(registry: &Registry, start: usize, len: usize) -> Result<(), Errno> {
    let page = sys::page_size();
    let end = start.saturating_add(len);
    let mut result = Ok(());
    let mut at = start;
    while at < end {
        let entry = registry.first_in(at, end - at);
        // Up to the next entry, or inside of it.
        let (to, device) = match entry {
            Some(entry) if entry.start > at => (entry.start, None),
            Some(entry) => {
                let device = match entry.backing {
                    Backing::Device(region) => Some(region),
                    Backing::File | Backing::Anonymous => None,
                };
                (end.min(entry.start.saturating_add(entry.len)), device)
            }
            None => (end, None),
        };
        let done = match device {
            Some(region) => {
                Cpu::get().drain();
                region.map_or(Ok(()), |region| SYSTEM.deep_flush(region))
            }
            None => {
                let from = at & !(page - 1);
                sys::sync_mapping(from, to - from)
            }
        };
        result = result.and(done);
        at = to;
    }
    result
}

/// Flushes the lines of a range, whatever the platform needs, and then the medium.
///
/// # Safety
/// The range is mapped.
///
/// # Errors
/// As for [`deep_flush`].
pub unsafe fn deep_persist(registry: &Registry, addr: *const u8, len: usize) -> Result<(), Errno> {
    // SAFETY: forwarded from the caller's contract.
    unsafe { Cpu::CACHE_LINE.persist(addr, len) }?;
    deep_flush(registry, addr.addr(), len)
}
