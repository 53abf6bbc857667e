//! Removing entries, with the listener told before or after.

use super::{Shard, State, View};
use crate::block::Loc;
use crate::events::Cause;
use crate::index::Key32;
use crate::policy::{Entries, Policy, Token};
use crate::read::Value;
use crate::slab::LEAVING;
use std::cell::Cell;

thread_local! {
    /// How many evictions this thread is telling of right now.
    static TELLING: Cell<u32> = const { Cell::new(0) };
}

/// Whether the calling thread is within a listener's call about an eviction.
pub(crate) fn is_telling() -> bool {
    TELLING.get() > 0
}

/// Counts one call of a listener while it lives.
struct Telling;

impl Telling {
    fn new() -> Telling {
        TELLING.set(TELLING.get() + 1);
        Telling
    }
}

impl Drop for Telling {
    fn drop(&mut self) {
        TELLING.set(TELLING.get() - 1);
    }
}

/// An entry that is going to leave when its listener has been told. It is out of the policy's hands, and still found.
#[derive(Debug)]
#[must_use = "the entry leaves only when it is told"]
pub(crate) struct Leaving<'s> {
    space: usize,
    token: u32,
    loc: Loc,
    value: Value<'s>,
    cause: Cause,
}

impl Leaving<'_> {
    /// The namespace it belongs to.
    pub(crate) fn space(&self) -> usize {
        self.space
    }

    /// Whether it is the entry of this key.
    pub(crate) fn is(&self, space: usize, key: &[u8]) -> bool {
        self.space == space && self.value.key() == key
    }
}

/// How a removal by key went.
pub(crate) enum Removal<'s> {
    Absent,
    Done,
    Tell(Leaving<'s>),
}

/// What becomes of an entry that is to be removed, and of whose leaving another call tells just now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum OnLeaving {
    /// Nobody finds it after this removal.
    TakeOut,
    /// It stays until it has been told.
    Leave,
}

