//! A program of the standard library whose whole heap is in a pool.
//!
//! Run it elsewhere with `VMEM_ALLOC_DIR=/mnt/pmem cargo run --example global`. An argument says how
//! many strings it keeps.

use std::collections::BTreeMap;
use std::thread;
use vmem::VmemAlloc;

#[global_allocator]
static A: VmemAlloc = VmemAlloc::in_dir(c"/dev/shm", 1 << 30);

/// Counts the digits of many numbers, with strings and maps on the way.
fn count_digits(from: u32) -> BTreeMap<char, usize> {
    let mut counts = BTreeMap::new();
    for text in (from..from + 50_000).map(|number| number.to_string()) {
        for digit in text.chars() {
            *counts.entry(digit).or_insert(0) += 1;
        }
    }
    counts
}

fn main() {
    let workers: Vec<_> = (0..4).map(|n| thread::spawn(move || count_digits(n * 50_000))).collect();
    let mut total = BTreeMap::new();
    for worker in workers {
        for (digit, count) in worker.join().expect("no worker panics") {
            *total.entry(digit).or_insert(0) += count;
        }
    }
    let digits: usize = total.values().sum();
    println!("digits of 0..200000: {digits}");

    let count = std::env::args().nth(1).map_or(100_000, |n| n.parse().expect("a number"));
    let kept: Vec<String> = (0..count).map(|n| format!("string {n}")).collect();
    assert!(kept.iter().all(|text| A.contains(text.as_ptr())));
    let stats = A.stats().expect("the pool was made by the first allocation");
    println!("backing:            {:?}", A.backing());
    println!("pool bytes:         {}", stats.pool_bytes);
    println!("allocated bytes:    {}", stats.allocated_bytes);
    println!("committed bytes:    {}", stats.committed_bytes);
    println!("resident bytes:     {}", stats.resident_bytes);
    println!("thread cache bytes: {}", stats.thread_cache_bytes);
    if let Some(overflow) = A.overflow_stats() {
        println!("overflow bytes:     {}", overflow.allocated_bytes);
    }
    for class in stats.classes.iter().filter(|class| class.live >= 1000) {
        println!("blocks of {:5} bytes: {}", class.size, class.live);
    }

    drop(kept);
    A.trim();
    let left = A.stats().expect("the pool is there").committed_bytes;
    println!("after trim:         {left}");
    A.check().expect("the structures agree");
}
