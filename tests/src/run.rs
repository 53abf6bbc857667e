//! Running one command: a time limit, everything it printed, how it ended.

use std::fmt;
use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

/// Time limit of a command that should take moments.
pub const SHORT: Duration = Duration::from_secs(60);

/// What became of a command.
#[derive(Debug)]
pub struct Outcome {
    /// The command as it was given, for messages.
    pub command: String,
    /// How it ended; `None` when it was killed at the time limit.
    pub status: Option<ExitStatus>,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: Vec<u8>,
    /// Its process id.
    pub pid: u32,
    /// Wall time until it ended.
    pub wall: Duration,
}

impl Outcome {
    /// Exit code; `None` after a signal or the time limit.
    #[must_use]
    pub fn code(&self) -> Option<i32> {
        self.status.and_then(|s| s.code())
    }

    /// Signal that ended it.
    #[must_use]
    pub fn signal(&self) -> Option<i32> {
        self.status.and_then(|s| s.signal())
    }

    /// Standard output as text.
    #[must_use]
    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard error as text.
    #[must_use]
    pub fn err(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// How it ended and what it printed, for messages.
    #[must_use]
    pub fn ending(&self) -> String {
        let mut story = match self.status {
            Some(status) => status.to_string(),
            None => format!("killed, still running after {:?}", self.wall),
        };
        for (name, bytes) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            if !bytes.is_empty() {
                story.push_str(&format!("\n--- {name}:\n{}", tail(bytes)));
            }
        }
        story
    }

    /// Passes the outcome on when it is exit code 0.
    ///
    /// # Panics
    ///
    /// With the whole story otherwise.
    pub fn success(self) -> Self {
        assert!(self.code() == Some(0), "{self}");
        self
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {}", self.command, self.ending())
    }
}

/// The end of an output, short enough for a failure message.
fn tail(bytes: &[u8]) -> String {
    const MOST: usize = 4000;
    let text = String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(MOST)..]);
    if bytes.len() > MOST { format!("[...]{text}") } else { text.into_owned() }
}

/// Runs `command` without input until it ends or `limit` is over.
///
/// It runs in a process group of its own; at the time limit the whole group is killed.
///
/// # Panics
///
/// When it cannot be started.
pub fn run(command: &mut Command, limit: Duration) -> Outcome {
    run_with_input(command, &[], limit)
}

/// As [`run`], with `input` on standard input.
///
/// # Panics
///
/// When it cannot be started.
pub fn run_with_input(command: &mut Command, input: &[u8], limit: Duration) -> Outcome {
    let text = format!("{command:?}");
    command.process_group(0).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.stdin(if input.is_empty() { Stdio::null() } else { Stdio::piped() });
    let started = Instant::now();
    let mut child = command.spawn().unwrap_or_else(|e| panic!("{text}: {e}"));
    let pid = child.id();
    if let Some(mut stdin) = child.stdin.take() {
        let input = input.to_vec();
        // A program that ends early closes the pipe: that is its right.
        thread::spawn(move || drop(stdin.write_all(&input)));
    }
    let stdout = collect(child.stdout.take().expect("stdout is piped"));
    let stderr = collect(child.stderr.take().expect("stderr is piped"));
    let status = wait(&mut child, started + limit);
    let wall = started.elapsed();
    if status.is_none() {
        kill_group(pid);
        child.wait().expect("a killed child can be waited for");
    }
    // A daemon it left behind may hold the pipes open: give that a moment, then end the group.
    let patience = Duration::from_secs(10);
    let take = |source: Receiver<Vec<u8>>| {
        source.recv_timeout(patience).unwrap_or_else(|_| {
            kill_group(pid);
            source.recv_timeout(patience).unwrap_or_default()
        })
    };
    let (stdout, stderr) = (take(stdout), take(stderr));
    Outcome { command: text, status, stdout, stderr, pid, wall }
}

/// Reads a pipe to its end on a thread of its own.
fn collect(mut pipe: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // What was read before an error is still worth showing.
        let _ = pipe.read_to_end(&mut bytes);
        // Nobody waits for it after the time limit.
        let _ = sender.send(bytes);
    });
    receiver
}

/// Waits until `deadline`; `None` when the child still runs then.
pub fn wait(child: &mut Child, deadline: Instant) -> Option<ExitStatus> {
    let mut pause = Duration::from_micros(500);
    loop {
        if let Some(status) = child.try_wait().expect("our own child can be waited for") {
            return Some(status);
        }
        if Instant::now() >= deadline {
            return None;
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(10));
    }
}

/// Kills the process group `pid` leads.
pub fn kill_group(pid: u32) {
    let group = libc::pid_t::try_from(pid).expect("process ids fit pid_t");
    // SAFETY: kill has no memory effects; the group was made for the child we started.
    unsafe { libc::kill(-group, libc::SIGKILL) };
}

/// Waits until `ready` gives a value.
///
/// # Panics
///
/// When `limit` is over first; `what` names the thing waited for.
pub fn await_value<T>(what: &str, limit: Duration, mut ready: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(value) = ready() {
            return value;
        }
        assert!(Instant::now() < deadline, "{what}: nothing after {limit:?}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// A program in the background, killed with its process group when dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
}

impl Server {
    /// Starts `command` with its output thrown away.
    ///
    /// # Panics
    ///
    /// When it cannot be started.
    pub fn start(command: &mut Command) -> Self {
        let text = format!("{command:?}");
        command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self { child: command.spawn().unwrap_or_else(|e| panic!("{text}: {e}")) }
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended, and how.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("our own child can be waited for")
    }

    /// Asks it to end (SIGTERM) and gives its status.
    ///
    /// # Panics
    ///
    /// When it still runs after `limit`.
    pub fn stop(mut self, limit: Duration) -> ExitStatus {
        let pid = libc::pid_t::try_from(self.child.id()).expect("process ids fit pid_t");
        // SAFETY: kill has no memory effects; the child is ours and not yet waited for.
        unsafe { libc::kill(pid, libc::SIGTERM) };
        wait(&mut self.child, Instant::now() + limit).expect("the server ignores SIGTERM")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            kill_group(self.child.id());
            // The kill cannot be refused; the wait only reaps.
            let _ = self.child.wait();
        }
    }
}
