//! Loads: traces from files, and made ones.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::distribution::{CacheLib, Sizes, Zipf};
use crate::random::Random;
use crate::trace::{Format, Trace};

/// Where requests come from.
#[derive(Clone, PartialEq, Debug)]
pub enum Load {
    /// A file, in the format that its name tells.
    File(PathBuf),
    /// Independent requests; the k-th key is asked for in proportion to 1/k^alpha.
    Zipf {
        /// The exponent.
        alpha: f64,
        /// How many keys.
        keys: u64,
    },
    /// Independent requests, all keys alike.
    Uniform {
        /// How many keys.
        keys: u64,
    },
    /// One key after the other, again and again.
    Loop {
        /// How many keys.
        keys: u64,
    },
    /// As `Zipf`, but half of the time, in turns of a tenth of the keys, a scan of keys that never come again.
    Scan {
        /// The exponent.
        alpha: f64,
        /// How many keys, without those of the scans.
        keys: u64,
    },
    /// As `Zipf`, but after every ten requests per key all keys are replaced by others.
    Shift {
        /// The exponent.
        alpha: f64,
        /// How many keys at a time.
        keys: u64,
    },
    /// New keys of which each is asked for once more after so many others.
    Pairs {
        /// How many others.
        distance: u64,
    },
    /// Popularity as of a service of CacheLib's `SERVICE.pop.json`, packed or not.
    CacheLib(PathBuf),
}

/// What a load may be, for messages.
pub const FORMS: &str = "a file (.lis, .trace, .csv, other: lines `key` or `key,size`; .zst and \
.xz are unpacked), zipf:ALPHA:KEYS, uniform:KEYS, loop:KEYS, scan:ALPHA:KEYS, shift:ALPHA:KEYS, \
pairs:DISTANCE or cachelib:FILE.pop.json[.xz]";

/// The text is no load.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NoLoad(String);

impl fmt::Display for NoLoad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; a load is {FORMS}", self.0)
    }
}

impl std::error::Error for NoLoad {}

impl FromStr for Load {
    type Err = NoLoad;

    fn from_str(text: &str) -> Result<Self, NoLoad> {
        let Some((kind, rest)) = text.split_once(':') else { return Ok(Self::File(text.into())) };
        let number = |text: &str| match text.replace('_', "").parse::<u64>() {
            Ok(number) if number > 0 => Ok(number),
            _ => Err(NoLoad(format!("\"{text}\" is no number of keys"))),
        };
        let two = || {
            let (alpha, keys) = rest
                .split_once(':')
                .ok_or_else(|| NoLoad(format!("\"{text}\" needs an exponent and a number")))?;
            match alpha.parse::<f64>() {
                Ok(alpha) if alpha.is_finite() && alpha >= 0.0 => Ok((alpha, number(keys)?)),
                _ => Err(NoLoad(format!("\"{alpha}\" is no exponent"))),
            }
        };
        Ok(match kind {
            "zipf" => two().map(|(alpha, keys)| Self::Zipf { alpha, keys })?,
            "scan" => two().map(|(alpha, keys)| Self::Scan { alpha, keys })?,
            "shift" => two().map(|(alpha, keys)| Self::Shift { alpha, keys })?,
            "uniform" => Self::Uniform { keys: number(rest)? },
            "loop" => Self::Loop { keys: number(rest)? },
            "pairs" => Self::Pairs { distance: number(rest)? },
            "cachelib" => Self::CacheLib(rest.into()),
            _ if Path::new(text).exists() => Self::File(text.into()),
            _ => return Err(NoLoad(format!("\"{kind}\" is no kind of load"))),
        })
    }
}

impl Load {
    /// The name of the load in tables.
    pub fn name(&self) -> String {
        let file =
            |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match self {
            Self::File(path) | Self::CacheLib(path) => file(path),
            Self::Zipf { alpha, keys } => format!("zipf:{alpha}:{keys}"),
            Self::Uniform { keys } => format!("uniform:{keys}"),
            Self::Loop { keys } => format!("loop:{keys}"),
            Self::Scan { alpha, keys } => format!("scan:{alpha}:{keys}"),
            Self::Shift { alpha, keys } => format!("shift:{alpha}:{keys}"),
            Self::Pairs { distance } => format!("pairs:{distance}"),
        }
    }

