//! A namespace: arenas in a row, seen as one array of blocks.

use crate::Error;
use crate::arena::{Arena, FlogState};
use crate::layout;
use core::sync::atomic::{AtomicUsize, Ordering};
use pmem_core::errno::Errno;
use pmem_core::sync::CachePadded;
use pool_format::btt::{BlockState, FlogEntry, INFO_SIZE, MapEntry};
use pool_format::{Mapping, Uuid};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// What a namespace is.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Where it begins in the mapping; a multiple of 8.
    pub start: u64,
    /// Its size in bytes.
    pub len: u64,
    /// Bytes of a block.
    pub block_size: u32,
    /// The identity of what it lies in.
    pub parent_uuid: Uuid,
    /// Whether all bytes of a new namespace are known to be zero.
    pub is_zeroed: bool,
    /// Whether blocks may be written.
    pub writable: bool,
}

/// Blocks that are written atomically: after a crash, and for readers meanwhile, a block is the old or the new one.
///
/// All methods may be called by many threads at once. `M` gives the mapping.
///
/// The namespace is laid out by the first write; before that all blocks read as zeros.
#[derive(Debug)]
pub struct Btt<M: AsRef<Mapping>> {
    memory: M,
    config: Config,
    /// Blocks of a namespace that is not laid out yet.
    planned: u64,
    layout: OnceLock<Layout>,
    laying_out: Mutex<()>,
}

/// The arenas, and the lanes that write to them.
#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) arenas: Vec<Arena>,
    lanes: Box<[CachePadded<Mutex<Lane>>]>,
    count: u64,
}

/// One flog slot in each arena; used by one thread at a time.
pub(crate) type Lane = Box<[FlogState]>;

/// A number for each thread, to spread them over lanes.
fn thread_number() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static NUMBER: usize = NEXT.fetch_add(1, Ordering::Relaxed);
    }
    NUMBER.with(|number| *number)
}

impl Layout {
    /// Takes arenas into use: finishes writes that a crash interrupted.
    fn load(mapping: &Mapping, found: &[layout::Found]) -> Result<Layout, Error> {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let least_nfree = found.iter().map(|(_, info)| info.nfree.get()).min().unwrap_or(1);
        // Twice the processors: who is interrupted by another thread does not keep a lane from it.
        let lanes = (2 * processors).min(least_nfree as usize);
        let arenas: Vec<Arena> =
            found.iter().map(|(start, info)| Arena::new(info, *start, 2 * processors)).collect();
        let mut states = vec![Vec::new(); lanes];
        for arena in &arenas {
            for lane in 0..arena.nfree {
                let state = recover(mapping, arena, lane)?;
                if let Some(states) = states.get_mut(lane as usize) {
                    states.push(state);
                }
            }
        }
        let count = arenas.iter().map(|arena| u64::from(arena.external)).sum();
        let lanes = states.into_iter().map(|states| CachePadded::new(Mutex::new(states.into())));
        Ok(Layout { arenas, lanes: lanes.collect(), count })
    }

    /// The arena of a block, and its number there. The block is in range.
    fn locate(&self, mut block: u64) -> (usize, u32) {
        for (index, arena) in self.arenas.iter().enumerate() {
            if block < u64::from(arena.external) {
                return (index, block as u32);
            }
            block -= u64::from(arena.external);
        }
        unreachable!("the block number was checked")
    }

