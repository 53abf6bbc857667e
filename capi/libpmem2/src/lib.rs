#![doc = include_str!("../README.md")]

mod bad_blocks;
mod config;
mod functions;
mod map;
mod reservation;
mod result;
mod source;
mod start;
