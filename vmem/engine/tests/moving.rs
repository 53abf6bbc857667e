//! Large blocks that grow and have no room behind them: mappings move in place of bytes. Content, space
//! and isolation must not notice.

#[path = "support/process.rs"]
#[allow(dead_code, reason = "shared by several tests")]
mod process;
#[path = "support/random.rs"]
#[allow(dead_code, reason = "shared by several tests")]
mod random;

use pmem_core::source::{Source, SourceKind};
use pmem_test_support::child;
use pmem_test_support::tmpfs::SmallTmpfs;
use random::Random;
use std::ffi::CString;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use vmem_engine::fork::{self, ForkMode};
use vmem_engine::{Pool, PoolOptions, PurgePolicy};

const MIB: usize = 1 << 20;
const PAGE: usize = 4096;

fn on_tmpfs(len: usize) -> Source {
    Source::in_directory(c"/dev/shm", len).unwrap()
}

fn on_disk(len: usize) -> Source {
    let directory = std::env::temp_dir();
    let path = CString::new(directory.to_str().unwrap()).unwrap();
    Source::in_directory(&path, len).unwrap()
}

fn in_memory(len: usize) -> Source {
    Source::memfd(len, None).unwrap()
}

fn anonymous(len: usize) -> Source {
    Source::anonymous(len).unwrap()
}

/// Makes a source of so many bytes.
type Make = fn(usize) -> Source;

const SOURCES: [(&str, Make); 4] =
    [("tmpfs", on_tmpfs), ("disk", on_disk), ("memfd", in_memory), ("anonymous", anonymous)];

fn pool(source: Source, purge: PurgePolicy) -> Pool {
    Pool::create(source, &PoolOptions { purge, ..PoolOptions::default() }).unwrap()
}

/// Whether a mapping of the pool has moved, and is not back in its place.
fn has_moved(pool: &Pool) -> bool {
    pool.source().run(0, pool.range().1) < pool.range().1
}

/// A block with numbers of its own in each page: which page this is, and whose.
struct Block {
    pointer: *mut u8,
    size: usize,
    number: u64,
}

// SAFETY: a block belongs to whoever has it.
unsafe impl Send for Block {}
// SAFETY: shared only to be looked at.
unsafe impl Sync for Block {}

impl Block {
    fn new(pool: &Pool, size: usize, number: u64) -> Option<Block> {
        let pointer = pool.alloc(size);
        (!pointer.is_null()).then(|| Block::over(pointer, size, number))
    }

    fn over(pointer: *mut u8, size: usize, number: u64) -> Block {
        let block = Block { pointer, size, number };
        block.stamp(0);
        block
    }

    /// Where numbers are, and what they are: at the start of each page and in its last bytes.
    fn places(&self, from: usize) -> impl Iterator<Item = (*mut u64, u64)> {
        let (pointer, size, number) = (self.pointer, self.size / 8 * 8, self.number);
        (from / PAGE * PAGE..size).step_by(PAGE).flat_map(move |page| {
            let last = (page + PAGE).min(size) - 8;
            [page, last].map(|place| {
                let value = number << 32 | (place / 8) as u64;
                // SAFETY: inside of the block.
                (unsafe { pointer.add(place).cast() }, value)
            })
        })
    }

    fn stamp(&self, from: usize) {
        // SAFETY: live blocks are aligned to 8.
        self.places(from).for_each(|(place, value)| unsafe { place.write(value) });
    }

    fn is_whole(&self) -> bool {
        // SAFETY: as above.
        self.places(0).all(|(place, value)| unsafe { place.read() } == value)
    }

    /// Changes the size, and checks that what must be there is there. False when there is no room.
    fn resize(&mut self, pool: &Pool, size: usize) -> bool {
        assert!(self.is_whole(), "before: {:p}, {} bytes", self.pointer, self.size);
        // SAFETY: live, and used only through what this gives.
        let new = unsafe { pool.realloc(self.pointer, size) };
        if new.is_null() {
            assert!(size > self.size, "shrinking cannot fail");
            assert!(self.is_whole(), "after a failure: {:p}, {} bytes", self.pointer, self.size);
            return false;
        }
        // Of the last page only the start is in its place for any size.
        let kept = self.size.min(size) / PAGE * PAGE;
        let part = Block { pointer: new, size: kept, number: self.number };
        assert!(part.is_whole(), "{:p}, {} to {size} bytes at {new:p}", self.pointer, self.size);
        (self.pointer, self.size) = (new, size);
        self.stamp(kept);
        true
    }

