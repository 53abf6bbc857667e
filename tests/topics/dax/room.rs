//! A file system with DAX that is full: no room is `None`, never a signal, and comes back.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use pmem_e2e::run::{SHORT, await_value};
use vmem::{Pool, PurgePolicy};

use crate::place::{MIB, ext4, xfs};
use crate::process::{free_space, storage};
use crate::work::{fill, free_all};

/// What a pool leaves of a file system, and what the file system needs for its own records of a file that is
/// scattered over it.
const LEFT: usize = 8 * MIB;

/// A file that takes space; gone with the value.
struct Filler {
    path: PathBuf,
    bytes: usize,
}

impl Filler {
    fn new(directory: &Path, bytes: usize) -> Filler {
        let path = directory.join("filler");
        let file = File::create(&path).expect("a file");
        let filler = Filler { path, bytes };
        // SAFETY: a plain system call on an open file.
        let result = unsafe { libc::fallocate(file.as_raw_fd(), 0, 0, bytes as libc::off_t) };
        assert_eq!(result, 0, "fallocate of {bytes}: {}", std::io::Error::last_os_error());
        filler
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        let directory = self.path.parent().expect("a file is in a directory");
        let expected = free_space(directory) + self.bytes / 10 * 9;
        fs::remove_file(&self.path).expect("our own file");
        // XFS frees the blocks of a removed file later, in the background.
        await_value("the space of a removed file", SHORT, || {
            (free_space(directory) >= expected).then_some(())
        });
    }
}

pub(crate) fn a_full_file_system_is_none_and_no_signal() {
    for directory in [ext4(), xfs()] {
        let room = free_space(&directory);
        let pool = Pool::in_directory(&directory, room + (64 << 20)).expect("a lazy pool");
        for size in [2 * MIB, 50_000] {
            // Writing is slow in emulation: another file, of which nothing is written, takes the most.
            let _filler = (room > 48 * MIB).then(|| Filler::new(&directory, room - 40 * MIB));
            let room = free_space(&directory);
            let blocks = fill(&pool, size, usize::MAX, 3);
            let used = blocks.len() * size;
            assert!(used + LEFT >= room / 100 * 95, "{used} bytes of {room} in blocks of {size}");
            assert!(used <= room, "{used} bytes where {room} were free");
            assert!(pool.alloc_zeroed(4 * MIB).is_none(), "{}", directory.display());
            pool.check().expect("the structures of the pool agree");
            let count = blocks.len();
            free_all(&pool, blocks);
            let blocks = fill(&pool, size, usize::MAX, 8);
            assert!(blocks.len() >= count / 100 * 97, "{} after {count}", blocks.len());
            free_all(&pool, blocks);
            pool.trim();
        }
    }
}

pub(crate) fn what_another_file_leaves_is_used_and_no_more() {
    for directory in [ext4(), xfs()] {
        let pool = Pool::in_directory(&directory, 64 * MIB).expect("a lazy pool");
        let mut blocks = fill(&pool, 100_000, 50, 1);
        assert_eq!(blocks.len(), 50);
        let filler = Filler::new(&directory, free_space(&directory) - 512 * 1024);
        // What is committed ahead may still be had.
        let more = fill(&pool, 100_000, usize::MAX, 9);
        assert!(more.len() < 100, "{} blocks on a full {}", more.len(), directory.display());
        assert!(pool.alloc(8 * MIB).is_none());
        // What the pool has stays usable: every byte of it is written again.
        blocks.extend(more);
        for (number, block) in blocks.iter_mut().enumerate() {
            block.check();
            block.stamp(number as u8);
        }
        pool.check().expect("the structures of the pool agree");
        drop(filler);
        let more = fill(&pool, 100_000, 300, 9);
        assert_eq!(more.len(), 300, "there is space again on {}", directory.display());
        free_all(&pool, more);
        free_all(&pool, blocks);
    }
}

pub(crate) fn freed_memory_goes_back_to_the_file_system() {
    for directory in [ext4(), xfs()] {
        let before = free_space(&directory);
        let builder = Pool::builder().size(48 * MIB).purge(PurgePolicy::Never);
        let pool = builder.in_directory(&directory).expect("a lazy pool");
        let kept = fill(&pool, 10_000, 10, 1);
        let blocks = fill(&pool, 300_000, 70, 1);
        let full = storage(&directory);
        assert!(full >= 21_000_000, "{full} bytes of storage");
        free_all(&pool, blocks);
        assert_eq!(storage(&directory), full, "nothing goes back by itself");
        let returned = pool.trim();
        let left = storage(&directory);
        assert!(left <= 2 * MIB, "{left} bytes of storage, {returned} were returned");
        assert!(full - left >= returned, "{full} - {left} bytes, {returned} returned");
        assert_eq!(pool.stats().resident_bytes, left as u64);
        let free = free_space(&directory);
        assert!(free + 4 * MIB >= before, "{free} bytes free of {before}");
        free_all(&pool, kept);
        drop(pool);
        assert_eq!(storage(&directory), 0);

        // Without a trim, at once.
        let builder = Pool::builder().size(48 * MIB).purge(PurgePolicy::Immediate);
        let pool = builder.in_directory(&directory).expect("a lazy pool");
        let blocks = fill(&pool, 300_000, 60, 1);
        let full = storage(&directory);
        free_all(&pool, blocks);
        let left = storage(&directory);
        assert!(full >= 18_000_000 && left <= 2 * MIB, "{full} bytes of storage, then {left}");
    }
}
