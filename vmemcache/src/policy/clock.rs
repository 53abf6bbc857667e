//! CLOCK: first in, first out with a second chance.

use std::sync::atomic::Ordering::Relaxed;

use super::queues::Queues;
use super::{Entries, Policy, Token};

/// Approximates LRU without a lock on hits: an entry that was hit since it was last looked at goes round once more.
#[derive(Debug)]
pub struct Clock {
    ring: Queues<1>,
}

impl Clock {
    /// An empty one. The capacity does not matter to it.
    pub fn new(_capacity: u64) -> Self {
        Self { ring: Queues::new() }
    }
}

impl Policy for Clock {
    fn mark_max(&self) -> u8 {
        1
    }

    fn insert<E: Entries>(&mut self, token: Token, entries: &E) {
        if self.ring.queue_of(token).is_none() {
            entries.mark(token).store(0, Relaxed);
            self.ring.push(0, token, entries.bytes(token));
        }
    }

    fn victim<E: Entries>(
        &mut self,
        entries: &E,
        mut accept: impl FnMut(Token) -> bool,
    ) -> Option<Token> {
        let mut refusals = self.ring.len(0);
        while refusals > 0 {
            let oldest = self.ring.front(0)?;
            let bytes = entries.bytes(oldest);
            let mark = entries.mark(oldest);
            if mark.load(Relaxed) > 0 {
                mark.store(0, Relaxed);
            } else if accept(oldest) {
                self.ring.pop(0, oldest, bytes);
                return Some(oldest);
            } else {
                mark.store(1, Relaxed);
                refusals -= 1;
            }
            self.ring.requeue(0, 0, oldest, bytes);
        }
        None
    }

    fn remove<E: Entries>(&mut self, token: Token, entries: &E) -> bool {
        self.ring.remove(token, entries.bytes(token)).is_some()
    }

    fn resized(&mut self, token: Token, old: u64, new: u64) {
        self.ring.resized(token, old, new);
    }

    fn len(&self) -> usize {
        self.ring.len(0)
    }

    fn memory(&self) -> usize {
        self.ring.memory()
    }

    fn validate<E: Entries>(&self, entries: &E) {
        self.ring.validate(|token| entries.bytes(token));
    }
}
