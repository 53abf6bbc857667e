//! Threads: which caches a thread has, how it gets them, and what happens when it ends.
//!
//! A record is made on a thread's first slow path. Its entries are indexed by pool slot and carry
//! the pool's id: an entry whose id differs belongs to a pool that is gone, and is never followed.
//! A thread works on the bins of a pool directly until it has used it a while (see
//! [`OPS_BEFORE_CACHE`]); the default heap gets its cache at once.
//!
//! At thread exit a pthread key returns the caches. What the thread allocates after that goes to
//! the bins directly.

use crate::cache::{self, Cache};
use crate::config::{MAX_POOLS, OPS_BEFORE_CACHE};
use crate::orphan::is_orphan;
use crate::pool::PoolInner;
use crate::registry::{self, Registry};
use crate::tls;
use core::ffi::c_void;
use core::ptr::{self, NonNull};
use core::sync::atomic::{Ordering, compiler_fence};
use pmem_core::sys;
use pmem_core::sys::ExitKey;

/// What a thread knows of one pool.
#[derive(Clone, Copy)]
struct Entry {
    /// Id of the pool, 0 for none.
    id: u64,
    cache: *mut Cache,
    /// Operations done without a cache.
    ops: u32,
}

/// See the module text.
pub(crate) struct Record {
    /// Neighbours in the list of all threads, or of free records; guarded by the registry lock, under
    /// which other threads change them.
    next: *mut Record,
    prev: *mut Record,
    own: Own,
}

/// The part of a record that only its thread uses.
struct Own {
    entries: *mut Entry,
    entry_count: usize,
    /// The pool used last, and the cache of it (in a hardened pool its front).
    last_id: u64,
    last_cache: *mut Cache,
}

/// The record of a thread whose caches have been returned.
fn ended() -> *mut Record {
    ptr::without_provenance_mut(1)
}

/// The calling thread's record, made if needed. `None` in a thread that is ending, or without DRAM.
fn current() -> Option<NonNull<Record>> {
    let record = tls::record();
    if record == ended() {
        return None;
    }
    NonNull::new(record).or_else(attach)
}

#[cold]
fn attach() -> Option<NonNull<Record>> {
    let (record, key) = {
        let mut registry = registry::lock();
        let record = match NonNull::new(registry.free_records) {
            Some(record) => {
                // SAFETY: free records are valid and unused.
                registry.free_records = unsafe { (*record.as_ptr()).next };
                record
            }
            None => {
                let record = registry.meta.take_block(size_of::<Record>())?.cast::<Record>();
                // SAFETY: a block of the right size.
                unsafe {
                    record.write(Record {
                        next: ptr::null_mut(),
                        prev: ptr::null_mut(),
                        own: Own {
                            entries: ptr::null_mut(),
                            entry_count: 0,
                            last_id: 0,
                            last_cache: ptr::null_mut(),
                        },
                    });
                }
                record
            }
        };
        registry.link(record);
        if registry.exit_key.is_none() {
            registry.exit_key = ExitKey::new(at_exit).ok();
        }
        (record, registry.exit_key)
    };
    // Before arming the key: that may allocate, and must find the record.
    tls::set_record(record.as_ptr());
    if let Some(key) = key {
        // A failure only means that the caches are not returned when this thread ends.
        let _ = key.arm(record.as_ptr().cast());
    }
    Some(record)
}

/// Destructor of the pthread key: the thread is ending.
unsafe extern "C" fn at_exit(record: *mut c_void) {
    tls::set_cache(cache::empty());
    tls::set_record(ended());
    if is_orphan() {
        return; // the caches are left alone, and the registry may be locked for ever
    }
    let mut registry = registry::lock();
    if let Some(record) = NonNull::new(record.cast::<Record>()) {
        // SAFETY: the key's value is this thread's record, which nobody else uses.
        unsafe { registry.retire(record) };
    }
}

impl Registry {
    fn link(&mut self, record: NonNull<Record>) {
        // SAFETY: the record is ours; the old head is linked and thus valid.
        unsafe {
            (*record.as_ptr()).prev = ptr::null_mut();
            (*record.as_ptr()).next = self.records;
            if let Some(old) = NonNull::new(self.records) {
                (*old.as_ptr()).prev = record.as_ptr();
            }
        }
        self.records = record.as_ptr();
    }

    /// Returns the caches of a record and keeps it for the next thread.
    ///
    /// # Safety
    /// `record` is linked, and its thread is the caller or does not exist in this process.
    unsafe fn retire(&mut self, record: NonNull<Record>) {
        // SAFETY: contract; a cache is followed only while its pool is registered under the id of
        // the entry, and deletion takes the registry lock that we hold.
        unsafe {
            let own = &mut (*record.as_ptr()).own;
            for slot in 0..own.entry_count {
                let entry = &mut *own.entries.add(slot);
                if entry.id == 0 {
                    continue; // reading a table costs no DRAM, writing to it does
                }
                if let Some(pool) = self.pools.find(slot, entry.id)
                    && !entry.cache.is_null()
                {
                    pool.detach_cache(entry.cache);
                }
                *entry = Entry { id: 0, cache: ptr::null_mut(), ops: 0 };
            }
            own.last_id = 0;
            own.last_cache = ptr::null_mut();
            let this = record.as_ptr();
            if (*this).prev.is_null() {
                self.records = (*this).next;
            } else {
                (*(*this).prev).next = (*this).next;
            }
            if !(*this).next.is_null() {
                (*(*this).next).prev = (*this).prev;
            }
            (*this).next = self.free_records;
            self.free_records = this;
        }
    }

