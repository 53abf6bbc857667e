//! What readers of the cache do without a lock, under a model checker, which tries all interleavings and memory orders:
//! `RUSTFLAGS="--cfg pmem_loom" cargo test --release -p vmemcache --test loom`.
//!
//! The parts are those of the library (`protect/cells.rs`, `index.rs`, `slab.rs`); what they stand on is made here.
#![cfg(pmem_loom)]

/// What the parts find as `crate::atomic`.
mod atomic {
    pub(crate) use loom::sync::atomic::{
        AtomicBool, AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
    };
}

/// What the parts find as `crate::machine`. A barrier of all threads puts a fence into each of them at that moment. The model
/// checker has none; in its place the readers have their fence always ([`Readers::Fenced`]), which promises no more than the
/// barrier about what comes before and after the readers' look. [`Readers::Free`] is for protocols that must do without.
mod machine {
    use loom::sync::atomic::{Ordering::SeqCst, fence};
    use std::cell::Cell;

    #[derive(Clone, Copy, PartialEq, Debug)]
    pub(crate) enum Readers {
        Fenced,
        Free,
    }

    thread_local! {
        /// The threads of a model share the one of its test.
        pub(crate) static READERS: Cell<Readers> = const { Cell::new(Readers::Fenced) };
        /// Barriers since the start of this run of the model.
        pub(crate) static BARRIERS: Cell<u32> = const { Cell::new(0) };
    }

    pub(crate) fn light_fence() {
        if READERS.get() == Readers::Fenced {
            fence(SeqCst);
        }
    }

    pub(crate) fn barrier_of_all_threads() {
        BARRIERS.set(BARRIERS.get() + 1);
    }
}

/// Tables of the model checker's atomics.
mod arena {
    use crate::error::Error;
    use std::ops::Deref;

    /// # Safety
    /// None here; the library's has one.
    pub(crate) unsafe trait Zeroed: Default {
        /// Stores zero everywhere. The system takes the pages away, and who reads then gets the zero page, after what the
        /// clearing thread did before: as with stores that release.
        fn clear(&self);
    }

    #[derive(Debug)]
    pub(crate) struct Array<T>(Vec<T>);

    impl<T: Zeroed> Array<T> {
        pub(crate) fn new(len: usize) -> Result<Array<T>, Error> {
            Ok(Array((0..len).map(|_| T::default()).collect()))
        }

        pub(crate) fn clear(&self) {
            self.0.iter().for_each(T::clear);
        }
    }

    impl<T> Deref for Array<T> {
        type Target = [T];

        fn deref(&self) -> &[T] {
            &self.0
        }
    }
}

mod error {
    #[derive(Debug)]
    pub(crate) enum Error {}
}

mod block {
    pub(crate) type Loc = u32;
}

mod policy {
    pub(crate) struct Token;

    impl Token {
        pub(crate) const MAX: u32 = 7;
    }
}

#[path = "../src/protect/cells.rs"]
#[allow(dead_code, reason = "only a part is modelled")]
mod cells;
#[path = "../src/fetch.rs"]
#[allow(dead_code, reason = "only a part is modelled")]
mod fetch;
#[path = "../src/index.rs"]
#[allow(dead_code, reason = "only a part is modelled")]
mod index;
#[path = "../src/slab.rs"]
#[allow(dead_code, reason = "only a part is modelled")]
mod slab;

use cells::{Fences, Protection, Table};
use index::{Index, Key32};
use loom::cell::UnsafeCell;
use loom::model::Builder;
use loom::sync::{Arc, Mutex};
use loom::thread;
use machine::{BARRIERS, READERS, Readers};
use slab::{Slab, SlabState};

/// Runs a model in all ways there are: these are small enough to need no bound on preemptions.
fn explore(body: impl Fn() + Sync + Send + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = None;
    builder.check(move || {
        BARRIERS.set(0);
        body();
    });
}

/// Where an entry lies. The model checker notices a write while somebody reads.
struct Place(UnsafeCell<u64>);

// SAFETY: that nobody writes while others read is what the model checks.
unsafe impl Sync for Place {}
// SAFETY: as above.
unsafe impl Send for Place {}

impl Place {
    fn new() -> Place {
        Place(UnsafeCell::new(0))
    }

    fn write(&self, value: u64) {
        // SAFETY: the model checker notices any access at the same time.
        self.0.with_mut(|place| unsafe { *place = value });
    }

    fn read(&self) -> u64 {
        // SAFETY: as above.
        self.0.with(|place| unsafe { *place })
    }
}

/// A shard with places for entries; the location 0 means none.
struct Shard {
    fences: Fences,
    table: Table<2>,
    slab: Slab,
    index: Index,
    places: [Place; 4],
    /// What the lock guards.
    state: Mutex<SlabState>,
}

