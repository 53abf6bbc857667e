//! What a program that crashed left in its core file.

use std::fs;
use std::process::Command;

use crate::run::{Outcome, SHORT, run};
use crate::scratch::Scratch;

/// The byte that `c/dumped.h` fills a block with.
const FILLING: u8 = 0xa7;

/// Runs a program made with `c/dumped.h` until it aborts. Whether its block is in the core file; `None`, with a line on
/// standard output, when this system does not write core files to the working directory.
///
/// # Panics
///
/// When the program ends in another way, or without a core file.
pub fn has_the_block(command: &mut Command) -> Option<bool> {
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern")
        .expect("the kernel's name for core files");
    if pattern.starts_with(['|', '/']) {
        println!("NOT CHECKED: core files go to {}", pattern.trim());
        return None;
    }
    let scratch = Scratch::new("core");
    let outcome: Outcome = run(command.current_dir(scratch.path()), SHORT);
    assert_eq!(outcome.signal(), Some(libc::SIGABRT), "{outcome}");
    let files = fs::read_dir(scratch.path()).expect("the working directory");
    let file = files.flatten().next().unwrap_or_else(|| panic!("no core file of {outcome}"));
    let core = fs::read(file.path()).expect("the core file");
    let page = [FILLING; 4096];
    Some(core.windows(page.len()).step_by(16).any(|part| part == page))
}
