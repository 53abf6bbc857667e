//! Miniatures of the policy with different windows, and which of them does best.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering::Relaxed;

use super::windowed::{MARK_MAX, Split, Windowed};
use crate::policy::{Entries, Token, spread, touch};

/// Shares of the window in per cent.
pub(super) const SHARES: [u32; 4] = [1, 10, 40, 100];
/// The one to begin with: all of the capacity, so that nothing is lost against LRU before there is evidence.
pub(super) const FIRST: usize = 3;

/// Entries of a miniature, at most and (but for smaller caches) at least. Hits of a sample of that many differ from those
/// of the whole, but alike for all miniatures.
const SAMPLE_MAX: usize = 256;
const SAMPLE_MIN: usize = 128;
/// Of how many entries the sample is one, if it can be as few.
const SAMPLE_ONE_IN: usize = 8;

/// Requests that the counts remember, in entries of a miniature.
const HORIZON: f64 = 8.0;
/// The advantage, as part of the requests, that leads to another share: the accuracy that is wanted.
const ADVANTAGE: f64 = 0.005;
/// Hits more or less that say nothing, for there are that many by chance.
const NOISE: f64 = 6.0;
/// How much of what earlier changes have cost against LRU is asked of the next one, besides. All of it would keep caches from
/// changes that they need.
const CAUTION: f64 = 0.25;
/// For what part of a turnover an entry of the sample is quiet after its hit was reported.
const REST: u32 = 64;

/// The part of the hash that chooses the sample. Other bits tell ghosts apart.
fn sample_bits(hash: u64) -> u32 {
    (hash >> 11) as u32 & 0xf_ffff
}

/// Whether a key may be in the sample of a cache of which nothing is known.
pub(super) fn may_be_sampled(hash: u64) -> bool {
    sample_bits(hash).is_multiple_of(SAMPLE_ONE_IN as u32)
}

#[derive(Debug)]
pub(super) struct Shadows {
    /// One in so many keys is in the sample, a power of two.
    one_in: u32,
    made_for: usize,
    miniatures: [Miniature; SHARES.len()],
    /// Hits of each miniature and requests, the older the less.
    hits: [f64; SHARES.len()],
    requests: f64,
    remember: f64,
    current: usize,
    /// A miniature whose window changes with that of the real cache, so that it bears the cost of changes.
    own: Miniature,
    /// Hits of the one that is like LRU beyond those of `own`, the older the less.
    debt: f64,
    /// Entries whose marks are not armed, and since when.
    resting: VecDeque<(Token, u32)>,
}

impl Shadows {
    /// For a cache of so many entries whose window has this share now.
    pub(super) fn new(entries: usize, share: u32) -> Self {
        let wanted = (entries / SAMPLE_ONE_IN).clamp(SAMPLE_MIN, SAMPLE_MAX);
        let one_in = (entries / wanted).max(1);
        let one_in = if one_in.is_power_of_two() { one_in } else { one_in.next_power_of_two() / 2 };
        let size = (entries / one_in).max(1);
        let current = SHARES.iter().position(|&s| s == share).unwrap_or(FIRST);
        Self {
            one_in: one_in as u32,
            made_for: entries,
            miniatures: SHARES.map(|share| Miniature::new(size, share)),
            hits: [0.0; SHARES.len()],
            requests: 0.0,
            remember: 1.0 - 1.0 / (HORIZON * size as f64),
            current,
            own: Miniature::new(size, SHARES[current]),
            debt: 0.0,
            resting: VecDeque::new(),
        }
    }

    /// Whether they still suit a cache of so many entries.
    pub(super) fn fit(&self, entries: usize) -> bool {
        entries <= self.made_for + self.made_for / 4 && entries >= self.made_for / 2
    }

    pub(super) fn has(&self, hash: u64) -> bool {
        sample_bits(hash) & (self.one_in - 1) == 0
    }

