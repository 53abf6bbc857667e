#![doc = include_str!("../README.md")]

#[macro_use]
mod log;

mod bad_blocks;
mod config;
mod functions;
mod map;
mod reservation;
mod result;
mod source;
mod start;
