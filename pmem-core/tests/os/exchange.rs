//! Exchanging what two ranges show.

use std::fs;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use pmem_core::errno::Errno;
use pmem_core::source::{HugePageSize, OpenMode, Purged, Source};

use crate::{MIB, stamp, stamped};
use pmem_test_support::child;
use pmem_test_support::tmpfs::SmallTmpfs;

const CHUNK: usize = Source::CHUNK;

fn on_disk(len: usize) -> Source {
    let directory = std::env::temp_dir();
    let path = std::ffi::CString::new(directory.to_str().unwrap()).unwrap();
    Source::in_directory(&path, len).unwrap()
}

/// One of each kind that can do it.
fn sources(len: usize) -> [Source; 4] {
    [
        Source::in_directory(c"/dev/shm", len).unwrap(),
        on_disk(len),
        Source::memfd(len, None).unwrap(),
        Source::anonymous(len).unwrap(),
    ]
}

struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % limit
    }
}

/// # Safety
/// As for the exchange.
unsafe fn exchange(source: &Source, a: usize, b: usize, count: usize) -> Result<(), Errno> {
    // SAFETY: contract.
    unsafe { source.exchange(a * CHUNK, b * CHUNK, count * CHUNK) }
}

fn set_limit(resource: libc::__rlimit_resource_t, soft: u64) {
    let limit = libc::rlimit { rlim_cur: soft, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: `limit` is readable.
    assert_eq!(unsafe { libc::setrlimit(resource, &raw const limit) }, 0);
}

/// Number of mappings of a source.
fn mappings(source: &Source) -> usize {
    let (start, end) = (source.base().addr().get(), source.base().addr().get() + source.len());
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let first = |line: &str| usize::from_str_radix(line.split('-').next().unwrap(), 16).unwrap();
    maps.lines().filter(|line| (start..end).contains(&first(line))).count()
}

#[test]
fn content_follows_any_number_of_exchanges() {
    const COUNT: usize = 24;
    for source in sources(COUNT * CHUNK) {
        println!("{:?}", source.kind());
        source.commit(0, source.len()).unwrap();
        let mut naive: Vec<u8> = (1..=COUNT as u8).collect();
        for (chunk, &byte) in naive.iter().enumerate() {
            stamp(&source, chunk * CHUNK, CHUNK, byte);
        }
        let mut numbers = Numbers(source.kind() as u64 + 1);
        for round in 0..150 {
            let len = 1 + numbers.below(COUNT / 3);
            let (a, b) = (numbers.below(COUNT - len), numbers.below(COUNT - len));
            if a.abs_diff(b) < len {
                continue;
            }
            // SAFETY: only this thread uses the source.
            unsafe { exchange(&source, a, b, len) }.unwrap();
            (0..len).for_each(|n| naive.swap(a + n, b + n));
            // Stores after the exchange stay as well.
            let changed = numbers.below(COUNT);
            naive[changed] = round as u8;
            stamp(&source, changed * CHUNK, CHUNK, round as u8);
            for (chunk, &byte) in naive.iter().enumerate() {
                assert!(stamped(&source, chunk * CHUNK, CHUNK, byte), "chunk {chunk}");
            }
        }
    }
}

/// What is committed, where, and what a purge gives back: the space goes with the content.
#[test]
fn space_goes_along() {
    let disk = on_disk(16 * MIB);
    for source in [Source::in_directory(c"/dev/shm", 16 * MIB).unwrap(), disk] {
        // But for what a disk file system notes.
        let used = || source.resident_bytes() as usize / CHUNK * CHUNK;
        source.commit(0, 2 * CHUNK).unwrap();
        stamp(&source, 0, 2 * CHUNK, 7);
        let before = used();
        assert!(before >= 2 * CHUNK);
        // SAFETY: only this thread uses the source.
        unsafe { exchange(&source, 0, 4, 2) }.unwrap();
        assert_eq!(used(), before);
        source.commit(4 * CHUNK, 2 * CHUNK).unwrap();
        assert_eq!(used(), before, "has its space");
        // One chunk that showed itself all the time, and one that came.
        source.commit(3 * CHUNK, 2 * CHUNK).unwrap();
        assert_eq!(used(), before + CHUNK, "half of it has its space");
        source.commit(0, CHUNK).unwrap();
        assert_eq!(used(), before + 2 * CHUNK, "where the content was there is none");
        stamp(&source, 0, CHUNK, 8);
        stamp(&source, 3 * CHUNK, CHUNK, 9);
        assert_eq!(source.purge(3 * CHUNK, 2 * CHUNK), Purged::Zeroed);
        assert_eq!(used(), before);
        assert!(stamped(&source, 5 * CHUNK, CHUNK, 7) && stamped(&source, 0, CHUNK, 8));
        source.commit(3 * CHUNK, 2 * CHUNK).unwrap();
        assert!(stamped(&source, 3 * CHUNK, 2 * CHUNK, 0));
        source.commit_writable(CHUNK, CHUNK).unwrap();
        assert_eq!(used(), before + 3 * CHUNK);
        assert_eq!(source.purge(0, source.len()), Purged::Zeroed);
        assert_eq!(used(), 0);
    }
}

#[test]
fn without_a_descriptor_all_goes_through_the_mapping() {
    child::run("exchange::without_a_descriptor_all_goes_through_the_mapping", || {
        let source = Source::in_directory(c"/dev/shm", 16 * MIB).unwrap();
        source.commit(0, CHUNK).unwrap();
        stamp(&source, 0, CHUNK, 7);
        // SAFETY: nothing in this process needs its descriptors above 2.
        unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) };
        // SAFETY: only this thread uses the source.
        unsafe { exchange(&source, 0, 3, 2) }.unwrap();
        source.commit(0, 4 * CHUNK).unwrap();
        stamp(&source, 0, CHUNK, 8);
        assert!(stamped(&source, 3 * CHUNK, CHUNK, 7));
        assert_eq!(source.purge(3 * CHUNK, CHUNK), Purged::Zeroed);
        assert!(stamped(&source, 0, CHUNK, 8));
    });
}

