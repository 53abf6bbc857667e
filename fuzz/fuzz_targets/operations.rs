//! Streams of allocator operations over up to two pools and several threads, against an oracle.
//!
//! The oracle knows every live block: blocks never overlap, keep their content, are aligned and lie
//! in their pool. When all are freed, the pools are empty and every page is given back.
//!
//! A plan with `untouched` set runs without the calls that must write (zeroed blocks, resizing), and
//! has AddressSanitizer watch all memory that is not a live block: the allocator may not touch it.
#![no_main]

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::thread;

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use pmem_core::source::Source;
use vmem_engine::{Pool, PoolOptions, PurgePolicy};

unsafe extern "C" {
    fn __asan_poison_memory_region(start: *const c_void, len: usize);
    fn __asan_unpoison_memory_region(start: *const c_void, len: usize);
}

const MIB: usize = 1 << 20;

/// What a run does.
#[derive(Arbitrary, Debug)]
struct Plan {
    untouched: bool,
    pools: [Setup; 2],
    operations: Vec<Operation>,
}

#[derive(Arbitrary, Debug)]
struct Setup {
    place: Place,
    purge: bool,
    /// Rarely all in advance: that is most of the time of a run.
    prealloc: u8,
    larger: bool,
}

#[derive(Arbitrary, Debug)]
enum Place {
    Anonymous,
    Directory,
    Memory,
}

#[derive(Arbitrary, Debug)]
enum Operation {
    Allocate {
        pool: bool,
        size: Size,
    },
    Zeroed {
        pool: bool,
        size: Size,
    },
    Aligned {
        pool: bool,
        align: u8,
        size: Size,
    },
    Resize {
        at: u16,
        size: Size,
    },
    Free {
        at: u16,
    },
    FreeLast {
        count: u8,
    },
    Repeat {
        pool: bool,
        count: u8,
        size: Size,
    },
    Trim {
        pool: bool,
    },
    /// The next `count` operations run on a thread of their own, which then exits.
    OtherThread {
        count: u8,
    },
}

/// A size of any magnitude: most are small, few are larger than a pool.
#[derive(Arbitrary, Clone, Copy, Debug)]
struct Size {
    magnitude: u8,
    rest: u32,
}

impl Size {
    fn bytes(self) -> usize {
        let top = 1usize << (self.magnitude % 26);
        top - 1 + self.rest as usize % top
    }
}

/// Whether all bytes equal `stamp`; by one comparison, because instrumented loops are slow.
fn all_are(bytes: &[u8], stamp: u8) -> bool {
    bytes.first().is_none_or(|&first| first == stamp && bytes[1..] == bytes[..bytes.len() - 1])
}

struct Block {
    pool: bool,
    pointer: *mut u8,
    usable: usize,
    stamp: u8,
}

// SAFETY: blocks are used by one thread at a time; see `Run::step`.
unsafe impl Send for Block {}

impl Block {
    fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: a live block of `usable` bytes, all of them written by `Run::add`.
        unsafe { std::slice::from_raw_parts_mut(self.pointer, self.usable) }
    }

    fn verify(&mut self, len: usize) {
        let stamp = self.stamp;
        assert!(all_are(&self.bytes()[..len], stamp), "the content of a block changed");
    }
}

struct Run {
    untouched: bool,
    pools: [Pool; 2],
    live: Vec<Block>,
    /// Start and length of all live blocks.
    taken: BTreeMap<usize, usize>,
    stamp: u8,
}

impl Run {
    fn new(untouched: bool, setups: &[Setup; 2]) -> Run {
        let pools = setups.each_ref().map(|setup| {
            let len = if setup.larger { 20 * MIB } else { 14 * MIB };
            let source = match setup.place {
                Place::Anonymous => Source::anonymous(len),
                Place::Directory => Source::in_directory(c"/dev/shm", len),
                Place::Memory => Source::memfd(len, None),
            };
            let purge = if setup.purge { PurgePolicy::Immediate } else { PurgePolicy::Never };
            let options =
                PoolOptions { purge, prealloc: setup.prealloc == 1, ..PoolOptions::default() };
            Pool::create(source.unwrap(), &options).unwrap()
        });
        if untouched {
            for pool in &pools {
                let (base, len) = pool.range();
                // SAFETY: memory of the pool, in which no block lives.
                unsafe { __asan_poison_memory_region(base.as_ptr().cast(), len) };
            }
        }
        Run { untouched, pools, live: Vec::new(), taken: BTreeMap::new(), stamp: 0 }
    }

    fn pool(&self, second: bool) -> &Pool {
        &self.pools[usize::from(second)]
    }

