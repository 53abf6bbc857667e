//! Flat combining: who has the lock also does the work of those who wait for it.
//!
//! ```text
//! run(a) takes the lock ── process [a] ── process [b, c] ── unlock
//! run(b) finds it taken ── push b on the queue ──── waits ── has its result
//! run(c) finds it taken ── push c on the queue ──── waits ── has its result
//! ```
//!
//! Work that ends with waiting for the medium is then waited for once per batch, and nobody stands in a line for the
//! lock.

#[cfg(not(pmem_loom))]
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};
#[cfg(pmem_loom)]
use loom::sync::atomic::{AtomicPtr, AtomicU32, Ordering};
#[cfg(pmem_loom)]
use loom::thread::{self, Thread};
#[cfg(not(pmem_loom))]
use std::thread::{self, Thread};

use core::cell::UnsafeCell;
use core::ptr;
use pmem_core::sync::Backoff;

/// Requests that are processed together.
const MOST_AT_ONCE: usize = 32;
/// Batches after which another thread takes over: nobody works for the others for ever.
const MOST_ROUNDS: u32 = if cfg!(pmem_loom) { 1 } else { 16 };

const WAITING: u32 = 0;
const SLEEPING: u32 = 1;
const DONE: u32 = 2;
/// The lock and the requests behind this one are the waiting thread's now.
const LEADS: u32 = 3;

/// Runs requests one batch at a time.
///
/// One word is the lock and the queue: null when unlocked, `EMPTY` when locked and nobody waits, else locked and the
/// latest waiting request. So a request that meets no other costs two atomic operations.
#[derive(Debug)]
pub(crate) struct Combiner {
    word: AtomicPtr<()>,
}

/// Locked, and nobody waits. No node has this address.
const EMPTY: *mut () = ptr::without_provenance_mut(1);

/// A waiting request, on the stack of its thread.
struct Node<T, R> {
    item: T,
    state: AtomicU32,
    result: UnsafeCell<R>,
    /// Set before the state becomes `SLEEPING`.
    thread: UnsafeCell<Option<Thread>>,
    next: UnsafeCell<*mut Node<T, R>>,
}

/// Ends the process if work panics: waiting threads would wait for ever.
struct AbortOnDrop;

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        std::process::abort();
    }
}

impl Combiner {
    pub(crate) fn new() -> Combiner {
        Combiner { word: AtomicPtr::new(ptr::null_mut()) }
    }

    /// Has `item` processed, alone or with others, by this thread or another one. `process` gets requests in the order
    /// in which they are to take effect, and a result for each. Always the same types and function for one
    /// combiner.
    #[inline]
    pub(crate) fn run<T: Sync, R: Copy + Default + Send>(
        &self,
        item: T,
        process: &impl Fn(&[&T], &mut [R]),
    ) -> R {
        if self.swap_word(ptr::null_mut(), EMPTY).is_err() {
            return self.run_with_others(item, process);
        }
        let mut results = [R::default()];
        let guard = AbortOnDrop;
        process(&[&item], &mut results);
        core::mem::forget(guard);
        if self.swap_word(EMPTY, ptr::null_mut()).is_err() {
            self.serve(process);
        }
        results[0]
    }

    fn swap_word(&self, old: *mut (), new: *mut ()) -> Result<*mut (), *mut ()> {
        self.word.compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire)
    }

    #[cold]
    fn run_with_others<T: Sync, R: Copy + Default + Send>(
        &self,
        item: T,
        process: &impl Fn(&[&T], &mut [R]),
    ) -> R {
        let node = Node {
            item,
            state: AtomicU32::new(WAITING),
            result: UnsafeCell::new(R::default()),
            thread: UnsafeCell::new(None),
            next: UnsafeCell::new(ptr::null_mut()),
        };
        let own = ptr::from_ref(&node).cast_mut();
        let leads = self.push_or_lock(&node) || node.wait() == LEADS;
        if leads {
            self.process_list(own, process);
            self.serve(process);
        }
        // SAFETY: whoever processed the request wrote the result before it said so, and is done with the node.
        unsafe { *node.result.get() }
    }

    /// Puts a request into the queue, or takes the lock if it is free: then the request is this thread's to process.
    fn push_or_lock<T, R>(&self, node: &Node<T, R>) -> bool {
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            let new = if word.is_null() {
                EMPTY
            } else {
                let next = if word == EMPTY { ptr::null_mut() } else { word.cast() };
                // SAFETY: not in the queue yet: this thread's.
                unsafe { *node.next.get() = next };
                ptr::from_ref(node).cast_mut().cast()
            };
            match self.swap_word(word, new) {
                Ok(_) => {
                    if new == EMPTY {
                        // SAFETY: as above.
                        unsafe { *node.next.get() = ptr::null_mut() };
                    }
                    return new == EMPTY;
                }
                Err(seen) => word = seen,
            }
        }
    }

    /// Takes the waiting requests, oldest first; there are some, and the caller has the lock.
    fn take<T, R>(&self) -> *mut Node<T, R> {
        let mut list: *mut Node<T, R> = self.word.swap(EMPTY, Ordering::AcqRel).cast();
        let mut reversed = ptr::null_mut();
        while !list.is_null() {
            // SAFETY: nodes in the queue stay valid until they are done, and belong to who took them out.
            let next = unsafe { core::mem::replace(&mut *(*list).next.get(), reversed) };
            reversed = list;
            list = next;
        }
        reversed
    }

    /// Processes what is waiting, then unlocks. The caller has the lock.
    fn serve<T: Sync, R: Copy + Default>(&self, process: &impl Fn(&[&T], &mut [R])) {
        let mut rounds = 0;
        while self.swap_word(EMPTY, ptr::null_mut()).is_err() {
            let list = self.take::<T, R>();
            if rounds == MOST_ROUNDS {
                // SAFETY: as in `take`.
                unsafe { Node::finish(list, LEADS) };
                return;
            }
            self.process_list(list, process);
            rounds += 1;
        }
    }

    fn process_list<T: Sync, R: Copy + Default>(
        &self,
        mut list: *mut Node<T, R>,
        process: &impl Fn(&[&T], &mut [R]),
    ) {
        while !list.is_null() {
            let mut nodes = [ptr::null_mut(); MOST_AT_ONCE];
            let mut count = 0;
            while !list.is_null() && count < MOST_AT_ONCE {
                nodes[count] = list;
                count += 1;
                // SAFETY: as in `take`.
                list = unsafe { *(*list).next.get() };
            }
            // SAFETY: as in `take`; the first item is there, the others stand in for those that are not.
            let items: [&T; MOST_AT_ONCE] = core::array::from_fn(|at| unsafe {
                &(*nodes[if at < count { at } else { 0 }]).item
            });
            let mut results = [R::default(); MOST_AT_ONCE];
            let guard = AbortOnDrop;
            process(&items[..count], &mut results[..count]);
            core::mem::forget(guard);
            for (&node, &result) in nodes[..count].iter().zip(&results) {
                // SAFETY: as in `take`; nobody reads the result before the request is done.
                unsafe {
                    *(*node).result.get() = result;
                    Node::finish(node, DONE);
                }
            }
        }
    }
}

