//! A cache whose values lie in a large mapping of memory: tmpfs, persistent memory, CXL, huge pages.

pub mod policy;