    /// A request for a key of the sample. The share to use from now on, if it is another one.
    pub(super) fn request(&mut self, hash: u64) -> Option<u32> {
        let id = (hash >> 32) as u32;
        self.requests = self.requests * self.remember + 1.0;
        let hit = |miniature: &mut Miniature| f64::from(u8::from(miniature.request(id)));
        let now = self.miniatures.each_mut().map(hit);
        for (hits, now) in self.hits.iter_mut().zip(now) {
            *hits = *hits * self.remember + now;
        }
        let behind_lru = now[FIRST] - hit(&mut self.own);
        self.debt = (self.debt * self.remember + behind_lru).max(0.0);
        let best = (0..SHARES.len()).max_by(|&a, &b| self.hits[a].total_cmp(&self.hits[b]))?;
        let advantage = self.hits[best] - self.hits[self.current];
        if advantage > ADVANTAGE * self.requests + NOISE + CAUTION * self.debt {
            self.current = best;
            self.own.set_share(SHARES[best]);
            return Some(SHARES[best]);
        }
        None
    }

    /// The entry's hit was reported: it is not to be armed for a while.
    pub(super) fn rest(&mut self, token: Token, now: u32) {
        self.resting.push_back((token, now));
    }

    /// One that has rested long enough.
    pub(super) fn rested(&mut self, now: u32) -> Option<Token> {
        let &(token, since) = self.resting.front()?;
        if now.wrapping_sub(since) < self.made_for as u32 / REST {
            return None;
        }
        self.resting.pop_front();
        Some(token)
    }

    pub(super) fn memory(&self) -> usize {
        let miniatures: usize = self.all().map(Miniature::memory).sum();
        size_of::<Self>() + miniatures + self.resting.capacity() * size_of::<(Token, u32)>()
    }

    pub(super) fn validate(&self) {
        self.all().for_each(Miniature::validate);
    }

    fn all(&self) -> impl Iterator<Item = &Miniature> {
        self.miniatures.iter().chain([&self.own])
    }
}

/// A cache of unit sizes without values.
#[derive(Debug)]
struct Miniature {
    split: Split,
    queues: Windowed,
    slab: Slab,
    index: HashMap<u32, Token, BuildHasherDefault<AsItIs>>,
    /// Slots of the slab that never were in use start here.
    fresh: u32,
}

#[derive(Debug)]
struct Slab {
    ids: Vec<u32>,
    marks: Vec<AtomicU8>,
}

impl Entries for Slab {
    fn mark(&self, token: Token) -> &AtomicU8 {
        &self.marks[token.index() as usize]
    }

    fn bytes(&self, _token: Token) -> u64 {
        1
    }

    fn hash(&self, token: Token) -> u64 {
        u64::from(self.ids[token.index() as usize])
    }
}

impl Miniature {
    fn new(size: usize, share: u32) -> Self {
        let mut slab = Slab { ids: Vec::with_capacity(size), marks: Vec::with_capacity(size) };
        slab.ids.resize(size, 0);
        slab.marks.resize_with(size, AtomicU8::default);
        let index = HashMap::with_capacity_and_hasher(size, BuildHasherDefault::default());
        Self {
            split: Split::new(size as u64, share),
            queues: Windowed::new(),
            slab,
            index,
            fresh: 0,
        }
    }

    fn set_share(&mut self, share: u32) {
        self.split = Split::new(self.slab.ids.len() as u64, share);
    }

    /// Whether it is a hit; if not, the key comes in.
    fn request(&mut self, id: u32) -> bool {
        if let Some(&token) = self.index.get(&id) {
            touch(self.slab.mark(token), MARK_MAX);
            return true;
        }
        let token = if (self.fresh as usize) < self.slab.ids.len() {
            self.fresh += 1;
            Token::new(self.fresh - 1)
        } else {
            let victim = self.queues.victim(&self.slab, &self.split, |_| true);
            let victim = victim.expect("nothing is refused");
            self.index.remove(&self.slab.ids[victim.index() as usize]);
            victim
        };
        self.slab.ids[token.index() as usize] = id;
        self.slab.mark(token).store(0, Relaxed);
        self.index.insert(id, token);
        self.queues.insert(token, spread(u64::from(id)), &self.slab, &self.split);
        false
    }

    fn memory(&self) -> usize {
        let index = self.index.capacity() * 8 / 7 * (size_of::<(u32, Token)>() + 1);
        self.queues.memory() + self.slab.ids.capacity() * 5 + index
    }

    fn validate(&self) {
        self.queues.validate(&self.slab);
        assert_eq!(self.index.len(), self.queues.len());
        assert_eq!(self.index.len(), self.fresh as usize);
    }
}

/// The keys of the index are hashes already.
#[derive(Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _bytes: &[u8]) {
        unreachable!("keys are u32");
    }

    fn write_u32(&mut self, id: u32) {
        self.0 = spread(u64::from(id));
    }
}
