//! Putting.

use super::space::{Draft, Room};
use super::{Found, Leaving, Shard, State, View};
use crate::block::{Header, Loc};
use crate::check::CHECK_WORD;
use crate::clock::now_ms;
use crate::events::Cause;
use crate::index::Key32;
use crate::policy::{Policy, Token, touch};
use crate::read::Value;
use crate::slab::{EXPIRES, LEAVING};
use pmem_core::sync::MutexGuard;
use std::ptr;
use std::sync::atomic::Ordering::Relaxed;

/// Longer values are copied without the lock.
const COPIED_UNDER_LOCK: usize = 16 << 10;

/// When a put stores.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mode {
    IfAbsent,
    IfPresent,
    Always,
}

/// What to put.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'a> {
    pub(crate) space: usize,
    /// Of the key, all of it and the part that the index uses.
    pub(crate) hash: u64,
    pub(crate) key: Key32,
    pub(crate) bytes: &'a [u8],
    pub(crate) value: &'a [u8],
    pub(crate) mode: Mode,
    /// Milliseconds since 1970.
    pub(crate) expires: Option<u64>,
    /// Somebody listens.
    pub(crate) tell: bool,
}

/// How one attempt to put went.
pub(crate) enum Stored<'s> {
    Inserted,
    /// With the old value, if somebody listens; who is then to call [`Shard::tell_replaced`].
    Replaced(Option<Value<'s>>),
    /// The key is there, and the mode forbids to replace it.
    Exists,
    /// The key is not there, and the mode wants it.
    Missing,
    /// Tell this, and try again.
    Tell(Leaving<'s>),
    /// Try again in a moment.
    Wait,
    /// Try again for some time: guards of other threads hold what is left.
    Guarded,
    Full,
}

impl Shard {
    /// Makes one attempt to put.
    pub(crate) fn put<'s>(&'s self, request: &Request<'_>) -> Stored<'s> {
        let parts = &self.spaces[request.space];
        parts.index.prefetch_for_change(request.key);
        let mut state = self.lock();
        if let Some(policy) = &state.spaces[request.space].policy {
            policy.expect(request.hash);
        }
        let mut absent = false;
        if let Some(answer) = self.refusal(request, &mut absent) {
            return answer;
        }
        let header = Header::entry(
            request.bytes.len(),
            request.value.len() as u64,
            false,
            request.expires.is_some(),
        );
        let draft = match self.make_room(&mut state, request.space, header, request.tell) {
            Room::Made(draft) => draft,
            Room::Tell(leaving) => return Stored::Tell(leaving),
            Room::Wait => return Stored::Wait,
            Room::Guarded => return Stored::Guarded,
            Room::Full => return Stored::Full,
        };
        if request.value.len() <= COPIED_UNDER_LOCK {
            self.write(draft, request);
        } else {
            // What made room for itself by leaving is replaced all the same.
            let check_again = match request.mode {
                Mode::Always => false,
                Mode::IfAbsent => true,
                Mode::IfPresent => {
                    self.find_locked(request.space, request.key, request.bytes).is_some()
                }
            };
            // SAFETY: the draft is ours.
            let units = unsafe { self.entry_units(draft.loc, draft.header) };
            state.drafts += 1;
            state.spaces[request.space].drafted += units;
            drop(state);
            self.write(draft, request);
            state = self.lock();
            state.drafts -= 1;
            state.spaces[request.space].drafted -= units;
            let refusal = check_again.then(|| self.refusal(request, &mut absent)).flatten();
            let no_slot =
                !self.spaces[request.space].slab.has_room(&state.spaces[request.space].slab);
            // Beyond the limit of a heap that shrinks nothing new comes in.
            let beyond =
                state.heap.is_shrinking() && self.is_beyond(&state, draft.loc, draft.header);
            if refusal.is_some() || no_slot || beyond {
                self.discard(&mut state, draft);
                return refusal.unwrap_or(Stored::Wait);
            }
        }
        self.publish(state, draft, request, absent)
    }

    /// What the mode says about the entry that is there or not. Notes when it is known that there is none.
    fn refusal<'s>(&'s self, request: &Request<'_>, absent: &mut bool) -> Option<Stored<'s>> {
        if request.mode == Mode::Always {
            return None;
        }
        let found = self.find_locked(request.space, request.key, request.bytes);
        *absent = found.is_none();
        match (request.mode, found) {
            (Mode::Always, _) | (Mode::IfAbsent, None) => None,
            (Mode::IfPresent, None) => Some(Stored::Missing),
            (mode, Some(found)) => {
                // SAFETY: under the lock.
                let expired = unsafe { self.expiry(found) }.is_some_and(|at| at <= now_ms());
                match mode {
                    Mode::IfAbsent if !expired => Some(Stored::Exists),
                    Mode::IfPresent if expired => Some(Stored::Missing),
                    // An expired entry is replaced.
                    _ => None,
                }
            }
        }
    }

    /// Fills a draft. Needs no lock: nobody knows it yet.
    fn write(&self, draft: Draft, request: &Request<'_>) {
        let Draft { loc, header } = draft;
        let layout = self.units.layout(header);
        // SAFETY: the draft's blocks are ours and have room for the entry; `first_units` and `chain` were set with it.
        unsafe {
            if let Some(at) = request.expires {
                self.units.word(loc, layout.expiry).store(at, Relaxed);
            }
            let key = request.bytes;
            ptr::copy_nonoverlapping(key.as_ptr(), self.units.at(loc, layout.key), key.len());
            let mut rest = request.value;
            for (start, len) in self.units.pieces(loc, header) {
                let (piece, behind) = rest.split_at(len);
                ptr::copy_nonoverlapping(piece.as_ptr(), start, len);
                rest = behind;
            }
            if self.units.checked
                && let Some(check) = self.spaces[request.space].check
            {
                let word = check.word(self.units, loc, header);
                self.units.word(loc, CHECK_WORD).store(word, Relaxed);
            }
        }
    }

    /// Makes a draft an entry.
    fn publish<'s>(
        &'s self,
        mut state: MutexGuard<'_, State>,
        draft: Draft,
        request: &Request<'_>,
        absent: bool,
    ) -> Stored<'s> {
        let Draft { loc, header } = draft;
        let space = request.space;
        // SAFETY: the draft's first block, under the lock.
        let units = unsafe {
            let before = self.units.header(loc);
            self.units.set_header(loc, header.with_prev_free(before.prev_is_free()));
            self.entry_units(loc, header)
        };
        if header.is_chained() {
            state.spaces[space].counts.chained += 1;
        }
        // Making room may have removed what was there before.
        if !absent && let Some(old) = self.find_locked(space, request.key, request.bytes) {
            return self.swap(&mut state, space, old, loc, units, request);
        }
        self.insert(&mut state, request, loc, units, request.value.len() as u64);
        self.note_len(state.spaces[space].counts.inserted, request.value.len());
        self.fetch_ahead(&state, space, units);
        Stored::Inserted
    }

    pub(super) fn insert(
        &self,
        state: &mut State,
        request: &Request<'_>,
        loc: Loc,
        units: u64,
        value_len: u64,
    ) {
        let space = request.space;
        let parts = &self.spaces[space];
        // Before another entry has the token.
        self.tell_hits(state, space);
        let space_state = &mut state.spaces[space];
        let live = space_state.slab.live;
        if parts.index.is_full(live) {
            self.grow_index(state, space);
        }
        let space_state = &mut state.spaces[space];
        let flags = if request.expires.is_some() { EXPIRES } else { 0 };
        let token = parts.slab.take(&mut space_state.slab, request.key.upper(), flags);
        let token = token.expect("room was made for it");
        parts.slab.get(token).set_loc(loc);
        space_state.payload += request.bytes.len() as u64 + value_len;
        space_state.units += units;
        space_state.ages.born(token);
        parts.index.insert(request.key, token);
        if let Some(policy) = &mut space_state.policy {
            policy.insert(Token::new(token), &View::knowing(self, space, token, request.hash));
        }
        space_state.counts.inserted += 1;
    }

    #[cold]
    fn grow_index(&self, state: &State, space: usize) {
        let live = u64::from(state.spaces[space].slab.live);
        let (total, used) = if space == 0 {
            let total = state.heap.total_units();
            (u64::from(total), u64::from(total - state.heap.free_units()))
        } else {
            (state.spaces[space].quota, state.spaces[space].units)
        };
        // As many as there will be when the heap, or the quota, is full of entries like these.
        let expected = live * total / used.max(1);
        let parts = &self.spaces[space];
        let entries = expected.clamp(live * 11 / 10 + 1, live * 2 + 16);
        parts.index.grow(entries, |token| {
            let slot = parts.slab.get(token);
            slot.loc().map(|_| slot.hash())
        });
    }

    /// Puts the new block in the place of the old one.
    fn swap<'s>(
        &'s self,
        state: &mut State,
        space: usize,
        old: Found,
        loc: Loc,
        units: u64,
        request: &Request<'_>,
    ) -> Stored<'s> {
        self.tell_hits(state, space);
        let slot = self.spaces[space].slab.get(old.token);
        let leaving = slot.has(LEAVING);
        // Whoever wanted to remove it finds the mark gone.
        slot.set_flag(LEAVING, false);
        // SAFETY: live, and under the lock.
        let tell = request.tell && !leaving && unsafe { self.is_whole(space, old.loc, old.header) };
        // Before it can be retired.
        let value = tell.then(|| {
            state.leaving += 1;
            self.pin_locked(state, old.loc)
        });
        // SAFETY: under the lock.
        let old_units = unsafe { self.entry_units(old.loc, old.header) };
        slot.set_loc(loc);
        slot.set_flag(EXPIRES, request.expires.is_some());
        let space_state = &mut state.spaces[space];
        space_state.payload += request.value.len() as u64;
        space_state.payload -= old.header.value_len();
        space_state.units += units;
        space_state.units -= old_units;
        space_state.ages.born(old.token);
        if let Some(policy) = &mut space_state.policy {
            let token = Token::new(old.token);
            let unit = self.units.unit() as u64;
            policy.resized(token, old_units * unit, units * unit);
            let view = View::new(self, space);
            if leaving {
                policy.insert(token, &view);
            } else if touch(&slot.mark, self.mark_max) {
                policy.hit(token, &view);
            }
        }
        space_state.counts.replaced += 1;
        space_state.counts.left[Cause::Replaced as usize] += 1;
        self.retire(state, old.loc);
        Stored::Replaced(value)
    }
}
