//! Finding the entries of a heap again.

use super::{Mode, Request, Shard, State};
use crate::block::{Header, Loc, WORD};
use crate::check::CHECK_WORD;
use crate::clock::now_ms;
use crate::index::Key32;
use std::collections::HashMap;
use std::sync::atomic::Ordering::Relaxed;

/// A block in use, as the walk found it.
#[derive(Clone, Copy)]
struct Block {
    loc: Loc,
    units: u32,
    is_entry: bool,
    /// The namespace of an entry; none if it is no longer wanted.
    space: Option<usize>,
    keep: bool,
}

impl Shard {
    /// Fills index and heap from what the memory holds. For a shard with a bare heap that nobody uses yet. `spaces` says
    /// which namespace has which number in the file.
    pub(crate) fn rebuild(&self, spaces: &[Option<usize>]) {
        let mut state = self.lock();
        let mut blocks = self.walk(&state, spaces);
        self.claim_parts(&mut blocks);
        for block in blocks.iter_mut().filter(|block| block.is_entry && block.keep) {
            block.keep = block.space.is_some_and(|space| self.adopt(&mut state, block.loc, space));
        }
        self.drop_unclaimed(&mut blocks);
        self.lay_out(&mut state, &blocks);
    }

    /// The blocks in use. Parts are not kept until an entry claims them.
    fn walk(&self, state: &State, spaces: &[Option<usize>]) -> Vec<Block> {
        let (mut loc, end) = (state.heap.first(), state.heap.end());
        let mut blocks = Vec::new();
        let mut lost = false;
        while loc < end {
            // SAFETY: inside the heap.
            let header = unsafe { self.units.header(loc) };
            if let Some((units, space)) = self.entry_at(loc, end, header, spaces) {
                blocks.push(Block { loc, units, is_entry: true, space, keep: space.is_some() });
                lost = false;
                loc += units;
                continue;
            }
            // After something that cannot be, as the space of an entry that had just left, only entries and parts say where
            // the blocks go on: what a free block left behind may lie in the middle of another.
            let units = header.units();
            let is_possible = units > 0 && units <= end - loc && !(lost && header.is_free());
            if !is_possible || !self.is_block(state, loc, header) {
                lost = true;
                loc += 1;
                continue;
            }
            if !header.is_free() {
                blocks.push(Block { loc, units, is_entry: false, space: None, keep: false });
            }
            lost = false;
            loc += units;
        }
        blocks
    }

    /// Whether a header inside the heap that is no entry's is one: bytes of a value may look alike.
    fn is_block(&self, state: &State, loc: Loc, header: Header) -> bool {
        let units = header.units();
        // SAFETY: inside the heap with all its units; a part has two words.
        unsafe {
            if header.is_free() {
                state.heap.is_free_block(loc, header)
            } else if header.is_part() && self.units.bytes(units) >= 2 * WORD as u64 {
                let word = self.units.word(loc, 1).load(Relaxed);
                let check = self.spaces[0].check;
                check.is_some_and(|check| check.part_word(loc, units, word as Loc) == word)
            } else {
                false
            }
        }
    }

    /// The length in units of the entry's first block and its namespace, if there is an entry with a right header.
    fn entry_at(
        &self,
        loc: Loc,
        end: Loc,
        header: Header,
        spaces: &[Option<usize>],
    ) -> Option<(u32, Option<usize>)> {
        let check = self.spaces[0].check?;
        let layout = self.units.layout(header);
        let room = self.units.bytes(end - loc);
        if !header.is_entry() || (layout.key + header.key_len()) as u64 > room {
            return None;
        }
        // SAFETY: the words before the key are inside the heap.
        let number = unsafe { check.number(self.units, loc, header) }?;
        let space = *spaces.get(usize::from(number))?;
        let units = if header.is_chained() {
            // SAFETY: the word is there by the header, which is right.
            let units = unsafe { self.units.chain(loc, header) }.1;
            let least = self.units.round_up((layout.key + header.key_len()) as u64);
            (u64::from(units) >= least).then_some(u64::from(units))?
        } else {
            self.rules.block_units(self.units, self.units.entry_len(header))
        };
        (units > 0 && units <= u64::from(end - loc)).then_some((units as u32, space))
    }

