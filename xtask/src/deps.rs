//! The Debian packages that the demo, the tests and the benchmarks use: the one list, and how to get what is missing.

use crate::{Stop, programs};
use std::ffi::OsString;
use std::process::{Command, Stdio};

/// What wants a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum For {
    /// A row of the demo; the tests of real programs use it too.
    Demo,
    /// A check of `cargo xtask test`.
    Test,
    /// A check that is left out by `--quick`.
    LongTest,
    /// The virtual machine; without it its step says that it has checked nothing.
    Machine,
    /// A column or row of `cargo xtask bench`.
    Bench,
}

/// A package of Debian 12.
pub(crate) struct Package {
    /// Its name.
    pub(crate) name: &'static str,
    /// What it is for.
    pub(crate) wanted: For,
    /// A command it brings, for systems without dpkg; empty when it brings files only.
    command: &'static str,
    /// One phrase for people.
    why: &'static str,
}

const fn package(
    name: &'static str,
    wanted: For,
    command: &'static str,
    why: &'static str,
) -> Package {
    Package { name, wanted, command, why }
}

/// Every package, once.
pub(crate) const PACKAGES: &[Package] = &[
    package("bash", For::Demo, "bash", "demo: shell with command substitution, pipes and arrays"),
    package("coreutils", For::Demo, "sort", "demo: sort --parallel"),
    package("diffutils", For::Demo, "diff", "demo: diff of large files"),
    package("gcc", For::Demo, "gcc", "demo: compiler; tests: C programs"),
    package("git", For::Demo, "git", "demo: init, commit, log, gc"),
    package("gzip", For::Demo, "gzip", "demo: tar | gzip"),
    package("jq", For::Demo, "jq", "demo: JSON"),
    package("lua5.4", For::Demo, "lua5.4", "demo: interpreter"),
    package("mawk", For::Demo, "mawk", "demo: awk"),
    package("perl", For::Demo, "perl", "demo: hashes, sorting, regular expressions"),
    package("python3", For::Demo, "python3", "demo: threads and subprocesses"),
    package("redis-server", For::Demo, "redis-server", "demo: server that forks to save its data"),
    package("redis-tools", For::Demo, "redis-benchmark", "demo: redis-benchmark, redis-cli"),
    package("sqlite3", For::Demo, "sqlite3", "demo: database in memory"),
    package("tar", For::Demo, "tar", "demo: tar | gzip"),
    package("dash", For::Demo, "dash", "demo: scripts around other programs"),
    package("binutils", For::Test, "readelf", "symbols and needed libraries of libvmmalloc.so"),
    package("e2fsprogs", For::Test, "mkfs.ext4", "small file systems of their own"),
    package("g++", For::Test, "g++", "C++ programs on the pool"),
    package("gdb", For::Test, "gdb", "a large C++ program on the pool"),
    package("groff-base", For::Test, "groff", "check of the manual pages"),
    package("libc6-dev", For::Test, "", "headers for the C programs"),
    package("make", For::Test, "make", "parallel builds on the pool"),
    package("man-db", For::Test, "man", "check of the manual pages"),
    package("memcached", For::Test, "memcached", "server with threads on the pool"),
    package("strace", For::Test, "strace", "which system calls a program makes"),
    package("stress-ng", For::Test, "stress-ng", "stress-ng --malloc on the pool"),
    package("util-linux", For::Test, "unshare", "mounts, other users"),
    package(
        "valgrind",
        For::Test,
        "valgrind",
        "valgrind on the pool; memcheck over the unit tests",
    ),
    package("fio", For::Test, "fio", "its engines for libpmem and libpmemblk"),
    package("libpmem-dev", For::Test, "", "peer of libpmem.so.1"),
    package("libpmem2-dev", For::Test, "", "peer of libpmem2.so.1"),
    package("libjemalloc2", For::Test, "", "peer in the benchmarks"),
    package("libmimalloc2.0", For::Test, "", "peer in the benchmarks"),
    package("libpmemblk1", For::Test, "", "peer: the same pools in both libraries"),
    package("libpmemlog1", For::Test, "", "peer: the same pools in both libraries"),
    package("pmdk-tools", For::Test, "pmempool", "peer: checks pools"),
    package("zstd", For::Test, "zstd", "pools that are kept compressed"),
    package("cpio", For::Machine, "cpio", "virtual machine: its first file system"),
    package("daxctl", For::Machine, "daxctl", "virtual machine: device DAX"),
    package("iproute2", For::Machine, "ip", "virtual machine: network devices"),
    package("kmod", For::Machine, "depmod", "virtual machine: kernel modules"),
    package("ndctl", For::Machine, "ndctl", "virtual machine: persistent memory"),
    package("qemu-system-x86", For::Machine, "qemu-system-x86_64", "virtual machine: emulator"),
    package("xfsprogs", For::Machine, "mkfs.xfs", "virtual machine: XFS"),
    package("xz-utils", For::Machine, "xz", "virtual machine: kernel modules"),
    package("libmemkind-dev", For::Bench, "", "peer in the benchmarks"),
    package("libtcmalloc-minimal4", For::Bench, "", "peer in the benchmarks"),
    package("nodejs", For::Bench, "node", "a program of the benchmarks"),
    package("pkg-config", For::Bench, "pkg-config", "benchmarks: finds libmemkind"),
    package("apache2-bin", For::LongTest, "apache2", "server on the pool"),
    package("apache2-utils", For::LongTest, "ab", "client of a server on the pool"),
    package("curl", For::LongTest, "curl", "client of servers on the pool"),
    package("default-jdk-headless", For::LongTest, "javac", "runtime on the pool"),
    package("libopenmpi-dev", For::LongTest, "mpicc", "MPI program on the pool"),
    package("mariadb-client-core", For::LongTest, "mariadb", "client of a server on the pool"),
    package("mariadb-server-core", For::LongTest, "mariadbd", "server on the pool"),
    package("nginx-light", For::LongTest, "nginx", "server on the pool"),
    package("openmpi-bin", For::LongTest, "mpirun", "MPI program on the pool"),
    package("openssh-client", For::LongTest, "ssh", "client of a server on the pool"),
    package("openssh-server", For::LongTest, "sshd", "server in a sandbox on the pool"),
    package("postgresql", For::LongTest, "", "server on the pool"),
    package("gcc-aarch64-linux-gnu", For::LongTest, "aarch64-linux-gnu-gcc", "build for aarch64"),
    package("libc6-dev-arm64-cross", For::LongTest, "", "build for aarch64"),
    package("qemu-user", For::LongTest, "qemu-aarch64", "aarch64 programs in emulation"),
];

