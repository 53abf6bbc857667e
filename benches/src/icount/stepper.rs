//! Single steps of a process by `ptrace`, x86-64.

use std::collections::HashMap;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::Counts;
use super::locations::{self, Places};
use crate::error::{Context, Error, Result};

/// More steps than any probe needs; an allocator that uses restartable sequences would step for ever.
const MOST_STEPS: u64 = 50_000_000;

/// Offsets in the tracee's user area: `user_regs_struct` is its first member.
const INSTRUCTION_POINTER: usize = std::mem::offset_of!(libc::user_regs_struct, rip);
const FIRST_ARGUMENT: usize = std::mem::offset_of!(libc::user_regs_struct, rdi);

/// The two bytes of `syscall`.
const SYSCALL: u64 = 0x050f;

/// A stopped child that we trace.
struct Tracee {
    child: Child,
}

impl Drop for Tracee {
    fn drop(&mut self) {
        // Ends a tracee that did not come to its own end; both calls fail harmlessly if it did.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Why the tracee stopped.
#[derive(PartialEq, Eq)]
enum Stop {
    Signal(i32),
    Ended(String),
}

impl Tracee {
    fn start(
        program: &Path,
        arguments: &[String],
        environment: &[(String, String)],
    ) -> Result<Self> {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env_clear()
            .envs(environment.iter().map(|(name, value)| (name, value)))
            // All symbols are bound before the first mark.
            .env("LD_BIND_NOW", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        // SAFETY: between fork and exec only two system calls are made, which touch no memory of ours.
        unsafe {
            command.pre_exec(|| {
                // The same addresses each time: counts may depend on them.
                if libc::personality(libc::ADDR_NO_RANDOMIZE as libc::c_ulong) == -1
                    || libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) == -1
                {
                    return Err(io::Error::last_os_error());
                }
                Ok(())
            });
        }
        let tracee = Self { child: command.spawn().context(|| program.display().to_string())? };
        match tracee.wait()? {
            Stop::Signal(libc::SIGTRAP) => {}
            Stop::Signal(signal) => {
                return Err(Error::new(format!("stopped by signal {signal} at its start")));
            }
            Stop::Ended(how) => return Err(Error::new(format!("{how} at its start"))),
        }
        tracee.request(libc::PTRACE_SETOPTIONS, 0, libc::PTRACE_O_EXITKILL as usize)?;
        Ok(tracee)
    }

    fn id(&self) -> libc::pid_t {
        // Process numbers fit pid_t; the standard library only stores them unsigned.
        self.child.id().cast_signed()
    }

    fn wait(&self) -> Result<Stop> {
        let mut status = 0;
        // SAFETY: `status` is valid for the write; the process is our child.
        while unsafe { libc::waitpid(self.id(), &raw mut status, 0) } == -1 {
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(Error::new(format!("waitpid: {error}")));
            }
        }
        Ok(if libc::WIFSTOPPED(status) {
            Stop::Signal(libc::WSTOPSIG(status))
        } else if libc::WIFSIGNALED(status) {
            Stop::Ended(format!("ended by signal {}", libc::WTERMSIG(status)))
        } else {
            Stop::Ended(format!("ended with status {}", libc::WEXITSTATUS(status)))
        })
    }

    fn request(&self, request: libc::c_uint, address: usize, data: usize) -> Result<()> {
        // SAFETY: the requests we make take numbers and addresses of the tracee, never memory of ours.
        if unsafe { libc::ptrace(request, self.id(), address, data) } == -1 {
            return Err(Error::new(format!("ptrace: {}", io::Error::last_os_error())));
        }
        Ok(())
    }

    /// A word of the user area or of the tracee's memory. All bits may be set, so that errors show in
    /// `errno` only.
    fn peek(&self, request: libc::c_uint, address: usize) -> Result<u64> {
        // SAFETY: errno is a valid place of this thread.
        unsafe { *libc::__errno_location() = 0 };
        // SAFETY: peeking passes an address of the tracee, never memory of ours.
        let word = unsafe { libc::ptrace(request, self.id(), address, 0) };
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(0) | None => Ok(word.cast_unsigned()),
            Some(_) => Err(Error::new(format!("ptrace: {error}"))),
        }
    }

