//! The locks under a model checker, which tries all interleavings and memory orders:
//! `RUSTFLAGS="--cfg pmem_loom" cargo test --release -p pmem-core --test loom`.
#![cfg(pmem_loom)]

use loom::cell::UnsafeCell;
use loom::model::Builder;
use loom::sync::Arc;
use loom::thread;
use pmem_core::sync::{Mutex, Once, Ran, Rank};

fn explore(body: impl Fn() + Sync + Send + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(body);
}

fn lock<T>(value: T) -> Arc<Mutex<T>> {
    Arc::new(Mutex::new(Rank::new(1), value))
}

#[test]
fn two_threads_exclude_each_other() {
    explore(|| {
        let mutex = lock(0);
        let other = Arc::clone(&mutex);
        let thread = thread::spawn(move || {
            for _ in 0..2 {
                *other.lock() += 1;
            }
        });
        for _ in 0..2 {
            *mutex.lock() += 1;
        }
        thread.join().unwrap();
        assert_eq!(*mutex.lock(), 4);
    });
}

/// Three threads: a waker may meet one sleeper and one thread that is about to sleep.
#[test]
fn no_wake_up_is_lost() {
    explore(|| {
        let mutex = lock(0);
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let mutex = Arc::clone(&mutex);
                thread::spawn(move || *mutex.lock() += 1)
            })
            .collect();
        *mutex.lock() += 1;
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(*mutex.lock(), 3);
        assert!(!mutex.is_locked());
    });
}

#[test]
fn trying_never_breaks_exclusion() {
    explore(|| {
        let mutex = lock(0);
        let other = Arc::clone(&mutex);
        let thread = thread::spawn(move || match other.try_lock() {
            Some(mut value) => {
                *value += 1;
                1
            }
            None => 0,
        });
        *mutex.lock() += 1;
        let taken = thread.join().unwrap();
        assert_eq!(*mutex.lock(), 1 + taken);
    });
}

/// Taking a lock for a fork sets a bit while others may be setting theirs.
#[test]
fn locks_for_a_fork_exclude_too() {
    explore(|| {
        let mutex = lock(0);
        let other = Arc::clone(&mutex);
        let thread = thread::spawn(move || *other.lock() += 1);
        // SAFETY: given back below; this thread takes no guard meanwhile.
        unsafe {
            mutex.lock_for_fork();
            mutex.unlock_after_fork();
        }
        *mutex.lock() += 1;
        thread.join().unwrap();
        assert_eq!(*mutex.lock(), 2);
    });
}

#[test]
fn what_once_wrote_is_seen_by_all() {
    struct Shared {
        once: Once,
        value: UnsafeCell<u32>,
    }
    // SAFETY: the value is written once, before it is read; that is what is checked here.
    unsafe impl Sync for Shared {}

    fn use_it(shared: &Shared) -> bool {
        let write = |value: *mut u32| {
            // SAFETY: only the one run writes.
            unsafe { *value += 1 }
        };
        let ran = shared.once.call(|| shared.value.with_mut(write));
        // SAFETY: the run is over.
        assert_eq!(shared.value.with(|value| unsafe { *value }), 1);
        ran == Ran::Now
    }

    explore(|| {
        let shared = Arc::new(Shared { once: Once::new(), value: UnsafeCell::new(0) });
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let shared = Arc::clone(&shared);
                thread::spawn(move || use_it(&shared))
            })
            .collect();
        let mut runs = usize::from(use_it(&shared));
        for thread in threads {
            runs += usize::from(thread.join().unwrap());
        }
        assert_eq!(runs, 1);
    });
}
