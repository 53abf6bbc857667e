//! Builds the newest peers as shared objects from the C and C++ sources that their crates bundle.
//!
//! The crates themselves would give static archives whose `malloc` a Rust cdylib cannot export without a
//! jump through a shim; compiled directly, with the flags of the projects' own builds, the peers run as
//! their authors ship them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use crate::error::{Context, Error, Result};

/// How one peer is compiled from a crate's directory.
struct Recipe {
    /// File of the shared object.
    output: &'static str,
    /// Name for people.
    title: &'static str,
    /// Crate that bundles the sources.
    package: &'static str,
    /// `cc` or `c++`.
    compiler: &'static str,
    flags: &'static [&'static str],
    /// Include directories, relative to the crate.
    include: &'static [&'static str],
    /// Sources, relative to the crate.
    sources: &'static [&'static str],
    /// Header of `benches/compare` to include in front.
    prelude: Option<&'static str>,
    /// Where the sources state their version: file and macro of the number major*10000 + minor*100 + patch.
    version: Option<(&'static str, &'static str)>,
}

const MIMALLOC_FLAGS: &[&str] = &[
    "-std=gnu11",
    "-O3",
    "-DNDEBUG",
    "-DMI_MALLOC_OVERRIDE",
    "-DMI_SHARED_LIB",
    "-DMI_SHARED_LIB_EXPORT",
    "-DMI_BUILD_RELEASE",
    "-DMI_DEBUG=0",
    "-fno-builtin-malloc",
];

const RECIPES: [Recipe; 5] = [
    Recipe {
        output: "libmimalloc3.so",
        title: "mimalloc",
        package: "libmimalloc-sys",
        compiler: "cc",
        flags: MIMALLOC_FLAGS,
        include: &["c_src/mimalloc/v3/include"],
        sources: &["c_src/mimalloc/v3/src/static.c"],
        prelude: None,
        version: Some(("c_src/mimalloc/v3/include/mimalloc.h", "MI_MALLOC_VERSION")),
    },
    Recipe {
        output: "libmimalloc3-shared.so",
        title: "mimalloc",
        package: "libmimalloc-sys",
        compiler: "cc",
        flags: MIMALLOC_FLAGS,
        include: &["c_src/mimalloc/v3/include"],
        sources: &["c_src/mimalloc/v3/src/static.c"],
        prelude: Some("shared_mapping.h"),
        version: Some(("c_src/mimalloc/v3/include/mimalloc.h", "MI_MALLOC_VERSION")),
    },
    Recipe {
        output: "libmimalloc2.so",
        title: "mimalloc",
        package: "libmimalloc-sys",
        compiler: "cc",
        flags: MIMALLOC_FLAGS,
        include: &["c_src/mimalloc/v2/include"],
        sources: &["c_src/mimalloc/v2/src/static.c"],
        prelude: None,
        version: Some(("c_src/mimalloc/v2/include/mimalloc.h", "MI_MALLOC_VERSION")),
    },
    Recipe {
        output: "libsnmalloc.so",
        title: "snmalloc",
        package: "snmalloc-sys",
        compiler: "c++",
        flags: &[
            "-std=c++20",
            "-O3",
            "-DNDEBUG",
            "-mcx16",
            "-fno-rtti",
            "-fomit-frame-pointer",
            "-ffunction-sections",
            "-static-libstdc++",
            "-DSNMALLOC_USE_WAIT_ON_ADDRESS=1",
            "-DSNMALLOC_HAS_LINUX_FUTEX_H",
            "-DSNMALLOC_HAS_LINUX_RANDOM_H",
            "-DSNMALLOC_PLATFORM_HAS_GETENTROPY",
            "-DSNMALLOC_USE_CXX11_THREAD_ATEXIT_DIRECT",
            "-DSNMALLOC_CHECK_LOADS=false",
            "-DSNMALLOC_PAGEID=false",
            "-DSNMALLOC_EXPORT=__attribute__((visibility(\"default\")))",
        ],
        include: &["upstream/src"],
        sources: &[
            "upstream/src/snmalloc/override/malloc.cc",
            "upstream/src/snmalloc/override/new.cc",
        ],
        prelude: None,
        version: None,
    },
    Recipe {
        output: "librpmalloc.so",
        title: "rpmalloc (sources of the crate)",
        package: "rpmalloc-sys",
        compiler: "cc",
        flags: &[
            "-std=gnu11",
            "-O3",
            "-DNDEBUG",
            "-D_GNU_SOURCE",
            "-DENABLE_PRELOAD=1",
            "-DENABLE_OVERRIDE=1",
            "-fno-builtin-malloc",
            "-fomit-frame-pointer",
        ],
        include: &["rpmalloc/rpmalloc"],
        sources: &["rpmalloc/rpmalloc/rpmalloc.c"],
        prelude: None,
        version: None,
    },
];

/// The shim that puts programs on libmemkind.
pub const MEMKIND_PRELOAD: &str = "libmemkind-preload.so";

/// The version of the libmemkind that programs can be built with, if there is one.
fn memkind_version() -> Option<String> {
    let found = Command::new("pkg-config").args(["--modversion", "memkind"]).output().ok()?;
    found.status.success().then(|| String::from_utf8_lossy(&found.stdout).trim().to_owned())
}

