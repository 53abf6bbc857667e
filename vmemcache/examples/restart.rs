//! A cache that is warm when the program starts again: run it twice.

use vmemcache::{Cache, Error};

fn main() -> Result<(), Error> {
    let path = std::env::args_os().nth(1).unwrap_or("/dev/shm/vmemcache-example".into());
    let cache = Cache::builder().size(16 << 20).warm_file(&path)?;
    println!("{} entries from before", cache.len());
    let runs = cache.get(b"runs").map_or(0, |value| value.to_vec()[0]);
    cache.put(b"runs", &[runs.wrapping_add(1)])?;
    for n in 0..1000u32 {
        cache.put(format!("run {runs} entry {n}").as_bytes(), b"something")?;
    }
    println!("this was run {runs}; to begin anew, remove {}", path.display());
    Ok(())
}
