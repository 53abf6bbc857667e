//! Whether an arena is consistent.

use crate::Error;
use crate::arena::Arena;
use pool_format::Mapping;
use pool_format::btt::{FlogEntry, MapEntry};

/// Every block of the medium belongs to one entry of the map, or to one lane.
pub(crate) fn check(mapping: &Mapping, arena: &Arena) -> Result<bool, Error> {
    let mut seen = vec![0u64; (arena.internal as usize).div_ceil(64)];
    let mut is_new = |block: u32| {
        let (word, bit) = (&mut seen[block as usize / 64], 1 << (block % 64));
        let new = *word & bit == 0;
        *word |= bit;
        new
    };
    for lba in 0..arena.external {
        let block = arena.load(mapping, lba).resolved(lba).block();
        if block >= arena.internal {
            let text = format!("block {lba}: the map leads to block {block} of {}", arena.internal);
            return Err(Error::invalid(text));
        }
        if !is_new(block) {
            return Ok(false);
        }
    }
    for lane in 0..arena.nfree {
        let pair = arena.flog(mapping, lane);
        let Some(which) = FlogEntry::current(&pair) else { return Ok(false) };
        let block = MapEntry(pair[which].old_map.get()).block();
        if block >= arena.internal || !is_new(block) {
            return Ok(false);
        }
    }
    // All of them are different blocks: none is left if there are as many.
    Ok(u64::from(arena.external) + u64::from(arena.nfree) == u64::from(arena.internal))
}
