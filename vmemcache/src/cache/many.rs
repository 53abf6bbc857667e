//! Many entries at once.

use super::Cache;
use crate::read::Value;
use crate::slab::Slab;

/// # Many at once
impl Cache {
    /// Gets several values, in the order of the keys. A thread can hold seven guards cheaply; see [`Value`].
    pub fn get_many<'c, K: AsRef<[u8]>>(&'c self, keys: &[K]) -> Vec<Option<Value<'c>>> {
        self.get_many_in(0, keys)
    }

    pub(super) fn get_many_in<K: AsRef<[u8]>>(
        &self,
        space: usize,
        keys: &[K],
    ) -> Vec<Option<Value<'_>>> {
        // The first lines of all searches come from memory together.
        for key in keys {
            self.prefetch(space, key.as_ref());
        }
        keys.iter().map(|key| self.get_in(space, key.as_ref())).collect()
    }

    /// All entries of the namespace without a name, in no particular order. Those that come, go or change meanwhile may be seen or not; an entry that stays
    /// is seen once. Counts neither as a use nor in the statistics.
    ///
    /// # Examples
    /// ```
    /// let cache = vmemcache::Cache::builder().size(1 << 20).anonymous()?;
    /// cache.put(b"key", b"value")?;
    /// for value in &cache {
    ///     assert_eq!((value.key(), &*value.to_cow()), (&b"key"[..], &b"value"[..]));
    /// }
    /// # Ok::<(), vmemcache::Error>(())
    /// ```
    pub fn iter(&self) -> Entries<'_> {
        self.iter_in(0)
    }

    pub(super) fn iter_in(&self, space: usize) -> Entries<'_> {
        Entries { cache: self, space, shard: 0, token: 0, end: None }
    }
}

impl<'c> IntoIterator for &'c Cache {
    type Item = Value<'c>;
    type IntoIter = Entries<'c>;

    fn into_iter(self) -> Entries<'c> {
        self.iter()
    }
}

/// The entries of a cache; see [`Cache::iter`].
#[derive(Debug)]
pub struct Entries<'c> {
    cache: &'c Cache,
    space: usize,
    shard: usize,
    token: u32,
    /// Behind the last token of the shard.
    end: Option<u32>,
}

impl<'c> Iterator for Entries<'c> {
    type Item = Value<'c>;

    fn next(&mut self) -> Option<Value<'c>> {
        loop {
            let shard = self.cache.shards.get(self.shard)?;
            let space = self.space;
            let end =
                *self.end.get_or_insert_with(|| Slab::tokens(&shard.lock().spaces[space].slab).end);
            if self.token == end {
                (self.shard, self.token, self.end) = (self.shard + 1, 0, None);
                continue;
            }
            self.token += 1;
            if let Some((found, value)) = shard.pin_token(space, self.token - 1)
                && self.cache.is_shown(shard, space, found)
            {
                return Some(value);
            }
        }
    }
}
