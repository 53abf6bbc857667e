//! A warm cache on a DAX file system through power cuts, in a virtual machine (see `tests/dax-vm`) whose caches forget what was
//! not flushed, all of it or by chance.
//!
//! Each round opens the file, checks it, and works on until the power is cut in the midst of it. In the namespace
//! "kept" there is one group of keys for each of the last epochs: put, or removed, and then synchronised; they must be as they
//! were. In the namespace without a name threads put, replace and remove; of these anything may be missing or old, but
//! nothing may be torn.
//!
//! Without a way to such a machine the tests say so with NOT CHECKED.

use std::collections::HashMap;
use std::env;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use pmem_e2e::run::run;
use pmem_e2e::scratch::Scratch;
use vmemcache::{Cache, Cause, Quota};

/// A boot and a run; on a busy machine ten times as long as on an idle one.
const LIMIT: Duration = Duration::from_secs(1000);

/// One machine at a time.
static MACHINE: Mutex<()> = Mutex::new(());

/// Epochs whose keys are kept, and the keys of each.
const GROUPS: u64 = 8;
const GROUP: u64 = 24;
/// Keys of the namespace without a name: more than there is room for.
const KEYS: u64 = 12_000;
const SIZE: usize = 12 << 20;

/// A small random generator: a test is repeated by its seed.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % bound
    }
}

