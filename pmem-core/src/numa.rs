//! NUMA nodes: fixed-size sets, the topology as sysfs tells it, and memory policies.

mod free;

use core::ffi::CStr;

pub use free::available_bytes;

use crate::errno::Errno;
use crate::file;

const WORDS: usize = NodeMask::CAPACITY / 64;

/// A set of NUMA nodes.
///
/// # Examples
/// ```
/// use pmem_core::numa::NodeMask;
/// let nodes = NodeMask::parse_list(b"0-2,5").unwrap();
/// assert!(nodes.iter().eq([0, 1, 2, 5]));
/// ```
#[derive(Copy, Clone, PartialEq, Eq)]
pub struct NodeMask {
    words: [u64; WORDS],
}

impl NodeMask {
    /// How many nodes the kernel can have.
    pub const CAPACITY: usize = 1024;

    /// No node.
    pub const EMPTY: NodeMask = NodeMask { words: [0; WORDS] };

    /// One node.
    ///
    /// # Errors
    /// `EINVAL` when the number is not below [`CAPACITY`](Self::CAPACITY).
    pub fn single(node: usize) -> Result<NodeMask, Errno> {
        let mut mask = NodeMask::EMPTY;
        mask.insert(node)?;
        Ok(mask)
    }

    /// Adds a node.
    ///
    /// # Errors
    /// `EINVAL` when the number is not below [`CAPACITY`](Self::CAPACITY).
    pub fn insert(&mut self, node: usize) -> Result<(), Errno> {
        let word = self.words.get_mut(node / 64).ok_or(Errno::EINVAL)?;
        *word |= 1 << (node % 64);
        Ok(())
    }

    /// Is the node in the set?
    #[must_use]
    pub fn contains(&self, node: usize) -> bool {
        self.words.get(node / 64).is_some_and(|word| word >> (node % 64) & 1 != 0)
    }

    /// Is there no node in the set?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == NodeMask::EMPTY
    }

    /// How many nodes are in the set.
    #[must_use]
    pub fn count(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// The lowest node.
    #[must_use]
    pub fn first(&self) -> Option<usize> {
        self.iter().next()
    }

    /// Are all nodes of `other` in this set?
    #[must_use]
    pub fn contains_all(&self, other: &NodeMask) -> bool {
        self.words.iter().zip(&other.words).all(|(ours, theirs)| theirs & !ours == 0)
    }

    /// The nodes in rising order.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        (0..NodeMask::CAPACITY).filter(|&node| self.contains(node))
    }

    /// Reads the kernel's list form: `0-3,5`.
    ///
    /// # Errors
    /// `EINVAL` for other text or a node beyond [`CAPACITY`](Self::CAPACITY).
    pub fn parse_list(text: &[u8]) -> Result<NodeMask, Errno> {
        let mut mask = NodeMask::EMPTY;
        let text = text.trim_ascii();
        if text.is_empty() {
            return Ok(mask);
        }
        for range in text.split(|&byte| byte == b',') {
            let mut ends = range.splitn(2, |&byte| byte == b'-').map(node_number);
            let first = ends.next().ok_or(Errno::EINVAL)??;
            let last = ends.next().unwrap_or(Ok(first))?;
            if last < first {
                return Err(Errno::EINVAL);
            }
            for node in first..=last {
                mask.insert(node)?;
            }
        }
        Ok(mask)
    }

    pub(crate) fn words(&self) -> &[u64; WORDS] {
        &self.words
    }
}

impl core::fmt::Debug for NodeMask {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

fn node_number(text: &[u8]) -> Result<usize, Errno> {
    let number = file::parse_decimal(text).ok_or(Errno::EINVAL)?;
    usize::try_from(number).ok().filter(|&node| node < NodeMask::CAPACITY).ok_or(Errno::EINVAL)
}

/// How pages are spread over nodes.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum NumaPolicy {
    /// Only the given nodes. When they are full the kernel does what it does when all memory is:
    /// it ends a process. So a source asks first what they have left
    /// ([`available_bytes`]), and refuses what is more.
    Bind,
    /// The given nodes first, others when they are full.
    Preferred,
    /// Page by page in turn.
    Interleave,
}

impl NumaPolicy {
    /// The kernel's number for the policy.
    pub(crate) const fn mode(self) -> i32 {
        match self {
            NumaPolicy::Bind => libc::MPOL_BIND,
            NumaPolicy::Preferred => MPOL_PREFERRED_MANY,
            NumaPolicy::Interleave => libc::MPOL_INTERLEAVE,
        }
    }
}

const MPOL_PREFERRED_MANY: i32 = 5;

/// The nodes that are switched on.
///
/// # Errors
/// `ENOENT` on a kernel without NUMA support or without sysfs.
pub fn online_nodes() -> Result<NodeMask, Errno> {
    read_mask(c"/sys/devices/system/node/online")
}

/// The nodes that have memory.
///
/// # Errors
/// As [`online_nodes`].
pub fn nodes_with_memory() -> Result<NodeMask, Errno> {
    read_mask(c"/sys/devices/system/node/has_memory")
}

/// The nodes that have CPUs; a node with memory and without CPUs is typically expanded or
/// persistent memory.
///
/// # Errors
/// As [`online_nodes`].
pub fn nodes_with_cpus() -> Result<NodeMask, Errno> {
    read_mask(c"/sys/devices/system/node/has_cpu")
}

fn read_mask(path: &CStr) -> Result<NodeMask, Errno> {
    let mut buffer = [0; 512];
    NodeMask::parse_list(file::read_small(path, &mut buffer)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists() {
        for (text, nodes) in [
            (&b""[..], &[][..]),
            (b"\n", &[]),
            (b"0\n", &[0]),
            (b"0-1", &[0, 1]),
            (b"0,2-4,63-64,1023", &[0, 2, 3, 4, 63, 64, 1023]),
        ] {
            let mask = NodeMask::parse_list(text).unwrap();
            assert!(mask.iter().eq(nodes.iter().copied()), "{text:?}: {mask:?}");
            assert_eq!(mask.count(), nodes.len());
            assert_eq!(mask.is_empty(), nodes.is_empty());
            assert_eq!(mask.first(), nodes.first().copied());
        }
        for text in
            [&b"x"[..], b"1-", b"-1", b"3-2", b"1,,2", b"1024", b"0-99999999999999999999", b"1 2"]
        {
            assert_eq!(NodeMask::parse_list(text), Err(Errno::EINVAL), "{text:?}");
        }
    }

    #[test]
    fn sets() {
        let mut mask = NodeMask::single(3).unwrap();
        assert!(mask.contains(3) && !mask.contains(2) && !mask.contains(5000));
        assert_eq!(mask.insert(1024), Err(Errno::EINVAL));
        mask.insert(700).unwrap();
        assert!(mask.contains_all(&NodeMask::single(700).unwrap()));
        assert!(!NodeMask::single(700).unwrap().contains_all(&mask));
    }

    #[test]
    #[cfg_attr(miri, ignore = "reads sysfs")]
    fn the_machine_has_a_node_with_memory() {
        let memory = nodes_with_memory().expect("sysfs tells the nodes");
        assert!(!memory.is_empty());
        assert!(online_nodes().unwrap().contains_all(&memory));
        assert!(!nodes_with_cpus().unwrap().is_empty());
    }
}
