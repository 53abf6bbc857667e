//! NUMA nodes as the place: the pool is anonymous memory of theirs.

use super::{Place, bad, default_size, shown};
use crate::failure::Failure;
use crate::os::{self, Limit};
use crate::settings::{Nodes, Settings, Sourced, Space, variable};
use crate::size::{MIN_POOL_BYTES, human};
use pmem_core::errno::Errno;
use pmem_core::numa::{self, NodeMask, NumaPolicy};
use pmem_core::source::Source;

/// Checks that the nodes are there and have memory, settles the size, and tries the mapping.
pub(super) fn check(settings: &Settings, wanted: &Sourced<Nodes>) -> Result<Place, Failure> {
    let text = Sourced { value: wanted.value.text.clone(), origin: wanted.origin };
    let nodes = &wanted.value.nodes;
    let no_numa =
        |_| bad(&text, "cannot be found: sysfs lists no nodes", "mount /sys, or use --dir");
    let online = numa::online_nodes().map_err(no_numa)?;
    let with_memory = numa::nodes_with_memory().map_err(no_numa)?;
    let have = format!("name some of the nodes with memory: {}", list(&with_memory));
    if let Some(node) = nodes.iter().find(|&node| !online.contains(node)) {
        return Err(bad(&text, &format!("names node {node}, which does not exist"), &have));
    }
    if let Some(node) = nodes.iter().find(|&node| !with_memory.contains(node)) {
        return Err(bad(&text, &format!("names node {node}, which has no memory"), &have));
    }
    // Without an answer the library cannot tell either, and the pool is as large as was asked for.
    let available = numa::available_bytes(nodes).ok();
    let mut warnings = Vec::new();
    let size_bytes = match &settings.size_bytes {
        Some(size) => size.value,
        None => default_size(available, None, os::limit(Limit::AddressSpace)),
    };
    let must_fit = wanted.value.policy == NumaPolicy::Bind;
    if let Some(free) = available.filter(|&free| must_fit && free < size_bytes) {
        let little = format!("has {} of memory left", human(free));
        if settings.space == Space::Prealloc {
            return Err(bad(
                &text,
                &format!(
                    "{little}, less than the {} that --prealloc takes at once",
                    human(size_bytes)
                ),
                "give a smaller --size, use --lazy, or name more nodes",
            ));
        }
        if free < MIN_POOL_BYTES && settings.overflow_to_dram != Some(true) {
            return Err(bad(
                &text,
                &format!("{little}, less than the smallest pool of {MIN_POOL_BYTES} bytes"),
                "end what uses it, name other nodes, or let the heap go on elsewhere with --overflow dram or prefer:",
            ));
        }
        if settings.size_bytes.is_some() {
            warnings.push(format!(
                "{} {little}, less than the size of {}: allocations fail when that is used up",
                shown(&text),
                human(size_bytes)
            ));
        }
    }
    probe(&text, size_bytes, &wanted.value)?;
    let value = text.value;
    Ok(Place { variable: variable::NODES, value, size_bytes: Some(size_bytes), warnings })
}

/// Maps and binds as the library will; no memory is taken.
fn probe(
    text: &Sourced<std::ffi::OsString>,
    size_bytes: u64,
    wanted: &Nodes,
) -> Result<(), Failure> {
    let len = usize::try_from(size_bytes).unwrap_or(usize::MAX);
    let error = match Source::anonymous_on_nodes(len, &wanted.nodes, wanted.policy) {
        Ok(_) => return Ok(()),
        Err(error) => error,
    };
    let (problem, remedy) = match (error.operation, error.errno) {
        ("mmap", _) => (
            format!("cannot have a pool of {size_bytes} bytes: {}", error.errno),
            "give a smaller --size, or raise the limit (ulimit -v unlimited)",
        ),
        ("mbind", Errno::EINVAL) => (
            "names nodes that this process may not use".to_owned(),
            "name nodes of its cpuset (Mems_allowed_list in /proc/self/status)",
        ),
        ("mbind", Errno::EPERM) => (
            "cannot be bound to (permission denied)".to_owned(),
            "allow the call mbind in the sandbox (for Docker: --cap-add SYS_NICE)",
        ),
        _ => (format!("cannot be bound to: {}", error.errno), "use --dir"),
    };
    Err(bad(text, &problem, remedy))
}

/// `0, 2, 3`.
fn list(nodes: &NodeMask) -> String {
    nodes.iter().map(|node| node.to_string()).collect::<Vec<_>>().join(", ")
}