    fn free(self, pool: &Pool) {
        assert!(self.is_whole());
        // SAFETY: live and not used again.
        unsafe { pool.free(self.pointer) };
    }
}

/// A small block right behind `block`, if the pages there are free.
fn pin(pool: &Pool, block: &Block) -> Option<Block> {
    pin_soon(pool, block, usize::MAX)
}

/// As `pin`, if it is found with so many blocks.
fn pin_soon(pool: &Pool, block: &Block, most: usize) -> Option<Block> {
    const SIZE: usize = 300 << 10;
    let end = block.pointer.addr() + block.size.next_multiple_of(PAGE);
    let mut others = Vec::new();
    let found = loop {
        let small = pool.alloc(SIZE);
        if small.is_null() || others.len() == most {
            others.extend((!small.is_null()).then_some(small));
            break None;
        }
        if small.addr() == end {
            break Some(Block::over(small, SIZE, 0));
        }
        others.push(small);
    };
    for other in others {
        // SAFETY: live and not used again.
        unsafe { pool.free(other) };
    }
    found
}

/// A block of `size` bytes that has been moved at least once, and what made it move.
fn moved_block(pool: &Pool, size: usize, number: u64) -> (Block, Vec<Block>) {
    let mut block = Block::new(pool, size / 2, number).unwrap();
    let pins = Vec::from_iter(pin(pool, &block));
    let old = block.pointer;
    assert!(block.resize(pool, size) && block.pointer != old);
    (block, pins)
}

#[test]
fn a_growing_block_moves_with_its_space() {
    for (name, source) in SOURCES {
        for (start, prealloc) in [(4 * MIB, false), (5 * MIB + 12_345, false), (8 * MIB, true)] {
            println!("{name}, from {start} bytes");
            let options = PoolOptions {
                prealloc,
                purge: PurgePolicy::AfterMs(1_000_000),
                ..PoolOptions::default()
            };
            let pool = Pool::create(source(1 << 30), &options).unwrap();
            let mut block = Block::new(&pool, start, 1).unwrap();
            let mut pins = Vec::new();
            let mut peak = pool.stats().committed_bytes;
            while block.size < 40 * MIB {
                pins.extend(pin(&pool, &block));
                peak = peak.max(pool.stats().committed_bytes);
                let (old, old_size) = (block.pointer, block.size);
                // What was freed is used again, and not what this is about.
                pool.trim();
                let before = pool.stats();
                let faults = process::minor_faults();
                // SAFETY: live, and used only through what this gives.
                let new = unsafe { pool.realloc(block.pointer, old_size * 5 / 4) };
                let faults = process::minor_faults() - faults;
                assert!(!new.is_null() && new != old, "{new:p} {old:p} {old_size}");
                // At most the parts of chunks at either end are copied; on a disk new pages are brought
                // in.
                let most = (2 * Source::CHUNK + old_size / 4) / PAGE + 200;
                assert!(
                    old_size < 8 * MIB || faults < most as u64,
                    "{faults} page faults for {old_size} bytes"
                );
                let after = pool.stats();
                if !prealloc {
                    let more = after.committed_bytes - before.committed_bytes;
                    assert!(more <= old_size / 4 + 9 * MIB, "{more} bytes for {old_size} / 4");
                }
                block.pointer = new;
                assert!(block.is_whole(), "{old_size} bytes");
                block = Block::over(new, old_size * 5 / 4, block.number);
                pool.check().unwrap();
            }
            assert!(has_moved(&pool));
            pins.into_iter().for_each(|pin| pin.free(&pool));
            block.free(&pool);
            assert_empty(&pool);
        }
    }
}

