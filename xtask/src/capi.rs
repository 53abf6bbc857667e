//! `cargo xtask capi`: builds the drop-in C libraries and installs them below a directory.
//!
//! A library with version nodes is linked by the C compiler from a Rust archive: rustc has a version script of
//! its own, and linkers differ in what they make of a second one.
//!
//! ```text
//! DESTDIR/PREFIX
//!   lib/libvmem.so -> .so.1 -> .so.1.0.0      include/libvmem.h
//!   lib/libvmem.a                             lib/pkgconfig/libvmem.pc
//!   lib/libvmemcache.so -> .so.0              include/libvmemcache.h
//!   lib/vmem_debug/...  libvmem, libvmmalloc and libvmemcache again, with assertions and a log
//!   lib/pmdk_debug/...  the same of libpmem, libpmem2, libpmemlog and libpmemblk
//!   share/man/man3, man7
//! ```

use crate::{Stop, workspace};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A drop-in library.
struct Library {
    /// As in `-lNAME`.
    name: &'static str,
    /// Its cargo package.
    package: &'static str,
    /// The archive that cargo makes of it.
    archive: &'static str,
    /// Its folder.
    folder: &'static str,
    /// The headers in the folder's `include`.
    headers: &'static [&'static str],
    /// Sources in C of the folder, for the shared object and for the archive.
    sources: &'static [&'static str],
    /// Sources of the folder for the shared object alone.
    shared_sources: &'static [&'static str],
    /// The folder of its twin, with assertions and a log, below that of libraries.
    twin: &'static str,
    shared: Shared,
    /// What its files are called behind `.so`: the name for the dynamic loader, and the file if that is another one.
    versions: (&'static str, &'static str),
    /// Pages of docs/man.
    pages: &'static [&'static str],
}

