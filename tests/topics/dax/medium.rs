//! Unmodified programs with their heap on a device or on chosen nodes.

use std::process::Command;
use std::time::Duration;

use pmem_e2e::artifact::{launcher, library, program};
use pmem_e2e::cases::Cases;
use pmem_e2e::preload::{Pool, plain};
use pmem_e2e::run::{Outcome, SHORT, run};

use crate::place::{HUGE_PAGE, device, device_size};

const LIMIT: Duration = Duration::from_secs(100);
const PYTHON: &str = "/usr/bin/python3";
/// Without processors, and large enough.
const SLOW_NODE: usize = 3;
/// Without processors, 128 MiB.
const SMALL_NODE: usize = 2;
/// Of the first NVDIMM: it has no memory.
const NODE_WITHOUT_MEMORY: usize = 4;

fn on_nodes(mib: u64, list: &str) -> Pool {
    Pool::lazy(mib).at("/nonexistent").set("VMMALLOC_NODES", list)
}

fn on_device() -> Pool {
    Pool::lazy(14).unset("VMMALLOC_POOL_SIZE").set("VMMALLOC_DEVICE", device())
}

/// A program under the launcher.
fn launch(options: &[&str], program: &[&str]) -> Outcome {
    let mut command = Command::new(launcher());
    plain(&mut command).env("PYTHONMALLOC", "malloc").args(options).arg("--").args(program);
    run(&mut command, LIMIT)
}

fn python(pool: &Pool, script: &str) -> Outcome {
    run(pool.command(PYTHON).args(["-c", script]).env("PYTHONMALLOC", "malloc"), LIMIT)
}

/// Text of the device's path, and the options that name it.
fn device_name() -> String {
    device().to_str().expect("a readable path").to_owned()
}

pub(crate) fn the_heap_of_a_program_is_on_its_nodes() {
    // Pages of the mapping by node, as the kernel has them; then of a child, which writes to its own.
    const SCRIPT: &str = "import os, sys, threading
def work(held): held.append([b'%d' % i * 700 for i in range(4000)])
held = []
threads = [threading.Thread(target=work, args=(held,)) for _ in range(3)]
[t.start() for t in threads]; [t.join() for t in threads]
def nodes():
    found = {}
    for line in open('/proc/self/numa_maps'):
        words = line.split()
        if words[1].startswith(sys.argv[1]):
            for w in words[2:]:
                if w[0] == 'N': found[w.split('=')[0]] = found.get(w.split('=')[0], 0) + int(w.split('=')[1])
    return sorted(found), sum(found.values()) * 4096 >= 12_000_000
print(nodes(), flush=True)
pid = os.fork()
if pid == 0:
    held[0] = None
    more = bytearray(b'x') * 3_000_000
    print(nodes(), flush=True)
    os._exit(0)
os.waitpid(pid, 0)";
    for (option, policy) in [("3", "bind:3"), ("prefer:3", "prefer")] {
        let program = [PYTHON, "-c", SCRIPT, policy];
        let outcome = launch(&["--nodes", option, "--size", "64M"], &program).success();
        let line = format!("(['N{SLOW_NODE}'], True)\n");
        assert_eq!(outcome.out(), [line.as_str(), &line].concat(), "{outcome}");
        assert_eq!(outcome.err(), "", "{outcome}");
    }
}

/// Without asking first a full node ends a process: the kernel's out-of-memory killer comes.
pub(crate) fn a_full_bound_node_is_enomem_and_a_preferred_one_is_followed_by_others() {
    const SCRIPT: &str = "
def fill(most):
    held = []
    try:
        while len(held) < most: held.append(bytearray(b'x') * 500_000)
    except MemoryError:
        pass
    return held
held = fill(400)
first = len(held)
print(first)
held = None
held = fill(400)
print(len(held) >= first * 0.9, all(b == held[0] for b in held))
try: bytearray(b'x') * 150_000_000
except MemoryError: print('refused')";
    for _ in 0..2 {
        let outcome = python(&on_nodes(256, "2"), SCRIPT).success();
        let out = outcome.out();
        let (count, rest) = out.split_once('\n').expect("lines");
        // Of 128 MiB some are the kernel's.
        let mib = (count.parse::<usize>().expect("a number") * 500_000) >> 20;
        assert!((40..128).contains(&mib), "{mib} MiB of node {SMALL_NODE}");
        assert_eq!(rest, "True True\nrefused\n", "{outcome}");
    }
    let outcome = python(&on_nodes(256, "prefer:2"), SCRIPT).success();
    assert_eq!(outcome.out(), "400\nTrue True\nrefused\n", "{outcome}");
    // More than the node has cannot be taken at the start.
    let pool = Pool::prealloc(160).set("VMMALLOC_NODES", "2");
    let outcome = run(&mut pool.command("/usr/bin/true"), SHORT);
    assert_eq!(outcome.signal(), Some(libc::SIGABRT), "{outcome}");
    assert!(outcome.err().contains("VMMALLOC_NODES 2: Cannot allocate memory; make"), "{outcome}");
}

