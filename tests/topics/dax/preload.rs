//! Unmodified programs with their heap on DAX.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use pmem_e2e::artifact::{need, program};
use pmem_e2e::cases::Cases;
use pmem_e2e::preload::{Pool, plain};
use pmem_e2e::run::{SHORT, run};

use crate::place::{device, ext4, xfs};

const LIMIT: Duration = Duration::from_secs(90);

/// A program by the name in its report, its Debian package, and what it is to do.
type Program = (&'static str, &'static str, &'static [&'static str]);

const PROGRAMS: &[Program] = &[
    (
        "bash",
        "bash",
        &[
            "-c",
            "words=$(for i in {1..200}; do echo word$i; done | sort | tr '\\n' ' '); echo ${#words} $words | cksum
             declare -A t; for i in {1..700}; do t[k$i]=$((i * i)); done
             s=0; for k in ${!t[@]}; do s=$((s + t[$k])); done; echo $s $(echo a $(echo b)) $(cd /; pwd)
             (exit 3); echo $?; diff <(seq 1 99) <(seq 1 99) && echo same",
        ],
    ),
    (
        "perl",
        "perl",
        &[
            "-e",
            "my %c; $c{$_ * 7919 % 1009} .= $_ for 1 .. 8000; my $s = 0; $s += length for values %c; print \"$s\\n\";
             my @v = sort { $a <=> $b } map { $_ * 7919 % 100003 } 1 .. 8000; print \"@v[0, 4000, -1]\\n\";
             for (1 .. 3) { my $p = fork // die; if (!$p) { my @x = map { \"$_\" x 9 } 1 .. 2000; exit @x % 251 }
             waitpid $p, 0; print $? >> 8, \"\\n\" } print `echo from a shell`; my $b = 'x' x 5_000_000; print length $b, \"\\n\"",
        ],
    ),
    (
        "python3",
        "python3",
        &[
            "-c",
            "import hashlib, json, subprocess, threading
def work(n):
    data = {str(i): [n] * (i % 50) for i in range(600)}
    out = subprocess.run(['sh', '-c', f'echo {n}'], capture_output=True).stdout
    results[n] = (sum(map(len, data.values())), int(out))
results = [None] * 3
crew = [threading.Thread(target=work, args=(n,)) for n in range(3)]
for t in crew: t.start()
for t in crew: t.join()
print(results)
text = json.dumps({str(i): list(range(i % 30)) for i in range(800)})
print(hashlib.sha256(text.encode()).hexdigest(), len(json.loads(text)), len(bytearray(8 << 20)))",
        ],
    ),
    ("sort", "coreutils", &["--parallel=4", "-S", "8M", "-k1,1n", "-k2,2"]),
    (
        "sqlite3",
        "sqlite3",
        &[
            ":memory:",
            "CREATE TABLE t (i INTEGER PRIMARY KEY, n TEXT, b BLOB);
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 4000)
             INSERT INTO t SELECT i, 'n' || (i * 7919 % 1009), zeroblob(i % 300) FROM n;
             CREATE INDEX x ON t (n); DELETE FROM t WHERE i % 7 = 0;
             SELECT n, count(*), sum(length(b)) FROM t GROUP BY n ORDER BY n LIMIT 20;
             SELECT sum(i), count(*) FROM t; PRAGMA integrity_check;",
        ],
    ),
];

/// Lines in no order.
fn numbers() -> PathBuf {
    let path = PathBuf::from("/run/numbers");
    if !path.is_file() {
        let lines = (0..30_000_u64).map(|i| format!("{} {i}\n", i * 2_654_435_761 % 100_003));
        fs::write(&path, lines.collect::<String>()).expect("a file");
    }
    path
}

fn command(wanted: &Program, prepare: impl Fn(&mut Command)) -> Command {
    let (name, package, arguments) = wanted;
    let path = match *name {
        // Debian's interpreter, not a wrapper earlier in the path.
        "python3" => PathBuf::from("/usr/bin/python3"),
        name => need(name, package),
    };
    let mut command = Command::new(path);
    prepare(command.args(*arguments).env("PYTHONHASHSEED", "0").env("PERL_HASH_SEED", "0"));
    // Python's small objects come from us too.
    command.env("PYTHONMALLOC", "malloc");
    if *name == "sort" {
        command.arg(numbers());
    }
    command
}

