//! What was flushed survives a power cut: C programs on libpmem and libpmem2 in a virtual machine with a DAX file
//! system and device DAX (see `tests/dax-vm`). The emulated caches forget what was not flushed.
//!
//! When there is no way to such a machine, the tests say so with NOT CHECKED.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use pmem_e2e::artifact::{Shape, compile};
use pmem_e2e::capi::{Build, headers};
use pmem_e2e::run::{Outcome, run};
use pmem_e2e::scratch::Scratch;

/// A boot and a run; on a busy machine ten times as long as on an idle one.
const LIMIT: Duration = Duration::from_secs(400);

/// One machine at a time.
static MACHINE: Mutex<()> = Mutex::new(());

fn dax_vm(arguments: &[&str]) -> Command {
    let tool = Path::new(env!("CARGO_MANIFEST_DIR")).join("dax-vm/dax-vm");
    let mut command = Command::new(tool);
    command.args(arguments).env("LD_LIBRARY_PATH", Build::Release.folder());
    command
}

/// Whether machines can be had; with `--backports` those whose caches forget.
fn can_boot(options: &[&str]) -> bool {
    for step in ["check", "build"] {
        let mut arguments = vec![step];
        arguments.extend(if step == "build" { options } else { &[] });
        let outcome = run(&mut dax_vm(&arguments), LIMIT);
        if outcome.code() != Some(0) {
            eprintln!("NOT CHECKED: durability on DAX (dax-vm {step}: {})", outcome.ending());
            return false;
        }
    }
    true
}

fn program() -> PathBuf {
    let include = format!("-I{}", headers().display());
    let search = format!("-L{}", Build::Release.folder().display());
    compile("durable", "durable", Shape::Program, &[&include, &search, "-lpmem", "-lpmem2"])
}

fn says(outcome: &Outcome, last: &str) {
    assert!(
        outcome.code() == Some(0) && outcome.out().lines().last() == Some(last),
        "{}",
        outcome.ending()
    );
}

#[test]
fn the_libraries_know_dax_files_devices_and_bad_blocks() {
    let _alone = MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
    if !can_boot(&[]) {
        return;
    }
    let program = program().display().to_string();
    let script = format!(
        "f=$DAXVM_PMEM0/f; {program} probe $f $DAXVM_DAX1 || exit 1
         dd if=/dev/zero of=$f bs=4096 count=100 conv=notrunc 2>/dev/null; sync
         daxvm-badblock $f 8192 512 >/dev/null && {program} bad $f"
    );
    let machine = ["run", "--accel", "tcg", "--fsdax", "ext4:64M", "--devdax=32M", "--usc=3"];
    let mut command = dax_vm(&machine);
    says(&run(command.args(["--", "sh", "-c", &script]), LIMIT), "ok bad");
}

/// Writes with all kinds of flags until the power is cut; then every record is there, and one line that was stored
/// and not flushed is not: the machine does forget.
#[test]
fn what_was_flushed_survives_a_power_cut() {
    let _alone = MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
    if !can_boot(&["--backports"]) {
        return;
    }
    let program = program().display().to_string();
    let scratch = Scratch::on_disk("durable");
    let images = scratch.path().display().to_string();
    let machine = [
        "--backports",
        "--accel",
        "tcg",
        "--pmem-dir",
        &images,
        "--fsdax",
        "ext4:64M",
        "--devdax=32M",
    ];
    for target in ["$DAXVM_PMEM0/f", "$DAXVM_DAX1"] {
        let script = format!("exec {program} write {target}");
        let mut command = dax_vm(&["crash-run"]);
        command.args(machine).args(["--cache", "lose", "--timeout", "300"]);
        let cut = run(command.args(["--", "sh", "-c", &script]), LIMIT);
        assert!(cut.code() == Some(0), "{target}: {}", cut.ending());
        let script = format!("exec {program} check {target} lost");
        let mut command = dax_vm(&["run"]);
        says(&run(command.args(machine).args(["--", "sh", "-c", &script]), LIMIT), "ok check");
    }
}
