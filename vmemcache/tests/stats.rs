//! What caches tell about themselves when they are asked to measure.

mod support;

use lru::LruCache;
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::Random;
use vmemcache::policy::Kind;
use vmemcache::{Cache, Cause, Listener, Quota, Value};

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
    assert!(cache.stats().miss_ratio_curve.is_empty());
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

#[test]
fn namespaces_are_measured_too() {
    let cache = Cache::builder().size(128 << 10).shards(1).namespace("a", Quota::Share(0.5));
    let cache = cache.policy(Kind::Lru).latencies(true).miss_ratio_curve(true);
    let cache = cache.anonymous().unwrap();
    let a = cache.namespace("a").unwrap();
    // The same keys.
    for key in (0..10u64).map(u64::to_le_bytes) {
        assert!(a.get(&key).is_none() && cache.get(&key).is_none());
        a.put(&key, &[1; 5000]).unwrap();
        cache.put(&key, &[1; 100]).unwrap();
    }
    let mut buffer = [0; 10];
    for key in (0..10u64).map(u64::to_le_bytes) {
        assert!(a.read(&key, &mut buffer, 0).is_some() && cache.get(&key).is_some());
    }
    let stats = cache.stats();
    let largest =
        |stats: &vmemcache::Stats| stats.miss_ratio_curve.last().unwrap().misses_per_million;
    assert_eq!((stats.latencies.as_ref().unwrap().get.count, largest(&stats)), (40, 500_000));
    assert_eq!(stats.latencies.as_ref().unwrap().put.count, 20);
    assert_eq!((a.stats().latencies, a.stats().miss_ratio_curve), (None, Vec::new()));
    // Removing and clearing is for one namespace.
    assert!(a.remove(&0u64.to_le_bytes()));
    a.clear();
    for key in (0..10u64).map(u64::to_le_bytes) {
        assert!(a.get(&key).is_none() && cache.get(&key).is_some());
    }
    assert_eq!(largest(&cache.stats()), 500_000, "10 of 20 more");
    cache.clear();
    for key in (0..10u64).map(u64::to_le_bytes) {
        assert!(a.get(&key).is_none() && cache.get(&key).is_none());
    }
    assert_eq!(largest(&cache.stats()), 625_000, "20 of 20 more");
    // What a quota makes leave has an age.
    assert_eq!(cache.stats().tail_age, None);
    for key in (0..20u64).map(u64::to_le_bytes) {
        a.put(&key, &[1; 5000]).unwrap();
    }
    assert!(a.stats().left(Cause::Quota) > 5);
    assert!(a.stats().tail_age.is_some());
    assert_eq!(cache.stats().tail_age, a.stats().tail_age, "the other has none");
    assert_eq!(cache.namespace("").unwrap().stats().tail_age, None);
}

/// Keys by a Zipf law.
fn zipf(keys: usize, exponent: f64, gets: usize, seed: u64) -> Vec<u64> {
    let mut sum = 0.0;
    let bounds: Vec<f64> = (1..=keys)
        .map(|rank| {
            sum += (rank as f64).powf(-exponent);
            sum
        })
        .collect();
    let mut random = Random::new(seed);
    let mut draw = || random.below(1 << 53) as f64 / (1u64 << 53) as f64 * sum;
    (0..gets).map(|_| bounds.partition_point(|&bound| bound < draw()) as u64).collect()
}

fn value_len(key: u64) -> usize {
    50 + (key.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as usize % 900
}

/// What an exact LRU cache misses that holds so many bytes of entries.
fn simulate(trace: &[u64], capacity: u64) -> f64 {
    let bytes = |key: u64| (8 + 8 + value_len(key) as u64).next_multiple_of(8);
    let (mut cache, mut used, mut misses) = (LruCache::unbounded(), 0, 0);
    for &key in trace {
        if cache.get(&key).is_some() {
            continue;
        }
        misses += 1;
        cache.put(key, ());
        used += bytes(key);
        while used > capacity {
            used -= bytes(cache.pop_lru().unwrap().0);
        }
    }
    f64::from(misses) / trace.len() as f64
}

/// How far the estimate is from the simulation: in the mean and at most, over sizes from a 64th to 64 times of the pool.
fn errors(kind: Kind, exponent: f64, keys: usize, gets: usize) -> (f64, f64) {
    let trace = zipf(keys, exponent, gets, 5);
    let cache = Cache::builder().size(4_500_000).policy(kind).miss_ratio_curve(true);
    let cache = cache.anonymous().unwrap();
    for key in &trace {
        if cache.get(&key.to_le_bytes()).is_none() {
            cache.put(&key.to_le_bytes(), &[1; 1000][..value_len(*key)]).unwrap();
        }
    }
    let stats = cache.stats();
    let curve = &stats.miss_ratio_curve;
    assert!(curve.is_sorted_by_key(|point| point.bytes));
    assert!(curve.is_sorted_by_key(|point| std::cmp::Reverse(point.misses_per_million)));
    assert!(stats.to_json().contains(&format!("\"miss_ratio_curve\":[[{},", curve[0].bytes)));
    let (mut sum, mut most) = (0.0, 0.0f64);
    let points: Vec<_> = curve.iter().step_by(2).collect();
    for point in &points {
        let exact = simulate(&trace, point.bytes);
        let error = (f64::from(point.misses_per_million) / 1e6 - exact).abs();
        println!("{kind} {exponent} {}: {} for {exact:.6}", point.bytes, point.misses_per_million);
        sum += error;
        most = most.max(error);
    }
    println!(
        "{kind} {exponent}: error {:.4} in the mean, {most:.4} at most",
        sum / points.len() as f64
    );
    (sum / points.len() as f64, most)
}

#[test]
#[cfg_attr(miri, ignore = "too long")]
fn the_curve_is_that_of_a_simulation() {
    // Fewer keys than the sample has, and many more.
    for (kind, exponent, keys, most_mean, most) in [
        (Kind::Lru, 0.8, 6_000, 0.002, 0.01),
        (Kind::Lru, 0.7, 100_000, 0.02, 0.05),
        (Kind::Adaptive, 0.9, 100_000, 0.02, 0.05),
        (Kind::Adaptive, 1.1, 200_000, 0.02, 0.05),
    ] {
        let (mean, worst) = errors(kind, exponent, keys, 200_000);
        assert!(mean < most_mean && worst < most, "{kind} {exponent}: {mean} {worst}");
    }
}
