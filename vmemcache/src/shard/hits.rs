//! Hits that a policy with an exact order has not been told of yet, in the order in which they happened.
//!
//! ```text
//! records   | told | told | head .. written ..  being written ..  | tail: free |
//! ```
//!
//! A hit takes the next place and writes its record there, without a lock. Whoever holds the lock tells the policy of
//! all records up to the tail before it asks for an order, and before it gives a token to another entry. So nobody can see that hits
//! wait: the order that counts is that of the places.
//!
//! Each record says in one bit in which round of the ring it was written, so that old ones are told from new ones.

use crate::block::Loc;
use crate::policy::Token;
use crate::slab::MAX_LOC;
use pmem_core::sync::{Backoff, CachePadded};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::thread;
use std::time::Duration;

/// Places in the ring.
const PLACES: u64 = 128;
/// After so many hits the policy should be told, if nobody has yet.
const TOLD_AFTER: u64 = PLACES / 2;

const LOC_BITS: u32 = 31;
const ROUND: u64 = 1 << 63;
const _: () = assert!(MAX_LOC < 1 << LOC_BITS && (Token::MAX as u64) << LOC_BITS < ROUND);

#[derive(Debug)]
struct Ends {
    tail: AtomicU64,
    /// Written under the lock.
    head: AtomicU64,
}

#[derive(Debug)]
pub(crate) struct Hits {
    ends: CachePadded<Ends>,
    records: Box<[AtomicU64; PLACES as usize]>,
}

/// What the caller of [`Hits::note`] is to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Noted {
    Done,
    /// Tell the policy, if the lock is free.
    Tell,
}

/// What is written for the hit of an entry in a place.
#[inline]
fn record(place: u64, token: u32, loc: Loc) -> u64 {
    // In the first round it differs from what was never written.
    let round = if place & PLACES == 0 { ROUND } else { 0 };
    round | u64::from(token) << LOC_BITS | u64::from(loc)
}

/// Waiting for a thread that has a few instructions to go, if only it runs. Sleeps in the end: it may have a lower priority.
#[derive(Default)]
struct Pause {
    backoff: Backoff,
    made: u32,
}

impl Pause {
    fn make(&mut self) {
        self.made += 1;
        if self.made < 100 {
            self.backoff.snooze();
        } else {
            thread::sleep(Duration::from_micros(50));
        }
    }
}

impl Hits {
    pub(super) fn new() -> Hits {
        let ends = Ends { tail: AtomicU64::new(0), head: AtomicU64::new(0) };
        let records = Box::new([const { AtomicU64::new(0) }; PLACES as usize]);
        Hits { ends: CachePadded::new(ends), records }
    }

    #[inline]
    fn place(&self, place: u64) -> &AtomicU64 {
        &self.records[(place % PLACES) as usize]
    }

    /// Notes a hit, unless the entry is the newest anyway. `is_newest` says whether it is for the policy. While there is no room
    /// `tell` is called, again and again: it tells the policy if it gets the lock.
    ///
    /// Until this returns, the caller protects the entry.
    #[inline]
    pub(super) fn note(
        &self,
        token: u32,
        loc: Loc,
        is_newest: impl FnOnce() -> bool,
        tell: impl FnMut(),
    ) -> Noted {
        // In this order: the newest is then the one that it was when `tail` was loaded, or has become it since.
        let tail = self.ends.tail.load(Acquire);
        let head = self.ends.head.load(Acquire);
        let is_last = if tail == head {
            is_newest()
        } else {
            let last = tail.wrapping_sub(1);
            tail > head && self.place(last).load(Relaxed) == record(last, token, loc)
        };
        if is_last {
            return Noted::Done;
        }
        let place = self.ends.tail.fetch_add(1, AcqRel);
        if place - head >= PLACES {
            self.wait(place, tell);
        }
        self.place(place).store(record(place, token, loc), Release);
        if place % TOLD_AFTER == TOLD_AFTER - 1 { Noted::Tell } else { Noted::Done }
    }

    /// Until the place is free.
    #[cold]
    fn wait(&self, place: u64, mut tell: impl FnMut()) {
        let mut pause = Pause::default();
        // The head may have gone beyond what the caller saw, but not beyond a place that is not written.
        while place - self.ends.head.load(Acquire) >= PLACES {
            tell();
            pause.make();
        }
    }

