//! What holds for every policy, and exact order against oracles.

use std::collections::HashMap;

use super::*;

/// A slab as the engine would keep it.
struct Slab {
    marks: Vec<AtomicU8>,
    bytes: Vec<u64>,
    keys: Vec<u64>,
}

impl Slab {
    fn new(len: usize) -> Self {
        let marks = (0..len).map(|_| AtomicU8::new(0)).collect();
        Self { marks, bytes: vec![1; len], keys: vec![0; len] }
    }
}

impl Entries for Slab {
    fn mark(&self, token: Token) -> &AtomicU8 {
        &self.marks[token.index() as usize]
    }

    fn bytes(&self, token: Token) -> u64 {
        self.bytes[token.index() as usize]
    }

    fn hash(&self, token: Token) -> u64 {
        mix(self.keys[token.index() as usize])
    }
}

/// SplitMix64: a fixed, well mixed function; also the generator of the tests.
fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(1);
        mix(self.0) % bound
    }
}

/// A small cache around a policy: what the engine does, without values.
struct Harness<P> {
    policy: P,
    slab: Slab,
    index: HashMap<u64, Token>,
    free: Vec<Token>,
    used: u64,
    capacity: u64,
}

impl<P: Policy> Harness<P> {
    fn new(policy: P, capacity: u64, entries: usize) -> Self {
        let free = (0..entries as u32).rev().map(Token::new).collect();
        Self { policy, slab: Slab::new(entries), index: HashMap::new(), free, used: 0, capacity }
    }

    fn get(&mut self, key: u64) -> bool {
        let Some(&token) = self.index.get(&key) else { return false };
        if touch(self.slab.mark(token), self.policy.mark_max()) {
            self.policy.hit(token, &self.slab);
        }
        true
    }

    fn evict(&mut self, accept: impl FnMut(Token) -> bool) -> Option<u64> {
        let token = self.policy.victim(&self.slab, accept)?;
        Some(self.forget(token))
    }

    fn forget(&mut self, token: Token) -> u64 {
        let key = self.slab.keys[token.index() as usize];
        assert_eq!(self.index.remove(&key), Some(token), "a token that is not in use");
        self.used -= self.slab.bytes(token);
        self.free.push(token);
        key
    }

    /// Makes space, then inserts. The evicted keys.
    fn put(&mut self, key: u64, bytes: u64) -> Vec<u64> {
        let mut evicted = Vec::new();
        while self.used + bytes > self.capacity || self.free.is_empty() {
            evicted.push(self.evict(|_| true).expect("a full cache has a victim"));
        }
        let token = self.free.pop().expect("a free token");
        self.slab.keys[token.index() as usize] = key;
        self.slab.bytes[token.index() as usize] = bytes;
        self.index.insert(key, token);
        self.used += bytes;
        self.policy.insert(token, &self.slab);
        evicted
    }

    fn remove(&mut self, key: u64) {
        if let Some(&token) = self.index.get(&key) {
            assert!(self.policy.remove(token, &self.slab));
            assert!(!self.policy.remove(token, &self.slab), "removed twice");
            self.forget(token);
        }
    }

    fn validate(&self) {
        self.policy.validate(&self.slab);
        assert_eq!(self.policy.len(), self.index.len());
    }
}

/// Random streams of everything the engine may call, for every policy, checked all along.
#[test]
fn any_stream_keeps_the_books() {
    for &kind in Kind::ALL {
        for seed in 0..if cfg!(miri) { 1 } else { 40 } {
            let mut random = Random(seed << 32);
            let capacity = 1 + random.below(60);
            let largest = 1 + random.below(4).min(capacity - 1);
            let mut cache = Harness::new(kind.build(capacity), capacity, 64);
            for step in 0..if cfg!(miri) { 200 } else { 2000 } {
                let key = random.below(100);
                match random.below(20) {
                    0 => cache.remove(key),
                    1 => refuse_some(&mut cache, &mut random),
                    2 => {
                        cache.capacity = largest + random.below(60);
                        cache.policy.set_capacity(cache.capacity);
                    }
                    3 => resize(&mut cache, key, 1 + random.below(largest)),
                    4 => insert_twice(&mut cache, key),
                    _ => {
                        if !cache.get(key) {
                            cache.put(key, 1 + random.below(largest));
                        }
                    }
                }
                if step % 16 == 0 {
                    cache.validate();
                }
            }
            while cache.evict(|_| true).is_some() {}
            cache.validate();
            assert!(cache.index.is_empty(), "{kind}: entries that are never offered");
        }
    }
}

