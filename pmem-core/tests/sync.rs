//! Locks: exclusion, waiting, the order of ranks, and what a fork does with them.
#![cfg(not(pmem_loom))]

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use pmem_core::sync::{Backoff, CachePadded, Mutex, Once, Ran, Rank, ThreadId, set_fork_owner};

const ROUNDS: u64 = if cfg!(miri) { 20 } else { 20_000 };

/// The name of the forking thread is one per process, so these tests take turns.
static ONE_FORK: std::sync::Mutex<()> = std::sync::Mutex::new(());

fn one_fork() -> std::sync::MutexGuard<'static, ()> {
    ONE_FORK.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[test]
fn a_lock_excludes() {
    static COUNT: Mutex<u64> = Mutex::new(Rank::new(1), 0);
    let inside = AtomicU32::new(0);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for round in 0..ROUNDS {
                    let mut count = COUNT.lock();
                    assert_eq!(inside.fetch_add(1, SeqCst), 0);
                    *count += 1;
                    if round % 64 == 0 {
                        // Held long enough for the others to go to sleep.
                        thread::yield_now();
                    }
                    inside.fetch_sub(1, SeqCst);
                }
            });
        }
    });
    assert_eq!(*COUNT.lock(), 8 * ROUNDS);
    assert!(!COUNT.is_locked());
}

#[test]
fn sleepers_are_woken() {
    let mutex = Mutex::new(Rank::new(1), 0u32);
    let guard = mutex.lock();
    thread::scope(|scope| {
        let sleepers: Vec<_> = (0..4).map(|_| scope.spawn(|| *mutex.lock() += 1)).collect();
        thread::sleep(Duration::from_millis(50));
        assert!(sleepers.iter().all(|sleeper| !sleeper.is_finished()));
        assert!(mutex.try_lock().is_none());
        drop(guard);
    });
    assert_eq!(mutex.into_inner(), 4);
}

#[test]
fn a_panic_unlocks() {
    let mutex = Mutex::new(Rank::new(1), 0u32);
    thread::scope(|scope| {
        let result = scope.spawn(|| {
            let mut value = mutex.lock();
            *value = 5;
            panic!("on purpose");
        });
        assert!(result.join().is_err());
    });
    assert_eq!(*mutex.lock(), 5);
}

#[test]
fn sizes_are_as_promised() {
    if !cfg!(debug_assertions) {
        assert_eq!(size_of::<Mutex<u32>>(), 8);
    }
    assert_eq!(align_of::<CachePadded<Mutex<u8>>>(), 128);
    let padded = CachePadded::new(7);
    assert_eq!((*padded, padded.into_inner()), (7, 7));
}

#[test]
fn rising_ranks_are_allowed() {
    let (low, high) = (Mutex::new(Rank::new(2), ()), Mutex::new(Rank::LEAF, ()));
    let free = [Mutex::new(Rank::UNRANKED, ()), Mutex::new(Rank::UNRANKED, ())];
    for _ in 0..2 {
        let _low = low.lock();
        let _high = high.lock();
        let _free = (free[0].lock(), free[1].lock());
    }
    // In another order of release, too.
    let first = low.lock();
    let second = high.lock();
    drop(first);
    drop(second);
    drop(low.lock());
}

/// Takes `first`, then `second`; gives the panic's text.
#[cfg(debug_assertions)]
fn complaint(first: &Mutex<()>, second: &Mutex<()>) -> Option<String> {
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let _first = first.lock();
            let _second = second.lock();
        });
        thread.join().err().map(|payload| *payload.downcast::<String>().unwrap())
    })
}

#[test]
#[cfg(debug_assertions)]
fn falling_and_equal_ranks_panic() {
    let lock = |rank| Mutex::new(Rank::new(rank), ());
    let (three, five, other_five) = (lock(3), lock(5), lock(5));
    let falling = complaint(&five, &three).expect("5 then 3 is wrong");
    assert_eq!(falling, "lock of rank 3 taken while one of rank 5 is held");
    let equal = complaint(&five, &other_five).expect("5 then 5 is wrong");
    assert_eq!(equal, "lock of rank 5 taken while one of rank 5 is held");
    let itself = complaint(&five, &five).expect("a lock is not recursive");
    assert_eq!(itself, equal);
    assert_eq!(complaint(&three, &five), None);
    assert!(!three.is_locked() && !five.is_locked());
    // Another thread's locks do not count.
    let _five = five.lock();
    thread::scope(|scope| scope.spawn(|| drop(three.lock())).join().unwrap());
}

#[test]
#[should_panic(expected = "lock ranks are 0 to 63")]
fn ranks_are_small() {
    let _ = Rank::new(64);
}