/// Only what a block grows by needs space: it can grow where there is no room for a second one.
#[test]
fn a_block_grows_where_there_is_no_space_for_a_copy() {
    let Some(small) = SmallTmpfs::mount(32 * MIB) else { return };
    let source = Source::in_directory(small.c_path(), 256 * MIB).unwrap();
    let pool = pool(source, PurgePolicy::AfterMs(1_000_000));
    let mut block = Block::new(&pool, 20 * MIB, 1).unwrap();
    let behind = pin(&pool, &block).unwrap();
    let old = block.pointer;
    assert!(block.resize(&pool, 24 * MIB) && block.pointer != old);
    // Not even with everything.
    let again = pin(&pool, &block).unwrap();
    assert!(!block.resize(&pool, 40 * MIB));
    pool.check().unwrap();
    assert!(block.resize(&pool, 26 * MIB));
    [block, behind, again].into_iter().for_each(|block| block.free(&pool));
    pool.check().unwrap();
    pool.trim();
    assert_eq!(small.free(), 32 * MIB as u64);
}

/// Zeroed memory is zero where mappings have been moved, whatever was there.
#[test]
fn zeroed_blocks_are_zero_where_mappings_moved() {
    for (name, source) in SOURCES {
        println!("{name}");
        let pool = pool(source(256 * MIB), PurgePolicy::AfterMs(1_000_000));
        for round in 0..3 {
            let (block, pins) = moved_block(&pool, 40 * MIB, round);
            let mut zeroed = Vec::new();
            for size in [30 * MIB, 5 * MIB, 17 * MIB] {
                let pointer = pool.alloc_zeroed(size);
                // SAFETY: a new block.
                let bytes = unsafe { std::slice::from_raw_parts(pointer, size) };
                assert!(random::all_are(bytes, 0), "{size} bytes");
                zeroed.push(Block::over(pointer, size, 9));
            }
            zeroed.into_iter().chain(pins).for_each(|block| block.free(&pool));
            if round % 2 == 0 {
                pool.trim();
            }
            block.free(&pool);
            pool.check().unwrap();
        }
    }
}

struct Model<'a> {
    pool: &'a Pool,
    random: Random,
    live: Vec<Block>,
    bytes: usize,
    most: usize,
    number: u64,
    moves: usize,
}

impl Model<'_> {
    fn new(pool: &Pool, seed: u64, most: usize) -> Model<'_> {
        let random = Random::new(seed);
        Model { pool, random, live: Vec::new(), bytes: 0, most, number: 0, moves: 0 }
    }

    /// Mostly large.
    fn size(&mut self) -> usize {
        match self.random.below(4) {
            0 => 1 + self.random.size(MIB),
            1 => 1 + self.random.size(self.most / 8),
            _ => 3 * MIB + self.random.below(self.most / 4),
        }
    }

    fn step(&mut self) {
        let size = self.size();
        match self.random.below(8) {
            0..=2 if self.bytes + size <= self.most => {
                self.number += 1;
                if self.random.below(4) == 0 {
                    let pointer = self.pool.alloc_zeroed(size);
                    if pointer.is_null() {
                        return;
                    }
                    // SAFETY: a new block.
                    let bytes = unsafe { std::slice::from_raw_parts(pointer, size) };
                    assert!(random::all_are(bytes, 0), "{size} bytes at {pointer:p}");
                    self.live.push(Block::over(pointer, size, self.number));
                } else {
                    self.live.extend(Block::new(self.pool, size, self.number));
                }
                self.bytes = self.live.iter().map(|block| block.size).sum();
            }
            3..=5 if !self.live.is_empty() => {
                let at = self.random.below(self.live.len());
                let block = &mut self.live[at];
                let old = (block.pointer, block.size);
                let new = match self.random.below(4) {
                    0 => size,
                    _ => old.1 + 1 + self.random.below(old.1 / 2 + PAGE),
                };
                if self.bytes - old.1 + new > self.most || !block.resize(self.pool, new) {
                    return;
                }
                let grown = new > old.1 && old.1 >= 4 * MIB;
                self.moves += usize::from(grown && block.pointer != old.0);
                self.bytes = self.live.iter().map(|block| block.size).sum();
            }
            6 if self.random.below(8) == 0 => {
                self.pool.trim();
            }
            _ if !self.live.is_empty() => {
                let at = self.random.below(self.live.len());
                let block = self.live.swap_remove(at);
                self.bytes -= block.size;
                block.free(self.pool);
            }
            _ => {}
        }
    }

    fn free_all(&mut self) {
        self.live.drain(..).for_each(|block| block.free(self.pool));
    }
}

