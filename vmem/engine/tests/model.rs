//! Model test: random operation lists on a pool, against a list of what must be live.
//!
//! Every block is stamped over its whole usable length; stamps are verified before each free and
//! resize, so overlapping or moved-away blocks show. Built with `--cfg pmem_scan`, the pool checks
//! all its structures after every operation.

#[path = "support/random.rs"]
#[allow(dead_code, reason = "shared by several tests")]
mod random;

use pmem_core::source::Source;
use random::{Random, all_are};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};
use vmem_engine::{ClassId, Harden, HugePages, Pool, PoolOptions, PurgePolicy};

struct Live {
    pointer: *mut u8,
    size: usize,
    stamp: u8,
}

impl Live {
    fn fill(&self) {
        // SAFETY: a live block of the pool, `size` bytes long.
        unsafe { self.pointer.write_bytes(self.stamp, self.size) };
    }

    fn verify(&self, len: usize) {
        // SAFETY: as above; `len <= size`.
        let bytes = unsafe { std::slice::from_raw_parts(self.pointer, len) };
        assert!(all_are(bytes, self.stamp), "content of {:p}", self.pointer);
    }
}

struct Model<'a> {
    pool: &'a Pool,
    live: Vec<Live>,
    random: Random,
    stamp: u8,
}

impl Model<'_> {
    fn new(pool: &Pool, seed: u64) -> Model<'_> {
        Model { pool, live: Vec::new(), random: Random(seed), stamp: 0 }
    }

    fn add(&mut self, pointer: *mut u8, size: usize, align: usize) {
        if pointer.is_null() {
            return;
        }
        assert!(pointer.addr().is_multiple_of(align), "{pointer:p} aligned to {align}");
        // SAFETY: a live block.
        let usable = unsafe { self.pool.usable_size(pointer) };
        assert!(usable >= size);
        let (base, len) = self.pool.range();
        assert!(pointer >= base.as_ptr() && pointer.addr() + usable <= base.addr().get() + len);
        self.stamp = self.stamp.wrapping_add(1);
        let block = Live { pointer, size: usable, stamp: self.stamp };
        block.fill();
        self.live.push(block);
    }

    /// The size of a class, or one byte less or more.
    fn border_size(&mut self, max_size: usize) -> usize {
        let class = ClassId::all().nth(self.random.below(ClassId::all().count())).unwrap();
        (class.size() + self.random.below(3) - 1).min(max_size)
    }

    fn step(&mut self, max_size: usize) {
        let size = match self.random.below(4) {
            0 => self.border_size(max_size),
            _ => self.random.size(max_size) - 1,
        };
        match self.random.below(16) {
            0..=5 => {
                let natural = if size > 8 { 16 } else { 8 };
                self.add(self.pool.alloc(size), size, natural);
            }
            6 => {
                let pointer = self.pool.alloc_zeroed(size);
                if !pointer.is_null() {
                    // SAFETY: a live block of `size` bytes.
                    let bytes = unsafe { std::slice::from_raw_parts(pointer, size) };
                    assert!(all_are(bytes, 0), "zeroed {size}");
                }
                self.add(pointer, size, 8);
            }
            7 => {
                let align = 1 << self.random.below(if max_size > 4096 { 23 } else { 14 });
                let size = size.min(1 << 20);
                self.add(self.pool.alloc_aligned(align, size), size, align);
            }
            8..=10 if !self.live.is_empty() => {
                let at = self.random.below(self.live.len());
                let old = &self.live[at];
                old.verify(old.size);
                let (kept, stamp) = (old.size.min(size), old.stamp);
                // SAFETY: a live block that only we use.
                let new = unsafe { self.pool.realloc(old.pointer, size) };
                if new.is_null() {
                    assert!(size > old.size, "shrinking cannot fail");
                    old.verify(old.size);
                    return;
                }
                Live { pointer: new, size: kept, stamp }.verify(kept);
                self.live.swap_remove(at);
                self.add(new, size, 8);
            }
            11..=14 if !self.live.is_empty() => self.free_one(),
            _ => {
                if self.random.below(64) == 0 {
                    self.pool.trim();
                }
            }
        }
    }

    fn free_one(&mut self) {
        let at = self.random.below(self.live.len());
        let block = self.live.swap_remove(at);
        block.verify(block.size);
        // SAFETY: live, and forgotten by us.
        unsafe { self.pool.free(block.pointer) };
    }

    /// Overwrites all memory of the pool that is in no live block. Only for a caller's region: other
    /// memory is the pool's own.
    fn overwrite_free_memory(&mut self, byte: u8) {
        self.live.sort_unstable_by_key(|block| block.pointer.addr());
        let (base, len) = self.pool.range();
        let mut free_from = 0;
        for (pointer, size) in self.live.iter().map(|block| (block.pointer, block.size)) {
            let start = pointer.addr() - base.addr().get();
            assert!(start >= free_from, "blocks overlap");
            // SAFETY: inside the region, and in no live block.
            unsafe { base.add(free_from).write_bytes(byte, start - free_from) };
            free_from = start + size;
        }
        // SAFETY: as above.
        unsafe { base.add(free_from).write_bytes(byte, len - free_from) };
    }

    fn free_all(&mut self) {
        while !self.live.is_empty() {
            self.free_one();
        }
    }
}

