//! First-in-first-out queues of tokens: 5 bytes per entry.
//!
//! An entry that is removed leaves its slot behind. The slot is stale from then on, and is dropped when it comes to the
//! front. It is told from a later slot of the same token by a generation of four bits: each removal starts a new one.
//! Should sixteen removals of one token go by while its first slot is still queued, then that slot seems to be in force
//! again: the entry comes to the front early, once. No count goes wrong by it.

use super::Token;
use super::ring::Ring;

const TOKEN_BITS: u32 = 28;
const _: () = assert!(Token::MAX < 1 << TOKEN_BITS);

/// Bits 0-1: 1 + the queue, or 0. Bit 2: the flag. Bit 3: whether it was used. Bits 4-7: the generation.
#[derive(Clone, Copy)]
struct State(u8);

impl State {
    const QUEUE: u8 = 0b11;
    const FLAG: u8 = 0b100;
    const USED: u8 = 0b1000;

    fn queue(self) -> Option<usize> {
        (self.0 & Self::QUEUE).checked_sub(1).map(usize::from)
    }

    fn generation(self) -> u32 {
        u32::from(self.0 >> 4)
    }

    fn next_generation(self) -> Self {
        Self((self.0 & 0xf0).wrapping_add(0x10))
    }
}

#[derive(Debug)]
struct Queue {
    ring: Ring,
    len: usize,
    bytes: u64,
    /// Slots that ever left the front.
    popped: u64,
}

/// `N` queues, at most 3. A token is in at most one of them.
pub(super) struct Queues<const N: usize> {
    queues: [Queue; N],
    states: Vec<State>,
}

impl<const N: usize> Queues<N> {
    pub(super) const fn new() -> Self {
        const { assert!(N >= 1 && N <= 3, "two bits hold 1 + the queue") };
        let queues = [const { Queue { ring: Ring::new(), len: 0, bytes: 0, popped: 0 } }; N];
        Self { queues, states: Vec::new() }
    }

    pub(super) fn len(&self, queue: usize) -> usize {
        self.queues[queue].len
    }

    pub(super) fn bytes(&self, queue: usize) -> u64 {
        self.queues[queue].bytes
    }

    /// In which queue the token is.
    #[inline]
    pub(super) fn queue_of(&self, token: Token) -> Option<usize> {
        self.states.get(token.index() as usize)?.queue()
    }

    /// A bit of a token's own, false when it comes in.
    pub(super) fn flag(&self, token: Token) -> bool {
        self.states.get(token.index() as usize).is_some_and(|state| state.0 & State::FLAG != 0)
    }

    pub(super) fn set_flag(&mut self, token: Token, flag: bool) {
        let state = &mut self.states[token.index() as usize];
        state.0 = if flag { state.0 | State::FLAG } else { state.0 & !State::FLAG };
    }

    /// Whether the token was noted as used since it came in.
    pub(super) fn is_used(&self, token: Token) -> bool {
        self.states.get(token.index() as usize).is_some_and(|state| state.0 & State::USED != 0)
    }

    pub(super) fn set_used(&mut self, token: Token) {
        self.states[token.index() as usize].0 |= State::USED;
    }

    /// Lets in a token that is in no queue.
    #[inline]
    pub(super) fn push(&mut self, queue: usize, token: Token, bytes: u64) {
        debug_assert_eq!(self.queue_of(token), None);
        let index = token.index() as usize;
        if index >= self.states.len() {
            // By an eighth: the slack of one byte per entry does not matter, that of doubling would.
            let more = index + 1 - self.states.len();
            if self.states.capacity() <= index {
                self.states.reserve_exact(more.max(self.states.len() / 8).max(64));
            }
            self.states.resize(index + 1, State(0));
        }
        self.states[index].0 |= queue as u8 + 1;
        self.enqueue(queue, token);
        self.queues[queue].len += 1;
        self.queues[queue].bytes += bytes;
    }

    #[inline]
    fn enqueue(&mut self, queue: usize, token: Token) {
        let generation = self.states[token.index() as usize].generation();
        self.queues[queue].ring.push(generation << TOKEN_BITS | token.index());
    }

    #[inline]
    fn in_force(&self, queue: usize, slot: u32) -> Option<Token> {
        let token = Token(slot & ((1 << TOKEN_BITS) - 1));
        let state = self.states[token.index() as usize];
        let same = state.queue() == Some(queue) && state.generation() == slot >> TOKEN_BITS;
        same.then_some(token)
    }

