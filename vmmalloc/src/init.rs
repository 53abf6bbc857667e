//! Starting: from the constructor, or from the first call of malloc if that comes earlier.
//!
//! ```text
//! loader -> constructor -> HEAP.is_ready() --+
//! any call of malloc, if none came before ---+--> Runtime::create -> start()
//!                                                    environment -> Config -> pool
//!                                                    fork handlers, report at exit
//! ```
//!
//! Nothing here allocates. [`start`] runs once, guarded by the heap; calls of malloc from inside it
//! would be served by the C library.

use core::ffi::{c_char, c_int};
use pmem_core::align::{PAGE_SIZE, align_down, checked_align_up};
use pmem_core::errno::Errno;
use pmem_core::log_line;
use pmem_core::source::{Source, parse_hint, prefer_addresses_from};
use pmem_core::sys;
use vmem_engine::{Overflow, Pool, PoolOptions, config::MIN_POOL_BYTES, memcheck};

use crate::config::{Config, Space};
use crate::refusal::refuse;
use crate::runtime::HEAP;
use crate::{environment, fork, log, passive, stats};

#[used]
#[unsafe(link_section = ".init_array")]
static CONSTRUCTOR: extern "C" fn(c_int, *const *const c_char, *const *const c_char) = constructor;

/// Makes the pool before any other code of the program runs, so that a wrong environment shows at
/// once.
extern "C" fn constructor(_: c_int, _: *const *const c_char, envp: *const *const c_char) {
    // SAFETY: the loader passes the process's environment.
    unsafe { environment::remember(envp) };
    if passive::is_bound() {
        HEAP.is_ready();
    }
}

/// Makes the pool that the environment asks for. `None` when all calls are to go to the C library, and under
/// valgrind, where they go to a watched pool.
/// A wrong environment ends the process.
pub(crate) fn start() -> Option<Pool> {
    if passive::is_wanted() {
        return None;
    }
    log::open();
    memcheck::look();
    let config = match Config::read(environment::get) {
        Ok(config) => config,
        Err(invalid) => refuse(invalid),
    };
    if let Some(address) =
        environment::get(c"PMEM_MMAP_HINT").and_then(|t| parse_hint(t.to_bytes()))
    {
        prefer_addresses_from(address);
    }
    let pool = match make_pool(&config) {
        Ok(pool) => pool,
        Err(errno) => refuse(format_args!("vmem pool creation failed: {errno}")),
    };
    fork::install(config.fork, config.home_ms);
    #[cfg(feature = "log")]
    stats::install_log(environment::get(c"VMMALLOC_LOG_STATS"));
    if memcheck::is_on() {
        HEAP.runtime().watch(pool);
        return None;
    }
    if config.overflow == Overflow::Dram {
        HEAP.runtime().allow_overflow(config.harden);
    }
    if let Some(format) = config.report {
        HEAP.count_calls();
        stats::install(format, config.report_file);
    }
    log_line!(2, "start", "initialization completed");
    Some(pool)
}

fn make_pool(config: &Config<'_>) -> Result<Pool, Errno> {
    let source = Source::in_directory(config.directory, pool_len(config)?);
    let source = source.map_err(|error| {
        log_line!(1, "util_tmpfile", "{error}");
        error.errno
    })?;
    if cfg!(feature = "log")
        && let Some(name) = source.former_name(&mut [0; 1024])
    {
        log_line!(3, "util_tmpfile_mkstemp", "unlinked file is \"{}\"", name.escape_ascii());
    }
    if !config.dump {
        source.dont_dump(true);
    }
    let mut options = PoolOptions {
        prealloc: config.space == Space::Prealloc,
        purge: config.purge,
        huge_pages: config.huge_pages,
        harden: config.harden,
        ..PoolOptions::default()
    };
    if memcheck::is_on() {
        options.thread_caches = false;
        // The address of the pool is known in many places, and would make a first block there reachable.
        options.head_bytes = PAGE_SIZE;
    }
    Pool::create(source, &options).map_err(|e| e.errno)
}

/// Length of the pool's file: the size asked for in whole pages, or less where that is allowed.
fn pool_len(config: &Config<'_>) -> Result<usize, Errno> {
    // More pages than the engine counts. Asking the file system first would give its answer to a
    // question that is moot.
    const LONGEST: usize = (u32::MAX as usize) * PAGE_SIZE;
    let len = usize::try_from(config.size).ok().and_then(|size| checked_align_up(size, PAGE_SIZE));
    let len = len.filter(|&len| len <= LONGEST).ok_or(Errno::EINVAL)?;
    // Beyond this limit the kernel would raise SIGXFSZ.
    let limit = usize::try_from(sys::limit_file_size()).unwrap_or(usize::MAX);
    if len <= limit {
        return Ok(len);
    }
    let capped = align_down(limit, PAGE_SIZE);
    // A lazy pool promises no size, so a smaller one serves.
    if config.space == Space::Lazy && capped >= MIN_POOL_BYTES {
        Ok(capped)
    } else {
        Err(Errno::EFBIG)
    }
}
