//! Programs that are killed at a system call.

use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus};

/// Starts a program and kills it (SIGKILL) when it is about to make its system call number `number`, counted from 1.
/// Gives the status, which is the program's own when it made fewer calls, and how many calls it made.
///
/// Programs with one thread only.
///
/// # Panics
///
/// When it cannot be started or traced.
#[must_use]
#[expect(clippy::zombie_processes, reason = "waited for by its id: a stop is no end")]
pub fn kill_at_system_call(command: &mut Command, number: usize) -> (ExitStatus, usize) {
    // SAFETY: between fork and exec only system calls are made.
    unsafe {
        command.pre_exec(|| match libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        });
    }
    let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let pid = child.id() as libc::pid_t;
    let mut stops = 0;
    loop {
        let mut status = 0;
        // SAFETY: our own child, and a writable status.
        let waited = unsafe { libc::waitpid(pid, &raw mut status, 0) };
        assert_eq!(waited, pid, "waitpid: {}", io::Error::last_os_error());
        if !libc::WIFSTOPPED(status) {
            return (ExitStatus::from_raw(status), stops / 2);
        }
        let signal = libc::WSTOPSIG(status);
        let is_call = signal == libc::SIGTRAP | 0x80;
        stops += usize::from(is_call);
        // A call stops at its beginning and at its end.
        if is_call && stops == number.saturating_mul(2) - 1 {
            // SAFETY: our own child.
            unsafe { libc::kill(pid, libc::SIGKILL) };
            continue;
        }
        let deliver = if is_call || signal == libc::SIGTRAP { 0 } else { signal };
        // SAFETY: our own child, which is stopped.
        let traced = unsafe {
            libc::ptrace(libc::PTRACE_SETOPTIONS, pid, 0, libc::PTRACE_O_TRACESYSGOOD);
            libc::ptrace(libc::PTRACE_SYSCALL, pid, 0, deliver)
        };
        assert_eq!(traced, 0, "ptrace: {}", io::Error::last_os_error());
    }
}
