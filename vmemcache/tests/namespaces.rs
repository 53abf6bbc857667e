//! Namespaces: keys of their own, quotas, statistics, and what a warm file keeps of them.

mod support;

use lru::LruCache;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};
use support::{Random, check_stamped, stamped};
use vmemcache::policy::Kind;
use vmemcache::{Builder, Cache, Cause, Error, Listener, MIN_QUOTA, Namespace, Quota};
use vmemcache::{Replacement, Value};

const NAMES: [&str; 4] = ["", "a", "bb", "ccc"];
const STEPS: u64 = if cfg!(miri) { 300 } else { 30_000 };
/// Links between the pieces of one value, which may come on top of a quota.
const LINKS: u64 = 2 << 10;

fn builder(kind: Kind) -> Builder {
    Cache::builder()
        .size(512 << 10)
        .policy(kind)
        .namespace("a", Quota::Share(0.25))
        .namespace("bb", Quota::Bytes(100_000))
        .namespace("ccc", Quota::Bytes(50_000))
}

/// Namespace, key, value and cause of what leaves.
type Event = (String, Vec<u8>, Vec<u8>, Cause);

#[derive(Default)]
struct Log {
    left: Mutex<Vec<Event>>,
    missed: Mutex<Vec<(String, Vec<u8>)>>,
}

impl Listener for Log {
    fn on_evict_in(&self, namespace: &str, key: &[u8], value: &Value<'_>, cause: Cause) {
        let event = (namespace.to_owned(), key.to_vec(), value.to_vec(), cause);
        self.left.lock().unwrap().push(event);
    }

    fn on_miss_in(&self, namespace: &str, key: &[u8]) {
        self.missed.lock().unwrap().push((namespace.to_owned(), key.to_vec()));
    }
}

/// What a namespace must hold, and the order in which it leaves if that is known.
#[derive(Default)]
struct Oracle {
    values: HashMap<Vec<u8>, Vec<u8>>,
    order: Option<LruCache<Vec<u8>, ()>>,
    quota_evictions: u64,
    hits: u64,
    misses: u64,
}

impl Oracle {
    fn payload(&self) -> u64 {
        self.values.iter().map(|(key, value)| (key.len() + value.len()) as u64).sum()
    }
}

/// Takes what has left out of the oracles. `own`: namespace and key of a put.
fn settle(log: &Log, oracles: &mut [Oracle], own: Option<(usize, &[u8])>) {
    for (name, key, value, cause) in std::mem::take(&mut *log.left.lock().unwrap()) {
        let at = NAMES.iter().position(|&n| n == name).unwrap();
        let oracle = &mut oracles[at];
        assert_eq!(oracle.values.get(&key), Some(&value), "what leaves is what was there");
        match cause {
            Cause::Replaced => {
                assert_eq!(own, Some((at, &key[..])));
                continue;
            }
            Cause::Quota => {
                assert!(at > 0, "the one without a name has no quota to keep");
                assert_eq!(own.map(|own| own.0), Some(at), "a put makes its own namespace give");
                oracle.quota_evictions += 1;
            }
            Cause::Capacity => {}
            cause => panic!("{cause:?} from a put"),
        }
        if let Some(order) = &mut oracle.order {
            assert_eq!(order.pop_lru().map(|(key, ())| key), Some(key.clone()), "LRU order");
        }
        oracle.values.remove(&key);
    }
}

