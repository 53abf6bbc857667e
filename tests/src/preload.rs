//! The environment of one pool, applied to a command.

use std::collections::BTreeMap;
use std::env;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::artifact;
use crate::scratch::Scratch;
use crate::stats::Report;

/// A pool directory and the variables that describe the pool.
#[derive(Debug)]
pub struct Pool {
    dir: PathBuf,
    variables: BTreeMap<&'static str, OsString>,
    scratch: Scratch,
}

impl Pool {
    /// A pool of `mib` MiB whose space is taken on demand.
    #[must_use]
    pub fn lazy(mib: u64) -> Self {
        Self::prealloc(mib).set("VMMALLOC_SPACE", "lazy")
    }

    /// A pool of `mib` MiB whose space is taken at the start: the mode of the contract.
    #[must_use]
    pub fn prealloc(mib: u64) -> Self {
        let scratch = Scratch::in_memory("pool");
        Self { dir: scratch.path().to_owned(), variables: BTreeMap::new(), scratch }
            .set("VMMALLOC_POOL_SIZE", (mib << 20).to_string())
    }

    /// Sets one variable.
    #[must_use]
    pub fn set(mut self, name: &'static str, value: impl AsRef<OsStr>) -> Self {
        self.variables.insert(name, value.as_ref().to_owned());
        self
    }

    /// Removes one variable.
    #[must_use]
    pub fn unset(mut self, name: &'static str) -> Self {
        self.variables.remove(name);
        self
    }

    /// Uses another directory.
    #[must_use]
    pub fn at(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dir = dir.into();
        self
    }

    /// Sets `VMMALLOC_FORK`.
    #[must_use]
    pub fn fork(self, mode: u8) -> Self {
        self.set("VMMALLOC_FORK", mode.to_string())
    }

    /// Makes every process write its report into a file; [`Pool::reports`] reads them.
    #[must_use]
    pub fn with_reports(self) -> Self {
        let prefix = self.scratch.path().join("report-");
        self.set("VMMALLOC_STATS", "json").set("VMMALLOC_STATS_FILE", prefix)
    }

    /// The directory of the pool.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The directory of the reports; see [`Pool::with_reports`].
    #[must_use]
    pub fn report_dir(&self) -> &Path {
        self.scratch.path()
    }

    /// Gives `command` the pool and the preloaded library.
    pub fn preload<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        self.describe(command).env("LD_PRELOAD", artifact::library())
    }

    /// Gives `command` the variables without the preload, as a linked program needs them.
    pub fn describe<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        plain(command).env("VMMALLOC_POOL_DIR", &self.dir).envs(&self.variables)
    }

    /// A command for `program` that runs in the pool.
    #[must_use]
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        self.preload(&mut command);
        command
    }

    /// The reports written so far, by process id; see [`Pool::with_reports`].
    ///
    /// # Panics
    ///
    /// When a report is not one valid JSON object.
    #[must_use]
    pub fn reports(&self) -> Vec<Report> {
        Report::read_all(self.scratch.path(), "report-")
    }
}

/// Removes from `command` every variable that steers the library, so that a test does not depend on how
/// it was started.
pub fn plain(command: &mut Command) -> &mut Command {
    for (name, _) in env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"VMMALLOC_") {
            command.env_remove(name);
        }
    }
    // One language for all messages; one place for temporary files, given by the test where it matters.
    command.env_remove("LD_PRELOAD").env_remove("MAKEFLAGS").env("LC_ALL", "C")
}
