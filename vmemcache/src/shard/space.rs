//! Making room: allocation in one piece or several, eviction, reclaiming.

use super::{Leaving, Shard, State, View};
use crate::block::{Header, Loc, Units, WORD, chain_word};
use crate::check::CHECK_WORD;
use crate::events::Cause;
use crate::fetch;
use crate::policy::{Entries, Policy};
use crate::protect::{self, Fences, Protection};
use crate::stats::{Timed, Timer};
use std::hash::{BuildHasher, Hasher};
use std::ptr;
use std::sync::atomic::Ordering::Relaxed;

/// Pieces of a value, when there are enough free bytes but not in a row.
const FEW_PIECES: u32 = 4;
/// The smallest part that is worth its two words.
const LEAST_PART: u64 = 8 * WORD as u64;

/// Hashes keys, in each cache in its own way.
#[derive(Clone, Debug)]
pub(crate) struct KeyHash(foldhash::quality::FixedState);

impl KeyHash {
    pub(crate) fn new(seed: u64) -> KeyHash {
        KeyHash(foldhash::quality::FixedState::with_seed(seed))
    }

    #[inline]
    pub(crate) fn of(&self, key: &[u8]) -> u64 {
        let mut hasher = self.0.build_hasher();
        hasher.write(key);
        hasher.finish()
    }
}

/// How a shard uses its heap.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    /// Blocks are multiples of this, in units.
    pub(crate) extent: u32,
    /// An entry with a value takes at least this in units, if it is in one piece.
    pub(crate) least: u32,
    /// Values are never cut into pieces.
    pub(crate) contiguous: bool,
    /// What is kept free or in limbo at most, so that space is reclaimed in batches; see [`reserve`](Self::reserve).
    pub(crate) reserve: u32,
    /// Hashes keys.
    pub(crate) hash: KeyHash,
}

/// One part in so many is kept free.
const RESERVE_PART: u32 = 256;

impl Rules {
    /// What a heap of so many units keeps free or in limbo.
    #[inline]
    pub(crate) fn reserve(&self, total: u32) -> u32 {
        self.reserve.min((total / RESERVE_PART).max(1))
    }

    /// The units of a block with `bytes` bytes.
    #[inline]
    pub(crate) const fn block_units(&self, units: Units, bytes: u64) -> u64 {
        let count = units.round_up(bytes);
        if self.extent <= 1 { count } else { count.next_multiple_of(self.extent as u64) }
    }

    /// The units of the block of an entry in one piece.
    #[inline]
    pub(crate) const fn entry_units(&self, units: Units, header: Header) -> u64 {
        let count = self.block_units(units, units.entry_len(header));
        let is_small = count < self.least as u64 && header.value_len() > 0;
        if is_small { self.least as u64 } else { count }
    }
}

/// Space for an entry: its first block, and the header it is going to have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Draft {
    pub(crate) loc: Loc,
    pub(crate) header: Header,
}

/// How the search for space went.
pub(super) enum Room<'s> {
    Made(Draft),
    /// This entry has to leave, after its listener was told. Then try again.
    Tell(Leaving<'s>),
    /// Other threads will give something back soon.
    Wait,
    /// Guards of other threads may be given up soon.
    Guarded,
    /// Nothing can leave.
    Full,
}

pub(super) enum Evicted<'s> {
    Done,
    Tell(Leaving<'s>),
    Nothing,
}

