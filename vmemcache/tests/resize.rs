//! Caches that become smaller and larger: what leaves, what stays, where the memory goes.

mod support;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::*};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::thread;
use std::time::Instant;
use support::{Random, check_stamped, stamped};
use vmemcache::policy::Kind;
use vmemcache::{Builder, Cache, Cause, Error, Listener, OpenMode, Quota, Replacement, Value};

const MIB: usize = 1 << 20;

/// What has left, in this order.
#[derive(Default)]
struct Left(Mutex<Vec<(u64, Cause)>>);

impl Listener for Left {
    fn on_evict(&self, key: &[u8], value: &Value<'_>, cause: Cause) {
        check_stamped(&value.to_cow());
        self.0.lock().unwrap().push((u64::from_le_bytes(key.try_into().unwrap()), cause));
    }
}

fn fill(cache: &Cache, keys: std::ops::Range<u64>, len: usize) {
    for key in keys {
        cache.put(&key.to_le_bytes(), &stamped(key, len)).unwrap();
    }
}

/// Every entry there is has the value that its key had.
fn check(cache: &Cache) -> Vec<u64> {
    cache.validate();
    let mut keys: Vec<u64> = vec![];
    for value in cache {
        let key = u64::from_le_bytes(value.key().try_into().unwrap());
        assert_eq!(check_stamped(&value.to_cow()), key);
        keys.push(key);
    }
    keys.sort_unstable();
    keys
}

#[test]
fn the_oldest_leave_and_the_others_are_moved() {
    for exact in [true, false] {
        let left = Arc::new(Left::default());
        let builder = Cache::builder().size(MIB).max_size(4 * MIB).policy(Kind::Lru);
        let cache = builder.exact_space(exact).listener(left.clone()).anonymous().unwrap();
        fill(&cache, 0..900, 1000);
        assert_eq!(cache.resize(300 << 10).unwrap().held, 0);
        let gone = std::mem::take(&mut *left.0.lock().unwrap());
        let count = gone.len() as u64;
        assert!((595..625).contains(&count), "{count} of 900 left");
        let expected: Vec<_> = (0..count).map(|key| (key, Cause::Resized)).collect();
        assert_eq!(gone, expected, "in the order of the policy");
        assert_eq!(check(&cache), (count..900).collect::<Vec<_>>());
        let stats = cache.stats();
        assert_eq!((stats.left(Cause::Resized), stats.pool_bytes), (count, 300 << 10));

        cache.resize(4 * MIB).unwrap();
        assert_eq!(cache.stats().pool_bytes, 4 << 20);
        fill(&cache, 1000..4500, 1000);
        assert_eq!(check(&cache).len() as u64, 900 - count + 3500, "all of it is used");
        assert!(left.0.lock().unwrap().is_empty());
    }
}

#[test]
fn a_cache_without_a_maximum_shrinks_and_comes_back() {
    let cache = Cache::builder().size(MIB).anonymous().unwrap();
    fill(&cache, 0..500, 1000);
    cache.resize(MIB / 2).unwrap();
    let left = check(&cache).len();
    assert!((400..520).contains(&left), "{left}");
    cache.resize(MIB).unwrap();
    fill(&cache, 1000..1400, 1000);
    assert!(check(&cache).len() > 850);
}

#[test]
fn what_cannot_be_is_refused_and_changes_nothing() {
    let builder = Cache::builder().size(MIB).max_size(2 * MIB).shards(2);
    let cache = builder.clone().namespace("a", Quota::Bytes(MIB / 2)).anonymous().unwrap();
    fill(&cache, 0..300, 1000);
    let refused = |size: usize| {
        let error = cache.resize(size).unwrap_err();
        assert_eq!(cache.stats().pool_bytes, MIB as u64);
        error
    };
    assert_eq!(refused(3 * MIB), Error::Maximum { size: 3 * MIB, most: 2 * MIB });
    assert_eq!(refused(3 * MIB).errno(), libc::EINVAL);
    assert!(matches!(refused(1000), Error::Size { size: 1000 }));
    assert!(matches!(refused(100 << 10), Error::Shards { shards: 2, .. }));
    assert!(matches!(refused(300 << 10), Error::Namespace { .. }));
    assert_eq!(check(&cache).len(), 300);
    let smaller = builder.max_size(MIB / 2).anonymous().unwrap_err();
    assert!(matches!(smaller, Error::Maximum { .. }), "{smaller}");

    let large = Cache::builder().size(MIB).extent_size(200_000).anonymous().unwrap();
    assert!(matches!(large.resize(128 << 10), Err(Error::Extent { .. })));

    let mut memory = vec![0u128; MIB / 16 + 256];
    let start = memory.as_mut_ptr().cast::<u8>();
    let start = start.map_addr(|at| at.next_multiple_of(4096));
    let region = NonNull::slice_from_raw_parts(NonNull::new(start).unwrap(), MIB);
    // SAFETY: the memory outlives the cache.
    let cache = unsafe { Cache::builder().in_region(region) }.unwrap();
    let error = cache.resize(MIB / 2).unwrap_err();
    assert!(matches!(error, Error::Fixed { .. }), "{error}");
    assert_eq!(error.errno(), libc::EOPNOTSUPP);
}

