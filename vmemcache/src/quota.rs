//! What namespaces may take of the pool.

use crate::block::Units;
use crate::error::Error;

/// The smallest quota of a namespace in each shard, in bytes.
pub const MIN_QUOTA: usize = 4 << 10;

/// What the entries of a namespace may take of the pool: keys, values, headers and rounding.
#[derive(Clone, Copy, PartialEq, Debug)]
#[non_exhaustive]
pub enum Quota {
    /// So many bytes.
    Bytes(usize),
    /// A part of the pool, above 0 and up to 1.
    Share(f64),
}

/// The namespaces of a cache and their quotas.
#[derive(Clone, Default, Debug)]
pub(crate) struct Quotas(pub(crate) Vec<(Box<str>, Quota)>);

/// What quotas depend on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Whole {
    pub(crate) units: Units,
    pub(crate) shards: usize,
    /// The units of each shard, and what it keeps free of them.
    pub(crate) total: u32,
    pub(crate) reserve: u32,
    /// In units.
    pub(crate) extent: u32,
}

impl Quotas {
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| &**name)
    }

    /// The share of each namespace in the units of each shard; the first one has no name and gets what is left.
    pub(crate) fn shares(&self, whole: Whole) -> Result<Vec<u64>, Error> {
        let Whole { units, shards, total, reserve, extent } = whole;
        let mut quotas = vec![0];
        let total = u64::from(total);
        for (at, (name, quota)) in self.0.iter().enumerate() {
            let wrong = |what| Err(Error::Namespace { name: name.to_string(), what });
            if name.is_empty() {
                return wrong("the one without a name is always there; give a name");
            }
            if self.0[..at].iter().any(|(other, _)| other == name) {
                return wrong("it was added twice; add it once");
            }
            let quota = match *quota {
                Quota::Bytes(bytes) => (bytes / shards / units.unit()) as u64,
                Quota::Share(share) if share > 0.0 && share <= 1.0 => (total as f64 * share) as u64,
                Quota::Share(_) => return wrong("its share is not above 0 and up to 1"),
            };
            if quota < units.round_up(MIN_QUOTA as u64).max(u64::from(extent)) {
                return wrong(
                    "its quota is too small; give 4 KiB and an extent for each shard at least",
                );
            }
            if quotas.iter().sum::<u64>().saturating_add(quota) > total {
                return wrong("with its quota they are larger than the cache; make quotas smaller");
            }
            quotas.push(quota);
        }
        let named: u64 = quotas.iter().sum();
        // Alone it has all, as the reserve is nobody's.
        let reserve = if named == 0 { 0 } else { u64::from(reserve) };
        quotas[0] = total.saturating_sub(named + reserve);
        Ok(quotas)
    }
}