/// The key of the entries; all lie in one bucket.
const KEY: Key32 = Key32::new(0x1234_5678_0000_0000);

impl Shard {
    fn new(fences: Fences) -> Arc<Shard> {
        let (slab, state) = Slab::new(3).unwrap();
        Arc::new(Shard {
            fences,
            table: Table::new(),
            slab,
            index: Index::new(4).unwrap(),
            places: std::array::from_fn(|_| Place::new()),
            state: Mutex::new(state),
        })
    }

    fn address(loc: u32) -> usize {
        loc as usize * 64
    }

    /// Writes a value to a place and makes it the entry of a key.
    fn insert(&self, key: Key32, loc: u32, value: u64) -> u32 {
        let mut state = self.state.lock().unwrap();
        self.places[loc as usize].write(value);
        let token = self.slab.take(&mut state, key.upper(), 0).unwrap();
        self.slab.get(token).set_loc(loc);
        self.index.insert(key, token);
        token
    }

    fn remove(&self, key: Key32, token: u32) {
        let mut state = self.state.lock().unwrap();
        assert!(self.index.remove(key, token));
        self.slab.give_back(&mut state, token);
    }

    /// Overwrites a place if nobody looks at it. Whether it did.
    fn reuse(&self, loc: u32, value: u64) -> bool {
        self.fences.reclaimer(|| false);
        let free = self.table.protection(Self::address(loc), std::ptr::null()) == Protection::None;
        let mut seen = Vec::new();
        self.table.protected(&mut seen);
        // The two looks are one in time here only if nothing changed between them; the second one decides.
        let free = free && seen.binary_search(&Self::address(loc)).is_err();
        if free {
            self.places[loc as usize].write(value);
        }
        free
    }

    /// What a get does: the value, read under protection.
    fn get(&self, key: Key32, wanted: impl Fn(u64) -> bool) -> Option<u64> {
        let block = self.table.take().expect("a block for each thread");
        let cell = block.scratch();
        let found = self.index.find(key, |token| {
            let slot = self.slab.get(token);
            if slot.hash() != key.upper() {
                return None;
            }
            let loc = self.fences.protect(cell, || slot.loc(), Self::address)?;
            let value = self.places[loc as usize].read();
            wanted(value).then_some(value)
        });
        cell.store(0, atomic::Ordering::Release);
        found
    }
}

fn both_ways(body: impl Fn(Fences) + Sync + Send + Clone + 'static) {
    for fences in [Fences::Equal, Fences::Reclaimer] {
        let body = body.clone();
        explore(move || body(fences));
    }
}

/// A value is replaced, and its place overwritten as soon as nobody looks at it, while others read.
#[test]
fn what_is_looked_at_is_not_overwritten() {
    both_ways(|fences| {
        let shard = Shard::new(fences);
        let token = shard.insert(KEY, 1, 10);
        let reader = Arc::clone(&shard);
        let thread = thread::spawn(move || {
            let value = reader.get(KEY, |_| true).expect("it is always there");
            assert!(value == 10 || value == 20, "{value}");
        });
        shard.places[2].write(20);
        shard.slab.get(token).set_loc(2);
        shard.reuse(1, 99);
        thread.join().unwrap();
        assert!(shard.reuse(1, 99), "given back when nobody reads");
    });
}

/// The entry is removed, and another one gets its token and its place.
#[test]
fn what_is_removed_is_not_overwritten_under_a_reader() {
    both_ways(|fences| {
        let shard = Shard::new(fences);
        let token = shard.insert(KEY, 1, 10);
        let reader = Arc::clone(&shard);
        let thread = thread::spawn(move || {
            // Another key's value, as a comparison of keys would find out.
            let value = reader.get(KEY, |value| value == 10);
            assert!(value.is_none_or(|value| value == 10));
        });
        shard.remove(KEY, token);
        if shard.reuse(1, 30) {
            shard.insert(Key32::new(0x1234_9999_0000_0000), 1, 31);
        }
        thread.join().unwrap();
    });
}

/// A guard is made in one thread and given up in another.
#[test]
fn a_guard_holds_until_it_is_given_up_elsewhere() {
    both_ways(|fences| {
        let shard = Shard::new(fences);
        let token = shard.insert(KEY, 1, 10);
        let block = shard.table.take().unwrap();
        let cell = block.guard_cell().unwrap();
        let loc = fences.protect(cell, || shard.slab.get(token).loc(), Shard::address);
        assert_eq!(loc, Some(1));
        assert!(block.guard_cell().is_none(), "the model has one cell for guards");
        shard.remove(KEY, token);
        // The guard knows its cell, and that the table stays; the model checker wants to see both owned.
        let other = Arc::clone(&shard);
        let cell = std::ptr::from_ref(cell).expose_provenance();
        let thread = thread::spawn(move || {
            assert_eq!(other.places[1].read(), 10);
            // SAFETY: a cell of the table in `other`.
            let cell = unsafe { &*std::ptr::with_exposed_provenance::<atomic::AtomicUsize>(cell) };
            cell.store(0, atomic::Ordering::Release);
        });
        shard.reuse(1, 99);
        thread.join().unwrap();
        assert!(shard.reuse(1, 99));
    });
}

