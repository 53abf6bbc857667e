//! One part of the cache: a heap, what lies in it, and a lock for all changes. Readers do without the lock.
//!
//! | file | what |
//! |---|---|
//! | `shard/read.rs` | finding and reading |
//! | `shard/hits.rs` | hits that wait to be told to a policy with an exact order |
//! | `shard/store.rs` | putting |
//! | `shard/space.rs` | making room: allocation in one piece or several, eviction, reclaiming |
//! | `shard/remove.rs` | removing |
//! | `shard/ages.rs` | how old entries are when they are evicted |
//! | `shard/resize.rs` | becoming smaller and larger |
//! | `shard/rebuild.rs` | finding the entries again after a restart |

mod ages;
mod hits;
mod read;
mod rebuild;
mod remove;
mod resize;
mod space;
mod store;

use crate::block::{Header, Loc, Units, WORD};
use crate::check::Check;
use crate::error::Error;
use crate::events::Cause;
use crate::fetch;
use crate::ground::Ground;
use crate::heap::Heap;
use crate::index::{Index, Key32};
use crate::policy::{AnyPolicy, Entries, Policy, Token};
use crate::protect::Fences;
use crate::slab::{Slab, SlabState};
use crate::stats::Stopwatch;
use pmem_core::sync::{Mutex, MutexGuard, Rank};
use std::cell::Cell;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU8, AtomicU32};

use ages::Ages;
use hits::Hits;
pub(crate) use read::{Found, SHORT};
pub(crate) use remove::{Leaving, OnLeaving, Removal, is_telling};
pub(crate) use resize::{Before, Cursor, Step};
pub(crate) use space::{KeyHash, Rules};
pub(crate) use store::{Mode, Request, Stored};

/// A set of entries with an order of replacement of its own: a namespace within a shard.
#[derive(Debug)]
pub(crate) struct Space {
    pub(crate) index: Index,
    pub(crate) slab: Slab,
    /// Hits that the policy has not been told of, if its order is exact.
    hits: Option<Hits>,
    /// Makes the checksums of caches that survive restarts.
    pub(crate) check: Option<Check>,
}

/// What belongs to a [`Space`] and only the holder of the lock sees.
#[derive(Debug)]
pub(crate) struct SpaceState {
    pub(crate) slab: SlabState,
    /// None when nothing is ever replaced.
    pub(crate) policy: Option<AnyPolicy>,
    /// Keys and values in bytes.
    pub(crate) payload: u64,
    /// What the entries take of the heap.
    pub(crate) units: u64,
    /// What entries that are being written without the lock are going to take.
    pub(crate) drafted: u64,
    pub(crate) ages: Ages,
    /// What they may take; but the first space, which has no name, may use what the others leave free.
    pub(crate) quota: u64,
    pub(crate) counts: Counts,
}

/// What only the holder of the lock sees.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) heap: Heap,
    pub(crate) spaces: Vec<SpaceState>,
    /// Entries that have left, in units, whose space may still be looked at.
    limbo: Vec<Loc>,
    limbo_units: u32,
    /// Addresses that somebody looks at: scratch memory of reclaiming.
    seen: Vec<usize>,
    /// Guards that found no cell.
    listed: Vec<Loc>,
    /// Entries whose leaving is being told.
    leaving: u32,
    /// Entries that are being written without the lock.
    drafts: u32,
    /// What lies beyond the heap's limit goes back as it becomes free.
    trims: bool,
}

/// Events that happen under the lock.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Counts {
    pub(crate) inserted: u64,
    pub(crate) replaced: u64,
    pub(crate) left: [u64; Cause::COUNT],
    pub(crate) chained: u64,
}

#[derive(Debug)]
pub(crate) struct Shard {
    pub(crate) units: Units,
    pub(crate) fences: Fences,
    pub(crate) rules: Rules,
    stopwatch: Option<Arc<Stopwatch>>,
    /// What the heap lies on, and which shard of it this is.
    ground: Arc<Ground>,
    at: usize,
    mark_max: u8,
    pub(crate) spaces: Vec<Space>,
    /// About how long the values are that were stored lately, in bytes.
    usual_len: AtomicU32,
    /// Keeps what readers need apart from the lock.
    _apart: [u64; 16],
    state: Mutex<State>,
}

/// What a shard is made of.
pub(crate) struct Parts {
    pub(crate) units: Units,
    pub(crate) heap: Heap,
    pub(crate) fences: Fences,
    pub(crate) rules: Rules,
    pub(crate) policy: Option<crate::policy::Kind>,
    /// The first one has no name.
    pub(crate) spaces: Vec<Share>,
    /// Measures evictions.
    pub(crate) stopwatch: Option<Arc<Stopwatch>>,
    pub(crate) ground: Arc<Ground>,
    pub(crate) at: usize,
}

/// What a space has of a shard.
pub(crate) struct Share {
    /// Of the heap's units, now and at the largest size.
    pub(crate) quota: u64,
    pub(crate) most: u64,
    /// Makes its checksums.
    pub(crate) check: Option<Check>,
}

