//! The cache on DAX: entries in files of DAX file systems and in a device, found again in a file that stays.

use std::fs;

use vmemcache::{Cache, Cause, Error, OpenMode};

use crate::place::{MIB, device, device_size, ext4, xfs};

fn key(n: u32) -> [u8; 4] {
    n.to_le_bytes()
}

/// A value that says whose it is.
fn value(n: u32) -> Vec<u8> {
    let len =
        1 + n.wrapping_mul(0x9E37_79B9) as usize % if n.is_multiple_of(50) { 70_000 } else { 3000 };
    (0..len).map(|at| (n as usize + at) as u8).collect()
}

fn check(cache: &Cache, n: u32) -> bool {
    let found = cache.get(&key(n));
    assert!(found.as_ref().is_none_or(|found| found.to_cow() == value(n)), "a wrong value for {n}");
    found.is_some()
}

/// Two threads put more than there is room for, and remove; what is found is right.
fn use_it(cache: &Cache) {
    let last = (cache.stats().pool_bytes / 1000) as u32;
    std::thread::scope(|scope| {
        for thread in 0..2 {
            scope.spawn(move || {
                for n in (thread..last).step_by(2) {
                    cache.put(&key(n), &value(n)).expect("older entries leave");
                    check(cache, n / 2);
                    if n.is_multiple_of(7) {
                        cache.remove(&key(n / 3));
                    }
                }
            });
        }
    });
    cache.validate();
    let stats = cache.stats();
    assert!(stats.left(Cause::Capacity) > 0, "{stats:?}");
    assert!(stats.payload_bytes > stats.pool_bytes * 8 / 10, "{stats:?}");
    assert!((0..last).filter(|&n| check(cache, n)).count() as u64 > stats.entries / 2);
}

pub(crate) fn entries_come_and_go_in_dax_memory() {
    let builder = Cache::builder().size(8 * MIB);
    use_it(&builder.in_directory(ext4()).expect("a cache"));
    use_it(&builder.in_directory(xfs()).expect("a cache"));
    let path = ext4().join("named");
    use_it(&builder.on_file(&path, OpenMode::CreateNew).expect("a cache"));
    fs::remove_file(&path).expect("the file stays");
}

pub(crate) fn a_device_is_a_cache_as_a_whole() {
    let cache = Cache::builder().on_device(device()).expect("a cache");
    assert!(cache.stats().pool_bytes as usize > device_size() * 9 / 10);
    use_it(&cache);
    drop(cache);
    // And is free again.
    drop(Cache::builder().on_device(device()).expect("a cache"));
}

pub(crate) fn entries_are_found_again_in_a_dax_file() {
    for place in [ext4(), xfs()] {
        let path = place.join("warm");
        let builder = Cache::builder().size(8 * MIB);
        let cache = builder.warm_file(&path).expect("a cache");
        use_it(&cache);
        let last = (cache.stats().pool_bytes / 1000) as u32;
        let there: Vec<u32> = (0..last).filter(|&n| check(&cache, n)).collect();
        drop(cache);
        let cache = builder.warm_file(&path).expect("the same cache");
        assert_eq!(cache.len(), there.len());
        assert!(there.iter().all(|&n| check(&cache, n)));
        assert_eq!(cache.stats().left(Cause::Damaged), 0);
        use_it(&cache);
        drop(cache);
        fs::remove_file(&path).expect("the file stays");
    }
}

pub(crate) fn a_full_dax_file_system_is_an_error_when_the_cache_is_made() {
    for place in [ext4(), xfs()] {
        let builder = Cache::builder().size(1024 * MIB);
        let path = place.join("large");
        let made = [builder.in_directory(&place), builder.warm_file(&path)];
        for made in made {
            let error = made.expect_err("more than there is");
            assert!(matches!(error, Error::NoMedium { .. }), "{error}");
        }
        let _ = fs::remove_file(&path);
        use_it(
            &Cache::builder().size(8 * MIB).in_directory(&place).expect("nothing was left behind"),
        );
    }
}