/// A limit of the file system holds for what is committed after an exchange too.
#[test]
fn a_full_file_system_is_an_error_after_an_exchange() {
    let Some(tmpfs) = SmallTmpfs::mount(4 * MIB) else {
        return;
    };
    let source = Source::in_directory(tmpfs.c_path(), 16 * MIB).unwrap();
    source.commit(0, CHUNK).unwrap();
    // SAFETY: only this thread uses the source.
    unsafe { exchange(&source, 0, 5, 1) }.unwrap();
    assert_eq!(source.commit(0, 2 * CHUNK), Err(Errno::ENOSPC));
    assert_eq!(source.purge(0, 2 * CHUNK), Purged::Zeroed);
    source.commit(4 * CHUNK, 2 * CHUNK).unwrap();
    stamp(&source, 4 * CHUNK, 2 * CHUNK, 1);
    assert_eq!(tmpfs.free(), 0);
}

#[test]
fn other_ranges_are_refused() {
    let refused = |source: &Source, a, b, len, errno| {
        // SAFETY: only this thread uses the source.
        assert_eq!(unsafe { source.exchange(a, b, len) }, Err(errno), "{a:#x} {b:#x} {len:#x}");
    };
    let source = Source::in_directory(c"/dev/shm", 16 * MIB + 4096).unwrap();
    source.commit(0, 2 * CHUNK).unwrap();
    stamp(&source, 0, 2 * CHUNK, 1);
    for (a, b, len) in [
        (4096, 2 * CHUNK, CHUNK),
        (0, 2 * CHUNK + 4096, CHUNK),
        (0, 2 * CHUNK, 4096),
        (0, CHUNK, 2 * CHUNK),
        (CHUNK, 0, 2 * CHUNK),
        (0, 0, CHUNK),
        (0, 8 * CHUNK, CHUNK),
        (0, usize::MAX - CHUNK + 1, CHUNK),
    ] {
        refused(&source, a, b, len, Errno::EINVAL);
    }
    // SAFETY: only this thread uses the source.
    assert_eq!(unsafe { exchange(&source, 0, 2, 0) }, Ok(()));
    assert!(source.can_exchange() && stamped(&source, 0, 2 * CHUNK, 1));

    let memory = Source::anonymous(16 * MIB).unwrap();
    // SAFETY: inside the memory, which outlives it.
    let region = unsafe { Source::caller_region(memory.base(), 16 * MIB) }.unwrap();
    let huge = Source::memfd(16 * MIB, Some(HugePageSize::Mib2));
    for source in [Ok(region), huge].into_iter().flatten() {
        assert!(!source.can_exchange());
        refused(&source, 0, CHUNK, CHUNK, Errno::EOPNOTSUPP);
    }
}