fn assert_empty(pool: &Pool) {
    pool.check().unwrap();
    pool.trim();
    pool.check().unwrap();
    let stats = pool.stats();
    assert_eq!((stats.active_bytes, stats.committed_bytes), (0, 0), "{stats:?}");
    // A file system on a disk has records of its own in the file.
    let rest = if pool.source().is_in_memory() { 0 } else { MIB as u64 };
    assert!(stats.resident_bytes <= rest, "{stats:?}");
}

#[test]
fn random_operations_on_large_blocks() {
    for (name, source) in SOURCES {
        let (mut moves, mut moved) = (0, 0);
        for (len, purge) in [
            (512 * MIB, PurgePolicy::AfterMs(5)),
            (256 * MIB, PurgePolicy::AfterMs(1_000_000)),
            (256 * MIB, PurgePolicy::Immediate),
            (60 * MIB, PurgePolicy::AfterMs(20)),
        ] {
            let seed = len as u64 + u64::from(purge == PurgePolicy::Immediate);
            println!("{name}, {} MiB, {purge:?}, seed {seed}", len / MIB);
            let pool = pool(source(len), purge);
            let mut model = Model::new(&pool, seed, len / 3);
            for step in 0..if name == "disk" { 50 } else { 250 } {
                model.step();
                if step % 16 == 0 {
                    pool.check().unwrap();
                }
            }
            println!("{} of the growing blocks moved", model.moves);
            moves += model.moves;
            moved += usize::from(has_moved(&pool));

            model.free_all();
            assert_empty(&pool);
        }
        assert!(moves > 3 && moved > 0, "{moves} in {moved} pools");
    }
}

/// What the head of a pool holds is somebody else's, and stays where it is.
#[test]
fn the_head_of_a_pool_stays() {
    for (name, source) in SOURCES {
        println!("{name}");
        let source = source(256 * MIB);
        let head = 3 * MIB;
        source.commit(0, head).unwrap();
        let head = Block::over(source.base().as_ptr(), head, 77);
        let options = PoolOptions { head_bytes: head.size, ..PoolOptions::default() };
        let pool = Pool::create(source, &options).unwrap();
        for round in 0..3 {
            let (block, pins) = moved_block(&pool, 32 * MIB, round);
            assert!(head.is_whole(), "round {round}");
            // Later they may move back.
            assert!(round > 0 || has_moved(&pool));
            pins.into_iter().chain([block]).for_each(|block| block.free(&pool));
            pool.trim();
            assert!(head.is_whole());
        }
        pool.check().unwrap();
    }
}

/// In a caller's region nothing can be moved; blocks are copied.
#[test]
fn random_operations_on_large_blocks_in_a_callers_region() {
    let region = anonymous(256 * MIB);
    // SAFETY: the region outlives the pool and is otherwise unused.
    let source = unsafe { Source::caller_region(region.base(), 256 * MIB) }.unwrap();
    let pool = pool(source, PurgePolicy::AfterMs(5));
    let mut model = Model::new(&pool, 7, 80 * MIB);
    (0..150).for_each(|_| model.step());
    model.free_all();
    assert!(!has_moved(&pool));
    pool.check().unwrap();
}

#[test]
fn threads_move_blocks_of_one_pool() {
    for (name, source) in SOURCES {
        println!("{name}");
        let pool = &pool(source(768 * MIB), PurgePolicy::AfterMs(2));
        let done = &AtomicBool::new(false);
        std::thread::scope(|scope| {
            let workers = [1, 2].map(|seed| {
                scope.spawn(move || {
                    let mut model = Model::new(pool, seed, 120 * MIB);
                    // Disks are slow, and in few steps there may be no move.
                    let least = if name == "disk" { 40 } else { 120 };
                    for step in 0..10 * least {
                        if step >= least && model.moves > 0 {
                            break;
                        }
                        model.step();
                    }
                    model.free_all();
                    model.moves
                })
            });
            let others = [0, 1].map(|looker| {
                scope.spawn(move || {
                    while !done.load(Relaxed) {
                        if looker == 0 {
                            pool.check().unwrap();
                            pool.trim();
                        } else {
                            // Whatever lies beside large blocks.
                            let blocks: Vec<_> = (0..50)
                                .filter_map(|n| Block::new(pool, 9_000 * n + 8, 3))
                                .collect();
                            blocks.into_iter().for_each(|block| block.free(pool));
                        }
                        std::thread::yield_now();
                    }
                })
            });
            // Joining waits for the thread's exit hook; the end of the scope does not.
            let moves: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
            done.store(true, Relaxed);
            others.into_iter().for_each(|other| other.join().unwrap());
            assert!(moves.into_iter().all(|moves| moves.unwrap() > 0));
        });
        assert_empty(pool);
    }
}

