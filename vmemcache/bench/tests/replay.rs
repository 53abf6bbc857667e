//! The cache itself under loads.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use vmemcache::Cache;
use vmemcache::policy::Kind;
use vmemcache_bench::distribution::Sizes;
use vmemcache_bench::load::Load;
use vmemcache_bench::replay::replay;
use vmemcache_bench::simulate::simulate;

/// With one shard, one thread and values of one size, the cache hits as the simulation of its policy does, for as many
/// entries as it holds in the end.
#[test]
fn the_cache_hits_as_its_policy_alone() {
    let load: Load = "zipf:0.9:20000".parse().unwrap();
    let trace = load.requests(Some(200_000), 1, Some(&Sizes::Fixed(1016))).unwrap();
    for &kind in Kind::ALL {
        let builder = Cache::builder().size(2 << 20).policy(kind).shards(1);
        let cache = builder.anonymous().unwrap();
        let done = AtomicU64::new(0);
        let outcome = replay(&cache, &trace, 1, &done).unwrap();
        assert_eq!(done.load(Relaxed), 200_000);
        let stats = cache.stats();
        assert_eq!((stats.hits, stats.misses), (outcome.hits, outcome.gets - outcome.hits));
        let alone = simulate(&trace, kind, stats.entries * 1016, 1);
        let (real, alone) =
            (100.0 * outcome.hits as f64 / outcome.gets as f64, alone.hit_percent());
        assert!((real - alone).abs() < 0.5, "{kind}: {real:.2} % in the cache, {alone:.2} % alone");
    }
}

#[test]
fn threads_share_the_load() {
    let load: Load = "zipf:0.9:20000".parse().unwrap();
    let trace = load.requests(Some(100_000), 1, Some(&Sizes::Fixed(200))).unwrap();
    let cache = Cache::builder().size(1 << 20).anonymous().unwrap();
    let outcome = replay(&cache, &trace, 3, &AtomicU64::new(0)).unwrap();
    assert_eq!((outcome.gets, outcome.refused), (100_000, 0));
    assert!(outcome.hits > 20_000);
    assert!(!outcome.hit_latency.is_empty() && !outcome.miss_latency.is_empty());
    cache.validate();
}
