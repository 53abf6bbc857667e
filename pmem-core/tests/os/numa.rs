//! Memory from chosen nodes.

use pmem_core::errno::Errno;
use pmem_core::numa::{self, NodeMask, NumaPolicy};
use pmem_core::source::{Purged, Source};
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

#[test]
fn memory_on_nodes_is_there_once_it_is_committed() {
    let nodes = numa::nodes_with_memory().unwrap();
    for policy in [NumaPolicy::Bind, NumaPolicy::Preferred, NumaPolicy::Interleave] {
        let source = Source::anonymous_on_nodes(4 * MIB, &nodes, policy).unwrap();
        assert!(source.needs_commit());
        assert_eq!(source.resident_bytes(), 0);
        source.commit(0, MIB).unwrap();
        source.commit_writable(2 * MIB, MIB).unwrap();
        assert!(source.resident_bytes() >= 2 * MIB as u64, "{policy:?}");
        assert_eq!(source.purge(0, 4 * MIB), Purged::Zeroed);
        assert_eq!(source.resident_bytes(), 0);
    }
}

/// Without asking first the out-of-memory killer would end a process.
#[test]
fn more_than_bound_nodes_have_is_refused() {
    let nodes = numa::nodes_with_memory().unwrap();
    let machine = usize::try_from(sys::machine_memory()).unwrap() / MIB * MIB;
    let source = Source::anonymous_on_nodes(2 * machine, &nodes, NumaPolicy::Bind).unwrap();
    assert_eq!(source.commit(0, 2 * machine), Err(Errno::ENOMEM));
    assert_eq!(source.commit_writable(0, machine), Err(Errno::ENOMEM));
    assert_eq!(source.resident_bytes(), 0);
    source.commit(machine, MIB).unwrap();
}
