//! Containers in a pool: a vector, a box, a map, and a list made of boxes.

use hashbrown::HashMap;
use std::ptr::NonNull;
use vmem::allocator_api2::boxed::Box;
use vmem::allocator_api2::vec::Vec;
use vmem::{Error, Pool};

/// A list whose nodes are in a pool.
struct Node<'p> {
    value: u32,
    next: Option<Box<Node<'p>, &'p Pool>>,
}

fn main() -> Result<(), Error> {
    let directory = std::env::args().nth(1).unwrap_or("/dev/shm".into());
    let pool = Pool::in_directory(directory, 256 << 20)?;

    let mut squares = Vec::new_in(&pool);
    squares.extend((0..1_000_000u64).map(|n| n * n));
    println!("vector: {} squares, the last is {}", squares.len(), squares[999_999]);

    // Keys and values may hold memory of the pool as well.
    let mut divisors: HashMap<u32, Vec<u32, &Pool>, _, &Pool> = HashMap::new_in(&pool);
    for number in 1..=10_000 {
        for multiple in (number..=10_000).step_by(number as usize) {
            divisors.entry(multiple).or_insert_with(|| Vec::new_in(&pool)).push(number);
        }
    }
    println!("map: 9240 has {} divisors", divisors[&9240].len());

    let mut list = None;
    for value in 0..1000 {
        list = Some(Box::new_in(Node { value, next: list }, &pool));
    }
    let mut sum = 0;
    let mut at = &list;
    while let Some(node) = at {
        sum += node.value;
        at = &node.next;
    }
    println!("list: the sum is {sum}");

    assert!(pool.contains(NonNull::from(&squares[0])));
    println!("allocated: {} bytes", pool.stats().allocated_bytes);
    drop((squares, divisors, list));
    println!("left: {} bytes", pool.stats().allocated_bytes);
    pool.check().expect("the structures agree");
    Ok(())
}