#[test]
fn the_forking_thread_passes_its_locks() {
    let _turn = one_fork();
    let mutex = Mutex::new(Rank::new(1), 0u32);
    let other = Mutex::new(Rank::new(2), 0u32);
    // SAFETY: given back below.
    unsafe { mutex.lock_for_fork() };
    set_fork_owner(Some(ThreadId::current()));
    for _ in 0..3 {
        *mutex.lock() += 1;
        *other.lock() += 1;
        assert!(mutex.is_locked(), "a guard that passes leaves the lock as it is");
        assert!(!other.is_locked(), "a lock that is not held for the fork works as ever");
    }
    let entered = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            *mutex.lock() += 10;
            entered.store(true, SeqCst);
        });
        thread::sleep(Duration::from_millis(50));
        assert!(!entered.load(SeqCst), "other threads wait");
        set_fork_owner(None);
        // SAFETY: taken above; no guard is alive.
        unsafe { mutex.unlock_after_fork() };
    });
    assert_eq!((*mutex.lock(), *other.lock()), (13, 3));
}

/// A lock that another thread holds in the ordinary way is not passed, not even while forking.
#[test]
fn the_forking_thread_waits_for_locks_of_others() {
    let _turn = one_fork();
    let mutex = Mutex::new(Rank::new(1), 0u32);
    let held = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut value = mutex.lock();
            held.store(true, SeqCst);
            thread::sleep(Duration::from_millis(50));
            *value = 1;
        });
        while !held.load(SeqCst) {
            thread::yield_now();
        }
        set_fork_owner(Some(ThreadId::current()));
        assert_eq!(*mutex.lock(), 1);
        set_fork_owner(None);
    });
}

#[test]
#[cfg(not(miri))]
fn a_child_frees_its_locks() {
    let _turn = one_fork();
    static LOCK: Mutex<u32> = Mutex::new(Rank::new(1), 0);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(SeqCst) {
                *LOCK.lock() += 1;
            }
        });
        for _ in 0..20 {
            // SAFETY: given back in parent and child.
            unsafe { LOCK.lock_for_fork() };
            set_fork_owner(Some(ThreadId::current()));
            // SAFETY: the child calls nothing but the lock and _exit.
            let pid = unsafe { libc::fork() };
            if pid == 0 {
                *LOCK.lock() += 1;
                set_fork_owner(None);
                // SAFETY: the child has one thread, and no guard is alive.
                unsafe { LOCK.force_unlock() };
                *LOCK.lock() += 1;
                // SAFETY: ends the child.
                unsafe { libc::_exit(if LOCK.is_locked() { 1 } else { 0 }) };
            }
            set_fork_owner(None);
            // SAFETY: taken above; no guard is alive.
            unsafe { LOCK.unlock_after_fork() };
            let mut status = 0;
            // SAFETY: `status` is writable.
            let waited = unsafe { libc::waitpid(pid, &raw mut status, 0) };
            assert_eq!((waited, status), (pid, 0));
        }
        stop.store(true, SeqCst);
    });
}

#[test]
fn once_is_once() {
    static ONCE: Once = Once::new();
    static VALUE: AtomicUsize = AtomicUsize::new(0);
    assert!(!ONCE.is_done());
    let now = AtomicU32::new(0);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let ran = ONCE.call(|| {
                    thread::sleep(Duration::from_millis(20));
                    VALUE.fetch_add(1, SeqCst);
                });
                match ran {
                    Ran::Now => drop(now.fetch_add(1, SeqCst)),
                    Ran::Before => {}
                    Ran::Reentered => panic!("nobody re-enters"),
                }
                assert_eq!(VALUE.load(SeqCst), 1, "everyone waits until it has run");
            });
        }
    });
    assert_eq!(now.load(SeqCst), 1);
}

#[test]
fn once_notices_re_entry_and_survives_a_panic() {
    let once = Once::new();
    thread::scope(|scope| {
        let thread = scope.spawn(|| once.call(|| panic!("on purpose")));
        assert!(thread.join().is_err());
    });
    assert!(!once.is_done());
    let ran = once.call(|| assert_eq!(once.call(|| ()), Ran::Reentered));
    assert_eq!(ran, Ran::Now);
    assert_eq!(once.call(|| panic!("it has run")), Ran::Before);
}

#[test]
fn an_interrupted_once_can_run_again_in_a_child() {
    let once = Once::new();
    let ran = once.call(|| {
        // What the only thread of a child finds: another thread of the parent was in here.
        // SAFETY: nothing was built, and nobody waits.
        unsafe { once.reset_after_fork() };
        assert_eq!(once.call(|| ()), Ran::Now);
    });
    assert_eq!(ran, Ran::Now);
    // SAFETY: nobody waits.
    unsafe { once.reset_after_fork() };
    assert!(once.is_done(), "what has run stays so");
}

#[test]
fn waiting_is_bounded() {
    let mut backoff = Backoff::new();
    let spins = (0..100).take_while(|_| backoff.spin()).count();
    assert!((3..20).contains(&spins), "{spins}");
    backoff.snooze();
}