fn run(seed: u64, builder: Builder, exact: bool) {
    let log = Arc::new(Log::default());
    let cache = builder.listener(log.clone()).anonymous().unwrap();
    let spaces: Vec<Namespace<'_>> = NAMES.map(|n| cache.namespace(n).unwrap()).to_vec();
    let mut oracles: Vec<Oracle> = NAMES
        .iter()
        .map(|_| Oracle { order: exact.then(LruCache::unbounded), ..Oracle::default() })
        .collect();
    let mut random = Random::new(seed);
    for step in 0..STEPS {
        let at = random.below(4) as usize;
        let space = spaces[at];
        // The same keys everywhere.
        let key = format!("key-{}", random.below(300)).into_bytes();
        let longest = 20_000 / cache.shards() as u64;
        let len = if random.below(8) == 0 { random.below(longest) } else { random.below(800) };
        let context = format!("seed {seed} step {step} namespace {at}");
        match random.below(16) {
            0..7 => {
                let value = stamped(step, len as usize);
                let stored = match random.below(4) {
                    0 => space.put_if_absent(&key, &value).unwrap(),
                    1 => space.replace(&key, &value).unwrap(),
                    _ => space.put(&key, &value).map(|_| true).unwrap(),
                };
                settle(&log, &mut oracles, Some((at, &key)));
                if stored {
                    oracles[at].values.insert(key.clone(), value);
                    if let Some(order) = &mut oracles[at].order {
                        order.put(key, ());
                    }
                }
            }
            7..13 => {
                let found = space.get(&key).map(|value| value.to_vec());
                let oracle = &mut oracles[at];
                assert_eq!(found.as_ref(), oracle.values.get(&key), "{context}");
                assert_eq!(space.size_of(&key), found.as_ref().map(Vec::len));
                if let Some(order) = &mut oracle.order {
                    order.get(&key);
                }
                let missed = std::mem::take(&mut *log.missed.lock().unwrap());
                if found.is_some() {
                    assert!(missed.is_empty());
                    oracle.hits += 1;
                } else {
                    assert_eq!(missed, [(NAMES[at].to_owned(), key)]);
                    oracle.misses += 1;
                }
            }
            13 => {
                assert_eq!(space.remove(&key), oracles[at].values.remove(&key).is_some());
                if let Some(order) = &mut oracles[at].order {
                    order.pop(&key);
                }
                log.left.lock().unwrap().clear();
            }
            14 if random.below(100) == 0 => {
                space.clear();
                let gone = std::mem::take(&mut *log.left.lock().unwrap());
                assert_eq!(gone.len(), oracles[at].values.len());
                oracles[at].values.clear();
                if let Some(order) = &mut oracles[at].order {
                    order.clear();
                }
            }
            14 => {
                let first = space.iter().next().map(|value| value.key().to_vec());
                assert_eq!(first.is_some(), !oracles[at].values.is_empty());
                assert!(first.is_none_or(|key| oracles[at].values.contains_key(&key)));
            }
            _ if random.below(40) == 0 => cache.validate(),
            _ => {}
        }
        let stats = space.stats();
        assert_eq!((space.len(), stats.entries), (oracles[at].values.len(), space.len() as u64));
        assert_eq!(stats.payload_bytes, oracles[at].payload(), "{context}");
        if at > 0 {
            assert!(stats.used_bytes <= space.quota() + LINKS, "{context}: {stats:?}");
        }
    }
    cache.validate();
    let total = cache.stats();
    let mut sum = 0;
    for (at, space) in spaces.iter().enumerate() {
        let (stats, oracle) = (space.stats(), &oracles[at]);
        assert_eq!(stats.left(Cause::Quota), oracle.quota_evictions);
        assert!(cfg!(miri) || (oracle.quota_evictions > 0) == (at > 0), "namespace {at}");
        assert_eq!((stats.hits, stats.misses), (oracle.hits, oracle.misses));
        assert_eq!(stats.inserted - stats.evicted(), stats.entries);
        for (key, value) in &oracle.values {
            assert_eq!(space.peek(key).unwrap().to_vec(), *value);
        }
        assert_eq!(space.iter().count(), oracle.values.len());
        sum += stats.used_bytes;
    }
    assert_eq!(total.used_bytes, sum);
    assert_eq!(total.hits, oracles.iter().map(|oracle| oracle.hits).sum::<u64>());
    assert_eq!(cache.len(), oracles.iter().map(|oracle| oracle.values.len()).sum::<usize>());
}

#[test]
fn exact_orders() {
    for seed in 0..3 {
        run(seed, builder(Kind::Lru), true);
    }
    run(3, builder(Kind::Lru).extent_size(256), true);
    run(4, builder(Kind::Lru).contiguous(true), true);
}

#[test]
fn every_policy_and_shards() {
    for (seed, &kind) in Kind::ALL.iter().enumerate() {
        run(10 + seed as u64, builder(kind).exact_space(false), false);
        run(30 + seed as u64, builder(kind).shards(2), false);
    }
}

