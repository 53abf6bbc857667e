//! How much more memory NUMA nodes can give, as the kernel's zones tell it.
//!
//! `/proc/zoneinfo` describes each zone of each node:
//!
//! ```text
//! Node 0, zone    DMA32
//!   pages free     772454
//!         high     3660
//!         protection: (0, 0, 21071, 21071, 21071)
//!       nr_zone_inactive_file 0
//!       nr_zone_active_file 32
//! ```

use core::ffi::CStr;

use super::NodeMask;
use crate::errno::Errno;
use crate::file;
use crate::sys::{self, Access, Fd, OpenFlags};

/// Bytes that a process can still get from `nodes` without the system running out of memory there: what
/// is free beyond what the kernel keeps for itself, and half of what holds pages of files. Swap
/// does not count. Another process may take them first.
///
/// # Errors
/// `ENOENT` without `/proc`, `ENODATA` when it says nothing of these nodes, `EMFILE`, ...
pub fn available_bytes(nodes: &NodeMask) -> Result<u64, Errno> {
    available_in(c"/proc/zoneinfo", nodes)
}

fn available_in(path: &CStr, nodes: &NodeMask) -> Result<u64, Errno> {
    let file = sys::open_at(Fd::CURRENT_DIRECTORY, path, OpenFlags::new(Access::Read))?;
    let mut zones = Zones { nodes, counts: false, zone: Zone::default(), pages: None };
    let result = for_each_line(file, |line| zones.take(line));
    // SAFETY: opened above and used nowhere else.
    unsafe { sys::close(file) };
    result?;
    zones.end_zone();
    zones.pages.map(|pages| pages.saturating_mul(sys::page_size() as u64)).ok_or(Errno::ENODATA)
}

/// Numbers of one zone, in pages.
#[derive(Default)]
struct Zone {
    free: u64,
    /// The kernel wants to see so many free.
    high: u64,
    /// Moreover so many are not for the memory of processes, which can come from better zones.
    protection: u64,
    /// They hold pages of files.
    file: u64,
}

struct Zones<'a> {
    nodes: &'a NodeMask,
    /// Whether the present zone belongs to the nodes.
    counts: bool,
    zone: Zone,
    /// Of the zones before; `None` before the first that counts.
    pages: Option<u64>,
}

impl Zones<'_> {
    fn take(&mut self, line: &[u8]) {
        let separates = |byte: &u8| matches!(byte, b' ' | b',' | b'(' | b')');
        let mut words = line.split(separates).filter(|word| !word.is_empty());
        let name = words.next().unwrap_or(b"");
        let mut numbers = words.filter_map(file::parse_decimal);
        match name {
            b"Node" => {
                self.end_zone();
                let node = numbers.next().and_then(|node| usize::try_from(node).ok());
                self.counts = node.is_some_and(|node| self.nodes.contains(node));
            }
            b"pages" => self.zone.free = numbers.next().unwrap_or(0),
            // Not the `high:` of the lists of each CPU.
            b"high" => self.zone.high = numbers.next().unwrap_or(0),
            b"protection:" => self.zone.protection = numbers.max().unwrap_or(0),
            b"nr_zone_inactive_file" | b"nr_zone_active_file" => {
                self.zone.file += numbers.next().unwrap_or(0);
            }
            _ => {}
        }
    }

    fn end_zone(&mut self) {
        let zone = core::mem::take(&mut self.zone);
        if self.counts {
            let kept = zone.high.saturating_add(zone.protection);
            let pages = zone.free.saturating_sub(kept).saturating_add(zone.file / 2);
            self.pages = Some(self.pages.unwrap_or(0).saturating_add(pages));
        }
    }
}

/// Calls `take` with each line, without its end; longer ones come in parts. Small on the stack: this may run
/// in a call of malloc on a coroutine's stack.
fn for_each_line(file: Fd, mut take: impl FnMut(&[u8])) -> Result<(), Errno> {
    let mut buffer = [0; 512];
    let mut kept = 0;
    loop {
        let read = sys::read(file, buffer.get_mut(kept..).unwrap_or(&mut []))?;
        let end = kept + read;
        let filled = buffer.get(..end).unwrap_or(&[]);
        let is_last = read == 0 || end == 512;
        let whole = filled.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        let used = if whole == 0 && is_last { end } else { whole };
        let lines = filled.get(..used).unwrap_or(&[]).split(|&byte| byte == b'\n');
        lines.for_each(&mut take);
        if read == 0 {
            return Ok(());
        }
        buffer.copy_within(used..end, 0);
        kept = end - used;
    }
}

#[cfg(test)]
#[cfg(not(miri))]
mod tests {
    use super::*;
    use std::ffi::CString;
    use std::format;
    use std::string::String;

    fn zone(node: usize, name: &str, [free, high, protection, files]: [u64; 4]) -> String {
        format!(
            "Node {node}, zone {name:>8}\n  per-node stats\n      nr_inactive_file 999999\n  \
             pages free     {free}\n        boost    0\n        min      1\n        high     {high}\n        \
             protection: (0, {protection}, 7)\n      nr_free_pages {free}\n      \
             nr_zone_inactive_file {files}\n      nr_zone_active_file 2\n  pagesets\n    \
             cpu: 0\n              count:    5\n              high:     140\n"
        )
    }

    fn available(text: &str, list: &[u8]) -> Result<u64, Errno> {
        let path = format!("/tmp/zoneinfo-{}-{:p}", std::process::id(), list);
        std::fs::write(&path, text).unwrap();
        let result = available_in(&CString::new(&*path).unwrap(), &NodeMask::parse_list(list)?);
        std::fs::remove_file(&path).unwrap();
        result.map(|bytes| bytes / sys::page_size() as u64)
    }

    #[test]
    fn zones_add_up() {
        let text = [
            zone(0, "DMA", [3840, 16, 24_090, 0]),
            zone(0, "Normal", [1000, 100, 0, 98]),
            zone(1, "Movable", [5000, 50, 0, 0]),
            // A line that fits no buffer.
            format!("  x{}\n", "y".repeat(3000)),
            zone(12, "Movable", [70, 60, 0, 0]),
        ]
        .concat();
        // What is protected is not for us; of the pages of files a half counts, and two are active.
        assert_eq!(available(&text, b"0"), Ok(1 + (1000 - 100 - 7 + 50)));
        assert_eq!(available(&text, b"1"), Ok(5000 - 50 - 7 + 1));
        assert_eq!(available(&text, b"12"), Ok(3 + 1));
        assert_eq!(available(&text, b"0-1,12"), Ok(944 + 4944 + 4));
        assert_eq!(available(&text, b"2"), Err(Errno::ENODATA));
        assert_eq!(available("", b"0"), Err(Errno::ENODATA));
        assert_eq!(available_in(c"/nonexistent", &NodeMask::EMPTY), Err(Errno::ENOENT));
    }

    #[test]
    fn this_machine_has_something_left() {
        let nodes = super::super::nodes_with_memory().unwrap();
        let available = available_bytes(&nodes).unwrap();
        assert!(available > 16 << 20 && available < sys::machine_memory(), "{available}");
    }
}
