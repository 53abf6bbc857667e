//! The default policy. See [`Adaptive`].

use std::sync::atomic::Ordering::Relaxed;

use self::shadows::Shadows;
use self::windowed::{Split, Windowed};
use super::{ARMED, COUNT, Entries, Policy, Token, spread};

mod shadows;
mod windowed;

/// S3-FIFO's queues, with an admission test by time and a window whose share is found by experiment.
///
/// # The queues
///
/// New entries go into the *window*, which has a share of the capacity, in two halves. At the end of each half an entry
/// that was hit in it goes round once more, from the start; one that was not hit goes on to the older half, and at its end it
/// is evicted and leaves a *ghost*: a few bits that tell that this key was here, and when. A
/// key that comes back while its ghost is known may go into the *main* queue, which has the rest of the capacity.
/// There, entries that were hit go round, losing one of at most three counted hits each time.
///
/// A hit in the window alone does not lead to the main queue (but to fill it): hits that follow closely on the first
/// use say little about later ones.
///
/// # The admission test
///
/// A key that comes back goes into the main queue only if it was away for a shorter time than the main queue's oldest
/// entry has gone without a look, which is the time of the queue's last round. Otherwise it would displace
/// entries that are, as far as anybody knows, used as often as it is. This is the idea of LIRS, and it replaces a fixed
/// number of ghosts: a loop that is larger than the cache keeps a fixed part of itself in the main queue, and is not
/// replaced by the rest of it.
///
/// # The share of the window
///
/// No share is right everywhere. Almost none suits loops and independent references, a tenth or more suits objects that
/// are used in bursts, and with all of the capacity the policy is a CLOCK of two generations, hence close to LRU, which is best where
/// each key is used a few times and never again. So four miniatures of the policy with shares of 1, 10, 40 and 100 per
/// cent run beside it, on a sample of the keys, as caches of as many entries as the sample's part of the real one
/// ("miniature simulation": C. Waldspurger et al., USENIX ATC 2017). All four see the same requests, so their hits can be
/// compared; the share of the one with most hits lately becomes that of the real window.
///
/// A change needs an advantage of half a point in the hit ratio and a few hits more, so that noise does not lead to
/// changes; one of less is not worth the entries that are lost by it. A fifth miniature changes its share with the real cache:
/// where its hits are fewer than those of the one with 100 per cent, earlier changes were no good, and a quarter of the difference is
/// asked of the next one besides. The counts remember a few turnovers of the sample.
/// A new cache begins with all of its capacity as window, that is as LRU, and leaves that when there is
/// evidence. None of these numbers is taken from a trace: the shares are spread over the whole range, and
/// the rest is the accuracy that is wanted.
///
/// # Seeing hits without a lock
///
/// A hit writes to its entry's mark, which says nothing about time. The miniatures need more: so the marks of entries in
/// the sample are armed, and their next hit is reported. Then they stay quiet until a 64th of the cache has
/// been replaced: hits at shorter intervals are hits in all four. A popular key thus costs one report in this time.
///
/// # Memory
///
/// Per entry: 4 bytes in a queue, 1 of state, 2.7 for ghosts, besides the mark. The miniatures take about 37 KiB in all.
///
/// # Changes
///
/// When the window becomes smaller, entries that were ever hit in it move to the main queue as they come to its end, until that is
/// full; when it becomes larger, those that are hit in the main queue move to the window. Otherwise a change would cost a large part of
/// what the cache holds.
#[derive(Debug)]
pub struct Adaptive {
    capacity: u64,
    /// The window's share of the capacity, in per cent.
    share: u32,
    split: Split,
    queues: Windowed,
    shadows: Option<Box<Shadows>>,
}

impl Adaptive {
    /// An empty one.
    pub fn new(capacity: u64) -> Self {
        let share = shadows::SHARES[shadows::FIRST];
        let split = Split::new(capacity, share);
        Self { capacity, share, split, queues: Windowed::new(), shadows: None }
    }

