//! The subcommands of `pmem-bench`, and what they share.

pub(crate) mod all;
pub(crate) mod icount;
pub(crate) mod in_process;
pub(crate) mod preload;

use std::path::{Path, PathBuf};

use clap::Args;
use pmem_bench::allocator::{self, Allocator, Places};
use pmem_bench::case::{self, Case};
use pmem_bench::error::{Context, Error, Result};
use pmem_bench::{program, report};
use regex_lite::Regex;

#[derive(Args)]
pub(crate) struct Where {
    /// Our library [default: libvmmalloc.so beside this program]
    #[arg(long, value_name = "FILE")]
    pub(crate) library: Option<PathBuf>,
    /// Directory of the built peers [default: `peers` beside this program's directory]
    #[arg(long, value_name = "DIR")]
    pub(crate) peers_dir: Option<PathBuf>,
    /// Directory for pools on memory
    #[arg(long, value_name = "DIR", default_value = "/dev/shm")]
    pub(crate) memory_dir: PathBuf,
    /// Directory for pools on a disk file system [default: beside this program's directory]
    #[arg(long, value_name = "DIR")]
    pub(crate) disk_dir: Option<PathBuf>,
    /// Directory on a tmpfs mounted with huge=advise: adds the allocator vmmalloc-huge
    #[arg(long, value_name = "DIR")]
    pub(crate) huge_dir: Option<PathBuf>,
    /// Size of lazy pools
    #[arg(long, value_name = "SIZE", default_value = "8G")]
    pub(crate) pool_size: String,
    /// Size of preallocated pools
    #[arg(long, value_name = "SIZE", default_value = "640M")]
    pub(crate) prealloc_size: String,
}

#[derive(Args)]
pub(crate) struct Output {
    /// Write all runs as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Write the tables as Markdown [default: standard output]
    #[arg(long, value_name = "FILE")]
    pub(crate) markdown: Option<PathBuf>,
    /// Write a chart of the geometric means
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
}

/// Where the package's sources were when it was built; the peers' versions are pinned there.
pub(crate) fn sources() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Directory of this program: its siblings are the workloads, the launcher and our library.
pub(crate) fn own_directory() -> Result<PathBuf> {
    let program = std::env::current_exe().context(|| "own path".to_owned())?;
    program.parent().map(Path::to_owned).ok_or_else(|| Error::new("this program has no directory"))
}

impl Where {
    pub(crate) fn places(&self) -> Result<Places> {
        let own = own_directory()?;
        let beside = own.parent().unwrap_or(&own);
        Ok(Places {
            library: self.library.clone().unwrap_or_else(|| own.join("libvmmalloc.so")),
            peers: self.peers_dir.clone().unwrap_or_else(|| beside.join("peers")),
            memory: self.memory_dir.clone(),
            disk: self.disk_dir.clone().unwrap_or_else(|| beside.join("bench-pools")),
            huge: self.huge_dir.clone(),
            pool_size: self.pool_size.clone(),
            prealloc_size: self.prealloc_size.clone(),
        })
    }
}

/// The chosen allocators; what is left out is said.
pub(crate) fn choose(places: &Places, wanted: Option<&[String]>) -> Result<Vec<Allocator>> {
    std::fs::create_dir_all(&places.disk).context(|| places.disk.display().to_string())?;
    let candidates = allocator::candidates(places);
    if wanted.is_none() {
        for missing in candidates.iter().filter_map(|candidate| candidate.as_ref().err()) {
            eprintln!("pmem-bench: without {}: {}", missing.name, missing.remedy);
        }
    }
    allocator::choose(candidates, wanted)
}

/// A directory of our own for inputs, captured output and sockets, removed at the end.
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    pub(crate) fn new() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("pmem-bench-{}", std::process::id()));
        std::fs::create_dir_all(&path).context(|| path.display().to_string())?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Nothing can be done about a directory that stays behind.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn all_cases(directory: &Path, scale: f64, seed: u64) -> Result<Vec<Case>> {
    let mut cases = case::workloads(&own_directory()?.join("pmem-workloads"), scale, seed)?;
    cases.extend(program::programs(directory, scale)?);
    Ok(cases)
}

pub(crate) fn pattern(filter: &str) -> Result<Regex> {
    Regex::new(filter).context(|| format!("--filter {filter:?}"))
}

pub(crate) fn matching(mut cases: Vec<Case>, filter: Option<&Regex>) -> Vec<Case> {
    if let Some(filter) = filter {
        cases.retain(|Case { label, .. }| {
            filter.is_match(&label.name) || filter.is_match(&label.group)
        });
    }
    cases
}

/// Names the command that a person gave, when another program calls this one.
const COMMAND_VARIABLE: &str = "PMEM_BENCH_COMMAND";

pub(crate) fn command_line() -> String {
    if let Ok(command) = std::env::var(COMMAND_VARIABLE) {
        return command;
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    format!("pmem-bench {}", arguments.join(" "))
}

pub(crate) fn write_value(path: &Path, value: &impl serde::Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value).context(|| path.display().to_string())?;
    report::write(path, &(text + "\n"))
}

pub(crate) fn rounds(asked: Option<u32>, quick: bool) -> u32 {
    asked.unwrap_or(if quick { 2 } else { 5 })
}