impl Shard {
    /// Finds space for an entry with this header (not chained), evicting as needed.
    pub(super) fn make_room(
        &self,
        state: &mut State,
        space: usize,
        header: Header,
        tell: bool,
    ) -> Room<'_> {
        let wanted = self.rules.entry_units(self.units, header);
        if wanted > u64::from(state.heap.total_units()) {
            return Room::Full;
        }
        if space != 0
            && let Some(room) = self.keep_quota(state, space, wanted, tell)
        {
            return room;
        }
        let wanted = wanted as u32;
        if !self.spaces[space].slab.has_room(&state.spaces[space].slab) {
            match self.evict_one(state, Some(space), Cause::Capacity, tell) {
                Evicted::Tell(leaving) => return Room::Tell(leaving),
                Evicted::Done => {}
                Evicted::Nothing => return Room::Full,
            }
        }
        let reserve = self.rules.reserve(state.heap.total_units());
        // A few at each put, so that no put pays for many.
        for _ in 0..3 {
            let left = state.heap.free_units() + state.limbo_units;
            if left >= reserve.saturating_add(wanted) || reserve == 0 {
                break;
            }
            match self.evict_one(state, None, Cause::Capacity, tell) {
                Evicted::Tell(leaving) => return Room::Tell(leaving),
                Evicted::Done => {}
                Evicted::Nothing => break,
            }
        }
        loop {
            if let Some(loc) = state.heap.alloc(wanted) {
                return Room::Made(Draft { loc, header });
            }
            if state.limbo_units > reserve / 2 && self.reclaim(state) {
                continue;
            }
            let limit = if state.heap.free_units() > state.heap.total_units() / 64 {
                u32::MAX
            } else {
                FEW_PIECES
            };
            if state.heap.free_units() > reserve / 2
                && let Some(draft) = self.cut(state, header, limit)
            {
                return Room::Made(draft);
            }
            match self.evict_one(state, None, Cause::Capacity, tell) {
                Evicted::Tell(leaving) => return Room::Tell(leaving),
                Evicted::Done => {}
                Evicted::Nothing if self.reclaim(state) => {}
                Evicted::Nothing => return self.last_resort(state, header),
            }
        }
    }

    /// Evicts from a namespace until this much more is within its quota. None when it is.
    #[inline(never)]
    fn keep_quota(
        &self,
        state: &mut State,
        space: usize,
        wanted: u64,
        tell: bool,
    ) -> Option<Room<'_>> {
        loop {
            let parts = &state.spaces[space];
            if parts.units + parts.drafted + wanted <= parts.quota {
                return None;
            }
            if wanted > parts.quota || parts.policy.is_none() {
                return Some(Room::Full);
            }
            match self.evict_one(state, Some(space), Cause::Quota, tell) {
                Evicted::Tell(leaving) => return Some(Room::Tell(leaving)),
                Evicted::Done => {}
                // What is left is being written, or leaves in another thread.
                Evicted::Nothing if state.spaces[space].drafted > 0 => return Some(Room::Wait),
                Evicted::Nothing if state.leaving > 0 && !super::remove::is_telling() => {
                    return Some(Room::Wait);
                }
                Evicted::Nothing => return Some(Room::Full),
            }
        }
    }

    /// Fetches what the next put of `units` is going to overwrite, if something was there before. Its cache misses then pass
    /// while the caller does something else.
    pub(super) fn fetch_ahead(&self, state: &State, space: usize, units: u64) {
        const MOST_BYTES: u64 = 2048;
        let next = if self.rules.reserve > 0 {
            state.heap.next(units as u32)
        } else if u64::from(state.heap.free_units()) < units {
            let victim = state.spaces[space].policy.as_ref().and_then(Policy::next_victim);
            victim.and_then(|token| self.spaces[space].slab.get(token.index()).loc())
        } else {
            None
        };
        if let Some(loc) = next {
            let len = self.units.bytes(units as u32).min(MOST_BYTES);
            fetch::for_writing(ptr::without_provenance(self.address(loc)), len as usize);
        }
    }

    /// Nothing is left to evict.
    fn last_resort(&self, state: &mut State, header: Header) -> Room<'_> {
        if let Some(draft) = self.cut(state, header, u32::MAX) {
            return Room::Made(draft);
        }
        if state.drafts > 0 {
            return Room::Wait;
        }
        let mut room = Room::Full;
        for &loc in &state.limbo {
            match protect::protection(self.address(loc)) {
                Protection::OwnGuard => return Room::Full,
                Protection::Guard => room = Room::Guarded,
                // A guard without a cell: of which thread, nobody knows.
                Protection::None if state.listed.contains(&loc) => room = Room::Guarded,
                Protection::None | Protection::Call => return Room::Wait,
            }
        }
        // Who is within an eviction itself must not wait: others may wait for it.
        if state.leaving > 0 && !super::remove::is_telling() { Room::Wait } else { room }
    }

    /// Space in at most `limit` pieces.
    pub(super) fn cut(&self, state: &mut State, header: Header, limit: u32) -> Option<Draft> {
        if self.rules.contiguous {
            return None;
        }
        let header = Header::entry(header.key_len(), header.value_len(), true, header.expires());
        let layout = self.units.layout(header);
        let mut left = self.units.entry_len(header);
        let first = (layout.key + header.key_len()) as u64;
        let enough =
            u64::from(state.heap.largest()) * u64::from(limit) >= self.units.round_up(left);
        if !enough || self.units.bytes(state.heap.free_units()) < left {
            return None;
        }
        let part_word = |loc, units, next| match self.spaces[0].check {
            Some(check) => check.part_word(loc, units, next),
            None => u64::from(next),
        };
        let block = |bytes: u64| self.rules.block_units(self.units, bytes) as u32;
        let least = block(first + LEAST_PART.min(header.value_len()));
        let (head, head_units) = state.heap.alloc_largest(block(left), least)?;
        left = left.saturating_sub(self.units.bytes(head_units));
        let (mut last, mut last_units, mut pieces) = (head, head_units, 1);
        // SAFETY: blocks that were allocated just now.
        unsafe {
            self.units.word(head, layout.chain).store(chain_word(0, head_units), Relaxed);
            while left > 0 {
                let wanted = block(left + 2 * WORD as u64);
                let least = block(2 * WORD as u64 + LEAST_PART.min(left));
                let next = (pieces < limit)
                    .then(|| match state.heap.alloc(wanted) {
                        Some(loc) => Some((loc, wanted)),
                        None => state.heap.alloc_largest(wanted, least),
                    })
                    .flatten();
                let Some((next, units)) = next else {
                    self.free_chain(state, head, header, head_units);
                    return None;
                };
                self.units.word(next, 1).store(part_word(next, units, 0), Relaxed);
                let (at, link) = if last == head {
                    (layout.chain, chain_word(next, head_units))
                } else {
                    (1, part_word(last, last_units, next))
                };
                self.units.word(last, at).store(link, Relaxed);
                left = left.saturating_sub(self.units.bytes(units) - 2 * WORD as u64);
                (last, last_units) = (next, units);
                pieces += 1;
            }
        }
        Some(Draft { loc: head, header })
    }

    /// Gives the blocks of a draft back.
    pub(super) fn discard(&self, state: &mut State, draft: Draft) {
        // SAFETY: drafts are nobody else's.
        unsafe {
            let units = self.first_block_units(draft.loc, draft.header);
            self.free_chain(state, draft.loc, draft.header, units);
        }
    }

    /// # Safety
    /// At `loc` starts an entry, or the draft of one, with this header, and nobody looks at it.
    unsafe fn free_chain(&self, state: &mut State, loc: Loc, header: Header, units: u32) {
        let mut next = 0;
        // SAFETY: contract.
        unsafe {
            if header.is_chained() {
                next = self.units.chain(loc, header).0;
            }
            state.heap.free(loc, units);
            while next != 0 {
                let (after, units) = self.units.chain(next, self.units.header(next));
                if self.units.checked {
                    // No part any more, also where it comes to lie in the middle of another block.
                    self.units.word(next, 1).store(0, Relaxed);
                }
                state.heap.free(next, units);
                next = after;
            }
        }
    }

    /// Takes the victim of a policy out. Which space has to give one, if the caller does not say: the one that is most over its
    /// quota.
    pub(super) fn evict_one(
        &self,
        state: &mut State,
        space: Option<usize>,
        cause: Cause,
        tell: bool,
    ) -> Evicted<'_> {
        let space = space.or_else(|| match &state.spaces[..] {
            [_] => Some(0),
            spaces => {
                let weight = |&at: &usize| spaces[at].units * 1024 / spaces[at].quota.max(1);
                (0..spaces.len())
                    .filter(|&at| spaces[at].policy.as_ref().is_some_and(|p| !p.is_empty()))
                    .max_by_key(weight)
            }
        });
        let Some(space) = space else { return Evicted::Nothing };
        self.tell_hits(state, space);
        let mut timer = Timer::start(self.stopwatch.as_deref(), Timed::Evict);
        let view = View::new(self, space);
        let victim =
            state.spaces[space].policy.as_mut().and_then(|policy| policy.victim(&view, |_| true));
        let Some(victim) = victim else {
            timer.cancel();
            return Evicted::Nothing;
        };
        let token = victim.index();
        if tell {
            return Evicted::Tell(self.start_leaving(state, space, token, cause));
        }
        self.take_out_hashed(state, space, token, cause, view.hash(victim));
        Evicted::Done
    }

    /// The victim of a policy, for [`Cache::evict_next`](crate::Cache::evict_next).
    pub(crate) fn evict_victim(
        &self,
        space: Option<usize>,
        tell: bool,
    ) -> Option<Option<Leaving<'_>>> {
        let mut state = self.lock();
        match self.evict_one(&mut state, space, Cause::Explicit, tell) {
            Evicted::Done => Some(None),
            Evicted::Tell(leaving) => Some(Some(leaving)),
            Evicted::Nothing => None,
        }
    }

    /// Gives the space of an entry back, now or when nobody looks at it any more.
    pub(super) fn retire(&self, state: &mut State, loc: Loc) {
        // SAFETY: out of its slot, and the heap's until it is freed.
        let (header, units) = unsafe {
            let header = self.units.header(loc);
            (header, self.entry_units(loc, header) as u32)
        };
        if self.units.checked {
            // Gone for good, also if its space is not used again before a crash.
            // SAFETY: entries of such caches have the word.
            unsafe { self.units.word(loc, CHECK_WORD) }.store(0, Relaxed);
        }
        if self.fences == Fences::Equal {
            self.fences.before_look();
            if protect::protection(self.address(loc)) == Protection::None
                && !state.listed.contains(&loc)
            {
                // SAFETY: no slot names it, and nobody looks at it.
                unsafe {
                    let first = self.first_block_units(loc, header);
                    self.free_chain(state, loc, header, first);
                }
                return;
            }
        }
        state.limbo.push(loc);
        state.limbo_units += units;
    }

    /// Frees what is in limbo and not looked at. Whether anything was.
    pub(super) fn reclaim(&self, state: &mut State) -> bool {
        if state.limbo.is_empty() {
            return false;
        }
        self.fences.before_look();
        let mut seen = std::mem::take(&mut state.seen);
        protect::protected(&mut seen);
        let before = state.limbo.len();
        let mut at = 0;
        while at < state.limbo.len() {
            let loc = state.limbo[at];
            if seen.binary_search(&self.address(loc)).is_ok() || state.listed.contains(&loc) {
                at += 1;
                continue;
            }
            state.limbo.swap_remove(at);
            // SAFETY: no slot names it, and nobody looks at it.
            unsafe {
                let header = self.units.header(loc);
                state.limbo_units -= self.entry_units(loc, header) as u32;
                let first = self.first_block_units(loc, header);
                self.free_chain(state, loc, header, first);
            }
        }
        state.seen = seen;
        if state.trims {
            self.trim(state);
        }
        state.limbo.len() < before
    }

    /// Units and number of entries that wait for readers.
    pub(crate) fn limbo_units(state: &State) -> u32 {
        state.limbo_units
    }

    /// Frees what can be freed, so that numbers are exact.
    pub(crate) fn settle(&self, state: &mut State) {
        self.reclaim(state);
        if state.trims {
            self.trim(state);
        }
    }
}
