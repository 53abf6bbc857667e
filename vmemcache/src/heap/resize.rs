//! Heaps that become smaller and larger.
//!
//! ```text
//! first                        limit                                   end
//!   |  in use and free, as ever  |  in use by those who were here before | sentinel
//!                                |  withheld: nobody's any more          |
//! ```
//!
//! A heap shrinks in three steps: the limit is set, what lies beyond it is given back as it leaves, and when all of it is
//! withheld the sentinel moves to the limit.

use super::Heap;
use crate::block::{Header, Loc};

impl Heap {
    /// Whether something may still lie beyond the limit.
    #[inline]
    pub(crate) fn is_shrinking(&self) -> bool {
        self.limit < self.end
    }

    /// What blocks may use ends here.
    pub(crate) fn limit(&self) -> Loc {
        self.limit
    }

    /// From now on nothing is allocated from `limit` on.
    pub(crate) fn lower_limit(&mut self, limit: Loc) {
        debug_assert!(limit > self.first && limit <= self.limit);
        self.limit = limit;
        let mut beyond = Vec::new();
        self.bins.each_head(|_, head| {
            let mut next = Some(head);
            while let Some(loc) = next {
                // SAFETY: a free block is there.
                let units = unsafe { self.units.header(loc) }.units();
                if loc + units > limit {
                    beyond.push((loc, units));
                }
                next = self.links(loc).1;
            }
        });
        for (loc, units) in beyond {
            self.unlink(loc, units);
            self.free_units -= units;
            self.free_blocks -= 1;
            // SAFETY: no longer in a list, and nobody's.
            unsafe { self.withhold(loc, units) };
        }
    }

    /// Takes back that limit, up to `limit`.
    ///
    /// # Safety
    /// What is withheld below the new limit can be read and written.
    pub(crate) unsafe fn raise_limit(&mut self, limit: Loc) {
        debug_assert!(limit >= self.limit && limit <= self.end);
        self.limit = limit;
        let below = self.withheld.range(..limit).map(|(&loc, &units)| (loc, units));
        for (loc, units) in below.collect::<Vec<_>>() {
            self.withheld.remove(&loc);
            let here = units.min(limit - loc);
            // SAFETY: withheld blocks are the heap's own; contract.
            unsafe {
                if here < units {
                    self.units.set_header(limit, Header::part(units - here));
                    self.withheld.insert(limit, units - here);
                }
                let before = self.units.header(loc).prev_is_free();
                self.units.set_header(loc, Header::part(here).with_prev_free(before));
                self.free(loc, here);
            }
        }
    }

    /// If nothing is in use beyond the limit, ends the heap there. Whether it did, or had ended there before.
    pub(crate) fn end_at_limit(&mut self) -> bool {
        if self.is_shrinking() {
            if self.withheld.get(&self.limit) != Some(&(self.end - self.limit)) {
                return false;
            }
            self.withheld.clear();
            // SAFETY: a withheld block starts there.
            unsafe {
                let before = self.units.header(self.limit).prev_is_free();
                self.units.set_header(self.limit, Header::part(1).with_prev_free(before));
            }
            self.end = self.limit;
        }
        true
    }

    /// What is withheld: start and units of each piece. Its first word must stay.
    pub(crate) fn withheld(&self) -> impl Iterator<Item = (Loc, u32)> {
        self.withheld.iter().map(|(&loc, &units)| (loc, units))
    }

    /// Makes the heap longer. `end` is where the sentinel will be.
    ///
    /// # Safety
    /// The heap does not shrink; the units up to `end` can be read and written, and are the heap's alone.
    pub(crate) unsafe fn extend(&mut self, end: Loc) {
        debug_assert!(!self.is_shrinking() && end >= self.end);
        let (old, more) = (self.end, end - self.end);
        if more == 0 {
            return;
        }
        (self.end, self.limit) = (end, end);
        // SAFETY: contract. The old sentinel becomes the first unit of the new block.
        unsafe {
            self.units.set_header(end, Header::part(1));
            let before = self.units.header(old).prev_is_free();
            self.units.set_header(old, Header::part(more).with_prev_free(before));
            self.free(old, more);
        }
    }

    /// Gives a block back that lies beyond the limit, or with a part of it.
    ///
    /// # Safety
    /// The block is the heap's, in no list, and has no free neighbours that are in one.
    #[cold]
    pub(super) unsafe fn withhold(&mut self, loc: Loc, units: u32) {
        let (end, start) = (loc + units, loc.max(self.limit));
        let (mut first, mut behind) = (start, end);
        if let Some((&before, &len)) = self.withheld.range(..start).next_back()
            && before + len == start
        {
            first = before;
        }
        if let Some(len) = self.withheld.remove(&end) {
            behind = end + len;
        }
        // SAFETY: contract; what is withheld before and behind is the heap's too.
        unsafe {
            // Of a withheld block before there is the right flag; else whoever is before is in use, or free by the next lines.
            let flag = first < start && self.units.header(first).prev_is_free();
            let whole = Header::part(behind - first).with_prev_free(flag);
            self.units.set_header(first, whole);
            self.withheld.insert(first, behind - first);
            self.set_prev_free(behind, false);
            if loc < start {
                self.write_free(loc, start - loc);
            }
        }
    }
}
