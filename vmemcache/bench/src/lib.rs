//! Traces, made loads, simulation of policies and charts: what `vmemcache-bench` is made of.

pub mod chart;
pub mod distribution;
pub mod load;
pub mod random;
pub mod replay;
pub mod simulate;
pub mod trace;