/// Refuses about half of the entries. Each is offered at most once; none is given although some would be accepted: never.
fn refuse_some(cache: &mut Harness<AnyPolicy>, random: &mut Random) {
    let pinned: Vec<bool> = (0..64).map(|_| random.below(2) == 0).collect();
    let is_pinned = |token: Token| pinned[token.index() as usize];
    let mut offered = Vec::new();
    let all_pinned = cache.index.values().all(|&token| is_pinned(token));
    let victim = cache.policy.victim(&cache.slab, |token| {
        assert!(!offered.contains(&token), "offered twice");
        offered.push(token);
        !is_pinned(token)
    });
    assert_eq!(victim.is_none(), all_pinned);
    if let Some(token) = victim {
        assert!(!is_pinned(token));
        cache.forget(token);
    }
}

fn resize(cache: &mut Harness<AnyPolicy>, key: u64, bytes: u64) {
    if let Some(&token) = cache.index.get(&key) {
        let old = std::mem::replace(&mut cache.slab.bytes[token.index() as usize], bytes);
        cache.used = cache.used - old + bytes;
        cache.policy.resized(token, old, bytes);
    }
}

fn insert_twice(cache: &mut Harness<AnyPolicy>, key: u64) {
    if let Some(&token) = cache.index.get(&key) {
        cache.policy.insert(token, &cache.slab);
    }
}

/// The exact orders of LRU and FIFO, against another implementation.
#[test]
fn lru_and_fifo_match_an_oracle() {
    for seed in 0..10 {
        let mut random = Random(seed << 32);
        let capacity = 1 + random.below(50);
        let mut lru = Harness::new(Lru::new(capacity), capacity, 64);
        let mut fifo = Harness::new(Fifo::new(capacity), capacity, 64);
        let mut recent = ::lru::LruCache::unbounded();
        let mut queue = std::collections::VecDeque::new();
        for _ in 0..2000 {
            let key = random.below(100);
            match random.below(10) {
                0 => {
                    lru.remove(key);
                    recent.pop(&key);
                    fifo.remove(key);
                    queue.retain(|&k| k != key);
                }
                _ => {
                    assert_eq!(lru.get(key), recent.get(&key).is_some());
                    if !recent.contains(&key) {
                        let evicted = lru.put(key, 1);
                        let full = recent.len() as u64 == capacity;
                        let expected = if full { recent.pop_lru().map(|(k, ())| k) } else { None };
                        assert_eq!(evicted, Vec::from_iter(expected));
                        recent.put(key, ());
                    }
                    if !fifo.get(key) {
                        let full = queue.len() as u64 == capacity;
                        let expected = if full { queue.pop_front() } else { None };
                        assert_eq!(fifo.put(key, 1), Vec::from_iter(expected));
                        queue.push_back(key);
                    }
                }
            }
        }
    }
}

#[test]
fn a_mark_saturates() {
    let mark = AtomicU8::new(0);
    for expected in [1, 2, 3, 3, 3] {
        assert!(!touch(&mark, 3));
        assert_eq!(mark.load(Relaxed), expected);
    }
    assert!(!touch(&mark, 0));
    assert_eq!(mark.load(Relaxed), 3);
    mark.store(ARMED | 2, Relaxed);
    assert!(touch(&mark, 3));
    assert!(touch(&mark, 3));
    assert_eq!(mark.load(Relaxed), ARMED | 3);
}

#[test]
fn names_lead_back_to_kinds() {
    for &kind in Kind::ALL {
        assert_eq!(kind.name().parse(), Ok(kind));
        assert_eq!(kind.name().to_uppercase().parse(), Ok(kind));
    }
    let error = "mru".parse::<Kind>().unwrap_err().to_string();
    assert!(error.contains("\"mru\"") && error.contains("lru"), "{error}");
}

/// Makes the same requests of a policy and of a plain re-implementation of its definition.
fn match_model<P: Policy, M: Model>(new: impl Fn(u64) -> P, model: impl Fn(usize) -> M) {
    for seed in 0..20 {
        let mut random = Random(seed << 32);
        let capacity = 1 + random.below(50);
        let mut cache = Harness::new(new(capacity), capacity, 64);
        let mut model = model(capacity as usize);
        for _ in 0..if cfg!(miri) { 200 } else { 3000 } {
            // Some keys are more popular than others.
            let popular = 10 + random.below(90);
            let key = random.below(popular);
            if random.below(20) == 0 {
                cache.remove(key);
                model.remove(key);
            } else {
                let evicted = if cache.get(key) { None } else { Some(cache.put(key, 1)) };
                assert_eq!(evicted, model.request(key), "key {key}, capacity {capacity}");
            }
        }
    }
}

trait Model {
    /// None if the key is there; if not, it comes in, and the keys that leave are returned.
    fn request(&mut self, key: u64) -> Option<Vec<u64>>;
    fn remove(&mut self, key: u64);
}

