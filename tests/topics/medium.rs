//! The heap of a program in memory of NUMA nodes instead of a file. (Devices, and nodes that differ, are in `dax`.)

use std::process::Command;
use std::time::Duration;

use pmem_e2e::artifact::{launcher, program};
use pmem_e2e::cases::Cases;
use pmem_e2e::preload::{Pool, plain};
use pmem_e2e::run::{Outcome, SHORT, run};

const LIMIT: Duration = Duration::from_secs(120);
/// Debian's interpreter, not a wrapper earlier in the path.
const PYTHON: &str = "/usr/bin/python3";

/// A pool on node 0, which every machine has. The directory is not read.
fn on_node(pool: Pool) -> Pool {
    pool.at("/nonexistent").set("VMMALLOC_NODES", "0")
}

fn python(pool: &Pool, script: &str) -> Outcome {
    let mut command = pool.command(PYTHON);
    // Small objects come from us too.
    run(command.args(["-c", script]).env("PYTHONMALLOC", "malloc"), LIMIT)
}

/// The program ended with the text, and nothing else.
fn refused(pool: &Pool, text: &str) {
    let outcome = run(&mut pool.command("/usr/bin/true"), SHORT);
    assert_eq!(outcome.signal(), Some(libc::SIGABRT), "{outcome}");
    assert_eq!(outcome.err(), format!("Error (libvmmalloc): {text}\n"));
}

#[test]
fn the_functions_work_on_nodes() {
    let program = program("conformance");
    for pool in [Pool::lazy(256), Pool::prealloc(64)] {
        Cases::of(&program).limit(LIMIT).run(&on_node(pool));
    }
}

#[test]
fn threads_work_on_nodes() {
    Cases::of(&program("threads")).limit(LIMIT).run(&on_node(Pool::lazy(256)));
}

/// The kernel copies the memory as it is written, whatever the mode.
#[test]
fn every_fork_isolates_on_nodes() {
    let program = program("fork");
    let chosen = [
        "parent_and_child_are_isolated",
        "blocks_allocated_on_both_sides_are_isolated",
        "child_keeps_what_the_parent_frees_and_gives_back",
        "calloc_is_zero_on_both_sides",
    ];
    for mode in 0..=3 {
        let pool = on_node(Pool::lazy(64)).fork(mode).set("VMMALLOC_PURGE_MS", "100");
        Cases::of(&program).limit(LIMIT).only(|name| chosen.contains(&name)).run(&pool);
    }
}

#[test]
fn the_heap_is_bound_and_the_report_tells_the_truth() {
    const SCRIPT: &str = "
held = [bytearray(b'x') * 50_000 for _ in range(1000)]
maps = [l.split() for l in open('/proc/self/numa_maps') if ' bind:0 ' in l or ' prefer' in l]
print(sum(int(w[5:]) for l in maps for w in l if w.startswith('anon=')) * 4096 >= 50_000_000)
print(sorted({l[1].split('=')[0].split(':')[0] for l in maps}))";
    for (list, policy) in [("0", "bind"), ("prefer:0", "prefer")] {
        let pool = on_node(Pool::lazy(256)).set("VMMALLOC_NODES", list).with_reports();
        let outcome = python(&pool, SCRIPT).success();
        let out = outcome.out();
        assert!(out.starts_with(&format!("True\n['{policy}")), "{outcome}");
        let reports = pool.reports();
        let [report] = &reports[..] else { panic!("{} reports", reports.len()) };
        assert!(report.text().contains("\"medium\":\"memory\""), "{}", report.text());
        assert_eq!(report.number("pool_bytes"), 256 << 20);
        assert!(report.number("peak_committed_bytes") >= 50_000_000, "{}", report.text());
        let (committed, resident) =
            (report.number("committed_bytes"), report.number("resident_bytes"));
        assert!(resident >= committed, "what is committed is there: {}", report.text());
    }
}

#[test]
fn a_preallocated_pool_is_in_memory_and_a_lazy_one_gives_back() {
    let pool = on_node(Pool::prealloc(48)).with_reports();
    python(&pool, "pass").success();
    assert!(pool.reports()[0].number("resident_bytes") >= 48 << 20);

    const SCRIPT: &str = "import time
held = [bytearray(b'x') * 200_000 for _ in range(500)]
held = None
for _ in range(40):
    time.sleep(0.01)
    [bytearray(3000) for _ in range(300)]";
    let pool = on_node(Pool::lazy(256)).set("VMMALLOC_PURGE_MS", "50").with_reports();
    python(&pool, SCRIPT).success();
    let report = &pool.reports()[0];
    assert!(report.number("purged_bytes") >= 80_000_000, "{}", report.text());
    assert!(report.number("resident_bytes") <= 30_000_000, "{}", report.text());
}

#[test]
fn huge_pages_and_core_files_follow_their_variables() {
    const SCRIPT: &str = "
held = [bytearray(b'x') * 1_000_000 for _ in range(100)]
import re
area, huge, flags = None, 0, ''
maps = {l.split()[0] for l in open('/proc/self/numa_maps') if ' bind:0 ' in l}
for line in open('/proc/self/smaps'):
    if re.match('[0-9a-f]+-', line): area = line.split('-')[0]
    if area in maps and line.startswith('AnonHugePages'): huge += int(line.split()[1])
    if area in maps and line.startswith('VmFlags'): flags += line
print(huge >= 80_000, ' hg ' in flags, ' dd ' in flags)";
    let plain = python(&on_node(Pool::lazy(256)), SCRIPT).success();
    assert!(plain.out().ends_with(" False True\n"), "{plain}");
    let pool = on_node(Pool::lazy(256)).set("VMMALLOC_HUGEPAGE", "advise");
    let outcome = python(&pool.set("VMMALLOC_DUMP", "1"), SCRIPT).success();
    let enabled = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled");
    let has_huge = enabled.is_ok_and(|modes| !modes.contains("[never]"));
    let expected = if has_huge { "True True False\n" } else { "False True False\n" };
    assert_eq!(outcome.out(), expected, "{outcome}");
}

