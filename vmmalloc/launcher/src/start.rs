//! The end of the launcher: the environment of the program, and `exec`.

use crate::failure::{Failure, quoted};
use crate::os::c_path;
use std::ffi::{CString, OsStr, OsString};
use std::fmt::Write as _;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Variables to set, or to remove where the value is `None`.
pub(crate) type Changes = Vec<(&'static str, Option<OsString>)>;

/// `environment` with `changes` made; what is not named keeps its place.
pub(crate) fn changed(
    environment: impl Iterator<Item = (OsString, OsString)>,
    changes: &Changes,
) -> Vec<(OsString, OsString)> {
    let kept = environment.filter(|(name, _)| changes.iter().all(|(changed, _)| name != changed));
    let set = changes.iter().filter_map(|(name, value)| Some(((*name).into(), value.clone()?)));
    kept.chain(set).collect()
}

/// `changes` and the command as one line for a shell.
pub(crate) fn shell_line(changes: &Changes, path: &Path, arguments: &[OsString]) -> String {
    let mut line = String::from("env");
    for (name, _) in changes.iter().filter(|(_, value)| value.is_none()) {
        let _ = write!(line, " -u {name}");
    }
    for (name, value) in changes {
        if let Some(value) = value {
            let _ = write!(line, " {name}={}", quoted(value));
        }
    }
    let _ = write!(line, " {}", quoted(path.as_os_str()));
    for argument in arguments {
        let _ = write!(line, " {}", quoted(argument));
    }
    line
}

/// Becomes the program; comes back only when the kernel refuses.
pub(crate) fn exec(
    path: &Path,
    name: &OsStr,
    arguments: &[OsString],
    environment: &[(OsString, OsString)],
) -> Failure {
    match try_exec(path, name, arguments, environment) {
        Ok(never) => match never {},
        Err(error) => {
            let remedy = match error.raw_os_error() {
                Some(libc::E2BIG) => "shorten the arguments or the environment",
                Some(libc::ENOENT) => "the loader or interpreter it names is missing: reinstall it",
                Some(libc::ENOEXEC) => "it is not in a format this machine runs",
                _ => "check the file and the mount it is on",
            };
            Failure::not_executable(format!(
                "program {} cannot be started ({error}): {remedy}",
                quoted(path.as_os_str())
            ))
        }
    }
}

fn try_exec(
    path: &Path,
    name: &OsStr,
    arguments: &[OsString],
    environment: &[(OsString, OsString)],
) -> io::Result<std::convert::Infallible> {
    let program = c_path(path.as_os_str())?;
    let arguments: Vec<CString> = std::iter::once(name)
        .chain(arguments.iter().map(OsString::as_os_str))
        .map(c_path)
        .collect::<io::Result<_>>()?;
    let environment: Vec<CString> = environment
        .iter()
        .map(|(name, value)| {
            let mut entry = name.clone();
            entry.push("=");
            entry.push(value);
            c_path(&entry)
        })
        .collect::<io::Result<_>>()?;
    let pointers = |strings: &[CString]| -> Vec<*const libc::c_char> {
        strings.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (argv, envp) = (pointers(&arguments), pointers(&environment));
    if !SIGPIPE_WAS_IGNORED.load(Relaxed) {
        // SAFETY: sets a default action; no handler of ours exists.
        unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    }
    // `execvpe` rather than `execve`: it runs a script without a `#!` line through the shell, as shells do.
    // SAFETY: all three are NULL-terminated arrays of C strings that live until the call returns.
    unsafe { libc::execvpe(program.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
    Err(io::Error::last_os_error())
}

/// Whether SIGPIPE was ignored when the launcher was started. Rust's runtime ignores it before `main`, and the
/// program must get what the launcher got.
static SIGPIPE_WAS_IGNORED: AtomicBool = AtomicBool::new(false);

extern "C" fn remember_sigpipe() {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: a NULL new action only asks; the buffer has the size the call fills.
    let status = unsafe { libc::sigaction(libc::SIGPIPE, std::ptr::null(), action.as_mut_ptr()) };
    if status == 0 {
        // SAFETY: the call succeeded, so it filled the buffer.
        let action = unsafe { action.assume_init() };
        SIGPIPE_WAS_IGNORED.store(action.sa_sigaction == libc::SIG_IGN, Relaxed);
    }
}

// SAFETY: entries of `.init_array` are C functions that the loader calls once before `main`; this one only makes a
// system call and stores a flag, so it needs no runtime.
#[used]
#[unsafe(link_section = ".init_array")]
static REMEMBER_SIGPIPE: extern "C" fn() = remember_sigpipe;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_replace_add_and_remove() {
        let before = [("A", "1"), ("B", "2"), ("C", "3")];
        let before = before.map(|(name, value)| (name.into(), value.into())).into_iter();
        let after =
            changed(before, &vec![("B", Some("9".into())), ("C", None), ("D", Some("4".into()))]);
        let expected = [("A", "1"), ("B", "9"), ("D", "4")];
        assert_eq!(after, expected.map(|(name, value)| (name.into(), value.into())));
    }

    #[test]
    fn the_shell_line_can_be_pasted() {
        let changes = vec![("D", Some("/a b".into())), ("E", None)];
        let line = shell_line(&changes, Path::new("/bin/echo"), &["it's".into()]);
        assert_eq!(line, "env -u E D='/a b' '/bin/echo' 'it'\\''s'");
    }
}
