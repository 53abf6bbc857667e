//! What only the parts of a cache show: that a repeated hit takes no lock and stores nothing that other threads read, and which
//! shard a key is in.

use super::Cache;
use crate::builder::Replacement;
use crate::error::Error;
use crate::events::{Cause, Listener};
use crate::policy::Kind;
use crate::protect::BLOCKS;
use crate::read::Value;
use pmem_core::sys::{self, Protection};
use std::hint::black_box;
use std::ptr::{self, NonNull};
use std::sync::{Arc, Barrier, OnceLock, Weak, mpsc};
use std::thread;
use std::time::Duration;

/// Pool and tables of a cache: a store into them ends the process.
fn set_read_only(cache: &Cache, read_only: bool) {
    let protection = if read_only { Protection::Read } else { Protection::ReadWrite };
    let mut ranges: Vec<(NonNull<u8>, usize)> = {
        let source = &cache.pool.ground.source;
        vec![(source.base(), source.len())]
    };
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

/// Puts into the other one of two shards when it is told that a value was replaced.
struct IntoOther {
    cache: OnceLock<Weak<Cache>>,
    both: Barrier,
}

impl Listener for IntoOther {
    fn on_evict(&self, key: &[u8], _: &Value<'_>, cause: Cause) {
        assert_eq!(cause, Cause::Replaced);
        let cache = self.cache.get().and_then(Weak::upgrade).unwrap();
        self.both.wait();
        let error = cache.put(&key_in(&cache, 1 - shard_of(&cache, key), 1 << 32), &[7; 1000]);
        assert_eq!(error, Err(Error::Full { len: 1000 }));
    }
}

fn shard_of(cache: &Cache, key: &[u8]) -> usize {
    let shard = cache.locate(0, key).shard;
    cache.shards.iter().position(|one| ptr::eq(one, shard)).unwrap()
}

/// The first key from `start` on that is in this shard.
fn key_in(cache: &Cache, shard: usize, start: u64) -> [u8; 8] {
    let mut keys = (start..).map(u64::to_le_bytes);
    keys.find(|key| shard_of(cache, key) == shard).unwrap()
}

/// Two threads that tell of replaced values, each in one shard, put into the other's, where nothing can leave.
#[test]
fn who_tells_of_a_replaced_value_does_not_wait_for_another_who_does() {
    let listener = Arc::new(IntoOther { cache: OnceLock::new(), both: Barrier::new(2) });
    let builder = Cache::builder().size(128 << 10).shards(2).replacement(Replacement::None);
    let cache = Arc::new(builder.anonymous().unwrap());
    listener.cache.set(Arc::downgrade(&cache)).unwrap();
    let replaced = [0, 1].map(|shard| key_in(&cache, shard, 0));
    // Small enough for a second one in what is left.
    replaced.iter().for_each(|key| assert!(cache.put(key, b"old").is_ok()));
    for shard in [0, 1] {
        let mut next = 1000;
        while cache.put(&key_in(&cache, shard, next), &[7; 1000]).is_ok() {
            next = u64::from_le_bytes(key_in(&cache, shard, next)) + 1;
        }
        let state = cache.shards[shard].lock();
        assert!((3..100).contains(&state.heap.free_units()), "{} free", state.heap.free_units());
    }
    cache.set_listener(Some(listener));
    let (done, finished) = mpsc::channel();
    for key in replaced {
        let (cache, done) = (Arc::clone(&cache), done.clone());
        thread::spawn(move || {
            cache.put(&key, b"new").unwrap();
            done.send(()).unwrap();
        });
    }
    for _ in replaced {
        finished.recv_timeout(Duration::from_secs(10)).expect("a put waits for ever");
    }
    cache.validate();
}
