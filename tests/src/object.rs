//! What binutils say of the built libraries, and what the contract says they should.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::artifact::need;
use crate::run::{SHORT, run};

/// The output of a tool of binutils about a file.
///
/// # Panics
///
/// When it fails.
#[must_use]
pub fn tool(name: &str, arguments: &[&str], file: &Path) -> String {
    let mut command = Command::new(need(name, "binutils"));
    run(command.args(arguments).arg(file).env("LC_ALL", "C"), SHORT).success().out()
}

/// Dynamic symbols that a file defines, as `LETTER NAME@VERSION`, sorted.
#[must_use]
pub fn defined(file: &Path) -> Vec<String> {
    let out = tool("nm", &["-D", "--defined-only", "--with-symbol-versions"], file);
    let lines = out.lines().filter_map(|line| line.split_once(' '));
    sorted(lines.map(|(_, rest)| rest.trim().to_owned()))
}

/// Symbols that an archive offers to the linker, sorted.
#[must_use]
pub fn offered(archive: &Path) -> Vec<String> {
    let out = tool("nm", &["--defined-only", "--extern-only"], archive);
    sorted(out.lines().filter_map(|line| line.split_whitespace().nth(2)).map(str::to_owned))
}

/// The committed list of the dynamic symbols of a library, in the form of [`defined`].
///
/// # Panics
///
/// When there is none.
#[must_use]
pub fn listed(library: &str) -> Vec<String> {
    let path = format!("{}/abi/{library}.symbols", env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    sorted(lines.map(str::to_owned))
}

/// The functions in that list, sorted.
#[must_use]
pub fn functions(library: &str) -> Vec<String> {
    let lines = listed(library);
    let lines = lines.iter().filter(|line| !line.starts_with("A "));
    sorted(lines.map(|line| line[2..].split('@').next().unwrap_or_default().to_owned()))
}

fn sorted(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

/// Checks what holds for every shared object of the project: its name for the loader, what it needs, and how it is loaded.
///
/// # Panics
///
/// When something is different.
pub fn check(file: &Path, soname: &str, needed: &[&str]) {
    let dynamic = tool("readelf", &["-dW"], file);
    assert!(dynamic.contains(&format!("Library soname: [{soname}]")), "{dynamic}");
    for line in dynamic.lines().filter(|line| line.contains("(NEEDED)")) {
        assert!(needed.iter().any(|name| line.contains(&format!("[{name}]"))), "{line}");
    }
    for tag in ["(RPATH)", "(RUNPATH)", "(TEXTREL)"] {
        assert!(!dynamic.contains(tag), "{tag} in\n{dynamic}");
    }
    assert!(dynamic.contains("NODELETE") && dynamic.contains("NOW"), "{dynamic}");
    let segments = tool("readelf", &["-lW"], file);
    let stack = segments.lines().find(|line| line.contains("GNU_STACK")).expect("GNU_STACK");
    assert!(stack.contains("RW ") && !stack.contains("RWE"), "{stack}");
    assert!(segments.contains("GNU_RELRO"), "{segments}");
}