pub(crate) fn programs_fork_on_nodes_and_devices() {
    let program = program("fork");
    let chosen = [
        "parent_and_child_are_isolated",
        "blocks_allocated_on_both_sides_are_isolated",
        "child_keeps_what_the_parent_frees_and_gives_back",
        "calloc_is_zero_on_both_sides",
    ];
    let pools = [
        on_nodes(24, "3").fork(1),
        on_nodes(24, "3").fork(2),
        on_device().fork(1),
        on_device().fork(3).set("VMMALLOC_OVERFLOW", "dram"),
    ];
    for pool in pools {
        Cases::of(&program).limit(LIMIT).only(|name| chosen.contains(&name)).run(&pool);
    }
    let shared = on_device().fork(0).set("VMMALLOC_OVERFLOW", "dram");
    let cases = Cases::of(&program).limit(LIMIT);
    // Programs that children execute find the device in use.
    let executes = "any_child_executes_a_program";
    cases.only(|name| name.starts_with("any_") && name != executes).run(&shared);
}

pub(crate) fn the_heap_of_a_program_is_on_the_device() {
    const SCRIPT: &str = "import ctypes, os, sys
held = [bytearray(b'%03d' % (i % 1000)) * 1000 for i in range(4000)]
def is_there(block):
    address = ctypes.addressof(ctypes.c_char.from_buffer(block))
    for line in open('/proc/self/maps'):
        words = line.split()
        first, last = (int(w, 16) for w in words[0].split('-'))
        if first <= address < last: return words[-1] == sys.argv[1]
print(all(is_there(b) for b in held[::500]), flush=True)
pid = os.fork()
if pid == 0:
    same = all(b == bytearray(b'%03d' % (i % 1000)) * 1000 for i, b in enumerate(held))
    held[7][:] = b'child' * 600
    more = [bytearray(b'y') * 100_000 for _ in range(50)]
    print(same, any(is_there(b) for b in held[::500]), flush=True)
    os._exit(0)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), held[7] == bytearray(b'007') * 1000)
held = None
try: bytearray(200_000_000)
except MemoryError: print('full')";
    let name = device_name();
    let options = ["--device", &name, "--overflow=none", "--stats=json"];
    let outcome = launch(&options, &[PYTHON, "-c", SCRIPT, &name]).success();
    assert_eq!(outcome.out(), "True\nTrue False\n0 True\nfull\n", "{outcome}");
    let report = outcome.err();
    assert!(report.contains("\"medium\":\"device\""), "{report}");
    assert!(report.contains(&format!("\"pool_bytes\":{},", device_size())), "{report}");
    assert!(report.contains("\"purged_bytes\":0,"), "{report}");
    // A size is an upper limit.
    let pool = on_device().set("VMMALLOC_POOL_SIZE", "20M").set("VMMALLOC_STATS", "json");
    let outcome = run(pool.command("/usr/bin/sort").arg("/dev/null"), SHORT).success();
    let limit = (20 << 20) / HUGE_PAGE * HUGE_PAGE;
    assert!(outcome.err().contains(&format!("\"pool_bytes\":{limit},")), "{outcome}");
}

