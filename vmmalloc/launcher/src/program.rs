//! The program to run: found as a shell finds it, then looked into, because a preload has no effect on some.

use crate::elf::{self, Elf};
use crate::failure::{Failure, quoted};
use crate::os::{self, Access};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The search path of `execvp` when `PATH` is unset.
const DEFAULT_PATH: &str = "/bin:/usr/bin";
/// The kernel follows this many `#!` lines.
const MAX_INTERPRETERS: usize = 5;

/// A program that a preload works on.
#[derive(Debug)]
pub(crate) struct Program {
    /// Where it is; contains a slash.
    pub(crate) path: PathBuf,
    /// What the user should know although it works.
    pub(crate) warnings: Vec<String>,
}

/// Finds `name` and checks that a preload reaches it.
///
/// # Errors
/// Not found (127), not executable (126), or a program that the dynamic loader does not preload into: statically
/// linked, of another machine, set-user-ID or with file capabilities (2).
pub(crate) fn find(name: &OsStr, search_path: Option<&OsStr>) -> Result<Program, Failure> {
    let path = locate(name, search_path)?;
    let mut warnings = Vec::new();
    let mut file = path.clone();
    for _ in 0..MAX_INTERPRETERS {
        inspect(name, &path, &file, &mut warnings)?;
        match interpreter(&file) {
            Some(next) if !next.exists() => {
                return Err(Failure::not_executable(format!(
                    "program {} names the interpreter {}, which does not exist: install it or mend the first line of {}",
                    quoted(name),
                    quoted(next.as_os_str()),
                    quoted(file.as_os_str())
                )));
            }
            Some(next) => file = next,
            None => break,
        }
    }
    Ok(Program { path, warnings })
}

fn locate(name: &OsStr, search_path: Option<&OsStr>) -> Result<PathBuf, Failure> {
    if name.as_bytes().contains(&b'/') {
        return executable(Path::new(name)).map(|()| PathBuf::from(name)).map_err(|problem| {
            problem.unwrap_or_else(|| {
                Failure::not_found(format!(
                    "program {} does not exist: check the path",
                    quoted(name)
                ))
            })
        });
    }
    let search_path = search_path.unwrap_or(OsStr::new(DEFAULT_PATH));
    let mut refused = None;
    for directory in search_path.as_bytes().split(|&b| b == b':') {
        let directory =
            if directory.is_empty() { OsStr::new(".") } else { OsStr::from_bytes(directory) };
        let candidate = Path::new(directory).join(name);
        match executable(&candidate) {
            Ok(()) => return Ok(candidate),
            Err(problem) => refused = refused.or(problem),
        }
    }
    Err(refused.unwrap_or_else(|| {
        Failure::not_found(format!(
            "program {} is in no directory of PATH: install it or give its full path",
            quoted(name)
        ))
    }))
}

/// `Err(None)` when there is nothing, `Err(Some)` when there is something that cannot be executed.
fn executable(path: &Path) -> Result<(), Option<Failure>> {
    let refuse = |problem: &str, remedy: &str| {
        Some(Failure::not_executable(format!(
            "program {} {problem}: {remedy}",
            quoted(path.as_os_str())
        )))
    };
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => {
            Err(refuse("is a directory", "name the program inside it"))
        }
        Ok(_) => os::check_access(path, Access::Execute).map_err(|_| {
            refuse("is not executable", "make it so (chmod +x) or name its interpreter first")
        }),
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => Err(refuse(
            "cannot be reached (permission denied)",
            "check the permissions of its directories",
        )),
        Err(_) => Err(None),
    }
}

/// The file of a `#!` line.
fn interpreter(path: &Path) -> Option<PathBuf> {
    let mut start = [0u8; 256];
    let mut got = 0;
    let mut file = File::open(path).ok()?;
    while got < start.len() {
        match file.read(&mut start[got..]) {
            Ok(0) | Err(_) => break,
            Ok(n) => got += n,
        }
    }
    let line = start[..got].strip_prefix(b"#!")?.split(|&b| b == b'\n').next()?;
    let word = line.split(|&b| b == b' ' || b == b'\t').find(|word| !word.is_empty())?;
    Some(PathBuf::from(OsString::from_vec(word.to_vec())))
}