/// What a policy is told to have, in bytes.
fn capacity(units: Units, quota: u64, total: u64) -> u64 {
    // The first space may have no share of its own, and still be used.
    quota.max(total / 64) * units.unit() as u64
}

impl Shard {
    pub(crate) fn new(parts: Parts) -> Result<Shard, Error> {
        let Parts { units, heap, fences, rules, policy, spaces: wanted, stopwatch, ground, at } =
            parts;
        let total = u64::from(heap.total_units());
        let most_of_all = u64::from(ground.most() - 2);
        let (mut spaces, mut states) = (Vec::new(), Vec::new());
        for (space, Share { quota, most, check }) in wanted.into_iter().enumerate() {
            let max = if space == 0 { most_of_all } else { most.min(most_of_all) } as u32;
            let (slab, slab_state) = Slab::new(max)?;
            let policy = policy.map(|kind| kind.build(capacity(units, quota, total)));
            let hits = policy.as_ref().is_some_and(Policy::reports_are_binding).then(Hits::new);
            spaces.push(Space { index: Index::new(max)?, slab, hits, check });
            states.push(SpaceState {
                slab: slab_state,
                policy,
                payload: 0,
                units: 0,
                drafted: 0,
                ages: Ages::new(),
                quota,
                counts: Counts::default(),
            });
        }
        let any = states.first().and_then(|state| state.policy.as_ref());
        Ok(Shard {
            units,
            fences,
            rules,
            stopwatch,
            ground,
            at,
            mark_max: any.map_or(0, Policy::mark_max),
            spaces,
            usual_len: AtomicU32::new(0),
            _apart: [0; 16],
            state: Mutex::new(
                Rank::UNRANKED,
                State {
                    heap,
                    spaces: states,
                    limbo: Vec::new(),
                    limbo_units: 0,
                    seen: Vec::new(),
                    listed: Vec::new(),
                    leaving: 0,
                    drafts: 0,
                    trims: false,
                },
            ),
        })
    }

    /// How long values are here, roughly.
    #[inline]
    pub(crate) fn usual_len(&self) -> usize {
        self.usual_len.load(Relaxed) as usize
    }

    /// A value of this length was stored. Under the lock. Few are looked at, since readers share the line that is written.
    #[inline]
    fn note_len(&self, inserted: u64, len: usize) {
        if inserted % 64 == 1 {
            let (len, usual) = (len.min(1 << 16) as u32, self.usual_len.load(Relaxed));
            let mean = if usual == 0 { len } else { (3 * usual + len) / 4 };
            self.usual_len.store(mean, Relaxed);
        }
    }

    #[inline]
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// The address that protects the entry at `loc`.
    #[inline]
    fn address(&self, loc: Loc) -> usize {
        // SAFETY: only the address is used.
        unsafe { self.units.at(loc, 0) }.addr()
    }

    /// What an entry takes of the heap.
    ///
    /// # Safety
    /// An entry is there and does not go away.
    pub(crate) unsafe fn entry_units(&self, loc: Loc, header: Header) -> u64 {
        if !header.is_chained() {
            return self.rules.entry_units(self.units, header);
        }
        // SAFETY: contract; the parts of a chain are as safe as its head.
        unsafe {
            let (mut next, units) = self.units.chain(loc, header);
            let mut total = u64::from(units);
            while next != 0 {
                let (after, units) = self.units.chain(next, self.units.header(next));
                total += u64::from(units);
                next = after;
            }
            total
        }
    }

    /// The units of an entry's first block.
    ///
    /// # Safety
    /// As [`entry_units`](Self::entry_units).
    pub(crate) unsafe fn first_block_units(&self, loc: Loc, header: Header) -> u32 {
        if header.is_chained() {
            // SAFETY: contract.
            unsafe { self.units.chain(loc, header) }.1
        } else {
            self.rules.entry_units(self.units, header) as u32
        }
    }

    /// Finds an entry under the lock.
    fn find_locked(&self, space: usize, key: Key32, bytes: &[u8]) -> Option<Found> {
        let Space { index, slab, .. } = &self.spaces[space];
        index.find(key, |token| {
            let slot = slab.get(token);
            if slot.hash() != key.upper() {
                return None;
            }
            let loc = slot.loc()?;
            // SAFETY: under the lock no entry goes away.
            let header = unsafe { self.units.header(loc) };
            // SAFETY: as above.
            let same = unsafe { self.units.key(loc, header) } == bytes;
            same.then_some(Found { token, loc, header })
        })
    }

