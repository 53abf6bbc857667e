//! Becoming smaller and larger, while others go on.
//!
//! To shrink, a shard sets the limit of its heap, lets entries leave in the order of the policy until the others fit below, and
//! moves those that lie beyond: a copy takes the place of the entry as a new value would, so readers of the old one go on.
//! What they hold is given back when they let go of it.

use super::space::{Draft, Evicted};
use super::{Leaving, Shard, State, capacity};
use crate::block::{Header, Loc};
use crate::check::CHECK_WORD;
use crate::events::Cause;
use crate::policy::{Policy, Token};
use crate::slab::{LEAVING, Slab};
use pmem_core::errno::Errno;
use std::ptr;
use std::sync::atomic::Ordering::Relaxed;

/// Entries that are looked at while the lock is held once.
const BATCH: usize = 128;

/// How a part of the work went.
pub(crate) enum Step<'s> {
    /// There is more to do.
    More,
    /// This entry has to leave, after its listener was told. Then go on.
    Tell(Leaving<'s>),
    /// Others hold space that they will soon give back.
    Wait,
    /// Nothing can leave.
    Stuck,
    Done,
}

/// How far a shard has been looked through.
#[derive(Default, Debug)]
pub(crate) struct Cursor {
    space: usize,
    token: u32,
}

/// What a shard was before it began to shrink.
#[derive(Debug)]
pub(crate) struct Before {
    limit: Loc,
    quotas: Vec<u64>,
    trims: bool,
}

impl Shard {
    fn set_quotas(&self, state: &mut State, quotas: &[u64]) {
        let total = u64::from(state.heap.total_units());
        for (space, &quota) in state.spaces.iter_mut().zip(quotas) {
            space.quota = quota;
            if let Some(policy) = &mut space.policy {
                policy.set_capacity(capacity(self.units, quota, total));
            }
        }
    }

    /// Sets the limit to `part` units; nothing new comes to lie beyond it.
    pub(crate) fn begin_shrink(&self, part: Loc, quotas: &[u64]) -> Before {
        let state = &mut *self.lock();
        let before = Before {
            limit: state.heap.limit(),
            quotas: state.spaces.iter().map(|space| space.quota).collect(),
            trims: state.trims,
        };
        state.trims = false;
        state.heap.lower_limit(part - 1);
        self.set_quotas(state, quotas);
        before
    }

    /// Takes [`begin_shrink`](Self::begin_shrink) back.
    pub(crate) fn cancel_shrink(&self, before: &Before) {
        let state = &mut *self.lock();
        // SAFETY: nothing below that limit has been given back.
        unsafe { state.heap.raise_limit(before.limit) };
        self.set_quotas(state, &before.quotas);
        state.trims = before.trims;
    }

