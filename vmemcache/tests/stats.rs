//! What caches tell about themselves when they are asked to measure.

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};
use support::Random;
use vmemcache::policy::Kind;
use vmemcache::{Cache, Cause, Listener, Value};

struct Slow;

const PAUSE: Duration = Duration::from_millis(20);

impl Listener for Slow {
    fn on_evict(&self, _: &[u8], _: &Value<'_>, _: Cause) {
        std::thread::sleep(PAUSE);
    }

    fn on_miss(&self, _: &[u8]) {
        std::thread::sleep(PAUSE);
    }
}

#[test]
fn each_operation_is_timed_once() {
    for &kind in Kind::ALL {
        let cache = Cache::builder().size(64 << 10).policy(kind).latencies(true);
        let cache = cache.anonymous().unwrap();
        let mut random = Random::new(3);
        let mut buffer = [0; 100];
        let mut puts = 0;
        for _ in 0..2000 {
            let key = random.below(300).to_le_bytes();
            if cache.get(&key).is_none() {
                cache.put(&key, &[1; 400]).unwrap();
                puts += 1;
            }
            cache.read(&key, &mut buffer, 0);
            cache.peek(&key);
        }
        let stats = cache.stats();
        let latencies = stats.latencies.as_deref().unwrap();
        assert_eq!(latencies.get.count, stats.hits + stats.misses);
        assert_eq!((latencies.get.count, latencies.put.count), (4000, puts));
        assert_eq!(latencies.evict.count, stats.left(Cause::Capacity));
        for latency in [latencies.get, latencies.put, latencies.evict] {
            let ascending = [latency.p50_ns, latency.p90_ns, latency.p99_ns, latency.p999_ns];
            assert!(ascending.is_sorted() && latency.p999_ns <= latency.max_ns, "{latency:?}");
            assert!(latency.p50_ns > 0 && latency.sum_ns >= latency.max_ns, "{latency:?}");
        }
        assert!(latencies.put.sum_ns > latencies.evict.sum_ns, "evictions are part of puts");
    }
}

#[test]
fn what_listeners_do_is_part_of_the_call() {
    let cache = Cache::builder().size(64 << 10).policy(Kind::Lru).latencies(true);
    let cache = cache.listener(Arc::new(Slow)).anonymous().unwrap();
    assert!(cache.get(b"missing").is_none());
    cache.put(b"one", &[1; 40_000]).unwrap();
    cache.put(b"two", &[1; 40_000]).unwrap();
    let latencies = *cache.stats().latencies.unwrap();
    let pause = PAUSE.as_nanos() as u64;
    assert!(latencies.get.p50_ns >= pause);
    assert!(latencies.put.p999_ns >= pause && latencies.put.count == 2);
    assert_eq!(latencies.evict.count, 1);
}

#[test]
fn nothing_is_measured_unless_asked() {
    let cache = Cache::builder().size(64 << 10).anonymous().unwrap();
    cache.get(b"key");
    assert_eq!(cache.stats().latencies, None);
}

/// Fills a cache with twelve entries, lets time pass, and evicts some by further entries.
fn age(kind: Kind, during: impl Fn(&Cache)) -> (Duration, Duration) {
    let start = Instant::now();
    let cache = Cache::builder().size(64 << 10).policy(kind).exact_space(true).anonymous().unwrap();
    for key in 0..12u64 {
        cache.put(&key.to_le_bytes(), &[1; 5000]).unwrap();
    }
    assert_eq!(cache.stats().tail_age, None);
    std::thread::sleep(5 * PAUSE);
    during(&cache);
    let evicted = Instant::now();
    for key in 100..106u64 {
        cache.put(&key.to_le_bytes(), &[1; 5000]).unwrap();
    }
    assert!(cache.stats().left(Cause::Capacity) >= 5);
    // What the age may be at most, if it counts from the start and from what happened in between.
    let age = cache.stats().tail_age.unwrap();
    assert!(age <= start.elapsed());
    (age, evicted.elapsed())
}

#[test]
fn evicted_entries_are_as_old_as_the_time_since_they_were_put() {
    for &kind in Kind::ALL {
        let (age, _) = age(kind, |_| ());
        assert!(age >= 5 * PAUSE, "{kind}: {age:?}");
    }
}

#[test]
fn with_exact_lru_a_use_makes_young() {
    let use_all = |cache: &Cache| (0..12u64).for_each(|key| drop(cache.get(&key.to_le_bytes())));
    let (used, since) = age(Kind::Lru, use_all);
    assert!(used < 5 * PAUSE || since > 4 * PAUSE, "{used:?}, used {since:?} ago");
    let (fifo, _) = age(Kind::Fifo, use_all);
    assert!(fifo >= 5 * PAUSE, "{fifo:?}");
}