    /// The oldest entry of a queue.
    #[inline]
    pub(super) fn front(&mut self, queue: usize) -> Option<Token> {
        loop {
            let slot = self.queues[queue].ring.front()?;
            if let Some(token) = self.in_force(queue, slot) {
                return Some(token);
            }
            self.drop_front(queue);
        }
    }

    /// The entry that is so many places behind the front; it may have left.
    #[inline]
    pub(super) fn ahead(&self, queue: usize, places: usize) -> Option<Token> {
        let slot = self.queues[queue].ring.ahead(places)?;
        Some(Token(slot & ((1 << TOKEN_BITS) - 1)))
    }

    #[inline]
    fn drop_front(&mut self, queue: usize) {
        self.queues[queue].ring.pop();
        self.queues[queue].popped += 1;
    }

    /// Moves the entry that [`front`](Self::front) has just returned to the end of a queue, the same one or another.
    #[inline]
    pub(super) fn requeue(&mut self, from: usize, to: usize, front: Token, bytes: u64) {
        self.drop_front(from);
        if from != to {
            let state = &mut self.states[front.index() as usize];
            state.0 = (state.0 & !State::QUEUE) | (to as u8 + 1);
            self.queues[from].len -= 1;
            self.queues[from].bytes -= bytes;
            self.queues[to].len += 1;
            self.queues[to].bytes += bytes;
        }
        self.enqueue(to, front);
    }

    /// Takes out the entry that [`front`](Self::front) has just returned.
    #[inline]
    pub(super) fn pop(&mut self, queue: usize, front: Token, bytes: u64) {
        self.drop_front(queue);
        let state = &mut self.states[front.index() as usize];
        state.0 &= !(State::QUEUE | State::FLAG | State::USED);
        self.queues[queue].len -= 1;
        self.queues[queue].bytes -= bytes;
    }

    /// Takes a token out of its queue, which is returned.
    ///
    /// O(1) amortised: slots are only swept when a third of them are stale.
    pub(super) fn remove(&mut self, token: Token, bytes: u64) -> Option<usize> {
        let queue = self.queue_of(token)?;
        let state = &mut self.states[token.index() as usize];
        *state = state.next_generation();
        let of = &mut self.queues[queue];
        of.len -= 1;
        of.bytes -= bytes;
        if of.ring.len() > of.len + of.len / 2 + 64 {
            for _ in 0..of.ring.len() {
                let slot = self.queues[queue].ring.pop().expect("as many slots as it said");
                if self.in_force(queue, slot).is_some() {
                    self.queues[queue].ring.push(slot);
                }
            }
        }
        Some(queue)
    }

    pub(super) fn resized(&mut self, token: Token, old: u64, new: u64) {
        if let Some(queue) = self.queue_of(token) {
            let bytes = &mut self.queues[queue].bytes;
            *bytes = *bytes - old + new;
        }
    }

    /// A number for the end of a queue as it is now. The front gets there after one round.
    pub(super) fn end(&self, queue: usize) -> u64 {
        self.queues[queue].popped + self.queues[queue].ring.len() as u64
    }

    /// Whether the front has got to a number that `end` returned. After sweeps this is so later than it should.
    pub(super) fn has_reached(&self, queue: usize, end: u64) -> bool {
        self.queues[queue].popped >= end
    }

    pub(super) fn memory(&self) -> usize {
        let rings: usize = self.queues.iter().map(|queue| queue.ring.memory()).sum();
        rings + self.states.capacity()
    }

    /// Checks that each entry has a slot, and lengths and sizes.
    pub(super) fn validate(&self, bytes: impl Fn(Token) -> u64) {
        for (number, queue) in self.queues.iter().enumerate() {
            let slots = queue.ring.iter().filter_map(|slot| self.in_force(number, slot));
            let slots: std::collections::HashSet<_> = slots.collect();
            let states = self.states.iter().enumerate();
            let members = states.filter(|(_, state)| state.queue() == Some(number));
            let members: Vec<_> = members.map(|(index, _)| Token(index as u32)).collect();
            assert!(members.iter().all(|token| slots.contains(token)), "queue {number}: no slot");
            assert_eq!(members.len(), queue.len, "count of queue {number}");
            let sum: u64 = members.iter().map(|&token| bytes(token)).sum();
            assert_eq!(sum, queue.bytes, "size of queue {number}");
        }
    }
}

impl<const N: usize> std::fmt::Debug for Queues<N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queues").field("queues", &self.queues).finish_non_exhaustive()
    }
}