/// Shell scripts work; the shell has the device, its children do without.
pub(crate) fn a_device_serves_the_first_process_of_a_tree() {
    const SCRIPT: &str = "x=$(printf '%*s' 50000 ''); echo ${#x}
seq 1 2000 | sort -r | tail -1
for i in 1 2 3; do (echo $i | cat) & wait; done
/usr/bin/python3 -c 'import subprocess
print(subprocess.run([\"echo\", \"nested\"], capture_output=True, text=True).stdout)'; true";
    let name = device_name();
    let expected = "50000\n1\n1\n2\n3\nnested\n\n";
    let reports = on_device().with_reports();
    let prefix = reports.report_dir().join("report-");
    let stats = format!("--stats-file={}", prefix.display());
    let options = ["--device", &name, "--stats=json", &stats];
    let outcome = launch(&options, &["/bin/bash", "-c", SCRIPT]).success();
    assert_eq!((outcome.out().as_str(), outcome.err().as_str()), (expected, ""), "{outcome}");
    let media = |program: &str| -> Vec<bool> {
        let reports = reports.reports();
        let reports = reports.iter().filter(|report| report.program().ends_with(program));
        reports.map(|report| report.text().contains("\"medium\":\"device\"")).collect()
    };
    assert!(media("bash").contains(&true), "the shell has the device");
    assert_eq!(media("sort"), [false]);
    assert!(media("python3").iter().all(|&on_device| !on_device));
    // What a shell executes in its own place gets what it had.
    let options = ["--device", &name, "--stats=json"];
    let outcome = launch(&options, &["/bin/sh", "-c", "exec sort /dev/null"]).success();
    assert!(outcome.err().contains("\"medium\":\"device\""), "{outcome}");
}

/// Nothing of the device is left in a child: whoever comes after the parent has it.
pub(crate) fn a_child_does_not_keep_the_device() {
    const SCRIPT: &str = "import os, subprocess, sys, time
held = [bytearray(b'x') * 10_000 for _ in range(100)]
read, write = os.pipe()
pid = os.fork()
if pid == 0:
    os.read(read, 1)
    held[0][0] = 1
    os._exit(0 if bytes(held[99]) == b'x' * 10_000 else 1)
os.set_inheritable(write, True)
os.execv('/usr/bin/python3', ['python3', '-c', '''
import os, sys
print(sys.argv[1] in open(\"/proc/self/maps\").read(), flush=True)
os.write(int(sys.argv[2]), b\"x\")
print(os.waitstatus_to_exitcode(os.wait()[1]))''', sys.argv[1], str(write)])";
    let name = device_name();
    let mut command = on_device().command(PYTHON);
    command.args(["-c", SCRIPT, &name]).env("PYTHONMALLOC", "malloc");
    let outcome = run(&mut command, LIMIT).success();
    assert_eq!(outcome.out(), "True\n0\n", "{outcome}");
}

pub(crate) fn a_device_in_use_is_refused_in_words() {
    let name = device_name();
    let inner = format!(
        "{} --device {name} --overflow=none -- echo ran; echo $?; \
         LD_PRELOAD={} VMMALLOC_DEVICE={name} /bin/echo ran; echo $?",
        launcher().display(),
        library().display(),
    );
    // Held by a program that starts others without the preload.
    let script = "import subprocess, sys, os
env = {k: v for k, v in os.environ.items() if not k.startswith(('VMMALLOC_', 'LD_PRELOAD'))}
sys.exit(subprocess.run(['/bin/sh', '-c', sys.argv[1]], env=env).returncode)";
    let mut command = on_device().command(PYTHON);
    let outcome = run(command.args(["-c", script, &inner]), LIMIT).success();
    assert_eq!(outcome.out(), "2\n134\n", "{outcome}");
    let err = outcome.err();
    let launcher = format!("vmmalloc: --device '{name}' is in use by another process: end that");
    assert!(err.contains(&launcher), "{outcome}");
    let library = format!(
        "Error (libvmmalloc): VMMALLOC_DEVICE {name} is in use by another process; \
         with VMMALLOC_OVERFLOW=dram this one goes on in ordinary memory\n"
    );
    assert!(err.contains(&library), "{outcome}");
}

pub(crate) fn the_launcher_names_what_is_wrong_with_nodes_and_devices() {
    let refused = |options: &[&str], text: &str| {
        let outcome = launch(options, &["echo", "ran"]);
        assert_eq!((outcome.code(), outcome.out().as_str()), (Some(2), ""), "{outcome}");
        assert!(outcome.err().contains(text), "{text}: {outcome}");
    };
    let without = NODE_WITHOUT_MEMORY.to_string();
    refused(&["--nodes", "77"], "names node 77, which does not exist: name some of the nodes with");
    refused(&["--nodes", &without], "names node 4, which does not exist: name some of the nodes");
    refused(&["--nodes=2", "--prealloc", "--size=200M"], "less than the 200 MiB that --prealloc");
    refused(&["--dir", &device_name()], "name it with --device");
    let outcome = launch(&["--nodes", "2", "--size", "200M"], &["echo", "ran"]).success();
    assert!(outcome.err().contains("warning: --nodes '2' has "), "{outcome}");
    // By default half of what the node has left.
    let show = ["/usr/bin/env"];
    let outcome = launch(&["--nodes", "2"], &show).success();
    let out = outcome.out();
    let size = out.lines().find_map(|line| line.strip_prefix("VMMALLOC_POOL_SIZE="));
    let mib = size.expect("a size").parse::<u64>().expect("a number") >> 20;
    assert!((20..64).contains(&mib), "{mib} MiB");
}