    /// Checks all that can be checked.
    ///
    /// # Panics
    /// When something is wrong.
    pub(crate) fn validate(&self) {
        let state = self.lock();
        // SAFETY: under the lock blocks do not change.
        let units_of = |loc, header| unsafe { self.first_block_units(loc, header) };
        state.heap.validate(units_of);
        let mut entries = std::collections::HashSet::new();
        let limbo: std::collections::HashSet<Loc> = state.limbo.iter().copied().collect();
        state.heap.walk(
            |loc, header, _| {
                if header.is_entry() && !limbo.contains(&loc) {
                    entries.insert(loc);
                }
            },
            units_of,
        );
        for (space, space_state) in state.spaces.iter().enumerate() {
            let (mut live, mut payload, mut used) = (0, 0, 0);
            for token in Slab::tokens(&space_state.slab) {
                let Some(loc) = self.spaces[space].slab.get(token).loc() else { continue };
                assert!(entries.remove(&loc), "token {token} names a block that is no entry");
                // SAFETY: under the lock.
                unsafe {
                    let header = self.units.header(loc);
                    payload += header.key_len() as u64 + header.value_len();
                    used += self.entry_units(loc, header);
                    let key = Key32::new(self.rules.hash.of(self.units.key(loc, header)));
                    let found = self.spaces[space].index.find(key, |t| (t == token).then_some(()));
                    assert!(found.is_some(), "token {token} is not in the index");
                }
                // Such an entry would not be found after a restart.
                let leaves = self.spaces[space].slab.get(token).has(crate::slab::LEAVING);
                // SAFETY: under the lock.
                let header = unsafe { self.units.header(loc) };
                assert!(!state.trims || leaves || !self.is_beyond(&state, loc, header));
                live += 1;
            }
            assert!(space_state.drafted == 0 || state.drafts > 0);
            assert_eq!(
                (live, payload, used),
                (space_state.slab.live, space_state.payload, space_state.units)
            );
            if let Some(policy) = &space_state.policy {
                assert!(policy.len() as u32 <= live && policy.len() as u32 + state.leaving >= live);
                policy.validate(&View::new(self, space));
            }
        }
        assert!(entries.is_empty(), "{} entries without token", entries.len());
    }
}

/// The entries of a space, as its policy sees them. Under the lock.
struct View<'s> {
    shard: &'s Shard,
    space: usize,
    /// The token that was asked for last, and the hash of its key.
    hashed: Cell<(u32, u64)>,
}

impl<'s> View<'s> {
    #[inline]
    fn new(shard: &'s Shard, space: usize) -> View<'s> {
        View { shard, space, hashed: Cell::new((u32::MAX, 0)) }
    }

    /// When the hash of one key is known.
    #[inline]
    fn knowing(shard: &'s Shard, space: usize, token: u32, hash: u64) -> View<'s> {
        View { shard, space, hashed: Cell::new((token, hash)) }
    }

    #[inline]
    fn block(&self, token: Token) -> (Loc, Header) {
        let loc = self.shard.spaces[self.space].slab.get(token.index()).loc();
        let loc = loc.expect("policies know live entries only");
        // SAFETY: live, and under the lock.
        (loc, unsafe { self.shard.units.header(loc) })
    }

    #[inline]
    fn hash_at(&self, loc: Loc, header: Header) -> u64 {
        // SAFETY: live, and under the lock.
        self.shard.rules.hash.of(unsafe { self.shard.units.key(loc, header) })
    }
}

impl Entries for View<'_> {
    fn mark(&self, token: Token) -> &AtomicU8 {
        &self.shard.spaces[self.space].slab.get(token.index()).mark
    }

    fn bytes(&self, token: Token) -> u64 {
        let (loc, header) = self.block(token);
        // SAFETY: live, and under the lock.
        unsafe { self.shard.entry_units(loc, header) << self.shard.units.unit().trailing_zeros() }
    }

    #[inline]
    fn hash(&self, token: Token) -> u64 {
        let (known, hash) = self.hashed.get();
        if known == token.index() {
            return hash;
        }
        let (loc, header) = self.block(token);
        let hash = self.hash_at(loc, header);
        self.hashed.set((token.index(), hash));
        hash
    }

    /// Step by step, since each address is found in what was fetched before.
    #[inline(always)]
    fn expect(&self, token: Token, steps: usize) -> Option<u64> {
        let space = &self.shard.spaces[self.space];
        let slot = space.slab.get(token.index());
        if steps > 4 {
            fetch::line_for_reading(ptr::from_ref(slot).cast());
            return None;
        }
        let loc = slot.loc()?;
        let address = self.shard.address(loc);
        if steps > 2 {
            fetch::line_for_writing(ptr::without_provenance(address));
            // The key may lie in the next line.
            fetch::line_for_reading(ptr::without_provenance(address + SHORT - 1));
            return None;
        }
        // What it takes to remove it: its place in the index, and the block behind.
        // SAFETY: live, and under the lock.
        let header = unsafe { self.shard.units.header(loc) };
        let behind = address + self.shard.units.entry_len(header) as usize + WORD;
        fetch::line_for_writing(ptr::without_provenance(behind));
        let hash = self.hash_at(loc, header);
        space.index.prefetch(Key32::new(hash));
        Some(hash)
    }
}
