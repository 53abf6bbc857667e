//! Single flight: of several callers that miss the same key at once, one computes the value and the others wait for it.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread::{self, ThreadId};

/// The keys that are being computed.
#[derive(Debug, Default)]
pub(crate) struct Flights {
    keys: Mutex<HashMap<Box<[u8]>, Waiting>>,
    landed: Condvar,
}

/// Who computes a key, and who waits for it without a thread.
#[derive(Debug)]
struct Waiting {
    /// None for a future, which may go from thread to thread.
    pilot: Option<ThreadId>,
    wakers: Vec<Waker>,
}

/// The right to compute a key. Dropping it lets the next one try.
pub(crate) struct Flight<'f> {
    flights: &'f Flights,
    key: &'f [u8],
}

impl Flights {
    fn lock(&self) -> MutexGuard<'_, HashMap<Box<[u8]>, Waiting>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until nobody computes the key. Some if the caller is to do it; none if somebody has just done it.
    ///
    /// # Panics
    /// When the calling thread is computing the key already: it would wait for itself.
    pub(crate) fn start<'f>(&'f self, key: &'f [u8]) -> Option<Flight<'f>> {
        let mut keys = self.lock();
        let mut waited = false;
        while let Some(waiting) = keys.get(key) {
            let own = waiting.pilot == Some(thread::current().id());
            assert!(!own, "a value is computed from the value of the same key");
            waited = true;
            keys = self.landed.wait(keys).unwrap_or_else(PoisonError::into_inner);
        }
        if waited {
            return None;
        }
        keys.insert(
            key.into(),
            Waiting { pilot: Some(thread::current().id()), wakers: Vec::new() },
        );
        Some(Flight { flights: self, key })
    }

    /// As [`start`](Self::start), without a thread that waits.
    pub(crate) fn start_async<'f>(&'f self, key: &'f [u8]) -> Start<'f> {
        Start { flights: self, key, waited: false }
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        let waiting = self.flights.lock().remove(self.key);
        self.flights.landed.notify_all();
        for waker in waiting.into_iter().flat_map(|waiting| waiting.wakers) {
            waker.wake();
        }
    }
}

/// See [`Flights::start_async`].
pub(crate) struct Start<'f> {
    flights: &'f Flights,
    key: &'f [u8],
    waited: bool,
}

impl<'f> Future for Start<'f> {
    type Output = Option<Flight<'f>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut keys = self.flights.lock();
        if let Some(waiting) = keys.get_mut(self.key) {
            if !waiting.wakers.iter().any(|waker| waker.will_wake(context.waker())) {
                waiting.wakers.push(context.waker().clone());
            }
            drop(keys);
            self.waited = true;
            return Poll::Pending;
        }
        if self.waited {
            return Poll::Ready(None);
        }
        keys.insert(self.key.into(), Waiting { pilot: None, wakers: Vec::new() });
        Poll::Ready(Some(Flight { flights: self.flights, key: self.key }))
    }
}