    /// Evicts what does not fit the new size.
    pub(crate) fn evict_surplus(&self, tell: bool) -> Step<'_> {
        let state = &mut *self.lock();
        for _ in 0..BATCH {
            let used: u64 = state.spaces.iter().map(|space| space.units + space.drafted).sum();
            let total = state.heap.total_units();
            let over = |at: &usize| {
                let space = &state.spaces[*at];
                space.units + space.drafted > space.quota
            };
            let space = (1..state.spaces.len()).find(over);
            let most = u64::from(total - self.rules.reserve(total).min(total));
            if space.is_none() && used <= most {
                return Step::Done;
            }
            match self.evict_one(state, space, Cause::Resized, tell) {
                Evicted::Done => {}
                Evicted::Tell(leaving) => return Step::Tell(leaving),
                Evicted::Nothing if state.leaving > 0 || state.drafts > 0 => return Step::Wait,
                Evicted::Nothing if space.is_none() && used <= u64::from(total) => {
                    return Step::Done;
                }
                Evicted::Nothing => return Step::Stuck,
            }
        }
        Step::More
    }

    /// Moves entries that lie beyond the limit.
    pub(crate) fn evacuate(&self, cursor: &mut Cursor, tell: bool) -> Step<'_> {
        let state = &mut *self.lock();
        for _ in 0..BATCH {
            let Some(space) = state.spaces.get(cursor.space) else { return Step::Done };
            if cursor.token >= Slab::tokens(&space.slab).end {
                *cursor = Cursor { space: cursor.space + 1, token: 0 };
                continue;
            }
            match self.move_below(state, cursor.space, cursor.token, tell) {
                Step::Done => cursor.token += 1,
                step => return step,
            }
        }
        Step::More
    }

    /// Whether any block of an entry, or of a draft, lies beyond the limit.
    pub(super) fn is_beyond(&self, state: &State, loc: Loc, header: Header) -> bool {
        let limit = state.heap.limit();
        // SAFETY: the caller holds the lock, and the entry lives.
        unsafe {
            if loc + self.first_block_units(loc, header) > limit {
                return true;
            }
            let mut next = if header.is_chained() { self.units.chain(loc, header).0 } else { 0 };
            while next != 0 {
                let (after, units) = self.units.chain(next, self.units.header(next));
                if next + units > limit {
                    return true;
                }
                next = after;
            }
        }
        false
    }

    /// Moves the entry of a token, if it has one that lies beyond the limit.
    fn move_below(&self, state: &mut State, space: usize, token: u32, tell: bool) -> Step<'_> {
        let slot = self.spaces[space].slab.get(token);
        loop {
            // One that is leaving does so without us; and making room may have chosen this very entry.
            let Some(loc) = slot.loc().filter(|_| !slot.has(LEAVING)) else { return Step::Done };
            // SAFETY: live, and under the lock.
            let header = unsafe { self.units.header(loc) };
            if !self.is_beyond(state, loc, header) {
                return Step::Done;
            }
            // Hits name the place of an entry, which is going to be another.
            self.tell_hits(state, space);
            // Its copy would get a right checksum.
            // SAFETY: live, and under the lock.
            let is_right = |check: crate::check::Check| unsafe {
                check.content_is_right(self.units, loc, header)
            };
            if header.is_unproven() && !self.spaces[space].check.is_none_or(is_right) {
                self.forget(state, space, token, Cause::Damaged);
                return Step::Done;
            }
            let plain =
                Header::entry(header.key_len(), header.value_len(), false, header.expires());
            let wanted = self.rules.entry_units(self.units, plain);
            let whole = u32::try_from(wanted).ok().and_then(|wanted| state.heap.alloc(wanted));
            let draft = match whole {
                Some(loc) => Some(Draft { loc, header: plain }),
                None if self.reclaim(state) => continue,
                None => self.cut(state, plain, u32::MAX),
            };
            if let Some(draft) = draft {
                // SAFETY: both under the lock; the draft is ours and has room.
                unsafe { self.copy(space, loc, header, draft) };
                self.take_place(state, space, token, draft);
                return Step::Done;
            }
            match self.evict_one(state, None, Cause::Resized, tell) {
                Evicted::Done => {}
                Evicted::Tell(leaving) => return Step::Tell(leaving),
                Evicted::Nothing
                    if state.leaving > 0 || state.drafts > 0 || !state.limbo.is_empty() =>
                {
                    return Step::Wait;
                }
                Evicted::Nothing => return Step::Stuck,
            }
        }
    }

    /// Fills a draft with what an entry holds.
    ///
    /// # Safety
    /// The entry does not go away; the draft is nobody else's and has room for it.
    unsafe fn copy(&self, space: usize, from: Loc, old: Header, draft: Draft) {
        let Draft { loc, header } = draft;
        let (old_layout, layout) = (self.units.layout(old), self.units.layout(header));
        // SAFETY: contract.
        unsafe {
            if old.expires() {
                let at = self.units.word(from, old_layout.expiry).load(Relaxed);
                self.units.word(loc, layout.expiry).store(at, Relaxed);
            }
            let key = self.units.key(from, old);
            ptr::copy_nonoverlapping(key.as_ptr(), self.units.at(loc, layout.key), key.len());
            let mut sources = self.units.pieces(from, old);
            let mut source: (*mut u8, usize) = (ptr::null_mut(), 0);
            for (mut to, mut room) in self.units.pieces(loc, header) {
                while room > 0 {
                    if source.1 == 0 {
                        let Some(next) = sources.next() else { break };
                        source = next;
                    }
                    let len = room.min(source.1);
                    ptr::copy_nonoverlapping(source.0, to, len);
                    source = (source.0.add(len), source.1 - len);
                    (to, room) = (to.add(len), room - len);
                }
            }
            if self.units.checked
                && let Some(check) = self.spaces[space].check
            {
                let word = check.word(self.units, loc, header);
                self.units.word(loc, CHECK_WORD).store(word, Relaxed);
            }
        }
    }

    /// Puts a copy in the place of an entry.
    fn take_place(&self, state: &mut State, space: usize, token: u32, draft: Draft) {
        let slot = self.spaces[space].slab.get(token);
        let Some(old) = slot.loc() else { return };
        // SAFETY: under the lock; the draft is complete.
        let (old_units, units) = unsafe {
            let old_units = self.entry_units(old, self.units.header(old));
            let before = self.units.header(draft.loc).prev_is_free();
            self.units.set_header(draft.loc, draft.header.with_prev_free(before));
            (old_units, self.entry_units(draft.loc, draft.header))
        };
        slot.set_loc(draft.loc);
        let space_state = &mut state.spaces[space];
        space_state.units += units;
        space_state.units -= old_units;
        if let Some(policy) = &mut space_state.policy {
            let unit = self.units.unit() as u64;
            policy.resized(Token::new(token), old_units * unit, units * unit);
        }
        self.retire(state, old);
    }

    /// What readers still hold beyond the limit, in bytes; 0 when the heap ends there.
    pub(crate) fn held_beyond(&self) -> usize {
        let state = &mut *self.lock();
        self.reclaim(state);
        self.beyond(state)
    }

    fn beyond(&self, state: &mut State) -> usize {
        if state.heap.end_at_limit() {
            return 0;
        }
        let withheld: u32 = state.heap.withheld().map(|(_, units)| units).sum();
        self.units.bytes(state.heap.end() - state.heap.limit() - withheld) as usize
    }

    /// Gives the memory beyond the limit back: now what nobody holds, the rest when it is free. The bytes that are still there.
    pub(crate) fn finish_shrink(&self) -> usize {
        let (held, end, pieces) = {
            let state = &mut *self.lock();
            self.reclaim(state);
            let held = self.beyond(state);
            state.trims = held > 0;
            let pieces: Vec<_> = state.heap.withheld().collect();
            (held, state.heap.end() + 1, pieces)
        };
        // Without the lock: only a resize brings any of it into use again.
        if held == 0 {
            return self.ground.give_back_from(self.at, end);
        }
        let back = |piece| self.ground.give_back_piece(self.at, piece);
        held + pieces.into_iter().map(back).sum::<usize>()
    }

    /// Ends a shrink if what readers held has become free.
    pub(super) fn trim(&self, state: &mut State) {
        if state.heap.end_at_limit() {
            state.trims = false;
            // What cannot go back stays: nobody waits for the answer.
            let _ = self.ground.give_back_from(self.at, state.heap.end() + 1);
        }
    }

    /// Takes the memory for a heap of `part` units. On an error nothing has changed.
    pub(crate) fn take_ground(&self, part: Loc) -> Result<(), Errno> {
        let (end, pieces) = {
            let state = &mut *self.lock();
            // From here on nothing goes back, so the lock is not needed for what follows.
            state.trims = false;
            let again = part - 1 > state.heap.limit();
            let pieces = state.heap.withheld().filter(|_| again).collect::<Vec<_>>();
            (state.heap.end() + 1, pieces)
        };
        let more = if end < part { self.ground.commit_more(self.at, end, part) } else { Ok(()) };
        // Of a shrink that guards have kept from ending.
        let mut pieces = pieces.into_iter();
        let taken = more
            .and_then(|()| pieces.try_for_each(|piece| self.ground.commit_piece(self.at, piece)));
        if taken.is_err() {
            self.cancel_grow();
        }
        taken
    }

    /// Gives back what [`take_ground`](Self::take_ground) took.
    pub(crate) fn cancel_grow(&self) {
        let state = &mut *self.lock();
        // What cannot go back stays, and is used when the heap grows again.
        let _ = self.ground.give_back_from(self.at, state.heap.end() + 1);
        if state.heap.is_shrinking() {
            state.trims = true;
            for piece in state.heap.withheld() {
                let _ = self.ground.give_back_piece(self.at, piece);
            }
        }
    }

    /// Uses what [`take_ground`](Self::take_ground) took.
    pub(crate) fn grow(&self, part: Loc, quotas: &[u64]) {
        let state = &mut *self.lock();
        let target = part - 1;
        // SAFETY: the memory was taken.
        unsafe {
            state.heap.raise_limit(target.min(state.heap.end()));
            if !state.heap.is_shrinking() {
                state.heap.extend(target);
            }
        }
        state.trims = state.heap.is_shrinking();
        self.set_quotas(state, quotas);
    }
}
