//! Statistics in the form that users of the C libraries know, with this allocator's figures.
//!
//! Calls are not counted, since that would cost each of them. Where the form has a number of allocations,
//! it is that of the blocks in use, and the number of frees is 0: their difference is right.

use core::ffi::CStr;
use core::fmt;
use pmem_core::errno::ErrnoGuard;
use pmem_core::fmt::StackBuf;

use crate::config::PAGE;
use crate::{ClassStats, MAX_SMALL, Stats, WholePageStats, memcheck};

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

/// What is listed of a heap.
#[derive(Debug)]
pub struct Listing {
    /// Its figures.
    pub stats: Stats,
    /// Its blocks of whole pages, as [`Pool::whole_page_blocks`](crate::Pool::whole_page_blocks) tells them.
    pub large: [WholePageStats; 32],
    /// Allocations that failed.
    pub refused: u64,
}

/// One line to the caller's function.
macro_rules! say {
    ($put:ident, $($text:tt)*) => { line($put, format_args!($($text)*)) };
}

/// Takes a line, which ends with a newline.
type Put<'p> = &'p dyn Fn(&CStr);

fn line(put: Put<'_>, text: fmt::Arguments<'_>) {
    let mut line = StackBuf::<256>::new();
    // A line fits; the buffer never refuses.
    let _ = fmt::Write::write_fmt(&mut line, text);
    line.push_bytes(b"\n");
    if let Some(line) = line.as_c_str() {
        put(line);
    }
}

impl Listing {
    /// Of a heap that does not exist.
    #[must_use]
    pub fn of_nothing() -> Listing {
        Listing { stats: Stats::of_nothing(), large: [WholePageStats::default(); 32], refused: 0 }
    }

    /// Hands the lines to `put`, without the parts that `letters` leave out: `g` what concerns all of the heap, `m` all
    /// arenas together, `a` each arena, `b` size classes, `l` blocks of whole pages. Other letters mean nothing.
    /// Keeps errno.
    pub fn print(&self, letters: &[u8], put: &dyn Fn(&CStr)) {
        let _errno = ErrnoGuard::new();
        let without = Without::from(letters);
        say!(put, "___ Begin jemalloc statistics ___");
        if !without.general {
            general(&self.stats, put);
        }
        // The arena of a pool is its only one, so its figures are the merged ones too.
        if !without.arenas {
            say!(put, "");
            say!(put, "arenas[0]:");
            self.arena(without, put);
        } else if !without.merged {
            say!(put, "");
            say!(put, "Merged arenas stats:");
            self.arena(without, put);
        }
        say!(put, "--- End jemalloc statistics ---");
    }
}

fn cpus() -> libc::c_long {
    // SAFETY: asks for a number.
    unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) }
}

fn general(stats: &Stats, put: Put<'_>) {
    const CHUNK_SHIFT: u32 = 22;
    let chunk = 1usize << CHUNK_SHIFT;
    say!(put, "Version: {} (vmem-engine)", env!("CARGO_PKG_VERSION"));
    say!(put, "Assertions {}", if cfg!(debug_assertions) { "enabled" } else { "disabled" });
    say!(put, "Run-time option settings:");
    say!(put, "  opt.abort: false");
    say!(put, "  opt.lg_chunk: {CHUNK_SHIFT}");
    say!(put, "  opt.dss: \"disabled\"");
    say!(put, "  opt.narenas: 1");
    say!(put, "  opt.lg_dirty_mult: -1");
    say!(put, "  opt.stats_print: false");
    say!(put, "  opt.junk: false");
    say!(put, "  opt.quarantine: 0");
    say!(put, "  opt.redzone: false");
    say!(put, "  opt.zero: false");
    say!(put, "  opt.tcache: {}", !memcheck::is_on());
    say!(put, "  opt.lg_tcache_max: {}", MAX_SMALL.ilog2());
    say!(put, "CPUs: {}", cpus());
    say!(put, "Arenas: 1");
    say!(put, "Pointer size: {}", size_of::<usize>());
    say!(put, "Quantum size: 16");
    say!(put, "Page size: {}", PAGE);
    say!(put, "Min active:dirty page ratio per arena: N/A");
    say!(put, "Chunk size: {chunk} (2^{CHUNK_SHIFT})");
    say!(
        put,
        "Allocated: {}, active: {}, mapped: {}",
        stats.allocated_bytes,
        stats.active_bytes,
        stats.pool_bytes
    );
    say!(put, "Current active ceiling: {}", stats.active_bytes.next_multiple_of(chunk));
    let chunks = stats.pool_bytes.div_ceil(chunk);
    say!(put, "chunks: nchunks   highchunks    curchunks");
    say!(put, "  {chunks:13} {chunks:12} {chunks:12}");
}

