//! Caches on files: what is there after a clean end, after a kill, and when the file was damaged.

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::{Duration, Instant};
use support::{Random, check_stamped, stamped};
use vmemcache::policy::Kind;
use vmemcache::{Builder, Cache, Cause, Error, Listener, Replacement, Value};

/// A file that goes when the test ends.
struct TestFile(PathBuf);

impl TestFile {
    fn new(name: &str) -> TestFile {
        let path = Path::new("/dev/shm").join(format!("vmemcache-{name}-{}", std::process::id()));
        let _ = fs::remove_file(&path);
        TestFile(path)
    }
}

impl Drop for TestFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn builder() -> Builder {
    Cache::builder().size(1 << 20).policy(Kind::Lru)
}

/// Opens a cache whose last user has just gone; a child of another test may hold a copy of its descriptor for a moment.
fn open(builder: &Builder, file: &TestFile) -> Cache {
    let start = Instant::now();
    loop {
        match builder.warm_file(&file.0) {
            Err(error) if error.errno() == libc::EWOULDBLOCK && start.elapsed().as_secs() < 10 => {
                thread::sleep(Duration::from_millis(1));
            }
            result => return result.unwrap(),
        }
    }
}

/// A stream that fills the cache with small and large values, also in pieces, and removes some.
fn fill(cache: &Cache, seed: u64, steps: u64) -> Vec<(u64, Vec<u8>)> {
    let mut random = Random::new(seed);
    for step in 0..steps {
        let key = random.below(1500);
        let len = if random.below(30) == 0 { random.below(100_000) } else { random.below(2000) };
        let value = stamped(step << 16 | key, 8 + len as usize);
        if random.below(10) == 0 {
            cache.remove(&key.to_le_bytes());
        } else {
            cache.put(&key.to_le_bytes(), &value).unwrap();
        }
    }
    (0..1500u64)
        .filter_map(|key: u64| Some((key, cache.get(&key.to_le_bytes())?.to_vec())))
        .collect()
}

#[test]
fn everything_is_there_after_a_clean_end() {
    for (shards, exact) in [(1, true), (4, false)] {
        let file = TestFile::new(&format!("clean{shards}"));
        let builder = builder().shards(shards).exact_space(exact);
        let mut expected: Vec<(u64, Vec<u8>)> = vec![];
        for round in 0..4 {
            let cache = open(&builder, &file);
            cache.validate();
            assert_eq!(cache.len(), expected.len(), "round {round}");
            for (key, value) in &expected {
                let found = cache.get(&key.to_le_bytes()).map(|found| found.to_vec());
                assert!(
                    found.as_ref() == Some(value),
                    "round {round}: {key}, {} bytes, {found:?}",
                    value.len()
                );
            }
            assert_eq!(cache.stats().left(Cause::Damaged), 0);
            expected = fill(&cache, round, 3000);
            assert!(cache.stats().chained > 0, "some values are in pieces");
        }
    }
}

/// Also when nothing was ever read since the restart before: what is moved is looked at first.
#[test]
fn everything_is_there_after_resizes() {
    for (shards, exact) in [(1, true), (4, false)] {
        let file = TestFile::new(&format!("resized{shards}"));
        let builder = builder().max_size(3 << 20).shards(shards).exact_space(exact);
        let cache = open(&builder, &file);
        fill(&cache, 1, 3000);
        drop(cache);
        for size in [700 << 10, 512 << 10, 3 << 20, 600 << 10, 1 << 20] {
            let cache = open(&builder, &file);
            cache.resize(size).unwrap();
            let expected: Vec<_> =
                cache.iter().map(|value| (value.key().to_vec(), value.to_vec())).collect();
            assert!(expected.len() > 100);
            cache.validate();
            let size = cache.stats().pool_bytes;
            drop(cache);
            let cache = open(&builder, &file);
            cache.validate();
            assert_eq!((cache.stats().pool_bytes, cache.len()), (size, expected.len()));
            for (key, value) in &expected {
                assert_eq!(cache.get(key).unwrap().to_vec(), *value);
            }
            assert_eq!(cache.stats().left(Cause::Damaged), 0);
        }
    }
}

