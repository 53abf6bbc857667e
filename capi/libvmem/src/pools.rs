//! The pools that live: found by their handle, which is the address of their first page.
//!
//! An open-addressed table in ordinary memory. Lookups take no lock: an entry is filled before its handle
//! is stored, and using a pool while it is deleted is the caller's fault. Everything else happens under
//! [`lock`].

use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize};
use core::sync::atomic::{
    AtomicBool as Flag,
    Ordering::{Acquire, Relaxed, Release},
};
use pmem_core::sync::{Mutex, MutexGuard, Rank};
use vmem_engine::Pool;
use vmem_engine::memcheck::{self, Watch};

/// Most pools at a time, as in the contract.
const MOST_POOLS: u32 = 32767;
/// Places of the table; a power of two.
const PLACES: usize = 1 << 16;

/// No pool was ever here, or none that a search could have to pass.
const FREE: usize = 0;
/// A pool was here; searches go on.
const REMOVED: usize = 1;

/// What a pool is made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Medium {
    /// A file without a name.
    File,
    /// Memory of the caller.
    Region,
    /// A whole DAX device.
    Device,
}

/// A pool and what this library knows of it.
#[repr(align(64))]
pub(crate) struct Entry {
    handle: AtomicUsize,
    /// Whether calls can go straight to the engine.
    direct: AtomicBool,
    medium: AtomicU8,
    pool: UnsafeCell<MaybeUninit<Pool>>,
    len: AtomicUsize,
    /// What the caller's malloc function gave for this pool, or null.
    pub(crate) bookkeeping: AtomicPtr<u8>,
    /// For valgrind.
    pub(crate) watch: Watch,
    /// Allocations that failed.
    pub(crate) refused: AtomicU64,
    /// Neighbours in the list of all pools, as index + 1; under the lock.
    next: AtomicU32,
    prev: AtomicU32,
}

// SAFETY: `pool` is written under the lock before the handle is stored, and taken under the lock when
// nobody uses the pool any more; Pool itself is Sync.
unsafe impl Sync for Entry {}

static TABLE: [Entry; PLACES] = [const { Entry::new() }; PLACES];

/// The list of all pools.
pub(crate) struct List {
    first: u32,
    count: u32,
}

/// Before all locks of the engine.
const RANK: Rank = Rank::new(1);
static LIST: Mutex<List> = Mutex::new(RANK, List { first: 0, count: 0 });

/// For valgrind's tools.
pub(crate) fn are_atomic() {
    memcheck::ignore_order(&TABLE);
}

/// Whether a pool was ever made.
static ANY_YET: Flag = Flag::new(false);

pub(crate) fn any_yet() -> bool {
    ANY_YET.load(Relaxed)
}

/// Serialises making, deleting and checking.
pub(crate) fn lock() -> MutexGuard<'static, List> {
    LIST.lock()
}

/// # Safety
/// Given back by [`unlock_after_fork`] or [`unlock_in_child`].
pub(crate) unsafe fn lock_for_fork() {
    // SAFETY: contract; no guard is held in this thread.
    unsafe { LIST.lock_for_fork() }
}

/// # Safety
/// The calling thread called [`lock_for_fork`].
pub(crate) unsafe fn unlock_after_fork() {
    // SAFETY: contract.
    unsafe { LIST.unlock_after_fork() }
}

/// # Safety
/// The calling thread is the only one of a fork's child.
pub(crate) unsafe fn unlock_in_child() {
    // SAFETY: contract.
    unsafe { LIST.force_unlock() }
}

fn first_place(handle: usize) -> usize {
    const PAGE_BITS: u32 = 12;
    /// 2^64 divided by the golden ratio: handles are multiples of 4 MiB mostly.
    const SPREAD: usize = 0x9e37_79b9_7f4a_7c15;
    (handle >> PAGE_BITS).wrapping_mul(SPREAD) >> (usize::BITS - PLACES.trailing_zeros())
}

/// The pool with this handle.
#[inline]
pub(crate) fn find(handle: usize) -> Option<&'static Entry> {
    let mut place = first_place(handle);
    for _ in 0..PLACES {
        // SAFETY: places are below the length of the table, a power of two, by the mask below and the
        // shift in `first_place`.
        let entry = unsafe { TABLE.get_unchecked(place) };
        match entry.handle.load(Acquire) {
            FREE => return None,
            // No handle is that small.
            found if found == handle && found != REMOVED => return Some(entry),
            _ => place = (place + 1) % PLACES,
        }
    }
    None
}

