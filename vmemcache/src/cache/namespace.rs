//! Namespaces: parts of a cache with keys, an order of replacement and a quota of their own.

use super::{Cache, Copied, Entries, Put};
use crate::error::Error;
use crate::flight::Flights;
use crate::read::Value;
use crate::shard::Mode;
use crate::stats::{Counters, Stats};
use std::ops::Range;
use std::time::Duration;

/// A part of a [`Cache`] with keys of its own; see [`Builder::namespace`](crate::Builder::namespace).
///
/// Its calls are those of the cache, with the same errors, and concern this part only. The cache's own calls with keys are those
/// of the namespace without a name; its other calls ([`len`](Cache::len), [`clear`](Cache::clear),
/// [`stats`](Cache::stats) and so on) concern all namespaces.
#[derive(Clone, Copy, Debug)]
pub struct Namespace<'c> {
    cache: &'c Cache,
    space: usize,
}

/// # Namespaces
impl Cache {
    /// The namespace of this name; `""` is the one without a name. Looking it up compares names: keep what it returns.
    pub fn namespace(&self, name: &str) -> Option<Namespace<'_>> {
        let space = self.spaces().find(|&space| self.name(space) == name)?;
        Some(Namespace { cache: self, space })
    }

    /// All namespaces: the one without a name, and the others in the order in which they were added.
    pub fn namespaces(&self) -> impl Iterator<Item = Namespace<'_>> {
        self.spaces().map(|space| Namespace { cache: self, space })
    }

    pub(super) fn spaces(&self) -> Range<usize> {
        0..1 + self.named.len()
    }

    pub(super) fn name(&self, space: usize) -> &str {
        if space == 0 { "" } else { &self.named[space - 1].name }
    }

    #[inline]
    pub(super) fn counters(&self, space: usize) -> &Counters {
        if space == 0 { &self.counters } else { &self.named[space - 1].counters }
    }

    pub(super) fn flights(&self, space: usize) -> &Flights {
        if space == 0 { &self.flights } else { &self.named[space - 1].flights }
    }
}

