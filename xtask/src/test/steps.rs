//! The steps, in the order they run: what fails fast comes first.

use super::Outcome;
use super::runner::Runner;
use super::{library, manual};
use crate::deps::{self, For};
use crate::{Stop, workspace};
use std::process::Command;

/// One check.
pub(crate) struct Step {
    /// Its name for `--only` and the summary.
    pub(crate) name: &'static str,
    /// What it does, in a phrase.
    pub(crate) what: &'static str,
    /// Takes minutes; left out by `--quick`.
    pub(crate) long: bool,
    /// Packages it needs.
    pub(crate) needs: &'static [For],
    /// Does it; gets its own name, for the log.
    pub(crate) run: fn(&Runner, &str) -> Result<Outcome, Stop>,
}

/// The test of redis-server with a snapshot every second.
const SAVING_SERVER: &str = "redis_that_saves_every_second";

/// All steps.
pub(crate) const STEPS: &[Step] = &[
    Step {
        name: "fmt",
        what: "formatting",
        long: false,
        needs: &[],
        run: |runner, name| cargo(runner, name, &["fmt", "--all", "--check"], &[]),
    },
    Step {
        name: "clippy",
        what: "lints, every warning an error",
        long: false,
        needs: &[],
        run: |runner, name| {
            let arguments = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
            cargo(runner, name, &arguments, &[])
        },
    },
    Step {
        name: "man",
        what: "manual pages format without a warning",
        long: false,
        needs: &[For::Test],
        run: |_, _| manual::check(),
    },
    Step {
        name: "library",
        what: "release build; SONAME, needed libraries, exports and size of libvmmalloc.so",
        long: false,
        needs: &[For::Test],
        run: library::check,
    },
    Step {
        name: "icount",
        what: "release build; instructions of malloc and free, none more than kept",
        long: false,
        needs: &[],
        run: count_instructions,
    },
    Step {
        name: "test",
        what: "unit, model and integration tests of all crates",
        long: false,
        needs: &[For::Test],
        run: |runner, name| {
            let arguments = ["test", "--workspace", "--exclude", "pmem-e2e", "--no-fail-fast"];
            must_count(cargo(runner, name, &arguments, &[])?)
        },
    },
    Step {
        name: "e2e",
        what: "real programs and C programs on the preloaded library",
        long: false,
        needs: &[For::Demo, For::Test],
        run: |runner, name| {
            // What a test cannot check here it says in its output. The server has a step of its own.
            let arguments = [
                "test",
                "-p",
                "pmem-e2e",
                "--no-fail-fast",
                "--",
                "--show-output",
                "--skip",
                SAVING_SERVER,
            ];
            let variables: &[_] =
                if deps::is_root() { &[] } else { &[("PMEM_TEST_NO_MOUNT", "1")] };
            must_count(cargo(runner, name, &arguments, variables)?)
        },
    },
    Step {
        name: "dax",
        what: "pools and preloaded programs on DAX, NUMA nodes, huge pages, with quotas; in a virtual machine",
        long: false,
        needs: &[For::Test, For::Machine],
        run: |runner, name| {
            // Optimized, with assertions: the machine is emulated.
            let arguments = [
                "test",
                "--profile",
                "e2e",
                "-p",
                "pmem-e2e",
                "--test",
                "dax",
                "--test",
                "durable",
                "--test",
                "power",
                "--test",
                "warm",
            ];
            must_count(cargo(runner, name, &arguments, &[])?)
        },
    },
    Step {
        name: "doc",
        what: "documentation, every warning an error",
        long: false,
        needs: &[],
        run: |runner, name| {
            let arguments = ["doc", "--workspace", "--no-deps"];
            cargo(runner, name, &arguments, &[("RUSTDOCFLAGS", "-D warnings")])
        },
    },
    Step {
        name: "server",
        what: "a server that forks every second stays in its pool; depends on time",
        long: true,
        needs: &[For::Demo, For::Test],
        run: |runner, name| {
            let arguments = ["test", "-p", "pmem-e2e", "--test", "home", SAVING_SERVER];
            must_count(cargo(runner, name, &arguments, &[])?)
        },
    },
    Step {
        name: "cuts",
        what: "power cuts as in dax, at ten times as many moments on XFS",
        long: true,
        needs: &[For::Test, For::Machine],
        run: |runner, name| {
            let arguments = ["test", "--profile", "e2e", "-p", "pmem-e2e", "--test", "power"];
            must_count(cargo(runner, name, &arguments, &[("PMEM_TEST_CUTS", "60")])?)
        },
    },
    Step {
        name: "warm-cuts",
        what: "a warm cache through fifty power cuts in a virtual machine",
        long: true,
        needs: &[For::Test, For::Machine],
        run: |runner, name| {
            let arguments = ["test", "--profile", "e2e", "-p", "pmem-e2e", "--test", "warm"];
            let arguments = [&arguments[..], &["--", "--ignored", "fifty_power_cuts"]].concat();
            must_count(cargo(runner, name, &arguments, &[])?)
        },
    },
    Step {
        name: "servers",
        what: "nginx, apache, sshd, mariadb, postgres, MPI, java, node, rustc on the preloaded library",
        long: true,
        needs: &[For::Test, For::LongTest, For::Bench],
        run: |runner, name| {
            let arguments = ["test", "-p", "pmem-e2e", "--test", "servers"];
            must_count(cargo(runner, name, &arguments, &[])?)
        },
    },
    Step {
        name: "scan",
        what: "model tests with all invariants checked after every operation",
        long: true,
        needs: &[],
        run: |runner, name| {
            let target = runner.target_dir.join("ci-scan").to_string_lossy().into_owned();
            let arguments = ["test", "-p", "vmem-engine", "--no-fail-fast", "--test", "model"];
            // Optimized, or the scans take for ever; a folder of its own, or the next ordinary build starts afresh.
            let variables = [
                ("RUSTFLAGS", "--cfg pmem_scan"),
                ("CARGO_PROFILE_DEV_OPT_LEVEL", "1"),
                ("CARGO_TARGET_DIR", &target),
            ];
            must_count(cargo(runner, name, &arguments, &variables)?)
        },
    },
    script("loom", "lock-free parts under every interleaving", &[]),
    script("miri", "unit tests under Miri: undefined behaviour and data races", &[]),
    script("asan", "tests under AddressSanitizer", &[]),
    script("tsan", "tests under ThreadSanitizer", &[]),
    script("valgrind", "unit tests under valgrind's memcheck", &[For::Test]),
    script(
        "aarch64",
        "build for aarch64, and a program under the preloaded library in emulation",
        &[For::LongTest],
    ),
    script("fuzz", "fuzzing: operations of allocator and cache, every parser", &[]),
];

