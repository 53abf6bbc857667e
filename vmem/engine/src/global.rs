//! A Rust global allocator whose heap is a pool.
//!
//! It lives here and not in the std façade so that the compiler proves what matters: an allocator
//! must not use what allocates, and without std it cannot.

mod settings;

pub use settings::Policy;

use crate::config::MIN_POOL_BYTES;
use crate::harden::Harden;
use crate::heap::{Heap, Overflow, Runtime};
use crate::pool::{HugePages, Pool, PoolOptions};
use crate::{CallCounts, Fault, PurgePolicy, Stats, fork, layout};
use core::alloc::{GlobalAlloc, Layout};
use core::ffi::CStr;
use core::fmt::{self, Write};
use core::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use pmem_core::errno::Errno;
use pmem_core::error::Error;
use pmem_core::fmt::StackBuf;
use pmem_core::source::Source;
use pmem_core::sync::{Mutex, Rank};
use pmem_core::{env, sys};
use settings::{Place, Settings};

/// Rust's global allocator in a pool: in a file of a directory, on a device, on NUMA nodes.
///
/// The pool is made by the first allocation, which happens before `main`. It has a size limit; what
/// is freed goes back to the medium (see [`VmemAlloc::purge`]). When the pool cannot be made the
/// program aborts with one line that names the reason and the remedy, unless
/// [`VmemAlloc::on_failure`] says otherwise; when it is full an allocation fails, unless
/// [`VmemAlloc::overflow`] says otherwise. After a `fork` parent and child go on, each with memory
/// of its own.
///
/// # Environment
/// Users of the program can change what its author set. A set-user-ID program ignores these
/// variables, and so does an allocator with [`VmemAlloc::ignore_env`]; an empty value counts as not
/// set. A value that makes no sense ends the program, whatever the policy: it shall not run half
/// configured.
///
/// | variable | value | method |
/// |---|---|---|
/// | `VMEM_ALLOC_DIR` | directory; replaces any other place | [`in_dir`](VmemAlloc::in_dir) |
/// | `VMEM_ALLOC_SIZE` | bytes, or `512M`, `8G`, ...; at least 14M | [`in_dir`](VmemAlloc::in_dir) |
/// | `VMEM_ALLOC_SPACE` | `lazy`, `prealloc` | [`prealloc`](VmemAlloc::prealloc) |
/// | `VMEM_ALLOC_PURGE_MS` | milliseconds; `0`: at once; `off` | [`purge`](VmemAlloc::purge) |
/// | `VMEM_ALLOC_HUGEPAGE` | `never`, `advise` | [`huge_pages`](VmemAlloc::huge_pages) |
/// | `VMEM_ALLOC_HARDEN` | `0`, `1`, `2` | [`harden`](VmemAlloc::harden) |
/// | `VMEM_ALLOC_DUMP` | `0`, `1` | [`dump`](VmemAlloc::dump) |
/// | `VMEM_ALLOC_OVERFLOW` | `none`, `dram` | [`overflow`](VmemAlloc::overflow) |
/// | `VMEM_ALLOC_ON_FAILURE` | `abort`, `dram`, `fail` | [`on_failure`](VmemAlloc::on_failure) |
///
/// # Examples
/// ```
/// use vmem_engine::{Overflow, Policy, VmemAlloc};
///
/// #[global_allocator]
/// static A: VmemAlloc = VmemAlloc::in_dir(c"/dev/shm", 1 << 30)
///     .on_failure(Policy::Dram)
///     .overflow(Overflow::Dram);
///
/// let text = String::from("in the pool");
/// assert!(A.contains(text.as_ptr()));
/// ```
pub struct VmemAlloc {
    pub(crate) heap: Heap<Global>,
}

/// What serves the allocations of a [`VmemAlloc`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Backing {
    /// Nothing was allocated yet.
    NotMade,
    /// The pool.
    Pool,
    /// Anonymous memory, after a failure ([`Policy::Dram`]).
    Dram,
    /// Nothing: every allocation fails ([`Policy::Fail`]).
    Nothing,
}

/// The policies of the heap, and what became of them.
pub(crate) struct Global {
    settings: Settings,
    backing: AtomicU8,
    overflows: AtomicBool,
    /// What an overflow pool does to find errors: a [`Harden`].
    hardens: AtomicU8,
    failure: Mutex<Option<Error>>,
}

impl Global {
    const fn new(settings: Settings) -> Global {
        Global {
            settings,
            backing: AtomicU8::new(Backing::NotMade as u8),
            overflows: AtomicBool::new(false),
            hardens: AtomicU8::new(Harden::Off as u8),
            failure: Mutex::new(Rank::UNRANKED, None),
        }
    }

