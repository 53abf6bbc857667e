#![doc = include_str!("../README.md")]

mod explore;
mod lines;
mod recorder;

pub use explore::{Crash, Explored, Explorer, LineOrder, Violation};
pub use recorder::{Event, Recorder, Trace};
