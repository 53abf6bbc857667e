//! Exact least recently used.

use super::list::Lists;
use super::{Entries, Policy, Token};

/// Evicts the least recently used entry, exactly: every hit moves its entry, under the lock.
///
/// Not scan resistant, and slower on hits than the others: for compatibility, and for work that was tuned for it.
#[derive(Debug)]
pub struct Lru {
    order: Lists<1>,
}

impl Lru {
    /// An empty one. The capacity does not matter to it.
    pub fn new(_capacity: u64) -> Self {
        Self { order: Lists::new() }
    }
}

impl Policy for Lru {
    fn mark_max(&self) -> u8 {
        0
    }

    fn hit_needs_lock(&self) -> bool {
        true
    }

    fn hit(&mut self, token: Token) {
        if self.order.list_of(token).is_some() {
            self.order.renew(0, token);
        }
    }

    fn newest(&self) -> Option<Token> {
        self.order.newest(0)
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