impl<'c> Namespace<'c> {
    /// Its name.
    pub fn name(&self) -> &'c str {
        self.cache.name(self.space)
    }

    /// What its entries may take in bytes. For the namespace without a name, what the other quotas leave; it may take more for
    /// as long as others do not use theirs.
    pub fn quota(&self) -> u64 {
        let bytes = |shard: &crate::shard::Shard| {
            shard.lock().spaces[self.space].quota * shard.units.unit() as u64
        };
        self.cache.shards.iter().map(bytes).sum()
    }

    /// See [`Cache::put`].
    ///
    /// # Errors
    /// [`Error::Key`]; [`Error::ValueTooLarge`], when it does not fit the shard's part of the quota either;
    /// [`Error::Full`].
    pub fn put(&self, key: &[u8], value: &[u8]) -> Result<Put, Error> {
        self.cache.put_in(self.space, key, value, None)
    }

    /// See [`Cache::put_with_ttl`].
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn put_with_ttl(&self, key: &[u8], value: &[u8], ttl: Duration) -> Result<Put, Error> {
        self.cache.put_in(self.space, key, value, Some(ttl))
    }

    /// See [`Cache::put_if_absent`].
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn put_if_absent(&self, key: &[u8], value: &[u8]) -> Result<bool, Error> {
        self.cache.put_if(self.space, key, value, Mode::IfAbsent)
    }

    /// See [`Cache::replace`].
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn replace(&self, key: &[u8], value: &[u8]) -> Result<bool, Error> {
        self.cache.put_if(self.space, key, value, Mode::IfPresent)
    }

    /// The longest value that a key of this length can have here.
    pub fn max_value_len(&self, key_len: usize) -> u64 {
        self.cache.max_value_len_in(self.space, key_len)
    }

    /// See [`Cache::get`].
    #[inline]
    pub fn get(&self, key: &[u8]) -> Option<Value<'c>> {
        self.cache.get_in(self.space, key)
    }

    /// See [`Cache::get_many`].
    pub fn get_many<K: AsRef<[u8]>>(&self, keys: &[K]) -> Vec<Option<Value<'c>>> {
        self.cache.get_many_in(self.space, keys)
    }

    /// See [`Cache::get_or_insert_with`].
    ///
    /// # Errors
    /// Those of `compute`, and of [`put`](Self::put).
    ///
    /// # Panics
    /// When `compute` asks this namespace for the same key.
    pub fn get_or_insert_with<V: AsRef<[u8]>, E: From<Error>>(
        &self,
        key: &[u8],
        compute: impl FnOnce() -> Result<V, E>,
    ) -> Result<Option<Value<'c>>, E> {
        self.cache.get_or_insert_in(self.space, key, compute)
    }

    /// See [`Cache::get_or_insert_async`].
    ///
    /// # Errors
    /// Those of `compute`, and of [`put`](Self::put).
    pub async fn get_or_insert_async<V: AsRef<[u8]>, E: From<Error>>(
        &self,
        key: &[u8],
        compute: impl Future<Output = Result<V, E>>,
    ) -> Result<Option<Value<'c>>, E> {
        self.cache.get_or_insert_async_in(self.space, key, compute).await
    }

    /// See [`Cache::read`].
    #[inline]
    pub fn read(&self, key: &[u8], buffer: &mut [u8], offset: usize) -> Option<Copied> {
        // SAFETY: the buffer has this room.
        unsafe {
            self.cache.read_raw_in(self.space, key, buffer.as_mut_ptr(), buffer.len(), offset)
        }
    }

    /// See [`Cache::peek`].
    pub fn peek(&self, key: &[u8]) -> Option<Value<'c>> {
        self.cache.peek_in(self.space, key)
    }

    /// See [`Cache::size_of`].
    pub fn size_of(&self, key: &[u8]) -> Option<usize> {
        self.peek(key).map(|value| value.len())
    }

    /// See [`Cache::contains`].
    pub fn contains(&self, key: &[u8]) -> bool {
        self.peek(key).is_some()
    }

    /// See [`Cache::remove`].
    pub fn remove(&self, key: &[u8]) -> bool {
        self.cache.remove_in(self.space, key)
    }

    /// See [`Cache::evict_next`].
    pub fn evict_next(&self) -> bool {
        self.cache.evict_next_in(Some(self.space))
    }

    /// See [`Cache::clear`].
    pub fn clear(&self) {
        self.cache.clear_in(self.space..self.space + 1);
    }

    /// See [`Cache::remove_expired`].
    pub fn remove_expired(&self) -> usize {
        self.cache.remove_expired_in(self.space..self.space + 1)
    }

    /// The number of entries.
    pub fn len(&self) -> usize {
        self.cache.len_in(self.space..self.space + 1)
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// See [`Cache::iter`].
    pub fn iter(&self) -> Entries<'c> {
        self.cache.iter_in(self.space)
    }

    /// A snapshot of the statistics of this namespace. [`pool_bytes`](Stats::pool_bytes) is the [`quota`](Self::quota) and
    /// [`free_bytes`](Stats::free_bytes) what is left of it; what belongs to the whole pool
    /// ([`free_regions`](Stats::free_regions), [`pinned_bytes`](Stats::pinned_bytes)) is 0, and what is measured of the whole cache
    /// ([`latencies`](Stats::latencies), [`miss_ratio_curve`](Stats::miss_ratio_curve)) is not there.
    pub fn stats(&self) -> Stats {
        let mut stats = self.cache.stats_in(self.space..self.space + 1);
        stats.pool_bytes = self.quota();
        stats.free_bytes = stats.pool_bytes.saturating_sub(stats.used_bytes);
        stats
    }
}

impl<'c> IntoIterator for Namespace<'c> {
    type Item = Value<'c>;
    type IntoIter = Entries<'c>;

    fn into_iter(self) -> Entries<'c> {
        self.iter()
    }
}
