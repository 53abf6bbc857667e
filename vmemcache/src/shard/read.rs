//! Finding and reading.

use super::hits::Noted;
use super::{Shard, Space, SpaceState, State, View};
use crate::block::{Header, Loc, WORD};
use crate::check::Check;
use crate::events::Cause;
use crate::fetch;
use crate::index::Key32;
use crate::policy::{ARMED, Policy, Token, touch};
use crate::protect::{self, Block};
use crate::read::Value;
use std::ptr;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{Relaxed, Release};

/// An entry that was found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    pub(crate) token: u32,
    pub(crate) loc: Loc,
    pub(crate) header: Header,
}

/// A header and a short key, which may lie in the next line.
pub(crate) const SHORT: usize = 3 * WORD;

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
    ///
    /// `wanted` bytes are fetched from its start on while it is compared.
    #[inline(always)]
    pub(crate) fn find(
        &self,
        space: usize,
        key: Key32,
        bytes: &[u8],
        cell: &AtomicUsize,
        wanted: usize,
    ) -> Option<Found> {
        let space = &self.spaces[space];
        // A copy that stays in registers: the compiler does not know that it does not change.
        let (units, fences) = (self.units, self.fences);
        let found = space.index.find(key, |token| {
            // SAFETY: the index holds tokens of this slab only.
            let slot = unsafe { space.slab.get_known(token) };
            let address = |loc| {
                // SAFETY: only the address is used.
                let address = unsafe { units.at(loc, 0) }.addr();
                // Before the fence, which may wait.
                fetch::for_reading(ptr::without_provenance(address), wanted);
                address
            };
            let loc = fences.protect(cell, || slot.loc(), address)?;
            // SAFETY: the slot named the block after its address was in the cell; so whoever takes it out of the slot
            // finds the cell before the block changes.
            let header = unsafe { units.header(loc) };
            // SAFETY: as above.
            let same = same_bytes(unsafe { units.key(loc, header) }, bytes);
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

    /// Notes a hit for the policy. The entry is protected.
    #[inline]
    pub(crate) fn hit(&self, space: usize, found: Found) {
        let Found { token, loc, .. } = found;
        let Space { slab, hits, .. } = &self.spaces[space];
        // SAFETY: it was found.
        let slot = unsafe { slab.get_known(token) };
        let Some(hits) = hits else {
            if touch(&slot.mark, self.mark_max) {
                self.report(space, token, loc);
            }
            return;
        };
        let is_newest = || slot.mark.load(Relaxed) & ARMED == 0;
        if hits.note(token, loc, is_newest, || self.try_tell_hits(space)) == Noted::Tell {
            self.try_tell_hits(space);
        }
    }

    /// Tells the policy of a hit that it wants to know of, unless the lock is taken.
    #[cold]
    fn report(&self, space: usize, token: u32, loc: Loc) {
        let Some(mut state) = self.state.try_lock() else { return };
        // Another entry may have the token by now.
        if self.spaces[space].slab.get(token).loc() == Some(loc)
            && let Some(policy) = &mut state.spaces[space].policy
        {
            policy.hit(Token::new(token), &View::new(self, space));
        }
    }

    #[cold]
    fn try_tell_hits(&self, space: usize) {
        if let Some(mut state) = self.state.try_lock() {
            self.tell_hits_up_to(&mut state, space, false);
        }
    }

    /// Tells a policy with an exact order of the hits that wait. To be called before it is asked for the order, before an
    /// entry becomes the newest in another way, and before another one gets its token.
    #[inline]
    pub(super) fn tell_hits(&self, state: &mut State, space: usize) {
        self.tell_hits_up_to(state, space, true);
    }

    /// Tells of all hits, or only of those up to one that is not written yet.
    #[inline]
    fn tell_hits_up_to(&self, state: &mut State, space: usize, all: bool) {
        let Space { slab, hits: Some(hits), .. } = &self.spaces[space] else { return };
        let SpaceState { policy: Some(policy), ages, .. } = &mut state.spaces[space] else {
            return;
        };
        let told = |token, loc| {
            // It may have left, or got another value, which made it the newest.
            if slab.get(token).loc() == Some(loc) {
                policy.hit(Token::new(token), &View::new(self, space));
                ages.born(token);
            }
        };
        if all { hits.tell(told) } else { hits.tell_some(told) }
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
        let found = self.find(space, key, bytes, cell, SHORT)?;
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
    pub(super) fn pin_locked(&self, state: &mut State, loc: Loc) -> Value<'_> {
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