    /// Follows the chains: entries whose parts are not all there are not kept.
    fn claim_parts(&self, blocks: &mut [Block]) {
        let parts: HashMap<Loc, usize> = blocks
            .iter()
            .enumerate()
            .filter(|(_, b)| !b.is_entry)
            .map(|(at, b)| (b.loc, at))
            .collect();
        for at in 0..blocks.len() {
            let Block { loc, units, is_entry: true, keep: true, .. } = blocks[at] else { continue };
            // SAFETY: an entry with a right header.
            let header = unsafe { self.units.header(loc) };
            if !header.is_chained() {
                continue;
            }
            // SAFETY: as above.
            let mut next = unsafe { self.units.chain(loc, header) }.0;
            let mut left = self.units.entry_len(header).saturating_sub(self.units.bytes(units));
            let mut claimed = Vec::new();
            while next != 0 {
                let part = parts.get(&next).filter(|&&part| !blocks[part].keep);
                let Some(&part) = part else { break };
                let room = self.units.bytes(blocks[part].units);
                if left == 0 || room <= 2 * WORD as u64 {
                    break;
                }
                left = left.saturating_sub(room - 2 * WORD as u64);
                blocks[part].keep = true;
                claimed.push(part);
                // SAFETY: a block with two words or more.
                next = unsafe { self.units.word(next, 1) }.load(Relaxed) as Loc;
            }
            if next != 0 || left != 0 {
                blocks[at].keep = false;
                for part in claimed {
                    blocks[part].keep = false;
                }
            }
        }
    }

    /// Makes an entry known. False if it is not wanted: too old, over the quota, or the key is there already.
    fn adopt(&self, state: &mut State, loc: Loc, space: usize) -> bool {
        // SAFETY: an entry with a right header and all its parts.
        unsafe {
            let header = self.units.header(loc);
            let key = self.units.key(loc, header);
            let expires = self.expiry(super::Found { token: 0, loc, header });
            let hash = self.rules.hash.of(key);
            let key32 = Key32::new(hash);
            let known = self.find_locked(space, key32, key).is_some();
            let units = self.entry_units(loc, header);
            let parts = &state.spaces[space];
            let has_room = self.spaces[space].slab.has_room(&parts.slab)
                && (space == 0 || parts.units + units <= parts.quota);
            if known || !has_room || expires.is_some_and(|at| at <= now_ms()) {
                return false;
            }
            self.units.set_header(loc, header.with_unproven(true));
            let request = Request {
                space,
                hash,
                key: key32,
                bytes: key,
                value: &[],
                mode: Mode::IfAbsent,
                expires,
                tell: false,
            };
            self.insert(state, &request, loc, units, header.value_len());
        }
        true
    }

    /// Entries that were not adopted keep no parts.
    fn drop_unclaimed(&self, blocks: &mut [Block]) {
        let mut kept: std::collections::HashSet<Loc> = std::collections::HashSet::new();
        for block in blocks.iter().filter(|block| block.is_entry && block.keep) {
            // SAFETY: an entry with a right header and all its parts.
            unsafe {
                let header = self.units.header(block.loc);
                if header.is_chained() {
                    let mut next = self.units.chain(block.loc, header).0;
                    while next != 0 {
                        kept.insert(next);
                        next = self.units.word(next, 1).load(Relaxed) as Loc;
                    }
                }
            }
        }
        for block in blocks.iter_mut().filter(|block| !block.is_entry) {
            block.keep = kept.contains(&block.loc);
        }
    }

    /// Makes free blocks of all that is not kept.
    fn lay_out(&self, state: &mut State, blocks: &[Block]) {
        let mut at = state.heap.first();
        for block in blocks {
            // SAFETY: blocks of the heap, in rising order; what is between them is nobody's.
            unsafe {
                if !block.keep {
                    if block.is_entry {
                        self.units.word(block.loc, CHECK_WORD).store(0, Relaxed);
                    }
                    continue;
                }
                let header = if block.is_entry {
                    self.units.header(block.loc).with_prev_free(false)
                } else {
                    Header::part(block.units)
                };
                self.units.set_header(block.loc, header);
                state.heap.add_free(at, block.loc - at);
            }
            at = block.loc + block.units;
        }
        let end = state.heap.end();
        // SAFETY: as above; the sentinel is behind.
        unsafe { state.heap.add_free(at, end - at) };
    }
}