impl Listing {
    fn arena(&self, without: Without, put: Put<'_>) {
        let Listing { stats, large, refused } = self;
        let active = stats.active_bytes / PAGE;
        let dirty = stats.committed_bytes.saturating_sub(stats.active_bytes) / PAGE;
        let small: usize = stats.classes.iter().map(|class| class.live * class.size).sum();
        let small_blocks: usize = stats.classes.iter().map(|class| class.live).sum();
        let large_blocks: usize = large.iter().map(|size| size.blocks).sum();
        say!(put, "assigned threads: {}", stats.thread_caches);
        say!(put, "dss allocation precedence: disabled");
        say!(
            put,
            "dirty pages: {active}:{dirty} active:dirty, 0 sweeps, 0 madvises, {} purged",
            stats.purged_bytes / PAGE as u64
        );
        say!(put, "            allocated      nmalloc      ndalloc    nrequests");
        let row = |name: &str, bytes: usize, blocks: usize, requests: u64| {
            say!(put, "{name:9}{bytes:12} {blocks:12} {:12} {requests:12}", 0);
        };
        row("small:", small, small_blocks, small_blocks as u64);
        row("large:", stats.large_bytes, large_blocks, large_blocks as u64);
        row("huge:", 0, 0, 0);
        let blocks = small_blocks + large_blocks;
        row("total:", stats.allocated_bytes, blocks, blocks as u64 + refused);
        say!(put, "active:  {:12}", stats.active_bytes);
        say!(put, "mapped:  {:12}", stats.pool_bytes);
        if !without.bins {
            say!(
                put,
                "bins:     bin  size regs pgs    allocated      nmalloc      ndalloc    nrequests       nfills     nflushes      newruns       reruns      curruns"
            );
            for (index, class) in
                stats.classes.iter().enumerate().filter(|(_, class)| class.slabs > 0)
            {
                bin(index, class, put);
            }
        }
        if !without.large {
            say!(put, "large:   size pages      nmalloc      ndalloc    nrequests      curruns");
            for (shift, size) in large.iter().enumerate().filter(|(_, size)| size.blocks > 0) {
                // Blocks of up to that size, and more than half of it.
                let pages = 1usize << shift;
                say!(
                    put,
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
}

fn bin(index: usize, class: &ClassStats, put: Put<'_>) {
    let slots = (class.live + class.free + class.cached) / class.slabs.max(1);
    let pages = (slots * class.size).div_ceil(PAGE);
    say!(
        put,
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

#[cfg(test)]
mod tests {
    use super::*;
    use core::cell::RefCell;
    use std::string::String;

    fn printed(letters: &str) -> String {
        let out = RefCell::new(String::new());
        let put = |line: &CStr| out.borrow_mut().push_str(line.to_str().unwrap());
        Listing::of_nothing().print(letters.as_bytes(), &put);
        out.into_inner()
    }

    #[test]
    #[cfg_attr(miri, ignore = "asks for the number of processors")]
    fn parts_are_left_out_by_their_letters() {
        let all = printed("");
        for (letter, parts) in [
            ("g", &["Version: ", "chunks: nchunks   highchunks    curchunks\n"][..]),
            ("a", &["arenas[0]:\n"]),
            ("b", &["bins:     bin  size regs pgs "]),
            ("l", &["large:   size pages "]),
        ] {
            for part in parts {
                assert!(all.contains(part) && !printed(letter).contains(part), "{part}");
            }
        }
        assert!(printed("ga").contains("\nMerged arenas stats:\n"));
        assert_eq!(
            printed("gmablxyz"),
            "___ Begin jemalloc statistics ___\n--- End jemalloc statistics ---\n"
        );
    }
}
