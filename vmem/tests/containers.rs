//! Containers in pools, compared step by step with those of the standard library.

use hashbrown::HashMap;
use std::alloc::Layout;
use std::collections::HashMap as StdHashMap;
use std::ptr::NonNull;
use vmem::Pool;
use vmem::allocator_api2::alloc::Allocator;
use vmem::allocator_api2::boxed::Box;
use vmem::allocator_api2::vec::Vec as PoolVec;

/// Random numbers, the same in every run (xorshift64).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % limit
    }
}

const STEPS: usize = if cfg!(miri) { 300 } else { 40_000 };

fn pool() -> Pool {
    Pool::anonymous(if cfg!(miri) { 16 << 20 } else { 256 << 20 }).unwrap()
}

fn assert_empty(pool: &Pool) {
    assert_eq!(pool.stats().allocated_bytes, 0);
    pool.check().unwrap();
}

#[test]
fn vectors_behave_like_those_of_the_standard_library() {
    let pool = pool();
    let mut random = Random(0x5EED_0001);
    let mut vectors: Vec<(PoolVec<u64, &Pool>, Vec<u64>)> = Vec::new();
    for step in 0..STEPS {
        if vectors.len() < 8 {
            vectors.push((PoolVec::new_in(&pool), Vec::new()));
        }
        let which = random.below(vectors.len());
        let (ours, model) = &mut vectors[which];
        match random.below(12) {
            0..=4 => {
                let value = random.below(1 << 40) as u64;
                ours.push(value);
                model.push(value);
            }
            5 => {
                let more = (0..random.below(300) as u64).map(|n| n + step as u64);
                ours.extend(more.clone());
                model.extend(more);
            }
            6 => assert_eq!(ours.pop(), model.pop()),
            7 => {
                let len = random.below(model.len() + 1);
                ours.truncate(len);
                model.truncate(len);
            }
            8 => {
                ours.shrink_to_fit();
                assert_eq!(ours.capacity(), ours.len());
            }
            9 if !model.is_empty() => {
                let at = random.below(model.len());
                assert_eq!(ours.swap_remove(at), model.swap_remove(at));
            }
            10 => ours.reserve(random.below(1000)),
            11 if random.below(20) == 0 => drop(vectors.swap_remove(which)),
            _ => assert_eq!(ours[..], model[..]),
        }
    }
    for (ours, model) in &vectors {
        assert_eq!(ours[..], model[..]);
        assert!(ours.capacity() == 0 || pool.contains(NonNull::from(&ours[..])));
    }
    drop(vectors);
    assert_empty(&pool);
}

#[test]
fn maps_behave_like_those_of_the_standard_library() {
    let pool = pool();
    let mut random = Random(0x5EED_0002);
    let mut ours: HashMap<u32, Box<[u8], &Pool>, _, &Pool> = HashMap::new_in(&pool);
    let mut model: StdHashMap<u32, Vec<u8>> = StdHashMap::new();
    for _ in 0..STEPS {
        let key = random.below(2000) as u32;
        match random.below(8) {
            0..=3 => {
                let text = vec![key as u8; random.below(400)];
                let mut value = PoolVec::new_in(&pool);
                value.extend_from_slice(&text);
                let old = ours.insert(key, value.into_boxed_slice());
                assert_eq!(old.as_deref(), model.insert(key, text).as_deref());
            }
            4..=5 => {
                let old = ours.remove(&key);
                assert_eq!(old.as_deref(), model.remove(&key).as_deref());
            }
            6 if random.below(100) == 0 => ours.shrink_to_fit(),
            _ => assert_eq!(ours.get(&key).map(|v| &**v), model.get(&key).map(|v| &v[..])),
        }
    }
    assert_eq!(ours.len(), model.len());
    assert!(model.iter().all(|(key, value)| *ours[key] == value[..]));
    // A copy lies in the same pool.
    let copy = ours.clone();
    assert_eq!(copy.len(), model.len());
    drop((ours, copy));
    assert_empty(&pool);
}

#[test]
fn values_are_dropped_once() {
    struct Counted<'a>(&'a std::cell::Cell<usize>);
    impl Drop for Counted<'_> {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }
    let dropped = std::cell::Cell::new(0);
    let pool = pool();
    let boxed = Box::new_in(Counted(&dropped), &pool);
    let mut vector = PoolVec::new_in(&pool);
    for _ in 0..100 {
        vector.push(Counted(&dropped));
    }
    vector.truncate(40);
    assert_eq!(dropped.get(), 60);
    drop((boxed, vector));
    assert_eq!(dropped.get(), 101);
    assert_empty(&pool);
}

#[test]
fn a_container_may_own_its_pool() {
    let pool = pool();
    let range = pool.range();
    let mut vector: PoolVec<u32, Pool> = PoolVec::new_in(pool);
    vector.extend(0..1000);
    let moved = std::boxed::Box::new(vector);
    assert_eq!(moved.iter().sum::<u32>(), 499_500);
    let first = moved.as_ptr().addr();
    let start = range.cast::<u8>().addr().get();
    assert!((start..start + range.len()).contains(&first));
}

#[test]
fn threads_may_share_a_pool() {
    let pool = pool();
    let vectors: Vec<PoolVec<usize, &Pool>> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4)
            .map(|n| {
                let pool = &pool;
                scope.spawn(move || {
                    let mut vector = PoolVec::new_in(pool);
                    vector.extend((0..STEPS).map(|at| at ^ n));
                    vector
                })
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).collect()
    });
    for (n, vector) in vectors.iter().enumerate() {
        assert!(vector.iter().enumerate().all(|(at, value)| *value == at ^ n));
    }
    drop(vectors);
    assert_empty(&pool);
}