    pub(crate) fn lane(&self) -> MutexGuard<'_, Lane> {
        let first = thread_number();
        for step in 0..self.lanes.len() {
            if let Ok(lane) = self.lanes[(first + step) % self.lanes.len()].try_lock() {
                return lane;
            }
        }
        let own = &self.lanes[first % self.lanes.len()];
        own.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Finishes the last write of a lane if a crash kept it from the map, and tells the lane's state.
fn recover(mapping: &Mapping, arena: &Arena, lane: u32) -> Result<FlogState, Error> {
    let pair = arena.flog(mapping, lane);
    let bad = |text: String| Error::invalid(format!("flog of lane {lane}: {text}"));
    for entry in &pair {
        if entry.lba.get() >= arena.external {
            return Err(bad(format!("block {} of {}", entry.lba, arena.external)));
        }
    }
    let Some(which) = FlogEntry::current(&pair) else {
        // Its free block is unknown: nothing can be written, but everything can be read.
        arena.fail();
        return Ok(arena.flog_state(lane, &pair, 0));
    };
    let current = pair[which];
    let (old, new) = (MapEntry(current.old_map.get()), MapEntry(current.new_map.get()));
    if old.block() >= arena.internal || new.block() >= arena.internal {
        return Err(bad(format!(
            "blocks {} and {} of {}",
            old.block(),
            new.block(),
            arena.internal
        )));
    }
    let lba = current.lba.get();
    if old != new && arena.load(mapping, lba).resolved(lba) == old {
        let line = arena.lock_line(lba);
        let word = arena.store(mapping, &line, lba, new);
        mapping.persist(word, 8).map_err(Error::sync)?;
    }
    Ok(arena.flog_state(lane, &pair, which))
}

impl<M: AsRef<Mapping>> Btt<M> {
    /// Opens a namespace, and finishes the writes that a crash interrupted. A namespace that has never been written to
    /// stays as it is.
    ///
    /// # Errors
    /// `EINVAL` for block sizes that do not fit and for damaged layouts; those of `msync`.
    ///
    /// # Panics
    /// When the namespace is not inside of the mapping.
    pub fn open(memory: M, config: Config) -> Result<Btt<M>, Error> {
        let mapping = memory.as_ref();
        let _ = mapping.at(config.start, config.len);
        assert!(config.start.is_multiple_of(8), "a namespace is aligned");
        let config = Config { len: config.len / INFO_SIZE * INFO_SIZE, ..config };
        if config.block_size == 0 {
            return Err(Error::invalid("a block has at least one byte"));
        }
        let planned = layout::plan(&config, Uuid::NULL)?;
        let planned = planned.iter().map(|(_, info)| u64::from(info.external_nlba.get())).sum();
        let layout = OnceLock::new();
        if let Some(found) = layout::find(mapping, &config)? {
            let loaded = Layout::load(mapping, &found)?;
            layout.get_or_init(|| loaded);
        }
        Ok(Btt { memory, config, planned, layout, laying_out: Mutex::new(()) })
    }

    fn mapping(&self) -> &Mapping {
        self.memory.as_ref()
    }

    /// What gives the mapping.
    pub fn memory(&self) -> &M {
        &self.memory
    }

    /// Bytes of a block.
    #[must_use]
    pub fn block_size(&self) -> u32 {
        self.config.block_size
    }

    /// How many blocks there are.
    #[must_use]
    pub fn block_count(&self) -> u64 {
        self.layout.get().map_or(self.planned, |layout| layout.count)
    }

    /// Whether the namespace has been laid out.
    #[must_use]
    pub fn is_laid_out(&self) -> bool {
        self.layout.get().is_some()
    }

    fn must_be_in_range(&self, block: u64) -> Result<(), Error> {
        let count = self.block_count();
        if block < count {
            return Ok(());
        }
        Err(Error::invalid(format!("block {block} of {count}")))
    }

    fn must_be_writable(&self) -> Result<(), Error> {
        if self.config.writable {
            return Ok(());
        }
        Err(Error::new(Errno::EROFS, "the pool is open for reading only"))
    }

    /// Lays the namespace out, if that has not been done.
    fn laid_out(&self) -> Result<&Layout, Error> {
        if let Some(layout) = self.layout.get() {
            return Ok(layout);
        }
        let _one = self.laying_out.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(layout) = self.layout.get() {
            return Ok(layout);
        }
        let found = layout::plan(&self.config, Uuid::random())?;
        layout::write(self.mapping(), &self.config, &found).map_err(Error::sync)?;
        let loaded = Layout::load(self.mapping(), &found)?;
        Ok(self.layout.get_or_init(|| loaded))
    }

