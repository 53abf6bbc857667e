//! Memory from a chosen NUMA node: `nodes 0`, or `nodes 2` for a node of expanded memory.

use pmem_core::numa::nodes_with_memory;
use pmem_core::sys::node_of_address;
use std::error::Error;
use vmem::allocator_api2::vec::Vec;
use vmem::{NodeMask, NumaPolicy, Pool};

fn main() -> Result<(), Box<dyn Error>> {
    println!("nodes with memory: {:?}", nodes_with_memory()?);
    let node = std::env::args().nth(1).unwrap_or("0".into()).parse()?;
    let nodes = NodeMask::single(node)?;
    let pool = Pool::builder().size(64 << 20).on_nodes(&nodes, NumaPolicy::Bind)?;

    let mut numbers = Vec::new_in(&pool);
    numbers.extend(0..1_000_000u64);
    let page = std::ptr::NonNull::from(&numbers[500_000]).cast();
    println!("the numbers are on node {}", node_of_address(page)?);
    println!("resident: {} bytes", pool.stats().resident_bytes);
    Ok(())
}
