//! Distributions of popularity and size.

use std::io;
use std::path::Path;

use serde::Deserialize;

use crate::random::{Random, mix};
use crate::trace;

/// Zipf's distribution over any number of keys, without a table.
///
/// W. Hormann, G. Derflinger, "Rejection-inversion to generate variates from monotone discrete distributions", 1996.
#[derive(Clone, Debug)]
pub struct Zipf {
    keys: f64,
    alpha: f64,
    low: f64,
    high: f64,
    shift: f64,
}

impl Zipf {
    /// Over `0..keys` with the exponent `alpha`.
    pub fn new(keys: u64, alpha: f64) -> Self {
        let mut zipf = Self { keys: keys as f64, alpha, low: 0.0, high: 0.0, shift: 0.0 };
        zipf.low = zipf.integral(1.5) - 1.0;
        zipf.high = zipf.integral(zipf.keys + 0.5);
        zipf.shift = 2.0 - zipf.inverse(zipf.integral(2.5) - 2f64.powf(-alpha));
        zipf
    }

    /// The integral of x^-alpha from 1 to x.
    fn integral(&self, x: f64) -> f64 {
        let log = x.ln();
        let y = (1.0 - self.alpha) * log;
        if y.abs() < 1e-8 { log * (1.0 + y / 2.0) } else { log * y.exp_m1() / y }
    }

    fn inverse(&self, area: f64) -> f64 {
        let y = (area * (1.0 - self.alpha)).max(-1.0);
        if y.abs() < 1e-8 { (area * (1.0 - y / 2.0)).exp() } else { (area * y.ln_1p() / y).exp() }
    }

    /// A key; 0 is the most popular one.
    pub fn draw(&self, random: &mut Random) -> u64 {
        loop {
            let area = self.high + random.unit() * (self.low - self.high);
            let x = self.inverse(area);
            let k = x.round().clamp(1.0, self.keys);
            if k - x <= self.shift || area >= self.integral(k + 0.5) - k.powf(-self.alpha) {
                return k as u64 - 1;
            }
        }
    }
}

/// Weights of which one is drawn.
#[derive(Clone, Debug)]
struct Weights(Vec<f64>);

impl Weights {
    fn new(weights: &[f64]) -> Self {
        let mut sum = 0.0;
        let sums = weights.iter().map(|weight| {
            sum += weight;
            sum
        });
        Self(sums.collect())
    }

    /// The number of a weight, for `part` in `0.0..1.0` of their sum.
    fn draw(&self, part: f64) -> usize {
        let sum = self.0.last().copied().unwrap_or(0.0);
        self.0.partition_point(|&upto| upto <= part * sum).min(self.0.len() - 1)
    }
}

/// Sizes of key and value together.
#[derive(Clone, Debug)]
pub enum Sizes {
    /// All the same, in bytes.
    Fixed(u32),
    /// Drawn from ranges.
    #[non_exhaustive]
    Ranges(Ranges),
}

/// Ranges of sizes with weights.
#[derive(Clone, Debug)]
pub struct Ranges {
    starts: Vec<f64>,
    weights: Weights,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SizesFile {
    val_size_range: Vec<f64>,
    val_size_range_probability: Vec<f64>,
}

impl Sizes {
    /// Reads CacheLib's `SERVICE.sizes.json`, packed or not.
    ///
    /// # Errors
    /// If it cannot be read or is none; the error names the file.
    pub fn read(path: &Path) -> io::Result<Self> {
        let file: SizesFile = read_json(path)?;
        let (starts, weights) = (file.val_size_range, file.val_size_range_probability);
        check(path, starts.len(), weights.len())?;
        Ok(Self::Ranges(Ranges { starts, weights: Weights::new(&weights) }))
    }