/// A value that says whose it is, which one, and where in it each byte belongs.
fn value(key: u64, stamp: u64, len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len + 32);
    bytes.extend_from_slice(&key.to_le_bytes());
    bytes.extend_from_slice(&stamp.to_le_bytes());
    bytes.extend_from_slice(&(len as u64).to_le_bytes());
    let mut word = key ^ stamp.rotate_left(32);
    while bytes.len() < len {
        word = word.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(stamp);
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// The stamp of a value that is whole and this key's.
fn stamp_of(key: u64, bytes: &[u8]) -> u64 {
    assert!(bytes.len() >= 24, "key {key}: {} bytes", bytes.len());
    let stamp = u64::from_le_bytes(bytes[8..16].try_into().expect("eight bytes"));
    assert!(bytes == value(key, stamp, bytes.len()), "key {key}: torn or another's value");
    stamp
}

/// Of the keys of an epoch some are removed in it.
fn is_removed(epoch: u64, key: u64) -> bool {
    !(epoch / GROUPS + key).is_multiple_of(3)
        && (epoch / GROUPS).is_multiple_of(2)
        && key.is_multiple_of(2)
}

fn kept_key(epoch: u64, at: u64) -> u64 {
    1 << 40 | epoch % GROUPS * GROUP + at
}

fn open(file: &Path, exact: bool) -> Cache {
    let cache = Cache::builder().size(SIZE).shards(2).exact_space(exact);
    let cache = cache.namespace("kept", Quota::Bytes(4 << 20)).warm_file(file);
    cache.unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// Checks a cache of which this many epochs were synchronised. The next one may be under way.
fn check(cache: &Cache, epochs: u64) {
    cache.validate();
    let kept = cache.namespace("kept").expect("it was added");
    for epoch in (epochs.saturating_sub(GROUPS - 1) + 1..=epochs).filter(|&epoch| epoch > 0) {
        for at in 0..GROUP {
            let key = kept_key(epoch, at);
            let found = kept.get(&key.to_le_bytes()).map(|v| stamp_of(key, &v.to_cow()));
            let expected = (!is_removed(epoch, at)).then_some(epoch);
            assert_eq!(found, expected, "epoch {epoch} of {epochs}, key {at}");
        }
    }
    let mut found = 0;
    for at in 0..GROUP {
        let key = kept_key(epochs + 1, at);
        if let Some(v) = kept.get(&key.to_le_bytes()) {
            let stamp = stamp_of(key, &v.to_cow());
            assert!(stamp == epochs + 1 || stamp + GROUPS == epochs + 1, "{stamp} in {epochs}");
            found += 1;
        }
    }
    let mut stamps = HashMap::new();
    for key in 0..KEYS {
        if let Some(v) = cache.get(&key.to_le_bytes()) {
            stamps.insert(key, stamp_of(key, &v.to_cow()));
        }
    }
    // What was looked at once is not there twice.
    for v in cache.iter() {
        let key = u64::from_le_bytes(v.key().try_into().expect("eight bytes"));
        let stamp = stamp_of(key, &v.to_cow());
        assert_eq!(stamps.remove(&key), Some(stamp), "key {key}");
    }
    cache.validate();
    println!(
        "epoch {epochs}: {} entries, {found} of the next epoch, {} damaged ones dropped",
        cache.len(),
        cache.stats().left(Cause::Damaged)
    );
}

/// How many epochs were synchronised, as the file says.
fn epochs_in(path: &Path) -> u64 {
    fs::read(path)
        .ok()
        .and_then(|bytes| Some(u64::from_le_bytes(*bytes.first_chunk()?)))
        .unwrap_or(0)
}

/// Runs one epoch after the other.
fn keep(cache: &Cache, epochs: &Path, stop: &AtomicBool, mut random: Random) {
    let kept = cache.namespace("kept").expect("it was added");
    let mut epoch = epochs_in(epochs);
    let file = File::options().write(true).create(true).truncate(false).open(epochs).unwrap();
    while !stop.load(Relaxed) {
        epoch += 1;
        for at in 0..GROUP {
            let key = kept_key(epoch, at);
            if is_removed(epoch, at) {
                kept.remove(&key.to_le_bytes());
            } else {
                let len = 24 + random.below(2000) as usize;
                kept.put(&key.to_le_bytes(), &value(key, epoch, len)).unwrap();
            }
        }
        cache.sync().unwrap();
        file.write_all_at(&epoch.to_le_bytes(), 0).unwrap();
        file.sync_all().unwrap();
    }
}

/// Puts, replaces and removes.
fn load(cache: &Cache, stop: &AtomicBool, mut random: Random) {
    let mut stamp = 1;
    while !stop.load(Relaxed) {
        let key = random.below(KEYS);
        let name = key.to_le_bytes();
        let len = if random.below(40) == 0 { 60_000 } else { 3000 };
        let bytes = value(key, stamp, 24 + random.below(len) as usize);
        match random.below(8) {
            0 => drop(cache.remove(&name)),
            1 | 2 => drop(cache.replace(&name, &bytes).unwrap()),
            3 => drop(cache.get(&name).map(|v| stamp_of(key, &v.to_cow()))),
            _ => drop(cache.put(&name, &bytes).unwrap()),
        }
        stamp += 1;
    }
}

/// Runs in the machine: WARM_FOLDER has the files, WARM_SEED tells rounds apart. WARM_CUT=0 ends without a cut.
#[test]
#[ignore = "a part of the other tests"]
fn inside() {
    let variable = |name: &str| env::var(name).unwrap_or_else(|_| panic!("{name} is not set"));
    let folder = PathBuf::from(variable("WARM_FOLDER"));
    let seed: u64 = variable("WARM_SEED").parse().expect("a number");
    let cut = variable("WARM_CUT") == "1";
    let (file, epochs) = (folder.join("cache"), folder.join("epochs"));
    let cache = open(&file, seed.is_multiple_of(2));
    check(&cache, epochs_in(&epochs));
    let mut random = Random::new(seed);
    let ends_after = Duration::from_millis(200 + random.below(if cut { 2500 } else { 4000 }));
    let stop = AtomicBool::new(false);
    let seeds = [1, 2, 3].map(|n| Random::new(seed.wrapping_mul(n) ^ random.below(1 << 30)));
    thread::scope(|scope| {
        let (cache, epochs, stop) = (&cache, &epochs, &stop);
        let [one, other, third] = seeds;
        scope.spawn(move || keep(cache, epochs, stop, one));
        scope.spawn(move || load(cache, stop, other));
        scope.spawn(move || load(cache, stop, third));
        thread::sleep(ends_after);
        if cut {
            println!("the power is cut after {ends_after:?}");
            std::io::stdout().flush().expect("output");
            // Nothing is written any more from here on.
            fs::write("/proc/sysrq-trigger", "b").expect("a machine of our own");
        }
        stop.store(true, Relaxed);
    });
}

fn dax_vm(arguments: &[&str]) -> Command {
    let tool = Path::new(env!("CARGO_MANIFEST_DIR")).join("dax-vm/dax-vm");
    let mut command = Command::new(tool);
    command.args(arguments);
    command
}

fn can_boot() -> bool {
    for arguments in [&["check"][..], &["build", "--backports"]] {
        let outcome = run(&mut dax_vm(arguments), LIMIT);
        if outcome.code() != Some(0) {
            eprintln!("NOT CHECKED: power cuts (dax-vm {arguments:?}: {})", outcome.ending());
            return false;
        }
    }
    true
}

/// The arguments that run [`inside`] in a machine.
fn inside_with(command: &mut Command, seed: u64, cut: bool) {
    let own = env::current_exe().expect("the path of this program");
    let script = format!(
        "WARM_FOLDER=$DAXVM_PMEM0 WARM_SEED={seed} WARM_CUT={} RUST_BACKTRACE=1 \
         exec {} --ignored --exact inside --nocapture --test-threads=1",
        u8::from(cut),
        own.display()
    );
    command.args(["--boot-timeout", "400", "--timeout", "500", "--", "sh", "-c", &script]);
}

fn power_cuts(rounds: u64) {
    let _alone = MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
    if !can_boot() {
        return;
    }
    let seed = env::var("PMEM_TEST_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let scratch = Scratch::new("warm");
    let images = scratch.path().display().to_string();
    let mut last = 0;
    for round in 0..=rounds {
        let seed = seed + round;
        // All that was not flushed is lost, each line by chance, or nothing.
        let caches = match seed % 4 {
            0 => "lose".to_owned(),
            3 => "keep".to_owned(),
            _ => format!("random:{seed}"),
        };
        // The last one only checks what the last cut left.
        let cut = round < rounds;
        let mut command = dax_vm(&[if cut { "crash-run" } else { "run" }, "--backports"]);
        command.args(["--accel", "tcg", "--pmem-dir", &images, "--fsdax", "ext4:64M"]);
        command.args(["--cache", &caches]);
        inside_with(&mut command, seed, cut);
        let outcome = run(&mut command, LIMIT);
        assert!(outcome.code() == Some(0), "round {round}, {caches}: {}", outcome.ending());
        let text = outcome.out();
        // Behind what the harness says of the test.
        let line = text.lines().find_map(|line| Some(&line[line.find("epoch ")?..]));
        let line = line.expect("it has checked");
        println!("round {round}, {caches}: {line}");
        let epoch = line.split([' ', ':']).nth(1).and_then(|word| word.parse::<u64>().ok());
        last = epoch.expect("a number");
    }
    assert!(last > rounds / 4, "{last} epochs in {rounds} rounds: the cuts came too early");
}

#[test]
fn a_few_power_cuts() {
    power_cuts(4);
}

/// `cargo xtask test --only cuts`
#[test]
#[ignore = "takes half an hour"]
fn fifty_power_cuts() {
    power_cuts(50);
}

/// One run, and what a cut would have left at many moments of it, each line by chance; looked at on this machine.
#[test]
fn images_of_cuts() {
    const CUTS: usize = 40;
    let _alone = MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
    if !can_boot() {
        return;
    }
    let scratch = Scratch::new("warm-images");
    let at = |name: &str| scratch.path().join(name).display().to_string();
    let snapshots = at("snapshots");
    fs::create_dir(&snapshots).expect("a directory");
    let mut command = dax_vm(&["run", "--backports", "--accel", "tcg", "--fsdax", "ext4:64M"]);
    command.args(["--cache", "random:5", "--snapshots", &snapshots]);
    command.args(["--every", "6", "--max", &CUTS.to_string()]);
    inside_with(&mut command, 5, false);
    let outcome = run(&mut command, LIMIT);
    assert!(outcome.code() == Some(0), "{}", outcome.ending());
    let mut images: Vec<PathBuf> =
        fs::read_dir(&snapshots).expect("images").map(|entry| entry.expect("one").path()).collect();
    images.sort();
    let (mut looked_at, mut last) = (0, 0);
    for image in &images {
        let image = image.to_str().expect("UTF-8");
        let extract = |to: &str, path: &str| {
            run(&mut dax_vm(&["extract", image, to, path]), LIMIT).code() == Some(0)
        };
        let (file, epochs) = (at("cache"), at("epochs"));
        if !extract(&file, "/cache") {
            continue; // not made yet
        }
        let _ = fs::remove_file(&epochs);
        extract(&epochs, "/epochs");
        last = epochs_in(Path::new(&epochs));
        check(&open(Path::new(&file), false), last);
        looked_at += 1;
    }
    println!("{} images, {looked_at} with a cache, the last after {last} epochs", images.len());
    assert!(looked_at >= CUTS * 2 / 3 && last > 0, "{looked_at} of {} images", images.len());
}
