//! SIEVE: a hand that moves from old to new entries and takes the first one without a hit.

use std::sync::atomic::Ordering::Relaxed;

use super::list::Lists;
use super::{Entries, Policy, Token};

/// Like CLOCK, but entries keep their place when they are spared, so that new ones are looked at soon: quick demotion
/// with one list. Good on web work; not scan resistant.
///
/// Y. Zhang et al., "SIEVE is Simpler than LRU", NSDI 2024.
#[derive(Debug)]
pub struct Sieve {
    queue: Lists<1>,
    /// The next one to look at; none stands for the oldest.
    hand: Option<Token>,
}

impl Sieve {
    /// An empty one. The capacity does not matter to it.
    pub fn new(_capacity: u64) -> Self {
        Self { queue: Lists::new(), hand: None }
    }
}

impl Policy for Sieve {
    fn mark_max(&self) -> u8 {
        1
    }

    fn insert<E: Entries>(&mut self, token: Token, entries: &E) {
        if self.queue.list_of(token).is_none() {
            entries.mark(token).store(0, Relaxed);
            self.queue.push(0, token);
        }
    }

    fn victim<E: Entries>(
        &mut self,
        entries: &E,
        mut accept: impl FnMut(Token) -> bool,
    ) -> Option<Token> {
        let mut refusals = self.queue.len(0);
        while refusals > 0 {
            let at = self.hand.or_else(|| self.queue.oldest(0))?;
            self.hand = self.queue.newer(at);
            let mark = entries.mark(at);
            if mark.load(Relaxed) > 0 {
                mark.store(0, Relaxed);
            } else if accept(at) {
                self.queue.remove(at);
                return Some(at);
            } else {
                mark.store(1, Relaxed);
                refusals -= 1;
            }
        }
        None
    }

    fn remove<E: Entries>(&mut self, token: Token, _entries: &E) -> bool {
        if self.hand == Some(token) {
            self.hand = self.queue.newer(token);
        }
        self.queue.remove(token).is_some()
    }

    fn len(&self) -> usize {
        self.queue.len(0)
    }

    fn memory(&self) -> usize {
        self.queue.memory()
    }

    fn validate<E: Entries>(&self, _entries: &E) {
        self.queue.validate();
        if let Some(hand) = self.hand {
            assert_eq!(self.queue.list_of(hand), Some(0), "the hand points outside");
        }
    }
}