    /// The share of the window at present, in per cent.
    pub fn window_percent(&self) -> u32 {
        self.share
    }

    /// Makes the miniatures, or makes them anew when the number of entries has become another.
    fn fit_shadows(&mut self) {
        // Often enough for something that happens when the number has changed by a quarter.
        if self.shadows.is_some() && !self.queues.now().is_multiple_of(64) {
            return;
        }
        let used = self.queues.bytes();
        // Before the cache is full, so that they are filled with it. An eighth of it tells the usual size of an entry.
        if used < self.capacity / 8 {
            return;
        }
        let when_full = u128::from(self.capacity) * self.len() as u128 / u128::from(used.max(1));
        let entries = (when_full as usize).max(self.len());
        if self.shadows.as_ref().is_none_or(|shadows| !shadows.fit(entries)) {
            self.shadows = Some(Box::new(Shadows::new(entries, self.share)));
        }
    }

    /// Runs a request through the miniatures if its key is in their sample. Whether it is.
    fn sample(&mut self, hash: u64) -> bool {
        let Some(shadows) = &mut self.shadows else { return false };
        let sampled = shadows.has(hash);
        if sampled && let Some(share) = shadows.request(hash) {
            self.share = share;
            self.split = Split::new(self.capacity, share);
        }
        sampled
    }
}

impl Policy for Adaptive {
    fn mark_max(&self) -> u8 {
        windowed::MARK_MAX
    }

    fn expect(&self, hash: u64) {
        self.queues.expect(spread(hash));
    }

    fn hit<E: Entries>(&mut self, token: Token, entries: &E) {
        let mark = entries.mark(token);
        if !self.queues.is_flagged(token) || mark.load(Relaxed) & ARMED == 0 {
            return;
        }
        mark.store(mark.load(Relaxed) & COUNT, Relaxed);
        if self.sample(spread(entries.hash(token))) {
            let now = self.queues.now();
            self.shadows.as_mut().expect("there is a sample").rest(token, now);
        } else {
            self.queues.set_flag(token, false);
        }
    }

    fn insert<E: Entries>(&mut self, token: Token, entries: &E) {
        if self.queues.is_tracked(token) {
            return;
        }
        let hash = spread(entries.hash(token));
        self.fit_shadows();
        let sampled = self.sample(hash);
        entries.mark(token).store(0, Relaxed);
        self.queues.insert(token, hash, entries, &self.split);
        // Before there are miniatures, all that is known of their sample is that it will be part of this one.
        let flag = sampled || (self.shadows.is_none() && shadows::may_be_sampled(hash));
        self.queues.set_flag(token, flag);
        entries.mark(token).store(if sampled { ARMED } else { 0 }, Relaxed);

        let now = self.queues.now();
        if let Some(shadows) = &mut self.shadows {
            while let Some(rested) = shadows.rested(now) {
                if self.queues.is_flagged(rested) {
                    entries.mark(rested).fetch_or(ARMED, Relaxed);
                }
            }
        }
    }

    fn victim<E: Entries>(
        &mut self,
        entries: &E,
        accept: impl FnMut(Token) -> bool,
    ) -> Option<Token> {
        self.queues.victim(entries, &self.split, accept)
    }

    fn remove<E: Entries>(&mut self, token: Token, entries: &E) -> bool {
        self.queues.remove(token, entries.bytes(token))
    }

    fn resized(&mut self, token: Token, old: u64, new: u64) {
        self.queues.resized(token, old, new);
    }

    fn set_capacity(&mut self, bytes: u64) {
        self.capacity = bytes;
        self.split = Split::new(bytes, self.share);
    }

    fn len(&self) -> usize {
        self.queues.len()
    }

    fn memory(&self) -> usize {
        self.queues.memory() + self.shadows.as_ref().map_or(0, |shadows| shadows.memory())
    }

    fn validate<E: Entries>(&self, entries: &E) {
        self.queues.validate(entries);
        if let Some(shadows) = &self.shadows {
            shadows.validate();
        }
    }
}