#[test]
fn without_replacement_only_free_space_goes() {
    let builder = Cache::builder().size(MIB).replacement(Replacement::None);
    let cache = builder.anonymous().unwrap();
    fill(&cache, 0..900, 1000);
    (0..900).step_by(2).for_each(|key: u64| assert!(cache.remove(&key.to_le_bytes())));
    let error = cache.resize(MIB / 4).unwrap_err();
    assert_eq!((error.errno(), cache.stats().pool_bytes), (libc::EBUSY, MIB as u64));
    assert_eq!(check(&cache).len(), 450);
    // The failure left all of the space to use.
    fill(&cache, 1000..1500, 1000);
    (1000..1500u64).for_each(|key| assert!(cache.remove(&key.to_le_bytes())));
    cache.resize(MIB / 2).unwrap();
    assert_eq!(check(&cache), (0..900).filter(|key| key % 2 == 1).collect::<Vec<_>>());
}

#[test]
fn values_in_pieces_are_moved() {
    let builder = Cache::builder().size(2 * MIB).policy(Kind::Lru);
    let cache = builder.anonymous().unwrap();
    let mut random = Random::new(3);
    for key in 0..4000u64 {
        let len = if random.below(20) == 0 { random.below(60_000) } else { random.below(800) };
        cache.put(&key.to_le_bytes(), &stamped(key, 8 + len as usize)).unwrap();
    }
    assert!(cache.stats().chained > 0);
    for size in [MIB, MIB / 2, 2 * MIB, 128 << 10, MIB] {
        let before = check(&cache);
        cache.resize(size).unwrap();
        let after = check(&cache);
        assert!(before.ends_with(&after), "the newest stay");
        fill(&cache, 4000..4100, 300);
        for key in 4000..4100u64 {
            cache.remove(&key.to_le_bytes());
        }
    }
}

#[test]
fn times_and_namespaces_go_along() {
    let builder = Cache::builder().size(MIB).max_size(2 * MIB).shards(2);
    let builder =
        builder.namespace("half", Quota::Share(0.5)).namespace("few", Quota::Bytes(64 << 10));
    let cache = builder.anonymous().unwrap();
    let (half, few) = (cache.namespace("half").unwrap(), cache.namespace("few").unwrap());
    let used = |space: &vmemcache::Namespace<'_>| space.stats().used_bytes as usize;
    let flood = || {
        for key in 0..5000u64 {
            half.put(&key.to_le_bytes(), &stamped(key, 500)).unwrap();
            few.put(&key.to_le_bytes(), &stamped(key, 500)).unwrap();
        }
        cache.validate();
    };
    let times = || {
        cache.put_with_ttl(b"long", b"2", std::time::Duration::from_secs(1000)).unwrap();
        cache.put_with_ttl(b"short", b"1", std::time::Duration::from_millis(1)).unwrap();
    };
    times();
    for size in [MIB, MIB / 2, 2 * MIB, 256 << 10] {
        cache.resize(size).unwrap();
        assert!(used(&half) <= size / 2 && used(&few) <= 64 << 10, "at once");
        flood();
        assert!((size / 2 - 4096..=size / 2).contains(&used(&half)), "{size}: {}", used(&half));
        assert!((60 << 10..=64 << 10).contains(&used(&few)), "{size}: {}", used(&few));
    }
    assert!(half.stats().left(Cause::Resized) > 0);
    thread::sleep(std::time::Duration::from_millis(5));
    assert!(cache.contains(b"long") && !cache.contains(b"short"));
    // At the end of each heap, to be moved.
    cache.resize(2 * MIB).unwrap();
    flood();
    cache.clear();
    fill(&cache, 0..3000, 500);
    times();
    (0..2500u64).for_each(|key| assert!(cache.remove(&key.to_le_bytes())));
    cache.resize(512 << 10).unwrap();
    thread::sleep(std::time::Duration::from_millis(5));
    assert!(cache.contains(b"long") && !cache.contains(b"short"));
    assert_eq!(cache.len(), 502, "with the one whose time is over");
}

