#![doc = include_str!("../README.md")]

mod arena;
mod check;
mod error;
mod layout;
mod readers;
mod volume;
mod write;

pub use error::Error;
pub use layout::largest_block;
pub use volume::{Btt, Config};
