//! Programs of this machine.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The first executable of this name on `PATH`; `None` when there is none.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    on_path(name).next()
}

/// The first executable of this name on `PATH` that is a compiled program. Version managers put shell scripts of the
/// same name in front; a measurement of those would be one of the shell.
pub(crate) fn find_compiled(name: &str) -> Option<PathBuf> {
    on_path(name).find(|path| is_elf(path))
}

fn on_path(name: &str) -> impl Iterator<Item = PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories: Vec<PathBuf> = std::env::split_paths(&path)
        // Daemons are installed here, which is not on the path of ordinary users.
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .filter(|directory| directory.is_absolute())
        .collect();
    let name = OsStr::new(name).to_owned();
    directories.into_iter().map(move |directory| directory.join(&name)).filter(|path| {
        fs::metadata(path).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
    })
}

fn is_elf(path: &Path) -> bool {
    let mut magic = [0; 4];
    File::open(path).and_then(|mut file| file.read_exact(&mut magic)).is_ok()
        && magic == *b"\x7fELF"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_and_missing_ones_are_not() {
        assert!(find("sh").is_some());
        assert!(find_compiled("cat").is_some_and(|path| path.is_absolute()));
        assert_eq!(find("no-such-program-here"), None);
    }

    #[test]
    fn a_script_is_not_a_compiled_program() {
        let script = std::env::temp_dir().join(format!("xtask-script-{}", std::process::id()));
        fs::write(&script, "#!/bin/sh\n").unwrap();
        assert!(!is_elf(&script));
        fs::remove_file(script).unwrap();
    }
}
