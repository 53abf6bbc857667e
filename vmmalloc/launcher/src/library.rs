//! The library to preload: where it is looked for and what makes a file fit.

use crate::elf;
use crate::failure::{Failure, quoted};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The name programs know the library by.
pub(crate) const SONAME: &str = "libvmmalloc.so.1";
/// The name the build leaves it under.
const BUILD_NAME: &str = "libvmmalloc.so";

/// Directory of this architecture's libraries below `lib`.
#[cfg(target_arch = "x86_64")]
const TRIPLET: &str = "x86_64-linux-gnu";
/// Directory of this architecture's libraries below `lib`.
#[cfg(target_arch = "aarch64")]
const TRIPLET: &str = "aarch64-linux-gnu";

/// The word for `LD_PRELOAD`: an absolute path, or the bare SONAME when the dynamic loader finds it by itself.
///
/// Looked for in this order: `--library`, beside the launcher, in `../lib`, in `../lib/<triplet>`, and where the
/// dynamic loader looks.
///
/// # Errors
/// Nothing found, or a file that cannot be preloaded.
pub(crate) fn find(
    given: Option<&OsStr>,
    launcher: Option<&Path>,
    library_path: Option<&OsStr>,
) -> Result<OsString, Failure> {
    if let Some(given) = given {
        let path = fs::canonicalize(given).map_err(|_| {
            Failure::configuration(format!(
                "--library {} does not exist: check the path, or leave it out to use the installed one",
                quoted(given)
            ))
        })?;
        return usable(&path).map_err(|problem| {
            Failure::configuration(format!("--library {} {problem}", quoted(given)))
        });
    }
    for candidate in launcher.map(near).unwrap_or_default() {
        if candidate.is_file() {
            return usable(&candidate).map_err(|problem| {
                Failure::configuration(format!(
                    "library {} {problem}",
                    quoted(candidate.as_os_str())
                ))
            });
        }
    }
    if loader_finds_it(library_path) {
        return Ok(SONAME.into());
    }
    Err(Failure::configuration(format!(
        "{SONAME} is neither beside this program, in ../lib or ../lib/{TRIPLET}, nor known to the dynamic loader: install it, or name it with --library"
    )))
}

/// Places to look in, seen from the launcher's file.
fn near(launcher: &Path) -> Vec<PathBuf> {
    let Some(directory) = launcher.parent() else {
        return Vec::new();
    };
    let mut directories = vec![directory.to_owned()];
    if let Some(above) = directory.parent() {
        directories.push(above.join("lib"));
        directories.push(above.join("lib").join(TRIPLET));
    }
    directories
        .iter()
        .flat_map(|directory| [directory.join(SONAME), directory.join(BUILD_NAME)])
        .collect()
}

/// The path as a word of `LD_PRELOAD`, or what is wrong with the file.
fn usable(path: &Path) -> Result<OsString, String> {
    if path.as_os_str().as_bytes().iter().any(|b| b" \t\n:".contains(b)) {
        return Err(
            "has a space or colon in its path, where LD_PRELOAD ends a name: put it elsewhere"
                .into(),
        );
    }
    match elf::read(path) {
        Err(error) => Err(format!("cannot be read ({}): check its permissions", error.kind())),
        Ok(None) => Err("is not a shared library: name the file libvmmalloc.so.1".into()),
        Ok(Some(elf)) if !elf.native => {
            Err("is built for another kind of machine: use a build for this one".into())
        }
        Ok(Some(elf)) if !elf.shared => {
            Err("is a program, not a shared library: name the file libvmmalloc.so.1".into())
        }
        Ok(Some(_)) => Ok(path.as_os_str().to_owned()),
    }
}

/// True when the dynamic loader resolves the bare SONAME: through `LD_LIBRARY_PATH`, its cache or its default
/// directories. Asked beforehand, because it only warns about a preload that is missing and then runs the program
/// without it.
fn loader_finds_it(library_path: Option<&OsStr>) -> bool {
    let listed = library_path.unwrap_or_default().as_bytes();
    let listed = listed.split(|&b| b == b':' || b == b';').filter(|entry| !entry.is_empty());
    let listed = listed.map(|entry| PathBuf::from(OsStr::from_bytes(entry)));
    let default = ["/lib", "/usr/lib", "/lib64", "/usr/lib64"].map(PathBuf::from).into_iter();
    let triplet = ["/lib", "/usr/lib"].map(|lib| Path::new(lib).join(TRIPLET)).into_iter();
    if listed.chain(default).chain(triplet).any(|directory| directory.join(SONAME).is_file()) {
        return true;
    }
    // The cache is a table of NUL-terminated names and paths.
    let name = [b"\0", SONAME.as_bytes(), b"\0"].concat();
    fs::read("/etc/ld.so.cache")
        .is_ok_and(|cache| cache.windows(name.len()).any(|window| window == name))
}