/// Whichever call to the source fails: null and the block as it was, or another way.
#[test]
fn any_single_failure_of_a_move_is_survived() {
    for (name, source) in SOURCES {
        let (mut copied, mut refused) = (0, 0);
        for n in 0.. {
            let pool = pool(source(256 * MIB), PurgePolicy::AfterMs(1_000_000));
            // Several pieces, by moving two that have been neighbours.
            let (mut block, mut pins) = moved_block(&pool, 20 * MIB, 1);
            let (other, more) = moved_block(&pool, 16 * MIB, 2);
            pins.extend(more);
            pins.extend(pin(&pool, &block));
            pool.source().set_fault_after(n);
            let old = block.pointer;
            let grown = block.resize(&pool, 27 * MIB);
            // It does not happen any more then.
            let to_come = (0..=n).any(|_| pool.source().commit(0, 0).is_err());
            pool.source().set_fault_after(u64::MAX);
            pool.check().unwrap();
            assert!(other.is_whole() && pins.iter().all(Block::is_whole));
            refused += usize::from(!grown);
            copied += usize::from(grown && block.pointer != old && !to_come);
            assert!(block.resize(&pool, 50 * MIB));
            pins.into_iter().chain([block, other]).for_each(|block| block.free(&pool));
            assert_empty(&pool);
            if to_come {
                break;
            }
        }
        println!("{name}: {copied} copied, {refused} refused");
        assert!(copied > 2, "{name}");
    }
}

/// Forks, and returns whether the child ended well.
fn fork_with(mode: ForkMode, in_child: impl FnOnce() -> bool) -> bool {
    // SAFETY: the handlers are called as they ask for; the child only uses the pool and exits.
    unsafe {
        fork::prepare(mode).unwrap();
        let pid = libc::fork();
        if pid == 0 {
            let body = || fork::child().is_ok() && in_child();
            let fine = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
            libc::_exit(i32::from(!fine.unwrap_or(false)));
        }
        assert!(pid > 0);
        fork::parent();
        let mut status = 0;
        assert_eq!(libc::waitpid(pid, &raw mut status, 0), pid);
        libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0
    }
}

/// Blocks that have moved are copied, frozen or shared like any others, and move again.
fn forked(source: Source, mode: ForkMode) {
    let shared = mode == ForkMode::Share && source.kind() != SourceKind::Anonymous;
    let pool = &pool(source, PurgePolicy::AfterMs(5));
    let (mut first, mut pins) = moved_block(pool, 24 * MIB, 1);
    let (mut second, more) = moved_block(pool, 16 * MIB, 2);
    pins.extend(more);
    let small: Vec<Block> =
        (0..50).map(|n| Block::new(pool, 100 + 3_000 * n, 5).unwrap()).collect();
    assert!(has_moved(pool));
    for round in 0..2 {
        let fine = fork_with(mode, || {
            let mut whole = first.is_whole() && second.is_whole();
            whole &= small.iter().all(Block::is_whole);
            if shared {
                return whole && pool.check().is_ok();
            }
            // The child's own bytes, and blocks that grow and move as they can.
            let [mut mine, mut mine_too] = [&first, &second]
                .map(|block| Block::over(block.pointer, block.size, block.number + 100));
            let behind =
                [pin_soon(pool, &mine, 100), pin_soon(pool, &mine_too, 100)].into_iter().flatten();
            whole &= mine.resize(pool, mine.size + 5 * MIB);
            whole &= mine_too.resize(pool, mine_too.size + 9 * MIB);
            let mut model = Model::new(pool, round, 48 * MIB);
            (0..20).for_each(|_| model.step());
            model.free_all();
            whole &= mine.is_whole() && mine_too.is_whole();
            behind.chain([mine, mine_too]).for_each(|block| block.free(pool));
            pool.trim();
            whole && pool.check().is_ok()
        });
        assert!(fine, "child of mode {mode:?}, round {round}");
        assert!(first.is_whole() && second.is_whole(), "child wrote to parent");
        assert!(small.iter().all(Block::is_whole), "child wrote to parent");
        pins.extend(
            [pin_soon(pool, &first, 100), pin_soon(pool, &second, 100)].into_iter().flatten(),
        );
        assert!(first.resize(pool, first.size + 3 * MIB));
        assert!(second.resize(pool, second.size + 3 * MIB));
        pool.check().unwrap();
        pool.trim();
    }
    pins.into_iter().chain(small).chain([first, second]).for_each(|block| block.free(pool));
    pool.check().unwrap();
    pool.trim();
    pool.check().unwrap();
    assert_eq!(pool.stats().active_bytes, 0);
}

