//! The cache as its users see it.

mod compute;
mod many;
mod namespace;
mod raw;
mod resize;
#[cfg(test)]
mod tests;
mod watched;

use crate::block::{Header, Loc, MAX_KEY, MAX_VALUE};
use crate::builder::Builder;
use crate::clock::now_ms;
use crate::error::Error;
use crate::events::{Cause, Listener};
use crate::flight::Flights;
use crate::index::Key32;
use crate::protect;
use crate::read::{Pinned, Value};
use crate::shard::{
    Found, KeyHash, Leaving, Mode, OnLeaving, Removal, Request, SHORT, Shard, SpaceState, Stored,
};
use crate::slab::{EXPIRES, Slab};
use crate::stats::{Counters, Curve, Stats, Stopwatch, Timed, Timer, Watch};
pub use many::Entries;
pub use namespace::Namespace;
use pmem_core::sync::Backoff;
pub(crate) use resize::Pool;
pub use resize::Resized;
use std::ops::Range;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

/// A cache of byte strings whose keys and values lie in a large mapping of memory.
///
/// All threads can use it at once. A hit takes no lock and writes no memory that other threads read, unless the policy has an
/// exact order ([`Lru`](crate::policy::Lru)), or the entry's mark still rises.
#[derive(Debug)]
pub struct Cache {
    shards: Vec<Shard>,
    hash: KeyHash,
    empty_keys: bool,
    counters: Counters,
    flights: Flights,
    /// What belongs to the namespaces with names: space 1 and so on.
    named: Vec<Named>,
    listens: AtomicBool,
    listener: RwLock<Option<Hidden>>,
    stopwatch: Option<Arc<Stopwatch>>,
    curve: Option<Curve>,
    /// Whether gets are measured in any way.
    watched: bool,
    pool: Pool,
    /// The file that the cache survives in.
    file: Option<std::fs::File>,
}

impl Drop for Cache {
    fn drop(&mut self) {
        // Nobody is left to tell of a failure; what is not written is found to be incomplete.
        let _ = self.sync();
    }
}

/// A namespace with a name.
#[derive(Debug)]
struct Named {
    name: Box<str>,
    counters: Counters,
    flights: Flights,
}

/// A listener, which cannot be printed.
#[derive(Clone)]
struct Hidden(Arc<dyn Listener>);

impl std::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Listener")
    }
}

/// How long a put waits for guards of other threads when nothing else is left to evict.
const PATIENCE: Duration = Duration::from_millis(100);

/// What [`Cache::read`] has copied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Copied {
    /// Bytes in the buffer.
    pub copied: usize,
    /// Bytes of the whole value.
    pub size: usize,
}

/// How [`Cache::put`] has stored a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Put {
    /// The key is new.
    Inserted,
    /// The key had another value.
    Replaced,
}

/// Where a key belongs.
#[derive(Clone, Copy)]
struct Place<'c> {
    shard: &'c Shard,
    space: usize,
    hash: u64,
    key: Key32,
}

/// # Making one
impl Cache {
    /// Says first how the cache is to behave, and then where its values are to be.
    pub fn builder() -> Builder {
        Builder::new()
    }

    pub(crate) fn new(
        pool: Pool,
        shards: Vec<Shard>,
        hash: KeyHash,
        empty_keys: bool,
        file: Option<std::fs::File>,
        watch: Watch,
    ) -> Result<Cache, Error> {
        let Watch { stopwatch, curve } = watch;
        let named = pool.quotas.names().map(|name| {
            Ok(Named { name: name.into(), counters: Counters::new()?, flights: Flights::default() })
        });
        Ok(Cache {
            named: named.collect::<Result<_, Error>>()?,
            pool,
            file,
            shards,
            hash,
            empty_keys,
            counters: Counters::new()?,
            flights: Flights::default(),
            listens: AtomicBool::new(false),
            listener: RwLock::new(None),
            watched: stopwatch.is_some() || curve.is_some(),
            stopwatch,
            curve,
        })
    }

    /// Says who is told of evictions and misses from now on; calls that are under way may still tell the one before.
    pub fn set_listener(&self, listener: Option<Arc<dyn Listener>>) {
        let mut place = self.listener.write().unwrap_or_else(PoisonError::into_inner);
        self.listens.store(listener.is_some(), Release);
        *place = listener.map(Hidden);
    }
}

