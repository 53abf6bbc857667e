//! Large programs that few machines have: servers of several kinds, runtimes, MPI. Their packages are installed
//! for this step only.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use pmem_e2e::artifact::{Shape, compile, need};
use pmem_e2e::compare::{LIMIT, command, compare, roomy, script, served};
use pmem_e2e::preload::plain;
use pmem_e2e::run::run;
use pmem_e2e::scratch::Scratch;

fn compare_script(allocator: &str, name: &str) {
    let script = script(name).display().to_string();
    compare(allocator, || command("bash", "bash", &[&script]));
}

#[test]
fn nginx_replaces_its_workers() {
    need("curl", "curl");
    compare_script("nginx", "nginx.sh");
}

#[test]
fn apache_with_short_lived_processes() {
    need("ab", "apache2-utils");
    compare_script("apache2", "apache.sh");
}

#[test]
fn logins_through_sshd() {
    need("ssh", "openssh-client");
    compare_script("sshd", "sshd.sh");
}

#[test]
fn mariadb() {
    need("mariadb", "mariadb-client-core");
    compare_script("mariadbd", "mariadb.sh");
}

#[test]
fn mpi() {
    let flags = ["-I/usr/lib/x86_64-linux-gnu/openmpi/include", "-lmpi"];
    let ring = compile("ring", "ring", Shape::Program, &flags).display().to_string();
    compare("ring", || {
        let mut command =
            command("mpirun", "openmpi-bin", &["--allow-run-as-root", "-np", "3", &ring]);
        command.env("OMPI_MCA_rmaps_base_oversubscribe", "1");
        command
    });
}

#[test]
fn rustc_and_the_linker() {
    let source = "fn main() { let words: Vec<String> = (0..9).map(|i| i.to_string()).collect(); println!(\"{words:?}\"); }";
    let line = format!("echo '{source}' > main.rs; rustc -O main.rs && ./main");
    compare("main", || command("bash", "bash", &["-c", &line]));
}

#[test]
fn node() {
    let node = need("node", "nodejs");
    compare("node", || {
        let mut command = Command::new(&node);
        command.arg(script("node.js"));
        command
    });
}

#[test]
fn java() {
    need("javac", "default-jdk-headless");
    let java = need("java", "default-jdk-headless");
    compare("java", || {
        let mut command = Command::new(&java);
        // It reads a source file as a program; the interpreter alone saves the time of the compilers.
        command.args(["-Xint", "-Xmx64m", "-XX:-UsePerfData"]).arg(script("Work.java"));
        command
    });
}

#[test]
fn postgres() {
    let folder = postgres_folder().expect("postgres is not installed (Debian package postgresql)");
    let open = Scratch::new("open");
    let (copy, library) = (open.path().join("postgres.sh"), open.path().join("libvmmalloc.so"));
    // The server runs as another user, who need not be able to read this folder.
    fs::copy(script("postgres.sh"), &copy).expect("a copy of the script");
    fs::copy(pmem_e2e::artifact::library(), &library).expect("a copy of the library");
    for path in [open.path(), &copy, &library] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("our file");
    }
    let run_in = |prepare: &dyn Fn(&mut Command)| {
        let work = Scratch::new("postgres");
        let mut command = Command::new("bash");
        prepare(&mut command);
        command.current_dir(work.path()).arg(&copy).arg(&folder);
        run(&mut command, LIMIT).success().out()
    };
    let expected = run_in(&|command| {
        plain(command);
    });
    assert_eq!(expected.lines().count(), 15, "{expected}");
    let pool = roomy();
    for dir in [pool.dir(), pool.report_dir()] {
        fs::set_permissions(dir, fs::Permissions::from_mode(0o777)).expect("our directory");
    }
    let found = run_in(&|command| {
        pool.preload(command).env("LD_PRELOAD", &library);
    });
    assert_eq!(found, expected);
    served(&pool, "postgres");
}

/// Debian keeps the server's programs out of the path.
fn postgres_folder() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
    versions.flatten().map(|v| v.path().join("bin")).find(|bin| bin.join("postgres").is_file())
}
