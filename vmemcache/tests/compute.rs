//! Single flight, batches, iteration, expiry.

mod support;

use std::collections::HashSet;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::*};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;
use vmemcache::{Cache, Cause, Error};

fn cache() -> Cache {
    Cache::builder().size(4 << 20).anonymous().unwrap()
}

#[test]
fn one_of_many_computes() {
    let cache = cache();
    let computed = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for key in 0..50u32 {
                    let value = cache.get_or_insert_with(&key.to_le_bytes(), || {
                        computed.fetch_add(1, Relaxed);
                        thread::sleep(Duration::from_micros(200));
                        Ok::<_, Error>(key.to_string())
                    });
                    assert_eq!(value.unwrap().unwrap().to_vec(), key.to_string().as_bytes());
                }
            });
        }
    });
    assert_eq!(computed.into_inner(), 50);
}

#[test]
fn after_a_failure_the_next_one_tries() {
    #[derive(Debug, PartialEq)]
    struct Failed;
    impl From<Error> for Failed {
        fn from(_: Error) -> Failed {
            Failed
        }
    }
    let cache = cache();
    assert_eq!(cache.get_or_insert_with(b"key", || Err::<Vec<u8>, _>(Failed)).unwrap_err(), Failed);
    let panics = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _ = cache
            .get_or_insert_with(b"key", || -> Result<Vec<u8>, Failed> { panic!("on purpose") });
    }));
    assert!(panics.is_err());
    let value = cache.get_or_insert_with(b"key", || Ok::<_, Failed>(b"value")).unwrap();
    assert_eq!(value.unwrap().to_vec(), b"value");
}

#[test]
#[should_panic = "a value is computed from the value of the same key"]
fn a_value_that_needs_itself() {
    let cache = cache();
    let _ = cache.get_or_insert_with(b"key", || {
        cache.get_or_insert_with(b"key", || Ok::<_, Error>(b"x"))?;
        Ok::<_, Error>(b"y")
    });
}

/// The smallest runtime there is.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

/// Pending once, and wakes itself: another thread may come in between.
async fn pause() {
    let mut first = true;
    std::future::poll_fn(move |context| {
        if std::mem::take(&mut first) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(())
    })
    .await;
}

#[test]
fn futures_compute_once_too() {
    let cache = cache();
    let computed = AtomicUsize::new(0);
    thread::scope(|scope| {
        for at in 0..6 {
            let (cache, computed) = (&cache, &computed);
            scope.spawn(move || {
                for key in 0..200u32 {
                    let bytes = key.to_le_bytes();
                    // Threads and futures wait for each other.
                    let value = if at % 3 == 0 {
                        cache.get_or_insert_with(&bytes, || {
                            computed.fetch_add(1, Relaxed);
                            Ok::<_, Error>(key.to_string())
                        })
                    } else {
                        block_on(cache.get_or_insert_async(&bytes, async {
                            computed.fetch_add(1, Relaxed);
                            pause().await;
                            Ok::<_, Error>(key.to_string())
                        }))
                    };
                    assert_eq!(value.unwrap().unwrap().to_vec(), key.to_string().as_bytes());
                }
            });
        }
    });
    assert_eq!(computed.into_inner(), 200);
}

#[test]
fn a_future_that_is_dropped_lets_others_go_on() {
    let cache = cache();
    let mut context = Context::from_waker(Waker::noop());
    {
        let never = std::future::pending::<Result<Vec<u8>, Error>>();
        let mut first = pin!(cache.get_or_insert_async(b"key", never));
        assert!(first.as_mut().poll(&mut context).is_pending());
        let second = async { Ok::<_, Error>(b"second") };
        let mut second = pin!(cache.get_or_insert_async(b"key", second));
        assert!(second.as_mut().poll(&mut context).is_pending(), "waits for the first");
    }
    let value = block_on(cache.get_or_insert_async(b"key", async { Ok::<_, Error>(b"third") }));
    assert_eq!(value.unwrap().unwrap().to_vec(), b"third");
}

#[test]
fn many_at_once() {
    let cache = cache();
    for key in 0..100u32 {
        cache.put(&key.to_le_bytes(), &key.to_be_bytes()).unwrap();
    }
    // More guards than a thread has cells.
    let keys: Vec<_> = (90..110u32).map(u32::to_le_bytes).collect();
    let values = cache.get_many(&keys);
    for (key, value) in (90..110u32).zip(&values) {
        assert_eq!(
            value.as_ref().map(|value| value.to_vec()),
            (key < 100).then(|| key.to_be_bytes().to_vec())
        );
    }
    cache.clear();
    assert_eq!(values[3].as_ref().unwrap().to_vec(), 93u32.to_be_bytes(), "pinned");
    let stats = cache.stats();
    assert_eq!(stats.entries, 0);
    assert!(stats.pinned_bytes >= 10 * 16);
    drop(values);
    assert_eq!((cache.stats().pinned_bytes, cache.stats().free_regions), (0, 1));
}

#[test]
fn all_entries_are_seen_once() {
    let cache = Cache::builder().size(4 << 20).shards(4).anonymous().unwrap();
    for key in 0..5000u32 {
        cache.put(&key.to_le_bytes(), &key.to_be_bytes()).unwrap();
    }
    let seen: HashSet<Vec<u8>> = cache.iter().map(|value| value.key().to_vec()).collect();
    assert_eq!((seen.len(), cache.iter().count()), (5000, 5000));
    let stats = cache.stats();
    assert_eq!((stats.hits, stats.misses), (0, 0));
}

#[test]
fn entries_expire() {
    let cache = cache();
    cache.put_with_ttl(b"short", b"1", Duration::from_millis(500)).unwrap();
    cache.put_with_ttl(b"short too", b"1", Duration::from_millis(500)).unwrap();
    cache.put_with_ttl(b"long", b"2", Duration::from_secs(1000)).unwrap();
    cache.put_with_ttl(b"for ever", b"3", Duration::MAX).unwrap();
    cache.put(b"replaced", b"4").unwrap();
    cache.put_with_ttl(b"replaced", b"4", Duration::from_millis(500)).unwrap();
    assert!(cache.get(b"short").is_some());
    thread::sleep(Duration::from_millis(510));
    assert!(cache.get(b"short").is_none() && !cache.contains(b"replaced"));
    assert!(cache.put_if_absent(b"short", b"new").unwrap(), "as good as gone");
    assert!(!cache.replace(b"replaced", b"new").unwrap());
    assert_eq!(cache.iter().count(), 3);
    assert_eq!((cache.len(), cache.remove_expired(), cache.len()), (5, 2, 3));
    assert_eq!(cache.stats().left(Cause::Expired), 3);
    cache.put_with_ttl(b"found", b"5", Duration::from_millis(1)).unwrap();
    thread::sleep(Duration::from_millis(5));
    assert!(cache.get(b"found").is_none());
    assert_eq!((cache.len(), cache.stats().left(Cause::Expired)), (3, 4));
    assert!(cache.contains(b"long") && cache.contains(b"for ever"));
    cache.validate();
}