/// Others cannot drive out what is within its quota, and the unnamed one gives back what it borrowed.
#[test]
fn quotas_are_kept_free_from_others() {
    for exact in [true, false] {
        let cache = Cache::builder()
            .size(1 << 20)
            .exact_space(exact)
            .namespace("a", Quota::Share(0.5))
            .namespace("b", Quota::Share(0.25))
            .anonymous()
            .unwrap();
        let [a, b] = ["a", "b"].map(|name| cache.namespace(name).unwrap());
        let value = [7; 400];
        for key in 0..10_000u32 {
            cache.put(&key.to_le_bytes(), &value).unwrap();
        }
        let unnamed = cache.namespace("").unwrap();
        assert!(unnamed.stats().used_bytes > 1_000_000, "it borrows what nobody uses");
        for key in 0..1000u32 {
            a.put(&key.to_le_bytes(), &value).unwrap();
        }
        for key in 0..10_000u32 {
            b.put(&key.to_le_bytes(), &value).unwrap();
            cache.put(&key.to_le_bytes(), &value).unwrap();
        }
        assert_eq!(a.len(), 1000, "{exact}: within its quota");
        assert_eq!((a.stats().evicted(), b.stats().left(Cause::Capacity)), (0, 0), "{exact}");
        let used = b.stats().used_bytes;
        assert!(used <= b.quota() && used > b.quota() - 1000, "{used} of {}", b.quota());
        assert!(unnamed.stats().used_bytes + 1000 > unnamed.quota());
        assert!(unnamed.evict_next() && a.evict_next());
        assert_eq!(a.stats().left(Cause::Explicit), 1);
        a.clear();
        assert!(a.is_empty() && !b.is_empty() && !unnamed.is_empty());
        cache.validate();
        cache.clear();
        assert!(cache.is_empty());
    }
}

/// Removes the same key of the namespace without a name when one of another leaves.
#[derive(Default)]
struct Remover(std::sync::OnceLock<std::sync::Weak<Cache>>);

impl Listener for Remover {
    fn on_evict_in(&self, namespace: &str, key: &[u8], _: &Value<'_>, cause: Cause) {
        if cause == Cause::Capacity {
            assert_eq!((namespace, key), ("a", &b"key"[..]));
            assert!(self.0.get().unwrap().upgrade().unwrap().remove(key));
        }
    }
}

#[test]
fn an_equal_key_that_leaves_is_not_what_is_replaced() {
    let remover = Arc::new(Remover::default());
    let builder = Cache::builder().size(128 << 10).shards(1).policy(Kind::Lru);
    let builder = builder.namespace("a", Quota::Share(0.5)).listener(remover.clone());
    let cache = Arc::new(builder.anonymous().unwrap());
    remover.0.set(Arc::downgrade(&cache)).unwrap();
    cache.put(b"key", &[1; 30_000]).unwrap();
    cache.namespace("a").unwrap().put(b"key", &[2; 60_000]).unwrap();
    assert!(!cache.replace(b"key", &[3; 50_000]).unwrap(), "it is gone by then");
    assert!(cache.is_empty());
    cache.validate();
}

/// A cache whose quotas are all of it works to the last byte.
#[test]
fn the_whole_cache_is_named() {
    let cache = Cache::builder()
        .size(256 << 10)
        .namespace("a", Quota::Share(0.5))
        .namespace("b", Quota::Share(0.5))
        .anonymous()
        .unwrap();
    let unnamed = cache.namespace("").unwrap();
    assert_eq!(unnamed.quota(), 0);
    for key in 0..3000u32 {
        for space in cache.namespaces() {
            space.put(&key.to_le_bytes(), &[1; 200]).unwrap();
            assert!(space.contains(&key.to_le_bytes()));
        }
    }
    cache.validate();
    for name in ["a", "b"] {
        let stats = cache.namespace(name).unwrap().stats();
        assert!(stats.used_bytes > stats.pool_bytes * 9 / 10, "{stats:?}");
    }
}