    /// The size for a key.
    pub fn of_key(&self, key: u32, seed: u64) -> u32 {
        let mut random = Random::new(mix(u64::from(key) ^ seed.rotate_left(32)));
        match self {
            Self::Fixed(size) => *size,
            Self::Ranges(Ranges { starts, weights }) => {
                let i = weights.draw(random.unit());
                let end = starts.get(i + 1).copied().unwrap_or(starts[i]);
                (starts[i] + random.unit() * (end - starts[i])).max(1.0) as u32
            }
        }
    }
}

/// The popularity of a service's objects.
#[derive(Clone, Debug)]
pub struct CacheLib {
    /// For each bucket the number of its first object and how many it has.
    buckets: Vec<(u64, u64)>,
    weights: Weights,
    one_hits: f64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PopularityFile {
    one_hits: f64,
    popularity_weights: Vec<f64>,
    popularity_buckets: Vec<f64>,
}

impl CacheLib {
    /// Reads `SERVICE.pop.json`, packed or not.
    ///
    /// # Errors
    /// If it cannot be read or is none; the error names the file.
    pub fn read(path: &Path) -> io::Result<Self> {
        let file: PopularityFile = read_json(path)?;
        check(path, file.popularity_buckets.len(), file.popularity_weights.len())?;
        let mut first = 0;
        let buckets = file.popularity_buckets.iter().map(|&count| {
            let bucket = (first, (count as u64).max(1));
            first += bucket.1;
            bucket
        });
        let buckets = buckets.collect();
        let weights = Weights::new(&file.popularity_weights);
        Ok(Self { buckets, weights, one_hits: file.one_hits })
    }

    /// A key. `fresh` counts those that come once only.
    pub fn draw(&self, random: &mut Random, fresh: &mut u64) -> u64 {
        if random.unit() < self.one_hits {
            *fresh += 1;
            return u64::MAX - *fresh;
        }
        let (first, count) = self.buckets[self.weights.draw(random.unit())];
        first + random.below(count)
    }
}

fn check(path: &Path, values: usize, weights: usize) -> io::Result<()> {
    if values == weights && values > 0 {
        return Ok(());
    }
    let text = format!("{}: {values} values and {weights} weights", path.display());
    Err(io::Error::new(io::ErrorKind::InvalidData, text))
}

fn read_json<T: for<'a> Deserialize<'a>>(path: &Path) -> io::Result<T> {
    let named = |kind, error: String| io::Error::new(kind, format!("{}: {error}", path.display()));
    let reader = trace::unpack(path).map_err(|error| named(error.kind(), error.to_string()))?;
    let parsed = serde_json::from_reader(reader);
    parsed.map_err(|error| named(io::ErrorKind::InvalidData, error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The shares of the first keys are what the definition says, for exponents on both sides of 1 and at it.
    #[test]
    fn zipf_is_zipf() {
        for alpha in [0.0, 0.7, 1.0, 1.3] {
            let zipf = Zipf::new(1000, alpha);
            let mut random = Random::new(7);
            let mut counts = vec![0u32; 1000];
            let draws = 200_000;
            for _ in 0..draws {
                counts[zipf.draw(&mut random) as usize] += 1;
            }
            let norm: f64 = (1..=1000).map(|k| f64::from(k).powf(-alpha)).sum();
            for k in [1usize, 2, 3, 10, 100, 1000] {
                let expected = f64::from(draws) * (k as f64).powf(-alpha) / norm;
                let seen = f64::from(counts[k - 1]);
                let sigma = expected.sqrt();
                assert!(
                    (seen - expected).abs() < 5.0 * sigma + 1.0,
                    "{alpha} {k}: {seen} {expected}"
                );
            }
        }
    }

    #[test]
    fn weights_are_shares() {
        let weights = Weights::new(&[1.0, 0.0, 3.0]);
        assert_eq!([0.0, 0.2, 0.3, 0.99].map(|part| weights.draw(part)), [0, 0, 2, 2]);
    }

    #[test]
    fn a_key_keeps_its_size() {
        let ranges = Ranges { starts: vec![10.0, 100.0], weights: Weights::new(&[1.0, 1.0]) };
        let sizes = Sizes::Ranges(ranges);
        for key in 0..100 {
            let size = sizes.of_key(key, 3);
            assert_eq!(size, sizes.of_key(key, 3));
            assert!((10..=100).contains(&size));
        }
    }
}
