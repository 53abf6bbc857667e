//! The figures of a process, and their three forms. Names and meanings are the same in all of them
//! and in docs; sizes are bytes.

use core::ffi::CStr;
use core::fmt::{self, Write};
use core::ptr;
use pmem_core::source::SourceKind;
use pmem_core::sys;
use vmem_engine::{CallCounts, Heap, Runtime, Stats};

/// A snapshot of the process's heap.
pub(crate) struct Report {
    pid: i32,
    program: ProgramName,
    stats: Stats,
    overflow_bytes: usize,
    /// Only when calls are counted.
    counts: Option<CallCounts>,
}

impl Report {
    /// The figures of this moment; `None` when there is no pool.
    pub(crate) fn now<R: Runtime>(heap: &Heap<R>) -> Option<Report> {
        Some(Report {
            stats: heap.stats()?,
            pid: sys::process_id(),
            program: ProgramName::own(),
            overflow_bytes: heap.overflow_stats().map_or(0, |stats| stats.allocated_bytes),
            counts: heap.call_counts(),
        })
    }

    /// What the pool's bytes are on.
    fn medium(&self) -> &'static str {
        match self.stats.medium {
            SourceKind::DeviceDax => "device",
            SourceKind::Anonymous => "memory",
            _ => "file",
        }
    }

    /// Calls `put` with each figure, in the order of the report.
    fn figures(&self, mut put: impl FnMut(&str, u64) -> fmt::Result) -> fmt::Result {
        let stats = &self.stats;
        put("pool_bytes", stats.pool_bytes as u64)?;
        if let Some(counts) = &self.counts {
            put("allocations", counts.allocations)?;
            put("frees", counts.frees)?;
            put("foreign_frees", counts.foreign_frees)?;
            put("failures", counts.failures)?;
            put("requested_bytes_live", requested_live(stats, counts))?;
        }
        put("allocated_bytes", stats.allocated_bytes as u64)?;
        put("active_bytes", stats.active_bytes as u64)?;
        put("committed_bytes", stats.committed_bytes as u64)?;
        put("resident_bytes", stats.resident_bytes)?;
        if let Some(counts) = &self.counts {
            put("peak_allocated_bytes", counts.peak_live_bytes)?;
        }
        put("peak_active_bytes", stats.peak_active_bytes as u64)?;
        put("peak_committed_bytes", stats.peak_committed_bytes as u64)?;
        put("purged_bytes", stats.purged_bytes)?;
        put("large_bytes", stats.large_bytes as u64)?;
        put("thread_caches", stats.thread_caches as u64)?;
        put("thread_cache_bytes", stats.thread_cache_bytes as u64)?;
        put("overflow_bytes", self.overflow_bytes as u64)?;
        put("metadata_bytes", stats.metadata_bytes as u64)
    }

    /// One object on one line. Only the classes that have slabs are listed.
    pub(crate) fn write_json(&self, to: &mut impl Write) -> fmt::Result {
        write!(to, "{{\"pid\":{},\"program\":\"", self.pid)?;
        self.program.write_json(to)?;
        write!(to, "\",\"medium\":\"{}\"", self.medium())?;
        self.figures(|name, value| write!(to, ",\"{name}\":{value}"))?;
        to.write_str(",\"classes\":[")?;
        let mut separator = "";
        for class in self.stats.classes.iter().filter(|class| class.slabs > 0) {
            write!(
                to,
                "{separator}{{\"size\":{},\"slabs\":{},\"live\":{},\"free\":{},\"cached\":{}}}",
                class.size, class.slabs, class.live, class.free, class.cached
            )?;
            separator = ",";
        }
        to.write_str("]}\n")
    }

    /// A heading, a line for each figure, and a table of the classes that have slabs.
    pub(crate) fn write_text(&self, to: &mut impl Write) -> fmt::Result {
        write!(to, "libvmmalloc: heap of process {} (", self.pid)?;
        self.program.write_text(to)?;
        writeln!(to, "), medium: {}", self.medium())?;
        self.figures(|name, value| writeln!(to, "{name:<22}{value:>16}"))?;
        writeln!(to, "{:>10}{:>10}{:>12}{:>12}{:>12}", "class", "slabs", "live", "free", "cached")?;
        for class in self.stats.classes.iter().filter(|class| class.slabs > 0) {
            writeln!(
                to,
                "{:>10}{:>10}{:>12}{:>12}{:>12}",
                class.size, class.slabs, class.live, class.free, class.cached
            )?;
        }
        Ok(())
    }

    /// In the form that `malloc_info` has in the C library: free blocks by size, then totals.
    pub(crate) fn write_xml(&self, to: &mut impl Write) -> fmt::Result {
        let stats = &self.stats;
        to.write_str("<malloc version=\"1\">\n<heap nr=\"0\">\n<sizes>\n")?;
        let mut below = 0;
        let (mut free_count, mut free_bytes) = (0, 0);
        for class in &stats.classes {
            let count = class.free + class.cached;
            if count > 0 {
                let (from, total) = (below + 1, count * class.size);
                writeln!(
                    to,
                    "  <size from=\"{from}\" to=\"{}\" total=\"{total}\" count=\"{count}\"/>",
                    class.size
                )?;
                free_count += count;
                free_bytes += total;
            }
            below = class.size;
        }
        to.write_str("</sizes>\n")?;
        self.xml_totals(to, free_count, free_bytes)?;
        to.write_str("</heap>\n")?;
        self.xml_totals(to, free_count, free_bytes)?;
        to.write_str("</malloc>\n")
    }

    fn xml_totals(&self, to: &mut impl Write, free_count: usize, free_bytes: usize) -> fmt::Result {
        let stats = &self.stats;
        let rest = stats.committed_bytes.saturating_sub(stats.allocated_bytes + free_bytes);
        writeln!(to, "<total type=\"fast\" count=\"{free_count}\" size=\"{free_bytes}\"/>")?;
        writeln!(to, "<total type=\"rest\" count=\"{}\" size=\"{rest}\"/>", usize::from(rest > 0))?;
        writeln!(to, "<total type=\"mmap\" count=\"0\" size=\"0\"/>")?;
        writeln!(to, "<system type=\"current\" size=\"{}\"/>", stats.committed_bytes)?;
        writeln!(to, "<system type=\"max\" size=\"{}\"/>", stats.peak_committed_bytes)?;
        writeln!(to, "<aspace type=\"total\" size=\"{}\"/>", stats.pool_bytes)?;
        writeln!(to, "<aspace type=\"mprotect\" size=\"{}\"/>", stats.committed_bytes)
    }
}