    fn now_backed_by(&self, backing: Backing) {
        self.backing.store(backing as u8, Ordering::Release);
    }

    fn settled(&self) -> Settings {
        if self.settings.ignore_env || sys::is_secure() {
            return self.settings;
        }
        match self.settings.changed_by(env::get) {
            Ok(settings) => settings,
            Err(invalid) => die(|line| write!(line, "vmem: {invalid}")),
        }
    }
}

/// Writes one line to standard error and aborts.
#[cold]
fn die(line: impl FnOnce(&mut Line) -> fmt::Result) -> ! {
    let mut text = Line::new();
    // Writing to the buffer cannot fail; what does not fit is cut.
    let _ = line(&mut text);
    pmem_core::fmt::write_stderr(text.as_bytes());
    sys::abort_with(b"\n")
}

/// Long enough for the longest path and all that is said about it.
type Line = StackBuf<5120>;

impl Runtime for Global {
    // A program may have several of these, beside that of its global allocator.
    const SOLE: bool = false;

    fn create(&self) -> Option<Pool> {
        let settings = self.settled();
        self.overflows.store(settings.overflow == Overflow::Dram, Ordering::Relaxed);
        self.hardens.store(settings.harden as u8, Ordering::Relaxed);
        // First, so that no fork finds a pool and no handlers.
        let pool = fork::install()
            .map_err(|errno| Error::new("pthread_atfork", errno))
            .and_then(|()| settings.make());
        let error = match pool {
            Ok(pool) => {
                self.now_backed_by(Backing::Pool);
                return Some(pool);
            }
            Err(error) => error,
        };
        *self.failure.lock() = Some(error);
        let pool = match settings.policy {
            Policy::Abort => die(|line| settings.complaint(&error, line)),
            // Nobody states the size of a device.
            Policy::Dram if settings.size == 0 => anonymous(all_memory(), settings.harden),
            Policy::Dram => anonymous(settings.size, settings.harden),
            Policy::Fail => None,
        };
        self.now_backed_by(if pool.is_some() { Backing::Dram } else { Backing::Nothing });
        pool
    }

    fn create_overflow(&self) -> Option<Pool> {
        let harden = match self.hardens.load(Ordering::Relaxed) {
            1 => Harden::Checks,
            2 => Harden::Poison,
            _ => Harden::Off,
        };
        self.overflows.load(Ordering::Relaxed).then(|| anonymous(all_memory(), harden)).flatten()
    }

    fn out_of_memory(&self) {
        Errno::ENOMEM.set();
    }

    unsafe fn foreign_free(&self, pointer: *mut u8) {
        refuse("dealloc", pointer)
    }

    unsafe fn foreign_realloc(&self, pointer: *mut u8, _size: usize) -> *mut u8 {
        refuse("realloc", pointer)
    }

    unsafe fn foreign_usable_size(&self, _pointer: *mut u8) -> usize {
        0
    }
}

/// Address space for as much as the machine can hold; memory is used as it is touched.
fn all_memory() -> usize {
    usize::try_from(sys::machine_memory()).unwrap_or(usize::MAX).clamp(MIN_POOL_BYTES, 1 << 43)
}

/// A pool in anonymous memory; smaller where a limit on address space (`ulimit -v`) leaves less.
fn anonymous(mut size: usize, harden: Harden) -> Option<Pool> {
    let options = PoolOptions { harden, ..PoolOptions::default() };
    while size >= MIN_POOL_BYTES {
        let source = Source::anonymous(size);
        let pool = source.and_then(|source| Pool::create(source, &options));
        if let Ok(pool) = pool {
            return Some(pool);
        }
        size /= 2;
    }
    None
}

#[cold]
fn refuse(call: &str, pointer: *mut u8) -> ! {
    die(|line| write!(line, "vmem: {call} of {pointer:p}, which is not from this allocator"))
}

/// # Making one
impl VmemAlloc {
    const fn new(place: Place, size: usize) -> VmemAlloc {
        VmemAlloc { heap: Heap::new(Global::new(Settings::new(place, size))) }
    }

    /// An allocator in a file without a name in `directory`, of at most `size` bytes (at least
    /// 14 MiB, less than 16 TiB). Space is taken as it is needed.
    pub const fn in_dir(directory: &'static CStr, size: usize) -> VmemAlloc {
        VmemAlloc::new(Place::Directory(directory), size)
    }

    /// An allocator on a whole device-DAX node, for example `/dev/dax0.0`.
    pub const fn on_device(path: &'static CStr) -> VmemAlloc {
        VmemAlloc::new(Place::Device(path), 0)
    }

