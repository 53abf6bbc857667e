//! The mappings of a process, by address.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

use pmem_core::errno::Errno;
use pmem_core::persist::Granularity;
use pmem_core::sys;

use crate::deep::Backing;

/// What is known about a mapping.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Its first address.
    pub start: usize,
    /// Its length in bytes.
    pub len: usize,
    /// What its memory needs.
    pub granularity: Granularity,
    /// What lies behind it.
    pub backing: Backing,
    /// The user's own number.
    pub token: usize,
}

impl Entry {
    fn end(&self) -> usize {
        self.start.saturating_add(self.len)
    }
}

/// Mappings that do not overlap.
#[derive(Debug, Default)]
pub struct Registry {
    entries: RwLock<BTreeMap<usize, Entry>>,
}

/// The maps that this crate makes.
pub(crate) static MAPS: Registry = Registry::new();

/// Gives a number to the map at an address, for whoever finds it by its address.
pub fn set_token(start: usize, token: usize) {
    MAPS.set_token(start, token);
}

/// Writes the pages of all maps that a range touches to their files, by `msync`.
///
/// # Errors
/// As for [`Registry::sync`].
pub fn sync_maps(start: usize, len: usize) -> Result<(), Errno> {
    MAPS.sync(start, len)
}

impl Registry {
    /// An empty one.
    #[must_use]
    pub const fn new() -> Registry {
        Registry { entries: RwLock::new(BTreeMap::new()) }
    }

    fn read<R>(&self, use_it: impl FnOnce(&BTreeMap<usize, Entry>) -> R) -> R {
        use_it(&self.entries.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write<R>(&self, use_it: impl FnOnce(&mut BTreeMap<usize, Entry>) -> R) -> R {
        use_it(&mut self.entries.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// Adds an entry; `false`, and nothing is changed, when it overlaps another one.
    pub fn insert(&self, entry: Entry) -> bool {
        self.write(|entries| {
            if overlapping(entries, entry.start, entry.len).next().is_some() {
                return false;
            }
            entries.insert(entry.start, entry);
            true
        })
    }

    /// Adds an entry for a range that the kernel has just given out: what is known of it from before
    /// was unmapped by others.
    pub fn replace(&self, entry: Entry) {
        self.write(|entries| {
            cut(entries, entry.start, entry.len);
            entries.insert(entry.start, entry);
        });
    }

    /// Forgets a range; entries that reach beyond it lose only what lies inside.
    pub fn cut(&self, start: usize, len: usize) {
        self.write(|entries| cut(entries, start, len));
    }

    /// Forgets the entry that starts at an address. `unmap` runs before anybody can register
    /// something there.
    pub fn remove(&self, start: usize, unmap: impl FnOnce()) -> Option<Entry> {
        self.write(|entries| {
            unmap();
            entries.remove(&start)
        })
    }

    /// The entry that starts at an address.
    #[must_use]
    pub fn at(&self, start: usize) -> Option<Entry> {
        self.read(|entries| entries.get(&start).copied())
    }

    /// Gives a new number to the entry that starts at an address.
    pub fn set_token(&self, start: usize, token: usize) {
        self.write(|entries| {
            if let Some(entry) = entries.get_mut(&start) {
                entry.token = token;
            }
        });
    }

    /// The first entry, by address, that overlaps a range.
    #[must_use]
    pub fn first_in(&self, start: usize, len: usize) -> Option<Entry> {
        self.read(|entries| overlapping(entries, start, len).next())
    }

    /// The last entry that overlaps a range.
    #[must_use]
    pub fn last_in(&self, start: usize, len: usize) -> Option<Entry> {
        self.read(|entries| overlapping(entries, start, len).last())
    }

    /// Whether the entries cover a range without a gap. Not so for an empty range.
    #[must_use]
    pub fn covers(&self, start: usize, len: usize) -> bool {
        let end = start.saturating_add(len);
        self.read(|entries| {
            let mut at = start;
            for entry in overlapping(entries, start, len) {
                if entry.start > at {
                    return false;
                }
                at = entry.end();
            }
            len != 0 && at >= end
        })
    }

    /// Writes the pages of all entries that a range touches to their files, by `msync`.
    ///
    /// # Errors
    /// The first one of `msync`; the other pages are tried all the same.
    pub fn sync(&self, start: usize, len: usize) -> Result<(), Errno> {
        let page = sys::page_size();
        let end = start.saturating_add(len);
        let mut at = start;
        let mut result = Ok(());
        while at < end {
            let Some(entry) = self.first_in(at, end - at) else { break };
            let from = at.max(entry.start) & !(page - 1);
            let to = end.min(entry.end());
            result = result.and(sys::sync_mapping(from, to - from));
            at = entry.end();
        }
        result
    }
}

fn overlapping(
    entries: &BTreeMap<usize, Entry>,
    start: usize,
    len: usize,
) -> impl Iterator<Item = Entry> + '_ {
    let end = start.saturating_add(len);
    let before = entries.range(..start).next_back();
    let before =
        before.map(|(_, entry)| *entry).filter(move |entry| entry.end() > start && len != 0);
    before.into_iter().chain(entries.range(start..end).map(|(_, entry)| *entry))
}

fn cut(entries: &mut BTreeMap<usize, Entry>, start: usize, len: usize) {
    let end = start.saturating_add(len);
    let touched: Vec<Entry> = overlapping(entries, start, len).collect();
    for entry in touched {
        entries.remove(&entry.start);
        if entry.start < start {
            entries.insert(entry.start, Entry { len: start - entry.start, ..entry });
        }
        if entry.end() > end {
            entries.insert(end, Entry { start: end, len: entry.end() - end, ..entry });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(start: usize, len: usize) -> Entry {
        let (granularity, backing) = (Granularity::Page, Backing::File);
        Entry { start, len, granularity, backing, token: 0 }
    }

    #[test]
    fn entries_do_not_overlap() {
        let registry = Registry::new();
        assert!(registry.insert(entry(100, 50)));
        for (start, len) in [(100, 50), (99, 2), (149, 1), (0, 1000), (120, 1)] {
            assert!(!registry.insert(entry(start, len)), "{start} {len}");
        }
        assert!(registry.insert(entry(150, 10)) && registry.insert(entry(90, 10)));
        assert_eq!(registry.first_in(95, 10).map(|found| found.start), Some(90));
        assert_eq!(registry.last_in(95, 100).map(|found| found.start), Some(150));
        assert_eq!(registry.first_in(160, 100), None);
    }

    #[test]
    fn covering_needs_no_single_entry() {
        let registry = Registry::new();
        registry.insert(entry(100, 50));
        registry.insert(entry(150, 50));
        registry.insert(entry(210, 50));
        assert!(registry.covers(100, 100) && registry.covers(120, 70) && registry.covers(149, 2));
        assert!(!registry.covers(100, 101) && !registry.covers(99, 2) && !registry.covers(120, 0));
        assert!(!registry.covers(150, 100) && !registry.covers(205, 1));
    }

    #[test]
    fn ranges_are_cut_out() {
        let registry = Registry::new();
        registry.insert(entry(100, 100));
        registry.cut(120, 30);
        assert!(registry.covers(100, 20) && registry.covers(150, 50) && !registry.covers(119, 2));
        registry.cut(0, 1000);
        assert_eq!(registry.first_in(0, 1000), None);
        registry.replace(entry(10, 10));
        registry.replace(entry(5, 10));
        assert!(registry.covers(5, 15));
        assert_eq!(registry.at(15).map(|rest| rest.len), Some(5));
    }
}
