//! A repeated hit takes no lock and stores nothing that other threads read.

use super::Cache;
use crate::policy::Kind;
use crate::protect::BLOCKS;
use pmem_core::sys::{self, Protection};
use std::hint::black_box;
use std::ptr::NonNull;
use std::thread;

/// Pool and tables of a cache: a store into them ends the process.
fn set_read_only(cache: &Cache, read_only: bool) {
    let protection = if read_only { Protection::Read } else { Protection::ReadWrite };
    let mut ranges: Vec<(NonNull<u8>, usize)> = vec![(cache.source.base(), cache.source.len())];
    for space in cache.shards.iter().flat_map(|shard| &shard.spaces) {
        ranges.extend(space.index.ranges());
        ranges.push(space.slab.range());
    }
    for (start, len) in ranges {
        // SAFETY: mapped by the cache; nobody stores there meanwhile, which is what the test is about.
        unsafe { sys::protect(start, len, protection) }.unwrap();
    }
}

#[test]
#[cfg_attr(miri, ignore = "protects memory")]
fn repeated_hits_store_nothing_and_take_no_lock() {
    const KEYS: u32 = 300;
    const THREADS: usize = 64;
    const { assert!(THREADS < BLOCKS) };
    for kind in [Kind::Adaptive, Kind::S3Fifo, Kind::Sieve, Kind::Clock, Kind::Fifo] {
        for (shards, measured) in [(1, false), (4, false), (4, true)] {
            let cache = Cache::builder().size(1 << 20).policy(kind).shards(shards);
            let cache = cache.latencies(measured);
            let cache = cache.in_directory("/dev/shm").unwrap();
            for key in 0..KEYS {
                cache.put(&key.to_le_bytes(), &[key as u8; 500]).unwrap();
            }
            let hits = |times: usize| {
                let mut buffer = [0; 500];
                for key in (0..KEYS).cycle().take(KEYS as usize * times) {
                    let bytes = key.to_le_bytes();
                    assert_eq!(cache.get(&bytes).unwrap().as_slice().unwrap()[7], key as u8);
                    black_box(cache.read(&bytes, &mut buffer, 0).unwrap());
                    assert!(cache.contains(&bytes));
                }
            };
            // Until all marks are at their highest.
            hits(200);
            let locks: Vec<_> = cache.shards.iter().map(|shard| shard.lock()).collect();
            set_read_only(&cache, true);
            thread::scope(|scope| {
                for _ in 0..THREADS {
                    scope.spawn(|| hits(5));
                }
            });
            set_read_only(&cache, false);
            drop(locks);
            let expected = u64::from(KEYS) * 2 * (200 + 5 * THREADS as u64);
            assert_eq!(cache.stats().hits, expected, "and all are counted");
            let timed = cache.stats().latencies.map(|latencies| latencies.get.count);
            assert_eq!(timed, measured.then_some(expected));
        }
    }
}
