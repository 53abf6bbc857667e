//! Streams of operations against a map that says what must be there, and against the `lru` crate, which says in which
//! order entries leave.

mod support;

use lru::LruCache;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use support::{Random, stamped};
use vmemcache::policy::Kind;
use vmemcache::{Builder, Cache, Cause, Listener, Put, Value};

/// Writes down what leaves.
#[derive(Default)]
struct Log(Mutex<Vec<Event>>);

/// Key, value and cause.
type Event = (Vec<u8>, Vec<u8>, Cause);

impl Listener for Log {
    fn on_evict(&self, key: &[u8], value: &Value<'_>, cause: Cause) {
        self.0.lock().unwrap().push((key.to_vec(), value.to_vec(), cause));
    }
}

const STEPS: u64 = if cfg!(miri) { 300 } else { 20_000 };

fn key(n: u64) -> Vec<u8> {
    let mut key = format!("key-{n}-").into_bytes();
    key.extend(std::iter::repeat_n(b'x', (n % 37) as usize));
    key
}

/// Runs a stream of operations; `order` is the oracle of exact LRU, if that is the policy.
fn run(seed: u64, builder: Builder, order: Option<LruCache<Vec<u8>, ()>>, longest: u64) {
    run_sized(seed, builder, order, longest, None);
}

/// The same with changes of the size within these bounds.
fn run_sized(
    seed: u64,
    builder: Builder,
    mut order: Option<LruCache<Vec<u8>, ()>>,
    longest: u64,
    sizes: Option<std::ops::Range<u64>>,
) {
    let log = Arc::new(Log::default());
    let cache = builder.listener(log.clone()).anonymous().unwrap();
    let mut model: HashMap<Vec<u8>, Vec<u8>> = HashMap::new();
    let mut random = Random::new(seed);
    for step in 0..STEPS {
        if let Some(sizes) = &sizes
            && random.below(200) == 0
        {
            let size = sizes.start + random.below(sizes.end - sizes.start);
            let resized = cache.resize(size as usize).unwrap();
            assert_eq!(resized.held, 0);
            assert_eq!(cache.stats().pool_bytes, resized.size as u64);
            settle(&log, &mut model, &mut order, None);
            cache.validate();
            for (key, value) in &model {
                assert!(cache.peek(key).expect("it has not left") == value[..]);
            }
        }
        let key = key(random.below(400));
        let len = match random.below(20) {
            0 => random.below(longest),
            1..5 => random.below(longest / 8),
            _ => random.below(longest / 64),
        };
        match random.below(16) {
            0..6 => {
                let value = stamped(step, len as usize);
                let put = cache.put(&key, &value).unwrap();
                settle(&log, &mut model, &mut order, Some(&key));
                let old = model.insert(key.clone(), value);
                assert_eq!(put == Put::Replaced, old.is_some());
                if let Some(order) = &mut order {
                    order.put(key, ());
                }
            }
            6 => {
                let value = stamped(step, len as usize);
                let stored = cache.put_if_absent(&key, &value).unwrap();
                settle(&log, &mut model, &mut order, None);
                assert_eq!(stored, !model.contains_key(&key));
                if stored {
                    model.insert(key.clone(), value);
                    if let Some(order) = &mut order {
                        order.put(key, ());
                    }
                }
            }
            7 => {
                let value = stamped(step, len as usize);
                let was = model.contains_key(&key);
                let stored = cache.replace(&key, &value).unwrap();
                settle(&log, &mut model, &mut order, Some(&key));
                assert_eq!(stored, was, "seed {seed} step {step}");
                if stored {
                    model.insert(key.clone(), value);
                    if let Some(order) = &mut order {
                        order.put(key, ());
                    }
                }
            }
            8..14 => {
                let found = cache.get(&key).map(|value| value.to_vec());
                assert_eq!(found.as_ref(), model.get(&key), "seed {seed} step {step}");
                if let Some(order) = &mut order {
                    order.get(&key);
                }
                let mut part = vec![0; random.below(300) as usize];
                let offset = random.below(400) as usize;
                let read = cache.read(&key, &mut part, offset);
                assert_eq!(read.map(|read| read.size), found.as_ref().map(Vec::len));
                if let (Some(read), Some(found)) = (read, found) {
                    let expected = found.get(offset..).unwrap_or(&[]);
                    assert_eq!(read.copied, expected.len().min(part.len()));
                    assert_eq!(part[..read.copied], expected[..read.copied]);
                }
            }
            14 => {
                assert_eq!(cache.remove(&key), model.contains_key(&key));
                if let Some(order) = &mut order {
                    order.pop(&key);
                }
                let gone = std::mem::take(&mut *log.0.lock().unwrap());
                let expected = model.remove(&key);
                assert_eq!(gone.len(), usize::from(expected.is_some()));
                for (gone_key, value, cause) in gone {
                    assert_eq!(
                        (gone_key, Some(value), cause),
                        (key.clone(), expected.clone(), Cause::Explicit)
                    );
                }
            }
            _ => {
                assert_eq!(cache.size_of(&key), model.get(&key).map(Vec::len));
                if random.below(40) == 0 {
                    cache.validate();
                }
                if random.below(400) == 0 {
                    cache.clear();
                    let gone = std::mem::take(&mut *log.0.lock().unwrap());
                    assert_eq!(gone.len(), model.len());
                    model.clear();
                    if let Some(order) = &mut order {
                        order.clear();
                    }
                    let stats = cache.stats();
                    assert_eq!((stats.used_bytes, stats.free_regions), (0, cache.shards() as u64));
                }
            }
        }
        assert_eq!(cache.len(), model.len(), "seed {seed} step {step}");
    }
    cache.validate();
    let stats = cache.stats();
    let payload: usize = model.iter().map(|(key, value)| key.len() + value.len()).sum();
    assert_eq!(stats.payload_bytes, payload as u64);
    assert_eq!(stats.inserted - stats.evicted(), stats.entries);
    assert!(stats.left(Cause::Capacity) > 0 || cfg!(miri), "the stream must evict");
    assert!(stats.left(Cause::Resized) > 0 || sizes.is_none() || cfg!(miri));
}