#[test]
fn forks_after_moves_isolate_parent_and_child() {
    child::run("forks_after_moves_isolate_parent_and_child", || {
        for (name, source) in SOURCES {
            for mode in
                [ForkMode::Share, ForkMode::Private, ForkMode::Copy, ForkMode::CopyOrPrivate]
            {
                println!("{name}, {mode:?}");
                forked(source(384 * MIB), mode);
            }
        }
    });
}

/// A child with a file of its own can move mappings as its parent can.
#[test]
fn a_child_with_its_own_file_moves_mappings() {
    child::run("a_child_with_its_own_file_moves_mappings", || {
        let pool = &pool(on_tmpfs(256 * MIB), PurgePolicy::AfterMs(5));
        let (block, pins) = moved_block(pool, 24 * MIB, 1);
        let fine = fork_with(ForkMode::Copy, || {
            assert!(!has_moved(pool), "the file lies as it shows");
            let (other, more) = moved_block(pool, 20 * MIB, 3);
            assert!(has_moved(pool) && block.is_whole() && other.is_whole());
            more.into_iter().chain([other]).for_each(|block| block.free(pool));
            pool.check().is_ok()
        });
        assert!(fine && block.is_whole());
        pins.into_iter().chain([block]).for_each(|block| block.free(pool));
    });
}

/// Forks of one thread while another one moves blocks.
#[test]
fn forks_meet_moves_of_another_thread() {
    child::run("forks_meet_moves_of_another_thread", || {
        for mode in [ForkMode::Private, ForkMode::Copy, ForkMode::Share] {
            let pool = &pool(on_tmpfs(512 * MIB), PurgePolicy::AfterMs(2));
            let (block, pins) = moved_block(pool, 12 * MIB, 1);
            let done = &AtomicBool::new(false);
            std::thread::scope(|scope| {
                let worker = scope.spawn(move || {
                    let mut model = Model::new(pool, 11, 100 * MIB);
                    while !done.load(Relaxed) {
                        model.step();
                    }
                    model.free_all();
                });
                for _ in 0..8 {
                    assert!(
                        fork_with(mode, || block.is_whole() && pool.check().is_ok()),
                        "{mode:?}"
                    );
                    assert!(block.is_whole());
                }
                done.store(true, Relaxed);
                worker.join().unwrap();
            });
            pins.into_iter().chain([block]).for_each(|block| block.free(pool));
            pool.check().unwrap();
        }
    });
}

/// Large blocks begin where mappings can be moved, but a pool holds about as many of them as it could.
#[test]
fn aligned_places_do_not_fill_a_pool() {
    for size in [4 * MIB + PAGE, 5 * MIB, 6 * MIB + 100, 17 * MIB] {
        let pool = pool(anonymous(512 * MIB), PurgePolicy::Never);
        let first = pool.alloc(size);
        assert!(first.addr().is_multiple_of(Source::CHUNK));
        let mut count = 1;
        while !pool.alloc(size).is_null() {
            count += 1;
        }
        let used = count * size * 100 / (512 * MIB);
        println!("{count} blocks of {size} bytes: {used} %");
        assert!(used >= 90);
    }
}
