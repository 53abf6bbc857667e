//! Hit ratios of the caches as they are, on traces.

use std::path::Path;

use vmemcache_bench::random::mix;
use vmemcache_bench::trace::{Format, Operation, Trace};

use crate::peer::{self, VALUE_BYTES};

/// Prints a table: one line for each trace and size, one column for each cache. A get that misses is followed by a put; every
/// value has the same size.
///
/// # Errors
/// If a trace cannot be read; the text names it.
pub fn table(names: &[&str], makes: &[peer::Make], traces: &[String]) -> Result<(), String> {
    println!("| trace | entries | {} |", names.join(" | "));
    println!("|---|---|{}", "---|".repeat(names.len()));
    for text in traces {
        let (path, sizes) = text.rsplit_once('=').ok_or("a trace is FILE=SIZE+SIZE...")?;
        let path = Path::new(path);
        let trace = Trace::read(path, Format::of(path), usize::MAX);
        let trace = trace.map_err(|error| error.to_string())?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        for size in sizes.split('+') {
            let entries =
                size.parse().map_err(|_| format!("\"{size}\" is no number of entries"))?;
            print!("| {} | {entries} |", name.split('.').next().unwrap_or(&name));
            for make in makes {
                print!(" {:.2} |", hit_percent(make, entries, &trace));
            }
            println!();
        }
    }
    Ok(())
}

fn hit_percent(make: &peer::Make, entries: usize, trace: &Trace) -> f64 {
    let cache = make(entries);
    let value = [7; VALUE_BYTES];
    let gets = trace.requests.iter().filter(|request| request.operation == Operation::Get);
    let (mut hits, mut count) = (0u64, 0u64);
    for request in gets {
        let key = mix(u64::from(request.key));
        count += 1;
        if cache.get(key) {
            hits += 1;
        } else {
            cache.put(key, &value);
        }
    }
    100.0 * hits as f64 / count.max(1) as f64
}