#[test]
fn values_larger_than_the_quota() {
    let cache = builder(Kind::Lru).anonymous().unwrap();
    let space = cache.namespace("ccc").unwrap();
    let most = space.max_value_len(3) as usize;
    assert!(most < 50_000 && most > 49_000, "{most}");
    space.put(b"key", &vec![1; most]).unwrap();
    space.put(b"kez", &vec![1; most]).unwrap();
    assert_eq!((space.len(), space.stats().left(Cause::Quota)), (1, 1));
    // A header without a time of expiry is 8 bytes shorter, and rounding may give 7 more.
    let error = space.put(b"kez", &vec![1; most + 16]).unwrap_err();
    assert_eq!(error, Error::ValueTooLarge { len: most as u64 + 16, most: most as u64 });
    assert_eq!(space.len(), 1, "nothing left for it");
    // With pins: what readers hold does not count.
    let held = space.get(b"kez").unwrap();
    space.put(b"key", &vec![2; most]).unwrap();
    assert_eq!((held.to_vec(), space.len()), (vec![1; most], 1));
    drop(held);
    cache.validate();
}

#[test]
fn without_replacement_a_full_namespace_is_an_error() {
    let cache = Cache::builder()
        .size(256 << 10)
        .replacement(Replacement::None)
        .namespace("a", Quota::Bytes(10_000))
        .anonymous()
        .unwrap();
    let space = cache.namespace("a").unwrap();
    let mut stored = 0u32;
    let error = loop {
        match space.put(&stored.to_le_bytes(), &[1; 500]) {
            Ok(_) => stored += 1,
            Err(error) => break error,
        }
    };
    assert_eq!((error, stored), (Error::Full { len: 500 }, 19));
    cache.put(b"others", &[1; 100_000]).unwrap();
    assert!(space.remove(&3u32.to_le_bytes()));
    space.put(b"key", &[1; 500]).unwrap();
    cache.validate();
}

#[test]
fn times_and_single_flight_are_apart() {
    let cache = builder(Kind::Adaptive).anonymous().unwrap();
    let [a, b] = ["a", "bb"].map(|name| cache.namespace(name).unwrap());
    for space in [a, b] {
        space.put_with_ttl(b"key", b"1", Duration::ZERO).unwrap();
    }
    assert_eq!((a.remove_expired(), a.len(), b.len()), (1, 0, 1));
    // A value may be computed from that of the same key elsewhere.
    let value = a.get_or_insert_with(b"key", || {
        let inner = b.get_or_insert_with(b"key", || Ok::<_, Error>(b"inner".to_vec()))?;
        Ok::<_, Error>(inner.unwrap().to_vec())
    });
    assert_eq!(value.unwrap().unwrap().to_vec(), b"inner");
    let both = a.get_many(&[&b"key"[..], b"other"]);
    assert!(both[0].is_some() && both[1].is_none());
    let mut buffer = [0; 3];
    assert_eq!(b.read(b"key", &mut buffer, 1).unwrap().copied, 3);
    assert_eq!(&buffer, b"nne");
    assert!(!cache.contains(b"key"), "nor without a namespace");
}

#[test]
fn wrong_settings_are_named() {
    let wrong = |builder: Builder, name: &str, says: &str| {
        let error = builder.anonymous().unwrap_err();
        assert!(matches!(&error, Error::Namespace { name: n, .. } if n == name), "{error}");
        assert!(error.to_string().contains(says), "{error}");
        assert_eq!(error.errno(), libc::EINVAL);
    };
    let plain = || Cache::builder().size(1 << 20);
    let least = Quota::Bytes(MIN_QUOTA);
    wrong(plain().namespace("", least), "", "give a name");
    wrong(plain().namespace("a", least).namespace("a", least), "a", "add it once");
    for share in [0.0, -1.0, 1.01, f64::NAN, f64::INFINITY] {
        wrong(plain().namespace("a", Quota::Share(share)), "a", "not above 0 and up to 1");
    }
    wrong(plain().namespace("a", Quota::Bytes(MIN_QUOTA - 1)), "a", "too small");
    wrong(plain().shards(2).namespace("a", Quota::Bytes(2 * MIN_QUOTA - 1)), "a", "too small");
    wrong(plain().extent_size(8192).namespace("a", least), "a", "too small");
    wrong(plain().namespace("a", Quota::Bytes(usize::MAX)), "a", "larger than the cache");
    let two = plain().namespace("a", Quota::Share(0.6)).namespace("b", Quota::Share(0.5));
    wrong(two, "b", "larger than the cache");
    let cache = plain().namespace("a", least).anonymous().unwrap();
    assert!(cache.namespace("b").is_none());
    assert_eq!(cache.namespaces().map(|space| space.name()).collect::<Vec<_>>(), ["", "a"]);
}