    /// The requests; `count` of them at most, or exactly if they are made. Requests without a size get one from `sizes`,
    /// the same for each request of a key.
    ///
    /// # Errors
    /// If a file cannot be read; the error names it.
    pub fn requests(
        &self,
        count: Option<usize>,
        seed: u64,
        sizes: Option<&Sizes>,
    ) -> std::io::Result<Trace> {
        let made = count.unwrap_or(1_000_000);
        let mut random = Random::new(seed);
        let mut trace = match self {
            Self::File(path) => Trace::read(path, Format::of(path), count.unwrap_or(usize::MAX))?,
            Self::CacheLib(path) => {
                let popularity = CacheLib::read(path)?;
                let mut fresh = 0;
                Trace::of_keys((0..made).map(|_| popularity.draw(&mut random, &mut fresh)))
            }
            Self::Uniform { keys } => Trace::of_keys((0..made).map(|_| random.below(*keys))),
            Self::Loop { keys } => Trace::of_keys((0..made as u64).map(|i| i % keys)),
            Self::Zipf { alpha, keys } => {
                let zipf = Zipf::new(*keys, *alpha);
                Trace::of_keys((0..made).map(|_| zipf.draw(&mut random)))
            }
            Self::Scan { alpha, keys } => {
                let zipf = Zipf::new(*keys, *alpha);
                let turn = (keys / 10).max(1);
                Trace::of_keys((0..made as u64).map(|i| {
                    if (i / turn).is_multiple_of(2) { zipf.draw(&mut random) } else { keys + i }
                }))
            }
            Self::Shift { alpha, keys } => {
                let zipf = Zipf::new(*keys, *alpha);
                let generation = |i: u64| i / (10 * keys);
                Trace::of_keys(
                    (0..made as u64).map(|i| generation(i) * keys + zipf.draw(&mut random)),
                )
            }
            Self::Pairs { distance } => {
                // Between the two requests of a key there are half as many new ones as old ones.
                let ahead = distance / 2;
                let key = |i: u64| if i.is_multiple_of(2) { i / 2 + ahead } else { i / 2 };
                Trace::of_keys((0..made as u64).map(key))
            }
        };
        if let Some(sizes) = sizes {
            for request in trace.requests.iter_mut().filter(|request| request.size == 0) {
                request.size = sizes.of_key(request.key, seed);
            }
        }
        Ok(trace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        assert_eq!("zipf:0.9:1_000".parse(), Ok(Load::Zipf { alpha: 0.9, keys: 1000 }));
        assert_eq!("some.trace".parse(), Ok(Load::File("some.trace".into())));
        for wrong in ["zipf:0.9", "zipf:x:10", "zipf:-1:10", "loop:0", "loop:x", "spiral:10"] {
            let error = wrong.parse::<Load>().unwrap_err().to_string();
            assert!(error.contains("uniform:KEYS"), "{error}");
        }
    }

    #[test]
    fn made_loads_are_as_told() {
        let keys = |load: &str| {
            let trace = load.parse::<Load>().unwrap().requests(Some(20_000), 1, None).unwrap();
            assert_eq!(trace.requests.len(), 20_000);
            (trace.keys, trace.requests.iter().map(|r| r.key).collect::<Vec<_>>())
        };
        assert_eq!(keys("loop:7").1[..9], [0, 1, 2, 3, 4, 5, 6, 0, 1]);
        assert_eq!(keys("uniform:100").0, 100);
        assert!(keys("scan:0.9:1000").0 > 10_000);
        let (_, pairs) = keys("pairs:100");
        let mut times = std::collections::HashMap::new();
        for key in pairs {
            *times.entry(key).or_insert(0) += 1;
        }
        assert!(times.values().filter(|&&n| n == 2).count() > 9_900);
        assert!(times.values().all(|&n| n <= 2));
    }
}