/// Bytes that the program asked for in the blocks it holds: an estimate, from the mean request of
/// each class, since sizes of single requests are not kept.
fn requested_live(stats: &Stats, counts: &CallCounts) -> u64 {
    let in_class = |live: u64, class: usize| {
        let calls = u128::from(counts.class_calls[class].max(1));
        let requested = u128::from(live) * u128::from(counts.class_requested[class]) / calls;
        u64::try_from(requested).unwrap_or(u64::MAX)
    };
    let small: u64 = stats
        .classes
        .iter()
        .zip(1..)
        .map(|(class, index)| in_class(class.live as u64, index))
        .sum();
    // Whole pages waste less than one each.
    small + stats.large_bytes as u64
}

/// The name that the program was started by.
struct ProgramName(&'static CStr);

impl ProgramName {
    /// As the kernel remembers it: not what the program may have made of its arguments.
    fn own() -> ProgramName {
        // SAFETY: reads the auxiliary vector.
        let path = unsafe { libc::getauxval(libc::AT_EXECFN) };
        if path == 0 {
            return ProgramName(c"?");
        }
        // SAFETY: the kernel has put a C string there, which stays for the life of the process.
        ProgramName(unsafe { CStr::from_ptr(ptr::with_exposed_provenance(path as usize)) })
    }

    /// The last component.
    fn bytes(&self) -> &[u8] {
        let path = self.0.to_bytes();
        path.rsplit(|&byte| byte == b'/').next().unwrap_or(path)
    }

    fn write_text(&self, to: &mut impl Write) -> fmt::Result {
        write!(to, "{}", self.bytes().escape_ascii())
    }

    /// Inside a JSON string; bytes that are no UTF-8 become the replacement character.
    fn write_json(&self, to: &mut impl Write) -> fmt::Result {
        for chunk in self.bytes().utf8_chunks() {
            for character in chunk.valid().chars() {
                match character {
                    '"' | '\\' => write!(to, "\\{character}")?,
                    '\0'..='\u{1f}' | '\u{7f}' => write!(to, "\\u{:04x}", u32::from(character))?,
                    _ => to.write_char(character)?,
                }
            }
            if !chunk.invalid().is_empty() {
                to.write_char(char::REPLACEMENT_CHARACTER)?;
            }
        }
        Ok(())
    }
}
