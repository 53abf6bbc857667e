//! What tests of several crates need. It uses none of them.

use std::io::Write;

pub mod child;
pub mod tmpfs;

/// Tells on standard error what a test left unchecked: past the harness, which would show it only for a test that fails.
fn tell(line: &[u8]) {
    // Without standard error there is nobody to tell.
    let _ = std::io::stderr().write_all(line);
}