/// All blocks have been freed: the pool is as good as new.
fn assert_empty(pool: &Pool) {
    pool.check().unwrap();
    pool.trim();
    pool.check().unwrap();
    let stats = pool.stats();
    assert_eq!(stats.allocated_bytes, 0, "{stats:?}");
    assert_eq!(stats.active_bytes, 0, "{stats:?}");
    if pool.source().can_purge() {
        assert_eq!(stats.committed_bytes, 0);
    }
}

fn seeds() -> impl Iterator<Item = u64> {
    first_seeds(if cfg!(pmem_scan) { 2 } else { 4 })
}

fn first_seeds(count: u64) -> impl Iterator<Item = u64> {
    (1..=count).map(|seed| seed.wrapping_mul(0x9E37_79B9_7F4A_7C15))
}

const MODES: [Harden; 3] = [Harden::Off, Harden::Checks, Harden::Poison];

fn run(source: impl Fn() -> Source, options: PoolOptions, max_size: usize, steps: usize) {
    for (seed, harden) in seeds().flat_map(|seed| MODES.map(|harden| (seed, harden))) {
        println!("seed {seed:#x}, {harden:?}");
        let pool = Pool::create(source(), &PoolOptions { harden, ..options }).unwrap();
        let mut model = Model::new(&pool, seed);
        for step in 0..steps {
            model.step(max_size);
            if step % 1024 == 0 {
                pool.check().unwrap();
            }
        }
        model.free_all();
        assert_empty(&pool);
    }
}

fn steps() -> usize {
    if cfg!(pmem_scan) { 3_000 } else { 40_000 }
}

#[test]
fn small_blocks_in_anonymous_memory() {
    run(|| Source::anonymous(64 << 20).unwrap(), PoolOptions::default(), 2048, steps());
}

#[test]
fn all_sizes_in_a_small_pool() {
    run(|| Source::anonymous(14 << 20).unwrap(), PoolOptions::default(), 4 << 20, steps());
}

#[test]
fn all_sizes_in_a_file_purged_at_once() {
    let options = PoolOptions { purge: PurgePolicy::Immediate, ..PoolOptions::default() };
    run(|| Source::in_directory(c"/dev/shm", 32 << 20).unwrap(), options, 1 << 20, steps() / 10);
}

#[test]
fn all_sizes_in_a_file_purged_soon() {
    let options = PoolOptions { purge: PurgePolicy::AfterMs(1), ..PoolOptions::default() };
    run(|| Source::in_directory(c"/dev/shm", 32 << 20).unwrap(), options, 1 << 20, steps() / 4);
}

/// Space comes and goes in units of 2 MiB, where the system has huge pages and where it has none.
#[test]
#[cfg(not(miri))]
fn all_sizes_in_huge_pages() {
    let purge = PurgePolicy::AfterMs(1);
    let options = PoolOptions { huge_pages: HugePages::Advise, purge, ..PoolOptions::default() };
    run(|| Source::in_directory(c"/dev/shm", 65 << 20).unwrap(), options, 3 << 20, steps() / 10);
    run(|| Source::anonymous(65 << 20).unwrap(), options, 3 << 20, steps() / 10);
}

/// In memory that the caller gives, nothing but the blocks belongs to the pool: whatever lies
/// between them may change at any time.
#[test]
fn nothing_of_the_pool_lies_in_the_callers_region() {
    const LEN: usize = 15 << 20;
    let region = Source::anonymous(LEN + (4 << 20)).unwrap();
    for seed in seeds() {
        println!("seed {seed:#x}");
        // At any page, not only where huge pages would fit.
        let start = (seed >> 20) as usize % 1024 * 4096;
        // SAFETY: inside the region, which outlives the pool and is otherwise unused.
        let pool = unsafe {
            let base = NonNull::new_unchecked(region.base().as_ptr().add(start));
            base.write_bytes(0xA5, LEN);
            let source = Source::caller_region(base, LEN).unwrap();
            Pool::create(source, &PoolOptions::default()).unwrap()
        };
        let mut model = Model::new(&pool, seed);
        for step in 0..steps() / 8 {
            model.step(if step % 2 == 0 { 2_000 } else { 1 << 20 });
            if step % 16 == 0 {
                model.overwrite_free_memory(if step % 32 == 0 { 0xA5 } else { 0xFF });
            }
            if step % 256 == 0 {
                pool.check().unwrap();
            }
        }
        model.free_all();
        model.overwrite_free_memory(0xA5);
        assert_empty(&pool);
    }
}