/// Where the shared object comes from.
enum Shared {
    /// The C compiler, with this version script of the library's folder.
    Linked(&'static str),
    /// The same of a library with std, whose code for unwinding is put in.
    LinkedWithStd(&'static str),
    /// Cargo: this file.
    Built(&'static str),
}

const LIBRARIES: &[Library] = &[
    Library {
        name: "vmem",
        package: "pmem-capi-vmem",
        archive: "libvmem_c.a",
        folder: "capi/libvmem",
        headers: &["libvmem.h"],
        sources: &[],
        shared_sources: &[],
        twin: "vmem_debug",
        shared: Shared::Linked("libvmem.map"),
        versions: (".1", ".1.0.0"),
        pages: &["libvmem.7", "vmem_create.3", "vmem_malloc.3"],
    },
    Library {
        name: "vmmalloc",
        package: "vmmalloc",
        archive: "libvmmalloc.a",
        folder: "vmmalloc",
        headers: &["libvmmalloc.h"],
        sources: &[],
        shared_sources: &[],
        twin: "vmem_debug",
        shared: Shared::Built("libvmmalloc.so"),
        versions: (".1", ".1.0.0"),
        pages: &["libvmmalloc.7"],
    },
    Library {
        name: "pmemlog",
        package: "pmem-capi-pmemlog",
        archive: "libpmemlog_c.a",
        folder: "capi/libpmemlog",
        headers: &["libpmemlog.h"],
        sources: &[],
        shared_sources: &[],
        twin: "pmdk_debug",
        shared: Shared::Linked("libpmemlog.map"),
        versions: (".1", ".1.0.0"),
        pages: &["libpmemlog.7", "pmemlog_create.3", "pmemlog_append.3"],
    },
    Library {
        name: "pmemblk",
        package: "pmem-capi-pmemblk",
        archive: "libpmemblk_c.a",
        folder: "capi/libpmemblk",
        headers: &["libpmemblk.h"],
        sources: &[],
        shared_sources: &[],
        twin: "pmdk_debug",
        shared: Shared::Linked("libpmemblk.map"),
        versions: (".1", ".1.0.0"),
        pages: &["libpmemblk.7", "pmemblk_create.3", "pmemblk_read.3"],
    },
    Library {
        name: "pmem",
        package: "pmem-capi-pmem",
        archive: "libpmem_c.a",
        folder: "capi/libpmem",
        headers: &["libpmem.h"],
        sources: &[],
        shared_sources: &[],
        twin: "pmdk_debug",
        shared: Shared::Linked("libpmem.map"),
        versions: (".1", ".1.0.0"),
        pages: &["libpmem.7", "pmem_map_file.3", "pmem_flush.3"],
    },
    Library {
        name: "pmem2",
        package: "pmem-capi-pmem2",
        archive: "libpmem2_c.a",
        folder: "capi/libpmem2",
        headers: &["libpmem2.h", "libpmem2/base.h"],
        sources: &["src/perror.c"],
        shared_sources: &["src/old_node.S"],
        twin: "pmdk_debug",
        shared: Shared::Linked("libpmem2.map"),
        versions: (".1", ".1.0.0"),
        pages: &["libpmem2.7"],
    },
    Library {
        name: "vmemcache",
        package: "pmem-capi-vmemcache",
        archive: "libvmemcache_c.a",
        folder: "capi/libvmemcache",
        headers: &["libvmemcache.h"],
        sources: &[],
        shared_sources: &[],
        twin: "vmem_debug",
        shared: Shared::LinkedWithStd("libvmemcache.map"),
        versions: (".0", ".0"),
        pages: &["vmemcache.3"],
    },
];

/// Names under which a page of several functions is found, too.
const ALIASES: &[(&str, &[&str])] = &[
    ("libvmem.7", &["vmem_check_version", "vmem_set_funcs", "vmem_errormsg"]),
    ("vmem_create.3", &["vmem_create_in_region", "vmem_delete", "vmem_check", "vmem_stats_print"]),
    (
        "vmem_malloc.3",
        &[
            "vmem_free",
            "vmem_calloc",
            "vmem_realloc",
            "vmem_aligned_alloc",
            "vmem_strdup",
            "vmem_wcsdup",
            "vmem_malloc_usable_size",
        ],
    ),
    (
        "libpmemlog.7",
        &[
            "pmemlog_check_version",
            "pmemlog_set_funcs",
            "pmemlog_errormsg",
            "pmemlog_ctl_get",
            "pmemlog_ctl_set",
            "pmemlog_ctl_exec",
        ],
    ),
    ("pmemlog_create.3", &["pmemlog_open", "pmemlog_close", "pmemlog_check"]),
    (
        "pmemlog_append.3",
        &["pmemlog_appendv", "pmemlog_nbyte", "pmemlog_tell", "pmemlog_rewind", "pmemlog_walk"],
    ),
    (
        "libpmemblk.7",
        &[
            "pmemblk_check_version",
            "pmemblk_set_funcs",
            "pmemblk_errormsg",
            "pmemblk_ctl_get",
            "pmemblk_ctl_set",
            "pmemblk_ctl_exec",
        ],
    ),
    ("pmemblk_create.3", &["pmemblk_open", "pmemblk_close", "pmemblk_check"]),
    (
        "pmemblk_read.3",
        &[
            "pmemblk_write",
            "pmemblk_set_zero",
            "pmemblk_set_error",
            "pmemblk_bsize",
            "pmemblk_nblock",
        ],
    ),
    ("libpmem.7", &["pmem_check_version", "pmem_errormsg", "pmem_log_set_function"]),
    ("pmem_map_file.3", &["pmem_unmap", "pmem_is_pmem"]),
    (
        "pmem_flush.3",
        &[
            "pmem_persist",
            "pmem_drain",
            "pmem_msync",
            "pmem_deep_flush",
            "pmem_deep_drain",
            "pmem_deep_persist",
            "pmem_has_auto_flush",
            "pmem_has_hw_drain",
            "pmem_memcpy",
            "pmem_memmove",
            "pmem_memset",
            "pmem_memcpy_persist",
            "pmem_memmove_persist",
            "pmem_memset_persist",
            "pmem_memcpy_nodrain",
            "pmem_memmove_nodrain",
            "pmem_memset_nodrain",
        ],
    ),
    (
        "libpmem2.7",
        &[
            "pmem2_source_from_fd",
            "pmem2_source_from_anon",
            "pmem2_config_new",
            "pmem2_map_new",
            "pmem2_map_from_existing",
            "pmem2_get_persist_fn",
            "pmem2_get_memcpy_fn",
            "pmem2_deep_flush",
            "pmem2_vm_reservation_new",
            "pmem2_badblock_next",
            "pmem2_errormsg",
            "pmem2_perror",
        ],
    ),
    (
        "vmemcache.3",
        &[
            "vmemcache_new",
            "vmemcache_delete",
            "vmemcache_set_size",
            "vmemcache_set_extent_size",
            "vmemcache_set_eviction_policy",
            "vmemcache_add",
            "vmemcache_put",
            "vmemcache_get",
            "vmemcache_exists",
            "vmemcache_evict",
            "vmemcache_callback_on_evict",
            "vmemcache_callback_on_miss",
            "vmemcache_get_stat",
            "vmemcache_errormsg",
            "vmemcache_bench_set",
        ],
    ),
];

/// A way of building all libraries.
struct Variant {
    profile: &'static str,
    features: &'static [&'static str],
    twin: bool,
    strip: bool,
}

const VARIANTS: [Variant; 2] = [
    Variant { profile: "release", features: &[], twin: false, strip: true },
    Variant { profile: "e2e", features: &["--features", "log"], twin: true, strip: false },
];

struct Options {
    destdir: PathBuf,
    prefix: PathBuf,
    libdir: PathBuf,
}

/// The command.
pub(crate) fn run(arguments: Vec<OsString>) -> Result<(), Stop> {
    let options = parse(arguments)?;
    let work = workspace::target_dir()?.join("capi");
    // A folder of its own: the twins have other features under the names of ordinary builds, and each would have to be
    // built again after the other.
    let target = work.join("build");
    fs::create_dir_all(&work)?;
    // Another run would build into the same folder.
    let lock = File::create(work.join("lock"))?;
    lock.lock()?;
    for variant in &VARIANTS {
        for library in LIBRARIES {
            build(library, variant, &target, &work, &options)?;
        }
    }
    for library in LIBRARIES {
        install_rest(library, &options)?;
    }
    Ok(())
}

fn parse(arguments: Vec<OsString>) -> Result<Options, Stop> {
    use lexopt::prelude::*;
    let (mut destdir, mut prefix, mut libdir) = (None, PathBuf::from("/usr"), None);
    let mut parser = lexopt::Parser::from_args(arguments);
    while let Some(argument) = parser.next()? {
        match argument {
            Long("destdir") => destdir = Some(PathBuf::from(parser.value()?)),
            Long("prefix") => prefix = PathBuf::from(parser.value()?),
            Long("libdir") => libdir = Some(PathBuf::from(parser.value()?)),
            other => return Err(other.unexpected().into()),
        }
    }
    let Some(destdir) = destdir else {
        return Err(Stop::Usage("capi needs --destdir D (/ to install into the system)".into()));
    };
    let libdir = libdir.unwrap_or_else(|| prefix.join("lib"));
    for path in [&prefix, &libdir] {
        if !path.is_absolute() {
            return Err(Stop::Usage(format!("{} is no absolute path", path.display())));
        }
    }
    Ok(Options { destdir, prefix, libdir })
}

/// Where an absolute path lies below the destination.
fn below(destdir: &Path, path: &Path) -> PathBuf {
    destdir.join(path.strip_prefix("/").unwrap_or(path))
}

fn must(command: &mut Command) -> Result<(), Stop> {
    let status = command.status().map_err(|error| Stop::Failed(format!("{command:?}: {error}")))?;
    if status.success() { Ok(()) } else { Err(Stop::Failed(format!("{command:?}: {status}"))) }
}

fn build(
    library: &Library,
    variant: &Variant,
    target: &Path,
    work: &Path,
    options: &Options,
) -> Result<(), Stop> {
    let mut cargo = workspace::cargo();
    cargo.args(["build", "--quiet", "--profile", variant.profile, "-p", library.package]);
    must(cargo.args(variant.features).arg("--target-dir").arg(target))?;
    let built = target.join(variant.profile);
    let folder = if variant.twin { library.twin } else { "" };
    let libdir = below(&options.destdir, &options.libdir).join(folder);
    fs::create_dir_all(&libdir)?;
    let link = format!("lib{}.so", library.name);
    let (soname, file) = library.versions;
    let (soname, file) = (format!("{link}{soname}"), format!("{link}{file}"));
    let place = libdir.join(&file);
    match library.shared {
        Shared::Linked(script) | Shared::LinkedWithStd(script) => {
            let script = workspace::root().join(library.folder).join(script);
            let mut objects = compile(library, library.sources, work)?;
            objects.extend(compile(library, library.shared_sources, work)?);
            objects.push(built.join(library.archive));
            let mut compiler = linker(&objects, &script, &soname, variant, &place);
            if let Shared::LinkedWithStd(_) = library.shared {
                compiler.arg("-static-libgcc");
            }
            must(&mut compiler)?;
        }
        Shared::Built(name) => {
            replace(&built.join(name), &place)?;
            if variant.strip {
                must(Command::new("strip").arg("--strip-all").arg(&place))?;
            }
        }
    }
    for (name, to) in [(&soname, &file), (&link, &soname)] {
        if name == to {
            continue;
        }
        let name = libdir.join(name);
        let _ = fs::remove_file(&name); // is not there the first time
        symlink(to, name)?;
    }
    archive(library, &built.join(library.archive), work, &libdir)
}

/// Copies to a new file: a program may be running the old one.
fn replace(from: &Path, to: &Path) -> Result<(), Stop> {
    let _ = fs::remove_file(to); // is not there the first time
    fs::copy(from, to).map_err(|error| Stop::Failed(format!("{}: {error}", from.display())))?;
    Ok(())
}

fn c_compiler() -> Command {
    Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()))
}

