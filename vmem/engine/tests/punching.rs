//! Pages inside of slabs on which no slot is in use go back to the source, and come again: nothing that
//! lives is touched, whatever else happens meanwhile.
#![cfg(not(miri))]

#[path = "support/random.rs"]
#[allow(dead_code, reason = "shared by several tests")]
mod random;
#[path = "support/thinning.rs"]
#[allow(dead_code, reason = "shared by several tests")]
mod thinning;

use pmem_core::source::Source;
use pmem_test_support::tmpfs::SmallTmpfs;
use random::Random;
use std::thread::sleep;
use std::time::{Duration, Instant};
use thinning::{Block, MIB, MODES, PAGE, SIZES, fill, free_all, pages_of, sources, thin_out};
use vmem_engine::{Harden, HugePages, Pool, PoolOptions, PurgePolicy};

/// What a trim leaves is what the survivors lie on, where the source can take pages back at all.
#[test]
fn a_trim_leaves_the_pages_of_the_survivors() {
    for harden in MODES {
        for (name, source) in sources() {
            let small_pages = source.can_purge() && source.granule() == PAGE;
            let pool =
                Pool::create(source, &PoolOptions { harden, ..PoolOptions::default() }).unwrap();
            let mut random = Random::new(9);
            for size in SIZES {
                let blocks = fill(&pool, size, 2 * MIB);
                let kept = thin_out(&pool, blocks, 30, &mut random);
                pool.trim();
                pool.check().unwrap();
                let committed = pool.stats().committed_bytes / PAGE;
                if small_pages {
                    // In a hardened pool some blocks have a slot of the next class.
                    let more = if harden == Harden::Off { 0 } else { pages_of(&kept) / 8 };
                    let most = pages_of(&kept) + more;
                    assert!(committed <= most, "{name}, {harden:?}, {size} bytes: {committed}");
                }
                assert!(committed >= pages_of(&kept));
                assert!(kept.iter().all(Block::is_whole), "{name}, {size} bytes");
                // The same slabs again.
                let mut blocks = fill(&pool, size, 2 * MIB);
                pool.check().unwrap();
                blocks.extend(kept);
                free_all(&pool, blocks);
            }
        }
    }
}

/// The decay time is enough, in a program that goes on allocating; before it nothing goes.
#[test]
fn empty_pages_go_back_after_the_decay_time() {
    for harden in MODES {
        let options =
            PoolOptions { purge: PurgePolicy::AfterMs(100), harden, ..PoolOptions::default() };
        let source = Source::in_directory(c"/dev/shm", 64 * MIB).unwrap();
        let pool = Pool::create(source, &options).unwrap();
        let kept = thin_out(&pool, fill(&pool, 1000, 16 * MIB), 50, &mut Random::new(1));
        let begin = Instant::now();
        let enough = pages_of(&kept) + 64;
        while pool.stats().committed_bytes / PAGE > enough {
            assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", pool.stats());
            sleep(Duration::from_millis(1));
            // Slow paths, of another size.
            let blocks = fill(&pool, 20_000, 100_000);
            blocks.into_iter().for_each(|block| block.free(&pool));
        }
        pool.check().unwrap();
        free_all(&pool, kept);
    }
}

/// Nothing is given back but by a trim where the policy says so.
#[test]
fn a_pool_that_never_gives_back_keeps_its_pages() {
    for prealloc in [false, true] {
        let options = PoolOptions { purge: PurgePolicy::Never, prealloc, ..PoolOptions::default() };
        let source = Source::in_directory(c"/dev/shm", 64 * MIB).unwrap();
        let pool = Pool::create(source, &options).unwrap();
        let kept = thin_out(&pool, fill(&pool, 1000, 8 * MIB), 50, &mut Random::new(1));
        for _ in 0..50 {
            sleep(Duration::from_millis(2));
            fill(&pool, 20_000, 100_000).into_iter().for_each(|block| block.free(&pool));
        }
        assert_eq!(pool.stats().purged_bytes, 0);
        pool.trim();
        assert_eq!(pool.stats().committed_bytes / PAGE, pages_of(&kept));
        free_all(&pool, kept);
    }
}

/// A huge page is not broken up by age.
#[test]
fn huge_pages_are_not_broken_up() {
    let options = PoolOptions {
        purge: PurgePolicy::AfterMs(1),
        huge_pages: HugePages::Advise,
        ..PoolOptions::default()
    };
    for source in
        [Source::anonymous(65 * MIB).unwrap(), Source::in_directory(c"/dev/shm", 65 * MIB).unwrap()]
    {
        let pool = Pool::create(source, &options).unwrap();
        let kept = thin_out(&pool, fill(&pool, 1000, 8 * MIB), 50, &mut Random::new(1));
        for _ in 0..50 {
            sleep(Duration::from_millis(2));
            fill(&pool, 20_000, 100_000).into_iter().for_each(|block| block.free(&pool));
        }
        let units = pool.stats().purged_bytes % (2 << 20);
        assert_eq!(units, 0, "{:?}", pool.stats());
        pool.trim();
        assert_eq!(pool.stats().committed_bytes / PAGE, pages_of(&kept));
        free_all(&pool, kept);
    }
}

