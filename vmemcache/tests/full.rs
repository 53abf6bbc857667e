//! A file system without space: making a cache fails with an error and leaves nothing behind; a cache that was made before needs
//! nothing more. A `SIGBUS` would end the test.
#![cfg(not(miri))]

mod support;

use pmem_test_support::tmpfs::SmallTmpfs;
use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};
use support::{Random, check_stamped, stamped};
use vmemcache::policy::Kind;
use vmemcache::{Builder, Cache, Cause, Error, Listener, OpenMode, Value};

const MIB: usize = 1 << 20;
const ENOSPC: i32 = 28;

/// Takes all space that is left.
fn fill(mount: &SmallTmpfs) {
    let mut file = File::create(mount.path().join("filler")).unwrap();
    let block = [1; 4096];
    while file.write_all(&block).is_ok() {}
    assert_eq!(mount.free(), 0, "the file system is full");
}

fn files(mount: &SmallTmpfs) -> usize {
    std::fs::read_dir(mount.path()).unwrap().count()
}

#[test]
fn no_cache_is_made_without_its_space() {
    let Some(mount) = SmallTmpfs::mount(4 * MIB) else { return };
    let too_large = Cache::builder().size(8 * MIB);
    let file = mount.path().join("cache");
    type Make = fn(&Builder, &Path) -> Result<Cache, Error>;
    let ways: [(&str, Make, &Path); 3] = [
        ("in_directory", |builder, path| builder.in_directory(path), mount.path()),
        ("on_file", |builder, path| builder.on_file(path, OpenMode::Create), &file),
        ("warm_file", |builder, path| builder.warm_file(path), &file),
    ];
    for (name, make, path) in ways {
        let error = make(&too_large, path).unwrap_err();
        assert!(
            matches!(error, Error::NoMedium { size, .. } if size == 8 * MIB),
            "{name}: {error}"
        );
        assert_eq!(error.errno(), ENOSPC, "{name}");
        assert!(error.to_string().contains("make the cache smaller"), "{name}: {error}");
        let _ = std::fs::remove_file(&file);
        assert_eq!(mount.free(), 4 * MIB as u64, "{name} gives back what it took");
    }
    // What failed does not stand in the way of what fits.
    too_large.warm_file(&file).unwrap_err();
    std::fs::remove_file(&file).unwrap();
    let cache = Cache::builder().size(2 * MIB).warm_file(&file).unwrap();
    cache.put(b"key", b"value").unwrap();
    assert_eq!(files(&mount), 1);
}

/// What has left by itself.
#[derive(Default)]
struct Left(Mutex<Vec<(Vec<u8>, Cause)>>);

impl Listener for Left {
    fn on_evict(&self, key: &[u8], value: &Value<'_>, cause: Cause) {
        check_stamped(&value.to_cow());
        self.0.lock().unwrap().push((key.to_vec(), cause));
    }
}

/// Puts several times what fits. Every entry is there, as it was put, until the listener was told that it leaves; puts do not fail.
fn churn(cache: &Cache, left: &Left, seed: u64) -> HashMap<Vec<u8>, u64> {
    churn_more(cache, left, HashMap::new(), seed)
}

/// The same with what there is already.
fn churn_more(
    cache: &Cache,
    left: &Left,
    mut model: HashMap<Vec<u8>, u64>,
    seed: u64,
) -> HashMap<Vec<u8>, u64> {
    let mut random = Random::new(seed);
    let (mut stored, mut evicted) = (0, 0);
    for stamp in 1.. {
        let key = random.below(4000).to_le_bytes().to_vec();
        let len = match random.below(50) {
            0 => 20_000 + random.below(40_000),
            _ => 8 + random.below(1500),
        };
        cache.put(&key, &stamped(stamp, len as usize)).unwrap();
        for (gone, cause) in left.0.lock().unwrap().drain(..) {
            match cause {
                Cause::Replaced => assert_eq!(gone, key),
                cause => {
                    assert_eq!(cause, Cause::Capacity);
                    assert!(model.remove(&gone).is_some(), "leaves once");
                    evicted += 1;
                }
            }
        }
        model.insert(key, stamp);
        stored += len;
        if stored > 4 * cache.stats().pool_bytes {
            break;
        }
    }
    assert!(evicted > 100, "the cache was full");
    check(cache, &model);
    model
}

fn check(cache: &Cache, model: &HashMap<Vec<u8>, u64>) {
    assert_eq!(cache.len(), model.len());
    for (key, &stamp) in model {
        assert_eq!(check_stamped(&cache.peek(key).expect("not lost").to_cow()), stamp);
    }
    cache.validate();
}

