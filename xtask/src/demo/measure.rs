//! One run of a program and what it cost.
//!
//! A small process of our own sits between: it adopts what the program leaves behind (a child subreaper), waits for
//! all of it and asks the kernel for the sum. That keeps this command's own memory out of the peak: the kernel counts
//! what a process was before `exec` as well.

use crate::{Stop, process};
use serde_json::{Value, json};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::mem::MaybeUninit;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

/// The hidden subcommand: `measured REPORT PROGRAM ARGS`.
pub(crate) const COMMAND: &str = "measured";

/// A program that runs longer is killed, with everything it started.
const TIME_LIMIT: Duration = Duration::from_secs(180);

/// What a run did.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Run {
    /// `exit 0`, `signal 11`, `killed after 180 s`.
    pub(crate) end: String,
    /// User and system time of all its processes, in seconds.
    pub(crate) cpu_seconds: f64,
    /// Largest resident set of any one of them, in bytes.
    pub(crate) peak_rss_bytes: u64,
}

/// Runs `command` in `directory` with its output in the files `stdout` and `stderr` there.
///
/// # Errors
/// The process in between could not do its work; a program that fails is no error.
pub(crate) fn measure(
    command: &[OsString],
    environment: &[(OsString, OsString)],
    directory: &Path,
    output: &Path,
) -> Result<Run, Stop> {
    let report = output.join("report");
    let status = Command::new(std::env::current_exe()?)
        .arg(COMMAND)
        .arg(&report)
        .args(command)
        .env_clear()
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(File::create(output.join("stdout"))?)
        .stderr(File::create(output.join("stderr"))?)
        .status()?;
    if !status.success() {
        let text = fs::read_to_string(output.join("stderr")).unwrap_or_default();
        return Err(Stop::Failed(format!("measuring failed ({status}): {}", text.trim_end())));
    }
    let report: Value = serde_json::from_slice(&fs::read(report)?)
        .map_err(|error| Stop::Failed(format!("report of a run: {error}")))?;
    let run = || {
        Some(Run {
            end: report["end"].as_str()?.to_owned(),
            cpu_seconds: report["cpu_seconds"].as_f64()?,
            peak_rss_bytes: report["peak_rss_bytes"].as_u64()?,
        })
    };
    run().ok_or_else(|| Stop::Failed(format!("incomplete report of a run: {report}")))
}

/// The process in between.
pub(crate) fn run_measured(arguments: Vec<OsString>) -> Result<(), Stop> {
    let [report, program, arguments @ ..] = arguments.as_slice() else {
        return Err(Stop::Usage(format!("{COMMAND} needs a report file and a program")));
    };
    process::adopt_orphans()?;
    let child = Command::new(program)
        .args(arguments)
        .spawn()
        .map_err(|error| Stop::Failed(format!("{}: {error}", program.to_string_lossy())))?;
    let main = i32::try_from(child.id()).map_err(|_| Stop::Failed("no process id".into()))?;
    let expired = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&expired);
    std::thread::spawn(move || {
        std::thread::sleep(TIME_LIMIT);
        flag.store(true, Relaxed);
        process::kill_descendants();
    });
    let status = reap_all(main)?;
    let end = if expired.load(Relaxed) {
        format!("killed after {} s", TIME_LIMIT.as_secs())
    } else if libc::WIFSIGNALED(status) {
        format!("signal {}", libc::WTERMSIG(status))
    } else {
        format!("exit {}", libc::WEXITSTATUS(status))
    };
    let (cpu_seconds, peak_rss_bytes) = usage_of_children()?;
    let content = json!({
        "end": end,
        "cpu_seconds": cpu_seconds,
        "peak_rss_bytes": peak_rss_bytes,
    });
    fs::write(report, content.to_string())?;
    Ok(())
}