/// Takes what has left out of the model. `own`: a key whose old value may be replaced.
fn settle(
    log: &Log,
    model: &mut HashMap<Vec<u8>, Vec<u8>>,
    order: &mut Option<LruCache<Vec<u8>, ()>>,
    own: Option<&[u8]>,
) {
    for (key, value, cause) in std::mem::take(&mut *log.0.lock().unwrap()) {
        assert_eq!(model.get(&key), Some(&value), "what leaves is what was there");
        match cause {
            Cause::Replaced => assert_eq!(Some(&key[..]), own),
            Cause::Capacity | Cause::Resized => {
                if let Some(order) = order {
                    assert_eq!(
                        order.pop_lru().map(|(key, ())| key),
                        Some(key.clone()),
                        "LRU order"
                    );
                }
                model.remove(&key);
            }
            cause => panic!("{cause:?} from a put"),
        }
    }
}

#[test]
fn lru_is_exact() {
    for seed in 0..4 {
        run(
            seed,
            Cache::builder().size(256 << 10).policy(Kind::Lru),
            Some(LruCache::unbounded()),
            60_000,
        );
    }
}

#[test]
fn lru_with_extents() {
    let builder = Cache::builder().size(256 << 10).policy(Kind::Lru).extent_size(256);
    run(10, builder, Some(LruCache::unbounded()), 60_000);
}

#[test]
fn contiguous_values() {
    for seed in 20..22 {
        let builder = Cache::builder().size(256 << 10).policy(Kind::Lru).contiguous(true);
        run(seed, builder, Some(LruCache::unbounded()), 60_000);
    }
}

#[test]
fn every_policy_in_batches() {
    for (seed, &kind) in Kind::ALL.iter().enumerate() {
        run(
            30 + seed as u64,
            Cache::builder().size(256 << 10).policy(kind).exact_space(false),
            None,
            60_000,
        );
    }
}

#[test]
fn several_shards() {
    for (seed, &kind) in Kind::ALL.iter().enumerate() {
        run(
            50 + seed as u64,
            Cache::builder().size(512 << 10).policy(kind).shards(4),
            None,
            60_000,
        );
    }
}

#[test]
fn lru_is_exact_while_the_size_changes() {
    for seed in 70..73 {
        for builder in [Cache::builder(), Cache::builder().extent_size(256)] {
            run_sized(
                seed,
                builder.size(256 << 10).max_size(1 << 20).policy(Kind::Lru),
                Some(LruCache::unbounded()),
                60_000,
                Some(96 << 10..1 << 20),
            );
        }
        let contiguous = Cache::builder().contiguous(true).policy(Kind::Lru);
        run_sized(
            seed,
            contiguous.size(256 << 10).max_size(1 << 20),
            Some(LruCache::unbounded()),
            60_000,
            Some(96 << 10..1 << 20),
        );
    }
}

#[test]
fn every_policy_while_the_size_changes() {
    for (seed, &kind) in Kind::ALL.iter().enumerate() {
        for (shards, exact) in [(1, true), (2, false)] {
            run_sized(
                80 + seed as u64,
                Cache::builder()
                    .size(400 << 10)
                    .max_size(1 << 20)
                    .policy(kind)
                    .shards(shards)
                    .exact_space(exact),
                None,
                60_000,
                Some(256 << 10..1 << 20),
            );
        }
    }
}