/// Freezing, sharing again, and a file for a child, all over ranges in several pieces.
#[test]
fn fork_calls_find_the_exchanged_parts_of_the_file() {
    child::run("exchange::fork_calls_find_the_exchanged_parts_of_the_file", || {
        let path = format!("/dev/shm/pmem-core-exchange-{}", std::process::id());
        let c_path = std::ffi::CString::new(path.as_str()).unwrap();
        let source = Source::named_file(&c_path, 16 * MIB, OpenMode::CreateNew).unwrap();
        let file = fs::File::open(&path).unwrap();
        fs::remove_file(path).unwrap();
        let in_file = |chunk: usize| {
            let mut byte = [0];
            file.read_exact_at(&mut byte, (chunk * CHUNK) as u64).unwrap();
            byte[0]
        };
        source.commit(0, 16 * MIB).unwrap();
        for chunk in 0..8 {
            stamp(&source, chunk * CHUNK, CHUNK, 10 + chunk as u8);
        }
        // SAFETY: only this thread uses the source.
        unsafe {
            exchange(&source, 1, 5, 2).unwrap();
            exchange(&source, 2, 4, 1).unwrap();
        }
        let shown = [10, 15, 14, 13, 16, 11, 12, 17];
        let as_shown = |add: u8| {
            shown.iter().enumerate().all(|(chunk, &byte)| {
                let add = if (1..6).contains(&chunk) { add } else { 0 };
                stamped(&source, chunk * CHUNK, CHUNK, byte + add)
            })
        };
        assert!(as_shown(0));
        source.freeze(CHUNK, 5 * CHUNK).unwrap();
        assert!(as_shown(0), "frozen content is the same");
        for (chunk, &byte) in shown.iter().enumerate().take(6).skip(1) {
            stamp(&source, chunk * CHUNK, CHUNK, byte + 100);
        }
        assert!((0..8).all(|chunk| in_file(chunk) == 10 + chunk as u8), "stays in this process");

        let clone = source.new_clone().unwrap();
        source.copy_to_clone(&clone, 0, 6 * CHUNK).unwrap();
        let code = child::fork(|| {
            // SAFETY: one thread; what is not copied is not needed.
            unsafe { source.adopt_clone(clone) }.unwrap();
            let seen = |chunk: usize| shown[chunk] + if chunk == 0 { 0 } else { 100 };
            for chunk in 0..6 {
                assert!(stamped(&source, chunk * CHUNK, CHUNK, seen(chunk)));
            }
            // The clone shows as it lies, and is exchanged again.
            assert_eq!(source.run(0, source.len()), source.len());
            source.commit(0, source.len()).unwrap();
            // SAFETY: one thread.
            unsafe { exchange(&source, 0, 7, 1) }.unwrap();
            stamp(&source, 0, CHUNK, 99);
            assert!(stamped(&source, 7 * CHUNK, CHUNK, 10));
            source.freeze(0, source.len()).unwrap();
            assert!(stamped(&source, 0, CHUNK, 99) && stamped(&source, 7 * CHUNK, CHUNK, 10));
        });
        assert_eq!(code, 0);
        assert!(as_shown(100));
        source.share(CHUNK, 5 * CHUNK).unwrap();
        assert!(as_shown(0), "the file shows again");
        stamp(&source, 2 * CHUNK, CHUNK, 77);
        assert_eq!(in_file(4), 77);
        // SAFETY: only this thread uses the source.
        unsafe { exchange(&source, 0, 2, 1) }.unwrap();
        assert!(stamped(&source, 0, CHUNK, 77) && stamped(&source, 2 * CHUNK, CHUNK, 10));
    });
}

