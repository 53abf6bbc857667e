//! Changing the size of a cache while it is used.

use super::Cache;
use crate::block::Loc;
use crate::builder::{MIN_POOL, MIN_SHARD, no_medium};
use crate::error::Error;
use crate::ground::Ground;
use crate::quota::{Quotas, Whole};
use crate::shard::{Before, Cursor, Shard, Step, is_telling};
use pmem_core::errno::Errno;
use pmem_core::error::Error as Cause;
use pmem_core::sync::Backoff;
use std::path::Path;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a shrink waits for guards.
const PATIENCE: Duration = Duration::from_millis(100);

/// What the shards lie on, and how large they are.
#[derive(Debug)]
pub(crate) struct Pool {
    pub(crate) ground: Arc<Ground>,
    /// Units of each shard.
    part: AtomicU32,
    pub(crate) quotas: Quotas,
    /// One resize at a time.
    resizing: Mutex<()>,
}

impl Pool {
    pub(crate) fn new(ground: Arc<Ground>, part: Loc, quotas: Quotas) -> Pool {
        Pool { ground, part: AtomicU32::new(part), quotas, resizing: Mutex::new(()) }
    }

    /// The present size in bytes.
    pub(crate) fn size(&self) -> usize {
        self.ground.size(self.part.load(Acquire))
    }

    pub(super) fn populate(&self) {
        self.ground.populate(self.part.load(Acquire));
    }

