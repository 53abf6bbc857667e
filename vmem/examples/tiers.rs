//! Two tiers: what is looked up often in DRAM, what is large in a file.

use hashbrown::HashMap;
use vmem::allocator_api2::boxed::Box;
use vmem::allocator_api2::vec::Vec;
use vmem::{Error, Pool, PurgePolicy};

/// A store of texts: the index is in the fast pool, the texts are in the large one.
struct Store<'p> {
    index: HashMap<u64, Box<[u8], &'p Pool>, hashbrown::DefaultHashBuilder, &'p Pool>,
    large: &'p Pool,
}

impl<'p> Store<'p> {
    fn new(fast: &'p Pool, large: &'p Pool) -> Store<'p> {
        Store { index: HashMap::new_in(fast), large }
    }

    fn put(&mut self, key: u64, text: &[u8]) {
        let mut value = Vec::with_capacity_in(text.len(), self.large);
        value.extend_from_slice(text);
        self.index.insert(key, value.into_boxed_slice());
    }

    fn get(&self, key: u64) -> Option<&[u8]> {
        self.index.get(&key).map(|value| &**value)
    }
}

fn main() -> Result<(), Error> {
    let directory = std::env::args().nth(1).unwrap_or("/dev/shm".into());
    let fast = Pool::builder().size(64 << 20).purge(PurgePolicy::Never).anonymous()?;
    let large = Pool::builder().size(1 << 30).in_directory(directory)?;

    let mut store = Store::new(&fast, &large);
    for key in 0..10_000 {
        store.put(key, format!("the text of {key}. ").repeat(100).as_bytes());
    }
    let text = store.get(4711).expect("it was put in");
    println!("4711: {} bytes, {:?}", text.len(), String::from_utf8_lossy(&text[..16]));
    println!("index in DRAM:   {} bytes", fast.stats().allocated_bytes);
    println!("texts in a file: {} bytes", large.stats().allocated_bytes);
    Ok(())
}
