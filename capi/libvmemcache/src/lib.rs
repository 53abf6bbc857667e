#![doc = include_str!("../README.md")]

#[macro_use]
mod log;

mod add;
mod alloc;
mod api;
mod handle;
mod message;
mod pending;
mod races;
