//! Starts programs through `pmem-launch`, which is small: a process inherits the peak resident set of the
//! one that started it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde::{Deserialize, Serialize};

use crate::error::{Context, Error, Result};

/// What one process tree used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Exit status of the program; -1 when a signal ended it.
    pub exit_status: i32,
    /// Signal that ended the program; 0 when it exited.
    pub signal: i32,
    /// Whether it was killed for taking too long.
    pub timed_out: bool,
    /// Time from start to end.
    pub wall_us: u64,
    /// CPU time in user mode of all processes of the tree.
    pub user_us: u64,
    /// CPU time in the kernel of all processes of the tree.
    pub system_us: u64,
    /// Peak resident set of the largest process.
    pub peak_rss_kib: u64,
    /// Page faults without reading from a disk.
    pub minor_faults: u64,
    /// Page faults with reading from a disk.
    pub major_faults: u64,
    /// Times a thread gave up its processor.
    pub voluntary_switches: u64,
    /// Times a thread was made to give up its processor.
    pub involuntary_switches: u64,
}

impl Usage {
    /// User and system CPU time in seconds.
    pub fn cpu_seconds(&self) -> f64 {
        (self.user_us + self.system_us) as f64 / 1e6
    }

    /// How the run ended, if not well.
    pub fn failure(&self) -> Option<String> {
        if self.timed_out {
            Some("timed out".to_owned())
        } else if self.signal != 0 {
            Some(format!("signal {}", self.signal))
        } else if self.exit_status != 0 {
            Some(format!("exit status {}", self.exit_status))
        } else {
            None
        }
    }
}

/// A program and what it is given.
#[derive(Clone, Debug, Default)]
pub struct Task {
    /// The program, a path.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Environment beside the minimal one.
    pub settings: Vec<(String, String)>,
}

/// The result of one run.
#[derive(Clone, Debug)]
pub struct Finished {
    /// What it used.
    pub usage: Usage,
    /// What it printed.
    pub output: Vec<u8>,
    /// The end of what it printed on standard error.
    pub complaints: String,
}

/// The launcher program and a directory for its files.
#[derive(Clone, Debug)]
pub struct Launcher {
    /// `pmem-launch`.
    pub program: PathBuf,
    /// Directory for reports and captured output.
    pub directory: PathBuf,
    /// Longest time a program may take, in seconds.
    pub timeout_s: u32,
}

/// A program that was started and not yet waited for.
pub struct Running {
    child: Child,
    prefix: PathBuf,
    program: PathBuf,
}

impl Launcher {
    /// Starts a task with further settings, for example those of an allocator. Everything else of our own
    /// environment but the search path is kept away from it.
    ///
    /// # Errors
    /// The launcher or its files are not usable.
    pub fn start(&self, task: &Task, settings: &[(String, String)], tag: &str) -> Result<Running> {
        let prefix = self.directory.join(tag);
        let capture = |suffix: &str| {
            let path = with_suffix(&prefix, suffix);
            File::create(&path).context(|| path.display().to_string())
        };
        let mut command = Command::new(&self.program);
        command
            .arg("--report")
            .arg(with_suffix(&prefix, "report"))
            .arg("--timeout")
            .arg(self.timeout_s.to_string());
        for (name, value) in task.settings.iter().chain(settings) {
            command.arg("--set").arg(format!("{name}={value}"));
        }
        command
            .arg("--")
            .arg(&task.program)
            .args(&task.arguments)
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
            .env("HOME", &self.directory)
            .env("TMPDIR", &self.directory)
            .env("LC_ALL", "C")
            .current_dir(&self.directory)
            .stdin(Stdio::null())
            .stdout(capture("out")?)
            .stderr(capture("err")?);
        let child = command.spawn().context(|| {
            format!("{}: build it by `cargo build --release`", self.program.display())
        })?;
        Ok(Running { child, prefix, program: task.program.clone() })
    }

    /// Starts a task and waits for its end.
    ///
    /// # Errors
    /// The task could not be started; how it ended is part of the result.
    pub fn run(&self, task: &Task, settings: &[(String, String)], tag: &str) -> Result<Finished> {
        self.start(task, settings, tag)?.wait()
    }
}

impl Running {
    /// Whether the program and all its descendants have ended.
    ///
    /// # Errors
    /// The launcher cannot be waited for.
    pub fn has_ended(&mut self) -> Result<bool> {
        let status = self.child.try_wait().context(|| self.program.display().to_string())?;
        Ok(status.is_some())
    }

    /// Waits for the end of the program.
    ///
    /// # Errors
    /// The program could not be started.
    pub fn wait(mut self) -> Result<Finished> {
        let status = self.child.wait().context(|| self.program.display().to_string())?;
        let read = |suffix: &str| {
            let path = with_suffix(&self.prefix, suffix);
            fs::read(&path).context(|| path.display().to_string())
        };
        let output = read("out")?;
        let complaints = last_lines(&String::from_utf8_lossy(&read("err")?), 5);
        if !status.success() {
            return Err(Error::new(format!("{}: {complaints}", self.program.display())));
        }
        let usage = parse_report(&read("report")?)?;
        for suffix in ["out", "err", "report"] {
            let path = with_suffix(&self.prefix, suffix);
            fs::remove_file(&path).context(|| path.display().to_string())?;
        }
        Ok(Finished { usage, output, complaints })
    }
}

fn with_suffix(prefix: &Path, suffix: &str) -> PathBuf {
    let mut name = prefix.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    PathBuf::from(name)
}

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

fn parse_report(report: &[u8]) -> Result<Usage> {
    serde_json::from_slice(report)
        .context(|| format!("launcher report {:?}", String::from_utf8_lossy(report)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_of_the_launcher_is_read() {
        let report = br#"{"exit_status":0,"signal":0,"timed_out":false,"wall_us":4419,"user_us":1160,"system_us":840,"peak_rss_kib":1128,"minor_faults":53,"major_faults":0,"voluntary_switches":2,"involuntary_switches":1}"#;
        let usage = parse_report(report).unwrap();
        assert_eq!(usage.peak_rss_kib, 1128);
        assert!((usage.cpu_seconds() - 0.002).abs() < 1e-12);
        assert_eq!(usage.failure(), None);
        assert!(parse_report(b"").is_err());
    }

    #[test]
    fn a_bad_end_is_described() {
        let end = |exit_status, signal, timed_out| {
            Usage { exit_status, signal, timed_out, ..Usage::default() }.failure()
        };
        assert_eq!(end(3, 0, false).as_deref(), Some("exit status 3"));
        assert_eq!(end(-1, 11, false).as_deref(), Some("signal 11"));
        assert_eq!(end(-1, 9, true).as_deref(), Some("timed out"));
    }

    #[test]
    fn only_the_last_complaints_are_kept() {
        assert_eq!(last_lines("a\nb\nc\n", 2), "b\nc");
        assert_eq!(last_lines("", 2), "");
    }
}
