//! Statistics: the report at exit, and what the introspection calls tell.
//!
//! The report is written after everything else of the process: the handler is registered before the
//! program starts, so it runs last, when the destructors of all libraries are done. Many programs
//! have closed standard error by then, so a duplicate is taken at the start.

mod destination;
mod report;
mod sheet;
#[cfg(feature = "log")]
mod twin;

use core::ffi::{CStr, c_int, c_void};
use core::ptr;
use core::sync::atomic::{AtomicU8, Ordering};
use pmem_core::errno::ErrnoGuard;
use vmem_engine::Stats;

use crate::config::Format;
use crate::runtime::HEAP;
use report::Report;
use sheet::Sheet;
#[cfg(feature = "log")]
pub(crate) use twin::install as install_log;

unsafe extern "C" {
    /// Registers a function for the end of the process. The last argument names a shared object whose
    /// end would call it earlier; null is for the process's own.
    fn __cxa_atexit(
        function: extern "C" fn(*mut c_void),
        argument: *mut c_void,
        object: *mut c_void,
    ) -> c_int;
}

const NONE: u8 = 0;
const TEXT: u8 = 1;
const JSON: u8 = 2;
static FORMAT: AtomicU8 = AtomicU8::new(NONE);

/// Has a report written when the process ends, to `file`, or to what is standard error now. Called
/// once.
pub(crate) fn install(format: Format, file: Option<&CStr>) {
    destination::choose(file);
    let format = match format {
        Format::Text => TEXT,
        Format::Json => JSON,
    };
    FORMAT.store(format, Ordering::Relaxed);
    at_end(at_exit);
}

/// Has a function called when everything else of the process has ended.
fn at_end(function: extern "C" fn(*mut c_void)) {
    // Without memory for the registration there is no report, and nobody to tell.
    // SAFETY: a plain function of a library that is never unloaded.
    let _ = unsafe { __cxa_atexit(function, ptr::null_mut(), ptr::null_mut()) };
}

extern "C" fn at_exit(_: *mut c_void) {
    let _errno = ErrnoGuard::new();
    let Some(output) = destination::open() else { return };
    let write = match FORMAT.load(Ordering::Relaxed) {
        JSON => Report::write_json,
        _ => Report::write_text,
    };
    write_to(write, |report| output.write(report));
}

/// Puts the report of this moment on a sheet and hands that over. Nothing happens without DRAM.
fn write_to<R>(
    write: impl FnOnce(&Report, &mut Sheet) -> core::fmt::Result,
    take: impl FnOnce(&[u8]) -> R,
) -> Option<R> {
    let mut sheet = Sheet::new()?;
    let report = Report::now(&HEAP)?;
    // A sheet never refuses; what does not fit is cut.
    let _ = write(&report, &mut sheet);
    Some(take(sheet.as_bytes()))
}

/// Writes the report as text to standard error.
pub(crate) fn print() {
    let _errno = ErrnoGuard::new();
    let _ = write_to(Report::write_text, pmem_core::fmt::write_stderr);
}

/// Writes the report as XML to a stream of the C library. 0, or -1 with errno of the stream.
///
/// # Safety
/// `stream` is an open stream.
pub(crate) unsafe fn print_xml(stream: *mut libc::FILE) -> c_int {
    // The stream may allocate its buffer: no lock is held here.
    // SAFETY: contract; the bytes are readable.
    let put = |bytes: &[u8]| unsafe {
        libc::fwrite(bytes.as_ptr().cast(), 1, bytes.len(), stream) == bytes.len()
    };
    // Without a pool there is nothing to tell, and that is no failure of the stream.
    let empty = b"<malloc version=\"1\">\n</malloc>\n";
    let written = write_to(Report::write_xml, put).unwrap_or_else(|| put(empty));
    if written { 0 } else { -1 }
}

/// Figures of all pools together.
#[derive(Default)]
pub(crate) struct Totals {
    pub(crate) committed_bytes: usize,
    pub(crate) allocated_bytes: usize,
    pub(crate) active_bytes: usize,
    pub(crate) thread_cache_bytes: usize,
    pub(crate) free_slots: usize,
    pub(crate) cached_slots: usize,
}

impl Totals {
    /// Of this moment; zeros when there is no pool.
    pub(crate) fn now() -> Totals {
        let _errno = ErrnoGuard::new();
        let mut totals = Totals::default();
        for stats in [HEAP.stats(), HEAP.overflow_stats()].into_iter().flatten() {
            totals.add(&stats);
        }
        totals
    }

    fn add(&mut self, stats: &Stats) {
        // The figures are taken one after the other while other threads work.
        self.committed_bytes += stats.committed_bytes.max(stats.allocated_bytes);
        self.allocated_bytes += stats.allocated_bytes;
        self.active_bytes += stats.active_bytes;
        self.thread_cache_bytes += stats.thread_cache_bytes;
        // Opaque to the compiler, which would write the whole loop out for the known length.
        for class in core::hint::black_box(stats.classes.as_slice()) {
            self.free_slots += class.free;
            self.cached_slots += class.cached;
        }
    }
}