/// Compiles sources of a library's folder; gives the objects.
fn compile(library: &Library, sources: &[&str], work: &Path) -> Result<Vec<PathBuf>, Stop> {
    let mut objects = Vec::new();
    for source in sources {
        let from = workspace::root().join(library.folder).join(source);
        let stem = from.file_stem().and_then(OsStr::to_str).unwrap_or("source");
        let object = work.join(format!("lib{}-{stem}.o", library.name));
        let mut compiler = c_compiler();
        compiler.args(["-c", "-O2", "-fPIC", "-Wall", "-Wextra", "-Werror", "-o"]);
        must(compiler.arg(&object).arg(&from))?;
        objects.push(object);
    }
    Ok(objects)
}

/// The compiler that links objects and archives to a shared object.
fn linker(
    objects: &[PathBuf],
    script: &Path,
    soname: &str,
    variant: &Variant,
    to: &Path,
) -> Command {
    let _ = fs::remove_file(to); // is not there the first time
    let mut compiler = c_compiler();
    compiler.arg("-shared").arg("-o").arg(to);
    compiler.arg("-Wl,--whole-archive").args(objects).arg("-Wl,--no-whole-archive");
    let mut script_option = OsString::from("-Wl,--version-script=");
    script_option.push(script);
    compiler.arg(script_option).arg(format!("-Wl,-soname,{soname}"));
    compiler.args(["-Wl,--gc-sections", "-Wl,-z,defs", "-Wl,-z,relro", "-Wl,-z,now"]);
    // Handlers for forks and ends of threads point into the library.
    compiler.arg("-Wl,-z,nodelete");
    if variant.strip {
        compiler.arg("-Wl,--strip-all");
    }
    compiler
}

