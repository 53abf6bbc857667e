//! Forks with pools on DAX: nobody sees the stores of the other, and both go on allocating.

use vmem::Pool;

use crate::place::{HUGE_PAGE, MIB, Place};
use crate::process::{fork, turns};
use crate::work::{Block, Random, churn, fill, free_all};

pub(crate) fn both_sides_keep_their_bytes_and_go_on_allocating() {
    let mut random = Random::new();
    for place in Place::ALL {
        let pool = place.pool(48);
        // Some blocks freed, so that live and free pages alternate.
        let mut blocks = fill(&pool, 70_000, 80, 1);
        blocks.extend(fill(&pool, 500, 2000, 50));
        for _ in 0..700 {
            blocks.swap_remove(random.below(blocks.len())).free(&pool);
        }
        let (mut ours, mut theirs) = turns();
        let mut for_child = random.split();
        let child = fork(|| {
            let mut blocks = blocks.clone();
            restamp(&mut blocks, 0xC0);
            theirs.pass();
            theirs.take();
            let refused = churn(&pool, &mut for_child, 200, 8 * MIB);
            assert_eq!(refused, 0, "{place:?}: no room in the child");
            blocks.iter().for_each(Block::check);
            // The child of a child.
            fork(|| {
                restamp(&mut blocks.clone(), 0xE0);
                churn(&pool, &mut for_child, 100, 8 * MIB);
                pool.check().expect("the structures of the pool agree in the grandchild");
            })
            .succeeds();
            free_all(&pool, blocks);
            pool.check().expect("the structures of the pool agree in the child");
            theirs.pass();
        });
        ours.take();
        // The child has written to all of its blocks.
        blocks.iter().for_each(Block::check);
        restamp(&mut blocks, 0x20);
        ours.pass();
        let refused = churn(&pool, &mut random, 200, 8 * MIB);
        assert_eq!(refused, 0, "{place:?}: no room in the parent");
        ours.take();
        child.succeeds();
        free_all(&pool, blocks);
        pool.check().expect("the structures of the pool agree in the parent");
        // And once more, now that the first child is gone.
        let blocks = fill(&pool, MIB, 16, 3);
        fork(|| {
            restamp(&mut blocks.clone(), 0x77);
            pool.check().expect("the structures of the pool agree in the second child");
        })
        .succeeds();
        free_all(&pool, blocks);
        assert_eq!(pool.stats().allocated_bytes, 0, "{place:?}");
    }
}

/// Checks all blocks and gives each another stamp.
fn restamp(blocks: &mut [Block], stamp: u8) {
    for (number, block) in blocks.iter_mut().enumerate() {
        block.check();
        block.stamp(stamp.wrapping_add(number as u8 % 16));
    }
}

/// The head is not a block: processes share it, and it makes the first page of the pool an odd one.
pub(crate) fn a_pool_with_a_head_forks() {
    for place in Place::ALL {
        for with_blocks in [false, true] {
            let pool = place.make(&Pool::builder().size(24 * MIB).head_bytes(5000));
            let head = pool.head();
            assert_eq!(head.len(), 5000);
            let head = Block::new(head.cast(), head.len(), 0x11);
            let blocks = if with_blocks { fill(&pool, 3000, 100, 9) } else { Vec::new() };
            let (mut ours, mut theirs) = turns();
            let child = fork(|| {
                head.check();
                let blocks = fill(&pool, HUGE_PAGE / 2, 4, 0x44);
                assert_eq!(blocks.len(), 4, "{place:?}: no room in the child");
                theirs.pass();
                theirs.take();
                let seen = Block { stamp: 0x22, ..head };
                assert!(seen.holds(head.size), "{place:?}: the head is not shared");
                free_all(&pool, blocks);
                pool.check().expect("the structures of the pool agree");
            });
            ours.take();
            let head = Block::new(head.at, head.size, 0x22);
            ours.pass();
            child.succeeds();
            head.check();
            free_all(&pool, blocks);
        }
    }
}

pub(crate) fn an_empty_pool_forks() {
    for place in Place::ALL {
        let pool = place.pool(24);
        let (mut ours, mut theirs) = turns();
        let child = fork(|| {
            let blocks = fill(&pool, MIB, 12, 0x30);
            assert_eq!(blocks.len(), 12, "{place:?}: no room in the child");
            theirs.pass();
            theirs.take();
            free_all(&pool, blocks);
        });
        ours.take();
        // The same addresses, most likely.
        let blocks = fill(&pool, MIB, 12, 0x60);
        assert_eq!(blocks.len(), 12, "{place:?}: no room in the parent");
        ours.pass();
        child.succeeds();
        free_all(&pool, blocks);
        pool.check().expect("the structures of the pool agree");
    }
}

pub(crate) fn a_child_can_fill_its_pool() {
    for place in Place::ALL {
        let pool = place.pool(24);
        let size = pool.stats().pool_bytes;
        let blocks = fill(&pool, 200_000, 30, 0x30);
        fork(|| {
            let more = fill(&pool, 200_000, usize::MAX, 0x90);
            let all = (blocks.len() + more.len()) * 200_000;
            assert!(all > size / 100 * 85, "{place:?}: {all} bytes of {size}");
            free_all(&pool, more);
            free_all(&pool, blocks.clone());
            assert_eq!(fill(&pool, size / 4 * 3, 1, 1).len(), 1, "{place:?}");
        })
        .succeeds();
        let more = fill(&pool, 200_000, usize::MAX, 0x90);
        let all = (blocks.len() + more.len()) * 200_000;
        assert!(all > size / 100 * 85, "{place:?}: {all} bytes of {size} in the parent");
        free_all(&pool, more);
        free_all(&pool, blocks);
    }
}
