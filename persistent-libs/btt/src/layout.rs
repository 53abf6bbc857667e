//! Finding the arenas of a namespace, and laying them out.

use crate::Error;
use crate::volume::Config;
use pmem_core::errno::Errno;
use pool_format::btt::{
    DEFAULT_NFREE, FLOG_SLOT_SIZE, FlogEntry, INFO_SIZE, InfoBlock, LEAST_ARENA, MOST_ARENA,
    arena_sizes,
};
use pool_format::{Mapping, Uuid};
use zerocopy::{FromZeros, IntoBytes};

/// An arena that was found: where it begins, and its info block.
pub(crate) type Found = (u64, InfoBlock);

/// Plans the arenas of a namespace that is not laid out.
pub(crate) fn plan(config: &Config, uuid: Uuid) -> Result<Vec<Found>, Error> {
    let mut arenas = Vec::new();
    let mut start = config.start;
    let mut rest = config.len;
    for size in arena_sizes(config.len) {
        rest -= size;
        let info = InfoBlock::plan(size, rest, config.block_size, uuid, config.parent_uuid);
        match info {
            Some(info) => arenas.push((start, info)),
            None => {
                let size = config.block_size;
                return Err(Error::invalid(format!("blocks of {size} bytes are too large")));
            }
        }
        start += size;
    }
    if arenas.is_empty() {
        let text = format!("{} bytes are too few (at least {LEAST_ARENA})", config.len);
        return Err(Error::invalid(text));
    }
    Ok(arenas)
}

/// The largest block size, in bytes, that a namespace of `len` bytes can have; 0 when it is too small for any.
#[must_use]
pub fn largest_block(len: u64) -> u32 {
    let Some(smallest) = arena_sizes(len / INFO_SIZE * INFO_SIZE).min() else { return 0 };
    let fits = |size| InfoBlock::plan(smallest, 0, size, Uuid::NULL, Uuid::NULL).is_some();
    // The first size that does not fit lies in (fitting, too_large].
    let (mut fitting, mut too_large) = (0, u32::MAX);
    while too_large - fitting > 1 {
        let middle = fitting + (too_large - fitting) / 2;
        if fits(middle) { fitting = middle } else { too_large = middle }
    }
    fitting
}

/// Writes the arenas. The first info block of an arena comes last but for its copy: without it nobody takes the arena
/// for one.
pub(crate) fn write(mapping: &Mapping, config: &Config, arenas: &[Found]) -> Result<(), Errno> {
    for (start, info) in arenas {
        if !config.is_zeroed {
            mapping.zero(start + info.mapoff.get(), info.infooff.get() - info.mapoff.get())?;
        }
        let mut flog = vec![0; (info.infooff.get() - info.flogoff.get()) as usize];
        let slots = flog.chunks_exact_mut(FLOG_SLOT_SIZE as usize);
        for (lane, slot) in (0..info.nfree.get()).zip(slots) {
            let entry = FlogEntry::initial(lane, info.external_nlba.get());
            slot[..size_of::<FlogEntry>()].copy_from_slice(entry.as_bytes());
        }
        mapping.write(start + info.flogoff.get(), &flog)?;
        mapping.write(*start, info.as_bytes())?;
        mapping.write(start + info.infooff.get(), info.as_bytes())?;
    }
    Ok(())
}

fn read(mapping: &Mapping, at: u64) -> InfoBlock {
    let mut info = InfoBlock::new_zeroed();
    mapping.read(at, info.as_mut_bytes());
    info
}

/// Finds the arenas; `None` when the namespace has never been written to. A damaged info block is restored from its
/// copy.
pub(crate) fn find(mapping: &Mapping, config: &Config) -> Result<Option<Vec<Found>>, Error> {
    let mut arenas = Vec::new();
    let (mut start, mut rest) = (config.start, config.len);
    while rest >= LEAST_ARENA {
        let size = rest.min(MOST_ARENA);
        let Some(info) = info(mapping, config, start, size)? else {
            if arenas.is_empty() || is_unused(mapping, &arenas) {
                return Ok(None);
            }
            let text = format!("the info blocks of the arena at {start:#x} are damaged");
            return Err(Error::invalid(text));
        };
        if let Some(fault) = info.fault(size, config.block_size) {
            return Err(Error::invalid(format!("arena at {start:#x}: {fault}")));
        }
        let next = info.nextoff.get();
        if next != 0 && (next != MOST_ARENA || next > rest) {
            return Err(Error::invalid(format!("arena at {start:#x}: next arena at {next:#x}")));
        }
        arenas.push((start, info));
        if next == 0 {
            break;
        }
        start += next;
        rest -= next;
    }
    Ok((!arenas.is_empty()).then_some(arenas))
}

/// The info block of an arena, from its copy if need be; `None` when there is neither.
fn info(
    mapping: &Mapping,
    config: &Config,
    start: u64,
    size: u64,
) -> Result<Option<InfoBlock>, Error> {
    let first = read(mapping, start);
    if first.is_valid(config.parent_uuid) {
        return Ok(Some(first));
    }
    let copy_at = start + size - INFO_SIZE;
    let copy = read(mapping, copy_at);
    if copy.is_valid(config.parent_uuid) && copy.infooff.get() == size - INFO_SIZE {
        mapping.write(start, copy.as_bytes()).map_err(Error::sync)?;
        return Ok(Some(copy));
    }
    let looks_like_one = first.is_of(config.parent_uuid) || copy.is_of(config.parent_uuid);
    if !looks_like_one {
        return Ok(None);
    }
    // A crash while the arena was laid out leaves a torn info block, and a flog that nobody has used.
    let planned = InfoBlock::plan(size, 0, config.block_size, Uuid::NULL, Uuid::NULL);
    if planned.is_some_and(|info| has_unused_flog(mapping, start, &info)) {
        return Ok(None);
    }
    Err(Error::invalid(format!(
        "both info blocks of the arena at {start:#x} are damaged; \
         its blocks would be lost if it were laid out again"
    )))
}

/// Whether nothing has been written to these arenas: the layout was interrupted before it was complete.
fn is_unused(mapping: &Mapping, arenas: &[Found]) -> bool {
    arenas.iter().all(|(start, info)| has_unused_flog(mapping, *start, info))
}

fn has_unused_flog(mapping: &Mapping, start: u64, info: &InfoBlock) -> bool {
    (0..info.nfree.get().min(DEFAULT_NFREE)).all(|lane| {
        let mut pair = [FlogEntry::default(); 2];
        let at = start + info.flogoff.get() + u64::from(lane) * FLOG_SLOT_SIZE;
        mapping.read(at, pair.as_mut_bytes());
        let initial = FlogEntry::initial(lane, info.external_nlba.get());
        pair == [initial, FlogEntry::default()]
    })
}