fn inspect(
    name: &OsStr,
    path: &Path,
    file: &Path,
    warnings: &mut Vec<String>,
) -> Result<(), Failure> {
    let what = if file == path {
        format!("program {}", quoted(name))
    } else {
        format!("the interpreter {} of {}", quoted(file.as_os_str()), quoted(name))
    };
    let elf = elf::read(file);
    // The kernel ignores these bits on scripts.
    if !matches!(elf, Ok(None)) {
        secure_mode(&what, file)?;
    }
    // An unreadable program (mode 0711) can still be executed: nothing is known of it then.
    let Ok(elf) = elf else {
        warnings.push(format!("{what} cannot be read: whether a preload reaches it is not known"));
        return Ok(());
    };
    match elf {
        Some(Elf { native: false, .. }) => Err(Failure::configuration(format!(
            "{what} is built for another kind of machine than the library: use a 64-bit build of it for this one"
        ))),
        Some(Elf { has_loader: false, .. }) => Err(Failure::configuration(format!(
            "{what} is statically linked, so nothing can be preloaded into it: use a dynamically linked build of it"
        ))),
        Some(Elf { defines_malloc: true, .. }) => {
            warnings.push(format!(
                "{what} brings its own malloc, which the preload does not replace: its pool stays empty unless it is built without"
            ));
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Refuses programs that the kernel starts with more rights than the caller has: the dynamic loader ignores
/// preloads for them.
fn secure_mode(what: &str, file: &Path) -> Result<(), Failure> {
    const SET_USER: u32 = 0o4000;
    const SET_GROUP_EXECUTABLE: u32 = 0o2010;
    let Ok(metadata) = fs::metadata(file) else {
        return Ok(());
    };
    let (uid, gid) = os::real_ids();
    let (mode, owner, group) = (metadata.mode(), metadata.uid(), metadata.gid());
    let reason = if mode & SET_USER != 0 && owner != uid {
        "is set-user-ID"
    } else if mode & SET_GROUP_EXECUTABLE == SET_GROUP_EXECUTABLE && group != gid {
        "is set-group-ID"
    } else if uid != 0 && os::has_file_capabilities(file) {
        "has file capabilities"
    } else {
        return Ok(());
    };
    Err(Failure::configuration(format!(
        "{what} {reason}, so the dynamic loader ignores preloads for it: run the launcher inside it instead (as in: sudo vmmalloc -- PROGRAM)"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_search_path_is_walked_in_order() {
        let program =
            find(OsStr::new("sh"), Some(OsStr::new("/nonexistent:/bin:/usr/bin"))).unwrap();
        assert_eq!(program.path, Path::new("/bin/sh"));
        assert!(program.warnings.is_empty(), "{:?}", program.warnings);
    }

    #[test]
    fn missing_and_unusable_programs_differ() {
        assert_eq!(find(OsStr::new("no-such-program"), None).unwrap_err().exit, 127);
        assert_eq!(find(OsStr::new("/no/such/program"), None).unwrap_err().exit, 127);
        assert_eq!(find(OsStr::new("/etc"), None).unwrap_err().exit, 126);
        assert_eq!(find(OsStr::new("/etc/passwd"), None).unwrap_err().exit, 126);
        // Something of that name that cannot run is said, but does not hide one further on.
        assert_eq!(find(OsStr::new("passwd"), Some(OsStr::new("/etc"))).unwrap_err().exit, 126);
    }

    #[test]
    fn interpreters_are_read_from_the_first_line() {
        let path = std::env::temp_dir().join(format!("vmmalloc-script-{}", std::process::id()));
        let line_of = |text: &str| {
            fs::write(&path, text).unwrap();
            interpreter(&path)
        };
        assert_eq!(line_of("#!/bin/sh\n"), Some("/bin/sh".into()));
        assert_eq!(line_of("#! \t/usr/bin/env python3\nx"), Some("/usr/bin/env".into()));
        assert_eq!(line_of("#!/bin/sh"), Some("/bin/sh".into()));
        assert_eq!(line_of("#!\n"), None);
        assert_eq!(line_of("echo"), None);
        fs::remove_file(path).unwrap();
    }
}