/// # Putting
impl Cache {
    /// Stores a value, in the place of the one that the key may have.
    ///
    /// # Errors
    /// [`Error::Key`], [`Error::ValueTooLarge`], [`Error::Full`].
    pub fn put(&self, key: &[u8], value: &[u8]) -> Result<Put, Error> {
        self.put_in(0, key, value, None)
    }

    /// As [`put`](Self::put); after `ttl` the entry is as good as gone.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn put_with_ttl(&self, key: &[u8], value: &[u8], ttl: Duration) -> Result<Put, Error> {
        self.put_in(0, key, value, Some(ttl))
    }

    /// Stores a value unless the key has one. Whether it did. Nothing is evicted for a key that is there.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn put_if_absent(&self, key: &[u8], value: &[u8]) -> Result<bool, Error> {
        self.put_if(0, key, value, Mode::IfAbsent)
    }

    /// Stores a value if the key has one already. Whether it did.
    ///
    /// In a full cache the old value itself may have to leave for the new one. It is replaced all the same, but other threads may
    /// find the key without a value in between.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn replace(&self, key: &[u8], value: &[u8]) -> Result<bool, Error> {
        self.put_if(0, key, value, Mode::IfPresent)
    }

    /// The longest value that a key of this length can have.
    pub fn max_value_len(&self, key_len: usize) -> u64 {
        self.max_value_len_in(0, key_len)
    }

    fn max_value_len_in(&self, space: usize, key_len: usize) -> u64 {
        let shard = &self.shards[0];
        let state = shard.lock();
        // With a time of expiry.
        let layout = shard.units.layout(Header::entry(0, 0, false, true));
        let header = (layout.key + key_len) as u64;
        let total = u64::from(state.heap.total_units());
        let most = if space == 0 { total } else { total.min(state.spaces[space].quota) };
        // Whole extents.
        let most = most - most % u64::from(shard.rules.extent);
        shard.units.bytes(most as u32).saturating_sub(header).min(MAX_VALUE)
    }

    #[inline]
    fn put_in(
        &self,
        space: usize,
        key: &[u8],
        value: &[u8],
        ttl: Option<Duration>,
    ) -> Result<Put, Error> {
        match self.store(space, key, value, Mode::Always, ttl)? {
            Answer::Inserted => Ok(Put::Inserted),
            _ => Ok(Put::Replaced),
        }
    }

    #[inline]
    fn put_if(&self, space: usize, key: &[u8], value: &[u8], mode: Mode) -> Result<bool, Error> {
        let answer = self.store(space, key, value, mode, None)?;
        Ok(matches!(answer, Answer::Inserted | Answer::Replaced))
    }

    fn store(
        &self,
        space: usize,
        key: &[u8],
        value: &[u8],
        mode: Mode,
        ttl: Option<Duration>,
    ) -> Result<Answer, Error> {
        let _timer = Timer::start(self.stopwatch.as_deref(), Timed::Put);
        let place = self.place(space, key)?;
        let expires = ttl
            .map(|ttl| now_ms().saturating_add(ttl.as_millis().min(u128::from(u64::MAX)) as u64));
        let mut request = Request {
            space: place.space,
            hash: place.hash,
            key: place.key,
            bytes: key,
            value,
            mode,
            expires,
            tell: false,
        };
        let (mut backoff, mut guarded_since) = (Backoff::new(), None);
        loop {
            request.tell = self.listens();
            match place.shard.put(&request) {
                Stored::Inserted => {
                    self.watch_put(space, key, value);
                    return Ok(Answer::Inserted);
                }
                Stored::Replaced(old) => {
                    self.watch_put(space, key, value);
                    if let Some(old) = old {
                        self.tell_replaced(place.shard, space, old);
                    }
                    return Ok(Answer::Replaced);
                }
                Stored::Exists | Stored::Missing => return Ok(Answer::Refused),
                Stored::Tell(leaving) => {
                    // The entry to replace was there, and it is the one that leaves.
                    if mode == Mode::IfPresent && leaving.is(space, key) {
                        request.mode = Mode::Always;
                    }
                    self.tell(place.shard, leaving);
                }
                Stored::Wait => backoff.snooze(),
                Stored::Guarded => {
                    let since = *guarded_since.get_or_insert_with(Instant::now);
                    if since.elapsed() > PATIENCE {
                        return Err(self.full(space, key, value));
                    }
                    backoff.snooze();
                }
                Stored::Full => return Err(self.full(space, key, value)),
            }
        }
    }

    #[cold]
    fn full(&self, space: usize, key: &[u8], value: &[u8]) -> Error {
        let (len, most) = (value.len() as u64, self.max_value_len_in(space, key.len()));
        if len > most { Error::ValueTooLarge { len, most } } else { Error::Full { len } }
    }
}

