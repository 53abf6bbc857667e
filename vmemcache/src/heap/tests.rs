use super::*;
use crate::block::Units;
use std::ptr::NonNull;

fn heap(memory: &mut [u64], shift: u32) -> Heap {
    let units = Units::new(NonNull::new(memory.as_mut_ptr().cast()).unwrap(), shift, false);
    let end = (memory.len() * 8) >> shift;
    // SAFETY: the memory outlives the heap in every test.
    unsafe { Heap::new(units, 7, 1, end as u32) }
}

fn parts_only(_: Loc, _: Header) -> u32 {
    unreachable!("the tests make no entries")
}

#[test]
fn freed_neighbours_merge() {
    let mut memory = vec![0; 1000];
    let mut heap = heap(&mut memory, 3);
    let blocks: Vec<_> = (0..5).map(|_| heap.alloc(10).unwrap()).collect();
    assert_eq!(heap.free_blocks(), 1);
    for index in [1, 3, 0, 4, 2] {
        // SAFETY: allocated above, freed once.
        unsafe { heap.free(blocks[index], 10) };
        heap.validate(parts_only);
    }
    assert_eq!((heap.free_blocks(), heap.free_units()), (1, heap.total_units()));
}

#[test]
fn random_blocks_do_not_overlap() {
    for shift in [3, 4] {
        let mut memory = vec![0; if cfg!(miri) { 300 } else { 5000 }];
        let mut heap = heap(&mut memory, shift);
        let mut live: Vec<(u32, u32)> = vec![];
        let mut state = 7u64;
        for step in 0..if cfg!(miri) { 300 } else { 20_000 } {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let random = (state >> 33) as u32;
            if random.is_multiple_of(2) && !live.is_empty() {
                let (loc, units) = live.swap_remove(random as usize / 2 % live.len());
                // SAFETY: it is live, and taken off the list.
                unsafe { heap.free(loc, units) };
            } else {
                let wanted = 1 + random / 2 % 40;
                let got = if random.is_multiple_of(7) {
                    heap.alloc_largest(wanted, 2)
                } else {
                    heap.alloc(wanted).map(|loc| (loc, wanted))
                };
                if let Some((loc, units)) = got {
                    assert!(live.iter().all(|&(l, u)| loc + units <= l || l + u <= loc));
                    live.push((loc, units));
                }
            }
            if step % 64 == 0 {
                heap.validate(parts_only);
            }
        }
        for (loc, units) in live {
            // SAFETY: as above.
            unsafe { heap.free(loc, units) };
        }
        heap.validate(parts_only);
        assert_eq!((heap.free_blocks(), heap.free_units()), (1, heap.total_units()));
    }
}

/// Heaps that shrink and grow while blocks come and go: nothing is lost, nothing overlaps, nothing new lies beyond the limit.
#[test]
fn heaps_shrink_and_grow_under_random_blocks() {
    let words = if cfg!(miri) { 400 } else { 5000 };
    for shift in [3, 4] {
        let mut memory = vec![0; words];
        let mut heap = heap(&mut memory, shift);
        let most = heap.end();
        let mut live: Vec<(u32, u32)> = vec![];
        let mut random = 11u64;
        let mut below = |bound: u32| {
            random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            ((random >> 33) % u64::from(bound)) as u32
        };
        let (mut ended, mut pending) = (0, 0);
        for _ in 0..if cfg!(miri) { 300 } else { 6_000 } {
            match below(20) {
                0 => {
                    let target = 10 + below(most - 10);
                    if target < heap.limit() {
                        heap.lower_limit(target);
                    } else {
                        // SAFETY: all of the memory can be used.
                        unsafe {
                            heap.raise_limit(target.min(heap.end()));
                            if !heap.is_shrinking() {
                                heap.extend(target.max(heap.end()));
                            }
                        }
                    }
                    if heap.is_shrinking() {
                        if heap.end_at_limit() { ended += 1 } else { pending += 1 }
                    }
                }
                1..10 if !live.is_empty() => {
                    let (loc, units) = live.swap_remove(below(live.len() as u32) as usize);
                    // SAFETY: it is live, and taken off the list.
                    unsafe { heap.free(loc, units) };
                    heap.end_at_limit();
                }
                _ => {
                    let wanted = 1 + below(40);
                    if let Some(loc) = heap.alloc(wanted) {
                        assert!(loc + wanted <= heap.limit());
                        assert!(live.iter().all(|&(l, u)| loc + wanted <= l || l + u <= loc));
                        live.push((loc, wanted));
                    }
                }
            }
            heap.validate(parts_only);
            let used: u32 = live.iter().map(|&(_, units)| units).sum();
            let withheld: u32 = heap.withheld().map(|(_, units)| units).sum();
            assert_eq!(used + heap.free_units() + withheld, heap.end() - heap.first());
        }
        assert!(cfg!(miri) || (ended > 5 && pending > 5), "{ended} {pending}");
        for (loc, units) in live {
            // SAFETY: as above.
            unsafe { heap.free(loc, units) };
        }
        assert!(heap.end_at_limit());
        // SAFETY: as above.
        unsafe { heap.extend(most) };
        heap.validate(parts_only);
        assert_eq!((heap.free_blocks(), heap.free_units()), (1, heap.total_units()));
    }
}