/// A guard does not change, and keeps no more from going back than its pages.
#[test]
#[cfg_attr(miri, ignore = "measures the system's memory")]
fn guards_stay_valid_and_hold_little() {
    for kind in [Kind::Lru, Kind::Adaptive] {
        let builder = Cache::builder().size(16 * MIB).policy(kind);
        let cache = builder.memory_file(None).unwrap();
        fill(&cache, 0..15_000, 1000);
        let guards: Vec<_> = [9_000u64, 12_000, 14_990]
            .iter()
            .filter_map(|key| Some((*key, cache.get(&key.to_le_bytes())?)))
            .collect();
        assert!(!guards.is_empty());
        let resized = cache.resize(MIB).unwrap();
        let whole = |held: usize| (1000 * guards.len()..=1100 * guards.len()).contains(&held);
        assert!(resized.held == 0 || whole(resized.held) || resized.held < 3300, "{resized:?}");
        assert!(resized.held > 0, "guards hold something");
        for (key, value) in &guards {
            assert_eq!(check_stamped(&value.to_cow()), *key);
        }
        cache.validate();
        fill(&cache, 20_000..25_000, 1000);
        for (key, value) in &guards {
            assert_eq!(check_stamped(&value.to_cow()), *key);
        }
        // Larger again around the guards, and smaller.
        cache.resize(8 * MIB).unwrap();
        fill(&cache, 30_000..40_000, 1000);
        for (key, value) in &guards {
            assert_eq!(check_stamped(&value.to_cow()), *key);
        }
        assert!(check(&cache).len() > 6000);
        cache.resize(2 * MIB).unwrap();
        for (key, value) in guards {
            assert_eq!(check_stamped(&value.to_cow()), key);
            drop(value);
        }
        check(&cache);
        assert_eq!(cache.stats().pinned_bytes, 0);
        cache.resize(16 * MIB).unwrap();
        check(&cache);
    }
}

/// Resident private memory of the process in bytes.
fn resident() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() << 10
}

#[test]
#[cfg_attr(miri, ignore = "measures the system's memory")]
fn anonymous_memory_goes_back() {
    let cache = Cache::builder().size(64 * MIB).shards(4).anonymous().unwrap();
    fill(&cache, 0..16_000, 4000);
    let full = resident();
    cache.resize(8 * MIB).unwrap();
    let small = resident();
    println!("{} MiB resident, then {}", full / MIB, small / MIB);
    // Other tests of this process run at the same time, with smaller pools.
    assert!(full - small > 48 * MIB, "{full} {small}");
    check(&cache);
}

/// A file that goes when the test ends.
struct TestFile(PathBuf);

impl TestFile {
    fn new(directory: &Path, name: &str) -> TestFile {
        let path = directory.join(format!("vmemcache-{name}-{}", std::process::id()));
        let _ = fs::remove_file(&path);
        TestFile(path)
    }

    fn bytes(&self) -> u64 {
        fs::metadata(&self.0).unwrap().blocks() * 512
    }
}

impl Drop for TestFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
#[cfg_attr(miri, ignore = "uses files")]
fn files_have_space_for_the_present_size_only() {
    space_follows_size(Path::new("/dev/shm"));
}

#[test]
#[cfg_attr(miri, ignore = "uses files")]
fn files_on_disks_have_space_for_the_present_size_only() {
    space_follows_size(&std::env::temp_dir());
}