/// `existing` preloads with `library` behind them; a library that is already there is not named twice.
pub(crate) fn preload_list(existing: Option<&OsStr>, library: &OsStr) -> OsString {
    let existing = existing.unwrap_or_default();
    let is_separator = |b: &u8| b" \t\n:".contains(b);
    let mut words = existing.as_bytes().split(is_separator).filter(|word| !word.is_empty());
    if words.any(|word| word == library.as_bytes()) {
        return existing.to_owned();
    }
    let mut list = existing.to_owned();
    if !existing.is_empty() && !existing.as_bytes().last().is_some_and(is_separator) {
        list.push(":");
    }
    list.push(library);
    list
}

/// Earlier preloads that define `malloc`: they come first, so ours would never be called.
pub(crate) fn rivals(existing: Option<&OsStr>, library: &OsStr) -> Vec<PathBuf> {
    existing
        .unwrap_or_default()
        .as_bytes()
        .split(|b| b" \t\n:".contains(b))
        .take_while(|word| *word != library.as_bytes())
        .filter(|word| word.contains(&b'/'))
        .map(|word| PathBuf::from(OsStr::from_bytes(word)))
        .filter(|path| elf::read(path).is_ok_and(|elf| elf.is_some_and(|elf| elf.defines_malloc)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_existing_preload_is_kept_and_comes_first() {
        let ours = OsStr::new("/lib/ours.so");
        let list = |existing: &str| preload_list(Some(OsStr::new(existing)), ours);
        assert_eq!(preload_list(None, ours), "/lib/ours.so");
        assert_eq!(list(""), "/lib/ours.so");
        assert_eq!(list("/a.so"), "/a.so:/lib/ours.so");
        assert_eq!(list("/a.so /b.so "), "/a.so /b.so /lib/ours.so");
    }

    #[test]
    fn the_library_is_not_named_twice() {
        let ours = OsStr::new("/lib/ours.so");
        let list = |existing: &str| preload_list(Some(OsStr::new(existing)), ours);
        assert_eq!(list("/lib/ours.so"), "/lib/ours.so");
        assert_eq!(list("/a.so:/lib/ours.so /b.so"), "/a.so:/lib/ours.so /b.so");
        assert_eq!(list("/lib/ours.so.old"), "/lib/ours.so.old:/lib/ours.so");
    }

    #[test]
    fn the_neighbourhood_is_searched_from_near_to_far() {
        let places = near(Path::new("/opt/x/bin/vmmalloc"));
        let expected = [
            "/opt/x/bin/libvmmalloc.so.1".to_owned(),
            "/opt/x/bin/libvmmalloc.so".to_owned(),
            "/opt/x/lib/libvmmalloc.so.1".to_owned(),
            "/opt/x/lib/libvmmalloc.so".to_owned(),
            format!("/opt/x/lib/{TRIPLET}/libvmmalloc.so.1"),
            format!("/opt/x/lib/{TRIPLET}/libvmmalloc.so"),
        ];
        assert!(places.iter().map(|place| place.as_os_str()).eq(expected.iter().map(OsStr::new)));
    }

    #[test]
    fn rivals_are_libraries_in_front_that_define_malloc() {
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        let mut libraries = maps.lines().filter_map(|line| line.split_whitespace().nth(5));
        let libc = libraries.find(|path| path.contains("/libc.so")).expect("libc is mapped");
        let ours = OsStr::new("/lib/ours.so");
        let found = |list: String| rivals(Some(OsStr::new(&list)), ours);
        assert_eq!(found(format!("/none.so:{libc}")), [PathBuf::from(libc)]);
        assert!(found(format!("/lib/ours.so:{libc}")).is_empty());
    }
}