/// What was damaged does not become whole by being moved.
#[test]
fn damaged_entries_are_not_moved() {
    let file = TestFile::new("moved-damage");
    let cache = open(&builder(), &file);
    // At the end of the file.
    for key in 0..900u64 {
        cache.put(&key.to_le_bytes(), &stamped(key, 1000)).unwrap();
    }
    drop(cache);
    let mut bytes = fs::read(&file.0).unwrap();
    let last = stamped(850, 1000);
    let at = bytes.windows(1000).position(|window| window == last).unwrap();
    bytes[at + 500] ^= 1;
    fs::write(&file.0, bytes).unwrap();
    let cache = open(&builder(), &file);
    for key in 0..600u64 {
        cache.remove(&key.to_le_bytes());
    }
    cache.resize(512 << 10).unwrap();
    assert!(!cache.contains(&850u64.to_le_bytes()));
    assert_eq!((cache.len(), cache.stats().left(Cause::Damaged)), (299, 1));
}

/// What has just left, and whose space nobody has taken back yet, hides nothing that is behind it.
#[test]
fn space_that_was_not_reclaimed_hides_no_pieces() {
    for seed in 0..20 {
        let file = TestFile::new("limbo");
        let builder = Cache::builder().size(1 << 20).shards(1).exact_space(false);
        let cache = open(&builder, &file);
        // Statistics would take the space back.
        let expected = fill(&cache, seed, 3000);
        drop(cache);
        let cache = open(&builder, &file);
        cache.validate();
        let lost = expected.iter().filter(|(key, _)| cache.get(&key.to_le_bytes()).is_none());
        assert_eq!(lost.count(), 0, "seed {seed}: of {}", expected.len());
    }
}

#[test]
fn times_go_on() {
    let file = TestFile::new("times");
    let cache = open(&builder(), &file);
    cache.put_with_ttl(b"short", b"1", Duration::from_millis(30)).unwrap();
    cache.put_with_ttl(b"long", b"2", Duration::from_secs(1000)).unwrap();
    drop(cache);
    thread::sleep(Duration::from_millis(40));
    let cache = open(&builder(), &file);
    assert!(cache.get(b"short").is_none());
    assert_eq!(cache.get(b"long").unwrap().to_vec(), b"2");
    assert_eq!(cache.len(), 1);
}

/// Runs in a process of its own: puts, and says so, until it is killed.
#[test]
#[ignore = "a part of the next test"]
fn victim() {
    let (Ok(path), Ok(first)) = (std::env::var("VICTIM_FILE"), std::env::var("VICTIM_FIRST"))
    else {
        panic!("started by the test of kills only");
    };
    let cache = Cache::builder().policy(Kind::Lru).warm_file(path).unwrap();
    let resizes = std::env::var("VICTIM_RESIZES").is_ok();
    thread::scope(|scope| {
        if resizes {
            scope.spawn(|| {
                let mut random = Random::new(first.parse::<u64>().unwrap());
                loop {
                    // Never so small that an entry has to leave.
                    cache.resize((512 << 10) + random.below(3 << 20) as usize).unwrap();
                }
            });
        }
        put_and_tell(&cache, &first);
    });
}

fn put_and_tell(cache: &Cache, first: &str) {
    let mut out = std::io::stdout().lock();
    for version in first.parse::<u64>().unwrap().. {
        let key = version % 40;
        if version % 7 == 0 {
            cache.remove(&key.to_le_bytes());
            writeln!(out, "\n- {key} {version}").unwrap();
        } else {
            let len = if version % 50 == 0 { 60_000 } else { 8 + version % 3000 };
            cache.put(&key.to_le_bytes(), &stamped(version, len as usize)).unwrap();
            writeln!(out, "\n+ {key} {version}").unwrap();
        }
    }
}

/// Whatever the victim has said to be there is there, unless something newer is.
#[test]
fn kills() {
    kill_often("kill", false);
}

/// The same with another thread of the victim that makes the cache smaller and larger all the time.
#[test]
fn kills_while_the_size_changes() {
    kill_often("kill-resize", true);
}