    /// Tells of all hits that have ended, and maybe of some that are just ending. Under the lock.
    #[inline]
    pub(super) fn tell(&self, told: impl FnMut(u32, Loc)) {
        if self.ends.head.load(Relaxed) != self.ends.tail.load(Acquire) {
            self.tell_waiting(told);
        }
    }

    fn tell_waiting(&self, mut told: impl FnMut(u32, Loc)) {
        let tail = self.ends.tail.load(Acquire);
        let mut pause = Pause::default();
        // Who is writing a record needs no lock for it, and has a place, for it is the next one to be told.
        while self.tell_written(tail, &mut told) < tail {
            pause.make();
        }
    }

    /// Tells of the hits that are written, up to the first one that is not. Gives its place. Under the lock.
    fn tell_written(&self, tail: u64, mut told: impl FnMut(u32, Loc)) -> u64 {
        let mut place = self.ends.head.load(Relaxed);
        while place < tail {
            let seen = self.place(place).load(Acquire);
            if (seen & ROUND != 0) != (place & PLACES == 0) {
                break;
            }
            told((seen >> LOC_BITS) as u32 & Token::MAX, seen as Loc & MAX_LOC);
            place += 1;
        }
        self.ends.head.store(place, Release);
        place
    }

    /// As [`tell`](Self::tell), for who makes room: of some hits only, if others are not written yet. It may be the caller who
    /// writes them. Under the lock.
    pub(super) fn tell_some(&self, told: impl FnMut(u32, Loc)) {
        self.tell_written(self.ends.tail.load(Acquire), told);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pmem_core::sync::{Mutex, Rank};

    #[test]
    fn hits_are_told_in_order() {
        let hits = Hits::new();
        let (mut next, mut told) = (0, 0);
        for round in 0..50u32 {
            for _ in 0..(round * 37) % PLACES as u32 {
                hits.note(next, Token::MAX - next, || false, || unreachable!("there is room"));
                next += 1;
            }
            hits.tell(|token, loc| {
                assert_eq!((token, loc), (told, Token::MAX - told));
                told += 1;
            });
            assert_eq!(told, next);
        }
    }

    #[test]
    fn what_is_newest_is_not_noted_again() {
        let hits = Hits::new();
        let note = |token, newest| {
            hits.note(token, token + 1, || newest, || ());
        };
        // The policy's newest is the last as long as no hit waits.
        note(1, true);
        note(2, false);
        note(2, false);
        note(1, true);
        note(2, true);
        let mut told = vec![];
        hits.tell(|token, _| told.push(token));
        assert_eq!(told, [2, 1, 2]);
        note(3, true);
        hits.tell(|_, _| panic!("nothing was noted"));
    }

    #[test]
    fn who_makes_room_does_not_wait_for_its_own_record() {
        let hits = Hits::new();
        let note = |number: u64, tell: &dyn Fn()| {
            hits.note(number as u32, 1, || false, tell);
        };
        (0..PLACES).for_each(|number| note(number, &|| unreachable!("there is room")));
        let told = AtomicU64::new(0);
        let count = |_, _| {
            told.fetch_add(1, Relaxed);
        };
        note(PLACES, &|| hits.tell_some(count));
        assert_eq!(told.load(Relaxed), PLACES);
        hits.tell(|number, _| assert_eq!(u64::from(number), PLACES));
    }

    /// Each thread's hits come in its order, and none is lost, also when the ring is too small.
    #[test]
    fn threads_share_a_ring() {
        const THREADS: u32 = 4;
        let each = if cfg!(miri) { 300 } else { 100_000 };
        let hits = Hits::new();
        let seen = Mutex::new(Rank::UNRANKED, vec![0; THREADS as usize]);
        let tell = || {
            let Some(mut seen) = seen.try_lock() else { return };
            hits.tell_some(|thread, number| {
                assert_eq!(seen[thread as usize] + 1, number);
                seen[thread as usize] = number;
            });
        };
        thread::scope(|scope| {
            for thread in 0..THREADS {
                let (hits, tell) = (&hits, &tell);
                scope.spawn(move || {
                    for number in 1..=each {
                        // One thread in two is late to tell.
                        if hits.note(thread, number, || false, tell) == Noted::Tell
                            && thread % 2 == 0
                        {
                            tell();
                        }
                    }
                });
            }
        });
        tell();
        assert_eq!(seen.into_inner(), vec![each; THREADS as usize]);
    }
}
