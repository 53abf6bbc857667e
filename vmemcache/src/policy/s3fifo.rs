//! S3-FIFO: a small queue for new entries, a main queue, and the ghosts of what left the small one.

use std::sync::atomic::Ordering::Relaxed;

use super::ghost::Ghosts;
use super::queues::Queues;
use super::{Entries, Policy, Token, spread};

const SMALL: usize = 0;
const MAIN: usize = 1;
/// Hits in the small queue that lead to the main one.
const PROMOTION: u8 = 2;
const MARK_MAX: u8 = 3;

/// S3-FIFO with the settings of its authors: a small queue of a tenth of the capacity, promotion after two hits.
///
/// J. Yang et al., "FIFO Queues are All You Need for Cache Eviction", SOSP 2023. Here to compare with; [`Adaptive`] is
/// built on it.
///
/// [`Adaptive`]: super::Adaptive
#[derive(Debug)]
pub struct S3Fifo {
    capacity: u64,
    queues: Queues<2>,
    /// Time: entries that left the small queue.
    ghosts: Ghosts,
}

impl S3Fifo {
    /// An empty one.
    pub fn new(capacity: u64) -> Self {
        Self { capacity, queues: Queues::new(), ghosts: Ghosts::new() }
    }
}

impl Policy for S3Fifo {
    fn mark_max(&self) -> u8 {
        MARK_MAX
    }

    fn expect(&self, hash: u64) {
        self.ghosts.expect(spread(hash));
    }

    fn insert<E: Entries>(&mut self, token: Token, entries: &E) {
        if self.queues.queue_of(token).is_some() {
            return;
        }
        entries.mark(token).store(0, Relaxed);
        let known = self.ghosts.take(spread(entries.hash(token))).is_some();
        self.queues.push(if known { MAIN } else { SMALL }, token, entries.bytes(token));
    }

    fn victim<E: Entries>(
        &mut self,
        entries: &E,
        mut accept: impl FnMut(Token) -> bool,
    ) -> Option<Token> {
        // As many ghosts as the main queue has entries.
        self.ghosts.fit(self.len(), |entries| (entries * 9 / 10, entries * 9 / 10));
        let mut refused = [0; 2];
        loop {
            let small = refused[SMALL] < self.queues.len(SMALL);
            let main = refused[MAIN] < self.queues.len(MAIN);
            let queue = match (small, main) {
                (false, false) => return None,
                (true, true) if self.queues.bytes(SMALL) < self.capacity / 10 => MAIN,
                (true, _) => SMALL,
                (false, true) => MAIN,
            };
            let front = self.queues.front(queue).expect("a queue that is not empty");
            let bytes = entries.bytes(front);
            let mark = entries.mark(front);
            let count = mark.load(Relaxed);
            let spared = if queue == SMALL { count >= PROMOTION } else { count > 0 };
            if spared {
                // After a refusal nothing changes queues, so that every entry is offered.
                let promoted = queue == SMALL && refused == [0; 2];
                mark.store(if queue == SMALL { 0 } else { count - 1 }, Relaxed);
                self.queues.requeue(queue, if promoted { MAIN } else { queue }, front, bytes);
            } else if accept(front) {
                self.queues.pop(queue, front, bytes);
                if queue == SMALL {
                    self.ghosts.tick();
                    self.ghosts.put(spread(entries.hash(front)));
                }
                return Some(front);
            } else {
                refused[queue] += 1;
                mark.store(MARK_MAX, Relaxed);
                self.queues.requeue(queue, queue, front, bytes);
            }
        }
    }

    fn remove<E: Entries>(&mut self, token: Token, entries: &E) -> bool {
        self.queues.remove(token, entries.bytes(token)).is_some()
    }

    fn resized(&mut self, token: Token, old: u64, new: u64) {
        self.queues.resized(token, old, new);
    }

    fn set_capacity(&mut self, bytes: u64) {
        self.capacity = bytes;
    }

    fn len(&self) -> usize {
        self.queues.len(SMALL) + self.queues.len(MAIN)
    }

    fn memory(&self) -> usize {
        self.queues.memory() + self.ghosts.memory()
    }

    fn validate<E: Entries>(&self, entries: &E) {
        self.queues.validate(|token| entries.bytes(token));
    }
}
