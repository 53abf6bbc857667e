//! `vmem_stats_print`: the text has the form that programs know, the figures are this allocator's.
//!
//! Calls are not counted, since that would cost each of them. Where the form has a number of allocations,
//! it is that of the blocks in use, and the number of frees is 0: their difference is right.

use core::fmt;
use core::sync::atomic::Ordering::Relaxed;
use pmem_core::errno::ErrnoGuard;
use pmem_core::fmt::StackBuf;
use vmem_engine::{ClassStats, Stats};

use crate::functions;
use crate::pools::Entry;

/// What is left out.
#[derive(Clone, Copy, Default)]
struct Without {
    general: bool,
    merged: bool,
    arenas: bool,
    bins: bool,
    large: bool,
}

impl Without {
    fn from(letters: &[u8]) -> Without {
        let has = |letter| letters.contains(&letter);
        Without {
            general: has(b'g'),
            merged: has(b'm'),
            arenas: has(b'a'),
            bins: has(b'b'),
            large: has(b'l'),
        }
    }
}

/// One line to the caller's function.
macro_rules! say {
    ($($text:tt)*) => { put(format_args!($($text)*)) };
}

fn put(text: fmt::Arguments<'_>) {
    let mut line = StackBuf::<256>::new();
    // A line fits; the buffer never refuses.
    let _ = fmt::Write::write_fmt(&mut line, text);
    line.push_bytes(b"\n");
    if let Some(line) = line.as_c_str() {
        functions::print(line);
    }
}

/// Prints the statistics of a pool without the parts that `letters` leave out.
pub(crate) fn print(entry: &Entry, letters: &[u8]) {
    let _errno = ErrnoGuard::new();
    let without = Without::from(letters);
    let stats = entry.pool().stats();
    say!("___ Begin jemalloc statistics ___");
    if !without.general {
        general(&stats);
    }
    // The arena of a pool is its only one, so its figures are the merged ones too.
    if !without.arenas {
        say!("");
        say!("arenas[0]:");
        arena(entry, &stats, without);
    } else if !without.merged {
        say!("");
        say!("Merged arenas stats:");
        arena(entry, &stats, without);
    }
    say!("--- End jemalloc statistics ---");
}

fn cpus() -> libc::c_long {
    // SAFETY: asks for a number.
    unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) }
}

fn general(stats: &Stats) {
    const CHUNK_SHIFT: u32 = 22;
    let chunk = 1usize << CHUNK_SHIFT;
    say!("Version: {} (vmem-engine)", env!("CARGO_PKG_VERSION"));
    say!("Assertions {}", if cfg!(debug_assertions) { "enabled" } else { "disabled" });
    say!("Run-time option settings:");
    say!("  opt.abort: false");
    say!("  opt.lg_chunk: {CHUNK_SHIFT}");
    say!("  opt.dss: \"disabled\"");
    say!("  opt.narenas: 1");
    say!("  opt.lg_dirty_mult: -1");
    say!("  opt.stats_print: false");
    say!("  opt.junk: false");
    say!("  opt.quarantine: 0");
    say!("  opt.redzone: false");
    say!("  opt.zero: false");
    say!("  opt.tcache: {}", !vmem_engine::memcheck::is_on());
    say!("  opt.lg_tcache_max: {}", vmem_engine::MAX_SMALL.ilog2());
    say!("CPUs: {}", cpus());
    say!("Arenas: 1");
    say!("Pointer size: {}", size_of::<usize>());
    say!("Quantum size: 16");
    say!("Page size: {}", vmem_engine::config::PAGE);
    say!("Min active:dirty page ratio per arena: N/A");
    say!("Chunk size: {chunk} (2^{CHUNK_SHIFT})");
    say!(
        "Allocated: {}, active: {}, mapped: {}",
        stats.allocated_bytes,
        stats.active_bytes,
        stats.pool_bytes
    );
    say!("Current active ceiling: {}", stats.active_bytes.next_multiple_of(chunk));
    let chunks = stats.pool_bytes.div_ceil(chunk);
    say!("chunks: nchunks   highchunks    curchunks");
    say!("  {chunks:13} {chunks:12} {chunks:12}");
}

fn arena(entry: &Entry, stats: &Stats, without: Without) {
    const PAGE: usize = vmem_engine::config::PAGE;
    let active = stats.active_bytes / PAGE;
    let dirty = stats.committed_bytes.saturating_sub(stats.active_bytes) / PAGE;
    let small: usize = stats.classes.iter().map(|class| class.live * class.size).sum();
    let small_blocks: usize = stats.classes.iter().map(|class| class.live).sum();
    let large = entry.pool().whole_page_blocks();
    let large_blocks: usize = large.iter().map(|size| size.blocks).sum();
    let refused = entry.refused.load(Relaxed);
    say!("assigned threads: {}", stats.thread_caches);
    say!("dss allocation precedence: disabled");
    say!(
        "dirty pages: {active}:{dirty} active:dirty, 0 sweeps, 0 madvises, {} purged",
        stats.purged_bytes / PAGE as u64
    );
    say!("            allocated      nmalloc      ndalloc    nrequests");
    let row = |name: &str, bytes: usize, blocks: usize, requests: u64| {
        say!("{name:9}{bytes:12} {blocks:12} {:12} {requests:12}", 0);
    };
    row("small:", small, small_blocks, small_blocks as u64);
    row("large:", stats.large_bytes, large_blocks, large_blocks as u64);
    row("huge:", 0, 0, 0);
    let blocks = small_blocks + large_blocks;
    row("total:", stats.allocated_bytes, blocks, blocks as u64 + refused);
    say!("active:  {:12}", stats.active_bytes);
    say!("mapped:  {:12}", stats.pool_bytes);
    if !without.bins {
        say!(
            "bins:     bin  size regs pgs    allocated      nmalloc      ndalloc    nrequests       nfills     nflushes      newruns       reruns      curruns"
        );
        for (index, class) in stats.classes.iter().enumerate().filter(|(_, class)| class.slabs > 0)
        {
            bin(index, class);
        }
    }
    if !without.large {
        say!("large:   size pages      nmalloc      ndalloc    nrequests      curruns");
        for (shift, size) in large.iter().enumerate().filter(|(_, size)| size.blocks > 0) {
            // Blocks of up to that size, and more than half of it.
            let pages = 1usize << shift;
            say!(
                "{:13} {pages:5} {:12} {:12} {:12} {:12}",
                pages * PAGE,
                size.blocks,
                0,
                size.blocks,
                size.blocks
            );
        }
    }
}

fn bin(index: usize, class: &ClassStats) {
    let slots = (class.live + class.free + class.cached) / class.slabs.max(1);
    let pages = (slots * class.size).div_ceil(vmem_engine::config::PAGE);
    say!(
        "{index:13} {:5} {slots:4} {pages:3} {:12} {:12} {:12} {:12} {:12} {:12} {:12} {:12} {:12}",
        class.size,
        class.live * class.size,
        class.live,
        0,
        class.live,
        0,
        0,
        class.slabs,
        0,
        class.slabs
    );
}
