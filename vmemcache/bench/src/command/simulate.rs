//! `simulate`: hit ratios of policies alone.

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use vmemcache::policy::Kind;
use vmemcache_bench::chart::{self, Curve};
use vmemcache_bench::simulate::{Counts, simulate};
use vmemcache_bench::trace::Trace;

use crate::options::{LoadOptions, size};

/// Hit ratios of policies alone, for several sizes: without values and threads, hence fast
#[derive(Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    load: LoadOptions,

    /// Policies, or "all" (adaptive, lru, s3-fifo, sieve, clock, fifo)
    #[arg(long, value_name = "NAME,...", value_delimiter = ',', default_value = "all")]
    policy: Vec<String>,

    /// Sizes of the cache in bytes, or in entries if the load has no sizes (default: 0.1 to 50 % of all that is asked for)
    #[arg(long, value_name = "N,...", value_delimiter = ',', value_parser = size)]
    size: Vec<u64>,

    /// Shards among which keys and capacity are spread
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    shards: u32,

    /// Print JSON in place of a table
    #[arg(long)]
    json: bool,

    /// Write a chart of hit ratio over size
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

#[derive(Serialize)]
struct Report<'a> {
    load: String,
    seed: u64,
    requests: usize,
    keys: u32,
    unit: &'a str,
    shards: u32,
    points: &'a [Point],
}

#[derive(Serialize)]
struct Point {
    policy: &'static str,
    size: u64,
    hit_percent: f64,
    gets: u64,
    hits: u64,
    evictions: u64,
    entries: usize,
    policy_bytes: usize,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), String> {
    let kinds = kinds(&arguments.policy)?;
    let trace = arguments.load.trace()?;
    let sizes = match &arguments.size[..] {
        [] => usual_sizes(&trace),
        sizes => sizes.to_vec(),
    };
    let unit = if trace.requests.iter().all(|r| r.size == 0) { "entries" } else { "bytes" };
    let points = all(&trace, &kinds, &sizes, arguments.shards as usize);

    if arguments.json {
        let report = Report {
            load: arguments.load.load.name(),
            seed: arguments.load.seed,
            requests: trace.requests.len(),
            keys: trace.keys,
            unit,
            shards: arguments.shards,
            points: &points,
        };
        let text = serde_json::to_string_pretty(&report).map_err(|error| error.to_string())?;
        println!("{text}");
    } else {
        print_table(&arguments.load.load.name(), unit, &trace, &kinds, &sizes, &points);
    }
    if let Some(path) = &arguments.svg {
        let curve = |kind: &Kind| {
            let own = points.iter().filter(|point| point.policy == kind.name());
            let points = own.map(|point| (point.size, point.hit_percent)).collect();
            Curve { name: kind.name().to_owned(), points }
        };
        let curves: Vec<_> = kinds.iter().map(curve).collect();
        let title = format!("Hit ratio, {}", arguments.load.load.name());
        let svg = chart::draw(&title, &format!("size of the cache in {unit}"), &curves);
        std::fs::write(path, svg).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}

fn kinds(names: &[String]) -> Result<Vec<Kind>, String> {
    if names.iter().any(|name| name == "all") {
        return Ok(Kind::ALL.to_vec());
    }
    let kind = |name: &String| name.parse::<Kind>().map_err(|error| error.to_string());
    names.iter().map(kind).collect()
}

/// From a thousandth to the half of everything.
fn usual_sizes(trace: &Trace) -> Vec<u64> {
    let mut seen = vec![0; trace.keys as usize];
    for request in &trace.requests {
        seen[request.key as usize] = request.size.max(1);
    }
    let all: u64 = seen.iter().map(|&size| u64::from(size)).sum();
    let per_mille = [1, 2, 5, 10, 20, 50, 100, 200, 500];
    let mut sizes: Vec<u64> = per_mille.iter().map(|part| (all * part / 1000).max(1)).collect();
    sizes.dedup();
    sizes
}

/// All simulations, on as many threads as there are processors.
fn all(trace: &Trace, kinds: &[Kind], sizes: &[u64], shards: usize) -> Vec<Point> {
    let jobs: Vec<(u64, Kind)> =
        sizes.iter().flat_map(|&size| kinds.iter().map(move |&kind| (size, kind))).collect();
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} simulations, {eta} to go");
    let bar = ProgressBar::new(jobs.len() as u64).with_style(style.expect("a valid template"));
    let next = AtomicUsize::new(0);
    let points = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(jobs.len());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Relaxed);
                    let Some(&(size, kind)) = jobs.get(number) else { break };
                    let counts = simulate(trace, kind, size, shards);
                    points.lock().unwrap().push((number, point(kind, size, &counts)));
                    bar.inc(1);
                }
            });
        }
    });
    bar.finish_and_clear();
    let mut points = points.into_inner().unwrap();
    points.sort_by_key(|&(number, _)| number);
    points.into_iter().map(|(_, point)| point).collect()
}

fn point(kind: Kind, size: u64, counts: &Counts) -> Point {
    Point {
        policy: kind.name(),
        size,
        hit_percent: counts.hit_percent(),
        gets: counts.gets,
        hits: counts.hits,
        evictions: counts.evictions,
        entries: counts.entries,
        policy_bytes: counts.policy_bytes,
    }
}

fn print_table(
    name: &str,
    unit: &str,
    trace: &Trace,
    kinds: &[Kind],
    sizes: &[u64],
    points: &[Point],
) {
    println!("{name}: {} requests, {} keys; hits in per cent\n", trace.requests.len(), trace.keys);
    print!("| {unit} |");
    kinds.iter().for_each(|kind| print!(" {kind} |"));
    print!("\n|---|");
    kinds.iter().for_each(|_| print!("---|"));
    println!();
    for size in sizes {
        print!("| {size} |");
        for kind in kinds {
            let own = |p: &&Point| p.policy == kind.name() && p.size == *size;
            let point = points.iter().find(own).expect("every simulation was run");
            print!(" {:.2} |", point.hit_percent);
        }
        println!();
    }
}
