//! `vmem_stats_print`.

use core::sync::atomic::Ordering::Relaxed;
use vmem_engine::{Listing, memcheck};

use crate::functions;
use crate::pools::Entry;

/// Prints the statistics of a pool without the parts that `letters` leave out.
pub(crate) fn print(entry: &Entry, letters: &[u8]) {
    let quiet = memcheck::quiet();
    let listing = Listing {
        stats: entry.pool().stats(),
        large: entry.pool().whole_page_blocks(),
        refused: entry.refused.load(Relaxed),
    };
    drop(quiet);
    listing.print(letters, &functions::print);
}