fn programs_print_the_same(directory: &Path, pools: &[fn() -> Pool]) {
    for wanted in PROGRAMS {
        let name = wanted.0;
        let plainly = command(wanted, |command| {
            plain(command);
        });
        let expected = run(&mut { plainly }, LIMIT).success();
        assert!(!expected.out().is_empty(), "{expected}");
        for pool in pools {
            let pool = pool().at(directory).with_reports();
            let mut preloaded = command(wanted, |command| {
                pool.preload(command);
            });
            let found = run(&mut preloaded, LIMIT);
            assert_eq!(
                (found.code(), found.out(), found.err()),
                (Some(0), expected.out(), expected.err()),
                "{name} with {pool:?}"
            );
            let reports = pool.reports();
            let served: u64 = reports
                .iter()
                .filter(|report| {
                    report.program().rsplit('/').next().is_some_and(|p| p.starts_with(name))
                })
                .map(|report| report.number("allocations"))
                .sum();
            assert!(served > 10, "{name} made {served} allocations in the pool");
        }
    }
    let left = fs::read_dir(directory).expect("the directory").flatten();
    let left: Vec<_> = left.map(|entry| entry.file_name()).filter(|n| n != "lost+found").collect();
    assert!(left.is_empty(), "programs left {left:?} in {}", directory.display());
}

pub(crate) fn programs_print_the_same_on_ext4() {
    // The mode of the contract, and the one for large pools with a file for each child.
    programs_print_the_same(&ext4(), &[|| Pool::prealloc(20), || Pool::lazy(48).fork(3)]);
}

pub(crate) fn programs_print_the_same_on_xfs() {
    programs_print_the_same(&xfs(), &[|| Pool::lazy(64)]);
}

/// What forks need: isolation of what is there, what comes and what goes. The C program judges.
pub(crate) fn the_heap_of_a_program_forks_on_dax() {
    let program = program("fork");
    let chosen = [
        "parent_and_child_are_isolated",
        "blocks_allocated_on_both_sides_are_isolated",
        "child_keeps_what_the_parent_frees_and_gives_back",
        "calloc_is_zero_on_both_sides",
    ];
    for (directory, mode) in [(ext4(), 1), (xfs(), 2)] {
        let pool = Pool::lazy(24).at(&directory).fork(mode);
        Cases::of(&program).limit(LIMIT).only(|name| chosen.contains(&name)).run(&pool);
    }
}

/// `NULL` and `ENOMEM` are an exception in Python; the program goes on, and forks.
pub(crate) fn a_full_file_system_is_enomem() {
    const SCRIPT: &str = "import os
def fill():
    held = []
    try:
        while True: held.append(bytearray(b'x') * 900_000)
    except MemoryError:
        pass
    return held
held = fill()
count = len(held)
print(all(b == held[0] for b in held), 40 <= count <= 90)
held = None
held = fill()
print(len(held) >= count * 0.95)
del held[:8]
pid = os.fork()
if pid == 0:
    more = fill()
    os._exit(0 if len(more) >= 6 and more[0] == held[-1] else 1)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), held[0] == held[-1])";
    let pool = Pool::lazy(128).at(ext4());
    let outcome = run(pool.command("/usr/bin/python3").args(["-c", SCRIPT]), LIMIT).success();
    assert_eq!(outcome.out(), "True True\nTrue\n0 True\n", "{outcome}");
}

/// A program's heap is in a file: a device is no directory, and this is what the reference says too.
pub(crate) fn a_device_is_refused_as_a_directory() {
    for pool in [Pool::prealloc(16), Pool::lazy(16)] {
        let pool = pool.at(device());
        let outcome = run(&mut pool.command("/usr/bin/true"), SHORT);
        assert_eq!(outcome.signal(), Some(libc::SIGABRT), "{outcome}");
        assert_eq!(
            outcome.err(),
            "Error (libvmmalloc): vmem pool creation failed: Not a directory\n"
        );
    }
}
