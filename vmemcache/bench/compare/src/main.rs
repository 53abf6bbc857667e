//! `vmemcache-compare`: processor time of our cache and of others, in one process.
//!
//! All caches of a workload live at the same time. In each round every one of them gets the same requests, one after the
//! other, in an order that turns; a ratio is that of two times of one round, so that what disturbs a round disturbs both.

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use std::path::PathBuf;

mod library;
mod peer;
mod traces;
mod workload;

use peer::Peer;
use workload::{Done, Workload};

/// Compares vmemcache with other caches: processor time per request, in rounds that alternate
#[derive(Parser)]
#[command(name = "vmemcache-compare", version, max_term_width = 100)]
struct Arguments {
    /// What is asked of the caches
    #[arg(
        long,
        value_name = "NAME,...",
        value_delimiter = ',',
        value_enum,
        default_value = "hit,put,churn"
    )]
    workload: Vec<Workload>,

    /// Threads that make requests together
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_value = "1,2")]
    threads: Vec<usize>,

    /// Rounds of each cache
    #[arg(long, value_name = "N", default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,

    /// Requests of a thread in a round
    #[arg(long, value_name = "N", default_value_t = 200_000)]
    requests: usize,

    /// Only caches whose names contain one of these
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    only: Vec<String>,

    /// Also through this libvmemcache.so.0, whose gets copy the value
    #[arg(long, value_name = "FILE")]
    library: Option<PathBuf>,

    /// Where that has its pool
    #[arg(long, value_name = "DIRECTORY", default_value = "/dev/shm")]
    directory: PathBuf,

    /// Hit ratios on traces in place of times; with these numbers of entries
    #[arg(long, value_name = "FILE=N+N...,...", value_delimiter = ',')]
    traces: Vec<String>,

    /// Print JSON in place of a table
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Row {
    workload: String,
    threads: usize,
    cache: &'static str,
    /// Median processor time of a request.
    cpu_ns: f64,
    /// Median over rounds of this cache's time by ours.
    ratio: f64,
    ratio_min: f64,
    ratio_max: f64,
    hit_percent: f64,
}

fn main() {
    let arguments = Arguments::parse();
    if !arguments.traces.is_empty() {
        let wanted = peer::ALL.iter().filter(|(name, _)| is_wanted(name, &arguments));
        let (names, makes): (Vec<_>, Vec<_>) = wanted.copied().unzip();
        if let Err(error) = traces::table(&names, &makes, &arguments.traces) {
            eprintln!("vmemcache-compare: {error}");
            std::process::exit(1);
        }
        return;
    }
    let mut rows = Vec::new();
    for &workload in &arguments.workload {
        for &threads in &arguments.threads {
            rows.extend(measure(workload, threads.max(1), &arguments));
        }
    }
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&rows).expect("rows are plain data"));
        return;
    }
    println!("| workload | threads | cache | ns | ratio | min - max | hits % |");
    println!("|---|---|---|---|---|---|---|");
    for row in rows {
        println!(
            "| {} | {} | {} | {:.0} | {:.2} | {:.2} - {:.2} | {:.2} |",
            row.workload,
            row.threads,
            row.cache,
            row.cpu_ns,
            row.ratio,
            row.ratio_min,
            row.ratio_max,
            row.hit_percent
        );
    }
}

fn is_wanted(name: &str, arguments: &Arguments) -> bool {
    arguments.only.is_empty()
        || name == peer::ALL[0].0
        || arguments.only.iter().any(|part| name.contains(part.as_str()))
}

fn measure(workload: Workload, threads: usize, arguments: &Arguments) -> Vec<Row> {
    let makes = peer::ALL.iter().filter(|(name, _)| is_wanted(name, arguments));
    let mut makes: Vec<(_, Box<dyn Peer>)> =
        makes.map(|&(name, make)| (name, make(workload.room()))).collect();
    if let Some(library) = &arguments.library {
        let cache = library::C::make(library, &arguments.directory, workload.room());
        let cache = cache.unwrap_or_else(|error| panic!("{}: {error}", library.display()));
        makes.insert(1, ("libvmemcache", cache));
    }
    let (names, peers): (Vec<_>, Vec<_>) = makes.into_iter().unzip();
    peers.iter().for_each(|peer| workload.prepare(&**peer));

    let style = ProgressStyle::with_template("{msg} {bar:40} {pos}/{len}, {eta} to go");
    let total = u64::from(arguments.rounds) * peers.len() as u64;
    let bar = ProgressBar::new(total).with_style(style.expect("a valid template"));
    bar.set_message(format!("{workload:?}, {threads} threads"));
    // For each cache the nanoseconds of a request in each round.
    let mut times = vec![Vec::new(); peers.len()];
    let mut hits = vec![0; peers.len()];
    for round in 0..arguments.rounds as usize {
        let requests: Vec<_> = (0..threads as u64)
            .map(|thread| workload.requests(round as u64 + 1, thread, arguments.requests))
            .collect();
        for turn in 0..peers.len() {
            let number = (turn + round) % peers.len();
            let peer = &*peers[number];
            let done: Vec<Done> = std::thread::scope(|scope| {
                let run = |requests| scope.spawn(move || workload.run(peer, requests));
                let handles: Vec<_> = requests.iter().map(run).collect();
                handles.into_iter().map(|h| h.join().expect("no cache panics")).collect()
            });
            let cpu: f64 = done.iter().map(|done| done.cpu.as_nanos() as f64).sum();
            times[number].push(cpu / (arguments.requests * threads) as f64);
            hits[number] += done.iter().map(|done| done.hits).sum::<u64>();
            bar.inc(1);
        }
    }
    bar.finish_and_clear();

    let gets = (arguments.rounds as usize * arguments.requests * threads) as f64;
    let row = |number: usize| {
        let ratios = times[number].iter().zip(&times[0]).map(|(own, ours)| own / ours);
        let ratios = sorted(ratios.collect());
        Row {
            workload: format!("{workload:?}").to_lowercase(),
            threads,
            cache: names[number],
            cpu_ns: median(&sorted(times[number].clone())),
            ratio: median(&ratios),
            ratio_min: ratios[0],
            ratio_max: ratios[ratios.len() - 1],
            hit_percent: 100.0 * hits[number] as f64 / gets,
        }
    };
    (0..peers.len()).map(row).collect()
}

fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    values
}

fn median(sorted: &[f64]) -> f64 {
    sorted[sorted.len() / 2]
}