/// Builds the shim in front of Debian's libmemkind, whose version it tells; `None` when that is not installed.
fn build_memkind(compare: &Path, output: &Path) -> Result<Option<String>> {
    let Some(version) = memkind_version() else {
        return Ok(None);
    };
    let target = output.join(MEMKIND_PRELOAD);
    let result = Command::new("cc")
        .args(["-shared", "-fPIC", "-pthread", "-O2", "-fvisibility=hidden", "-fno-builtin"])
        .arg(compare.join("memkind_preload.c"))
        .arg("-o")
        .arg(&target)
        .arg("-lmemkind")
        .output()
        .context(|| "cc".to_owned())?;
    if !result.status.success() {
        let text = String::from_utf8_lossy(&result.stderr);
        return Err(Error::new(format!("{MEMKIND_PRELOAD}: {}", text.trim())));
    }
    let version = format!("libmemkind {version}");
    fs::write(target.with_extension("version"), &version)
        .context(|| target.display().to_string())?;
    Ok(Some(version))
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    manifest_path: PathBuf,
}

/// Finds (and downloads, if need be) the crates of `benches/compare`.
fn packages(compare: &Path) -> Result<Vec<Package>> {
    let manifest = compare.join("Cargo.toml");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args([
            "metadata",
            "--format-version",
            "1",
            "--locked",
            "--all-features",
            "--manifest-path",
        ])
        .arg(&manifest)
        .output()
        .context(|| "cargo".to_owned())?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        return Err(Error::new(format!(
            "cargo metadata of {}: {}",
            manifest.display(),
            text.trim()
        )));
    }
    let metadata: Metadata =
        serde_json::from_slice(&output.stdout).context(|| "cargo metadata".to_owned())?;
    Ok(metadata.packages)
}

/// "30302" is 3.3.2: digits of major, two of minor, two of patch.
fn version_in(header: &str, name: &str) -> Option<String> {
    let define = format!("#define {name} ");
    let line = header.lines().find(|line| line.starts_with(&define))?;
    let number: u32 = line[define.len()..].split_whitespace().next()?.parse().ok()?;
    Some(format!("{}.{}.{}", number / 10000, number / 100 % 100, number % 100))
}

fn build(recipe: &Recipe, package: &Package, compare: &Path, output: &Path) -> Result<String> {
    let root = package
        .manifest_path
        .parent()
        .ok_or_else(|| Error::new("a manifest without a directory"))?;
    let target = output.join(recipe.output);
    let mut command = Command::new(recipe.compiler);
    command
        .args([
            "-shared",
            "-fPIC",
            "-pthread",
            "-fvisibility=hidden",
            "-ftls-model=initial-exec",
            "-w",
        ])
        .args(recipe.flags);
    if let Some(prelude) = recipe.prelude {
        command.arg("-include").arg(compare.join(prelude));
    }
    for directory in recipe.include {
        command.arg("-I").arg(root.join(directory));
    }
    command.args(recipe.sources.iter().map(|source| root.join(source)));
    command.arg("-o").arg(&target);
    let result = command.output().context(|| recipe.compiler.to_owned())?;
    if !result.status.success() {
        let text = String::from_utf8_lossy(&result.stderr);
        return Err(Error::new(format!("{}: {}", recipe.output, text.trim())));
    }
    let own = recipe.version.and_then(|(file, name)| {
        version_in(&fs::read_to_string(root.join(file)).unwrap_or_default(), name)
    });
    let version = format!("{} {}", recipe.title, own.as_ref().unwrap_or(&package.version));
    fs::write(target.with_extension("version"), &version)
        .context(|| target.display().to_string())?;
    Ok(version)
}

/// Whether all peers were built after what they are built from was changed.
pub fn are_current(compare: &Path, output: &Path) -> bool {
    let changed = |path: PathBuf| fs::metadata(path).and_then(|data| data.modified()).ok();
    let inputs = ["Cargo.lock", "shared_mapping.h", "memkind_preload.c"];
    let newest = inputs.iter().filter_map(|name| changed(compare.join(name))).max();
    let has_memkind = changed(output.join(MEMKIND_PRELOAD)) > newest || memkind_version().is_none();
    has_memkind && RECIPES.iter().all(|recipe| changed(output.join(recipe.output)) > newest)
}

/// Builds all peers into `output`, naming each as it is done.
///
/// # Errors
/// A crate that cannot be had, a missing compiler, or its messages when it fails.
pub fn build_all(compare: &Path, output: &Path, mut done: impl FnMut(&str, &str)) -> Result<()> {
    fs::create_dir_all(output).context(|| output.display().to_string())?;
    let packages = packages(compare)?;
    for recipe in &RECIPES {
        let package =
            packages.iter().find(|package| package.name == recipe.package).ok_or_else(|| {
                Error::new(format!("{} is no dependency of benches/compare", recipe.package))
            })?;
        let version = build(recipe, package, compare, output)?;
        done(recipe.output, &version);
    }
    match build_memkind(compare, output)? {
        Some(version) => done(MEMKIND_PRELOAD, &version),
        None => {
            eprintln!("pmem-bench: without memkind: no Debian package libmemkind-dev, pkg-config")
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_macro_is_read() {
        let header = "#pragma once\n#define MI_MALLOC_VERSION 30302   // digits\n";
        assert_eq!(version_in(header, "MI_MALLOC_VERSION").as_deref(), Some("3.3.2"));
        assert_eq!(version_in(header, "OTHER"), None);
    }

    #[test]
    fn peers_that_were_never_built_are_not_current() {
        let compare = Path::new(env!("CARGO_MANIFEST_DIR")).join("compare");
        assert!(!are_current(&compare, Path::new("/nonexistent")));
    }
}
