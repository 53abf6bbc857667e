//! One pool on every medium: sizes, operations, threads, content left by others, no room.

use std::fs;
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use vmem::{Error, OpenMode, Pool};

use crate::place::{HUGE_PAGE, MIB, Place, device, device_size, ext4, xfs};
use crate::process::storage;
use crate::work::{Random, all_are, churn, fill, free_all};

pub(crate) fn sizes_and_addresses_are_multiples_of_the_granule() {
    for place in Place::ALL {
        let pool = place.make(&Pool::builder().size(24 * MIB + 1));
        let range = pool.range();
        let expected = match place {
            Place::Device => device_size() / HUGE_PAGE * HUGE_PAGE,
            _ => (24 * MIB + 1).next_multiple_of(place.granule()),
        };
        let stats = pool.stats();
        assert_eq!((range.len(), stats.pool_bytes), (expected, expected), "{place:?}");
        // 2 MiB pages, of memory or of the file system, fit at every place.
        let start = range.cast::<u8>().addr().get();
        assert_eq!(start % (2 * HUGE_PAGE), 0, "{place:?} starts at {start:#x}");

        let block = pool.alloc_aligned(HUGE_PAGE, HUGE_PAGE).expect("a fresh pool has room");
        assert_eq!(block.addr().get() % HUGE_PAGE, 0, "{place:?}");
        assert!(pool.contains(block));
        let stats = pool.stats();
        assert_eq!(stats.allocated_bytes, HUGE_PAGE, "{place:?}");
        assert!(stats.committed_bytes >= HUGE_PAGE, "{place:?}: {stats:?}");
        assert_eq!(stats.committed_bytes % place.granule(), 0, "{place:?}: {stats:?}");
        if let Some(directory) = place.directory() {
            let stored = storage(&directory);
            assert_eq!(stats.resident_bytes, stored as u64, "{place:?}");
            assert!(stored >= stats.committed_bytes, "{place:?}: {stored} bytes for {stats:?}");
        }
        // SAFETY: a live block, not used afterwards.
        unsafe { pool.free(block) };
        pool.check().expect("the structures of the pool agree");
    }
}

pub(crate) fn blocks_keep_their_bytes_through_all_operations() {
    let mut random = Random::new();
    for place in Place::ALL {
        let pool = place.pool(48);
        let refused = churn(&pool, &mut random, 1500, 16 * MIB);
        assert_eq!(refused, 0, "{place:?} has room for three times as much");
        pool.check().expect("the structures of the pool agree");
        pool.trim();
        let stats = pool.stats();
        assert_eq!(stats.allocated_bytes, 0, "{place:?}: {stats:?}");
        // A device cannot give anything back; the others give back all but what slabs in caches keep.
        if place != Place::Device {
            assert!(stats.committed_bytes <= 2 * HUGE_PAGE, "{place:?} after a trim: {stats:?}");
        }
    }
}

pub(crate) fn four_threads_share_a_pool() {
    let mut random = Random::new();
    for place in Place::ALL {
        let pool = place.pool(56);
        let refused = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                let mut random = random.split();
                let (pool, refused) = (&pool, &refused);
                scope.spawn(move || {
                    refused.fetch_add(churn(pool, &mut random, 500, 5 * MIB), Relaxed);
                });
            }
        });
        assert_eq!(refused.into_inner(), 0, "{place:?} has room for all of them");
        pool.check().expect("the structures of the pool agree");
        assert_eq!(pool.stats().allocated_bytes, 0, "{place:?}");
    }
}

pub(crate) fn memory_with_old_content_reads_as_zero_where_zeros_are_asked_for() {
    let builder = Pool::builder().size(32 * MIB);
    let all_zero = |pool: &Pool, what: &str| {
        let mut blocks = Vec::new();
        for size in [10, 1000, 100_000, 3 * MIB].into_iter().cycle().take(24) {
            let Some(at) = pool.alloc_zeroed(size) else { break };
            assert!(all_are(at, size, 0), "{what}: {size} bytes that were to be zero");
            blocks.push(at);
        }
        assert!(blocks.len() >= 16, "{what}: room for {} blocks only", blocks.len());
    };
    {
        let pool = builder.on_device(device()).expect("the device");
        // Not given back: what is written stays in the device.
        let blocks = fill(&pool, MIB, usize::MAX, 0x5A);
        assert!(blocks.len() * MIB > device_size() / 10 * 9, "{} blocks", blocks.len());
    }
    all_zero(&builder.on_device(device()).expect("the device"), "a device");
    for directory in [ext4(), xfs()] {
        let path = directory.join("old");
        let mut file = fs::File::create(&path).expect("a file");
        for _ in 0..32 {
            file.write_all(&[0x5A; MIB]).expect("there is space");
        }
        drop(file);
        let pool = Pool::builder().on_file(&path, OpenMode::Existing).expect("the file");
        assert_eq!(pool.stats().pool_bytes, 32 * MIB);
        all_zero(&pool, &path.display().to_string());
        drop(pool);
        fs::remove_file(&path).expect("our file");
    }
}