/// Threads that put, get and remove the same keys in all namespaces: no value of another one, and quotas hold.
#[test]
fn threads_in_all_namespaces() {
    const STEPS: u64 = if cfg!(miri) { 50 } else { 20_000 };
    for exact in [true, false] {
        let cache = builder(Kind::Adaptive).exact_space(exact);
        let cache = cache.listener(Arc::new(Log::default())).anonymous().unwrap();
        let spaces: Vec<Namespace<'_>> = cache.namespaces().collect();
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let writers: Vec<_> = (0..4)
                .map(|seed| {
                    let spaces = &spaces;
                    scope.spawn(move || {
                        let mut random = Random::new(seed);
                        for _ in 0..STEPS {
                            let (at, key) = (random.below(4), random.below(200).to_le_bytes());
                            let space = spaces[at as usize];
                            match random.below(8) {
                                0 => drop(space.remove(&key)),
                                1..4 => {
                                    if let Some(value) = space.get(&key) {
                                        assert_eq!(check_stamped(&value.to_cow()) % 4, at);
                                    }
                                }
                                _ => {
                                    // Some are copied without the lock.
                                    let long = random.below(40) == 0;
                                    let len = 8 + random.below(if long { 20_000 } else { 600 });
                                    let value = stamped(random.next() / 4 * 4 + at, len as usize);
                                    space.put(&key, &value).unwrap();
                                }
                            }
                        }
                    })
                })
                .collect();
            let (spaces, stop) = (&spaces, &stop);
            scope.spawn(move || {
                while !stop.load(Relaxed) {
                    for space in &spaces[1..] {
                        let used = space.stats().used_bytes;
                        assert!(used <= space.quota() + 4 * LINKS, "{used} in {}", space.name());
                    }
                    thread::yield_now();
                }
            });
            let ends: Vec<_> = writers.into_iter().map(thread::ScopedJoinHandle::join).collect();
            stop.store(true, Relaxed);
            ends.into_iter().for_each(|end| end.unwrap());
        });
        cache.validate();
        assert!(cfg!(miri) || spaces[1..].iter().all(|s| s.stats().left(Cause::Quota) > 0));
    }
}

/// A file that goes when the test ends.
struct TestFile(PathBuf);

impl TestFile {
    fn new(name: &str) -> TestFile {
        let name = format!("vmemcache-spaces-{name}-{}", std::process::id());
        let path = PathBuf::from("/dev/shm").join(name);
        let _ = std::fs::remove_file(&path);
        TestFile(path)
    }

    /// A child of another test may hold a copy of the descriptor for a moment.
    fn open(&self, builder: &Builder) -> Cache {
        let start = Instant::now();
        loop {
            match builder.warm_file(&self.0) {
                Err(error)
                    if error.errno() == libc::EWOULDBLOCK && start.elapsed().as_secs() < 10 =>
                {
                    thread::sleep(Duration::from_millis(1));
                }
                result => return result.unwrap(),
            }
        }
    }
}

impl Drop for TestFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

type Image = Vec<HashMap<Vec<u8>, Vec<u8>>>;

fn image(cache: &Cache) -> Image {
    let read = |value: Value<'_>| (value.key().to_vec(), value.to_vec());
    cache.namespaces().map(|space| space.iter().map(read).collect()).collect()
}

fn fill(cache: &Cache, seed: u64) {
    let mut random = Random::new(seed);
    for _ in 0..4000 {
        let spaces = cache.namespaces().count() as u64;
        let space = cache.namespaces().nth(random.below(spaces) as usize).unwrap();
        let key = random.below(300).to_le_bytes();
        if random.below(10) == 0 {
            space.remove(&key);
        } else {
            let long = random.below(20) == 0;
            let len = random.below(if long { 18_000 } else { 800 });
            space.put(&key, &stamped(random.next(), 8 + len as usize)).unwrap();
        }
    }
}

