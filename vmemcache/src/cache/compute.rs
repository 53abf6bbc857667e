//! Getting a value, or computing it once.

use super::Cache;
use crate::error::Error;
#[cfg(doc)]
use crate::events::Listener;
use crate::read::Value;
use crate::shard::is_telling;

/// # Getting or computing
impl Cache {
    /// Gets a value; when there is none, computes and stores it. Of several threads that miss a key at once, one computes and
    /// the others wait. When the computation fails, the next one tries. Who is within [`Listener::on_evict`] computes without
    /// waiting: what another thread has computed may have to wait for that call to end.
    ///
    /// None when the entry left again between the two, which takes a cache that is much too small.
    ///
    /// # Errors
    /// Those of `compute`, and of [`put`](Self::put).
    ///
    /// # Panics
    /// When `compute` asks for the same key.
    ///
    /// # Examples
    /// ```
    /// let cache = vmemcache::Cache::builder().size(1 << 20).anonymous()?;
    /// let value = cache.get_or_insert_with(b"6 * 7", || Ok::<_, vmemcache::Error>(b"42".to_vec()))?;
    /// assert_eq!(value.unwrap().to_vec(), b"42");
    /// # Ok::<(), vmemcache::Error>(())
    /// ```
    pub fn get_or_insert_with<V: AsRef<[u8]>, E: From<Error>>(
        &self,
        key: &[u8],
        compute: impl FnOnce() -> Result<V, E>,
    ) -> Result<Option<Value<'_>>, E> {
        self.get_or_insert_in(0, key, compute)
    }

    pub(super) fn get_or_insert_in<V: AsRef<[u8]>, E: From<Error>>(
        &self,
        space: usize,
        key: &[u8],
        compute: impl FnOnce() -> Result<V, E>,
    ) -> Result<Option<Value<'_>>, E> {
        loop {
            if let Some(value) = self.get_in(space, key) {
                return Ok(Some(value));
            }
            let flight = if is_telling() {
                None
            } else {
                let Some(flight) = self.flights(space).start(key) else { continue };
                Some(flight)
            };
            // Somebody may have landed between the look and the start.
            if self.peek_in(space, key).is_some() {
                drop(flight);
                continue;
            }
            self.put_in(space, key, compute()?.as_ref(), None)?;
            return Ok(self.peek_in(space, key));
        }
    }

    /// As [`get_or_insert_with`](Self::get_or_insert_with), for a value that comes from a future. Needs no particular
    /// runtime. When the returned future is dropped before its end, the next caller computes.
    ///
    /// # Errors
    /// Those of `compute`, and of [`put`](Self::put).
    pub async fn get_or_insert_async<V: AsRef<[u8]>, E: From<Error>>(
        &self,
        key: &[u8],
        compute: impl Future<Output = Result<V, E>>,
    ) -> Result<Option<Value<'_>>, E> {
        self.get_or_insert_async_in(0, key, compute).await
    }

    pub(super) async fn get_or_insert_async_in<V: AsRef<[u8]>, E: From<Error>>(
        &self,
        space: usize,
        key: &[u8],
        compute: impl Future<Output = Result<V, E>>,
    ) -> Result<Option<Value<'_>>, E> {
        loop {
            if let Some(value) = self.get_in(space, key) {
                return Ok(Some(value));
            }
            let flight = if is_telling() {
                None
            } else {
                let Some(flight) = self.flights(space).start_async(key).await else { continue };
                Some(flight)
            };
            if self.peek_in(space, key).is_some() {
                drop(flight);
                continue;
            }
            self.put_in(space, key, compute.await?.as_ref(), None)?;
            return Ok(self.peek_in(space, key));
        }
    }
}