enum Answer {
    Inserted,
    Replaced,
    Refused,
}

/// # Getting
impl Cache {
    /// Finds a value and pins it.
    #[inline]
    pub fn get(&self, key: &[u8]) -> Option<Value<'_>> {
        self.get_in(0, key)
    }

    #[inline]
    fn get_in(&self, space: usize, key: &[u8]) -> Option<Value<'_>> {
        let Place { shard, key: key32, .. } = self.locate(space, key);
        if self.watched {
            let pinned = self.watched_get(space, key);
            // SAFETY: made for this key, so in this shard.
            return unsafe { Value::of(shard, pinned) };
        }
        let block = protect::block();
        let Some((block, cell)) = block.and_then(|block| Some((block, block.guard_cell()?))) else {
            let pinned = self.get_listed(space, key);
            // SAFETY: as above.
            return unsafe { Value::of(shard, pinned) };
        };
        let Some(found) = shard.find(space, key32, key, cell, SHORT) else {
            self.missed(space, key);
            return None;
        };
        if !self.is_shown(shard, space, found) {
            cell.store(0, Release);
            self.expire(shard, space, key, found);
            self.missed(space, key);
            return None;
        }
        shard.hit(space, found);
        self.counters(space).hit(Some(block));
        // SAFETY: found under the protection of the cell.
        Some(unsafe { Value::in_cell(shard, found.loc, found.header, cell) })
    }

    /// When the thread may have no cell left.
    #[cold]
    fn get_listed(&self, space: usize, key: &[u8]) -> Pinned {
        let Place { shard, key: key32, .. } = self.locate(space, key);
        let block = protect::block();
        if let Some((found, value)) = shard.pin(block, space, key32, key) {
            if self.is_shown(shard, space, found) {
                shard.hit(space, found);
                self.counters(space).hit(block);
                return value.into_pinned();
            }
            drop(value);
            self.expire(shard, space, key, found);
        }
        self.missed(space, key);
        Pinned::NOTHING
    }

    /// Copies a value from byte `offset` on into a buffer, as much as there is and fits.
    #[inline]
    pub fn read(&self, key: &[u8], buffer: &mut [u8], offset: usize) -> Option<Copied> {
        // SAFETY: the buffer has this room.
        unsafe { self.read_raw(key, buffer.as_mut_ptr(), buffer.len(), offset) }
    }

    /// As [`get`](Self::get), but counts neither as a use nor in the statistics, and tells no listener.
    pub fn peek(&self, key: &[u8]) -> Option<Value<'_>> {
        self.peek_in(0, key)
    }

    fn peek_in(&self, space: usize, key: &[u8]) -> Option<Value<'_>> {
        let place = self.locate(space, key);
        let (found, value) = place.shard.pin(protect::block(), place.space, place.key, key)?;
        self.is_shown(place.shard, space, found).then_some(value)
    }

    /// The length of a value in bytes. Counts neither as a use nor in the statistics.
    pub fn size_of(&self, key: &[u8]) -> Option<usize> {
        self.peek(key).map(|value| value.len())
    }

    /// Whether the key has a value. Counts neither as a use nor in the statistics.
    pub fn contains(&self, key: &[u8]) -> bool {
        self.size_of(key).is_some()
    }

    /// Whether a protected entry may be shown: in time, and whole.
    #[inline]
    fn is_shown(&self, shard: &Shard, space: usize, found: Found) -> bool {
        let Found { token, loc, header } = found;
        !header.is_doubtful() || Self::is_good(shard, space, token, loc, header)
    }

    #[inline(never)]
    fn is_good(shard: &Shard, space: usize, token: u32, loc: Loc, header: Header) -> bool {
        let found = Found { token, loc, header };
        // SAFETY: protected by the caller.
        unsafe {
            shard.expiry(found).is_none_or(|at| at > now_ms()) && shard.is_proven(space, found)
        }
    }

    /// Removes an entry that was found to be over.
    #[cold]
    fn expire(&self, shard: &Shard, space: usize, key: &[u8], found: Found) {
        if found.header.expires() {
            self.watch_removal(space, key);
            let same = |loc| loc == found.loc;
            let removal = shard.remove_at(space, found.token, Cause::Expired, self.listens(), same);
            self.finish(shard, removal);
        }
    }

    #[cold]
    fn missed(&self, space: usize, key: &[u8]) {
        self.counters(space).miss();
        if let Some(listener) = self.listener() {
            listener.on_miss_in(self.name(space), key);
        }
    }
}

