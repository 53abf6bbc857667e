//! How old entries are when they are evicted, from a sample: one token in 2^n has a time, with n as small as a page allows. Tokens
//! are used again by whatever comes in, so the entries that have them are as good as drawn by lot.

use crate::events::Cause;
use std::time::{Duration, Instant};

const SAMPLES: usize = 512;

/// The ages of one space. Under the lock.
#[derive(Debug)]
pub(crate) struct Ages {
    started: Instant,
    /// One token in 2^`shift` is in the sample.
    shift: u32,
    /// When its entry came in, in microseconds since `started`.
    births: Box<[u64; SAMPLES]>,
    /// A moving mean in microseconds.
    tail: Option<u64>,
}

impl Ages {
    pub(crate) fn new() -> Ages {
        Ages { started: Instant::now(), shift: 0, births: Box::new([0; SAMPLES]), tail: None }
    }

    /// An entry came in, got a new value, or was used in an exact order.
    #[inline]
    pub(crate) fn born(&mut self, token: u32) {
        if self.is_sampled(token) {
            self.born_at(token, self.now());
        }
    }

    /// An entry leaves.
    #[inline]
    pub(crate) fn left(&mut self, token: u32, cause: Cause) {
        if self.is_sampled(token) && matches!(cause, Cause::Capacity | Cause::Quota) {
            self.left_at(token, self.now());
        }
    }

    /// The age that evicted entries had lately.
    pub(crate) fn tail(&self) -> Option<Duration> {
        self.tail.map(Duration::from_micros)
    }

    fn is_sampled(&self, token: u32) -> bool {
        token.trailing_zeros() >= self.shift
    }

    #[cold]
    fn now(&self) -> u64 {
        self.started.elapsed().as_micros() as u64
    }

    fn born_at(&mut self, token: u32, now: u64) {
        while (token >> self.shift) as usize >= SAMPLES {
            for at in 1..SAMPLES / 2 {
                self.births[at] = self.births[2 * at];
            }
            self.shift += 1;
        }
        if self.is_sampled(token) {
            self.births[(token >> self.shift) as usize] = now;
        }
    }

    fn left_at(&mut self, token: u32, now: u64) {
        let age = now.saturating_sub(self.births[(token >> self.shift) as usize]);
        self.tail = Some(self.tail.map_or(age, |tail| (tail * 7 + age) / 8));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ring of tokens, as first in first out has it: each entry is as old as there are entries.
    #[test]
    fn entries_of_a_ring_are_as_old_as_it_is_long() {
        for entries in [1, 100, 512, 513, 100_000] {
            let mut ages = Ages::new();
            let mut now = 5;
            for token in 0..entries {
                ages.born_at(token, now);
                now += 1;
            }
            assert_eq!(ages.tail(), None);
            let sampled = (0..entries).filter(|&token| ages.is_sampled(token)).count();
            assert!((SAMPLES / 2..=SAMPLES).contains(&sampled) || sampled == entries as usize);
            for token in (0..3 * entries).map(|n| n % entries) {
                if ages.is_sampled(token) {
                    ages.left_at(token, now);
                    ages.born_at(token, now);
                    assert_eq!(ages.tail(), Some(Duration::from_micros(entries.into())));
                }
                now += 1;
            }
        }
    }

    #[test]
    fn only_what_has_to_leave_counts() {
        let mut ages = Ages::new();
        ages.born(0);
        for cause in Cause::ALL {
            let counts = matches!(cause, Cause::Capacity | Cause::Quota);
            ages.tail = None;
            ages.left(0, cause);
            assert_eq!(ages.tail.is_some(), counts, "{cause:?}");
        }
    }
}
