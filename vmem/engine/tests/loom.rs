//! The parts in `protocol` under a model checker, which tries all interleavings and memory orders:
//! `RUSTFLAGS="--cfg pmem_loom" cargo test --release -p vmem-engine --test loom`.
#![cfg(pmem_loom)]

/// What the parts find as `super::atomic`.
mod atomic {
    pub(crate) use loom::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
    pub(crate) use loom::thread::yield_now;
}
#[path = "../src/protocol/bits.rs"]
#[allow(dead_code, reason = "only a part is modelled")]
mod bits;
#[path = "../src/protocol/slots.rs"]
#[allow(dead_code, reason = "only a part is modelled")]
mod slots;
#[path = "../src/protocol/start.rs"]
#[allow(dead_code, reason = "only a part is modelled")]
mod start;

use bits::PageBits;
use loom::cell::UnsafeCell;
use loom::model::Builder;
use loom::sync::Arc;
use loom::thread;
use pmem_core::sync::{Mutex, Rank};
use slots::Slots;
use start::{Caller, Start};
use std::ptr::{self, NonNull};

fn explore(body: impl Fn() + Sync + Send + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(body);
}

/// What is made once: its maker writes to it before anybody else may look.
struct Made(UnsafeCell<u32>);

// SAFETY: that it is written before it is shared is what the model checks.
unsafe impl Sync for Made {}
// SAFETY: as above.
unsafe impl Send for Made {}

impl Made {
    fn new() -> Made {
        Made(UnsafeCell::new(0))
    }

    fn write(&self, value: u32) {
        // SAFETY: the model checker notices any access at the same time.
        self.0.with_mut(|place| unsafe { *place = value });
    }

    fn read(&self) -> u32 {
        // SAFETY: as above.
        self.0.with(|place| unsafe { *place })
    }
}

fn caller(thread: u32) -> Caller {
    Caller { thread, process: 3 }
}

/// Runs `use_it` in two threads on one [`Start`] and gives what they answered.
fn in_two_threads(start: Start<Made>, use_it: fn(&Start<Made>, &Made, Caller) -> u32) -> [u32; 2] {
    let shared = Arc::new((start, Made::new()));
    let other = Arc::clone(&shared);
    let thread = thread::spawn(move || use_it(&other.0, &other.1, caller(1)));
    let own = use_it(&shared.0, &shared.1, caller(0));
    [own, thread.join().unwrap()]
}

/// Needs what is made, complete; gives how often this thread has made it.
fn need_it(start: &Start<Made>, made: &Made, caller: Caller) -> u32 {
    let mut runs = 0;
    let make = || {
        runs += 1;
        made.write(7);
        ptr::from_ref(made).cast_mut()
    };
    let got = start.get_or_make(|| caller, make);
    assert!(ptr::eq(got, made));
    // SAFETY: checked above.
    assert_eq!(unsafe { &*got }.read(), 7);
    assert!(ptr::eq(start.get(), made));
    runs
}

#[test]
fn the_heap_starts_once_and_is_complete() {
    explore(|| {
        let runs = in_two_threads(Start::new(), need_it);
        assert_eq!(runs.iter().sum::<u32>(), 1);
    });
}

/// A thread of the parent process was making the heap when it forked; the child has two threads by
/// the time it needs it.
#[test]
fn a_heap_that_the_parent_was_making_starts_once() {
    explore(|| {
        let left_behind = Start::being_made_by(Caller { thread: 1, process: 2 });
        let runs = in_two_threads(left_behind, need_it);
        assert_eq!(runs.iter().sum::<u32>(), 1);
    });
}

/// A thread that only looks sees nothing, or all of it.
#[test]
fn a_glance_at_the_heap_sees_all_or_nothing() {
    explore(|| {
        let shared = Arc::new((Start::<Made>::new(), Made::new()));
        let other = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            let (start, made) = &*other;
            // SAFETY: what was made lives as long as `shared`.
            if let Some(seen) = unsafe { start.get().as_ref() } {
                assert!(ptr::eq(seen, made));
                assert_eq!(seen.read(), 7);
            }
        });
        let (start, made) = &*shared;
        let make = || {
            made.write(7);
            ptr::from_ref(made).cast_mut()
        };
        start.get_or_make(|| caller(0), make);
        thread.join().unwrap();
    });
}

#[test]
fn a_heap_that_cannot_be_made_is_not_tried_again() {
    fn use_it(start: &Start<Made>, _: &Made, caller: Caller) -> u32 {
        let mut runs = 0;
        let make = || {
            runs += 1;
            ptr::null_mut()
        };
        let got = start.get_or_make(|| caller, make);
        assert!(got.is_null());
        runs
    }
    explore(|| {
        let runs = in_two_threads(Start::new(), use_it);
        assert_eq!(runs.iter().sum::<u32>(), 1);
    });
}