/// Random sizes and thinnings, with trims in between, every operation checked by content.
#[test]
fn slabs_that_breathe_lose_nothing() {
    for (name, source) in sources() {
        let options = PoolOptions { purge: PurgePolicy::AfterMs(1), ..PoolOptions::default() };
        let pool = Pool::create(source, &options).unwrap();
        let mut random = Random::new(77);
        let mut live: Vec<Block> = Vec::new();
        for round in 0..30 {
            let size = SIZES[random.below(SIZES.len())];
            live.extend(fill(&pool, size, random.below(MIB)));
            random.shuffle(&mut live);
            live = thin_out(&pool, live, 1 + random.below(3), &mut random);
            while live.iter().map(|block| block.size).sum::<usize>() > 6 * MIB {
                live.pop().unwrap().free(&pool);
            }
            if round % 3 == 0 {
                pool.trim();
            }
            pool.check().unwrap_or_else(|fault| panic!("{name}: {fault}"));
        }
        free_all(&pool, live);
    }
}

/// Each call to the source fails in turn while pages come again: an allocation may fail, nothing else.
#[test]
fn no_space_for_the_pages_of_a_slab_is_survived() {
    let mut failures = 0;
    for n in 0.. {
        let source = Source::in_directory(c"/dev/shm", 16 * MIB).unwrap();
        let options = PoolOptions { purge: PurgePolicy::Never, ..PoolOptions::default() };
        let pool = Pool::create(source, &options).unwrap();
        let mut random = Random::new(3);
        let mut live = Vec::new();
        for size in [200, 3000] {
            live.extend(thin_out(&pool, fill(&pool, size, MIB / 2), 20, &mut random));
        }
        pool.trim();
        pool.source().set_fault_after(n);
        for step in 0..400 {
            match Block::new(&pool, if step % 2 == 0 { 200 } else { 3000 }, step as u8 | 1) {
                Some(block) => live.push(block),
                None => failures += 1,
            }
            pool.check().unwrap();
        }
        assert!(live.iter().all(Block::is_whole));
        let source = pool.source();
        let come = (0..=n).any(|_| source.commit(0, source.granule()).is_err());
        source.set_fault_after(u64::MAX);
        free_all(&pool, live);
        if come {
            assert!(n > 20, "{n}");
            println!("{n} calls failed in turn, {failures} allocations");
            return;
        }
    }
}

/// Nothing can be backed any more: the slots on backed pages are there for use all the same, and what
/// has no place fails.
#[test]
fn a_full_file_system_leaves_what_is_backed() {
    let Some(tmpfs) = SmallTmpfs::mount(8 * MIB) else { return };
    let source = Source::in_directory(tmpfs.c_path(), 16 * MIB).unwrap();
    let pool = Pool::create(source, &PoolOptions::default()).unwrap();
    let mut kept = thin_out(&pool, fill(&pool, 200, MIB), 40, &mut Random::new(3));
    pool.trim();
    let before = pool.stats().committed_bytes;
    // Somebody else takes the rest.
    let rest = Source::in_directory(tmpfs.c_path(), 8 * MIB).unwrap();
    let taken = (0..8 * MIB / PAGE).take_while(|page| rest.commit(page * PAGE, PAGE).is_ok());
    assert!(taken.count() > 100);
    while let Some(block) = Block::new(&pool, 200, 7) {
        kept.push(block);
        assert!(kept.len() < MIB / 200);
    }
    pool.check().unwrap();
    assert!(kept.iter().all(Block::is_whole));
    assert_eq!(pool.stats().committed_bytes, before);
    // All but a rest of each page is in use.
    assert!(pool.stats().allocated_bytes * 10 > before * 8, "{:?}", pool.stats());
    drop(rest);
    kept.extend(fill(&pool, 200, MIB));
    free_all(&pool, kept);
}

/// A punched slot is free: freeing it once more is noticed, and its old content is not.
#[test]
fn poison_is_forgotten_with_the_page() {
    let options = PoolOptions { harden: Harden::Poison, ..PoolOptions::default() };
    let pool = Pool::create(Source::anonymous(64 * MIB).unwrap(), &options).unwrap();
    for size in SIZES {
        let kept = thin_out(&pool, fill(&pool, size, 4 * MIB), 25, &mut Random::new(2));
        pool.trim();
        // Reports and aborts if the slots' memory is expected to be as it was.
        let mut again = fill(&pool, size, 4 * MIB);
        again.extend(kept);
        free_all(&pool, again);
    }
}
