//! Runs one command of a step: its output goes to a log, its tests are counted, and it cannot hang for ever.

use super::{Outcome, Tests};
use crate::{Stop, process};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, PipeReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A command that runs longer hangs.
const TIME_LIMIT: Duration = Duration::from_secs(20 * 60);
/// How long what a command leaves behind may go on holding its output open.
const AFTERLIFE: Duration = Duration::from_secs(10);
/// Lines of the log shown when a command fails.
const SHOWN_LINES: usize = 60;
/// A command that cannot run here exits with this code, as in Automake's test protocol.
const EXIT_SKIPPED: i32 = 77;

/// What the steps share.
pub(crate) struct Runner {
    /// Where cargo puts what it builds.
    pub(crate) target_dir: PathBuf,
    logs: PathBuf,
    verbose: bool,
}

/// What a reader of the output saw.
#[derive(Default)]
struct Seen {
    tests: Option<Tests>,
    unchecked: Vec<String>,
    skip_reason: Option<String>,
    /// Names of tests that failed.
    failed: Vec<String>,
}

impl Runner {
    /// # Errors
    /// The directory for the logs cannot be made.
    pub(crate) fn new(target_dir: PathBuf, verbose: bool) -> io::Result<Self> {
        let logs = target_dir.join("xtask-test");
        fs::create_dir_all(&logs)?;
        Ok(Self { target_dir, logs, verbose })
    }

    /// Runs `command`; its output goes to the log `name`. Exit code 0 passes, 77 says that it cannot run here.
    ///
    /// # Errors
    /// The command cannot be started or its log not be written.
    pub(crate) fn run(&self, name: &str, command: &mut Command) -> Result<Outcome, Stop> {
        let log = self.logs.join(format!("{name}.log"));
        let (reader, writer) = io::pipe()?;
        command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
        let shown = format!("{command:?}");
        let child = command.spawn().map_err(|error| Stop::Failed(format!("{shown}: {error}")))?;
        // The command keeps the writing ends; without them here the reader sees the end of the output.
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let seen = Arc::new(Mutex::new(Seen::default()));
        let reading = self.read(reader, File::create(&log)?, Arc::clone(&seen));
        let (status, problem) = wait(child, reading)?;
        let mut seen = std::mem::take(&mut *seen.lock().unwrap_or_else(PoisonError::into_inner));
        if let Some(tests) = &mut seen.tests {
            tests.unchecked = seen.unchecked;
        }
        let outcome = match (problem, status.code()) {
            (Some(problem), _) => Outcome::Failed(seen.tests, problem),
            (None, Some(0)) => Outcome::Passed(seen.tests),
            (None, Some(EXIT_SKIPPED)) => Outcome::NotChecked(
                seen.skip_reason.unwrap_or_else(|| "the script gives no reason".into()),
            ),
            (None, _) if !seen.failed.is_empty() => {
                Outcome::Failed(seen.tests, format!("{} failed", seen.failed.len()))
            }
            (None, _) => Outcome::Failed(seen.tests, status.to_string()),
        };
        if let Outcome::Failed(tests, reason) = outcome {
            if seen.failed.is_empty() && !self.verbose {
                show_end(&log);
            }
            for test in &seen.failed {
                eprintln!("        FAILED: {test}");
            }
            return Ok(Outcome::Failed(tests, format!("{reason}; log: {}", log.display())));
        }
        Ok(outcome)
    }

    fn read(
        &self,
        pipe: PipeReader,
        mut log: File,
        seen: Arc<Mutex<Seen>>,
    ) -> JoinHandle<io::Result<()>> {
        let verbose = self.verbose;
        std::thread::spawn(move || {
            let mut pipe = BufReader::new(pipe);
            let mut line = Vec::new();
            while pipe.read_until(b'\n', &mut line)? > 0 {
                log.write_all(&line)?;
                if verbose {
                    io::stderr().write_all(&line)?;
                }
                let text = String::from_utf8_lossy(&line);
                let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(tests) = parse_test_result(&text) {
                    seen.tests.get_or_insert_default().add(&tests);
                }
                // Lines of a test come again in the summary of its output when it fails.
                if let Some(what) = text.trim().strip_prefix("NOT CHECKED: ")
                    && !seen.unchecked.iter().any(|known| known == what)
                {
                    seen.unchecked.push(what.to_owned());
                }
                if let Some(test) = parse_failed_test(&text) {
                    seen.failed.push(test.to_owned());
                }
                if let Some((_, reason)) = text.split_once("SKIPPED: ") {
                    seen.skip_reason = Some(reason.trim_end().to_owned());
                }
                drop(seen);
                line.clear();
            }
            Ok(())
        })
    }
}