#[test]
fn the_thread_that_makes_the_heap_gets_null_meanwhile() {
    fn use_it(start: &Start<Made>, made: &Made, caller: Caller) -> u32 {
        let make = || {
            assert!(start.get_or_make(|| caller, || unreachable!("made twice")).is_null());
            made.write(7);
            ptr::from_ref(made).cast_mut()
        };
        let got = start.get_or_make(|| caller, make);
        // SAFETY: others get null only while they make it themselves.
        unsafe { got.as_ref() }.expect("made").read()
    }
    explore(|| {
        let seen = in_two_threads(Start::new(), use_it);
        assert_eq!(seen, [7; 2]);
    });
}

/// A pool as the table of pools sees it. Its cell stands for all memory of the pool.
struct Pool {
    memory: UnsafeCell<&'static str>,
}

// SAFETY: that no two threads use the memory at the same time is what the model checks.
unsafe impl Sync for Pool {}
// SAFETY: as above.
unsafe impl Send for Pool {}

impl Pool {
    fn new() -> Pool {
        Pool { memory: UnsafeCell::new("new") }
    }

    fn set(&self, state: &'static str) {
        self.memory.with_mut(|memory| {
            // SAFETY: the model checker notices any access at the same time.
            let old = unsafe { std::mem::replace(&mut *memory, state) };
            assert_ne!(old, "gone", "used after it was deleted");
        });
    }
}

type Registry = Mutex<Slots<Pool>>;

/// Enters a pool and gives what a thread remembers of it: place and id.
fn enter(registry: &Registry, pool: &Pool) -> (usize, u64) {
    let mut entry = (0, 0);
    // SAFETY: the pools of these tests outlive the threads that look for them.
    let entered = unsafe {
        registry.lock().insert(NonNull::from(pool), |id, place| {
            pool.set("described");
            entry = (place, id);
        })
    };
    entered.unwrap();
    entry
}

/// What a thread that ends does with the pools that it remembers.
fn end_of_thread(registry: &Registry, (place, id): (usize, u64)) -> bool {
    let registry = registry.lock();
    match registry.find(place, id) {
        Some(pool) => {
            pool.set("cache returned");
            true
        }
        None => false,
    }
}

fn delete(registry: &Registry, pool: &Pool, place: usize) {
    // SAFETY: entered before, removed once.
    unsafe { registry.lock().remove(place) };
    pool.set("gone");
}

fn registry() -> Registry {
    Mutex::new(Rank::new(1), Slots::new(2))
}

#[test]
fn a_thread_that_ends_never_meets_a_pool_that_goes() {
    explore(|| {
        let shared = Arc::new((registry(), Pool::new()));
        let entry = enter(&shared.0, &shared.1);
        let other = Arc::clone(&shared);
        let thread = thread::spawn(move || end_of_thread(&other.0, entry));
        delete(&shared.0, &shared.1, entry.0);
        thread.join().unwrap();
        assert!(!end_of_thread(&shared.0, entry));
    });
}

/// The place is used again at once: the thread must not take the new pool for the old one.
#[test]
fn a_pool_in_the_same_place_is_not_taken_for_the_old_one() {
    explore(|| {
        let shared = Arc::new((registry(), Pool::new(), Pool::new()));
        let old = enter(&shared.0, &shared.1);
        let other = Arc::clone(&shared);
        let thread = thread::spawn(move || end_of_thread(&other.0, old));
        delete(&shared.0, &shared.1, old.0);
        let new = enter(&shared.0, &shared.2);
        assert_eq!(new.0, old.0);
        thread.join().unwrap();
        // SAFETY: the other thread has ended.
        let seen = shared.2.memory.with(|memory| unsafe { *memory });
        assert_eq!(seen, "described", "returned to the wrong pool");
        assert!(end_of_thread(&shared.0, new));
    });
}

/// A pool is found with its description complete, or not at all.
#[test]
fn a_new_pool_is_seen_complete() {
    explore(|| {
        let shared = Arc::new((registry(), Pool::new()));
        let other = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            let registry = other.0.lock();
            for pool in registry.iter() {
                // SAFETY: the model checker notices a describer at work.
                assert_eq!(pool.memory.with(|memory| unsafe { *memory }), "described");
            }
        });
        enter(&shared.0, &shared.1);
        thread.join().unwrap();
    });
}

/// Two purges, or a purge and an allocation, change bits of their own pages in one word.
#[test]
fn neighbours_in_a_word_do_not_lose_bits() {
    explore(|| {
        let words = Arc::new([atomic::AtomicU64::new(0b1100), atomic::AtomicU64::new(0)]);
        let other = Arc::clone(&words);
        let thread = thread::spawn(move || {
            let bits = PageBits::new(&other[..], 128);
            bits.clear(2, 4);
            assert_eq!(bits.count(2, 4), 0);
        });
        let bits = PageBits::new(&words[..], 128);
        bits.set(0, 1);
        bits.set(60, 66);
        assert_eq!((bits.count(0, 2), bits.count(4, 128)), (1, 6));
        thread.join().unwrap();
        assert_eq!(bits.next_run(0, 128, true), Some((0, 1)));
        assert_eq!(bits.next_run(1, 128, true), Some((60, 66)));
        assert_eq!(bits.count(0, 128), 7);
    });
}
