//! Fork handlers. What they do to the pool is the engine's business; when they run, and the texts of
//! failure, are ours.

use core::ffi::{c_int, c_void};
use core::ptr;
use core::sync::atomic::{AtomicU8, Ordering};
use pmem_core::errno::{Errno, ErrnoGuard};
use vmem_engine::fork::{self, ForkError, ForkMode};

use crate::refusal::{refuse, refuse_fork};
use crate::runtime::HEAP;

unsafe extern "C" {
    /// What `pthread_atfork` calls. The last argument names the shared object whose end removes the
    /// handlers; null keeps them for the life of the process, because other libraries may still
    /// fork when our end has come.
    fn __register_atfork(
        prepare: extern "C" fn(),
        parent: extern "C" fn(),
        child: extern "C" fn(),
        object: *mut c_void,
    ) -> c_int;
}

static MODE: AtomicU8 = AtomicU8::new(ForkMode::Private as u8);

fn mode() -> ForkMode {
    [ForkMode::Share, ForkMode::Private, ForkMode::Copy, ForkMode::CopyOrPrivate]
        .into_iter()
        .find(|&mode| mode as u8 == MODE.load(Ordering::Relaxed))
        .unwrap_or(ForkMode::Private)
}

/// Registers the handlers. Called once, as early as possible: the handlers that prepare a fork run
/// in reverse order of registration, so ours runs when those of all others are done.
pub(crate) fn install(mode: ForkMode, home_ms: Option<u32>) {
    fork::set_home_ms(home_ms);
    MODE.store(mode as u8, Ordering::Relaxed);
    // SAFETY: plain functions of a library that is never unloaded.
    let result = unsafe { __register_atfork(prepare, parent, child, ptr::null_mut()) };
    if result != 0 {
        refuse(format_args!("os_thread_atfork: {}", Errno(result)));
    }
}

extern "C" fn prepare() {
    let _errno = ErrnoGuard::new();
    // SAFETY: the C library calls `parent` or `child` next in this thread.
    if let Err(error) = unsafe { fork::prepare(mode()) } {
        fail(error);
    }
}

extern "C" fn parent() {
    let _errno = ErrnoGuard::new();
    // SAFETY: follows `prepare` in the same thread.
    unsafe { fork::parent() };
}

extern "C" fn child() {
    let _errno = ErrnoGuard::new();
    // SAFETY: the only thread of the child, after `prepare` in the parent.
    let result = unsafe {
        let result = fork::child();
        HEAP.after_fork_in_child();
        result
    };
    if let Err(error) = result {
        fail(error);
    }
}

#[cold]
fn fail(error: ForkError) -> ! {
    refuse_fork(match error {
        ForkError::Remap(_) => "remapping failed",
        ForkError::Clone(_) => "pool cloning failed",
        ForkError::Map(_) => "mapping failed",
    })
}
