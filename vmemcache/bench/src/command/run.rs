//! `run`: the cache itself.

use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use clap::Args;
use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use vmemcache::Cache;
use vmemcache::policy::Kind;
use vmemcache_bench::distribution::Sizes;
use vmemcache_bench::replay::{Outcome, replay};
use vmemcache_bench::trace::Trace;

use crate::options::{LoadOptions, size};

/// Runs a load through the cache itself: throughput, latencies, hit ratio, memory
#[derive(Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    load: LoadOptions,

    /// Size of the pool
    #[arg(long, value_name = "BYTES", value_parser = size)]
    size: u64,

    /// The policy: adaptive, lru, s3-fifo, sieve, clock or fifo
    #[arg(long, value_name = "NAME", default_value_t = Kind::Adaptive)]
    policy: Kind,

    /// Threads that make the requests together
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    threads: u32,

    /// Shards of the cache (default: as the cache sees fit)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    shards: Option<u32>,

    /// Directory for the pool, such as /dev/shm (default: private memory)
    #[arg(long, value_name = "DIRECTORY")]
    dir: Option<PathBuf>,

    /// Runs through the whole load; the last one is reported
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,

    /// Print JSON in place of text
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    load: String,
    seed: u64,
    policy: &'static str,
    threads: u32,
    shards: usize,
    requests: usize,
    keys: u32,
    gets: u64,
    hits: u64,
    hit_percent: f64,
    refused_puts: u64,
    seconds: f64,
    requests_per_second: f64,
    cpu_ns_per_request: f64,
    hit_latency_ns: Percentiles,
    miss_latency_ns: Percentiles,
    entries: u64,
    pool_bytes: u64,
    used_bytes: u64,
    payload_bytes: u64,
    metadata_bytes: u64,
    metadata_bytes_per_entry: f64,
}

#[derive(Serialize)]
struct Percentiles {
    p50: u64,
    p90: u64,
    p99: u64,
    p999: u64,
    max: u64,
}

impl Percentiles {
    fn of(histogram: &Histogram<u64>) -> Self {
        let at = |percent| histogram.value_at_percentile(percent);
        Self { p50: at(50.0), p90: at(90.0), p99: at(99.0), p999: at(99.9), max: histogram.max() }
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), String> {
    let mut trace = arguments.load.trace()?;
    let mut without_size = trace.requests.iter_mut().filter(|request| request.size == 0).peekable();
    if without_size.peek().is_some() {
        // Keys have 8 bytes.
        let usual = Sizes::Fixed(1024 + 8);
        eprintln!("vmemcache-bench: the load has no sizes: values have 1024 bytes");
        without_size.for_each(|r| r.size = usual.of_key(r.key, 0));
    }
    let cache = make(arguments)?;
    let mut outcome = None;
    for _ in 0..arguments.rounds {
        outcome = Some(round(&cache, &trace, arguments.threads as usize)?);
    }
    let outcome = outcome.ok_or("no rounds")?;
    let report = report(arguments, &trace, &cache, &outcome);
    if arguments.json {
        let text = serde_json::to_string_pretty(&report).map_err(|error| error.to_string())?;
        println!("{text}");
    } else {
        print(&report);
    }
    Ok(())
}

fn make(arguments: &Arguments) -> Result<Cache, String> {
    let size = usize::try_from(arguments.size).map_err(|error| error.to_string())?;
    let mut builder = Cache::builder().size(size).policy(arguments.policy);
    if let Some(shards) = arguments.shards {
        builder = builder.shards(shards as usize);
    }
    let cache = match &arguments.dir {
        Some(directory) => builder.in_directory(directory),
        None => builder.anonymous(),
    };
    cache.map_err(|error| error.to_string())
}

fn round(cache: &Cache, trace: &Trace, threads: usize) -> Result<Outcome, String> {
    let style = ProgressStyle::with_template("{bar:40} {percent}% {per_sec}, {eta} to go");
    let bar =
        ProgressBar::new(trace.requests.len() as u64).with_style(style.expect("a valid template"));
    let done = AtomicU64::new(0);
    let total = trace.requests.len() as u64;
    let outcome = std::thread::scope(|scope| {
        let run = scope.spawn(|| replay(cache, trace, threads, &done));
        while !run.is_finished() && done.load(Relaxed) < total {
            bar.set_position(done.load(Relaxed));
            std::thread::sleep(Duration::from_millis(100));
        }
        run.join().expect("a round does not panic")
    });
    bar.finish_and_clear();
    outcome.map_err(|error| error.to_string())
}

fn report(arguments: &Arguments, trace: &Trace, cache: &Cache, outcome: &Outcome) -> Report {
    let stats = cache.stats();
    let requests = trace.requests.len();
    let seconds = outcome.elapsed.as_secs_f64();
    Report {
        load: arguments.load.load.name(),
        seed: arguments.load.seed,
        policy: arguments.policy.name(),
        threads: arguments.threads,
        shards: cache.shards(),
        requests,
        keys: trace.keys,
        gets: outcome.gets,
        hits: outcome.hits,
        hit_percent: 100.0 * outcome.hits as f64 / outcome.gets.max(1) as f64,
        refused_puts: outcome.refused,
        seconds,
        requests_per_second: requests as f64 / seconds,
        cpu_ns_per_request: outcome.cpu.as_nanos() as f64 / requests as f64,
        hit_latency_ns: Percentiles::of(&outcome.hit_latency),
        miss_latency_ns: Percentiles::of(&outcome.miss_latency),
        entries: stats.entries,
        pool_bytes: stats.pool_bytes,
        used_bytes: stats.used_bytes,
        payload_bytes: stats.payload_bytes,
        metadata_bytes: stats.metadata_bytes,
        metadata_bytes_per_entry: stats.metadata_bytes as f64 / stats.entries.max(1) as f64,
    }
}

fn print(report: &Report) {
    println!(
        "{}: {} requests for {} keys, {} threads, policy {}, {} shards",
        report.load, report.requests, report.keys, report.threads, report.policy, report.shards
    );
    println!("hits          {:.2} % of {} gets", report.hit_percent, report.gets);
    if report.refused_puts > 0 {
        println!("refused puts  {}", report.refused_puts);
    }
    println!(
        "speed         {:.0} requests/s, {:.0} ns of processor time each",
        report.requests_per_second, report.cpu_ns_per_request
    );
    let line = |name: &str, p: &Percentiles| {
        println!(
            "{name}  p50 {} p90 {} p99 {} p99.9 {} max {} ns",
            p.p50, p.p90, p.p99, p.p999, p.max
        );
    };
    line("hit         ", &report.hit_latency_ns);
    line("miss and put", &report.miss_latency_ns);
    println!(
        "pool          {} bytes: {} used, {} of them keys and values",
        report.pool_bytes, report.used_bytes, report.payload_bytes
    );
    println!(
        "DRAM          {} bytes for {} entries: {:.1} each",
        report.metadata_bytes, report.entries, report.metadata_bytes_per_entry
    );
}