/// Packages of the kinds `wanted` that are not installed.
pub(crate) fn missing(wanted: &[For]) -> Vec<&'static Package> {
    let dpkg = programs::find("dpkg-query").is_some();
    PACKAGES
        .iter()
        .filter(|package| wanted.contains(&package.wanted))
        .filter(|package| if dpkg { !known_to_dpkg(package.name) } else { !has_command(package) })
        .collect()
}

fn known_to_dpkg(name: &str) -> bool {
    let output = Command::new("dpkg-query")
        .args(["-W", "-f", "${db:Status-Status}\n", name])
        .stderr(Stdio::null())
        .output();
    output.is_ok_and(|output| {
        String::from_utf8_lossy(&output.stdout).lines().any(|line| line == "installed")
    })
}

fn has_command(package: &Package) -> bool {
    package.command.is_empty() || programs::find(package.command).is_some()
}

/// The names, separated by spaces.
pub(crate) fn names(packages: &[&Package]) -> String {
    packages.iter().map(|package| package.name).collect::<Vec<_>>().join(" ")
}

/// The command a person can paste to install `packages`.
pub(crate) fn install_command(packages: &[&Package]) -> String {
    let sudo = if is_root() { "" } else { "sudo " };
    let names = names(packages);
    format!("{sudo}apt-get update && {sudo}apt-get install -y --no-install-recommends {names}")
}

/// Whether this process may do everything.
pub(crate) fn is_root() -> bool {
    // SAFETY: no arguments, cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// Installs `packages` when this is root on a Debian system.
///
/// # Errors
/// [`Stop::Missing`] with the command to run when it is not; [`Stop::Failed`] when apt-get fails.
pub(crate) fn install(packages: &[&Package]) -> Result<(), Stop> {
    if packages.is_empty() {
        return Ok(());
    }
    if programs::find("apt-get").is_none() {
        return Err(Stop::Missing(format!(
            "these programs or their packages are missing, and this is no Debian system to install them on: {}",
            names(packages)
        )));
    }
    if !is_root() {
        return Err(Stop::Missing(format!(
            "packages are missing; install them with\n  {}",
            install_command(packages)
        )));
    }
    eprintln!("installing {}", names(packages));
    let apt_get = |arguments: &[&str]| -> Result<(), Stop> {
        let status = Command::new("apt-get")
            .args(["-q", "-o", "DPkg::Lock::Timeout=120"])
            .args(arguments)
            .env("DEBIAN_FRONTEND", "noninteractive")
            // Keeps redis-server's installation from starting the server.
            .env("RUNLEVEL", "1")
            .stdin(Stdio::null())
            .stdout(std::io::stderr())
            .status()?;
        if status.success() {
            Ok(())
        } else {
            Err(Stop::Failed(format!("apt-get {}: {status}", arguments.join(" "))))
        }
    };
    apt_get(&["update"])?;
    let mut arguments = vec!["install", "-y", "--no-install-recommends"];
    arguments.extend(packages.iter().map(|package| package.name));
    apt_get(&arguments)
}

/// `cargo xtask deps`
pub(crate) fn run(arguments: Vec<OsString>) -> Result<(), Stop> {
    let mut install_missing = false;
    let mut parser = lexopt::Parser::from_args(arguments);
    while let Some(argument) = parser.next()? {
        match argument {
            lexopt::Arg::Long("install") => install_missing = true,
            other => return Err(other.unexpected().into()),
        }
    }
    let absent = missing(&[For::Demo, For::Test, For::LongTest, For::Machine, For::Bench]);
    let is_absent = |name: &str| absent.iter().any(|package| package.name == name);
    for package in PACKAGES {
        let state = if is_absent(package.name) { "missing" } else { "installed" };
        println!("{:<22} {state:<10} {}", package.name, package.why);
    }
    if absent.is_empty() {
        return Ok(());
    }
    if install_missing {
        return install(&absent);
    }
    Err(Stop::Missing(format!(
        "some are missing; install them with\n  {}",
        install_command(&absent)
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_package_is_named_twice() {
        for (i, package) in PACKAGES.iter().enumerate() {
            assert!(
                PACKAGES[i + 1..].iter().all(|other| other.name != package.name),
                "{}",
                package.name
            );
        }
    }

    #[test]
    fn what_is_installed_is_known() {
        // Every Debian system has these two, and no system has a package without a name.
        assert!(
            !missing(&[For::Demo]).iter().any(|package| ["bash", "tar"].contains(&package.name))
        );
        assert!(!known_to_dpkg("no-such-package-here"));
    }
}
