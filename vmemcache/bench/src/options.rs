//! Options that several commands have.

use std::path::PathBuf;

use clap::Args;
use vmemcache_bench::distribution::Sizes;
use vmemcache_bench::load::{FORMS, Load};
use vmemcache_bench::trace::Trace;

/// What is requested.
#[derive(Args, Clone, Debug)]
pub(crate) struct LoadOptions {
    /// Where requests come from
    #[arg(value_name = "LOAD", long_help = format!("Where requests come from: {FORMS}"))]
    pub(crate) load: Load,

    /// Requests at most; of a made load exactly (default: 1000000 or the whole file)
    #[arg(long, value_name = "N")]
    requests: Option<usize>,

    /// Start of the random numbers of made loads and drawn sizes
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,

    /// Size in bytes of each key with its value, where the load has none
    #[arg(long, value_name = "BYTES", conflicts_with = "sizes")]
    value_size: Option<u32>,

    /// Draw sizes for keys from a CacheLib file SERVICE.sizes.json[.xz], where the load has none
    #[arg(long, value_name = "FILE")]
    sizes: Option<PathBuf>,
}

impl LoadOptions {
    /// The requests.
    pub(crate) fn trace(&self) -> Result<Trace, String> {
        let sizes = match (&self.sizes, self.value_size) {
            (Some(path), _) => Some(Sizes::read(path).map_err(|error| error.to_string())?),
            (None, size) => size.map(Sizes::Fixed),
        };
        let trace = self.load.requests(self.requests, self.seed, sizes.as_ref());
        let trace = trace.map_err(|error| error.to_string())?;
        if trace.requests.is_empty() {
            return Err(format!("{}: no requests", self.load.name()));
        }
        Ok(trace)
    }
}

/// Reads a number of bytes or entries: `4096`, `64k`, `1M`, `2G` (powers of 1024).
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let (number, shift) = match text.char_indices().last() {
        Some((end, 'k' | 'K')) => (&text[..end], 10),
        Some((end, 'm' | 'M')) => (&text[..end], 20),
        Some((end, 'g' | 'G')) => (&text[..end], 30),
        _ => (text, 0),
    };
    let value = number.parse::<u64>().ok().filter(|&value| value > 0);
    value
        .and_then(|value| value.checked_mul(1 << shift))
        .ok_or_else(|| format!("\"{text}\" is no size; write 4096, 64k, 1M, 2G"))
}