/// Names that a library exports, from the list that its tests compare it with.
fn exports(library: &Library) -> Result<Vec<String>, Stop> {
    let list = workspace::root().join(format!("tests/abi/lib{}.symbols", library.name));
    let text = fs::read_to_string(&list)
        .map_err(|error| Stop::Failed(format!("{}: {error}", list.display())))?;
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let lines = lines.filter(|line| !line.starts_with("A "));
    let names = lines.filter_map(|line| line.split_whitespace().nth(1));
    // Version nodes are no names.
    let names = names.filter_map(|name| name.split('@').next());
    let mut names: Vec<String> = names.filter(|name| !name.is_empty()).map(str::to_owned).collect();
    // One that is in two nodes.
    names.sort();
    names.dedup();
    Ok(names)
}

/// The static archive: one object in which only the exported names are global.
fn archive(library: &Library, from: &Path, work: &Path, libdir: &Path) -> Result<(), Stop> {
    let names = exports(library)?;
    let object = work.join(format!("lib{}.o", library.name));
    let mut linker = Command::new("ld");
    linker.args(["-r", "--gc-sections"]);
    for name in &names {
        linker.arg("-u").arg(name);
    }
    linker.arg("-o").arg(&object).arg("--whole-archive");
    linker.args(compile(library, library.sources, work)?).arg(from);
    must(&mut linker)?;
    let keep = work.join(format!("lib{}.names", library.name));
    fs::write(&keep, names.join("\n") + "\n")?;
    let mut localise = Command::new("objcopy");
    // Intermediate code for the linkers of LLVM; other archivers stumble over it.
    localise.args(["-R", ".llvmbc", "-R", ".llvmcmd"]);
    let mut option = OsString::from("--keep-global-symbols=");
    option.push(&keep);
    must(localise.arg(option).arg(&object))?;
    let to = libdir.join(format!("lib{}.a", library.name));
    let _ = fs::remove_file(&to); // is not there the first time
    must(Command::new("ar").arg("rcsD").arg(&to).arg(&object))
}