#[test]
#[cfg_attr(miri, ignore = "fills a pool")]
fn a_full_pool_is_an_error_and_leaves_containers_as_they_are() {
    let pool = Pool::anonymous(16 << 20).unwrap();
    let mut vector = PoolVec::new_in(&pool);
    vector.extend(0..1000u64);
    assert!(vector.try_reserve_exact(16 << 20).is_err());
    let mut map: HashMap<u64, u64, _, &Pool> = HashMap::new_in(&pool);
    map.insert(1, 2);
    assert!(map.try_reserve(4 << 20).is_err());
    assert!(Box::<[u8; 32 << 20], _>::try_new_uninit_in(&pool).is_err());
    assert_eq!((vector.len(), vector[999], map[&1]), (1000, 999, 2));
    pool.check().unwrap();
}

fn layout(size: usize, align: usize) -> Layout {
    Layout::from_size_align(size, align).unwrap()
}

/// Bytes that differ from place to place.
fn stamp(at: usize) -> u8 {
    (at * 7 + at / 256) as u8 | 1
}

/// Fills a block with stamps.
fn write_stamps(block: NonNull<[u8]>) {
    for at in 0..block.len() {
        // SAFETY: inside the block.
        unsafe { block.cast::<u8>().add(at).write(stamp(at)) };
    }
}

/// Bytes of the block, by value.
fn bytes(block: NonNull<[u8]>) -> Vec<u8> {
    // SAFETY: a live block, written before.
    unsafe { block.as_ref() }.to_vec()
}

#[test]
fn blocks_of_the_allocator_trait_grow_and_shrink_across_alignments() {
    let pool = pool();
    let sizes: &[usize] = if cfg!(miri) { &[0, 9, 64] } else { &[0, 1, 8, 9, 64, 5000, 300_000] };
    let aligns: &[usize] = if cfg!(miri) { &[1, 64] } else { &[1, 8, 16, 64, 4096, 65_536] };
    let aligned = |block: NonNull<[u8]>, layout: Layout| {
        assert!(block.cast::<u8>().addr().get().is_multiple_of(layout.align()), "{layout:?}");
        assert_eq!(block.len(), layout.size(), "no more is promised than asked for");
    };
    for old in sizes.iter().flat_map(|&s| aligns.iter().map(move |&a| layout(s, a))) {
        for new in sizes.iter().flat_map(|&s| aligns.iter().map(move |&a| layout(s, a))) {
            let on = &pool;
            let block = on.allocate(old).unwrap();
            aligned(block, old);
            write_stamps(block);
            let kept = old.size().min(new.size());
            // SAFETY: each block is live with the layout named, and freed once.
            unsafe {
                if new.size() >= old.size() {
                    let grown = on.grow(block.cast(), old, new).unwrap();
                    aligned(grown, new);
                    let first = NonNull::slice_from_raw_parts(grown.cast::<u8>(), kept);
                    assert!(bytes(first).iter().enumerate().all(|(at, b)| *b == stamp(at)));
                    grown.cast::<u8>().write_bytes(0xEE, new.size());
                    on.deallocate(grown.cast(), new);

                    let block = on.allocate_zeroed(old).unwrap();
                    aligned(block, old);
                    assert!(bytes(block).iter().all(|byte| *byte == 0), "{old:?}");
                    write_stamps(block);
                    let grown = on.grow_zeroed(block.cast(), old, new).unwrap();
                    aligned(grown, new);
                    let expected = |at| if at < kept { stamp(at) } else { 0 };
                    let seen = bytes(grown);
                    assert!(seen.iter().enumerate().all(|(at, b)| *b == expected(at)), "{new:?}");
                    on.deallocate(grown.cast(), new);
                } else {
                    let shrunk = on.shrink(block.cast(), old, new).unwrap();
                    aligned(shrunk, new);
                    assert!(bytes(shrunk).iter().enumerate().all(|(at, b)| *b == stamp(at)));
                    on.deallocate(shrunk.cast(), new);
                }
            }
        }
    }
    assert_empty(&pool);
}

#[test]
fn values_without_a_size_need_no_memory() {
    let pool = pool();
    let mut units = PoolVec::new_in(&pool);
    units.extend([(); 1000]);
    let boxed = Box::new_in((), &pool);
    let mut map: HashMap<(), (), _, &Pool> = HashMap::new_in(&pool);
    assert_eq!((units.len(), *boxed), (1000, ()));
    assert_eq!(pool.stats().allocated_bytes, 0);
    map.insert((), ());
    assert_eq!(map.len(), 1);
    drop(map);
    let block = pool.allocate(layout(0, 4096)).unwrap();
    assert!(block.cast::<u8>().addr().get().is_multiple_of(4096) && block.is_empty());
    // SAFETY: a block of this layout.
    unsafe { pool.deallocate(block.cast(), layout(0, 4096)) };
    assert_empty(&pool);
}

#[test]
fn a_growth_that_fails_leaves_the_block_as_it_was() {
    let pool = Pool::anonymous(14 << 20).unwrap();
    let old = layout(100, 64);
    let block = pool.allocate(old).unwrap();
    write_stamps(block);
    // SAFETY: live with this layout throughout, for growing fails.
    unsafe {
        for new in [layout(20 << 20, 64), layout(20 << 20, 4096), layout(200, 1 << 40)] {
            assert!(pool.grow(block.cast(), old, new).is_err());
            assert!(pool.grow_zeroed(block.cast(), old, new).is_err());
        }
        assert!(pool.shrink(block.cast(), old, layout(50, 1 << 40)).is_err());
        assert!(bytes(block).iter().enumerate().all(|(at, byte)| *byte == stamp(at)));
        pool.deallocate(block.cast(), old);
    }
    assert_empty(&pool);
}
