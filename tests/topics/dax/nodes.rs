//! Pools on NUMA nodes: where the blocks really are.

use std::collections::BTreeMap;

use vmem::{Error, NodeMask, NumaPolicy, Pool};

use crate::place::MIB;
use crate::work::{Block, fill, free_all};

/// Nodes of the machine that have memory: 0 and 1 have processors too, 2 is small, and 3 is slow.
const NODES: [usize; 4] = [0, 1, 2, 3];
/// A node that exists and has no memory: that of the first NVDIMM.
const NODE_WITHOUT_MEMORY: usize = 4;

fn mask(nodes: &[usize]) -> NodeMask {
    let mut mask = NodeMask::EMPTY;
    for &node in nodes {
        mask.insert(node).expect("a small number");
    }
    mask
}

/// How many pages of the blocks lie on each node, as the kernel has it. Pages that are nowhere count under their
/// error number, which is negative.
fn pages_by_node(blocks: &[Block]) -> BTreeMap<i32, usize> {
    let mut addresses: Vec<usize> = blocks
        .iter()
        .flat_map(|block| {
            let start = block.at.addr().get();
            (start / 4096..(start + block.size).div_ceil(4096)).map(|page| page * 4096)
        })
        .collect();
    addresses.sort_unstable();
    addresses.dedup();
    let mut nodes = vec![i32::MIN; addresses.len()];
    // SAFETY: both arrays have as many entries as the count says; without target nodes nothing is moved.
    let result = unsafe {
        libc::syscall(
            libc::SYS_move_pages,
            0,
            addresses.len(),
            addresses.as_ptr(),
            std::ptr::null::<i32>(),
            nodes.as_mut_ptr(),
            0,
        )
    };
    assert_eq!(result, 0, "move_pages: {}", std::io::Error::last_os_error());
    let mut counts = BTreeMap::new();
    for node in nodes {
        *counts.entry(node).or_default() += 1;
    }
    counts
}

/// Blocks of several sizes, 8 MiB in all.
fn various(pool: &Pool) -> Vec<Block> {
    let mut blocks = fill(pool, 3 * MIB, 2, 1);
    blocks.extend(fill(pool, 20_000, 100, 2));
    blocks.extend(fill(pool, 100, 5000, 3));
    assert_eq!(blocks.len(), 5102, "there is room");
    blocks
}

pub(crate) fn blocks_lie_on_the_node_they_are_bound_to() {
    let mut cases = NODES.map(|node| (NumaPolicy::Bind, node)).to_vec();
    // One node is one node, whatever the policy.
    cases.extend([(NumaPolicy::Preferred, 3), (NumaPolicy::Interleave, 2)]);
    for (policy, node) in cases {
        let builder = Pool::builder().size(32 * MIB);
        let pool = builder.on_nodes(&mask(&[node]), policy).expect("a node with memory");
        // Freed, given back and used again: still there.
        for round in ["fresh", "used"] {
            let blocks = various(&pool);
            let found = pages_by_node(&blocks);
            let only: Vec<i32> = found.keys().copied().collect();
            assert_eq!(only, [node as i32], "{policy:?}, {round}: pages by node {found:?}");
            free_all(&pool, blocks);
            assert!(pool.trim() >= 6 * MIB);
        }
        pool.check().expect("the structures of the pool agree");
    }
}

pub(crate) fn a_full_preferred_node_is_followed_by_others() {
    let pool = Pool::builder().size(192 * MIB);
    let pool = pool.on_nodes(&mask(&[2]), NumaPolicy::Preferred).expect("a node with memory");
    let blocks = fill(&pool, MIB, 160, 1);
    assert_eq!(blocks.len(), 160, "other nodes have room");
    let found = pages_by_node(&blocks);
    let on_2 = found.get(&2).copied().unwrap_or(0) * 4096;
    assert!(on_2 >= 48 * MIB, "pages by node: {found:?}");
    assert!(found.len() >= 2 && found.keys().all(|&node| node >= 0), "pages by node: {found:?}");
    free_all(&pool, blocks);
}

pub(crate) fn interleaved_blocks_are_spread_evenly() {
    let pool = Pool::builder().size(80 * MIB);
    let pool = pool.on_nodes(&mask(&[0, 1, 3]), NumaPolicy::Interleave).expect("three nodes");
    // Many: where the system makes huge pages of anonymous memory, these are what takes turns.
    let mut blocks = fill(&pool, 3 * MIB, 20, 1);
    blocks.extend(various(&pool));
    let found = pages_by_node(&blocks);
    let all: usize = found.values().sum();
    assert_eq!(found.keys().copied().collect::<Vec<_>>(), [0, 1, 3], "pages by node: {found:?}");
    for count in found.values() {
        assert!(count * 4 > all && count * 5 < all * 2, "pages by node: {found:?}");
    }
    free_all(&pool, blocks);
}

pub(crate) fn nodes_without_memory_are_refused_in_words() {
    let builder = Pool::builder().size(16 * MIB);
    for policy in [NumaPolicy::Bind, NumaPolicy::Preferred, NumaPolicy::Interleave] {
        for node in [NODE_WITHOUT_MEMORY, 900] {
            let error = builder.on_nodes(&mask(&[node]), policy).expect_err("no memory there");
            let Error::Nodes { nodes, .. } = &error else { panic!("{policy:?}: {error:?}") };
            assert_eq!(*nodes, [node]);
            let text = error.to_string();
            assert!(text.contains(&format!("[{node}]")) && text.contains("has_memory"), "{text}");
        }
    }
}