/// Waits until no child and no adopted process is left; the status is that of `main`.
fn reap_all(main: i32) -> Result<i32, Stop> {
    let mut status_of_main = None;
    loop {
        let mut status = 0;
        // SAFETY: the status is written to a local.
        match unsafe { libc::waitpid(-1, &raw mut status, 0) } {
            -1 => match io::Error::last_os_error().raw_os_error() {
                Some(libc::EINTR) => {}
                Some(libc::ECHILD) => break,
                _ => return Err(io::Error::last_os_error().into()),
            },
            pid if pid == main => status_of_main = Some(status),
            _ => {}
        }
    }
    status_of_main.ok_or_else(|| Stop::Failed("the program was never seen to end".into()))
}

/// CPU seconds and largest resident set of everything waited for.
fn usage_of_children() -> io::Result<(f64, u64)> {
    let mut usage = MaybeUninit::<libc::rusage>::uninit();
    // SAFETY: the buffer has the size the call fills.
    if unsafe { libc::getrusage(libc::RUSAGE_CHILDREN, usage.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded, so it filled the buffer.
    let usage = unsafe { usage.assume_init() };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    let kib = u64::try_from(usage.ru_maxrss).unwrap_or(0);
    Ok((seconds(usage.ru_utime) + seconds(usage.ru_stime), kib * 1024))
}

/// The output of a run: everything that must not depend on the allocator.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Output {
    /// How it ended.
    pub(crate) end: String,
    /// Standard output.
    pub(crate) stdout: Vec<u8>,
    /// Standard error.
    pub(crate) stderr: Vec<u8>,
}

impl Output {
    /// Reads the files that [`measure`] left in `directory`.
    ///
    /// # Errors
    /// The files cannot be read.
    pub(crate) fn read(run: &Run, directory: &Path) -> io::Result<Self> {
        Ok(Self {
            end: run.end.clone(),
            stdout: fs::read(directory.join("stdout"))?,
            stderr: fs::read(directory.join("stderr"))?,
        })
    }

    /// The first difference from `other`, for people; `None` when there is none.
    pub(crate) fn difference(&self, other: &Self) -> Option<String> {
        if self.end != other.end {
            let tail = String::from_utf8_lossy(&other.stderr);
            let tail = tail.lines().last().unwrap_or("nothing on stderr").to_owned();
            return Some(format!("{} became {} ({tail})", self.end, other.end));
        }
        first_difference("stdout", &self.stdout, &other.stdout)
            .or_else(|| first_difference("stderr", &self.stderr, &other.stderr))
    }
}

fn first_difference(name: &str, before: &[u8], after: &[u8]) -> Option<String> {
    if before == after {
        return None;
    }
    let mut lines = before.split(|&b| b == b'\n').zip(after.split(|&b| b == b'\n')).zip(1..);
    let text = |line: &[u8]| String::from_utf8_lossy(&line[..line.len().min(120)]).into_owned();
    Some(match lines.find(|((before, after), _)| before != after) {
        Some(((before, after), number)) => {
            format!("{name} line {number}: '{}' became '{}'", text(before), text(after))
        }
        None => format!("{name}: {} bytes became {}", before.len(), after.len()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(end: &str, stdout: &str, stderr: &str) -> Output {
        Output { end: end.into(), stdout: stdout.into(), stderr: stderr.into() }
    }

    #[test]
    fn differences_are_found_and_located() {
        let plain = output("exit 0", "a\nb\n", "");
        assert_eq!(plain.difference(&output("exit 0", "a\nb\n", "")), None);
        let difference = |other: &Output| plain.difference(other).unwrap();
        assert_eq!(difference(&output("exit 0", "a\nc\n", "")), "stdout line 2: 'b' became 'c'");
        assert_eq!(difference(&output("exit 0", "a\nb", "")), "stdout: 4 bytes became 3");
        assert_eq!(
            difference(&output("signal 6", "a\nb\n", "x\nno memory\n")),
            "exit 0 became signal 6 (no memory)"
        );
        assert!(difference(&output("exit 0", "a\nb\n", "warning\n")).starts_with("stderr line 1"));
    }
}