/// The first thread that ever read reclaims without a barrier of all threads, while a second one comes. The readers have no
/// fence here, and there is no barrier: what keeps them apart is the fence with which a thread takes its block.
#[test]
fn a_second_reader_is_noticed() {
    READERS.set(Readers::Free);
    explore(|| {
        let shard = Shard::new(Fences::Reclaimer);
        let token = shard.insert(KEY, 1, 10);
        let own = shard.table.take().unwrap();
        let own = shard.table.index(own);
        let reader = Arc::clone(&shard);
        let thread = thread::spawn(move || {
            let value = reader.get(KEY, |_| true);
            assert!(value.is_none_or(|value| value == 10), "{value:?}");
        });
        shard.remove(KEY, token);
        shard.fences.reclaimer(|| shard.table.is_only_reader(|| Some(own)));
        // With a barrier this is the case of the other tests.
        if BARRIERS.get() == 0
            && shard.table.protection(Shard::address(1), std::ptr::null()) == Protection::None
        {
            shard.places[1].write(99);
        }
        thread.join().unwrap();
    });
    READERS.set(Readers::Fenced);
}

/// A block changes hands: two threads that want the same one get it one after the other.
#[test]
fn a_block_has_one_thread() {
    explore(|| {
        let table = Arc::new((Table::<1>::new(), Place::new()));
        let use_it = |(table, place): &(Table<1>, Place)| {
            if let Some(block) = table.take() {
                place.write(place.read() + 1);
                block.give_back();
                1
            } else {
                0
            }
        };
        let other = Arc::clone(&table);
        let thread = thread::spawn(move || use_it(&other));
        let uses = use_it(&table) + thread.join().unwrap();
        assert_eq!(table.1.read(), uses);
    });
}

/// Who finds an entry in the index sees all that was written before it was put there.
#[test]
fn what_is_found_is_complete() {
    both_ways(|fences| {
        let shard = Shard::new(fences);
        let reader = Arc::clone(&shard);
        let thread = thread::spawn(move || {
            let value = reader.get(KEY, |_| true);
            assert!(value.is_none_or(|value| value == 10), "{value:?}");
        });
        shard.insert(KEY, 1, 10);
        thread.join().unwrap();
        assert_eq!(shard.get(KEY, |_| true), Some(10));
    });
}

/// Entries of a bucket come and go around one that stays.
#[test]
fn what_stays_is_found_while_neighbours_change() {
    explore(|| {
        let index = Arc::new(Index::new(4).unwrap());
        let (stays, goes) = (Key32::new(1 << 32), Key32::new(2 << 32));
        index.insert(goes, 1);
        index.insert(stays, 2);
        let other = Arc::clone(&index);
        let thread = thread::spawn(move || {
            let found = other.find(stays, |token| (token == 2).then_some(token));
            assert_eq!(found, Some(2));
        });
        assert!(index.remove(goes, 1));
        index.insert(goes, 3);
        thread.join().unwrap();
    });
}

/// An entry that lies behind a full bucket is found while entries of that bucket leave and one comes.
#[test]
fn what_passed_a_full_bucket_is_found() {
    explore(|| {
        let index = Arc::new(Index::new(20).unwrap());
        index.grow(11, |_| None);
        let key = Key32::new(1 << 32);
        (1..=11).for_each(|token| index.insert(key, token));
        let other = Arc::clone(&index);
        let thread = thread::spawn(move || {
            for wanted in [11, 5] {
                let found = other.find(key, |token| (token == wanted).then_some(token));
                assert_eq!(found, Some(wanted));
            }
        });
        assert!(index.remove(key, 1));
        index.insert(key, 12);
        thread.join().unwrap();
        assert_eq!(index.find(key, |token| (token == 12).then_some(token)), Some(12));
    });
}

/// The table is built anew in the other area, and the old one cleared, while others search.
#[test]
fn what_moves_to_another_table_is_found() {
    explore(|| {
        let index = Arc::new(Index::new(8).unwrap());
        let key = Key32::new(7 << 32);
        index.insert(key, 5);
        let other = Arc::clone(&index);
        let thread = thread::spawn(move || {
            let found = other.find(key, |token| (token == 5).then_some(token));
            assert_eq!(found, Some(5));
        });
        index.grow(8, |_| Some(key.upper()));
        thread.join().unwrap();
    });
}
