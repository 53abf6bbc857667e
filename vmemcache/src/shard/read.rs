//! Finding and reading.

use super::{Shard, View};
use crate::block::{Header, Loc};
use crate::check::Check;
use crate::events::Cause;
use crate::index::Key32;
use crate::policy::{Policy, Token, touch};
use crate::protect::{self, Block};
use crate::read::Value;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{Relaxed, Release};

/// An entry that was found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    pub(crate) token: u32,
    pub(crate) loc: Loc,
    pub(crate) header: Header,
}

/// Whether two keys are equal. Most are short; they are compared without a call.
#[inline]
fn same_bytes(one: &[u8], other: &[u8]) -> bool {
    if one.len() != other.len() {
        return false;
    }
    let eight = |bytes: &[u8], at: usize| bytes[at..].first_chunk().map(|&c| u64::from_ne_bytes(c));
    match one.len() {
        8..=16 => {
            let end = one.len() - 8;
            eight(one, 0) == eight(other, 0) && eight(one, end) == eight(other, end)
        }
        _ => one == other,
    }
}

impl Shard {
    /// Finds an entry, and leaves its address in the cell. The cell is 0 when there is none.
    #[inline]
    pub(crate) fn find(
        &self,
        space: usize,
        key: Key32,
        bytes: &[u8],
        cell: &AtomicUsize,
    ) -> Option<Found> {
        let space = &self.spaces[space];
        let found = space.index.find(key, |token| {
            let slot = space.slab.get(token);
            if slot.hash() != key.upper() {
                return None;
            }
            let mut loc = slot.loc()?;
            loop {
                cell.store(self.address(loc), Release);
                self.fences.reader();
                let now = slot.loc()?;
                if now == loc {
                    break;
                }
                loc = now;
            }
            // SAFETY: the slot named the block after its address was in the cell; so whoever takes it out of the slot
            // finds the cell before the block changes.
            let header = unsafe { self.units.header(loc) };
            // SAFETY: as above.
            let same = same_bytes(unsafe { self.units.key(loc, header) }, bytes);
            same.then_some(Found { token, loc, header })
        });
        if found.is_none() {
            cell.store(0, Release);
        }
        found
    }

    /// Whether the content of an entry is as it was stored; looked at once after a restart. If not, the entry goes.
    ///
    /// # Safety
    /// The entry is protected.
    #[inline]
    pub(crate) unsafe fn is_proven(&self, space: usize, found: Found) -> bool {
        // SAFETY: forwarded.
        !found.header.is_unproven() || unsafe { self.prove(space, found) }
    }

    #[cold]
    unsafe fn prove(&self, space: usize, found: Found) -> bool {
        let Found { token, loc, header } = found;
        // SAFETY: contract.
        let right = unsafe { self.is_whole(space, loc, header) };
        if right {
            let _state = self.lock();
            if self.spaces[space].slab.get(token).loc() == Some(loc) {
                // SAFETY: still the entry's block, under the lock.
                unsafe {
                    let header = self.units.header(loc).with_unproven(false);
                    self.units.set_header(loc, header);
                }
            }
        } else {
            let _ = self.remove_at(space, token, Cause::Damaged, false, |at| at == loc);
        }
        right
    }

    /// Whether the content of an entry is as it was stored. Looked at only if nobody has read it since a restart.
    ///
    /// # Safety
    /// The entry is protected, and was not replaced.
    pub(super) unsafe fn is_whole(&self, space: usize, loc: Loc, header: Header) -> bool {
        // SAFETY: contract.
        let is_right = |check: Check| unsafe { check.content_is_right(self.units, loc, header) };
        !header.is_unproven() || self.spaces[space].check.is_none_or(is_right)
    }

    /// Notes a hit for the policy.
    #[inline]
    pub(crate) fn hit(&self, space: usize, found: Found) {
        if touch(&self.spaces[space].slab.get(found.token).mark, self.mark_max) {
            self.report(space, found);
        }
    }

    /// Tells the policy of a hit that it wants to know of.
    #[cold]
    fn report(&self, space: usize, found: Found) {
        let state = if self.binding { Some(self.lock()) } else { self.state.try_lock() };
        let Some(mut state) = state else { return };
        // Another entry may have the token by now.
        if self.spaces[space].slab.get(found.token).loc() == Some(found.loc)
            && let Some(policy) = &mut state.spaces[space].policy
        {
            policy.hit(Token::new(found.token), &View { shard: self, space });
            if self.binding {
                state.spaces[space].ages.born(found.token);
            }
        }
    }

    /// When an entry expires, in milliseconds since 1970.
    ///
    /// # Safety
    /// The entry is protected.
    pub(crate) unsafe fn expiry(&self, found: Found) -> Option<u64> {
        found.header.expires().then(|| {
            let index = self.units.layout(found.header).expiry;
            // SAFETY: the word is there by the header.
            unsafe { self.units.word(found.loc, index) }.load(Relaxed)
        })
    }

    /// Finds an entry and pins it.
    #[inline]
    pub(crate) fn pin(
        &self,
        block: Option<&'static Block>,
        space: usize,
        key: Key32,
        bytes: &[u8],
    ) -> Option<(Found, Value<'_>)> {
        let Some(cell) = block.and_then(Block::guard_cell) else {
            return self.pin_listed(space, key, bytes);
        };
        let found = self.find(space, key, bytes, cell)?;
        // SAFETY: found under the protection of the cell.
        Some((found, unsafe { Value::in_cell(self, found.loc, found.header, cell) }))
    }

    /// Pins the entry of a token, if there is one.
    pub(crate) fn pin_token(&self, space: usize, token: u32) -> Option<(Found, Value<'_>)> {
        // Empty slots need no lock to be seen.
        self.spaces[space].slab.get(token).loc()?;
        let mut state = self.lock();
        let loc = self.spaces[space].slab.get(token).loc()?;
        // SAFETY: live, and under the lock.
        let header = unsafe { self.units.header(loc) };
        Some((Found { token, loc, header }, self.pin_locked(&mut state, loc)))
    }

    #[cold]
    fn pin_listed(&self, space: usize, key: Key32, bytes: &[u8]) -> Option<(Found, Value<'_>)> {
        let mut state = self.lock();
        let found = self.find_locked(space, key, bytes)?;
        state.listed.push(found.loc);
        drop(state);
        // SAFETY: listed above, under the lock.
        Some((found, unsafe { Value::listed(self, found.loc, found.header) }))
    }

    /// Pins an entry that cannot go away, because the caller holds the lock.
    pub(super) fn pin_locked(&self, state: &mut super::State, loc: Loc) -> Value<'_> {
        // SAFETY: under the lock.
        let header = unsafe { self.units.header(loc) };
        match protect::block().and_then(Block::guard_cell) {
            Some(cell) => {
                cell.store(self.address(loc), Release);
                // SAFETY: nobody takes it away before the lock is given up.
                unsafe { Value::in_cell(self, loc, header, cell) }
            }
            None => {
                state.listed.push(loc);
                // SAFETY: listed above.
                unsafe { Value::listed(self, loc, header) }
            }
        }
    }

    /// Forgets a guard without a cell.
    #[cold]
    pub(crate) fn unlist(&self, loc: Loc) {
        let mut state = self.lock();
        if let Some(index) = state.listed.iter().position(|&listed| listed == loc) {
            state.listed.swap_remove(index);
        }
    }
}