fn space_follows_size(directory: &Path) {
    for shards in [1, 3] {
        for warm in [false, true] {
            let file = TestFile::new(directory, &format!("space{shards}{warm}"));
            let builder = Cache::builder().size(4 * MIB).max_size(16 * MIB).shards(shards);
            let make = |builder: &Builder| {
                let made = if warm {
                    builder.warm_file(&file.0)
                } else {
                    builder.on_file(&file.0, OpenMode::Create)
                };
                made.unwrap()
            };
            let cache = make(&builder);
            // Pages that two shards share, and those at the ends of parts.
            let slack = 4096 * 2 * (shards as u64 + 1);
            let near = |size: usize| {
                let bytes = file.bytes();
                assert!(bytes.abs_diff(size as u64) <= slack, "{size}: {bytes} in use");
            };
            near(4 * MIB);
            cache.resize(16 * MIB).unwrap();
            near(16 * MIB);
            fill(&cache, 0..15_000, 1000);
            for size in [12 * MIB, 5 * MIB, 9 * MIB, MIB] {
                cache.resize(size).unwrap();
                near(size);
                check(&cache);
            }
            if warm {
                let keys = check(&cache);
                drop(cache);
                let cache = make(&builder);
                assert_eq!(cache.stats().pool_bytes.div_ceil(4096), MIB as u64 / 4096);
                near(MIB);
                assert_eq!(check(&cache), keys);
                cache.resize(16 * MIB).unwrap();
                near(16 * MIB);
                assert_eq!(check(&cache), keys);
            }
        }
    }
}

/// Memory of NUMA nodes, and pages of a file in memory.
#[test]
#[cfg_attr(miri, ignore = "asks the system for memory")]
fn other_places_can_be_resized() {
    let builder = Cache::builder().size(MIB).max_size(8 * MIB).shards(2);
    let nodes = vmemcache::NodeMask::single(0).unwrap();
    let made = [
        builder.memory_file(None),
        builder.on_nodes(&nodes, vmemcache::NumaPolicy::Bind),
        builder.in_directory("/dev/shm"),
    ];
    for cache in made {
        let cache = cache.unwrap();
        for size in [8 * MIB, 256 << 10, 3 * MIB] {
            fill(&cache, 0..2000, 1000);
            assert_eq!(cache.resize(size).unwrap().held, 0);
            check(&cache);
            fill(&cache, 0..2000, 1000);
            assert!(check(&cache).len() > size.min(2 * MIB) / 1200);
        }
    }
}

/// Four threads get, put and remove; another one makes the cache larger and smaller. No value is torn, and none is older than what
/// its thread has put last.
fn resized_under_load(builder: &Builder, seed: u64) {
    const KEYS: u64 = 400;
    let steps = if cfg!(miri) { 40 } else { 4_000 };
    let cache = builder.anonymous().unwrap();
    let (stop, found, resizes) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        let resizer = scope.spawn(|| {
            let mut random = Random::new(seed);
            while !stop.load(Relaxed) {
                let size = (128 << 10) + random.below(MIB as u64 - (128 << 10)) as usize;
                match cache.resize(size) {
                    // Nothing was stored behind the new end meanwhile.
                    Ok(_) if resizes.fetch_add(1, Relaxed) % 4 == 0 => cache.validate(),
                    Ok(_) => {}
                    // Others hold guards, or tell of what leaves.
                    Err(error) => assert!(matches!(error, Error::Shrink { .. }), "{error}"),
                }
            }
        });
        let threads: Vec<_> = (0..4u64)
            .map(|thread| {
                let (cache, found) = (&cache, &found);
                scope.spawn(move || {
                    let mut random = Random::new(seed * 4 + thread);
                    let mut newest = vec![None; KEYS as usize];
                    for step in 1..=steps {
                        // Keys of its own, so that it knows what must be there.
                        let key = random.below(KEYS / 4) * 4 + thread;
                        let bytes = key.to_le_bytes();
                        match random.below(8) {
                            0..3 => {
                                let len = if random.below(60) == 0 { 30_000 } else { 1500 };
                                let value = stamped(step, 8 + random.below(len) as usize);
                                // A large one may not fit the cache of the moment.
                                newest[key as usize] = match cache.put(&bytes, &value) {
                                    Ok(_) => Some(step),
                                    Err(Error::ValueTooLarge { .. } | Error::Full { .. }) => {
                                        cache.remove(&bytes);
                                        None
                                    }
                                    Err(error) => panic!("{error}"),
                                };
                            }
                            3 => {
                                cache.remove(&bytes);
                                newest[key as usize] = None;
                            }
                            4 => {
                                let other = random.below(KEYS).to_le_bytes();
                                if let Some(value) = cache.get(&other) {
                                    check_stamped(&value.to_cow());
                                }
                            }
                            _ => {
                                if let Some(value) = cache.get(&bytes) {
                                    let stamp = check_stamped(&value.to_cow());
                                    assert_eq!(Some(stamp), newest[key as usize], "key {key}");
                                    found.fetch_add(1, Relaxed);
                                }
                            }
                        }
                    }
                })
            })
            .collect();
        let ends: Vec<_> = threads.into_iter().map(thread::ScopedJoinHandle::join).collect();
        stop.store(true, Relaxed);
        resizer.join().unwrap();
        ends.into_iter().for_each(|end| end.unwrap());
    });
    cache.validate();
    assert!(found.into_inner() > 0 || cfg!(miri));
    assert!(resizes.into_inner() > 0);
}

