//! A cache in front of something slow, shared by threads.

use std::thread;
use std::time::{Duration, Instant};
use vmemcache::{Cache, Error};

/// Something slow.
fn square(n: u64) -> Vec<u8> {
    thread::sleep(Duration::from_millis(1));
    (n * n).to_string().into_bytes()
}

fn main() -> Result<(), Error> {
    let cache = Cache::builder().size(64 << 20).in_directory("/dev/shm")?;
    let start = Instant::now();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| -> Result<(), Error> {
                for n in (0..100u64).cycle().take(1000) {
                    let value = cache
                        .get_or_insert_with(&n.to_le_bytes(), || Ok::<_, Error>(square(n)))?
                        .expect("the cache is large enough");
                    assert_eq!(&*value.to_cow(), (n * n).to_string().as_bytes());
                }
                Ok(())
            });
        }
    });
    let stats = cache.stats();
    println!("4000 answers in {:?}, {} of them computed", start.elapsed(), stats.inserted);
    println!("{}", stats.to_json());
    Ok(())
}