#[test]
fn entries_keep_their_namespace() {
    for shards in [1, 2] {
        let file = TestFile::new(&format!("keep{shards}"));
        let builder = builder(Kind::Lru).shards(shards);
        let mut expected: Image = vec![HashMap::new(); 4];
        for round in 0..4 {
            let cache = file.open(&builder);
            cache.validate();
            assert!(image(&cache) == expected, "{shards} shards, round {round}");
            assert_eq!(cache.stats().left(Cause::Damaged), 0);
            fill(&cache, round);
            expected = image(&cache);
            assert!(expected.iter().all(|entries| entries.len() > 10) && cache.stats().chained > 0);
        }
        // In another order, with other quotas.
        let moved = Cache::builder()
            .policy(Kind::Lru)
            .namespace("ccc", Quota::Share(0.2))
            .namespace("bb", Quota::Share(0.3))
            .namespace("a", Quota::Share(0.3));
        let cache = file.open(&moved);
        cache.validate();
        let found = image(&cache);
        for (at, other) in [(0, 0), (1, 3), (2, 2), (3, 1)] {
            assert!(found[at] == expected[other], "{at}");
        }
    }
}

#[test]
fn namespaces_that_are_gone_do_not_come_back() {
    let file = TestFile::new("gone");
    let cache = file.open(&builder(Kind::Lru));
    fill(&cache, 1);
    let expected = image(&cache);
    drop(cache);
    // Without "a", and with a name that was never there.
    let fewer = Cache::builder()
        .policy(Kind::Lru)
        .namespace("bb", Quota::Bytes(100_000))
        .namespace("new", Quota::Bytes(100_000));
    let cache = file.open(&fewer);
    cache.validate();
    let found = image(&cache);
    assert!(found[0] == expected[0] && found[1] == expected[2] && found[2].is_empty());
    assert_eq!(cache.stats().left(Cause::Damaged), 0);
    let used: u64 = cache.namespaces().map(|space| space.stats().used_bytes).sum();
    let stats = cache.stats();
    assert!(stats.used_bytes == used && stats.free_bytes > 100_000, "its space is free");
    drop(cache);
    let cache = file.open(&builder(Kind::Lru));
    cache.validate();
    let found = image(&cache);
    assert!(found[0] == expected[0] && found[2] == expected[2]);
    assert!(found[1].is_empty() && found[3].is_empty());
    drop(cache);
    // Files of caches without namespaces are no other format.
    let plain = file.open(&Cache::builder().policy(Kind::Lru));
    assert!(image(&plain) == expected[..1]);
}

#[test]
fn a_smaller_quota_holds_after_a_restart() {
    let file = TestFile::new("smaller");
    let cache = file.open(&builder(Kind::Lru));
    fill(&cache, 2);
    let expected = image(&cache);
    drop(cache);
    let smaller = Cache::builder().policy(Kind::Lru).namespace("a", Quota::Bytes(20_000));
    let cache = file.open(&smaller);
    cache.validate();
    let found = image(&cache);
    assert!(found[0] == expected[0] && !found[1].is_empty());
    assert!(found[1].len() < expected[1].len());
    assert!(found[1].iter().all(|(key, value)| expected[1].get(key) == Some(value)));
    let space = cache.namespace("a").unwrap();
    assert!(space.stats().used_bytes <= space.quota());
    drop(cache);
    // What was dropped is dropped for good.
    let cache = file.open(&builder(Kind::Lru));
    assert!(image(&cache)[1] == found[1]);
}

/// Without the names of the file, numbers may mean other namespaces: what was another's is damaged.
#[test]
fn lost_names_move_nothing() {
    let file = TestFile::new("names");
    let cache = file.open(&builder(Kind::Lru));
    fill(&cache, 5);
    let expected = image(&cache);
    drop(cache);
    let mut bytes = std::fs::read(&file.0).unwrap();
    assert_eq!(&bytes[64..66], b"\x01a", "the first name");
    bytes[65] ^= 1;
    std::fs::write(&file.0, &bytes).unwrap();
    let other_order = Cache::builder()
        .policy(Kind::Lru)
        .namespace("ccc", Quota::Share(0.3))
        .namespace("bb", Quota::Share(0.3))
        .namespace("a", Quota::Share(0.3));
    let cache = file.open(&other_order);
    cache.validate();
    for key in (0..300u64).map(u64::to_le_bytes) {
        assert!(cache.namespace("a").unwrap().get(&key).is_none());
        assert!(cache.namespace("ccc").unwrap().get(&key).is_none());
    }
    let found = image(&cache);
    assert!(found[0] == expected[0] && found[2] == expected[2]);
    assert!(cache.stats().left(Cause::Damaged) > 10);
    cache.validate();
}