/// # Removing
impl Cache {
    /// Removes an entry. False when the key has none; true also when another thread, or a listener's call around this one, is
    /// just removing it.
    pub fn remove(&self, key: &[u8]) -> bool {
        self.remove_in(0, key)
    }

    fn remove_in(&self, space: usize, key: &[u8]) -> bool {
        self.remove_with(space, key, OnLeaving::TakeOut)
    }

    fn remove_with(&self, space: usize, key: &[u8], on_leaving: OnLeaving) -> bool {
        let place = self.locate(space, key);
        self.watch_removal(space, key);
        let (shard, tell) = (place.shard, self.listens());
        self.finish(
            shard,
            shard.remove(place.space, place.key, key, Cause::Explicit, tell, on_leaving),
        )
    }

    /// Removes the entry that would leave next if space were needed. False when there is none, or no replacement.
    pub fn evict_next(&self) -> bool {
        self.evict_next_in(None)
    }

    fn evict_next_in(&self, space: Option<usize>) -> bool {
        for shard in &self.shards {
            if let Some(leaving) = shard.evict_victim(space, self.listens()) {
                if let Some(leaving) = leaving {
                    self.tell(shard, leaving);
                }
                return true;
            }
        }
        false
    }

    /// Removes all entries, of all namespaces, that were there when the call began.
    pub fn clear(&self) {
        self.clear_in(self.spaces());
    }

    fn clear_in(&self, spaces: Range<usize>) {
        let tell = self.listens();
        self.watch_clearing(spaces.clone());
        for shard in &self.shards {
            for space in spaces.clone() {
                let tokens = Slab::tokens(&shard.lock().spaces[space].slab);
                for token in tokens {
                    self.finish(
                        shard,
                        shard.remove_at(space, token, Cause::Cleared, tell, |_| true),
                    );
                }
            }
        }
    }

    /// Removes the entries of all namespaces whose time is over, and gives their number. Without it they leave when a get finds
    /// them, or when the policy chooses them.
    pub fn remove_expired(&self) -> usize {
        self.remove_expired_in(self.spaces())
    }

    fn remove_expired_in(&self, spaces: Range<usize>) -> usize {
        let (tell, now) = (self.listens(), now_ms());
        let mut removed = 0;
        for shard in &self.shards {
            for space in spaces.clone() {
                let tokens = Slab::tokens(&shard.lock().spaces[space].slab);
                for token in tokens {
                    if !shard.spaces[space].slab.get(token).has(EXPIRES) {
                        continue;
                    }
                    let is_over = |loc| {
                        // SAFETY: called under the lock, for a live entry.
                        unsafe {
                            let header = shard.units.header(loc);
                            shard.expiry(Found { token, loc, header }).is_some_and(|at| at <= now)
                        }
                    };
                    let removal = shard.remove_at(space, token, Cause::Expired, tell, is_over);
                    removed += usize::from(self.finish(shard, removal));
                }
            }
        }
        removed
    }

    fn finish(&self, shard: &Shard, removal: Removal<'_>) -> bool {
        match removal {
            Removal::Absent => false,
            Removal::Done => true,
            Removal::Tell(leaving) => {
                self.tell(shard, leaving);
                true
            }
        }
    }
}

/// # The whole
impl Cache {
    /// The number of entries, of all namespaces.
    pub fn len(&self) -> usize {
        self.len_in(self.spaces())
    }