#[test]
fn what_the_nodes_do_not_have_is_refused() {
    const SCRIPT: &str = "
import os
machine = os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')
try: held = bytearray(machine * 3 // 2)
except MemoryError: print('refused', len(bytearray(b'x') * 5_000_000))";
    let tebibytes = on_node(Pool::lazy(4 << 20));
    let outcome = python(&tebibytes, SCRIPT).success();
    assert_eq!(outcome.out(), "refused 5000000\n", "{outcome}");
    let text = "vmem pool creation failed: VMMALLOC_NODES 0: Cannot allocate memory; \
                make the pool smaller, or name nodes with more free memory";
    refused(&on_node(Pool::prealloc(4 << 20)), text);
}

#[test]
fn a_full_pool_goes_on_in_ordinary_memory_where_that_is_allowed() {
    const SCRIPT: &str = "held = [bytearray(b'x') * 1_000_000 for _ in range(100)]";
    let pool = on_node(Pool::lazy(32)).set("VMMALLOC_OVERFLOW", "dram").with_reports();
    python(&pool, SCRIPT).success();
    let report = &pool.reports()[0];
    assert!(report.number("peak_active_bytes") >= 20 << 20, "{}", report.text());
    let full = python(&on_node(Pool::lazy(32)), SCRIPT);
    assert!(full.err().contains("MemoryError"), "{full}");
}

#[test]
fn wrong_nodes_and_two_places_are_refused_in_words() {
    let nodes = |list| on_node(Pool::lazy(16)).set("VMMALLOC_NODES", list);
    refused(
        &nodes("zero"),
        "incorrect VMMALLOC_NODES value (zero), \
         must be a list of nodes such as 0-1,3, or prefer: and a list",
    );
    refused(
        &nodes("1000"),
        "vmem pool creation failed: VMMALLOC_NODES 1000: Invalid argument; \
         name nodes that have memory",
    );
    let device = |path| Pool::lazy(16).set("VMMALLOC_DEVICE", path);
    let name = "name a device-DAX node that can be read and written";
    refused(
        &device("/dev/dax77.7"),
        &format!(
            "vmem pool creation failed: VMMALLOC_DEVICE /dev/dax77.7: No such file or directory; {name}"
        ),
    );
    refused(
        &device("/dev/null"),
        &format!("vmem pool creation failed: VMMALLOC_DEVICE /dev/null: Invalid argument; {name}"),
    );
    refused(
        &device("/dev/dax0.0").set("VMMALLOC_NODES", "0"),
        "VMMALLOC_NODES and VMMALLOC_DEVICE exclude each other: unset one of them",
    );
    refused(
        &device("/dev/dax0.0").fork(2),
        "VMMALLOC_FORK 2 copies the pool, and VMMALLOC_DEVICE has no room for that: use 1 or 3",
    );
    refused(
        &nodes("0").unset("VMMALLOC_POOL_SIZE"),
        "environment variable VMMALLOC_POOL_SIZE not specified",
    );
}

const SHELL: &str = "
count() { local n=0; while read -r line; do n=$((n + 1)); done; echo $n; }
seq 1 3000 | sort -r | tee >(count >&2) | (read -r first; cat >/dev/null; echo $first) | tr 0-9 a-j
for i in 1 2 3; do (x=$(printf '%*s' 100000 ''); echo ${#x}) & done; wait
exec /bin/sh -c 'echo $(echo nested | cat)'";

const THREADS: &str = "
import subprocess, threading, os, json, concurrent.futures as futures
def work(n):
    data = [{'key': str(i) * (i % 50), 'n': n} for i in range(3000)]
    return len(json.loads(json.dumps(data)))
with futures.ThreadPoolExecutor(8) as pool: print(sum(pool.map(work, range(16))))
with futures.ProcessPoolExecutor(2) as pool: print(sum(pool.map(work, range(4))))
print(subprocess.run(['sort', '-r'], input='a\\nb\\n', capture_output=True, text=True).stdout.split())
pid = os.fork()
if pid == 0: os._exit(work(1) % 251)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))";

/// Real programs, with pipes, threads, forks and processes of other programs, under the launcher.
#[test]
fn programs_print_the_same_on_nodes() {
    for (name, flag, script) in [("/bin/bash", "-c", SHELL), (PYTHON, "-c", THREADS)] {
        let mut command = Command::new(name);
        let expected = run(plain(&mut command).args([flag, script]), LIMIT).success();
        for options in [
            &["--nodes", "0"][..],
            &["--nodes=prefer:0", "--hugepages=advise", "--fork=3"],
            &["--nodes=0", "--harden=2", "--fork=0"],
        ] {
            let mut command = Command::new(launcher());
            plain(&mut command).args(options).args(["--size", "512M", name, flag, script]);
            let found = run(command.env("PYTHONMALLOC", "malloc"), LIMIT).success();
            let sorted = |outcome: &Outcome| {
                let mut lines: Vec<String> = outcome.err().lines().map(str::to_owned).collect();
                lines.sort();
                (outcome.out(), lines)
            };
            assert_eq!(sorted(&found), sorted(&expected), "{name} {options:?}");
        }
    }
}