    fn alone(&self) -> Result<MutexGuard<'_, ()>, Error> {
        // Within a listener's call the other one may wait for this very thread.
        if is_telling() {
            return self.resizing.try_lock().map_err(|_| Error::Resizing);
        }
        Ok(self.resizing.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What [`Cache::resize`] has done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Resized {
    /// The size of the pool now, in bytes: what was asked for, in whole units for each shard.
    pub size: usize,
    /// Bytes of a smaller pool that have not gone back yet, because guards hold entries there. They go back when the guards are
    /// dropped and the cache next reclaims space, or its statistics are asked for. On a file system without holes all
    /// that should go back stays.
    pub held: usize,
}

/// # Changing the size
impl Cache {
    /// Makes the pool larger, up to [`Builder::max_size`](crate::Builder::max_size), or smaller, while other threads use it.
    ///
    /// Growing takes the new space first, so a full medium is an error and changes nothing. Shrinking lets entries leave in the
    /// order of the policy until the others fit ([`Cause::Resized`](crate::Cause::Resized)); those lie where the memory goes back are moved. No
    /// other entry is lost, and guards stay valid. Memory goes back to the system: anonymous pages are
    /// dropped, files get holes (their length stays). Tables in DRAM keep what the largest number of entries has taken.
    ///
    /// Quotas of namespaces are as if the cache had been made with the new size: shares follow it, bytes stay. The
    /// number of shards stays, so the longest value changes with the size.
    ///
    /// A [`warm_file`](crate::Builder::warm_file) keeps its new size. A process that is killed in the middle leaves it with the
    /// old or the new one, and all entries that had not left. A shrink moves entries, and so a loss of power while it runs may lose
    /// them; when it returns the file is as after [`sync`](Self::sync).
    ///
    /// # Errors
    /// Nothing has changed then, except that entries may have left in vain.
    ///
    /// * [`Error::Maximum`] (`EINVAL`): more than the maximum.
    /// * [`Error::Size`], [`Error::Shards`], [`Error::Extent`], [`Error::Namespace`] (`EINVAL`): too small for a cache like this.
    /// * [`Error::NoMedium`] (`ENOSPC`, `EDQUOT`, `ENOMEM`): no space to grow.
    /// * [`Error::Shrink`] (`EBUSY`): nothing can leave, as there is no replacement, or guards hold what is left.
    /// * [`Error::Fixed`] (`EOPNOTSUPP`): devices and memory of the caller.
    /// * [`Error::Resizing`] (`EBUSY`): within a call of a listener, while another resize is under way.
    /// * [`Error::Place`]: a file could not be written.
    ///
    /// # Examples
    /// ```
    /// use vmemcache::Cache;
    /// let cache = Cache::builder().size(1 << 20).max_size(16 << 20).anonymous()?;
    /// cache.put(b"key", b"value")?;
    /// cache.resize(16 << 20)?;
    /// assert_eq!(cache.stats().pool_bytes, 16 << 20);
    /// cache.resize(256 << 10)?;
    /// assert!(cache.contains(b"key"));
    /// assert!(cache.resize(17 << 20).is_err());
    /// # Ok::<(), vmemcache::Error>(())
    /// ```
    pub fn resize(&self, size: usize) -> Result<Resized, Error> {
        let ground = &self.pool.ground;
        if let Some(what) = ground.fixed() {
            return Err(Error::Fixed { what });
        }
        let _alone = self.pool.alone()?;
        let part = self.new_part(size)?;
        let quotas = self.new_quotas(part)?;
        let mut held = 0;
        if part >= self.pool.part.load(Acquire) {
            self.grow(part, &quotas)?;
        } else {
            held = self.shrink(part, &quotas)?;
        }
        Ok(Resized { size: self.pool.size(), held })
    }

    /// What each shard has in units when the pool has this size.
    fn new_part(&self, size: usize) -> Result<Loc, Error> {
        let ground = &self.pool.ground;
        if size > ground.len {
            return Err(Error::Maximum { size, most: ground.len });
        }
        if size < MIN_POOL {
            return Err(Error::Size { size });
        }
        let shards = self.shards.len();
        if shards > size / MIN_SHARD {
            return Err(Error::Shards { shards, size });
        }
        let part = ground.part(size);
        let rules = &self.shards[0].rules;
        let least = rules.extent.max(rules.least);
        if least > part - 2 {
            let extent = self.shards[0].units.bytes(least) as usize;
            return Err(Error::Extent { extent, size });
        }
        Ok(part)
    }

    fn new_quotas(&self, part: Loc) -> Result<Vec<u64>, Error> {
        let Shard { units, rules, .. } = &self.shards[0];
        let total = part - 2;
        self.pool.quotas.shares(Whole {
            units: *units,
            shards: self.shards.len(),
            total,
            reserve: rules.reserve(total),
            extent: rules.extent,
        })
    }

    fn grow(&self, part: Loc, quotas: &[u64]) -> Result<(), Error> {
        for (at, shard) in self.shards.iter().enumerate() {
            if let Err(errno) = shard.take_ground(part) {
                self.shards[..at].iter().for_each(Shard::cancel_grow);
                return Err(no_medium(self.pool.ground.size(part), errno));
            }
        }
        // Before an entry lies there.
        self.set_part(part);
        for shard in &self.shards {
            shard.grow(part, quotas);
        }
        Ok(())
    }

    fn shrink(&self, part: Loc, quotas: &[u64]) -> Result<usize, Error> {
        let mut begun = Begun(Vec::with_capacity(self.shards.len()));
        for shard in &self.shards {
            begun.0.push((shard, shard.begin_shrink(part, quotas)));
        }
        let stuck = |()| Error::Shrink { size: self.pool.ground.size(part) };
        for shard in &self.shards {
            self.work_off(shard, || shard.evict_surplus(self.listens())).map_err(stuck)?;
        }
        for shard in &self.shards {
            let mut cursor = Cursor::default();
            let evacuate = || shard.evacuate(&mut cursor, self.listens());
            self.work_off(shard, evacuate).map_err(stuck)?;
        }
        // The new places are on the medium before the old ones are given up.
        self.flush()?;
        let old = self.pool.part.load(Acquire);
        self.set_part(part);
        self.flush().inspect_err(|_| self.set_part(old))?;
        begun.0.clear();
        self.wait_for_readers();
        Ok(self.shards.iter().map(Shard::finish_shrink).sum())
    }

    /// Goes on until all is done. An error when nothing can leave.
    fn work_off<'s>(
        &'s self,
        shard: &'s Shard,
        mut step: impl FnMut() -> Step<'s>,
    ) -> Result<(), ()> {
        let (mut backoff, mut waits_since) = (Backoff::new(), None);
        loop {
            match step() {
                Step::Done => return Ok(()),
                Step::More => waits_since = None,
                Step::Tell(leaving) => {
                    waits_since = None;
                    self.tell(shard, leaving);
                }
                Step::Wait => {
                    if waits_since.get_or_insert_with(Instant::now).elapsed() > PATIENCE {
                        return Err(());
                    }
                    backoff.snooze();
                }
                Step::Stuck => return Err(()),
            }
        }
    }

    /// Those that are just reading have soon done it; guards may be held for long.
    fn wait_for_readers(&self) {
        let (start, mut backoff) = (Instant::now(), Backoff::new());
        while self.shards.iter().any(|shard| shard.held_beyond() > 0) && start.elapsed() < PATIENCE
        {
            backoff.snooze();
        }
    }

    fn set_part(&self, part: Loc) {
        self.pool.ground.record(part);
        self.pool.part.store(part, Release);
    }

    fn flush(&self) -> Result<(), Error> {
        self.sync().map_err(|error| {
            let errno = Errno(error.raw_os_error().unwrap_or(Errno::EIO.0));
            Error::place(Some(Path::new("the file")), Cause::new("fsync", errno))
        })
    }
}

/// Shards that have begun to shrink: they are taken back if that comes to nothing.
struct Begun<'s>(Vec<(&'s Shard, Before)>);

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        for (shard, before) in &self.0 {
            shard.cancel_shrink(before);
        }
    }
}