    fn register(&self, offset: usize) -> Result<u64> {
        self.peek(libc::PTRACE_PEEKUSER, offset)
    }

    /// Runs on, or for one instruction, until the next trap; other signals are delivered.
    fn advance(&self, request: libc::c_uint) -> Result<()> {
        let mut signal = 0;
        loop {
            self.request(request, 0, signal)?;
            match self.wait()? {
                Stop::Signal(libc::SIGTRAP) => return Ok(()),
                Stop::Signal(other) => signal = other as usize,
                Stop::Ended(how) => return Err(Error::new(format!("{how} before the last mark"))),
            }
        }
    }
}

/// Why processes cannot be traced here, if they cannot.
pub fn refusal() -> Option<String> {
    let own = std::env::current_exe().ok()?;
    // Stopped before its first instruction, and ended again.
    let started = Tracee::start(&own, &["--version".to_owned()], &[]);
    started.err().map(|error| format!("processes cannot be traced here: {error}"))
}

/// Whose instructions are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All but those of the tracee's own code.
    OutsideProgram,
    /// All.
    Everything,
}

/// Runs a tracee and counts what it executes from mark to mark.
///
/// # Errors
/// The tracee cannot be traced, ends before the last mark, or takes too many steps.
pub fn count(
    program: &Path,
    arguments: &[String],
    environment: &[(String, String)],
    scope: Scope,
    places: &mut Places,
) -> Result<Counts> {
    let program = program.canonicalize().context(|| program.display().to_string())?;
    let tracee = Tracee::start(&program, arguments, environment)?;
    tracee.advance(libc::PTRACE_CONT)?;

    // The first mark: all marks stop with the instruction pointer behind the same trap instruction.
    let mark = tracee.register(INSTRUCTION_POINTER)?;
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", tracee.id()))
        .context(|| "maps of the tracee".to_owned())?;
    places.modules = locations::modules(&maps);
    let own_path = program.display().to_string();
    let own: Vec<(u64, u64)> = places
        .modules
        .iter()
        .filter(|module| module.path == own_path)
        .map(|module| (module.start, module.end))
        .collect();
    if own.is_empty() {
        return Err(Error::new("the code of the tracee was not found"));
    }
    let is_own = |address: u64| {
        scope == Scope::OutsideProgram
            && own.iter().any(|&(start, end)| (start..end).contains(&address))
    };

    let mut counts = Counts::default();
    let mut system_call_at: HashMap<u64, bool> = HashMap::new();
    let mut kind = tracee.register(FIRST_ARGUMENT)?;
    let mut before = mark;
    for _ in 0..MOST_STEPS {
        tracee.advance(libc::PTRACE_SINGLESTEP)?;
        let now = tracee.register(INSTRUCTION_POINTER)?;
        // A repeated string instruction stops at itself after each element: one instruction all the same.
        if now != before && !is_own(before) {
            let index = usize::from(kind != 1);
            counts.instructions[index] += 1;
            *places.counts.entry(before).or_default() += 1;
            let is_system_call = match system_call_at.get(&before) {
                Some(&known) => known,
                None => {
                    let address = usize::try_from(before).context(|| "address".to_owned())?;
                    let word = tracee.peek(libc::PTRACE_PEEKTEXT, address)?;
                    *system_call_at.entry(before).or_insert(word & 0xffff == SYSCALL)
                }
            };
            counts.system_calls[index] += u64::from(is_system_call);
        }
        if now == mark {
            kind = tracee.register(FIRST_ARGUMENT)?;
            if kind == 0 {
                return Ok(counts);
            }
        }
        before = now;
    }
    Err(Error::new(format!("no end after {MOST_STEPS} instructions (a restartable sequence?)")))
}
