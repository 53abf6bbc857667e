//! What the process knows of its pools and threads: a table of pools by slot, and the thread records.
//!
//! Lock: REGISTRY, the outermost of the engine. A pool is deleted, and an exiting thread returns its
//! caches, under it, so neither meets the other half-way.

use crate::config::MAX_POOLS;
use crate::meta::Meta;
use crate::pool::PoolInner;
use crate::rank;
use crate::thread::Record;
use core::ptr::{self, NonNull};
use pmem_core::errno::Errno;
use pmem_core::sync::{Mutex, MutexGuard};
use pmem_core::sys;
use pmem_core::sys::ExitKey;

pub(crate) struct Registry {
    /// `MAX_POOLS` cells: the address of a live pool (even), or `next free slot << 1 | 1`.
    slots: *mut usize,
    /// Slots ever used; those above it are free without being listed.
    used: usize,
    /// First free slot below `used`, `MAX_POOLS` when there is none.
    free: usize,
    last_id: u64,
    pub(crate) records: *mut Record,
    pub(crate) free_records: *mut Record,
    /// Memory of thread records.
    pub(crate) meta: Meta,
    pub(crate) exit_key: Option<ExitKey>,
}

// SAFETY: the lock around the registry guards what it points to.
unsafe impl Send for Registry {}

pub(crate) static REGISTRY: Mutex<Registry> = Mutex::new(
    rank::REGISTRY,
    Registry {
        slots: ptr::null_mut(),
        used: 0,
        free: MAX_POOLS,
        last_id: 0,
        records: ptr::null_mut(),
        free_records: ptr::null_mut(),
        meta: Meta::new(),
        exit_key: None,
    },
);

pub(crate) fn lock() -> MutexGuard<'static, Registry> {
    REGISTRY.lock()
}

/// Gives a pool its id and slot.
///
/// # Safety
/// `pool` is valid, and nobody else knows it yet.
pub(crate) unsafe fn insert(pool: NonNull<PoolInner>) -> Result<(), Errno> {
    let mut registry = lock();
    if registry.slots.is_null() {
        registry.slots = sys::map_anonymous(MAX_POOLS * size_of::<usize>())?.cast().as_ptr();
    }
    let slot = if registry.free < MAX_POOLS {
        let slot = registry.free;
        // SAFETY: listed slots are below MAX_POOLS and hold the next free one.
        registry.free = unsafe { registry.slots.add(slot).read() } >> 1;
        slot
    } else if registry.used < MAX_POOLS {
        registry.used += 1;
        registry.used - 1
    } else {
        return Err(Errno::EMFILE);
    };
    registry.last_id += 1;
    // SAFETY: a slot of the table; the pool is ours until the lock is released.
    unsafe {
        (*pool.as_ptr()).id = registry.last_id;
        (*pool.as_ptr()).slot = slot;
        registry.slots.add(slot).write(pool.as_ptr().expose_provenance());
    }
    Ok(())
}

/// Forgets a pool. Afterwards no exiting thread will touch it.
pub(crate) fn remove(slot: usize) {
    let mut registry = lock();
    // SAFETY: the slot of a live pool.
    unsafe { registry.slots.add(slot).write(registry.free << 1 | 1) };
    registry.free = slot;
}

impl Registry {
    /// The live pool in `slot` if it has this id.
    pub(crate) fn find(&self, slot: usize, id: u64) -> Option<&PoolInner> {
        if slot >= self.used {
            return None;
        }
        // SAFETY: a used slot; even values are pools, live as long as they are registered, and
        // the registry is locked.
        unsafe {
            let value = self.slots.add(slot).read();
            if value & 1 != 0 {
                return None;
            }
            let pool = &*ptr::with_exposed_provenance::<PoolInner>(value);
            (pool.id == id).then_some(pool)
        }
    }

    /// All live pools.
    pub(crate) fn pools(&self) -> impl Iterator<Item = &PoolInner> {
        (0..self.used).filter_map(|slot| {
            // SAFETY: as in `find`.
            unsafe {
                let value = self.slots.add(slot).read();
                (value & 1 == 0).then(|| &*ptr::with_exposed_provenance::<PoolInner>(value))
            }
        })
    }
}