pub(crate) fn a_full_pool_is_none_and_can_be_filled_again() {
    for place in Place::ALL {
        let pool = place.pool(24);
        let size = pool.stats().pool_bytes;
        for block_size in [MIB, 20_000] {
            let blocks = fill(&pool, block_size, usize::MAX, 7);
            let first = blocks.len();
            assert!(first * block_size > size / 100 * 85, "{place:?}: {first} of {block_size}");
            assert!(pool.alloc(block_size).is_none(), "{place:?} was full a moment ago");
            // SAFETY: a live block; the call fails, so it stays.
            assert!(unsafe { pool.realloc(blocks[0].at, size) }.is_none(), "{place:?}");
            pool.check().expect("the structures of the pool agree");
            // Every other block makes room for as many again.
            let (mut kept, mut given) = (Vec::new(), Vec::new());
            for (number, block) in blocks.into_iter().enumerate() {
                if number % 2 == 0 { kept.push(block) } else { given.push(block) }
            }
            let freed = given.len();
            free_all(&pool, given);
            let again = fill(&pool, block_size, usize::MAX, 99);
            assert!(again.len() >= freed, "{place:?}: {} for {freed} of {block_size}", again.len());
            free_all(&pool, again);
            free_all(&pool, kept);
            // Nothing is left in pieces: most of the pool is one block again.
            let whole = fill(&pool, size / 4 * 3, 1, 1);
            assert_eq!(whole.len(), 1, "{place:?} after blocks of {block_size}");
            free_all(&pool, whole);
        }
        assert_eq!(pool.stats().allocated_bytes, 0, "{place:?}");
    }
}

pub(crate) fn a_pool_larger_than_its_place_is_refused_in_words() {
    let large = Pool::builder().size(8 << 30);
    // Space that is taken at once must be there at once; what is taken later may come later.
    for place in [Place::Ext4Directory, Place::XfsDirectory, Place::Ext4File, Place::XfsFile] {
        let error = place.try_make(&large.clone().prealloc(true)).expect_err("8 GiB in less");
        assert_eq!(error.errno(), libc::ENOSPC, "{place:?}: {error}");
        assert!(matches!(error, Error::NoSpace { size, .. } if size == 8 << 30), "{error:?}");
        let directory = place.directory().expect("a file system");
        let text = error.to_string();
        assert!(text.contains(&directory.display().to_string()), "{text}");
        assert!(text.ends_with("make the pool smaller, or free space there"), "{text}");
        assert_eq!(fs::read_dir(&directory).expect("the directory").filter(is_pool).count(), 0);
        drop(place.make(&large));
    }
    let error = large.on_device(device()).expect_err("8 GiB on a small device");
    let text = error.to_string();
    assert_eq!(error.errno(), libc::ENOSPC, "{text}");
    assert!(text.contains(&device().display().to_string()), "{text}");
    assert!(text.contains("no space for 8589934592 bytes"), "{text}");
    assert!(text.ends_with("make the pool smaller, or name a larger device"), "{text}");
    let fits = Pool::builder().size(device_size() / 2).on_device(device()).expect("the device");
    assert_eq!(fits.stats().pool_bytes, device_size() / HUGE_PAGE * HUGE_PAGE);
}

/// What a refused pool must not leave behind.
fn is_pool(entry: &std::io::Result<fs::DirEntry>) -> bool {
    entry.as_ref().is_ok_and(|entry| entry.file_name() == "pool")
}

pub(crate) fn a_place_in_use_is_refused_in_words() {
    let builder = Pool::builder().size(16 * MIB);
    let first = builder.on_device(device()).expect("the device");
    let error = builder.on_device(device()).expect_err("a second user");
    assert!(matches!(error, Error::InUse { .. }), "{error:?}");
    assert!(error.to_string().starts_with(&device().display().to_string()), "{error}");
    drop(first);
    builder.on_device(device()).expect("nobody uses it any more");
    let null = builder.on_device("/dev/null").expect_err("not DAX");
    assert!(null.to_string().contains("name a device-DAX node"), "{null}");
    for place in [Place::Ext4File, Place::XfsFile] {
        let path = place.directory().expect("a file").join("twice");
        let first = builder.on_file(&path, OpenMode::Create).expect("a file");
        let error = builder.on_file(&path, OpenMode::Existing).expect_err("a second user");
        assert!(matches!(error, Error::InUse { .. }), "{error:?}");
        drop(first);
        fs::remove_file(&path).expect("our file");
    }
}