/// What has been exchanged stays out of core files, keeps asking for huge pages, and goes back into few
/// mappings.
#[test]
fn advice_goes_along() {
    child::run("exchange::advice_goes_along", || {
        for source in sources(32 * MIB) {
            source.advise_huge(0, source.len());
            source.dont_dump(true);
            source.commit(0, source.len()).unwrap();
            stamp(&source, 0, source.len(), 1);
            let before = mappings(&source);
            // SAFETY: only this thread uses the source.
            unsafe {
                exchange(&source, 1, 9, 3).unwrap();
                exchange(&source, 0, 4, 2).unwrap();
            }
            assert!(mappings(&source) > before);
            let smaps = fs::read_to_string("/proc/self/smaps").unwrap();
            let (start, end) =
                (source.base().addr().get(), source.base().addr().get() + source.len());
            let (mut inside, mut seen) = (false, 0);
            for line in smaps.lines() {
                let mut words = line.split(['-', ' ']);
                if let Ok(address) = usize::from_str_radix(words.next().unwrap(), 16)
                    && words.next().is_some_and(|word| usize::from_str_radix(word, 16).is_ok())
                {
                    inside = (start..end).contains(&address);
                } else if inside && line.starts_with("VmFlags:") {
                    let has = |flag| line.split_whitespace().any(|word| word == flag);
                    assert!(has("dd") && has("hg"), "{line}");
                    seen += 1;
                }
            }
            assert!(seen > 3, "{seen} mappings");
            // SAFETY: only this thread uses the source.
            unsafe {
                exchange(&source, 0, 4, 2).unwrap();
                exchange(&source, 1, 9, 3).unwrap();
            }
            assert!(stamped(&source, 0, source.len(), 1));
            assert_eq!(mappings(&source), before);
        }
    });
}

/// Whichever step fails, nothing has changed; then it works.
#[test]
fn a_failed_exchange_changes_nothing() {
    child::run("exchange::a_failed_exchange_changes_nothing", || {
        for source in sources(32 * MIB) {
            source.commit(0, source.len()).unwrap();
            let fill = || {
                for chunk in 0..16 {
                    stamp(&source, chunk * CHUNK, CHUNK, chunk as u8);
                }
            };
            fill();
            // Three pieces on each side.
            // SAFETY: only this thread uses the source.
            unsafe { exchange(&source, 2, 12, 1) }.unwrap();
            fill();
            let before = mappings(&source);
            let mut failures = 0;
            loop {
                source.set_fault_after(failures);
                // SAFETY: as above.
                let result = unsafe { exchange(&source, 1, 9, 3) };
                source.set_fault_after(u64::MAX);
                if result.is_ok() {
                    break;
                }
                assert_eq!(result, Err(Errno::ENOSPC));
                failures += 1;
                for chunk in 0..16 {
                    assert!(stamped(&source, chunk * CHUNK, CHUNK, chunk as u8), "{failures}");
                }
                assert_eq!(mappings(&source), before);
            }
            assert_eq!(failures, 1 + 6, "the call, and three mappings of each range");
            let chunks = [0, 9, 10, 11, 4, 5, 6, 7, 8, 1, 2, 3, 12, 13, 14, 15];
            for (chunk, byte) in chunks.into_iter().enumerate() {
                assert!(stamped(&source, chunk * CHUNK, CHUNK, byte));
            }
        }
    });
}