    /// An allocator in memory of the given NUMA nodes only, of at most `size` bytes. `nodes` is in
    /// the kernel's list form: `"0-1,3"`.
    pub const fn on_nodes(nodes: &'static str, size: usize) -> VmemAlloc {
        VmemAlloc::new(Place::Nodes(nodes), size)
    }

    /// An allocator in anonymous memory, of at most `size` bytes.
    pub const fn anonymous(size: usize) -> VmemAlloc {
        VmemAlloc::new(Place::Anonymous, size)
    }

    /// Takes the space of the whole pool when it is made: it cannot run out of backing later.
    pub const fn prealloc(mut self) -> VmemAlloc {
        self.heap.runtime.settings.prealloc = true;
        self
    }

    /// When memory that the program freed goes back to the medium. Default: after a second.
    pub const fn purge(mut self, purge: PurgePolicy) -> VmemAlloc {
        self.heap.runtime.settings.purge = purge;
        self
    }

    /// Whether the kernel is asked for huge pages. Default: no.
    pub const fn huge_pages(mut self, huge_pages: HugePages) -> VmemAlloc {
        self.heap.runtime.settings.huge_pages = huge_pages;
        self
    }

    /// What the allocator does to find errors of the program. Default: nothing.
    pub const fn harden(mut self, harden: Harden) -> VmemAlloc {
        self.heap.runtime.settings.harden = harden;
        self
    }

    /// Whether the pool goes into core files. Default: yes.
    pub const fn dump(mut self, dump: bool) -> VmemAlloc {
        self.heap.runtime.settings.dump = dump;
        self
    }

    /// What a full pool does. Default: the allocation fails.
    pub const fn overflow(mut self, overflow: Overflow) -> VmemAlloc {
        self.heap.runtime.settings.overflow = overflow;
        self
    }

    /// What happens when the pool cannot be made. Default: [`Policy::Abort`].
    pub const fn on_failure(mut self, policy: Policy) -> VmemAlloc {
        self.heap.runtime.settings.policy = policy;
        self
    }

    /// Leaves the settings to the program alone.
    pub const fn ignore_env(mut self) -> VmemAlloc {
        self.heap.runtime.settings.ignore_env = true;
        self
    }
}

/// # Asking it
///
/// None of these allocates from the allocator.
impl VmemAlloc {
    /// What serves the allocations.
    pub fn backing(&self) -> Backing {
        match self.heap.runtime.backing.load(Ordering::Acquire) {
            1 => Backing::Pool,
            2 => Backing::Dram,
            3 => Backing::Nothing,
            _ => Backing::NotMade,
        }
    }

    /// Why the pool could not be made; `None` when it could, or was not tried yet.
    pub fn failure(&self) -> Option<Error> {
        *self.heap.runtime.failure.lock()
    }

    /// Whether `pointer` lies in the allocator's memory, overflow included.
    pub fn contains(&self, pointer: *const u8) -> bool {
        self.heap.pools().into_iter().flatten().any(|pool| pool.contains(pointer))
    }

    /// Statistics of the pool; `None` while there is none.
    pub fn stats(&self) -> Option<Stats> {
        self.heap.stats()
    }

    /// Statistics of the overflow in DRAM; `None` when nothing ever overflowed.
    pub fn overflow_stats(&self) -> Option<Stats> {
        self.heap.overflow_stats()
    }

    /// Counts calls exactly from now on. To count those of all threads, call it before any is
    /// started; each call then takes longer.
    pub fn count_calls(&self) {
        self.heap.count_calls();
    }

    /// The exact counts; `None` unless [`VmemAlloc::count_calls`] was called.
    pub fn call_counts(&self) -> Option<CallCounts> {
        self.heap.call_counts()
    }

    /// Gives all free memory back to the medium now. Returns the bytes given back.
    pub fn trim(&self) -> usize {
        self.heap.trim()
    }

    /// Walks all structures of the allocator and checks that they agree.
    ///
    /// # Errors
    /// The first fault found.
    pub fn check(&self) -> Result<(), Fault> {
        self.heap.check()
    }
}

// SAFETY: blocks are at least as large and aligned as their layouts ask (`layout`), live until
// freed, and do not overlap; no call unwinds.
unsafe impl GlobalAlloc for VmemAlloc {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        layout::alloc(self, layout)
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, _layout: Layout) {
        // SAFETY: contract.
        unsafe { self.heap.free(block) }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        layout::alloc_zeroed(self, layout)
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: contract.
        unsafe { layout::realloc(self, block, layout, size) }
    }
}