fn kill_often(name: &str, resizes: bool) {
    const ROUNDS: u64 = 200;
    let file = TestFile::new(name);
    drop(builder().size(2 << 20).max_size(4 << 20).warm_file(&file.0).unwrap());
    let mut sizes = std::collections::HashSet::new();
    let mut said = vec![(0, true); 40];
    let mut random = Random::new(5);
    let mut version = 1;
    let mut seen = 0;
    for round in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "victim", "--nocapture"])
            .env("VICTIM_FILE", &file.0)
            .env("VICTIM_FIRST", version.to_string())
            .envs(resizes.then_some(("VICTIM_RESIZES", "1")))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let enough = 1 + random.below(300);
        let mut count = 0;
        let mut note = |line: &str| {
            let mut words = line.split(' ');
            let (Some(sign @ ("+" | "-")), Some(key), Some(v)) =
                (words.next(), words.next(), words.next())
            else {
                return false;
            };
            let (Ok(key), Ok(v)) = (key.parse::<usize>(), v.parse::<u64>()) else { return false };
            said[key] = (v, sign == "+");
            version = version.max(v + 1);
            true
        };
        while count < enough {
            count += u64::from(note(&lines.next().expect("the victim lives").unwrap()));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // What it had said before it died.
        for line in lines.map_while(Result::ok) {
            note(&line);
        }
        let unsaid = version;
        version += 10;
        let cache = open(&Cache::builder().policy(Kind::Lru), &file);
        cache.validate();
        let size = cache.stats().pool_bytes;
        sizes.insert(size);
        let in_use = fs::metadata(&file.0).unwrap().blocks() * 512;
        assert!(in_use.abs_diff(size) <= 8192, "{in_use} bytes in use for {size}");
        for (key, &(v, present)) in said.iter().enumerate() {
            let found =
                cache.get(&(key as u64).to_le_bytes()).map(|value| check_stamped(&value.to_cow()));
            match found {
                Some(stamp) => {
                    assert_eq!(stamp % 40, key as u64);
                    assert!(stamp >= v && (present || stamp > v), "round {round}: {stamp} for {v}");
                    seen += 1;
                }
                // The last operation may have removed it, and not have said so any more.
                None => assert!(
                    !present || v == 0 || (unsaid % 40 == key as u64 && unsaid % 7 == 0),
                    "round {round}: {key} is lost, version {v} before {unsaid}"
                ),
            }
        }
        assert_eq!(cache.stats().left(Cause::Damaged), 0, "what is found is whole");
    }
    assert!(seen > ROUNDS * 10, "{seen} entries found");
    assert!(if resizes { sizes.len() > 20 } else { sizes.len() == 1 }, "{} sizes", sizes.len());
}

#[test]
fn damage_is_found_or_harmless() {
    let file = TestFile::new("flips");
    let cache = open(&builder(), &file);
    let expected = fill(&cache, 9, 4000);
    drop(cache);
    let image = fs::read(&file.0).unwrap();
    let mut random = Random::new(3);
    let (mut lost, mut found) = (0, 0);
    for round in 0..300 {
        let mut damaged = image.clone();
        for _ in 0..1 + random.below(40) {
            // Behind the superblock; that is another test.
            let at = 4096 + random.below(damaged.len() as u64 - 4096) as usize;
            match random.below(3) {
                0 => damaged[at] ^= 1 << random.below(8),
                1 => damaged[at..].iter_mut().take(8).for_each(|byte| *byte = random.next() as u8),
                _ => damaged[at..].iter_mut().take(3000).for_each(|byte| *byte = 0),
            }
        }
        fs::write(&file.0, &damaged).unwrap();
        let cache = open(&builder(), &file);
        cache.validate();
        for (key, value) in &expected {
            match cache.get(&key.to_le_bytes()) {
                Some(got) => {
                    assert!(got.to_vec() == *value, "round {round}: a wrong value for {key}");
                    found += 1;
                }
                None => lost += 1,
            }
        }
        // And it can be used on.
        fill(&cache, round, 50);
        cache.validate();
    }
    assert!(lost > 300 && found > 10 * lost, "{lost} lost, {found} found");
}