impl<T, R> Node<T, R> {
    /// Waits until somebody sets the state to more than `SLEEPING`.
    fn wait(&self) -> u32 {
        let mut backoff = Backoff::new();
        loop {
            let state = self.state.load(Ordering::Acquire);
            if state > SLEEPING {
                return state;
            }
            if state == WAITING && !backoff.spin() {
                // SAFETY: nobody looks at it before the state says so.
                unsafe { *self.thread.get() = Some(thread::current()) };
                let sleeping = self.state.compare_exchange(
                    WAITING,
                    SLEEPING,
                    Ordering::AcqRel,
                    Ordering::Relaxed,
                );
                if sleeping.is_err() {
                    continue;
                }
            }
            if self.state.load(Ordering::Acquire) == SLEEPING {
                thread::park();
            }
        }
    }

    /// Tells the waiting thread. The node may be gone afterwards.
    ///
    /// # Safety
    /// `node` is valid, was taken out of the queue, and is not done yet.
    unsafe fn finish(node: *mut Node<T, R>, state: u32) {
        // SAFETY: valid until the state changes.
        let word = unsafe { &(*node).state };
        if word.compare_exchange(WAITING, state, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            return;
        }
        // It sleeps. Its handle has to be taken before it can go.
        // SAFETY: written before the state became `SLEEPING`, and not again.
        let thread = unsafe { (*(*node).thread.get()).clone() };
        word.store(state, Ordering::Release);
        if let Some(thread) = thread {
            thread.unpark();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(not(pmem_loom))]
    #[test]
    fn every_request_is_processed_once_and_alone() {
        use std::sync::Mutex;
        let combiner = Combiner::new();
        let log = Mutex::new(Vec::new());
        let process = |items: &[&u32], results: &mut [u32]| {
            let mut log = log.try_lock().expect("one at a time");
            for (item, result) in items.iter().zip(results) {
                log.push(**item);
                *result = **item + 1;
            }
        };
        const EACH: u32 = if cfg!(miri) { 20 } else { 20_000 };
        thread::scope(|scope| {
            for number in 0..4 {
                let (combiner, process) = (&combiner, &process);
                scope.spawn(move || {
                    for item in number * EACH..(number + 1) * EACH {
                        assert_eq!(combiner.run(item, process), item + 1);
                    }
                });
            }
        });
        let log = log.into_inner().unwrap();
        let mut last = [None; 4];
        for item in &log {
            let own = &mut last[(item / EACH) as usize];
            assert!(own.is_none_or(|before| before < *item), "each thread's requests are in order");
            *own = Some(*item);
        }
        assert_eq!(log.len(), 4 * EACH as usize);
    }

    #[cfg(pmem_loom)]
    #[test]
    fn loom_no_request_is_forgotten() {
        use loom::sync::Arc;
        use loom::sync::atomic::AtomicBool;
        loom::model(|| {
            let shared = Arc::new((Combiner::new(), AtomicU32::new(0), AtomicBool::new(false)));
            let run = |shared: &Arc<(Combiner, AtomicU32, AtomicBool)>, item: u32| {
                let process = |items: &[&u32], results: &mut [u32]| {
                    assert!(!shared.2.swap(true, Ordering::Relaxed), "one at a time");
                    for (item, result) in items.iter().zip(results) {
                        shared.1.fetch_add(**item, Ordering::Relaxed);
                        *result = **item;
                    }
                    shared.2.store(false, Ordering::Relaxed);
                };
                assert_eq!(shared.0.run(item, &process), item);
            };
            let threads: Vec<_> = [1, 2]
                .map(|item| {
                    let shared = shared.clone();
                    thread::spawn(move || run(&shared, item))
                })
                .into();
            run(&shared, 4);
            threads.into_iter().for_each(|thread| thread.join().unwrap());
            assert_eq!(shared.1.load(Ordering::Relaxed), 7);
        });
    }
}
