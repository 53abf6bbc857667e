//! Window, main queue and ghosts at a given share of the window. The real cache has one, and so has each of its miniatures.

use std::sync::atomic::Ordering::Relaxed;

use crate::policy::ghost::Ghosts;
use crate::policy::queues::Queues;
use crate::policy::{ARMED, COUNT, Entries, Token, spread};

/// The newer and the older half of the window.
const YOUNG: usize = 0;
const OLD: usize = 1;
const MAIN: usize = 2;
/// Entries that an insertion moves from the newer to the older half, at most.
const AGED_PER_INSERTION: usize = 4;
/// How far ahead entries are fetched: each is seen three times before it comes to the front of its queue.
const AHEAD: [usize; 3] = [8, 4, 2];
pub(super) const MARK_MAX: u8 = 3;

/// What window and main queue are to have of the capacity.
#[derive(Debug)]
pub(super) struct Split {
    window: u64,
    main: u64,
}

impl Split {
    pub(super) fn new(capacity: u64, window_percent: u32) -> Self {
        let window = (u128::from(capacity) * u128::from(window_percent) / 100) as u64;
        let window = window.clamp(1, capacity.max(1));
        Self { window, main: capacity.saturating_sub(window) }
    }
}

/// Measures how long a round of the main queue takes.
#[derive(Debug)]
struct Round {
    end: u64,
    since: u32,
    last: u32,
}

#[derive(Debug)]
pub(super) struct Windowed {
    queues: Queues<3>,
    ghosts: Ghosts,
    /// Time: insertions so far.
    clock: u32,
    round: Round,
}

impl Windowed {
    pub(super) const fn new() -> Self {
        let round = Round { end: 0, since: 0, last: 0 };
        Self { queues: Queues::new(), ghosts: Ghosts::new(), clock: 0, round }
    }

    pub(super) fn now(&self) -> u32 {
        self.clock
    }

    pub(super) fn len(&self) -> usize {
        self.queues.len(YOUNG) + self.queues.len(OLD) + self.queues.len(MAIN)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.window_bytes() + self.queues.bytes(MAIN)
    }

    fn window_bytes(&self) -> u64 {
        self.queues.bytes(YOUNG) + self.queues.bytes(OLD)
    }

    pub(super) fn is_tracked(&self, token: Token) -> bool {
        self.queues.queue_of(token).is_some()
    }

    pub(super) fn is_flagged(&self, token: Token) -> bool {
        self.is_tracked(token) && self.queues.flag(token)
    }

    pub(super) fn set_flag(&mut self, token: Token, flag: bool) {
        self.queues.set_flag(token, flag);
    }

    /// An entry whose key has this hash is about to come in.
    pub(super) fn expect(&self, hash: u64) {
        self.ghosts.expect(hash);
    }

    /// Has an entry fetched that comes to the front of a queue soon.
    #[inline(always)]
    fn look_ahead<E: Entries>(&self, queue: usize, steps: usize, entries: &E) {
        let token = self.queues.ahead(queue, steps);
        if let Some(hash) = token.and_then(|token| entries.expect(token, steps))
            && queue != MAIN
        {
            self.ghosts.expect(spread(hash));
        }
    }

    /// Lets in an entry, whose mark the caller sets.
    pub(super) fn insert<E: Entries>(
        &mut self,
        token: Token,
        hash: u64,
        entries: &E,
        split: &Split,
    ) {
        self.clock = self.clock.wrapping_add(1);
        self.ghosts.tick();
        let queue = match self.ghosts.take(hash) {
            Some(away) if self.admits(away, split) => MAIN,
            _ => YOUNG,
        };
        self.queues.push(queue, token, entries.bytes(token));
        self.age(entries, split);
    }

    /// Keeps the newer half of the window to a half. What was hit there becomes new again, so that marks in the older half
    /// tell of hits since then, also while the cache fills.
    fn age<E: Entries>(&mut self, entries: &E, split: &Split) {
        for _ in 0..AGED_PER_INSERTION {
            if self.queues.bytes(YOUNG) <= split.window / 2 {
                return;
            }
            let Some(front) = self.queues.front(YOUNG) else { return };
            // It is asked for its size only.
            self.look_ahead(YOUNG, AHEAD[0], entries);
            self.look_ahead(YOUNG, AHEAD[1], entries);
            let hit = entries.mark(front).load(Relaxed) & COUNT > 0;
            if hit {
                self.set_mark(front, 0, entries);
                self.queues.set_used(front);
            }
            let to = if self.fills_main(front, split) {
                MAIN
            } else if hit {
                YOUNG
            } else {
                OLD
            };
            self.queues.requeue(YOUNG, to, front, entries.bytes(front));
        }
    }