/// Keys from the oldest to the newest, with their marks.
type Marked = Vec<(u64, u8)>;

fn mark_if_there(keys: &mut Marked, key: u64, max: u8) -> bool {
    let found = keys.iter_mut().find(|entry| entry.0 == key);
    found.map(|entry| entry.1 = max.min(entry.1 + 1)).is_some()
}

#[test]
fn clock_matches_its_definition() {
    struct Ring(usize, Marked);
    impl Model for Ring {
        fn request(&mut self, key: u64) -> Option<Vec<u64>> {
            if mark_if_there(&mut self.1, key, 1) {
                return None;
            }
            let mut evicted = Vec::new();
            while self.1.len() == self.0 {
                match self.1.remove(0) {
                    (key, 0) => evicted.push(key),
                    (key, _) => self.1.push((key, 0)),
                }
            }
            self.1.push((key, 0));
            Some(evicted)
        }
        fn remove(&mut self, key: u64) {
            self.1.retain(|entry| entry.0 != key);
        }
    }
    match_model(Clock::new, |capacity| Ring(capacity, Vec::new()));
}

#[test]
fn sieve_matches_its_definition() {
    /// With the hand as a position.
    struct Queue(usize, Marked, usize);
    impl Model for Queue {
        fn request(&mut self, key: u64) -> Option<Vec<u64>> {
            let Self(capacity, keys, hand) = self;
            if mark_if_there(keys, key, 1) {
                return None;
            }
            let mut evicted = Vec::new();
            while keys.len() == *capacity {
                if *hand == keys.len() {
                    *hand = 0;
                }
                if keys[*hand].1 == 0 {
                    evicted.push(keys.remove(*hand).0);
                    // At the newest end it starts anew.
                    *hand = if *hand == keys.len() { 0 } else { *hand };
                } else {
                    keys[*hand].1 = 0;
                    *hand = (*hand + 1) % keys.len();
                }
            }
            keys.push((key, 0));
            Some(evicted)
        }
        fn remove(&mut self, key: u64) {
            if let Some(at) = self.1.iter().position(|entry| entry.0 == key) {
                self.1.remove(at);
                self.2 -= usize::from(at < self.2);
                self.2 = if self.2 == self.1.len() { 0 } else { self.2 };
            }
        }
    }
    match_model(Sieve::new, |capacity| Queue(capacity, Vec::new(), 0));
}

/// With an exact list of ghosts, in place of the table. The keys are few, so the table takes none for another here.
#[test]
fn s3_fifo_matches_its_definition() {
    struct Queues {
        capacity: usize,
        small: Marked,
        main: Marked,
        ghosts: Vec<u64>,
    }
    impl Queues {
        fn evict(&mut self) -> Option<u64> {
            if self.main.is_empty() || self.small.len() >= self.capacity.div_ceil(10).max(1) {
                let (key, mark) = self.small.remove(0);
                if mark >= 2 {
                    self.main.push((key, 0));
                    return None;
                }
                self.ghosts.push(key);
                return Some(key);
            }
            let (key, mark) = self.main.remove(0);
            if mark > 0 {
                self.main.push((key, mark - 1));
                return None;
            }
            Some(key)
        }
    }
    impl Model for Queues {
        fn request(&mut self, key: u64) -> Option<Vec<u64>> {
            if mark_if_there(&mut self.small, key, 3) || mark_if_there(&mut self.main, key, 3) {
                return None;
            }
            let mut evicted = Vec::new();
            while self.small.len() + self.main.len() == self.capacity {
                evicted.extend(self.evict());
            }
            let known = self.ghosts.contains(&key);
            self.ghosts.retain(|&ghost| ghost != key);
            if known {
                self.main.push((key, 0))
            } else {
                self.small.push((key, 0))
            }
            Some(evicted)
        }
        fn remove(&mut self, key: u64) {
            self.small.retain(|entry| entry.0 != key);
            self.main.retain(|entry| entry.0 != key);
        }
    }
    // A ghost list of the right length is approximate in the table, so only its start is compared: until it is full.
    for capacity in [10, 20, 40] {
        let mut cache = Harness::new(S3Fifo::new(capacity), capacity, 64);
        let mut model =
            Queues { capacity: capacity as usize, small: vec![], main: vec![], ghosts: vec![] };
        let mut random = Random(capacity);
        let mut evictions = 0;
        while evictions < capacity / 2 {
            let popular = 10 + random.below(90);
            let key = random.below(popular);
            let evicted = if cache.get(key) { None } else { Some(cache.put(key, 1)) };
            evictions += evicted.as_ref().map_or(0, |evicted| evicted.len() as u64);
            assert_eq!(evicted, model.request(key), "key {key}, capacity {capacity}");
        }
    }
}
