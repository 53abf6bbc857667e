//! Streams of cache operations against a map: what is found is what was stored last, and all structures agree.
#![no_main]

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use std::collections::HashMap;
use vmemcache::policy::Kind;
use vmemcache::{Cache, Error, Quota};

#[derive(Debug, Arbitrary)]
enum Operation {
    Put { key: u8, long: u8, len: u16, ttl: bool },
    PutIfAbsent { key: u8, long: u8, len: u16 },
    Replace { key: u8, long: u8, len: u16 },
    Get { key: u8, long: u8 },
    Read { key: u8, long: u8, len: u8, offset: u16 },
    Remove { key: u8, long: u8 },
    Hold { key: u8, long: u8 },
    Release,
    EvictNext,
    Resize { size: u16 },
    Clear,
    Validate,
}

#[derive(Debug, Arbitrary)]
struct Input {
    kind: u8,
    exact: bool,
    contiguous: bool,
    extent: u8,
    shards: bool,
    operations: Vec<Operation>,
}

fn bytes_of(key: u8, long: u8) -> Vec<u8> {
    let mut bytes = vec![key; 1 + usize::from(long) % 40];
    bytes[0] = key;
    bytes
}

/// Half of the keys are in the namespace with a name.
fn space_of(long: u8) -> usize {
    usize::from(long >> 7)
}

fuzz_target!(|input: Input| {
    let cache = Cache::builder()
        .size(128 << 10)
        .max_size(512 << 10)
        .policy(Kind::ALL[usize::from(input.kind) % Kind::ALL.len()])
        .exact_space(input.exact)
        .contiguous(input.contiguous)
        .extent_size(1 + usize::from(input.extent))
        .shards(1 + usize::from(input.shards))
        .namespace("named", Quota::Share(0.3))
        .anonymous()
        .expect("the settings are right");
    let spaces: Vec<_> = cache.namespaces().collect();
    let mut models: [HashMap<Vec<u8>, Vec<u8>>; 2] = Default::default();
    let mut held: Option<(vmemcache::Value<'_>, Vec<u8>)> = None;
    for (step, operation) in input.operations.iter().enumerate() {
        let value = |len: u16| vec![step as u8; usize::from(len)];
        match *operation {
            Operation::Put { key, long, len, ttl } => {
                let (key, value) = (bytes_of(key, long), value(len));
                let result = if ttl {
                    spaces[space_of(long)].put_with_ttl(
                        &key,
                        &value,
                        std::time::Duration::from_secs(1000),
                    )
                } else {
                    spaces[space_of(long)].put(&key, &value)
                };
                match result {
                    Ok(_) => drop(models[space_of(long)].insert(key, value)),
                    Err(Error::ValueTooLarge { .. } | Error::Full { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            Operation::PutIfAbsent { key, long, len } => {
                let (key, value) = (bytes_of(key, long), value(len));
                if let Ok(true) = spaces[space_of(long)].put_if_absent(&key, &value) {
                    models[space_of(long)].insert(key, value);
                }
            }
            Operation::Replace { key, long, len } => {
                let (key, value) = (bytes_of(key, long), value(len));
                if let Ok(true) = spaces[space_of(long)].replace(&key, &value) {
                    assert!(models[space_of(long)].insert(key, value).is_some(), "it was there");
                }
            }
            Operation::Get { key, long } => {
                let key = bytes_of(key, long);
                if let Some(found) = spaces[space_of(long)].get(&key) {
                    assert_eq!(Some(&found.to_vec()), models[space_of(long)].get(&key));
                }
            }
            Operation::Read { key, long, len, offset } => {
                let (key, mut buffer) = (bytes_of(key, long), vec![0; usize::from(len)]);
                if let Some(read) =
                    spaces[space_of(long)].read(&key, &mut buffer, usize::from(offset))
                {
                    let value = &models[space_of(long)][&key];
                    let rest = value.get(usize::from(offset)..).unwrap_or(&[]);
                    assert_eq!(buffer[..read.copied], rest[..rest.len().min(buffer.len())]);
                    assert_eq!(read.size, value.len());
                }
            }
            Operation::Remove { key, long } => {
                let key = bytes_of(key, long);
                assert!(
                    !spaces[space_of(long)].remove(&key)
                        || models[space_of(long)].remove(&key).is_some()
                );
                assert!(!spaces[space_of(long)].contains(&key));
            }
            Operation::Hold { key, long } => {
                held = spaces[space_of(long)].get(&bytes_of(key, long)).map(|value| {
                    let copy = value.to_vec();
                    (value, copy)
                });
            }
            Operation::Release => held = None,
            Operation::EvictNext => drop(cache.evict_next()),
            Operation::Resize { size } => {
                // Too small is an error, and a guard may hold what is left.
                match cache.resize(usize::from(size) << 3) {
                    Ok(resized) => assert!(held.is_some() || resized.held == 0),
                    Err(
                        Error::Size { .. }
                        | Error::Shards { .. }
                        | Error::Maximum { .. }
                        | Error::Namespace { .. },
                    ) => {}
                    Err(Error::Shrink { .. }) => assert!(held.is_some()),
                    Err(error) => panic!("{error}"),
                }
                cache.validate();
            }
            Operation::Clear => {
                cache.clear();
                models.iter_mut().for_each(HashMap::clear);
                assert!(cache.is_empty());
            }
            Operation::Validate => cache.validate(),
        }
        if let Some((value, copy)) = &held {
            assert!(*value == copy[..], "a pinned value does not change");
        }
    }
    cache.validate();
    for (space, model) in spaces.iter().zip(&models) {
        for found in space.iter() {
            assert_eq!(Some(&found.to_vec()), model.get(found.key()));
        }
    }
});
