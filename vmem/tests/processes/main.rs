//! Programs with pools, run as processes: the examples, and what a global allocator does when its
//! pool cannot be made.
#![cfg(not(miri))]

mod example;

mod examples;
mod policies;
