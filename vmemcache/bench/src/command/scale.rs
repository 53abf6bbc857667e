//! `scale`: what more entries cost.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use vmemcache::Cache;
use vmemcache::policy::Kind;
use vmemcache_bench::random::mix;
use vmemcache_bench::replay::thread_cpu;

use crate::options::size;

/// Times hits and puts in caches of several numbers of entries, of which each is as likely as the others
#[derive(Args)]
pub(crate) struct Arguments {
    /// Numbers of entries
    #[arg(long, value_name = "N,...", value_delimiter = ',', value_parser = size, default_value = "100000,1000000,10000000")]
    entries: Vec<u64>,

    /// Length of the values; keys have 8 bytes
    #[arg(long, value_name = "BYTES", default_value_t = 32)]
    value_size: usize,

    /// Hits and puts that are timed
    #[arg(long, value_name = "N", default_value_t = 2_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    operations: u64,

    /// The policy: adaptive, lru, s3-fifo, sieve, clock or fifo
    #[arg(long, value_name = "NAME", default_value_t = Kind::Adaptive)]
    policy: Kind,

    /// Directory for the pool, such as /dev/shm (default: private memory)
    #[arg(long, value_name = "DIRECTORY")]
    dir: Option<PathBuf>,

    /// Print JSON in place of a table
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Row {
    entries: u64,
    hit_cpu_ns: f64,
    put_cpu_ns: f64,
    metadata_bytes_per_entry: f64,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), String> {
    let rows: Vec<Row> = arguments
        .entries
        .iter()
        .map(|&entries| measure(arguments, entries))
        .collect::<Result<_, _>>()?;
    if arguments.json {
        let text = serde_json::to_string_pretty(&rows).map_err(|error| error.to_string())?;
        println!("{text}");
        return Ok(());
    }
    println!("| entries | hit, ns | | put, ns | | DRAM per entry |\n|---|---|---|---|---|---|");
    for row in &rows {
        println!(
            "| {} | {:.0} | {:.2}x | {:.0} | {:.2}x | {:.1} |",
            row.entries,
            row.hit_cpu_ns,
            row.hit_cpu_ns / rows[0].hit_cpu_ns,
            row.put_cpu_ns,
            row.put_cpu_ns / rows[0].put_cpu_ns,
            row.metadata_bytes_per_entry
        );
    }
    Ok(())
}

fn measure(arguments: &Arguments, entries: u64) -> Result<Row, String> {
    // A header of 8 bytes and a key; a 128th more, as some space is always free.
    let pool = entries * (16 + arguments.value_size as u64).next_multiple_of(8) * 129 / 128;
    let size = usize::try_from(pool).map_err(|error| error.to_string())?;
    let builder = Cache::builder().size(size.max(vmemcache::MIN_POOL)).policy(arguments.policy);
    let cache = match &arguments.dir {
        Some(directory) => builder.in_directory(directory),
        None => builder.anonymous(),
    };
    let cache = cache.map_err(|error| error.to_string())?;
    let value = vec![0x5a; arguments.value_size];
    let put = |n: u64| {
        cache.put(&mix(n).to_le_bytes(), &value).map(drop).map_err(|error| error.to_string())
    };
    // Until it is full and entries have left: puts then make room for themselves.
    let filled = entries + entries / 2;
    (0..filled).try_for_each(put)?;
    let start = thread_cpu();
    (filled..filled + arguments.operations).try_for_each(put)?;
    let put_cpu_ns = (thread_cpu() - start).as_nanos() as f64 / arguments.operations as f64;

    // Only keys that are there, at random, so that each get is a hit.
    let mut keys: Vec<[u8; 8]> =
        cache.iter().map(|v| v.key().try_into().expect("8 bytes")).collect();
    let count = keys.len() as u64;
    for at in (1..keys.len()).rev() {
        keys.swap(at, (mix(at as u64) % (at as u64 + 1)) as usize);
    }
    let mut seen = 0u64;
    let start = thread_cpu();
    for key in keys.iter().cycle().take(arguments.operations as usize) {
        let found = cache.get(key).ok_or("an entry is lost")?;
        seen += u64::from(found.as_slice().is_some_and(|bytes| bytes.first() == Some(&0x5a)));
    }
    let hit_cpu_ns = (thread_cpu() - start).as_nanos() as f64 / arguments.operations as f64;
    if seen != arguments.operations && arguments.value_size > 0 {
        return Err(format!("{seen} of {} values are right", arguments.operations));
    }
    let stats = cache.stats();
    Ok(Row {
        entries: count,
        hit_cpu_ns,
        put_cpu_ns,
        metadata_bytes_per_entry: stats.metadata_bytes as f64 / count as f64,
    })
}
