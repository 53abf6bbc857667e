//! First in, first out.

use super::queues::Queues;
use super::{Entries, Policy, Token};

/// Evicts the entry that came in first. Hits do not matter: the cheapest policy, and the baseline of the others.
#[derive(Debug)]
pub struct Fifo {
    order: Queues<1>,
}

impl Fifo {
    /// An empty one. The capacity does not matter to it.
    pub fn new(_capacity: u64) -> Self {
        Self { order: Queues::new() }
    }
}

impl Policy for Fifo {
    fn mark_max(&self) -> u8 {
        0
    }

    fn insert<E: Entries>(&mut self, token: Token, entries: &E) {
        if self.order.queue_of(token).is_none() {
            self.order.push(0, token, entries.bytes(token));
        }
    }

    fn victim<E: Entries>(
        &mut self,
        entries: &E,
        mut accept: impl FnMut(Token) -> bool,
    ) -> Option<Token> {
        for _ in 0..self.order.len(0) {
            let oldest = self.order.front(0)?;
            let bytes = entries.bytes(oldest);
            if accept(oldest) {
                self.order.pop(0, oldest, bytes);
                return Some(oldest);
            }
            self.order.requeue(0, 0, oldest, bytes);
        }
        None
    }

    fn remove<E: Entries>(&mut self, token: Token, entries: &E) -> bool {
        self.order.remove(token, entries.bytes(token)).is_some()
    }

    fn resized(&mut self, token: Token, old: u64, new: u64) {
        self.order.resized(token, old, new);
    }

    fn len(&self) -> usize {
        self.order.len(0)
    }

    fn memory(&self) -> usize {
        self.order.memory()
    }

    fn validate<E: Entries>(&self, entries: &E) {
        self.order.validate(|token| entries.bytes(token));
    }
}