/// The first page has room for so many names, and each keeps its number.
#[test]
fn too_many_names_for_a_file() {
    let file = TestFile::new("many");
    let name = |at: u32| format!("{at:0200}");
    let mut opened = 0;
    let error = loop {
        let builder = Cache::builder().size(1 << 20).namespace(&name(opened), Quota::Share(0.5));
        match builder.warm_file(&file.0) {
            Ok(cache) => {
                let space = cache.namespace(&name(opened)).unwrap();
                assert!(space.is_empty());
                space.put(b"key", name(opened).as_bytes()).unwrap();
                opened += 1;
            }
            Err(error) if error.errno() == libc::EWOULDBLOCK => thread::yield_now(),
            Err(error) => break error,
        }
    };
    assert!(matches!(&error, Error::Namespace { name: n, .. } if *n == name(opened)), "{error}");
    assert_eq!(opened, 19, "of 205 bytes each");
    let last = Cache::builder().namespace(&name(opened - 1), Quota::Share(0.5));
    let cache = file.open(&last);
    let space = cache.namespace(&name(opened - 1)).unwrap();
    assert_eq!(space.get(b"key").unwrap().to_vec(), name(opened - 1).as_bytes());
    drop(cache);
    let long = Cache::builder().namespace(&"x".repeat(256), Quota::Share(0.5));
    assert!(long.warm_file(&file.0).unwrap_err().to_string().contains("too long"));
}

/// No damage moves an entry to another namespace.
#[test]
fn damage_moves_nothing() {
    let file = TestFile::new("damage");
    let cache = file.open(&builder(Kind::Lru));
    fill(&cache, 3);
    let expected = image(&cache);
    drop(cache);
    let bytes = std::fs::read(&file.0).unwrap();
    let mut random = Random::new(4);
    let (mut lost, mut kept) = (0, 0);
    for round in 0..100 {
        let mut damaged = bytes.clone();
        for _ in 0..1 + random.below(100) {
            let at = 4096 + random.below(damaged.len() as u64 - 4096) as usize;
            damaged[at] ^= 1 << random.below(8);
        }
        std::fs::write(&file.0, &damaged).unwrap();
        let cache = file.open(&builder(Kind::Lru));
        cache.validate();
        for (space, expected) in cache.namespaces().zip(&expected) {
            let mut here = 0;
            for value in space.iter() {
                assert!(expected.get(value.key()) == Some(&value.to_vec()), "round {round}");
                here += 1;
            }
            kept += here;
            lost += expected.len() - here;
        }
    }
    assert!(lost > 100 && kept > 10 * lost, "{lost} lost, {kept} kept");
}

#[test]
fn the_longest_value_can_be_stored() {
    for extent in [1, 100, 4096, 20_000] {
        let builder = Cache::builder().size(100_000).extent_size(extent);
        let builder = builder.namespace("part", Quota::Bytes(50_001));
        let cache = builder.shards(1).anonymous().unwrap();
        let part = cache.namespace("part").unwrap();
        let value = vec![7; 200_000];
        let longest = part.max_value_len(3) as usize;
        let in_part = |len: usize| part.put(b"key", &value[..len]);
        assert!(in_part(longest).is_ok(), "{longest} bytes, extents of {extent}");
        part.clear();
        let longest = cache.max_value_len(3) as usize;
        let in_all = |len: usize| cache.put(b"key", &value[..len]);
        assert!(in_all(longest).is_ok(), "{longest} bytes, extents of {extent}");
        let error = in_all(longest + 16).unwrap_err();
        assert!(matches!(error, vmemcache::Error::ValueTooLarge { .. }), "{error}");
    }
}