#[test]
fn a_cache_on_a_full_file_system_works_on() {
    let Some(mount) = SmallTmpfs::mount(4 * MIB) else { return };
    for (seed, &kind) in Kind::ALL.iter().enumerate() {
        let left = Arc::new(Left::default());
        let builder = Cache::builder().size(MIB).policy(kind).listener(left.clone());
        let cache = builder.in_directory(mount.path()).unwrap();
        fill(&mount);
        churn(&cache, &left, seed as u64);
        std::fs::remove_file(mount.path().join("filler")).unwrap();
    }
}

#[test]
fn a_warm_file_on_a_full_file_system_keeps_its_entries() {
    let Some(mount) = SmallTmpfs::mount(4 * MIB) else { return };
    let file = mount.path().join("cache");
    let left = Arc::new(Left::default());
    let builder = Cache::builder().size(MIB).listener(left.clone());
    let cache = builder.warm_file(&file).unwrap();
    fill(&mount);
    let model = churn(&cache, &left, 1);
    cache.sync().unwrap();
    drop(cache);
    let cache = builder.warm_file(&file).unwrap();
    check(&cache, &model);
    cache.clear();
    left.0.lock().unwrap().clear();
    churn(&cache, &left, 2);
}

#[test]
fn a_warm_file_with_holes_is_refused_when_they_cannot_be_filled() {
    use std::os::unix::fs::FileExt;
    let Some(mount) = SmallTmpfs::mount(4 * MIB) else { return };
    let (file, copy) = (mount.path().join("cache"), mount.path().join("copy"));
    let builder = Cache::builder().size(MIB);
    let cache = builder.warm_file(&file).unwrap();
    let value = stamped(7, 100);
    cache.put(b"key", &value).unwrap();
    drop(cache);
    // As a copy that leaves out what is zero.
    let bytes = std::fs::read(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    let sparse = File::create(&copy).unwrap();
    sparse.set_len(bytes.len() as u64).unwrap();
    for (at, page) in
        bytes.chunks(4096).enumerate().filter(|(_, page)| page.iter().any(|&b| b != 0))
    {
        sparse.write_all_at(page, at as u64 * 4096).unwrap();
    }
    fill(&mount);
    let error = builder.warm_file(&copy).unwrap_err();
    assert!(matches!(error, Error::NoMedium { .. }), "{error}");
    assert_eq!(error.errno(), ENOSPC);
    std::fs::remove_file(mount.path().join("filler")).unwrap();
    let cache = builder.warm_file(&copy).unwrap();
    assert_eq!(cache.get(b"key").unwrap().to_vec(), value, "the refusal harmed nothing");
}

#[test]
fn a_cache_grows_as_far_as_there_is_space() {
    let Some(mount) = SmallTmpfs::mount(4 * MIB) else { return };
    let file = mount.path().join("cache");
    for shards in [1, 3] {
        for warm in [false, true] {
            let left = Arc::new(Left::default());
            let builder = Cache::builder().size(MIB).max_size(16 * MIB).shards(shards);
            let builder = builder.listener(left.clone());
            let cache = if warm {
                builder.warm_file(&file).unwrap()
            } else {
                builder.in_directory(mount.path()).unwrap()
            };
            let model = churn(&cache, &left, 1);
            let (free, before) = (mount.free(), cache.stats());
            let error = cache.resize(8 * MIB).unwrap_err();
            assert!(matches!(error, Error::NoMedium { .. }), "{error}");
            assert_eq!(error.errno(), ENOSPC);
            assert_eq!((mount.free(), cache.stats()), (free, before), "as it was");
            check(&cache, &model);
            cache.resize(3 * MIB).unwrap();
            check(&cache, &model);
            fill(&mount);
            churn_more(&cache, &left, model, 2);
            assert_eq!(cache.resize(4 * MIB).unwrap_err().errno(), ENOSPC);
            // What shrinks needs nothing, and gives back.
            left.0.lock().unwrap().clear();
            cache.resize(MIB).unwrap();
            assert!(left.0.lock().unwrap().drain(..).all(|(_, cause)| cause == Cause::Resized));
            assert!(mount.free() >= 2 * MIB as u64 - 65536, "{} bytes are free", mount.free());
            cache.validate();
            drop(cache);
            std::fs::remove_file(mount.path().join("filler")).unwrap();
            let _ = std::fs::remove_file(&file);
        }
    }
}
