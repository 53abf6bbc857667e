//! What the process knows of its pools and threads: a table of pools by slot, and the thread records.
//!
//! Lock: REGISTRY, the outermost of the engine. A pool is deleted, and an exiting thread returns its
//! caches, under it, so neither meets the other half-way.

use crate::config::MAX_POOLS;
use crate::meta::Meta;
use crate::pool::PoolInner;
use crate::protocol::slots::Slots;
use crate::rank;
use crate::thread::Record;
use core::ptr;
use pmem_core::sync::{Mutex, MutexGuard};
use pmem_core::sys::ExitKey;

pub(crate) struct Registry {
    pub(crate) pools: Slots<PoolInner>,
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
        pools: Slots::new(MAX_POOLS),
        records: ptr::null_mut(),
        free_records: ptr::null_mut(),
        meta: Meta::new(),
        exit_key: None,
    },
);

pub(crate) fn lock() -> MutexGuard<'static, Registry> {
    REGISTRY.lock()
}