    fn len_in(&self, spaces: Range<usize>) -> usize {
        let live = |space: &SpaceState| space.slab.live as usize;
        self.shards
            .iter()
            .map(|shard| shard.lock().spaces[spaces.clone()].iter().map(live).sum::<usize>())
            .sum()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of parts with a lock each.
    pub fn shards(&self) -> usize {
        self.shards.len()
    }

    /// A snapshot of the statistics, over all namespaces.
    pub fn stats(&self) -> Stats {
        let mut stats = self.stats_in(self.spaces());
        stats.pool_bytes = self.pool.size() as u64;
        stats.latencies = self.stopwatch.as_ref().map(|watch| Box::new(watch.snapshot()));
        if let Some(curve) = &self.curve {
            stats.miss_ratio_curve = curve.points(stats.pool_bytes, stats.hits + stats.misses);
        }
        for shard in &self.shards {
            let mut state = shard.lock();
            shard.settle(&mut state);
            stats.free_bytes += shard.units.bytes(state.heap.free_units());
            stats.free_regions += u64::from(state.heap.free_blocks());
            stats.pinned_bytes += shard.units.bytes(Shard::limbo_units(&state));
        }
        stats
    }

    /// Without the numbers of the pool, and what is measured of the cache as a whole.
    fn stats_in(&self, spaces: Range<usize>) -> Stats {
        let mut stats = Stats::default();
        for space in spaces.clone() {
            let (hits, misses) = self.counters(space).sum();
            stats.hits += hits;
            stats.misses += misses;
        }
        let mut ages = Vec::new();
        for shard in &self.shards {
            let state = shard.lock();
            for space in spaces.clone() {
                stats.add(shard, &state, space);
                ages.extend(state.spaces[space].ages.tail());
            }
        }
        if !ages.is_empty() {
            stats.tail_age = Some(ages.iter().sum::<Duration>() / ages.len() as u32);
        }
        stats
    }

    /// Writes a cache on a file to its medium, so that all entries survive a loss of power too. Does nothing for others. Dropping
    /// the cache does it as well.
    ///
    /// # Errors
    /// Those of `fsync`.
    pub fn sync(&self) -> std::io::Result<()> {
        self.file.as_ref().map_or(Ok(()), std::fs::File::sync_all)
    }

    /// Checks that all structures agree.
    ///
    /// # Panics
    /// When they do not.
    pub fn validate(&self) {
        for shard in &self.shards {
            shard.validate();
        }
    }

    #[inline]
    fn listens(&self) -> bool {
        self.listens.load(Acquire)
    }

    fn listener(&self) -> Option<Arc<dyn Listener>> {
        if !self.listens() {
            return None;
        }
        let listener = self.listener.read().unwrap_or_else(PoisonError::into_inner);
        listener.as_ref().map(|hidden| Arc::clone(&hidden.0))
    }

    fn tell(&self, shard: &Shard, leaving: Leaving<'_>) {
        let (listener, name) = (self.listener(), self.name(leaving.space()));
        shard.tell(leaving, |value, cause| {
            if let Some(listener) = listener {
                listener.on_evict_in(name, value.key(), value, cause);
            }
        });
    }

    fn tell_replaced(&self, shard: &Shard, space: usize, old: Value<'_>) {
        let (listener, name) = (self.listener(), self.name(space));
        shard.tell_replaced(old, |value| {
            if let Some(listener) = listener {
                listener.on_evict_in(name, value.key(), value, Cause::Replaced);
            }
        });
    }

    /// Brings the line of the index that a search for the key starts with into the caches.
    fn prefetch(&self, space: usize, key: &[u8]) {
        let place = self.locate(space, key);
        place.shard.spaces[place.space].index.prefetch(place.key);
    }

    #[inline]
    fn locate(&self, space: usize, key: &[u8]) -> Place<'_> {
        let hash = self.hash.of(key);
        let at = ((hash & 0xffff_ffff) * self.shards.len() as u64) >> 32;
        Place { shard: &self.shards[at as usize], space, hash, key: Key32::new(hash) }
    }

    fn place(&self, space: usize, key: &[u8]) -> Result<Place<'_>, Error> {
        if key.len() > MAX_KEY || (key.is_empty() && !self.empty_keys) {
            return Err(Error::Key { len: key.len() });
        }
        Ok(self.locate(space, key))
    }
}