/// Waits for the command and for the end of its output; says so when either does not come.
fn wait(
    mut child: Child,
    reading: JoinHandle<io::Result<()>>,
) -> Result<(ExitStatus, Option<String>), Stop> {
    let start = Instant::now();
    let mut problem = None;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if problem.is_none() && start.elapsed() > TIME_LIMIT {
            let killed = process::kill_descendants();
            let minutes = TIME_LIMIT.as_secs() / 60;
            problem = Some(format!("hung for {minutes} minutes, killed {}", killed.join(", ")));
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let end = Instant::now();
    while !reading.is_finished() && end.elapsed() < AFTERLIFE {
        std::thread::sleep(Duration::from_millis(20));
    }
    if !reading.is_finished() {
        let left = process::kill_descendants();
        problem = problem.or_else(|| Some(format!("left processes behind: {}", left.join(", "))));
    }
    match reading.join() {
        Ok(result) => result?,
        Err(_) => return Err(Stop::Failed("the reader of the output panicked".into())),
    }
    Ok((status, problem))
}

/// The counts of a line like `test result: ok. 39 passed; 0 failed; 1 ignored; 0 measured; ...`.
fn parse_test_result(line: &str) -> Option<Tests> {
    let counts = line.trim_start().strip_prefix("test result: ")?.split_once(". ")?.1;
    let number = |word: &str| {
        let part = counts.split(';').map(str::trim).find_map(|part| part.strip_suffix(word))?;
        part.trim().parse().ok()
    };
    Some(Tests {
        passed: number("passed")?,
        failed: number("failed")?,
        ignored: number("ignored")?,
        unchecked: Vec::new(),
    })
}

/// The name in a line like `test a::b ... FAILED`.
fn parse_failed_test(line: &str) -> Option<&str> {
    line.trim().strip_prefix("test ")?.strip_suffix(" ... FAILED")
}

fn show_end(log: &Path) {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    for line in &lines[lines.len().saturating_sub(SHOWN_LINES)..] {
        eprintln!("        | {line}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

    fn expected(passed: u64, failed: u64, ignored: u64) -> Option<Tests> {
        Some(Tests { passed, failed, ignored, unchecked: Vec::new() })
    }

    #[test]
    fn closing_lines_of_the_test_harness_are_read() {
        let line = "test result: ok. 39 passed; 0 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0.00s";
        assert_eq!(parse_test_result(line), expected(39, 0, 2));
        let line =
            "test result: FAILED. 1 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out\n";
        assert_eq!(parse_test_result(line), expected(1, 3, 0));
        assert_eq!(parse_test_result("test result"), None);
        assert_eq!(parse_test_result("test a::b ... ok"), None);
    }

    fn run(script: &str) -> Outcome {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("xtask-runner-{}-{}", std::process::id(), NEXT.fetch_add(1, Relaxed));
        let target = std::env::temp_dir().join(name);
        let runner = Runner::new(target.clone(), false).unwrap();
        let outcome = runner.run("log", Command::new("sh").args(["-c", script]));
        fs::remove_dir_all(target).unwrap();
        outcome.unwrap_or_else(|_| panic!("{script} did not run"))
    }

    #[test]
    fn failed_tests_are_named() {
        assert_eq!(parse_failed_test("test a::b ... FAILED\n"), Some("a::b"));
        assert_eq!(parse_failed_test("test a::b ... ok\n"), None);
        assert_eq!(parse_failed_test("test result: FAILED. 1 passed\n"), None);
    }

    #[test]
    fn exit_codes_become_outcomes() {
        assert_eq!(run("exit 0"), Outcome::Passed(None));
        assert_eq!(
            run("echo 'x: SKIPPED: no compiler' >&2; exit 77"),
            Outcome::NotChecked("no compiler".into())
        );
        assert!(matches!(run("exit 3"), Outcome::Failed(None, reason) if reason.contains('3')));
        assert!(matches!(run("kill -9 $$"), Outcome::Failed(None, reason) if reason.contains('9')));
    }

    #[test]
    fn tests_of_all_harnesses_are_added() {
        let line = "test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out";
        let twice = run(&format!("echo '{line}'; echo 'NOT CHECKED: mounts'; echo '{line}'"));
        let Outcome::Passed(Some(tests)) = twice else { panic!("{twice:?}") };
        assert_eq!((tests.passed, tests.failed, tests.ignored), (4, 0, 2));
        assert_eq!(tests.unchecked, ["mounts"]);
    }
}
