//! Window, main queue and ghosts at a given share of the window. The real cache has one, and so has each of its miniatures.

use std::sync::atomic::Ordering::Relaxed;

use crate::policy::ghost::Ghosts;
use crate::policy::queues::Queues;
use crate::policy::{ARMED, COUNT, Entries, Token, spread};

const WINDOW: usize = 0;
const MAIN: usize = 1;
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
    queues: Queues<2>,
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
        self.queues.len(WINDOW) + self.queues.len(MAIN)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.queues.bytes(WINDOW) + self.queues.bytes(MAIN)
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

    /// Lets in an entry, whose mark the caller sets.
    pub(super) fn insert(&mut self, token: Token, hash: u64, bytes: u64, split: &Split) {
        self.clock = self.clock.wrapping_add(1);
        self.ghosts.tick();
        let queue = match self.ghosts.take(hash) {
            Some(away) if self.admits(away, split) => MAIN,
            _ => WINDOW,
        };
        self.queues.push(queue, token, bytes);
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
        // and a half pass it, so that there are places for that many.
        self.ghosts.fit(self.len(), |entries| (entries * 3 / 2, 2 * entries));
        let mut refused = [0; 2];
        loop {
            let window = refused[WINDOW] < self.queues.len(WINDOW);
            let main = refused[MAIN] < self.queues.len(MAIN);
            let queue = match (window, main) {
                (false, false) => return None,
                (true, true) if self.queues.bytes(WINDOW) < split.window => MAIN,
                (true, _) => WINDOW,
                (false, true) => MAIN,
            };
            let front = self.queues.front(queue).expect("a queue that is not empty");
            let bytes = entries.bytes(front);
            let mark = entries.mark(front);
            let count = mark.load(Relaxed) & COUNT;
            let (next, to) = if count > 0 {
                // After a refusal nothing changes queues, so that every entry is offered.
                let fills = self.queues.bytes(MAIN) < split.main && refused == [0; 2];
                if queue == WINDOW {
                    (0, if fills { MAIN } else { WINDOW })
                } else {
                    (count - 1, MAIN)
                }
            } else if accept(front) {
                self.queues.pop(queue, front, bytes);
                if queue == WINDOW {
                    self.ghosts.put(spread(entries.hash(front)));
                }
                self.look_at_round();
                return Some(front);
            } else {
                refused[queue] += 1;
                (MARK_MAX, queue)
            };
            let armed = if self.queues.flag(front) { ARMED } else { 0 };
            mark.store(next | armed, Relaxed);
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