/// After a loss of power some lines of the file are as they were at the last `sync`, others newer. Entries that did not change
/// meanwhile are there, also if bytes of values look like headers of long blocks.
#[test]
fn old_and_new_lines_together_hide_no_entry() {
    // A free block, and a part of a value, of 32 KiB.
    const LIKE_HEADERS: [u64; 2] = [4096 << 28 | 1, 4096 << 28 | 4];
    let like_headers = |len: usize, kind: usize| {
        let words = std::iter::repeat_n(LIKE_HEADERS[kind].to_le_bytes(), len.div_ceil(8));
        let mut bytes = words.flatten().collect::<Vec<u8>>();
        bytes.truncate(len);
        bytes
    };
    let file = TestFile::new("ages");
    let builder = Cache::builder().size(1 << 20).shards(1).replacement(Replacement::None);
    let mut random = Random::new(11);
    let (mut looked_at, mut found_others) = (0, 0);
    for round in 0..5u64 {
        let _ = fs::remove_file(&file.0);
        let cache = open(&builder, &file);
        // Full at first; then every fourth entry stays.
        let mut kept = vec![];
        for key in 0.. {
            let len = random.below(900) as usize;
            let value = like_headers(len, key as usize % 2);
            if cache.put(&u64::to_le_bytes(key), &value).is_err() {
                break;
            }
            kept.push((key, value));
        }
        let others: Vec<u64> =
            kept.iter().map(|&(key, _)| key).filter(|key| key % 4 != 0).collect();
        kept.retain(|(key, _)| key % 4 == 0);
        for &key in &others {
            if random.below(2) == 0 {
                cache.remove(&key.to_le_bytes());
            }
        }
        let old = fs::read(&file.0).unwrap();
        for _ in 0..3000 {
            let key = others[random.below(others.len() as u64) as usize].to_le_bytes();
            let len = if random.below(20) == 0 { 20_000 } else { random.below(1200) as usize };
            if random.below(2) == 0 || cache.put(&key, &like_headers(len, len % 2)).is_err() {
                cache.remove(&key);
            }
        }
        let new = fs::read(&file.0).unwrap();
        drop(cache);
        for _ in 0..20 {
            let lines = old.chunks(64).zip(new.chunks(64));
            let mixed = lines.flat_map(|(old, new)| if random.below(2) == 0 { old } else { new });
            fs::write(&file.0, mixed.copied().collect::<Vec<u8>>()).unwrap();
            let cache = open(&builder, &file);
            cache.validate();
            for (key, value) in &kept {
                let found = cache.get(&key.to_le_bytes());
                let found = found.unwrap_or_else(|| panic!("round {round}: {key} is lost"));
                assert!(found.to_cow() == value.as_slice(), "round {round}: {key}");
            }
            for key in &others {
                if let Some(found) = cache.get(&key.to_le_bytes()) {
                    let kinds = [0, 1].map(|kind| like_headers(found.len(), kind));
                    assert!(kinds.iter().any(|whole| found.to_cow() == whole.as_slice()));
                    found_others += 1;
                }
            }
            looked_at += 1;
        }
    }
    println!("{looked_at} mixtures, {found_others} entries that had changed");
    assert!(found_others > looked_at);
}

/// Says how many entries it was told of, and looks at each.
#[derive(Default)]
struct Whole(AtomicU64);

impl Listener for Whole {
    fn on_evict(&self, _: &[u8], value: &Value<'_>, _: Cause) {
        check_stamped(&value.to_cow());
        self.0.fetch_add(1, Relaxed);
    }
}

#[test]
fn listeners_are_not_told_of_damaged_values() {
    let file = TestFile::new("told");
    let cache = open(&builder(), &file);
    for key in 0..100u64 {
        cache.put(&key.to_le_bytes(), &stamped(key, 1000)).unwrap();
    }
    drop(cache);
    let mut image = fs::read(&file.0).unwrap();
    let start = stamped(7, 1000);
    let at = image.windows(1000).position(|bytes| bytes == start).unwrap();
    image[at + 500] ^= 1;
    fs::write(&file.0, &image).unwrap();
    let listener = Arc::new(Whole::default());
    let cache = open(&builder().listener(listener.clone()), &file);
    for key in 0..50u64 {
        assert!(cache.evict_next());
        cache.put(&(50 + key).to_le_bytes(), &stamped(key, 900)).unwrap();
    }
    cache.clear();
    assert_eq!(listener.0.load(Relaxed), 149);
    let stats = cache.stats();
    assert_eq!((stats.left(Cause::Damaged), stats.entries), (1, 0));
}