/// Header, .pc file, manual pages.
fn install_rest(library: &Library, options: &Options) -> Result<(), Stop> {
    let folder = workspace::root().join(library.folder);
    let include = below(&options.destdir, &options.prefix).join("include");
    fs::create_dir_all(&include)?;
    for header in library.headers {
        let to = include.join(header);
        fs::create_dir_all(to.parent().unwrap_or(&include))?;
        fs::copy(folder.join("include").join(header), to)?;
    }

    let template = fs::read_to_string(folder.join(format!("lib{}.pc.in", library.name)))?;
    let text = template
        .replace("@PREFIX@", &options.prefix.to_string_lossy())
        .replace("@LIBDIR@", &options.libdir.to_string_lossy());
    let pkgconfig = below(&options.destdir, &options.libdir).join("pkgconfig");
    fs::create_dir_all(&pkgconfig)?;
    fs::write(pkgconfig.join(format!("lib{}.pc", library.name)), text)?;

    for page in library.pages {
        let section = Path::new(page).extension().and_then(OsStr::to_str).unwrap_or("7");
        let folder =
            below(&options.destdir, &options.prefix).join(format!("share/man/man{section}"));
        fs::create_dir_all(&folder)?;
        fs::copy(workspace::root().join("docs/man").join(page), folder.join(page))?;
        // Functions are in section 3, whatever the section of the page that describes them.
        let functions = folder.with_file_name("man3");
        fs::create_dir_all(&functions)?;
        for (_, names) in ALIASES.iter().filter(|(of, _)| of == page) {
            for name in *names {
                let alias = functions.join(format!("{name}.3"));
                let _ = fs::remove_file(&alias); // is not there the first time
                symlink(format!("../man{section}/{page}"), alias)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(arguments: &[&str]) -> Option<Options> {
        parse(arguments.iter().map(OsString::from).collect()).ok()
    }

    #[test]
    fn paths_lie_below_the_destination() {
        let options = parsed(&["--destdir", "d", "--prefix", "/opt/x"]).unwrap();
        assert_eq!(options.libdir, Path::new("/opt/x/lib"));
        assert_eq!(below(&options.destdir, &options.libdir), Path::new("d/opt/x/lib"));
        let options = parsed(&["--destdir=/d", "--libdir=/usr/lib/x86_64-linux-gnu"]).unwrap();
        assert_eq!(options.prefix, Path::new("/usr"));
        assert_eq!(options.libdir, Path::new("/usr/lib/x86_64-linux-gnu"));
    }

    #[test]
    fn a_destination_and_absolute_paths_are_needed() {
        assert!(parsed(&[]).is_none());
        assert!(parsed(&["--destdir", "d", "--prefix", "usr"]).is_none());
        assert!(parsed(&["--destdir", "d", "more"]).is_none());
    }

    #[test]
    fn every_library_has_a_list_of_exports() {
        for library in LIBRARIES {
            let names = exports(library).unwrap_or_default();
            assert!(names.len() > 10, "{}", library.name);
            assert!(names.iter().all(|name| !name.contains('@') && !name.starts_with("LIB")));
        }
    }
}
