//! Adds a line to a log and prints all of them: `cargo run -p pmemlog --example journal -- FILE TEXT`.

use pmemlog::{PmemLog, Result};
use std::io::{IoSlice, Write};
use std::path::Path;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(path), Some(text)) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: journal FILE TEXT");
        std::process::exit(2);
    };
    let path = Path::new(&path);
    let log = if path.exists() { PmemLog::open(path)? } else { PmemLog::create(path, 2 << 20)? };
    log.append_vectored(&[IoSlice::new(text.as_bytes()), IoSlice::new(b"\n")])?;
    let _ = std::io::stdout().write_all(&log.contents());
    Ok(())
}
