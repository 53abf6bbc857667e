//! Exact least recently used.

use std::sync::atomic::Ordering::Relaxed;

use super::list::Lists;
use super::{ARMED, Entries, Policy, Token};

/// Evicts the least recently used entry, exactly: every hit moves its entry, but for repeated hits of one entry. The cache
/// tells of hits in their order, but later: before the order is asked for.
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

    /// All marks are armed but that of the newest entry, whose hits change nothing.
    fn make_newest<E: Entries>(&mut self, token: Token, entries: &E) {
        if let Some(before) = self.order.newest(0) {
            entries.mark(before).store(ARMED, Relaxed);
        }
        entries.mark(token).store(0, Relaxed);
        if self.order.list_of(token).is_some() {
            self.order.renew(0, token);
        } else {
            self.order.push(0, token);
        }
    }
}

impl Policy for Lru {
    fn mark_max(&self) -> u8 {
        0
    }

    fn reports_are_binding(&self) -> bool {
        true
    }

    fn hit<E: Entries>(&mut self, token: Token, entries: &E) {
        if self.order.list_of(token).is_some() {
            self.make_newest(token, entries);
        }
    }

    fn insert<E: Entries>(&mut self, token: Token, entries: &E) {
        if self.order.list_of(token).is_none() {
            self.make_newest(token, entries);
        }
    }

    fn victim<E: Entries>(
        &mut self,
        entries: &E,
        mut accept: impl FnMut(Token) -> bool,
    ) -> Option<Token> {
        for _ in 0..self.order.len(0) {
            let oldest = self.order.oldest(0)?;
            if accept(oldest) {
                self.order.remove(oldest);
                return Some(oldest);
            }
            self.make_newest(oldest, entries);
        }
        None
    }

    fn next_victim(&self) -> Option<Token> {
        self.order.oldest(0)
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