/// Several threads at random operations of their own in one pool, while others look at it and trim
/// it.
#[test]
fn random_operations_of_many_threads() {
    for (purge, harden) in [PurgePolicy::AfterMs(1), PurgePolicy::Immediate]
        .into_iter()
        .flat_map(|purge| MODES.map(|harden| (purge, harden)))
    {
        let source = Source::in_directory(c"/dev/shm", 48 << 20).unwrap();
        let options = PoolOptions { purge, harden, ..PoolOptions::default() };
        let pool = Pool::create(source, &options).unwrap();
        const THREADS: usize = 3;
        let working = AtomicUsize::new(THREADS);
        std::thread::scope(|scope| {
            let mut threads = Vec::new();
            for seed in first_seeds(THREADS as u64) {
                let (pool, working) = (&pool, &working);
                threads.push(scope.spawn(move || {
                    let _ended = CountDown(working);
                    let mut model = Model::new(pool, seed);
                    for step in 0..steps() / 8 {
                        model.step(if step % 8 == 0 { 1 << 20 } else { 4_000 });
                    }
                    model.free_all();
                }));
            }
            for looker in 0..3 {
                let (pool, working) = (&pool, &working);
                threads.push(scope.spawn(move || {
                    while working.load(Ordering::Relaxed) > 0 {
                        match looker {
                            0 => drop(pool.trim()),
                            1 => pool.check().unwrap(),
                            _ => assert!(pool.stats().active_bytes <= pool.range().1),
                        }
                        std::thread::yield_now();
                    }
                }));
            }
            // Joining waits for the thread's exit hook; the end of the scope does not.
            for thread in threads {
                thread.join().unwrap();
            }
        });
        assert_empty(&pool);
    }
}

/// Counts a thread out, also one whose assertion fails.
struct CountDown<'a>(&'a AtomicUsize);

impl Drop for CountDown<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[test]
fn no_block_overlaps_across_threads() {
    for harden in MODES {
        no_block_overlaps(harden);
    }
}

fn no_block_overlaps(harden: Harden) {
    let options = PoolOptions { harden, ..PoolOptions::default() };
    let pool = Pool::create(Source::anonymous(256 << 20).unwrap(), &options).unwrap();
    let (sender, receiver) = std::sync::mpsc::sync_channel::<(usize, usize, u8)>(1000);
    let receiver = std::sync::Mutex::new(receiver);
    std::thread::scope(|scope| {
        let threads = [0, 1, 2, 3u64].map(|thread| {
            let (pool, sender, receiver) = (&pool, sender.clone(), &receiver);
            scope.spawn(move || {
                let mut random = Random((thread + 1) * 0x1234_5678_9ABC_DEF1);
                for step in 0..steps() as u32 / 2 {
                    let size = random.size(20_000);
                    let stamp = step as u8;
                    let pointer = pool.alloc(size);
                    assert!(!pointer.is_null());
                    Live { pointer, size, stamp }.fill();
                    let _ = sender.try_send((pointer.expose_provenance(), size, stamp)).or_else(
                        |full| {
                            let (pointer, size, stamp) = match full {
                                std::sync::mpsc::TrySendError::Full(block) => block,
                                std::sync::mpsc::TrySendError::Disconnected(block) => block,
                            };
                            let pointer = std::ptr::with_exposed_provenance_mut(pointer);
                            Live { pointer, size, stamp }.verify(size);
                            // SAFETY: ours, allocated above.
                            unsafe { pool.free(pointer) };
                            Ok::<(), ()>(())
                        },
                    );
                    let other = receiver.lock().unwrap().try_recv();
                    if let Ok((pointer, size, stamp)) = other {
                        let pointer = std::ptr::with_exposed_provenance_mut(pointer);
                        Live { pointer, size, stamp }.verify(size);
                        // SAFETY: handed over by the thread that allocated it.
                        unsafe { pool.free(pointer) };
                    }
                }
            })
        });
        // Joining waits for the thread's exit hook; the end of the scope does not.
        for thread in threads {
            thread.join().unwrap();
        }
    });
    for (pointer, size, stamp) in receiver.into_inner().unwrap().try_iter() {
        let pointer = std::ptr::with_exposed_provenance_mut(pointer);
        Live { pointer, size, stamp }.verify(size);
        // SAFETY: handed over by the thread that allocated it.
        unsafe { pool.free(pointer) };
    }
    pool.check().unwrap();
    pool.trim();
    assert_eq!(pool.stats().allocated_bytes, 0);
    assert_eq!(pool.stats().active_bytes, 0);
}
