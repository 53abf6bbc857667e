//! A small cache in memory over a large one in a file: what leaves the small one goes down, what is found below comes up.

use std::sync::Arc;
use vmemcache::{Cache, Cause, Error, Listener, Value};

/// Sends what needs space above to the cache below.
struct Demote(Arc<Cache>);

impl Listener for Demote {
    fn on_evict(&self, key: &[u8], value: &Value<'_>, cause: Cause) {
        if cause == Cause::Capacity
            && let Err(error) = self.0.put(key, &value.to_cow())
        {
            eprintln!("lost an entry: {error}");
        }
    }
}

struct Tiers {
    above: Cache,
    below: Arc<Cache>,
}

impl Tiers {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        if let Some(value) = self.above.get(key) {
            return Ok(Some(value.to_vec()));
        }
        let Some(value) = self.below.get(key).map(|value| value.to_vec()) else { return Ok(None) };
        self.below.remove(key);
        self.above.put(key, &value)?;
        Ok(Some(value))
    }
}

fn main() -> Result<(), Error> {
    let below = Arc::new(Cache::builder().size(64 << 20).in_directory(std::env::temp_dir())?);
    let above = Cache::builder().size(4 << 20).listener(Arc::new(Demote(Arc::clone(&below))));
    let tiers = Tiers { above: above.anonymous()?, below };
    for n in 0..20_000u32 {
        tiers.above.put(&n.to_le_bytes(), &[n as u8; 1000])?;
    }
    for n in (0..20_000u32).step_by(7) {
        assert_eq!(tiers.get(&n.to_le_bytes())?, Some(vec![n as u8; 1000]));
    }
    println!("{} entries above, {} below", tiers.above.len(), tiers.below.len());
    Ok(())
}
