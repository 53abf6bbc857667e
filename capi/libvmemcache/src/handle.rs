//! What a `VMEMcache` is.

use std::cell::Cell;
use std::ffi::c_void;
use std::mem;
use std::ptr::{self, NonNull};
use std::sync::atomic::{
    AtomicBool, AtomicPtr,
    Ordering::{Acquire, Relaxed, Release},
};
use std::sync::{Arc, OnceLock};
use vmemcache::{Cache, Cause, Listener, Replacement, Value, policy::Kind};

/// The smallest pool and the smallest extent, in bytes.
pub(crate) const MIN_POOL: usize = 1 << 20;
pub(crate) const MIN_EXTENT: usize = 256;
/// Sizes are smaller than this.
pub(crate) const SIZE_LIMIT: usize = 1 << 56;

/// `vmemcache_on_evict` and `vmemcache_on_miss`.
pub(crate) type Callback = unsafe extern "C" fn(*mut Handle, *const c_void, usize, *mut c_void);

/// A callback with its argument. Who registers sees to it that nobody is being called.
pub(crate) struct Registered {
    function: AtomicPtr<c_void>,
    argument: AtomicPtr<c_void>,
}

impl Registered {
    const fn none() -> Registered {
        Registered {
            function: AtomicPtr::new(ptr::null_mut()),
            argument: AtomicPtr::new(ptr::null_mut()),
        }
    }

    pub(crate) fn set(&self, function: Option<Callback>, argument: *mut c_void) {
        let function = function.map_or(ptr::null_mut(), |function| function as *mut c_void);
        self.argument.store(argument, Relaxed);
        self.function.store(function, Release);
    }

    /// The call for one key, if a callback is registered.
    pub(crate) fn call(&self, handle: *const Handle, key: &[u8]) -> Option<impl FnOnce()> {
        let function = NonNull::new(self.function.load(Acquire))?;
        let argument = self.argument.load(Relaxed);
        let (handle, key, len) = (handle.cast_mut(), key.as_ptr(), key.len());
        // SAFETY: stored from such a function.
        let function = unsafe { mem::transmute::<NonNull<c_void>, Callback>(function) };
        // SAFETY: the handle and the key live as long as the call that this is part of.
        Some(move || unsafe { function(handle, key.cast(), len, argument) })
    }
}

/// What is set before the pool is made. Callers serialise that, as the contract says.
pub(crate) struct Settings {
    /// Bytes as they were set.
    pub(crate) size: Cell<Option<usize>>,
    pub(crate) extent: Cell<usize>,
    pub(crate) replacement: Cell<Replacement>,
}

/// A handle: settings, then a cache.
pub(crate) struct Handle {
    pub(crate) settings: Settings,
    pub(crate) cache: OnceLock<Cache>,
    on_evict: Registered,
    pub(crate) on_miss: Registered,
    /// Switches of benchmarks, both seen through `plain`.
    pub(crate) index_only: AtomicBool,
    pub(crate) no_memcpy: AtomicBool,
    plain: AtomicBool,
}

impl Handle {
    pub(crate) fn new() -> Handle {
        Handle {
            settings: Settings {
                size: Cell::new(None),
                extent: Cell::new(MIN_EXTENT),
                replacement: Cell::new(Replacement::Policy(Kind::Lru)),
            },
            cache: OnceLock::new(),
            on_evict: Registered::none(),
            on_miss: Registered::none(),
            index_only: AtomicBool::new(false),
            no_memcpy: AtomicBool::new(false),
            plain: AtomicBool::new(true),
        }
    }

    /// Whether no switch of benchmarks is on.
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        self.plain.load(Relaxed)
    }

    /// Turns a switch of benchmarks.
    pub(crate) fn switch(&self, which: &AtomicBool, on: bool) {
        which.store(on, Relaxed);
        let any = self.index_only.load(Relaxed) || self.no_memcpy.load(Relaxed);
        self.plain.store(!any, Relaxed);
    }

    /// Registers on_evict. The cache is told, too: it does less when nobody listens.
    pub(crate) fn listen(&self, function: Option<Callback>, argument: *mut c_void) {
        self.on_evict.set(function, argument);
        if let Some(cache) = self.cache.get() {
            cache.set_listener(self.listener());
        }
    }

    /// Who listens for the cache.
    pub(crate) fn listener(&self) -> Option<Arc<dyn Listener>> {
        let listens = !self.on_evict.function.load(Relaxed).is_null();
        listens.then(|| Arc::new(Ear { handle: self }) as Arc<dyn Listener>)
    }
}

/// Passes evictions on.
struct Ear {
    handle: *const Handle,
}

// SAFETY: what it uses of the handle can be used by all threads.
unsafe impl Send for Ear {}
// SAFETY: as above.
unsafe impl Sync for Ear {}

impl Listener for Ear {
    fn on_evict(&self, key: &[u8], _: &Value<'_>, _: Cause) {
        // SAFETY: the cache, which calls this, is a part of the handle.
        let handle = unsafe { &*self.handle };
        if let Some(call) = handle.on_evict.call(handle, key) {
            call();
        }
    }
}
