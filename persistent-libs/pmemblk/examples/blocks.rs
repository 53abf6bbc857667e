//! Writes a text to a block and reads it again: `cargo run -p pmemblk --example blocks -- FILE BLOCK [TEXT]`.

use pmemblk::{Error, LEAST_POOL, PmemBlk};
use std::path::Path;

fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let (Some(path), Some(Ok(block))) =
        (arguments.next(), arguments.next().map(|number| number.parse::<u64>()))
    else {
        eprintln!("usage: blocks FILE BLOCK [TEXT]");
        std::process::exit(2);
    };
    let path = Path::new(&path);
    let blocks =
        if path.exists() { PmemBlk::open(path)? } else { PmemBlk::create(path, 512, LEAST_POOL)? };
    let mut buffer = vec![0; blocks.block_size() as usize];
    if let Some(text) = arguments.next() {
        let len = text.len().min(buffer.len());
        buffer[..len].copy_from_slice(&text.as_bytes()[..len]);
        blocks.write(block, &buffer)?;
    }
    blocks.read(block, &mut buffer)?;
    println!("{}", String::from_utf8_lossy(&buffer).trim_end_matches('\0'));
    Ok(())
}