    /// In a fork child: returns the caches of all threads that were not copied.
    ///
    /// # Safety
    /// The calling thread is the only one.
    pub(crate) unsafe fn retire_vanished(&mut self) {
        let own = tls::record();
        let mut at = self.records;
        while let Some(record) = NonNull::new(at) {
            // SAFETY: linked records are valid; all but our own belong to no thread.
            unsafe {
                at = (*record.as_ptr()).next;
                if record.as_ptr() != own {
                    self.retire(record);
                }
            }
        }
    }
}

impl Own {
    /// The entry for `pool`, reset if it belonged to an earlier pool of the same slot.
    fn entry(&mut self, pool: &PoolInner) -> Option<&mut Entry> {
        if pool.slot >= self.entry_count {
            self.grow_entries(pool.slot)?;
        }
        // SAFETY: in range; the array is this record's.
        let entry = unsafe { &mut *self.entries.add(pool.slot) };
        if entry.id != pool.id {
            entry.cache = ptr::null_mut();
            entry.ops = 0;
            // A fork child must not see the new id beside the cache of an earlier pool.
            compiler_fence(Ordering::Release);
            entry.id = pool.id;
        }
        Some(entry)
    }

    #[cold]
    fn grow_entries(&mut self, slot: usize) -> Option<()> {
        let count = (slot + 1).next_power_of_two().clamp(8, MAX_POOLS);
        let bytes = count * size_of::<Entry>();
        let memory = sys::map_anonymous(bytes).ok()?.cast::<Entry>();
        // The registry lock keeps a fork from seeing the change half-done.
        let _registry = registry::lock();
        // SAFETY: the new array is larger; anonymous memory is zero, and zero means "no pool".
        unsafe {
            if self.entry_count > 0 {
                ptr::copy_nonoverlapping(self.entries, memory.as_ptr(), self.entry_count);
                let old = NonNull::new_unchecked(self.entries.cast::<u8>());
                let _ = sys::unmap(old, self.entry_count * size_of::<Entry>());
            }
        }
        self.entries = memory.as_ptr();
        self.entry_count = count;
        Some(())
    }
}

/// The calling thread's cache of `pool`, or null when it works without one for now.
#[inline]
pub(crate) fn cache_of(pool: &PoolInner) -> *mut Cache {
    // SAFETY: a cache of this pool, or null.
    unsafe { Cache::real_of(fast_cache_of(pool)) }
}

/// As [`cache_of`], for the fast paths: in a hardened pool the front of the cache.
#[inline]
pub(crate) fn fast_cache_of(pool: &PoolInner) -> *mut Cache {
    let record = tls::record();
    if record.addr() > 1 {
        // SAFETY: the calling thread's record.
        let own = unsafe { &(*record).own };
        if own.last_id == pool.id {
            return own.last_cache;
        }
    }
    look_up(pool, false)
}

/// The calling thread's cache of `pool` if it has one already.
pub(crate) fn present_cache_of(pool: &PoolInner) -> *const Cache {
    let record = tls::record();
    if record.addr() <= 1 {
        return ptr::null();
    }
    // SAFETY: the calling thread's record, whose entries belong to it.
    unsafe {
        let own = &(*record).own;
        if pool.slot >= own.entry_count {
            return ptr::null();
        }
        let entry = own.entries.add(pool.slot).read();
        if entry.id == pool.id { entry.cache } else { ptr::null() }
    }
}

/// As [`fast_cache_of`], made at once if there is none; null only in a thread that is ending, or
/// without DRAM.
pub(crate) fn fast_cache_now(pool: &PoolInner) -> *mut Cache {
    look_up(pool, true)
}

#[inline(never)]
fn look_up(pool: &PoolInner, now: bool) -> *mut Cache {
    if !pool.thread_caches || pool.is_left_alone() {
        return ptr::null_mut();
    }
    let Some(record) = current() else {
        return ptr::null_mut();
    };
    // SAFETY: the calling thread's record.
    let own = unsafe { &mut (*record.as_ptr()).own };
    let Some(entry) = own.entry(pool) else {
        return ptr::null_mut();
    };
    if entry.cache.is_null() {
        entry.ops += 1;
        if !now && entry.ops < OPS_BEFORE_CACHE {
            return ptr::null_mut();
        }
        entry.cache = pool.attach_cache();
    }
    // SAFETY: a cache of this pool, or null.
    let cache = unsafe { Cache::front_of(entry.cache) };
    if !cache.is_null() {
        own.last_id = pool.id;
        own.last_cache = cache;
    }
    cache
}