#[test]
fn nothing_is_torn_while_the_size_changes() {
    for (seed, &kind) in Kind::ALL.iter().enumerate() {
        for exact in [true, false] {
            let builder = Cache::builder().size(MIB).policy(kind).exact_space(exact);
            resized_under_load(&builder, seed as u64 + 1);
        }
    }
}

#[test]
fn nothing_is_torn_in_shards_and_with_listeners() {
    let builder = Cache::builder().size(MIB).shards(2).listener(Arc::new(Checking));
    resized_under_load(&builder.clone().policy(Kind::Lru), 77);
    resized_under_load(&builder.clone().contiguous(true), 78);
    resized_under_load(&builder.extent_size(256), 79);
}

struct Checking;

impl Listener for Checking {
    fn on_evict(&self, _key: &[u8], value: &Value<'_>, _cause: Cause) {
        check_stamped(&value.to_cow());
    }
}

/// Nothing but the resizes makes an entry leave when the cache is never full.
#[test]
fn what_fits_is_not_lost() {
    for (exact, contiguous) in [(true, false), (false, false), (false, true)] {
        let builder = Cache::builder().size(4 * MIB).exact_space(exact).contiguous(contiguous);
        let cache = builder.anonymous().unwrap();
        // 200 KiB in all.
        fill(&cache, 0..200, 1000);
        thread::scope(|scope| {
            let resizer = scope.spawn(|| {
                for round in 0..if cfg!(miri) { 3 } else { 200 } {
                    cache.resize(MIB << (round % 3)).unwrap();
                }
            });
            while !resizer.is_finished() {
                for key in 0..200u64 {
                    let found = cache.get(&key.to_le_bytes()).expect("it is never gone");
                    assert_eq!(check_stamped(&found.to_cow()), key);
                }
                for key in 100..200 {
                    cache.put(&u64::to_le_bytes(key), &stamped(key, 1000)).unwrap();
                }
            }
        });
        assert_eq!(check(&cache), (0..200).collect::<Vec<_>>());
    }
}

/// Resizes from within the call that tells of an eviction.
#[derive(Default)]
struct FromWithin {
    cache: OnceLock<Weak<Cache>>,
    answers: Mutex<Vec<(Cause, Option<i32>)>>,
}

impl Listener for FromWithin {
    fn on_evict(&self, _key: &[u8], _value: &Value<'_>, cause: Cause) {
        let cache = self.cache.get().and_then(Weak::upgrade).unwrap();
        if self.answers.lock().unwrap().len() < 20 {
            let answer = cache.resize(MIB / 2).err().map(|error| error.errno());
            self.answers.lock().unwrap().push((cause, answer));
        }
    }
}

#[test]
fn a_listener_may_resize_but_not_within_a_resize() {
    let listener = Arc::new(FromWithin::default());
    let cache = Cache::builder().size(MIB).policy(Kind::Lru).listener(listener.clone());
    let cache = Arc::new(cache.anonymous().unwrap());
    listener.cache.set(Arc::downgrade(&cache)).unwrap();
    let start = Instant::now();
    fill(&cache, 0..1200, 1000);
    cache.validate();
    assert_eq!(cache.stats().pool_bytes, MIB as u64 / 2);
    let answers = listener.answers.lock().unwrap().clone();
    assert_eq!(answers[0].0, Cause::Resized, "the innermost is told first");
    assert!(answers.contains(&(Cause::Resized, Some(libc::EBUSY))));
    assert!(answers.contains(&(Cause::Capacity, None)), "{answers:?}");
    assert!(start.elapsed().as_secs() < 20);
}
