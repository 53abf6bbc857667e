//! The cache itself under a load, with threads.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use vmemcache::{Cache, Error};

use crate::trace::{Operation, Request, Trace};

/// Requests that a thread takes from the trace at a time: few enough for the order to stay about that of the trace.
const BATCH: usize = 64;
/// One batch in so many is timed request by request: reading the clock costs about as much as a hit.
const TIMED_ONE_IN: usize = 8;

/// What a run did and how long it took.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Gets that found their key.
    pub hits: u64,
    /// Gets.
    pub gets: u64,
    /// Puts that found no space.
    pub refused: u64,
    /// Time from the first to the last request.
    pub elapsed: Duration,
    /// Processor time of all threads that made requests.
    pub cpu: Duration,
    /// Nanoseconds of gets that hit, of a sample.
    pub hit_latency: Histogram<u64>,
    /// Nanoseconds of gets that missed, each with the put that followed, of a sample.
    pub miss_latency: Histogram<u64>,
}

impl Outcome {
    fn new() -> Self {
        let minute = 60_000_000_000;
        let latencies = || Histogram::new_with_max(minute, 2).expect("possible settings");
        Self {
            hits: 0,
            gets: 0,
            refused: 0,
            elapsed: Duration::ZERO,
            cpu: Duration::ZERO,
            hit_latency: latencies(),
            miss_latency: latencies(),
        }
    }
}

/// Runs the trace once through a cache, in order but for what threads do at the same time. A get that misses is followed
/// by a put. `done` counts requests as they are made.
///
/// # Errors
/// If a put fails for another reason than want of space.
///
/// # Panics
/// If a thread cannot be started.
pub fn replay(
    cache: &Cache,
    trace: &Trace,
    threads: usize,
    done: &AtomicU64,
) -> Result<Outcome, Error> {
    let largest = trace.requests.iter().map(|request| request.size).max().unwrap_or(0);
    let payload = vec![0x5au8; largest as usize];
    let next = AtomicUsize::new(0);
    let failed = AtomicBool::new(false);
    let start = Instant::now();
    let outcomes: Vec<Result<Outcome, Error>> = std::thread::scope(|scope| {
        let run = || {
            let cpu = thread_cpu();
            let mut worker = Worker { cache, payload: &payload, outcome: Outcome::new() };
            loop {
                let batch = next.fetch_add(1, Relaxed);
                let requests = trace.requests.chunks(BATCH).nth(batch);
                let Some(requests) = requests.filter(|_| !failed.load(Relaxed)) else { break };
                let result = worker.batch(requests, batch.is_multiple_of(TIMED_ONE_IN));
                if let Err(error) = result {
                    failed.store(true, Relaxed);
                    return Err(error);
                }
                done.fetch_add(requests.len() as u64, Relaxed);
            }
            worker.outcome.cpu = thread_cpu().saturating_sub(cpu);
            Ok(worker.outcome)
        };
        let handles: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
        handles.into_iter().map(|handle| handle.join().expect("a worker does not panic")).collect()
    });
    let mut sum = Outcome { elapsed: start.elapsed(), ..Outcome::new() };
    for outcome in outcomes {
        let outcome = outcome?;
        sum.hits += outcome.hits;
        sum.gets += outcome.gets;
        sum.refused += outcome.refused;
        sum.cpu += outcome.cpu;
        sum.hit_latency += outcome.hit_latency;
        sum.miss_latency += outcome.miss_latency;
    }
    Ok(sum)
}

struct Worker<'a> {
    cache: &'a Cache,
    payload: &'a [u8],
    outcome: Outcome,
}

impl Worker<'_> {
    fn batch(&mut self, requests: &[Request], timed: bool) -> Result<(), Error> {
        for request in requests {
            if !timed {
                self.request(request)?;
                continue;
            }
            let start = Instant::now();
            let hit = self.request(request)?;
            let elapsed = start.elapsed().as_nanos() as u64;
            match (request.operation, hit) {
                (Operation::Get, true) => self.outcome.hit_latency.saturating_record(elapsed),
                (Operation::Get, false) => self.outcome.miss_latency.saturating_record(elapsed),
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether it was a get that hit.
    fn request(&mut self, request: &Request) -> Result<bool, Error> {
        let key = u64::from(request.key).to_le_bytes();
        match request.operation {
            Operation::Get => {
                self.outcome.gets += 1;
                if let Some(value) = self.cache.get(&key) {
                    self.outcome.hits += 1;
                    std::hint::black_box(value.slices().next().map(|slice| slice[0]));
                    return Ok(true);
                }
                self.put(&key, request.size)?;
            }
            Operation::Set => self.put(&key, request.size)?,
            Operation::Delete => {
                self.cache.remove(&key);
            }
        }
        Ok(false)
    }

    /// The size of the trace is that of key and value.
    fn put(&mut self, key: &[u8], size: u32) -> Result<(), Error> {
        let value = &self.payload[..(size as usize).saturating_sub(key.len())];
        match self.cache.put(key, value) {
            Ok(_) => Ok(()),
            Err(error) if error.errno() == libc::ENOSPC => {
                self.outcome.refused += 1;
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}

/// Processor time of this thread.
pub fn thread_cpu() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid timespec to write to; this clock exists in every Linux.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    assert_eq!(result, 0, "the clock of this thread can be read");
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
