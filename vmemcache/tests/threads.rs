//! Many threads on few keys: no mixture of values, nothing lost, nothing stale.

mod support;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::*};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use support::{Random, check_stamped, stamped};
use vmemcache::policy::Kind;
use vmemcache::{Builder, Cache, Cause, Listener, Value};

const STEPS: u64 = if cfg!(miri) { 60 } else { 30_000 };

/// Writers put values that say which key they are for; readers check every byte.
fn no_torn_value(builder: Builder) {
    let cache = builder.anonymous().unwrap();
    let stop = AtomicBool::new(false);
    let found = AtomicU64::new(0);
    thread::scope(|scope| {
        for seed in 0..2 {
            let (cache, stop, found) = (&cache, &stop, &found);
            scope.spawn(move || {
                let mut random = Random::new(100 + seed);
                let mut buffer = vec![0; 40_000];
                while !stop.load(Relaxed) {
                    let key = random.below(64).to_le_bytes();
                    if random.below(2) == 0 {
                        if let Some(value) = cache.get(&key) {
                            assert_eq!(check_stamped(&value.to_cow()) % 64, u64::from(key[0]));
                            found.fetch_add(1, Relaxed);
                        }
                    } else if let Some(read) = cache.read(&key, &mut buffer, 0) {
                        assert_eq!(check_stamped(&buffer[..read.size]) % 64, u64::from(key[0]));
                        found.fetch_add(1, Relaxed);
                    }
                }
            });
        }
        let writers: Vec<_> = (0..2)
            .map(|seed| {
                let cache = &cache;
                scope.spawn(move || {
                    let mut random = Random::new(seed);
                    for step in 0..STEPS {
                        let key = random.below(64);
                        if random.below(8) == 0 {
                            cache.remove(&key.to_le_bytes());
                        } else {
                            let len =
                                8 + random.below(if step % 50 == 0 { 40_000 - 8 } else { 3000 });
                            let value = stamped(random.next() / 64 * 64 + key, len as usize);
                            cache.put(&key.to_le_bytes(), &value).unwrap();
                        }
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.join().unwrap();
        }
        stop.store(true, Relaxed);
    });
    cache.validate();
    assert!(found.into_inner() > 0 || cfg!(miri));
}

#[test]
fn no_torn_value_in_exact_caches() {
    no_torn_value(Cache::builder().size(128 << 10).policy(Kind::Lru));
}

#[test]
fn no_torn_value_in_batched_caches() {
    for &kind in Kind::ALL {
        no_torn_value(Cache::builder().size(128 << 10).policy(kind).exact_space(false));
    }
}

/// A put that has returned is seen by every later get, in whatever thread: values of a key only rise.
#[test]
fn values_of_a_key_never_go_back() {
    for exact in [true, false] {
        let cache = Cache::builder().size(1 << 20).exact_space(exact).anonymous().unwrap();
        let written: Vec<AtomicU64> = (0..8).map(|_| AtomicU64::new(0)).collect();
        let start = Barrier::new(4);
        thread::scope(|scope| {
            for writer in 0..2u64 {
                let (cache, written, start) = (&cache, &written, &start);
                scope.spawn(move || {
                    start.wait();
                    for version in 1..=STEPS {
                        // Each writer has keys of its own.
                        let key = version % 4 * 2 + writer;
                        cache
                            .put(
                                &key.to_le_bytes(),
                                &stamped(version, 8 + (version % 500) as usize),
                            )
                            .unwrap();
                        written[key as usize].store(version, Release);
                    }
                });
            }
            for seed in 0..2 {
                let (cache, written, start) = (&cache, &written, &start);
                scope.spawn(move || {
                    let mut random = Random::new(seed);
                    start.wait();
                    let mut seen = [0; 8];
                    for _ in 0..STEPS {
                        let key = random.below(8) as usize;
                        let least = written[key].load(Acquire);
                        match cache.get(&key.to_le_bytes()) {
                            Some(value) => {
                                let version = check_stamped(&value.to_cow());
                                assert!(version >= least && version >= seen[key]);
                                seen[key] = version;
                            }
                            // The cache has room for all, so what was put is there.
                            None => assert_eq!((least, seen[key]), (0, 0)),
                        }
                    }
                });
            }
        });
        cache.validate();
    }
}

#[test]
fn one_of_many_puts_if_absent_wins() {
    let cache = Cache::builder().size(4 << 20).anonymous().unwrap();
    let wins = AtomicU64::new(0);
    thread::scope(|scope| {
        for thread in 0..4u64 {
            let (cache, wins) = (&cache, &wins);
            scope.spawn(move || {
                for key in 0..STEPS / 10 {
                    if cache.put_if_absent(&key.to_le_bytes(), &stamped(thread, 20)).unwrap() {
                        wins.fetch_add(1, Relaxed);
                    }
                }
            });
        }
    });
    assert_eq!(wins.into_inner(), STEPS / 10);
    assert_eq!(cache.stats().inserted, STEPS / 10);
}

/// For as long as `VMEMCACHE_SOAK_SECONDS` says (600): threads do all there is, on caches of all kinds.
#[test]
#[ignore = "takes ten minutes"]
fn soak() {
    let seconds = std::env::var("VMEMCACHE_SOAK_SECONDS").map_or(600, |text| text.parse().unwrap());
    let end = std::time::Instant::now() + std::time::Duration::from_secs(seconds);
    for round in 0.. {
        for &kind in Kind::ALL {
            if std::time::Instant::now() > end {
                assert!(round > 0, "at least one round");
                return;
            }
            let exact = round % 2 == 0;
            let builder = Cache::builder().size(1 << 20).policy(kind).exact_space(exact);
            let cache = builder.shards(1 + round % 3).in_directory("/dev/shm").unwrap();
            thread::scope(|scope| {
                for seed in 0..4 {
                    let cache = &cache;
                    scope.spawn(move || work(cache, round as u64 * 10 + seed));
                }
            });
            cache.validate();
            cache.clear();
            let stats = cache.stats();
            assert_eq!((stats.entries, stats.used_bytes, stats.pinned_bytes), (0, 0, 0));
            assert_eq!(stats.free_regions, cache.shards() as u64);
        }
    }
}

fn work(cache: &Cache, seed: u64) {
    let mut random = Random::new(seed);
    let mut held = Vec::new();
    for _ in 0..20_000 {
        let key = random.below(500);
        let bytes = key.to_le_bytes();
        let value = || stamped(seed << 32 | key, 8 + (seed * 1009 % 5000) as usize);
        match random.below(20) {
            0..6 => _ = cache.put(&bytes, &value()).unwrap(),
            6 => _ = cache.put_if_absent(&bytes, &value()).unwrap(),
            7 => _ = cache.replace(&bytes, &value()).unwrap(),
            8 => _ = cache.remove(&bytes),
            9 => _ = cache.evict_next(),
            10 => held.extend(cache.get(&bytes)),
            11 => held.clear(),
            12 if random.below(500) == 0 => cache.clear(),
            12 => cache.iter().take(20).for_each(|value| {
                check_stamped(&value.to_cow());
            }),
            _ => {
                if let Some(value) = cache.get(&bytes) {
                    assert_eq!(check_stamped(&value.to_cow()) & 0xffff_ffff, key);
                }
            }
        }
        if held.len() > 12 {
            held.clear();
        }
        if let Some(value) = held.last() {
            check_stamped(&value.to_cow());
        }
    }
}

/// Notes the keys that leave.
#[derive(Default)]
struct Order(Mutex<Vec<u64>>);

impl Listener for Order {
    fn on_evict(&self, key: &[u8], _: &Value<'_>, _: Cause) {
        self.0.lock().unwrap().push(u64::from_le_bytes(key.try_into().unwrap()));
    }
}

/// Hits of threads that take turns are in the order of the turns, however many wait to be told, and whoever evicts.
#[test]
fn exact_order_of_hits_in_turns() {
    const KEYS: u64 = 40;
    const THREADS: u64 = 3;
    let steps = if cfg!(miri) { 100 } else { 500 };
    for rest in [0, 1, 63, 64, 65, 127, 128, 129] {
        let order = Arc::new(Order::default());
        let listener = Arc::clone(&order);
        let cache = Cache::builder().size(256 << 10).policy(Kind::Lru).listener(listener);
        let cache = cache.anonymous().unwrap();
        for key in 0..KEYS {
            cache.put(&key.to_le_bytes(), &[7; 100]).unwrap();
        }
        let mut random = Random::new(rest);
        let hits: Vec<u64> = (0..steps + rest).map(|_| random.below(KEYS)).collect();
        let turn = AtomicU64::new(0);
        thread::scope(|scope| {
            for thread in 0..THREADS {
                let (cache, hits, turn) = (&cache, &hits, &turn);
                scope.spawn(move || {
                    let mut buffer = [0; 100];
                    for (at, key) in hits.iter().enumerate() {
                        if at as u64 % THREADS != thread {
                            continue;
                        }
                        while turn.load(Acquire) != at as u64 {
                            thread::yield_now();
                        }
                        let key = key.to_le_bytes();
                        if at % 2 == 0 {
                            assert!(cache.get(&key).is_some());
                        } else {
                            assert!(cache.read(&key, &mut buffer, 0).is_some());
                        }
                        turn.store(at as u64 + 1, Release);
                    }
                });
            }
        });
        let mut expected: Vec<u64> = (0..KEYS).collect();
        for hit in hits {
            expected.retain(|&key| key != hit);
            expected.push(hit);
        }
        while cache.evict_next() {}
        assert_eq!(*order.0.lock().unwrap(), expected, "{rest}");
    }
}
