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
use pmem_core::error::Error;
use pmem_core::log_line;
use pmem_core::source::{Source, parse_hint, prefer_addresses_from};
use pmem_core::sys;
use vmem_engine::{Overflow, Pool, PoolOptions, Runtime, config::MIN_POOL_BYTES, memcheck};

use crate::config::{Config, Place, Space};
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
    if config.overflow == Overflow::Dram {
        HEAP.runtime().allow_overflow(config.harden);
    }
    let pool = match make_pool(&config) {
        Ok(pool) => pool,
        Err(error) => instead_of_pool(&config, &error),
    };
    fork::install(config.fork, config.home_ms);
    #[cfg(feature = "log")]
    stats::install_log(environment::get(c"VMMALLOC_LOG_STATS"));
    if memcheck::is_on() {
        HEAP.runtime().watch(pool);
        return None;
    }
    if let Some(format) = config.report {
        HEAP.count_calls();
        stats::install(format, config.report_file);
    }
    log_line!(2, "start", "initialization completed");
    Some(pool)
}

/// What a process does whose pool cannot be made: it ends, unless another process has the device (they inherit
/// the variables) and a heap may go on in ordinary memory.
#[cold]
fn instead_of_pool(config: &Config<'_>, error: &Error) -> Pool {
    let is_used = error.operation == "flock";
    let overflow = if is_used { HEAP.runtime().create_overflow() } else { None };
    if let Some(pool) = overflow {
        log_line!(
            1,
            "start",
            "the device is in use by another process: the heap is in ordinary memory"
        );
        return pool;
    }
    let (name, value, remedy) = match config.place {
        Place::Directory(_) => refuse(format_args!("vmem pool creation failed: {}", error.errno)),
        Place::Device(path) if error.operation.ends_with("size") => (
            "VMMALLOC_DEVICE",
            path,
            "name a device, and a size if any, of at least 14 MiB and a page of the device",
        ),
        Place::Device(path) => {
            ("VMMALLOC_DEVICE", path, "name a device-DAX node that can be read and written")
        }
        Place::Nodes { list, .. } if error.operation == "mbind" => {
            ("VMMALLOC_NODES", list, "name nodes that have memory")
        }
        Place::Nodes { list, .. } => {
            ("VMMALLOC_NODES", list, "make the pool smaller, or name nodes with more free memory")
        }
    };
    let value = value.to_bytes().escape_ascii();
    if is_used {
        refuse(format_args!(
            "{name} {value} is in use by another process; \
             with VMMALLOC_OVERFLOW=dram this one goes on in ordinary memory"
        ));
    }
    refuse(format_args!("vmem pool creation failed: {name} {value}: {}; {remedy}", error.errno))
}

fn make_pool(config: &Config<'_>) -> Result<Pool, Error> {
    let source = make_source(config)?;
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
    Pool::create(source, &options)
}

fn make_source(config: &Config<'_>) -> Result<Source, Error> {
    let len = pool_len(config)?;
    match config.place {
        Place::Directory(directory) => Source::in_directory(directory, file_len(config, len)?)
            .inspect_err(|error| log_line!(1, "util_tmpfile", "{error}")),
        Place::Device(path) => Source::device_dax_up_to(path, len),
        Place::Nodes { nodes, policy, .. } => Source::anonymous_on_nodes(len, &nodes, policy),
    }
}

/// The size asked for in whole pages; without one, more than any device has.
fn pool_len(config: &Config<'_>) -> Result<usize, Error> {
    // More pages than the engine counts. Asking the file system first would give its answer to a
    // question that is moot.
    const LONGEST: usize = (u32::MAX as usize) * PAGE_SIZE;
    let Some(size) = config.size else { return Ok(LONGEST) };
    let len = usize::try_from(size).ok().and_then(|size| checked_align_up(size, PAGE_SIZE));
    len.filter(|&len| len <= LONGEST).ok_or(Error::new("size", Errno::EINVAL))
}

/// Length of the pool's file: as asked for, or less where that is allowed.
fn file_len(config: &Config<'_>, len: usize) -> Result<usize, Error> {
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
        Err(Error::new("size", Errno::EFBIG))
    }
}
