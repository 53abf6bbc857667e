//! Counts its own runs in a file: `cargo run -p pmem-persistent --example counter -- FILE`.

use std::error::Error;
use std::fs::File;

use pmem::{Granularity, MapOptions, Source};

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args_os().nth(1).ok_or("usage: counter FILE")?;
    let file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
    if file.metadata()?.len() == 0 {
        file.set_len(4096)?;
    }
    let map = MapOptions::new(Granularity::Page).map(&Source::from_file(file)?)?;
    let mut count = [0; 8];
    map.read(0, &mut count)?;
    let count = u64::from_le_bytes(count) + 1;
    map.write(0, &count.to_le_bytes())?;
    println!("run {count}, durable; granularity {:?}", map.granularity());
    Ok(())
}
