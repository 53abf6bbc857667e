//! The operating system, as thin typed wrappers. Layer 0 of the crate; the only files that call the
//! C library.
//!
//! Rules that hold for every function here:
//!
//! * it returns `Result<_, Errno>` and leaves the calling thread's `errno` as it was;
//! * it never allocates and needs at most a few hundred bytes of stack;
//! * it is not a cancellation point: calls that are one in the C library (`open`, `write`,
//!   `fallocate`, ...) are made as raw system calls;
//! * `EINTR` is retried, unless the text of a function says otherwise.
//!
//! | file | calls |
//! |---|---|
//! | `sys/raw.rs` | errno handling, the retry loop |
//! | `sys/memory.rs` | mmap, munmap, mremap, mprotect, madvise, mincore, msync |
//! | `sys/file.rs` | openat, fstat, ftruncate, fallocate, read, write, memfd_create, ... |
//! | `sys/process.rs` | identity, clock, page size, limits, random bytes |
//! | `sys/signal.rs` | blocking all signals for a short time |
//! | `sys/futex.rs` | wait and wake |
//! | `sys/thread.rs` | thread-exit hook, fork handlers |
//! | `sys/numa.rs` | mbind, node of an address |
//! | `sys/alone.rs` | unshare; what `/proc/self` tells of threads, pins and pages |
//! | `sys/userfault.rs` | userfaultfd |
//! | `sys/barrier.rs` | membarrier |

mod alone;
mod barrier;
mod file;
#[cfg(not(pmem_loom))]
mod futex;
mod memory;
mod numa;
mod process;
mod raw;
mod signal;
mod thread;
mod userfault;

pub use alone::{PageState, PageStates, has_direct_files, is_alone, may_be_pinned};
pub use barrier::{process_barrier, register_process_barrier};
pub use file::{
    Access, Fd, FileStatus, LockMode, OpenFlags, close, duplicate_at_least, fallocate, file_status,
    free_space, is_on_tmpfs, lock_file, memory_file, open_at, pread, pwrite, read, read_directory,
    read_link_at, seal_writes, sealable_file, truncate, unlink_at, write,
};
#[cfg(not(pmem_loom))]
pub(crate) use futex::{futex_wait, futex_wake};
pub use memory::{
    Advice, Content, MapFile, Protection, Rights, advise, map_anonymous, map_anonymous_over,
    map_file_over, map_over, move_mapping_over, move_pages_out, protect, reserve, reserve_at,
    resident_pages, sync_mapping, unmap,
};
pub use numa::{bind_memory, node_of_address};
pub use process::{
    abort_with, current_cpu, fill_random, is_secure, limit_file_size, limit_open_files,
    machine_memory, monotonic_ms, monotonic_us, page_size, process_id, thread_id, thread_us,
    yield_now,
};
pub use signal::SignalBlock;
pub use thread::{ExitKey, at_fork, thread_area};
pub use userfault::WriteBarrier;
