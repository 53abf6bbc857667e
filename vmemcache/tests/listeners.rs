//! What listeners may do: anything.

mod support;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::*};
use std::sync::{Arc, Mutex, OnceLock, Weak, mpsc};
use std::thread;
use std::time::Duration;
use support::stamped;
use vmemcache::policy::Kind;
use vmemcache::{Builder, Cache, Cause, Error, Listener, Replacement, Value};

/// Runs a closure with the cache, which it knows after it was made.
struct With<F> {
    cache: OnceLock<Weak<Cache>>,
    run: F,
}

impl<F: Fn(&Cache, &[u8], &Value<'_>, Cause) + Send + Sync> Listener for With<F> {
    fn on_evict(&self, key: &[u8], value: &Value<'_>, cause: Cause) {
        let cache = self.cache.get().and_then(Weak::upgrade).unwrap();
        (self.run)(&cache, key, value, cause);
    }
}

fn cache_with<F>(size: usize, run: F) -> Arc<Cache>
where
    F: Fn(&Cache, &[u8], &Value<'_>, Cause) + Send + Sync + 'static,
{
    let listener = Arc::new(With { cache: OnceLock::new(), run });
    let cache =
        Cache::builder().size(size).policy(Kind::Lru).listener(listener.clone()).anonymous();
    let cache = Arc::new(cache.unwrap());
    listener.cache.set(Arc::downgrade(&cache)).unwrap();
    cache
}

#[test]
fn an_entry_that_leaves_is_still_there() {
    let calls = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&calls);
    let cache = cache_with(64 << 10, move |cache, key, value, cause| {
        count.fetch_add(1, Relaxed);
        assert!(matches!(cause, Cause::Capacity | Cause::Explicit));
        assert_eq!(cache.get(key).unwrap().to_vec(), value.to_vec());
        assert!(!cache.put_if_absent(key, b"other").unwrap(), "the key is taken");
        assert!(cache.remove(key), "already on its way: no effect, no second call");
    });
    for n in 0..2000u64 {
        cache.put(&n.to_le_bytes(), &stamped(n, 200)).unwrap();
    }
    assert!(cache.remove(&1999u64.to_le_bytes()));
    let stats = cache.stats();
    assert_eq!(calls.load(Relaxed) as u64, stats.evicted());
    assert_eq!((stats.hits, stats.misses), (stats.evicted(), 0));
    cache.validate();
}

#[test]
fn the_next_one_can_be_evicted_from_within() {
    let order = Arc::new(std::sync::Mutex::new(Vec::new()));
    let log = Arc::clone(&order);
    let cache = cache_with(64 << 10, move |cache, key, _, _| {
        log.lock().unwrap().push(key[0]);
        if log.lock().unwrap().len() < 5 {
            assert!(cache.evict_next());
        }
    });
    for n in 0..8u8 {
        cache.put(&[n], b"value").unwrap();
    }
    assert!(cache.evict_next());
    assert_eq!(*order.lock().unwrap(), [0, 1, 2, 3, 4]);
    assert_eq!(cache.len(), 3);
    cache.validate();
}

/// Each eviction puts a value of the same size under a new key, which evicts, 500 times for one put.
#[test]
fn puts_nest_deeply() {
    assert!(nest(1) > 10);
    // One small entry makes room for one other.
    assert_eq!(nest(0), 501);
}

