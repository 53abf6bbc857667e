//! Model test: random operation lists on a pool, against a list of what must be live.
//!
//! Every block is stamped over its whole usable length; stamps are verified before each free and
//! resize, so overlapping or moved-away blocks show. Built with `--cfg pmem_scan`, the pool checks
//! all its structures after every operation.

use pmem_core::source::Source;
use vmem_engine::{Pool, PoolOptions, PurgePolicy};

/// A 64-bit generator with a printable seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() >> 11) as usize % limit
    }

    /// Log-uniform in `1..=max`.
    fn size(&mut self, max: usize) -> usize {
        let bits = self.below(max.ilog2() as usize + 1);
        (1 << bits) + self.below(1 << bits)
    }
}

/// Whether all bytes equal `stamp`; by memcmp, because debug builds are slow at loops.
fn all_are(bytes: &[u8], stamp: u8) -> bool {
    bytes.is_empty() || (bytes[0] == stamp && bytes[1..] == bytes[..bytes.len() - 1])
}

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

struct Model {
    pool: Pool,
    live: Vec<Live>,
    random: Random,
    stamp: u8,
}

impl Model {
    fn new(pool: Pool, seed: u64) -> Model {
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

    fn step(&mut self, max_size: usize) {
        let size = self.random.size(max_size) - 1;
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
                let align = 1 << self.random.below(if max_size > 4096 { 22 } else { 12 });
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

    fn finish(mut self) {
        while !self.live.is_empty() {
            self.free_one();
        }
        self.pool.check().unwrap();
        self.pool.trim();
        self.pool.check().unwrap();
        let stats = self.pool.stats();
        assert_eq!(stats.allocated_bytes, 0);
        assert_eq!(stats.active_bytes, 0, "{stats:?}");
        assert_eq!(stats.committed_bytes, 0);
    }
}

fn seeds() -> impl Iterator<Item = u64> {
    let steps = if cfg!(pmem_scan) { 2 } else { 4 };
    (1..=steps).map(|seed: u64| seed.wrapping_mul(0x9E37_79B9_7F4A_7C15))
}

fn run(source: impl Fn() -> Source, options: PoolOptions, max_size: usize, steps: usize) {
    for seed in seeds() {
        println!("seed {seed:#x}");
        let mut model = Model::new(Pool::create(source(), &options).unwrap(), seed);
        for step in 0..steps {
            model.step(max_size);
            if step % 1024 == 0 {
                model.pool.check().unwrap();
            }
        }
        model.finish();
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

#[test]
fn no_block_overlaps_across_threads() {
    let pool = Pool::create(Source::anonymous(256 << 20).unwrap(), &PoolOptions::default());
    let pool = pool.unwrap();
    let (sender, receiver) = std::sync::mpsc::sync_channel::<(usize, usize, u8)>(1000);
    let receiver = std::sync::Mutex::new(receiver);
    std::thread::scope(|scope| {
        let threads = [0, 1, 2, 3u64].map(|thread| {
            let (pool, sender, receiver) = (&pool, sender.clone(), &receiver);
            scope.spawn(move || {
                let mut random = Random((thread + 1) * 0x1234_5678_9ABC_DEF1);
                for step in 0..20_000u32 {
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