    /// Takes a new block into the oracle; null means that the pool is full.
    fn add(&mut self, second: bool, pointer: *mut u8, size: usize, align: usize) {
        if pointer.is_null() {
            return;
        }
        let start = pointer.addr();
        assert!(start.is_multiple_of(align), "not aligned to {align}");
        // SAFETY: a live block of this pool.
        let usable = unsafe { self.pool(second).usable_size(pointer) };
        assert!(usable >= size, "usable size {usable} below {size}");
        let (base, len) = self.pool(second).range();
        assert!(start >= base.addr().get() && start + usable <= base.addr().get() + len);
        assert!(self.pool(second).contains(pointer) && !self.pool(!second).contains(pointer));
        if let Some((other, length)) = self.taken.range(..start + usable).next_back() {
            assert!(other + length <= start, "overlaps a live block");
        }
        self.taken.insert(start, usable);
        if self.untouched {
            // SAFETY: our block.
            unsafe { __asan_unpoison_memory_region(pointer.cast(), usable) };
        }
        self.stamp = self.stamp % 255 + 1;
        let mut block = Block { pool: second, pointer, usable, stamp: self.stamp };
        // SAFETY: a live block of `usable` bytes.
        unsafe { pointer.write_bytes(self.stamp, usable) };
        block.verify(1);
        self.live.push(block);
    }

    /// Takes a block out of the oracle, for a call that ends its life.
    fn remove(&mut self, at: usize) -> Block {
        let mut block = self.live.swap_remove(at);
        block.verify(block.usable);
        assert_eq!(self.taken.remove(&block.pointer.addr()), Some(block.usable));
        if self.untouched {
            // SAFETY: the block is not used any more.
            unsafe { __asan_poison_memory_region(block.pointer.cast(), block.usable) };
        }
        block
    }

    fn free(&mut self, at: usize) {
        let block = self.remove(at);
        // SAFETY: a live block of this pool.
        unsafe { self.pool(block.pool).free(block.pointer) };
    }

    fn allocate(&mut self, second: bool, size: usize) {
        let pointer = self.pool(second).alloc(size);
        self.add(second, pointer, size, if size > 8 { 16 } else { 8 });
    }

    fn zeroed(&mut self, second: bool, size: usize) {
        let pointer = self.pool(second).alloc_zeroed(size);
        if !pointer.is_null() {
            // SAFETY: a live block of at least `size` bytes, zero by contract.
            let bytes = unsafe { std::slice::from_raw_parts(pointer, size) };
            assert!(all_are(bytes, 0), "a zeroed block is not zero");
        }
        self.add(second, pointer, size, 8);
    }

    fn resize(&mut self, at: usize, size: usize) {
        let mut old = self.remove(at);
        // SAFETY: a live block of this pool that nobody else uses.
        let pointer = unsafe { self.pool(old.pool).realloc(old.pointer, size) };
        if pointer.is_null() {
            assert!(size > old.usable, "shrinking failed");
            old.verify(old.usable);
            self.taken.insert(old.pointer.addr(), old.usable);
            self.live.push(old);
            return;
        }
        let kept = old.usable.min(size);
        Block { pointer, usable: kept, ..old }.verify(kept);
        self.add(old.pool, pointer, size, 8);
    }

    fn step(&mut self, operation: &Operation) {
        let index = |at: u16| usize::from(at) % self.live.len().max(1);
        match *operation {
            Operation::Allocate { pool, size } => self.allocate(pool, size.bytes()),
            Operation::Zeroed { pool, size } if !self.untouched => self.zeroed(pool, size.bytes()),
            Operation::Aligned { pool, align, size } => {
                let align = 1 << (align % 23);
                let pointer = self.pool(pool).alloc_aligned(align, size.bytes());
                self.add(pool, pointer, size.bytes(), align);
            }
            Operation::Resize { at, size } if !self.untouched && !self.live.is_empty() => {
                self.resize(index(at), size.bytes());
            }
            Operation::Free { at } if !self.live.is_empty() => self.free(index(at)),
            Operation::FreeLast { count } => {
                for _ in 0..usize::from(count).min(self.live.len()) {
                    self.free(self.live.len() - 1);
                }
            }
            Operation::Repeat { pool, count, size } => {
                for _ in 0..count {
                    self.allocate(pool, size.bytes() % (8 << 10));
                }
            }
            Operation::Trim { pool } => {
                self.pool(pool).trim();
            }
            _ => {}
        }
    }

    fn steps(&mut self, mut operations: &[Operation]) {
        while let Some((operation, rest)) = operations.split_first() {
            operations = rest;
            if let Operation::OtherThread { count } = *operation {
                let (inner, after) = rest.split_at(usize::from(count).min(rest.len()));
                operations = after;
                thread::scope(|scope| {
                    let work = scope.spawn(|| inner.iter().for_each(|next| self.step(next)));
                    // Joining waits for the exit hooks of the thread as well.
                    work.join().unwrap();
                });
            } else {
                self.step(operation);
            }
        }
    }

    /// Frees everything: then the pools must be empty and have given all pages back.
    fn finish(mut self) {
        for pool in &self.pools {
            pool.check().unwrap();
        }
        while !self.live.is_empty() {
            self.free(self.live.len() - 1);
        }
        for pool in &self.pools {
            pool.trim();
            pool.check().unwrap();
            let stats = pool.stats();
            assert_eq!((stats.allocated_bytes, stats.active_bytes), (0, 0));
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        for pool in &self.pools {
            let (base, len) = pool.range();
            // SAFETY: the addresses go back to the system, which may use them for anything.
            unsafe { __asan_unpoison_memory_region(base.as_ptr().cast(), len) };
        }
    }
}

fuzz_target!(|plan: Plan| {
    let mut run = Run::new(plan.untouched, &plan.pools);
    run.steps(&plan.operations);
    run.finish();
});