    /// Reads a block into the beginning of `buffer`.
    ///
    /// # Errors
    /// `EINVAL` when there is no such block; `EIO` when it is in error state.
    ///
    /// # Panics
    /// When the buffer is shorter than a block.
    pub fn read(&self, block: u64, buffer: &mut [u8]) -> Result<(), Error> {
        let buffer = &mut buffer[..self.config.block_size as usize];
        self.must_be_in_range(block)?;
        let Some(layout) = self.layout.get() else {
            buffer.fill(0);
            return Ok(());
        };
        let mapping = self.mapping();
        let (index, lba) = layout.locate(block);
        let arena = &layout.arenas[index];
        let mut entry = arena.load(mapping, lba);
        let mut claim = None;
        loop {
            match entry.state() {
                BlockState::Initial | BlockState::Zero => {
                    buffer.fill(0);
                    return Ok(());
                }
                BlockState::Error => {
                    let text = format!("EIO due to map entry error flag (block {block})");
                    return Err(Error::new(Errno::EIO, text));
                }
                BlockState::Normal => {}
            }
            match &claim {
                None => claim = Some(arena.readers.claim(thread_number(), entry)),
                Some(claim) => claim.change(entry),
            }
            let now = arena.load(mapping, lba);
            if now == entry {
                break;
            }
            entry = now;
        }
        mapping.read(arena.block(entry.block())?, buffer);
        Ok(())
    }

    /// Writes a block from the beginning of `data`. It is durable when the call returns.
    ///
    /// # Errors
    /// In this order: `EROFS` when the namespace is open for reading only; `EINVAL` when there is no such block; `EIO`
    /// when the arena is in error state; those of `msync`.
    ///
    /// # Panics
    /// When the data is shorter than a block.
    pub fn write(&self, block: u64, data: &[u8]) -> Result<(), Error> {
        let data = &data[..self.config.block_size as usize];
        self.must_be_writable()?;
        self.must_be_in_range(block)?;
        let layout = self.laid_out()?;
        let (index, lba) = layout.locate(block);
        let mut lane = layout.lane();
        crate::write::write(self.mapping(), &layout.arenas[index], &mut lane[index], lba, data)
    }

    /// Makes a block read as zeros, durably.
    ///
    /// # Errors
    /// As for [`write`](Self::write).
    pub fn set_zero(&self, block: u64) -> Result<(), Error> {
        self.must_be_writable()?;
        self.must_be_in_range(block)?;
        // All blocks of a new namespace are zero.
        let Some(layout) = self.layout.get() else { return Ok(()) };
        let (index, lba) = layout.locate(block);
        let arena = &layout.arenas[index];
        crate::write::set_state(self.mapping(), arena, lba, BlockState::Zero, MapEntry::zero)
    }

    /// Makes reading a block fail with `EIO` until it is written or zeroed.
    ///
    /// # Errors
    /// As for [`write`](Self::write).
    pub fn set_error(&self, block: u64) -> Result<(), Error> {
        self.must_be_writable()?;
        self.must_be_in_range(block)?;
        let layout = self.laid_out()?;
        let (index, lba) = layout.locate(block);
        let arena = &layout.arenas[index];
        crate::write::set_state(self.mapping(), arena, lba, BlockState::Error, MapEntry::error)
    }

    /// Looks through all arenas: every block of the medium must be referred to exactly once. Nobody writes meanwhile.
    ///
    /// # Errors
    /// `EINVAL` when a map entry leads out of its arena.
    pub fn check(&self) -> Result<bool, Error> {
        let Some(layout) = self.layout.get() else { return Ok(true) };
        for arena in &layout.arenas {
            if !crate::check::check(self.mapping(), arena)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl<M: AsRef<Mapping>> Drop for Btt<M> {
    fn drop(&mut self) {
        let Some(layout) = self.layout.get() else { return };
        let mapping = self.memory.as_ref();
        for lane in &layout.lanes {
            let lane = lane.lock().unwrap_or_else(PoisonError::into_inner);
            for state in lane.iter().filter(|state| state.pending != 0) {
                // What cannot be made durable now is recovered from the flog.
                let _ = mapping.flush(state.pending, 8);
            }
        }
        mapping.drain();
    }
}