    /// Whether an entry of the window goes to the main queue because there is room, and it was hit at some time: so that little
    /// is lost when the window becomes smaller.
    fn fills_main(&self, token: Token, split: &Split) -> bool {
        self.queues.bytes(MAIN) < split.main && self.queues.is_used(token)
    }

    /// Whether the main queue is so much too large that its entries go to the window when they are hit, and not round: the
    /// window has become larger.
    fn main_is_too_large(&self, split: &Split) -> bool {
        self.queues.bytes(MAIN) > split.main + (split.main + split.window) / 16
    }

    fn set_mark<E: Entries>(&self, token: Token, count: u8, entries: &E) {
        let armed = if self.queues.flag(token) { ARMED } else { 0 };
        entries.mark(token).store(count | armed, Relaxed);
    }

    fn admits(&self, away: u32, split: &Split) -> bool {
        let round = self.round.last.max(self.clock.wrapping_sub(self.round.since));
        split.main > 0 && (away <= round || self.queues.bytes(MAIN) < split.main)
    }

    pub(super) fn victim<E: Entries>(
        &mut self,
        entries: &E,
        split: &Split,
        mut accept: impl FnMut(Token) -> bool,
    ) -> Option<Token> {
        // For as long as two turnovers: the admission test decides which of them count. Few of those that are older than one
        // and a third pass it, so that there are places for that many.
        self.ghosts.fit(self.len(), |entries| (entries * 4 / 3, 2 * entries));
        let mut refused = [0; 3];
        loop {
            let left = |queue: usize| refused[queue] < self.queues.len(queue);
            let main_first = self.window_bytes() < split.window && left(MAIN);
            let order = if main_first { [MAIN, OLD, YOUNG] } else { [OLD, YOUNG, MAIN] };
            let queue = order.into_iter().find(|&queue| left(queue))?;
            let front = self.queues.front(queue).expect("a queue that is not empty");
            self.look_ahead(queue, AHEAD[0], entries);
            self.look_ahead(queue, AHEAD[1], entries);
            self.look_ahead(queue, AHEAD[2], entries);
            let bytes = entries.bytes(front);
            let count = entries.mark(front).load(Relaxed) & COUNT;
            if count > 0 && queue != MAIN {
                self.queues.set_used(front);
            }
            // After a refusal nothing changes queues, so that every entry is offered.
            let may_change = refused == [0; 3];
            let (next, to) = if may_change && queue != MAIN && self.fills_main(front, split) {
                (0, MAIN)
            } else if count == 0 {
                if accept(front) {
                    self.queues.pop(queue, front, bytes);
                    if queue != MAIN {
                        self.ghosts.put(spread(entries.hash(front)));
                    }
                    self.look_at_round();
                    return Some(front);
                }
                refused[queue] += 1;
                (MARK_MAX, queue)
            } else if may_change && (queue != MAIN || self.main_is_too_large(split)) {
                (0, YOUNG)
            } else {
                (if queue == MAIN { count - 1 } else { 0 }, queue)
            };
            self.set_mark(front, next, entries);
            self.queues.requeue(queue, to, front, bytes);
            self.look_at_round();
        }
    }

    fn look_at_round(&mut self) {
        if self.queues.has_reached(MAIN, self.round.end) {
            self.round.last = self.clock.wrapping_sub(self.round.since);
            self.round.since = self.clock;
            self.round.end = self.queues.end(MAIN);
        }
    }

    pub(super) fn remove(&mut self, token: Token, bytes: u64) -> bool {
        self.queues.remove(token, bytes).is_some()
    }

    pub(super) fn resized(&mut self, token: Token, old: u64, new: u64) {
        self.queues.resized(token, old, new);
    }

    pub(super) fn memory(&self) -> usize {
        self.queues.memory() + self.ghosts.memory()
    }

    pub(super) fn validate<E: Entries>(&self, entries: &E) {
        self.queues.validate(|token| entries.bytes(token));
    }
}
