//! The word that threads sleep on: an atomic plus the kernel's wait queue, or a model of both under
//! loom.

#[cfg(not(pmem_loom))]
mod imp {
    use core::sync::atomic::AtomicU32;
    pub(in crate::sync) use core::sync::atomic::Ordering;

    use crate::sys;

    /// An atomic word with a wait queue.
    pub(in crate::sync) struct Futex {
        word: AtomicU32,
    }

    impl Futex {
        pub(in crate::sync) const fn new(value: u32) -> Futex {
            Futex { word: AtomicU32::new(value) }
        }

        #[inline]
        pub(in crate::sync) fn word(&self) -> &AtomicU32 {
            &self.word
        }

        /// Sleeps while the word holds `expected`; may return early.
        pub(in crate::sync) fn wait(&self, expected: u32) {
            sys::futex_wait(&self.word, expected);
        }

        pub(in crate::sync) fn wake_one(&self) {
            sys::futex_wake(&self.word, 1);
        }

        pub(in crate::sync) fn wake_all(&self) {
            sys::futex_wake(&self.word, i32::MAX);
        }
    }

    /// The value that a lock protects.
    pub(in crate::sync) struct Protected<T: ?Sized>(core::cell::UnsafeCell<T>);

    impl<T> Protected<T> {
        pub(in crate::sync) const fn new(value: T) -> Protected<T> {
            Protected(core::cell::UnsafeCell::new(value))
        }

        pub(in crate::sync) fn into_inner(self) -> T {
            self.0.into_inner()
        }

        /// Starts an access that lasts as long as the returned pointer.
        #[inline]
        pub(in crate::sync) fn access(&self) -> Exclusive<T> {
            Exclusive(self.0.get())
        }
    }

    /// One exclusive access to a [`Protected`] value.
    pub(in crate::sync) struct Exclusive<T: ?Sized>(*mut T);

    impl<T> Exclusive<T> {
        /// # Safety
        /// The lock is held, and the value lives as long as the reference is used.
        #[inline]
        pub(in crate::sync) unsafe fn get<'a>(&self) -> &'a mut T {
            // SAFETY: the lock makes this the only reference.
            unsafe { &mut *self.0 }
        }
    }
}

#[cfg(pmem_loom)]
mod imp {
    pub(in crate::sync) use loom::sync::atomic::{AtomicU32, Ordering};
    use loom::sync::{Condvar, Mutex};

    /// As the kernel does it: the value is compared while the queue is locked, so a wake-up is
    /// never lost in between.
    pub(in crate::sync) struct Futex {
        word: AtomicU32,
        queue: Mutex<()>,
        sleepers: Condvar,
    }

    impl Futex {
        pub(in crate::sync) fn new(value: u32) -> Futex {
            Futex { word: AtomicU32::new(value), queue: Mutex::new(()), sleepers: Condvar::new() }
        }

        pub(in crate::sync) fn word(&self) -> &AtomicU32 {
            &self.word
        }

        pub(in crate::sync) fn wait(&self, expected: u32) {
            let queue = self.queue.lock().unwrap();
            if self.word.load(Ordering::SeqCst) == expected {
                drop(self.sleepers.wait(queue).unwrap());
            }
        }

        pub(in crate::sync) fn wake_one(&self) {
            let _queue = self.queue.lock().unwrap();
            self.sleepers.notify_one();
        }

        pub(in crate::sync) fn wake_all(&self) {
            let _queue = self.queue.lock().unwrap();
            self.sleepers.notify_all();
        }
    }

    pub(in crate::sync) struct Protected<T>(loom::cell::UnsafeCell<T>);

    impl<T> Protected<T> {
        pub(in crate::sync) fn new(value: T) -> Protected<T> {
            Protected(loom::cell::UnsafeCell::new(value))
        }

        pub(in crate::sync) fn into_inner(self) -> T {
            self.0.into_inner()
        }

        pub(in crate::sync) fn access(&self) -> Exclusive<T> {
            Exclusive(self.0.get_mut())
        }
    }

    pub(in crate::sync) struct Exclusive<T>(loom::cell::MutPtr<T>);

    impl<T> Exclusive<T> {
        pub(in crate::sync) unsafe fn get<'a>(&self) -> &'a mut T {
            let value: *mut T = self.0.with(|value| value);
            // SAFETY: the lock makes this the only reference; loom watches the access through
            // `self.0`.
            unsafe { &mut *value }
        }
    }
}

pub(super) use imp::{Exclusive, Futex, Ordering, Protected};