impl Shard {
    /// Marks an entry that its policy has given up.
    pub(super) fn start_leaving(
        &self,
        state: &mut State,
        space: usize,
        token: u32,
        cause: Cause,
    ) -> Leaving<'_> {
        let slot = self.spaces[space].slab.get(token);
        slot.set_flag(LEAVING, true);
        state.leaving += 1;
        let loc = slot.loc().expect("the entry is live");
        // SAFETY: live, and under the lock.
        let is_whole = unsafe { self.is_whole(space, loc, self.units.header(loc)) };
        let cause = if is_whole { cause } else { Cause::Damaged };
        Leaving { space, token, loc, value: self.pin_locked(state, loc), cause }
    }

    /// Tells of an entry that leaves, and then removes it. Without the lock.
    pub(crate) fn tell(&self, leaving: Leaving<'_>, tell: impl FnOnce(&Value<'_>, Cause)) {
        let Leaving { space, token, loc, value, cause } = leaving;
        // Ends the eviction even if the listener panics.
        struct Finish<'s>(&'s Shard, usize, u32, Loc, Cause);
        impl Drop for Finish<'_> {
            fn drop(&mut self) {
                self.0.finish_leaving(self.1, self.2, self.3, self.4);
            }
        }
        let _finish = Finish(self, space, token, loc, cause);
        let _telling = Telling::new();
        // Given up before the eviction ends, which then can use the space at once.
        let value = value;
        if cause != Cause::Damaged {
            tell(&value, cause);
        }
    }

    fn finish_leaving(&self, space: usize, token: u32, loc: Loc, cause: Cause) {
        let mut state = self.lock();
        state.leaving -= 1;
        let slot = self.spaces[space].slab.get(token);
        // Nobody else removes an entry that is leaving; but if it has got another value, it stays.
        if slot.loc() == Some(loc) && slot.has(LEAVING) {
            self.take_out(&mut state, space, token, cause);
        }
    }

    /// Tells of a value that was replaced, and ends what [`Stored::Replaced`](super::Stored::Replaced) began. Without the lock.
    pub(crate) fn tell_replaced(&self, old: Value<'_>, tell: impl FnOnce(&Value<'_>)) {
        // Ends it even if the listener panics.
        struct Finish<'s>(&'s Shard);
        impl Drop for Finish<'_> {
            fn drop(&mut self) {
                self.0.lock().leaving -= 1;
            }
        }
        let _finish = Finish(self);
        let _telling = Telling::new();
        // Given up before others are told that its space can be used.
        let old = old;
        tell(&old);
    }

    /// Removes an entry from index and slab; the policy no longer knows it.
    pub(super) fn take_out(&self, state: &mut State, space: usize, token: u32, cause: Cause) {
        let hash = View::new(self, space).hash(Token::new(token));
        self.take_out_hashed(state, space, token, cause, hash);
    }

    /// The same when the hash of its key is known.
    pub(super) fn take_out_hashed(
        &self,
        state: &mut State,
        space: usize,
        token: u32,
        cause: Cause,
        hash: u64,
    ) {
        let parts = &self.spaces[space];
        let loc = parts.slab.get(token).loc().expect("the entry is live");
        // SAFETY: live, and under the lock.
        let (header, units) = unsafe {
            let header = self.units.header(loc);
            (header, self.entry_units(loc, header))
        };
        let removed = parts.index.remove(Key32::new(hash), token);
        debug_assert!(removed, "every live entry is in the index");
        let space_state = &mut state.spaces[space];
        parts.slab.give_back(&mut space_state.slab, token);
        space_state.payload -= header.key_len() as u64 + header.value_len();
        space_state.units -= units;
        space_state.ages.left(token, cause);
        space_state.counts.left[cause as usize] += 1;
        self.retire(state, loc);
    }

    /// Removes an entry by its key.
    pub(crate) fn remove(
        &self,
        space: usize,
        key: Key32,
        bytes: &[u8],
        cause: Cause,
        tell: bool,
        on_leaving: OnLeaving,
    ) -> Removal<'_> {
        let mut state = self.lock();
        let Some(found) = self.find_locked(space, key, bytes) else { return Removal::Absent };
        if on_leaving == OnLeaving::Leave && self.spaces[space].slab.get(found.token).has(LEAVING) {
            return Removal::Done;
        }
        self.remove_token(&mut state, space, found.token, cause, tell)
    }

    fn remove_token(
        &self,
        state: &mut State,
        space: usize,
        token: u32,
        cause: Cause,
        tell: bool,
    ) -> Removal<'_> {
        if self.spaces[space].slab.get(token).has(LEAVING) {
            // Somebody else tells of it, and looks at the value meanwhile. But nobody is to find it after this call.
            self.take_out(state, space, token, cause);
            return Removal::Done;
        }
        if let Some(policy) = &mut state.spaces[space].policy {
            policy.remove(Token::new(token), &View::new(self, space));
        }
        if tell {
            return Removal::Tell(self.start_leaving(state, space, token, cause));
        }
        self.take_out(state, space, token, cause);
        Removal::Done
    }

    /// Removes an entry that is not leaving, without a word to the listener.
    pub(super) fn forget(&self, state: &mut State, space: usize, token: u32, cause: Cause) {
        if let Some(policy) = &mut state.spaces[space].policy {
            policy.remove(Token::new(token), &View::new(self, space));
        }
        self.take_out(state, space, token, cause);
    }

    /// Removes the entry of a token, if there is one and it passes a test.
    pub(crate) fn remove_at(
        &self,
        space: usize,
        token: u32,
        cause: Cause,
        tell: bool,
        test: impl FnOnce(Loc) -> bool,
    ) -> Removal<'_> {
        let mut state = self.lock();
        match self.spaces[space].slab.get(token).loc() {
            Some(loc) if test(loc) => self.remove_token(&mut state, space, token, cause, tell),
            _ => Removal::Absent,
        }
    }
}