/// The kept instruction counts of the library.
const INSTRUCTIONS: &str = "benches/instructions.json";

/// Counts instructions in the library as it ships; time is no part of it, so it holds on a busy machine.
fn count_instructions(runner: &Runner, name: &str) -> Result<Outcome, Stop> {
    let built = runner.run(name, &mut workspace::benchmark_build())?;
    if !matches!(built, Outcome::Passed(_)) {
        return Ok(built);
    }
    let mut count = Command::new(runner.target_dir.join("release/pmem-bench"));
    count.current_dir(workspace::root()).args(["icount", "--check", INSTRUCTIONS]);
    runner.run(name, &mut count)
}

/// A step that is a script of the folder `ci`.
const fn script(name: &'static str, what: &'static str, needs: &'static [For]) -> Step {
    Step { name, what, long: true, needs, run: run_script }
}

/// Runs `ci/NAME`.
fn run_script(runner: &Runner, name: &str) -> Result<Outcome, Stop> {
    let script = workspace::root().join("ci").join(name);
    if !script.is_file() {
        return Ok(Outcome::Failed(None, format!("ci/{name} does not exist")));
    }
    let mut command = Command::new(script);
    command.current_dir(workspace::root());
    runner.run(name, &mut command)
}

/// Runs cargo; `RUSTFLAGS` among the variables are added to those of the environment.
fn cargo(
    runner: &Runner,
    name: &str,
    arguments: &[&str],
    variables: &[(&str, &str)],
) -> Result<Outcome, Stop> {
    let mut command = workspace::cargo();
    command.args(arguments);
    for (variable, value) in variables {
        let flags = variable.ends_with("FLAGS");
        match std::env::var(variable) {
            Ok(existing) if flags => command.env(variable, format!("{existing} {value}")),
            _ => command.env(variable, value),
        };
    }
    runner.run(name, &mut command)
}

/// A run of tests that ran no test has checked nothing.
fn must_count(outcome: Outcome) -> Result<Outcome, Stop> {
    Ok(match outcome {
        Outcome::Passed(tests) if tests.as_ref().is_none_or(|tests| tests.passed == 0) => {
            Outcome::Failed(tests, "no test ran".into())
        }
        other => other,
    })
}

#[cfg(test)]
mod tests {
    use super::super::Tests;
    use super::*;

    #[test]
    fn step_names_are_unique() {
        for (i, step) in STEPS.iter().enumerate() {
            assert!(STEPS[i + 1..].iter().all(|other| other.name != step.name), "{}", step.name);
        }
    }

    #[test]
    fn a_run_without_tests_fails() {
        let outcome = |passed| {
            let tests = Tests { passed, ..Tests::default() };
            must_count(Outcome::Passed(Some(tests))).unwrap_or_else(|_| panic!("no error here"))
        };
        assert!(matches!(outcome(0), Outcome::Failed(..)));
        assert!(matches!(outcome(1), Outcome::Passed(_)));
    }
}