#[test]
fn an_existing_file_keeps_its_shards() {
    let file = TestFile::new("shards");
    drop(builder().shards(2).warm_file(&file.0).unwrap());
    for shards in [0, 1, 1000] {
        assert_eq!(open(&builder().shards(shards), &file).shards(), 2);
    }
}

/// With a right checksum, as only somebody who wants it writes them.
#[test]
fn files_of_impossible_shapes_are_refused() {
    let file = TestFile::new("shape");
    drop(builder().warm_file(&file.0).unwrap());
    let image = fs::read(&file.0).unwrap();
    let shapes: [(usize, &[u8]); 8] = [
        (12, &0u32.to_le_bytes()),
        (12, &u32::MAX.to_le_bytes()),
        (16, &0u64.to_le_bytes()),
        (16, &4096u64.to_le_bytes()),
        (16, &u64::MAX.to_le_bytes()),
        (24, &2u32.to_le_bytes()),
        (24, &40u32.to_le_bytes()),
        (24, &u32::MAX.to_le_bytes()),
    ];
    for (at, bytes) in shapes {
        let mut image = image.clone();
        image[at..at + bytes.len()].copy_from_slice(bytes);
        let sum = crc32c::crc32c(&image[..40]);
        image[40..44].copy_from_slice(&sum.to_le_bytes());
        fs::write(&file.0, &image).unwrap();
        let refused = matches!(builder().warm_file(&file.0), Err(Error::Format { .. }));
        assert!(refused, "{bytes:?} at {at}");
    }
}

#[test]
fn other_files_are_refused() {
    let file = TestFile::new("other");
    let format = |what: &str| matches!(builder().warm_file(&file.0), Err(Error::Format { what: w, .. }) if w == what);
    fs::write(&file.0, b"something of value").unwrap();
    assert!(format("it is no cache"));
    assert_eq!(fs::read(&file.0).unwrap(), b"something of value", "and not touched");
    fs::remove_file(&file.0).unwrap();
    drop(builder().warm_file(&file.0).unwrap());
    let raw = || fs::File::options().write(true).open(&file.0).unwrap();
    raw().write_all_at(&[1], 8).unwrap();
    assert!(format("another version wrote it"));
    raw().write_all_at(&[3], 8).unwrap();
    assert!(builder().warm_file(&file.0).is_ok());
    for at in (12..44).chain(48..56) {
        let byte = fs::read(&file.0).unwrap()[at];
        raw().write_all_at(&[byte ^ 0x10], at as u64).unwrap();
        assert!(format("its first page is damaged"), "byte {at}");
        raw().write_all_at(&[byte], at as u64).unwrap();
    }
    raw().set_len(500_000).unwrap();
    assert!(format("it was cut"));
    let in_use = TestFile::new("in-use");
    let _cache = builder().warm_file(&in_use.0).unwrap();
    let again = builder().warm_file(&in_use.0).unwrap_err();
    assert_eq!(again.errno(), libc::EWOULDBLOCK);
}

#[test]
fn a_million_entries_are_found_quickly() {
    let entries: u64 = if cfg!(debug_assertions) { 100_000 } else { 1_000_000 };
    let file = TestFile::new("million");
    let builder = Cache::builder().size(entries as usize * 160).policy(Kind::Lru);
    let cache = open(&builder, &file);
    for key in 0..entries {
        cache.put(&key.to_le_bytes(), &stamped(key, 100)).unwrap();
    }
    drop(cache);
    let start = Instant::now();
    let cache = open(&builder, &file);
    let took = start.elapsed();
    println!("{entries} entries in {took:?}");
    assert_eq!(cache.len() as u64, entries);
    assert!(took < Duration::from_secs(1) || cfg!(debug_assertions), "{took:?}");
}