impl List {
    /// Enters a pool. Gives it back when there are too many.
    pub(crate) fn insert(
        &mut self,
        pool: Pool,
        medium: Medium,
        direct: bool,
    ) -> Result<&'static Entry, Pool> {
        let (base, len) = pool.range();
        let handle = base.as_ptr().addr();
        let mut place = first_place(handle);
        let free = (0..PLACES).find_map(|_| {
            let entry = &TABLE[place];
            let here = place;
            place = (place + 1) % PLACES;
            matches!(entry.handle.load(Relaxed), FREE | REMOVED).then_some((here, entry))
        });
        let Some((place, entry)) = free.filter(|_| self.count < MOST_POOLS) else {
            return Err(pool);
        };
        // SAFETY: an unused entry, under the lock.
        unsafe { (*entry.pool.get()).write(pool) };
        entry.direct.store(direct, Relaxed);
        entry.medium.store(medium as u8, Relaxed);
        entry.len.store(len, Relaxed);
        entry.bookkeeping.store(ptr::null_mut(), Relaxed);
        entry.watch.clear();
        entry.refused.store(0, Relaxed);
        let index = place as u32 + 1;
        entry.prev.store(0, Relaxed);
        entry.next.store(self.first, Relaxed);
        if let Some(second) = at(self.first) {
            second.prev.store(index, Relaxed);
        }
        self.first = index;
        self.count += 1;
        ANY_YET.store(true, Relaxed);
        entry.handle.store(handle, Release);
        Ok(entry)
    }

    /// Takes a pool out; its entry may be used again at once.
    ///
    /// # Safety
    /// `entry` is in the list, and nobody uses the pool any more.
    pub(crate) unsafe fn remove(&mut self, entry: &'static Entry) -> Pool {
        // SAFETY: filled as long as it is listed; the handle goes before anybody else could take it.
        let pool = unsafe { (*entry.pool.get()).assume_init_read() };
        let (prev, next) = (entry.prev.load(Relaxed), entry.next.load(Relaxed));
        match at(prev) {
            Some(prev) => prev.next.store(next, Relaxed),
            None => self.first = next,
        }
        if let Some(next) = at(next) {
            next.prev.store(prev, Relaxed);
        }
        self.count -= 1;
        entry.handle.store(REMOVED, Release);
        // Searches end at a free place, so removed ones in front of it need not be passed either.
        let mut place = first_of(entry);
        while TABLE[place].handle.load(Relaxed) == REMOVED
            && TABLE[(place + 1) % PLACES].handle.load(Relaxed) == FREE
        {
            TABLE[place].handle.store(FREE, Release);
            place = (place + PLACES - 1) % PLACES;
        }
        pool
    }

    /// All pools.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &'static Entry> {
        core::iter::successors(at(self.first), |entry| at(entry.next.load(Relaxed)))
    }
}

fn at(index: u32) -> Option<&'static Entry> {
    TABLE.get(index.checked_sub(1)? as usize)
}

fn first_of(entry: &'static Entry) -> usize {
    (ptr::from_ref(entry).addr() - TABLE.as_ptr().addr()) / size_of::<Entry>()
}

impl Entry {
    const fn new() -> Entry {
        Entry {
            handle: AtomicUsize::new(FREE),
            direct: AtomicBool::new(false),
            medium: AtomicU8::new(0),
            pool: UnsafeCell::new(MaybeUninit::uninit()),
            len: AtomicUsize::new(0),
            bookkeeping: AtomicPtr::new(ptr::null_mut()),
            watch: Watch::new(),
            refused: AtomicU64::new(0),
            next: AtomicU32::new(0),
            prev: AtomicU32::new(0),
        }
    }

    #[inline]
    pub(crate) fn pool(&self) -> &Pool {
        // SAFETY: entries are found by their handle, which is stored after the pool.
        unsafe { (*self.pool.get()).assume_init_ref() }
    }

    /// Whether calls can go straight to the engine; if not, see `careful`.
    #[inline]
    pub(crate) fn is_direct(&self) -> bool {
        self.direct.load(Relaxed)
    }

    pub(crate) fn set_direct(&self) {
        self.direct.store(true, Relaxed);
    }

    pub(crate) fn medium(&self) -> Medium {
        match self.medium.load(Relaxed) {
            1 => Medium::Region,
            2 => Medium::Device,
            _ => Medium::File,
        }
    }

    /// First byte and length.
    pub(crate) fn range(&self) -> (NonNull<u8>, usize) {
        self.pool().range()
    }

    /// Whether two pools have memory in common.
    pub(crate) fn overlaps(&self, other: &Entry) -> bool {
        let bounds = |entry: &Entry| {
            let start = entry.handle.load(Relaxed);
            (start, start + entry.len.load(Relaxed))
        };
        let ((start, end), (other_start, other_end)) = (bounds(self), bounds(other));
        start < other_end && other_start < end
    }
}

/// The pool that an address lies in.
#[cold]
pub(crate) fn owner_of(pointer: *const u8) -> Option<&'static Entry> {
    let _quiet = memcheck::quiet();
    lock().iter().find(|entry| entry.pool().contains(pointer))
}

#[cfg(test)]
mod tests {
    use super::*;
    use pmem_core::source::Source;
    use vmem_engine::PoolOptions;

    fn make() -> Pool {
        Pool::create(Source::anonymous(14 << 20).unwrap(), &PoolOptions::default()).unwrap()
    }

    #[test]
    fn pools_are_found_until_they_are_removed() {
        let mut live = std::vec::Vec::new();
        for round in 0..500 {
            let entry = lock().insert(make(), Medium::File, true).map_err(|_| ()).unwrap();
            live.push(entry.range().0.as_ptr().addr());
            if round % 3 != 0 {
                let handle = live.swap_remove(round * 7 % live.len());
                let mut list = lock();
                let entry = find(handle).unwrap();
                // SAFETY: found just now, used by nobody.
                drop(unsafe { list.remove(entry) });
                drop(list);
                assert!(find(handle).is_none());
            }
            for &handle in &live {
                assert_eq!(find(handle).unwrap().range().0.as_ptr().addr(), handle);
            }
        }
        assert_eq!(lock().iter().count(), live.len());
        for handle in live {
            let mut list = lock();
            // SAFETY: as above.
            drop(unsafe { list.remove(find(handle).unwrap()) });
        }
        assert!(find(FREE).is_none() && find(REMOVED).is_none());
        assert!(TABLE.iter().all(|entry| entry.handle.load(Relaxed) == FREE), "no place is lost");
    }
}