/// Gives how deep it was.
fn nest(large: u64) -> usize {
    static NEXT: AtomicU64 = AtomicU64::new(1 << 32);
    static DEPTH: AtomicUsize = AtomicUsize::new(0);
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    static DEEPEST: AtomicUsize = AtomicUsize::new(0);
    DEEPEST.store(0, Relaxed);
    let cache = cache_with(1 << 20, |cache, _, value, _| {
        let depth = DEPTH.fetch_add(1, Relaxed) + 1;
        DEEPEST.fetch_max(depth, Relaxed);
        if CALLS.fetch_add(1, Relaxed) < 500 {
            let key = NEXT.fetch_add(1, Relaxed).to_le_bytes();
            match cache.put(&key, &value.to_vec()) {
                Ok(_) | Err(Error::Full { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
        DEPTH.fetch_sub(1, Relaxed);
    });
    let work = move || {
        let mut random = support::Random::new(1);
        for n in 0..if large == 0 { 7400 } else { 1000u64 } {
            let most = if n % 10 == 0 { large * (64 << 10) } else { 100 * large };
            let value = stamped(n, 128 + random.below(most.max(1)) as usize);
            CALLS.store(0, Relaxed);
            cache.put(&n.to_le_bytes(), &value).unwrap();
        }
        cache.validate();
        cache.clear();
        let stats = cache.stats();
        assert_eq!((stats.entries, stats.used_bytes, stats.free_regions), (0, 0, 1));
    };
    // The usual stack of a C program.
    thread::Builder::new().stack_size(8 << 20).spawn(work).unwrap().join().unwrap();
    DEEPEST.load(Relaxed)
}

#[test]
fn replaced_values_are_told_after() {
    let cache = cache_with(64 << 10, |cache, key, value, cause| {
        assert_eq!(cause, Cause::Replaced);
        assert_eq!(value.to_vec(), b"old");
        assert_eq!(cache.get(key).unwrap().to_vec(), b"new");
    });
    cache.put(b"key", b"old").unwrap();
    cache.put(b"key", b"new").unwrap();
    assert_eq!(cache.stats().hits, 1);
}

#[test]
fn misses_are_told() {
    struct Fill(OnceLock<Weak<Cache>>);
    impl Listener for Fill {
        fn on_miss(&self, key: &[u8]) {
            self.0.get().and_then(Weak::upgrade).unwrap().put(key, key).unwrap();
        }
    }
    let fill = Arc::new(Fill(OnceLock::new()));
    let cache =
        Arc::new(Cache::builder().size(1 << 20).listener(fill.clone()).anonymous().unwrap());
    fill.0.set(Arc::downgrade(&cache)).unwrap();
    assert!(cache.get(b"key").is_none());
    assert_eq!(cache.get(b"key").unwrap().to_vec(), b"key");
    let stats = cache.stats();
    assert_eq!((stats.hits, stats.misses, stats.inserted), (1, 1, 1));
}

/// Puts of many threads into a pool that is much too small: all succeed, whatever the others are just evicting.
#[test]
fn parallel_puts_do_not_fail() {
    for listens in [false, true] {
        let cache = if listens {
            cache_with(64 << 10, |cache, key, _, _| assert!(cache.contains(key)))
        } else {
            Arc::new(Cache::builder().size(64 << 10).policy(Kind::Lru).anonymous().unwrap())
        };
        thread::scope(|scope| {
            for thread in 0..4u64 {
                let cache = &cache;
                scope.spawn(move || {
                    for n in 0..2000u64 {
                        // Two of these do not fit at once.
                        cache.put(&(thread << 32 | n).to_le_bytes(), &stamped(n, 40_000)).unwrap();
                    }
                });
            }
        });
        cache.validate();
    }
}

#[test]
fn without_replacement_a_full_cache_says_so() {
    let cache = Cache::builder().size(64 << 10).replacement(Replacement::None).anonymous().unwrap();
    let mut stored = 0u64;
    let error = loop {
        match cache.put(&stored.to_le_bytes(), &[7; 1000]) {
            Ok(_) => stored += 1,
            Err(error) => break error,
        }
    };
    assert_eq!((&error, error.errno()), (&Error::Full { len: 1000 }, libc::ENOSPC));
    assert!(stored >= 63 && !cache.evict_next());
    assert!((0..stored).all(|n| cache.get(&n.to_le_bytes()).unwrap() == [7; 1000][..]));
    assert!(cache.remove(&3u64.to_le_bytes()));
    cache.put(b"other", &[8; 900]).unwrap();
}

#[test]
fn the_first_eviction_takes_the_oldest_only() {
    let gone = Arc::new(std::sync::Mutex::new(Vec::new()));
    let log = Arc::clone(&gone);
    let listener = Arc::new(With {
        cache: OnceLock::new(),
        run: move |_: &Cache, key: &[u8], _: &Value<'_>, _| log.lock().unwrap().push(key.to_vec()),
    });
    let builder = Cache::builder().size(1 << 20).policy(Kind::Lru).extent_size(256);
    let cache = Arc::new(builder.listener(listener.clone()).anonymous().unwrap());
    listener.cache.set(Arc::downgrade(&cache)).unwrap();
    let mut n = 0u64;
    while gone.lock().unwrap().is_empty() {
        cache.put(&n.to_le_bytes(), &stamped(n, 8 + (n % 57) as usize)).unwrap();
        n += 1;
    }
    assert_eq!(*gone.lock().unwrap(), [0u64.to_le_bytes().to_vec()]);
    assert!((1..n).all(|n| cache.contains(&n.to_le_bytes())));
}

/// Runs a closure that may wait for ever if something is wrong.
fn in_time(run: impl FnOnce() + Send + 'static) {
    let (done, finished) = mpsc::channel();
    let thread = thread::spawn(move || {
        run();
        done.send(()).unwrap();
    });
    if finished.recv_timeout(Duration::from_secs(10)) == Err(mpsc::RecvTimeoutError::Timeout) {
        panic!("a call waits for ever");
    }
    thread.join().unwrap();
}

/// Puts values until there is no space for the next. Gives their number.
fn fill(cache: &Cache) -> u64 {
    for n in 0u64.. {
        match cache.put(&n.to_le_bytes(), &[7; 1000]) {
            Ok(_) => {}
            Err(error) => {
                assert_eq!(error, Error::Full { len: 1000 });
                return n;
            }
        }
    }
    unreachable!()
}

fn without_replacement() -> Builder {
    Cache::builder().size(64 << 10).replacement(Replacement::None)
}

/// The eighth guard of a thread has no cell.
#[test]
fn guards_without_a_cell_make_no_put_wait_for_ever() {
    in_time(|| {
        let cache = without_replacement().anonymous().unwrap();
        let stored = fill(&cache);
        let guards: Vec<_> = (0..8u64).map(|n| cache.get(&n.to_le_bytes()).unwrap()).collect();
        assert!(cache.remove(&7u64.to_le_bytes()));
        let error = cache.put(&stored.to_le_bytes(), &[7; 1000]).unwrap_err();
        assert_eq!(error, Error::Full { len: 1000 });
        drop(guards);
        cache.put(&stored.to_le_bytes(), &[7; 1000]).unwrap();
        cache.validate();
    });
}

#[test]
fn a_listener_that_panics_about_a_replaced_value_leaves_no_trace() {
    struct Panics;
    impl Listener for Panics {
        fn on_evict(&self, _: &[u8], _: &Value<'_>, cause: Cause) {
            assert_ne!(cause, Cause::Replaced, "as wanted");
        }
    }
    in_time(|| {
        let cache = without_replacement().listener(Arc::new(Panics)).anonymous().unwrap();
        cache.put(b"key", b"old").unwrap();
        let put = || cache.put(b"key", b"new");
        assert!(catch_unwind(AssertUnwindSafe(put)).is_err());
        assert_eq!(cache.get(b"key").unwrap().to_vec(), b"new");
        assert!(fill(&cache) > 50);
        cache.validate();
    });
}

#[test]
fn what_was_removed_is_not_found_while_others_still_tell_of_it() {
    let (telling, told) = mpsc::sync_channel(0);
    let (go_on, gate) = mpsc::sync_channel::<()>(0);
    let gate = std::sync::Mutex::new(gate);
    let cache = cache_with(64 << 10, move |_, key, value, cause| {
        assert_eq!((key, &*value.to_cow(), cause), (&b"key"[..], &b"value"[..], Cause::Explicit));
        telling.send(()).unwrap();
        gate.lock().unwrap().recv().unwrap();
        assert_eq!(&*value.to_cow(), b"value", "it is looked at until the listener returns");
    });
    cache.put(b"key", b"value").unwrap();
    thread::scope(|scope| {
        scope.spawn(|| assert!(cache.remove(b"key")));
        told.recv().unwrap();
        assert!(cache.get(b"key").is_some(), "until it has been told");
        assert!(cache.remove(b"key"));
        assert!(cache.get(b"key").is_none());
        assert!(!cache.remove(b"key"));
        go_on.send(()).unwrap();
    });
    assert_eq!((cache.len(), cache.stats().left(Cause::Explicit)), (0, 1));
    cache.validate();
}

/// One thread computes a value, and its put waits for an eviction; who tells of that asks for the same key.
#[test]
fn who_tells_of_an_eviction_does_not_wait_for_who_computes() {
    in_time(|| {
        let (start, started) = mpsc::channel();
        let (computed, ready) = mpsc::channel();
        let ready = Mutex::new(Some(ready));
        let cache = cache_with(64 << 10, move |cache, _, _, _| {
            let Some(ready) = ready.lock().unwrap().take() else { return };
            start.send(()).unwrap();
            ready.recv().unwrap();
            // Time to begin to wait.
            thread::sleep(Duration::from_millis(50));
            cache.get_or_insert_with(b"key", || Ok::<_, Error>(b"small")).unwrap();
        });
        // Two of these do not fit at once.
        cache.put(b"first", &[1; 40_000]).unwrap();
        let other = Arc::clone(&cache);
        let computes = thread::spawn(move || {
            started.recv().unwrap();
            let value = || {
                computed.send(()).unwrap();
                Ok::<_, Error>([2; 40_000])
            };
            other.get_or_insert_with(b"key", value).unwrap();
        });
        cache.put(b"second", &[3; 40_000]).unwrap();
        computes.join().unwrap();
        cache.validate();
    });
}
