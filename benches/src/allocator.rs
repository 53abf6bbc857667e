//! The allocators of the matrix: what is preloaded, and with which settings.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::{machine, peers};

/// One column of the tables.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Allocator {
    /// Short name, as on the command line.
    pub name: String,
    /// Version, file or medium.
    pub description: String,
    /// The shared object to preload.
    #[serde(skip)]
    pub library: PathBuf,
    /// Environment beside `LD_PRELOAD`.
    #[serde(skip)]
    pub settings: Vec<(String, String)>,
    /// Ours: has a pool, and a failure is an error of the run.
    pub ours: bool,
    /// Is known not to run everything: the cases it fails still count for the means of the others.
    #[serde(default)]
    pub is_partial: bool,
}

impl Allocator {
    /// The same with one more setting.
    fn with(mut self, name: &str, value: &str) -> Allocator {
        self.description = format!("{}, {name}={value}", self.description);
        self.set(name, value)
    }

    fn set(mut self, name: &str, value: &str) -> Allocator {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The environment that puts a program under this allocator.
    pub fn environment(&self) -> Vec<(String, String)> {
        let mut all = vec![("LD_PRELOAD".to_owned(), self.library.display().to_string())];
        all.extend(self.settings.iter().cloned());
        all
    }
}

/// Where allocators and pools are.
#[derive(Clone, Debug)]
pub struct Places {
    /// Our library.
    pub library: PathBuf,
    /// Peers built from their crates.
    pub peers: PathBuf,
    /// Directory for pools on memory.
    pub memory: PathBuf,
    /// Directory for pools on a disk file system.
    pub disk: PathBuf,
    /// Directory for pools on memory with huge pages, if there is one.
    pub huge: Option<PathBuf>,
    /// Size of a lazy pool, as written for the library.
    pub pool_size: String,
    /// Size of a preallocated pool: this much is taken from the file system at once.
    pub prealloc_size: String,
}

/// An allocator that could be measured, or why not.
pub type Candidate = std::result::Result<Allocator, Missing>;

/// An allocator that is not there.
#[derive(Clone, Debug)]
pub struct Missing {
    /// Its name.
    pub name: String,
    /// What is missing and what to do about it.
    pub remedy: String,
}

/// Shared objects of Debian packages: name, file, package.
const PACKAGED: [(&str, &str, &str); 3] = [
    ("mimalloc-debian", "libmimalloc.so.2", "libmimalloc2.0"),
    ("jemalloc", "libjemalloc.so.2", "libjemalloc2"),
    ("tcmalloc", "libtcmalloc_minimal.so.4", "libtcmalloc-minimal4"),
];

/// A peer that `pmem-bench peers` builds.
struct Built {
    name: &'static str,
    file: &'static str,
    settings: &'static [(&'static str, &'static str)],
    remark: &'static str,
}

const fn built_as_is(name: &'static str, file: &'static str) -> Built {
    Built { name, file, settings: &[], remark: "" }
}

const BUILT: [Built; 6] = [
    built_as_is("mimalloc", "libmimalloc3.so"),
    Built {
        name: "mimalloc-4k",
        file: "libmimalloc3.so",
        settings: &[("MIMALLOC_ALLOW_THP", "0")],
        remark: ", without huge pages",
    },
    Built {
        name: "mimalloc-shared",
        file: "libmimalloc3-shared.so",
        settings: &[],
        remark: ", all memory from a shared file mapping",
    },
    built_as_is("mimalloc2", "libmimalloc2.so"),
    built_as_is("snmalloc", "libsnmalloc.so"),
    built_as_is("rpmalloc", "librpmalloc.so"),
];

fn system_library(file: &str) -> Option<PathBuf> {
    let triple = format!("{}-linux-gnu", std::env::consts::ARCH);
    let directories = [format!("/usr/lib/{triple}"), format!("/lib/{triple}")];
    let fixed = ["/usr/local/lib", "/usr/lib64", "/usr/lib", "/lib64"];
    directories
        .iter()
        .map(String::as_str)
        .chain(fixed)
        .map(|directory| Path::new(directory).join(file))
        .find(|path| path.exists())
}

/// The file a link leads to: carries the full version.
fn file_version(path: &Path) -> String {
    let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    real.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

fn owned(settings: &[(&str, &str)]) -> Vec<(String, String)> {
    settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn glibc() -> Candidate {
    let name = "glibc".to_owned();
    match system_library("libc.so.6") {
        // Preloading libc itself puts its malloc before that of an allocator the program was linked
        // with (Debian's redis-server brings jemalloc).
        Some(library) => Ok(Allocator {
            name,
            description: "the C library's own".to_owned(),
            library,
            settings: Vec::new(),
            ours: false,
            is_partial: false,
        }),
        None => Err(Missing { name, remedy: "libc.so.6 was not found".to_owned() }),
    }
}

fn packaged(name: &str, file: &str, package: &str) -> Candidate {
    let name = name.to_owned();
    match system_library(file) {
        Some(library) => Ok(Allocator {
            name,
            description: file_version(&library),
            library,
            settings: Vec::new(),
            ours: false,
            is_partial: false,
        }),
        None => Err(Missing { name, remedy: format!("install the Debian package {package}") }),
    }
}

fn built(places: &Places, peer: &Built) -> Candidate {
    let library = places.peers.join(peer.file);
    let name = peer.name.to_owned();
    if !library.exists() {
        return Err(Missing { name, remedy: "run `pmem-bench peers` once".to_owned() });
    }
    let version = std::fs::read_to_string(library.with_extension("version")).unwrap_or_default();
    Ok(Allocator {
        name,
        description: format!("{}{}", version.trim(), peer.remark),
        library,
        settings: owned(peer.settings),
        ours: false,
        is_partial: false,
    })
}

/// Debian's libmemkind through the shim of `benches/compare`: a kind in a file on memory. Its pages are
/// shared between processes, so that programs that fork do not run on it.
fn memkind(places: &Places) -> Candidate {
    let remedy = || Missing {
        name: "memkind".to_owned(),
        remedy: "install the Debian package libmemkind-dev, then run `pmem-bench peers`".to_owned(),
    };
    let column = Built {
        name: "memkind",
        file: peers::MEMKIND_PRELOAD,
        settings: &[],
        remark: ", file kind",
    };
    let mut found = built(places, &column).map_err(|_| remedy())?;
    found.description.push_str(&format!(" on {}", machine::medium(&places.memory)));
    found.settings.push(("MEMKIND_PRELOAD_DIR".to_owned(), places.memory.display().to_string()));
    found.is_partial = true;
    Ok(found)
}

/// One of our columns: where its pool is, how it is made, and what else is set.
struct Ours<'a> {
    name: &'static str,
    directory: &'a Path,
    space: &'static str,
    size: &'a str,
    huge_pages: &'static str,
}

fn ours(places: &Places, column: &Ours<'_>) -> Candidate {
    let Ours { name, directory, space, size, huge_pages } = column;
    let name = (*name).to_owned();
    if !places.library.exists() {
        let remedy = format!(
            "{} does not exist: run `cargo build --release`, or name the library by --library",
            places.library.display()
        );
        return Err(Missing { name, remedy });
    }
    let directory_text = directory.display().to_string();
    let medium = machine::medium(directory);
    Ok(Allocator {
        name,
        description: format!(
            "libvmmalloc, {space}, {size} pool on {medium}, huge pages: {huge_pages}"
        ),
        library: places.library.clone(),
        settings: owned(&[
            ("VMMALLOC_POOL_DIR", &directory_text),
            ("VMMALLOC_POOL_SIZE", size),
            ("VMMALLOC_SPACE", space),
            ("VMMALLOC_HUGEPAGE", huge_pages),
        ]),
        ours: true,
        is_partial: false,
    })
}

/// All allocators the harness knows, in the order of the tables.
pub fn candidates(places: &Places) -> Vec<Candidate> {
    let mut all = vec![glibc()];
    all.extend(PACKAGED.iter().map(|(name, file, package)| packaged(name, file, package)));
    all.push(memkind(places));
    all.extend(BUILT.iter().map(|peer| built(places, peer)));
    let (lazy, whole) = (&places.pool_size, &places.prealloc_size);
    let column = |name, directory, space, size, huge_pages| {
        ours(places, &Ours { name, directory, space, size, huge_pages })
    };
    all.push(column("vmmalloc", &places.memory, "lazy", lazy, "never"));
    all.push(column("vmmalloc-prealloc", &places.memory, "prealloc", whole, "never"));
    all.push(column("vmmalloc-disk", &places.disk, "lazy", lazy, "never"));
    for (name, level) in [("vmmalloc-hard", "1"), ("vmmalloc-hard2", "2")] {
        let hardened = column(name, &places.memory, "lazy", lazy, "never");
        all.push(hardened.map(|allocator| allocator.with("VMMALLOC_HARDEN", level)));
    }
    // In anonymous memory, of all nodes.
    if let Some(nodes) = nodes_with_memory() {
        for (name, huge_pages) in
            [("vmmalloc-anonymous", "never"), ("vmmalloc-anonymous-huge", "advise")]
        {
            let anonymous = column(name, &places.memory, "lazy", lazy, huge_pages);
            all.push(anonymous.map(|allocator| {
                let description = format!(
                    "libvmmalloc, lazy, {lazy} pool on nodes {nodes}, huge pages: {huge_pages}"
                );
                Allocator { description, ..allocator }.set("VMMALLOC_NODES", &nodes)
            }));
        }
    }
    if let Some(huge) = &places.huge {
        all.push(column("vmmalloc-huge", huge, "lazy", lazy, "advise"));
    }
    all
}

/// As the kernel lists them; `None` where it does not.
fn nodes_with_memory() -> Option<String> {
    let list = fs::read_to_string("/sys/devices/system/node/has_memory").ok()?;
    Some(list.trim().to_owned()).filter(|list| !list.is_empty())
}

/// The wanted allocators; all that are there when none is named.
///
/// # Errors
/// An unknown name, or a named allocator that is not there; the text says what to do.
pub fn choose(candidates: Vec<Candidate>, wanted: Option<&[String]>) -> Result<Vec<Allocator>> {
    let Some(wanted) = wanted else {
        return Ok(candidates.into_iter().flatten().collect());
    };
    let name_of = |candidate: &Candidate| match candidate {
        Ok(allocator) => allocator.name.clone(),
        Err(missing) => missing.name.clone(),
    };
    wanted
        .iter()
        .map(|name| match candidates.iter().find(|candidate| name_of(candidate) == *name) {
            Some(Ok(allocator)) => Ok(allocator.clone()),
            Some(Err(missing)) => Err(Error::new(format!("{name}: {}", missing.remedy))),
            None => {
                let known: Vec<String> = candidates.iter().map(name_of).collect();
                Err(Error::new(format!("no allocator '{name}'; known: {}", known.join(", "))))
            }
        })
        .collect()
}

/// The allocator that ratios refer to: the named one, else the newest mimalloc there is, else the first.
///
/// # Errors
/// A name that is not among the chosen allocators.
pub fn reference(chosen: &[Allocator], named: Option<&str>) -> Result<String> {
    if let Some(name) = named {
        if chosen.iter().any(|allocator| allocator.name == name) {
            return Ok(name.to_owned());
        }
        return Err(Error::new(format!(
            "the reference '{name}' is not among the chosen allocators"
        )));
    }
    let preferred = ["mimalloc", "mimalloc2", "mimalloc-debian"];
    preferred
        .into_iter()
        .find(|name| chosen.iter().any(|allocator| allocator.name == *name))
        .map(str::to_owned)
        .or_else(|| chosen.first().map(|allocator| allocator.name.clone()))
        .ok_or_else(|| Error::new("no allocator to measure"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allocator(name: &str) -> Allocator {
        Allocator {
            name: name.to_owned(),
            description: String::new(),
            library: PathBuf::from("/lib/x.so"),
            settings: owned(&[("A", "1")]),
            ours: false,
            is_partial: false,
        }
    }

    fn missing(name: &str) -> Candidate {
        Err(Missing { name: name.to_owned(), remedy: "run `make it`".to_owned() })
    }

    #[test]
    fn without_a_wish_all_that_are_there_are_taken() {
        let chosen =
            choose(vec![Ok(allocator("a")), missing("b"), Ok(allocator("c"))], None).unwrap();
        let names: Vec<&str> = chosen.iter().map(|allocator| allocator.name.as_str()).collect();
        assert_eq!(names, ["a", "c"]);
    }

    #[test]
    fn a_wish_keeps_its_order_and_a_missing_one_names_the_remedy() {
        let all = || vec![Ok(allocator("a")), missing("b"), Ok(allocator("c"))];
        let wish = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let chosen = choose(all(), Some(&wish(&["c", "a"]))).unwrap();
        assert_eq!(chosen[0].name, "c");
        let error = choose(all(), Some(&wish(&["b"]))).unwrap_err().to_string();
        assert_eq!(error, "b: run `make it`");
        let error = choose(all(), Some(&wish(&["z"]))).unwrap_err().to_string();
        assert_eq!(error, "no allocator 'z'; known: a, b, c");
    }

    #[test]
    fn the_newest_mimalloc_is_the_reference_unless_another_is_named() {
        let chosen = [allocator("glibc"), allocator("mimalloc-debian"), allocator("mimalloc")];
        assert_eq!(reference(&chosen, None).unwrap(), "mimalloc");
        assert_eq!(reference(&chosen[..2], None).unwrap(), "mimalloc-debian");
        assert_eq!(reference(&chosen[..1], None).unwrap(), "glibc");
        assert_eq!(reference(&chosen, Some("glibc")).unwrap(), "glibc");
        assert!(reference(&chosen, Some("jemalloc")).is_err());
        assert!(reference(&[], None).is_err());
    }

    #[test]
    fn the_preload_comes_with_the_settings() {
        let environment = allocator("a").environment();
        assert_eq!(environment, owned(&[("LD_PRELOAD", "/lib/x.so"), ("A", "1")]));
    }

    #[test]
    fn our_missing_library_names_the_command_that_builds_it() {
        let nowhere = PathBuf::from("/nonexistent");
        let places = Places {
            library: nowhere.join("libvmmalloc.so"),
            peers: nowhere.clone(),
            memory: nowhere.clone(),
            disk: nowhere.clone(),
            huge: Some(nowhere),
            pool_size: "8G".to_owned(),
            prealloc_size: "1G".to_owned(),
        };
        let error =
            choose(candidates(&places), Some(&["vmmalloc".to_owned()])).unwrap_err().to_string();
        assert!(error.contains("/nonexistent/libvmmalloc.so"), "{error}");
        assert!(error.contains("cargo build --release"), "{error}");
    }
}
