//! Reserved huge pages, and huge pages of tmpfs.

use std::fs;
use std::process::Command;

use vmem::{Error, HugePageSize, HugePages, Pool, PurgePolicy};

use crate::place::{HUGE_PAGE, MIB};
use crate::process::number_in;
use crate::work::{fill, free_all};

/// Huge pages of the system that nobody has.
fn free_pages() -> usize {
    number_in("/proc/meminfo", "HugePages_Free:")
}

pub(crate) fn blocks_lie_in_huge_pages_until_these_run_out() {
    let pages = free_pages();
    assert!(pages >= 24, "the machine has reserved {pages}");
    let pool = Pool::builder().size(2 * pages * HUGE_PAGE);
    let pool = pool.memory_file(Some(HugePageSize::Mib2)).expect("a lazy pool takes nothing yet");
    for size in [HUGE_PAGE, 20_000] {
        let blocks = fill(&pool, size, usize::MAX, 1);
        let used = blocks.len() * size;
        assert!(used >= (pages - 1) * HUGE_PAGE / 100 * 85, "{used} bytes in {pages} pages");
        assert!(used <= pages * HUGE_PAGE, "{used} bytes in {pages} pages");
        assert_eq!(free_pages(), 0, "huge pages are left, and there was no room");
        assert!(pool.alloc_zeroed(HUGE_PAGE).is_none());
        pool.check().expect("the structures of the pool agree");
        let count = blocks.len();
        free_all(&pool, blocks);
        let blocks = fill(&pool, size, usize::MAX, 1);
        assert!(blocks.len() >= count / 100 * 97, "{} after {count}", blocks.len());
        free_all(&pool, blocks);
    }
}

pub(crate) fn huge_pages_go_back_to_the_system() {
    let pages = free_pages();
    let pool = Pool::builder().size(16 * HUGE_PAGE).purge(PurgePolicy::Never);
    let pool = pool.memory_file(Some(HugePageSize::Mib2)).expect("a lazy pool takes nothing yet");
    assert_eq!(free_pages(), pages);
    let blocks = fill(&pool, HUGE_PAGE, 12, 1);
    assert_eq!(blocks.len(), 12);
    assert!(free_pages() <= pages - 12, "{} of {pages}", free_pages());
    free_all(&pool, blocks);
    assert!(pool.trim() >= 11 * HUGE_PAGE);
    assert!(free_pages() >= pages - 1, "{} of {pages} after a trim", free_pages());
    drop(pool);
    assert_eq!(free_pages(), pages, "the pool is gone");
}

pub(crate) fn more_huge_pages_than_there_are_cannot_be_preallocated() {
    let pages = free_pages();
    let builder = Pool::builder().size((pages + 1) * HUGE_PAGE).prealloc(true);
    let error = builder.memory_file(Some(HugePageSize::Mib2)).expect_err("too many");
    assert!(matches!(error, Error::NoSpace { .. }), "{error:?}");
    assert!(error.to_string().contains("vm.nr_hugepages"), "{error}");
    assert_eq!(free_pages(), pages, "a refused pool keeps nothing");
    let builder = Pool::builder().size(pages * HUGE_PAGE).prealloc(true);
    let pool = builder.memory_file(Some(HugePageSize::Mib2)).expect("exactly as many");
    assert_eq!(free_pages(), 0);
    let blocks = fill(&pool, HUGE_PAGE, usize::MAX, 1);
    assert_eq!(blocks.len(), pages);
    free_all(&pool, blocks);
}

pub(crate) fn advised_pools_on_tmpfs_are_served_in_huge_pages() {
    let point = "/run/huge";
    fs::create_dir(point).expect("a mount point");
    let options = ["-t", "tmpfs", "-o", "huge=advise,size=256m", "tmpfs", point];
    let mount = Command::new("mount").args(options).status().expect("mount");
    assert!(mount.success(), "mount {options:?}: {mount}");
    for (policy, prealloc) in
        [(HugePages::Never, false), (HugePages::Advise, false), (HugePages::Advise, true)]
    {
        let builder = Pool::builder().size(64 * MIB).huge_pages(policy).prealloc(prealloc);
        let pool = builder.in_directory(point).expect("a pool");
        let blocks = fill(&pool, 48 * MIB, 1, 1);
        assert_eq!(blocks.len(), 1);
        let large = mapped_huge(&pool);
        free_all(&pool, blocks);
        pool.trim();
        let blocks = fill(&pool, 40_000, 1000, 1);
        assert_eq!(blocks.len(), 1000);
        let small = mapped_huge(&pool);
        println!(
            "{policy:?}, prealloc {prealloc}: in huge pages are {} MiB of a block of 48 MiB, and {} MiB of \
             38 MiB in blocks of 40,000 bytes",
            large / MIB,
            small / MIB
        );
        match policy {
            HugePages::Never => assert_eq!((large, small), (0, 0), "nobody asked for huge pages"),
            HugePages::Advise => {
                assert!(large >= 48 * MIB, "{large} bytes of a large block are in huge pages");
                // Some of it is in small pages: after a trim, what was given back next to it.
                assert!(small >= 16 * MIB, "{small} bytes of small blocks are in huge pages");
            }
        }
        free_all(&pool, blocks);
        pool.check().expect("the structures of the pool agree");
    }
    let umount = Command::new("umount").arg(point).status().expect("umount");
    assert!(umount.success(), "{umount}");
}

/// Bytes of the pool that the page tables map in huge pages.
fn mapped_huge(pool: &Pool) -> usize {
    let start = pool.range().cast::<u8>().addr().get();
    let end = start + pool.range().len();
    let text = fs::read_to_string("/proc/self/smaps").expect("smaps");
    let (mut inside, mut kib) = (false, 0);
    for line in text.lines() {
        let first = line.split(' ').next().unwrap_or_default();
        if let Some((from, to)) = first.split_once('-')
            && let (Ok(from), Ok(to)) =
                (usize::from_str_radix(from, 16), usize::from_str_radix(to, 16))
        {
            inside = start <= from && to <= end;
        } else if inside && ["ShmemPmdMapped:", "FilePmdMapped:"].contains(&first) {
            let number = line.split_whitespace().nth(1).expect("a number");
            kib += number.parse::<usize>().expect("a number");
        }
    }
    kib << 10
}