/// A process has about 65,000 mappings. Close to that an exchange works or is refused, and nothing is
/// lost.
#[test]
fn too_many_mappings_are_an_error() {
    child::run("exchange::too_many_mappings_are_an_error", || {
        let limit = fs::read_to_string("/proc/sys/vm/max_map_count").unwrap();
        let limit: usize = limit.trim().parse().unwrap();
        if limit > 1 << 20 {
            pmem_core::fmt::write_stderr(b"NOT CHECKED: vm.max_map_count is very large\n");
            return;
        }
        let sources = sources(32 * MIB);
        for source in &sources {
            source.commit(0, source.len()).unwrap();
            for chunk in 0..16 {
                stamp(source, chunk * CHUNK, CHUNK, chunk as u8);
            }
        }
        let filler = Source::anonymous((limit + 2) * 4096).unwrap();
        let protect = |page: usize, pages: usize, protection: i32| {
            // SAFETY: inside the filler, which holds nothing.
            let result = unsafe {
                let address = filler.base().as_ptr().add(page * 4096);
                libc::mprotect(address.cast(), pages * 4096, protection)
            };
            result == 0
        };
        let usable = libc::PROT_READ | libc::PROT_WRITE;
        let (mut refused, mut done) = (0, 0);
        // Even and odd numbers of mappings.
        for one_more in [None, Some(Source::memfd(4096, None).unwrap())] {
            // Neighbours that differ are mappings of their own.
            assert!(protect(0, limit + 2, usable));
            let mut last = 1;
            while protect(last, 1, libc::PROT_NONE) {
                last += 2;
            }
            assert!(last + 1_000 > limit, "{last}");
            // Room for a few mappings more from time to time.
            for step in 0..60 {
                for source in &sources {
                    // SAFETY: only this thread uses the source.
                    let once = || unsafe { exchange(source, 2, 8, 4) };
                    match once() {
                        Err(errno) => {
                            assert_eq!(errno, Errno::ENOMEM, "step {step}");
                            refused += 1;
                        }
                        Ok(()) => {
                            let moved =
                                |n: usize| stamped(source, (2 + n) * CHUNK, CHUNK, 8 + n as u8);
                            assert!((0..4).all(moved));
                            // Back again.
                            while let Err(errno) = once() {
                                assert_eq!(errno, Errno::ENOMEM);
                                last -= 2;
                                assert!(protect(last, 1, usable));
                            }
                            done += 1;
                        }
                    }
                    for chunk in 0..16 {
                        let byte = chunk as u8;
                        assert!(stamped(source, chunk * CHUNK, CHUNK, byte), "chunk {chunk}");
                    }
                }
                last -= 2;
                assert!(protect(last, 1, usable));
            }
            drop(one_more);
        }
        assert!(refused > 0 && done > 0, "{refused} refused, {done} done");
    });
}

#[test]
fn too_little_address_space_is_an_error_of_an_exchange() {
    child::run("exchange::too_little_address_space_is_an_error_of_an_exchange", || {
        for source in sources(32 * MIB) {
            source.commit(0, source.len()).unwrap();
            stamp(&source, 0, 4 * CHUNK, 1);
            let status = fs::read_to_string("/proc/self/statm").unwrap();
            let pages: u64 = status.split_whitespace().next().unwrap().parse().unwrap();
            set_limit(libc::RLIMIT_AS, pages * 4096 + 6 * MIB as u64);
            // SAFETY: only this thread uses the source.
            let result = unsafe { exchange(&source, 0, 8, 4) };
            set_limit(libc::RLIMIT_AS, libc::RLIM_INFINITY);
            assert_eq!(result, Err(Errno::ENOMEM));
            assert!(stamped(&source, 0, 4 * CHUNK, 1));
            // SAFETY: as above.
            unsafe { exchange(&source, 0, 8, 4) }.unwrap();
            assert!(stamped(&source, 8 * CHUNK, 4 * CHUNK, 1));
        }
    });
}

/// Every address of a source stays mapped at all times: no other thread gets one.
#[test]
fn no_other_thread_gets_an_address_of_the_source() {
    for source in sources(32 * MIB) {
        source.commit(0, source.len()).unwrap();
        stamp(&source, 0, source.len(), 1);
        let (start, len) = (source.base().addr().get(), source.len());
        let (done, rounds) = (AtomicBool::new(false), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            let other = scope.spawn(|| {
                while !done.load(Relaxed) {
                    let size = CHUNK << (rounds.fetch_add(1, Relaxed) % 3);
                    // SAFETY: a new mapping, which goes again.
                    unsafe {
                        let (all, anonymous) =
                            (libc::PROT_READ, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
                        let memory = libc::mmap(std::ptr::null_mut(), size, all, anonymous, -1, 0);
                        assert_ne!(memory, libc::MAP_FAILED);
                        let inside = memory.addr() + size > start && memory.addr() < start + len;
                        assert!(!inside, "an address of the source");
                        libc::munmap(memory, size);
                    }
                }
            });
            let mut round = 0;
            while round < 500 || (rounds.load(Relaxed) < 500 && !other.is_finished()) {
                // SAFETY: the other thread does not use the source.
                unsafe { exchange(&source, round % 4, 8 + round % 3, 1 + round % 4) }.unwrap();
                round += 1;
            }
            done.store(true, Relaxed);
            other.join().unwrap();
        });
        assert!(stamped(&source, 0, source.len(), 1));
    }
}
