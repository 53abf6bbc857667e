//! The caches: ours and the others, behind one interface.

use std::sync::{Arc, Mutex, PoisonError};

use vmemcache::policy::Kind;
use vmemcache_bench::random::mix;

/// Bytes of a value.
pub const VALUE_BYTES: usize = 1024;

/// A cache of values of 1 KiB.
pub trait Peer: Send + Sync {
    /// Looks for a key, and reads a byte of the value through whatever keeps it alive.
    fn get(&self, key: u64) -> bool;

    /// Stores a copy of the value.
    fn put(&self, key: u64, value: &[u8; VALUE_BYTES]);
}

/// Makes a cache with room for a number of values.
pub type Make = fn(usize) -> Box<dyn Peer>;

/// All caches; ours is the first.
pub const ALL: &[(&str, Make)] = &[
    ("vmemcache", |entries| Ours::make(entries, Kind::Adaptive)),
    ("vmemcache lru", |entries| Ours::make(entries, Kind::Lru)),
    ("quick_cache", |entries| Box::new(quick_cache::sync::Cache::<u64, Handle>::new(entries))),
    ("quick_cache, copied", |entries| Box::new(Copied(quick_cache::sync::Cache::new(entries)))),
    ("moka", |entries| Box::new(moka::sync::Cache::<u64, Handle>::new(entries as u64))),
    ("mini-moka", |entries| Box::new(mini_moka::sync::Cache::<u64, Handle>::new(entries as u64))),
    ("foyer s3-fifo", |entries| foyer(entries, foyer_memory::S3FifoConfig::default())),
    ("foyer lru", |entries| foyer(entries, foyer_memory::LruConfig::default())),
    ("lru, 1 mutex", |entries| Locked::make(entries, 1)),
    ("lru, 64 mutexes", |entries| Locked::make(entries, 64)),
];

/// What the peers keep: a counted pointer, so that a hit copies nothing.
type Handle = Arc<[u8; VALUE_BYTES]>;

fn read(value: &[u8]) -> bool {
    std::hint::black_box(value[0]);
    true
}

struct Ours(vmemcache::Cache);

impl Ours {
    fn make(entries: usize, kind: Kind) -> Box<dyn Peer> {
        // Key, value and header, and what a cache of several shards keeps free.
        let bytes = entries * (VALUE_BYTES + 8 + 8);
        let builder = vmemcache::Cache::builder().size(bytes + bytes / 256).policy(kind);
        Box::new(Self(builder.anonymous().expect("memory for the pool")))
    }
}

impl Peer for Ours {
    fn get(&self, key: u64) -> bool {
        self.0.get(&key.to_le_bytes()).is_some_and(|value| match value.as_slice() {
            Some(slice) => read(slice),
            None => value.slices().next().is_some_and(read),
        })
    }

    fn put(&self, key: u64, value: &[u8; VALUE_BYTES]) {
        self.0.put(&key.to_le_bytes(), value).expect("the cache makes space");
    }
}

impl Peer for quick_cache::sync::Cache<u64, Handle> {
    fn get(&self, key: u64) -> bool {
        quick_cache::sync::Cache::get(self, &key).is_some_and(|value| read(&value[..]))
    }

    fn put(&self, key: u64, value: &[u8; VALUE_BYTES]) {
        self.insert(key, Arc::new(*value));
    }
}

/// Its values are copied, as a C program gets them from libvmemcache.
struct Copied(quick_cache::sync::Cache<u64, Handle>);

impl Peer for Copied {
    fn get(&self, key: u64) -> bool {
        let mut buffer = [0; VALUE_BYTES];
        let found = self.0.get(&key).is_some_and(|value| {
            buffer.copy_from_slice(&value[..]);
            true
        });
        std::hint::black_box(&mut buffer);
        found
    }

    fn put(&self, key: u64, value: &[u8; VALUE_BYTES]) {
        self.0.insert(key, Arc::new(*value));
    }
}

impl Peer for moka::sync::Cache<u64, Handle> {
    fn get(&self, key: u64) -> bool {
        moka::sync::Cache::get(self, &key).is_some_and(|value| read(&value[..]))
    }

    fn put(&self, key: u64, value: &[u8; VALUE_BYTES]) {
        self.insert(key, Arc::new(*value));
    }
}

impl Peer for mini_moka::sync::Cache<u64, Handle> {
    fn get(&self, key: u64) -> bool {
        mini_moka::sync::Cache::get(self, &key).is_some_and(|value| read(&value[..]))
    }

    fn put(&self, key: u64, value: &[u8; VALUE_BYTES]) {
        self.insert(key, Arc::new(*value));
    }
}

struct Foyer(foyer_memory::Cache<u64, Handle>);

fn foyer(entries: usize, policy: impl Into<foyer_memory::EvictionConfig>) -> Box<dyn Peer> {
    Box::new(Foyer(foyer_memory::CacheBuilder::new(entries).with_eviction_config(policy).build()))
}

impl Peer for Foyer {
    fn get(&self, key: u64) -> bool {
        self.0.get(&key).is_some_and(|entry| read(&entry.value()[..]))
    }

    fn put(&self, key: u64, value: &[u8; VALUE_BYTES]) {
        self.0.insert(key, Arc::new(*value));
    }
}

struct Locked(Vec<Mutex<lru::LruCache<u64, Handle>>>);

impl Locked {
    fn make(entries: usize, parts: usize) -> Box<dyn Peer> {
        let room = (entries / parts).max(1).try_into().expect("at least one");
        Box::new(Self((0..parts).map(|_| Mutex::new(lru::LruCache::new(room))).collect()))
    }

    fn part(&self, key: u64) -> std::sync::MutexGuard<'_, lru::LruCache<u64, Handle>> {
        let part = mix(key) as usize % self.0.len();
        self.0[part].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Peer for Locked {
    fn get(&self, key: u64) -> bool {
        let value = self.part(key).get(&key).cloned();
        value.is_some_and(|value| read(&value[..]))
    }

    fn put(&self, key: u64, value: &[u8; VALUE_BYTES]) {
        self.part(key).put(key, Arc::new(*value));
    }
}
