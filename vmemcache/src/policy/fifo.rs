//! First in, first out.

use super::list::Lists;
use super::{Entries, Policy, Token};

/// Evicts the entry that came in first. Hits do not matter: the cheapest policy, and the baseline of the others.
#[derive(Debug)]
pub struct Fifo {
    order: Lists<1>,
}

impl Fifo {
    /// An empty one. The capacity does not matter to it.
    pub fn new(_capacity: u64) -> Self {
        Self { order: Lists::new() }
    }
}

impl Policy for Fifo {
    fn mark_max(&self) -> u8 {
        0
    }

    fn insert<E: Entries>(&mut self, token: Token, _entries: &E) {
        if self.order.list_of(token).is_none() {
            self.order.push(0, token);
        }
    }

    fn victim<E: Entries>(
        &mut self,
        _entries: &E,
        mut accept: impl FnMut(Token) -> bool,
    ) -> Option<Token> {
        for _ in 0..self.order.len(0) {
            let oldest = self.order.oldest(0)?;
            if accept(oldest) {
                self.order.remove(oldest);
                return Some(oldest);
            }
            self.order.renew(0, oldest);
        }
        None
    }

    fn remove<E: Entries>(&mut self, token: Token, _entries: &E) -> bool {
        self.order.remove(token).is_some()
    }

    fn len(&self) -> usize {
        self.order.len(0)
    }

    fn memory(&self) -> usize {
        self.order.memory()
    }

    fn validate<E: Entries>(&self, _entries: &E) {
        self.order.validate();
    }
}
