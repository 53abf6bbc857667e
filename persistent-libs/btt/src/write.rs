//! Writing a block: the data goes to a free block, then the map is made to lead there.
//!
//! ```text
//! data -> free block   flog: lba, old entry   earlier changes of the map
//! ------------------------------------------------------------- wait
//! flog: new entry, seq        (8 bytes: from here on the new block counts)
//! ------------------------------------------------------------- wait
//! map: new entry              (not waited for)
//! ```
//!
//! The write is durable with the second wait: a crash that loses the change of the map finds it in the flog. Two things
//! have to wait for the map, and do, in the first wait of a later write: the next entry in this lane's flog, which makes
//! this one void, and the next entry for the same block in any flog, which recovery would otherwise see without its
//! predecessor. `docs/decisions/0022-two-waits-per-block.md` has the whole argument.

use crate::Error;
use crate::arena::{Arena, FlogState};
use pmem_core::errno::Errno;
use pmem_core::persist::{CopyFlags, Granularity};
use pool_format::Mapping;
use pool_format::btt::{BlockState, FLOG_SECOND, MapEntry, next_seq};

fn must_work(arena: &Arena) -> Result<(), Error> {
    if arena.has_failed() {
        return Err(Error::new(Errno::EIO, "the arena is in error state: it can only be read"));
    }
    Ok(())
}

fn word(low: u32, high: u32) -> u64 {
    (u64::from(low) | u64::from(high) << 32).to_le()
}

pub(crate) fn write(
    mapping: &Mapping,
    arena: &Arena,
    lane: &mut FlogState,
    lba: u32,
    data: &[u8],
) -> Result<(), Error> {
    must_work(arena)?;
    let free = lane.free;
    let to = arena.block(free)?;
    let page = mapping.memory().granularity() == Granularity::Page;
    arena.readers.wait_for(free);
    // Locked before the data is copied: an atomic operation behind it would wait for it, like a fence.
    let mut line = arena.lock_line(lba);
    let flags = if page { CopyFlags::NOFLUSH } else { CopyFlags::NODRAIN };
    mapping.copy(to, data, flags).map_err(Error::sync)?;

    let old = arena.load(mapping, lba).resolved(lba);
    let new = MapEntry::normal(free);
    let entry = lane.next_entry;
    mapping.store(entry, word(lba, old.0));
    let durable = if page {
        // One range of pages, one system call: those between that have not changed are not written.
        let (start, len) = arena.bytes();
        mapping.persist(start, len)
    } else {
        let pending = [lane.pending, *line.pending].into_iter().filter(|&word| word != 0);
        let flushed = pending.chain([entry]).try_for_each(|word| mapping.flush(word, 8));
        mapping.drain();
        flushed
    };
    durable.map_err(Error::sync)?;
    (lane.pending, *line.pending) = (0, 0);

    mapping.store(entry + 8, word(new.0, lane.next_seq));
    let durable = mapping.persist(entry + 8, 8);
    let pending = arena.store(mapping, &line, lba, new);
    *line.pending = pending;
    drop(line);
    *lane = FlogState {
        free: old.block(),
        next_entry: entry ^ FLOG_SECOND,
        next_seq: next_seq(lane.next_seq),
        pending,
    };
    durable.map_err(|errno| {
        arena.fail_for_ever(mapping);
        Error::sync(errno)
    })
}

/// Changes the state of a block: one durable change of the map.
pub(crate) fn set_state(
    mapping: &Mapping,
    arena: &Arena,
    lba: u32,
    state: BlockState,
    entry: impl Fn(u32) -> MapEntry,
) -> Result<(), Error> {
    must_work(arena)?;
    let mut line = arena.lock_line(lba);
    let old = arena.load(mapping, lba);
    // A write that made it so may not have reached the medium as far as the map goes.
    let durable = *line.pending == 0;
    if old.state() == state && durable {
        return Ok(());
    }
    let word = arena.store(mapping, &line, lba, entry(old.resolved(lba).block()));
    let flushed = if durable { Ok(()) } else { mapping.flush(*line.pending, 8) };
    let done = flushed.and_then(|()| mapping.persist(word, 8));
    *line.pending = 0;
    done.map_err(|errno| {
        arena.fail_for_ever(mapping);
        Error::new(Errno::EIO, format!("msync: {errno}"))
    })
}
