//! Memory from chosen nodes.

use pmem_core::numa::{self, NodeMask, NumaPolicy};
use pmem_core::source::Source;
use pmem_core::sys;

use crate::{MIB, stamp};

#[test]
fn bound_memory_comes_from_its_node() {
    for node in numa::nodes_with_memory().unwrap().iter() {
        let nodes = NodeMask::single(node).unwrap();
        for policy in [NumaPolicy::Bind, NumaPolicy::Preferred, NumaPolicy::Interleave] {
            let source = Source::anonymous_on_nodes(MIB, &nodes, policy).unwrap();
            stamp(&source, 0, MIB, 1);
            // Only a bound page must be there; the others may go elsewhere when the node is full.
            if policy == NumaPolicy::Bind {
                assert_eq!(sys::node_of_address(source.base()), Ok(node));
            }
            let maps = std::fs::read_to_string("/proc/self/numa_maps").unwrap();
            let start = format!("{:x} ", source.base().addr().get());
            let line = maps.lines().find(|line| line.starts_with(&start)).expect("a line of maps");
            let name = match policy {
                NumaPolicy::Bind => "bind:",
                NumaPolicy::Preferred => "prefer",
                NumaPolicy::Interleave => "interleave:",
            };
            assert!(line.contains(name), "{line}");
        }
    }
}
