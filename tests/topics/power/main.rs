//! Logs and blocks through power cuts: a virtual machine with a DAX file system and device DAX, whose caches forget what
//! was not flushed (see `tests/dax-vm`), gives images of what a cut at many moments would have left. Each of them is
//! opened: what was acknowledged is there, what was under way is there as a whole or not at all. Images of ext4 and of
//! devices are opened on this machine, those of XFS in another virtual machine.
//!
//! Without a way to such a machine the tests say so with NOT CHECKED.

mod xfs;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use pmem_e2e::artifact::{Shape, compile};
use pmem_e2e::capi::{Build, headers};
use pmem_e2e::run::{SHORT, run};
use pmem_e2e::scratch::Scratch;

/// A boot and a run; on a busy machine ten times as long as on an idle one.
const LIMIT: Duration = Duration::from_secs(400);
/// Images of each kind.
const CUTS: usize = 60;

fn dax_vm(arguments: &[&str]) -> Command {
    let tool = Path::new(env!("CARGO_MANIFEST_DIR")).join("dax-vm/dax-vm");
    let mut command = Command::new(tool);
    command.args(arguments).env("LD_LIBRARY_PATH", Build::Release.folder());
    command
}

fn can_boot() -> bool {
    for arguments in [&["check"][..], &["build", "--backports"]] {
        let outcome = run(&mut dax_vm(arguments), LIMIT);
        if outcome.code() != Some(0) {
            eprintln!("NOT CHECKED: power cuts (dax-vm {arguments:?}: {})", outcome.ending());
            return false;
        }
    }
    true
}

fn program() -> PathBuf {
    let include = format!("-I{}", headers().display());
    let search = format!("-L{}", Build::Release.folder().display());
    let arguments = [&*include, &search, "-lpmemlog", "-lpmemblk", "-pthread"];
    compile("pools_peer", "pools_peer_power", Shape::Program, &arguments)
}

/// What a run of the program says, on this machine.
fn peer(arguments: &[&str]) -> String {
    let mut command = Command::new(program());
    command.args(arguments).env("LD_LIBRARY_PATH", Build::Release.folder());
    let outcome = run(&mut command, SHORT);
    assert!(outcome.code() == Some(0), "{outcome}");
    outcome.out().trim().to_owned()
}

/// Where the pool is: on a file system or the device itself. Acknowledgements are always in a file.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Ext4,
    Device,
}

/// A run of the program in a machine that keeps images.
struct Run<'a> {
    /// `log` or `blk`.
    kind: &'a str,
    /// Where the pool is, to the guest.
    pool: &'a str,
    operations: u32,
    /// The machine's memory.
    devices: &'a [&'a str],
    /// What happens to lines that were not flushed.
    cache: &'a str,
    /// An image is kept before each commit whose number this divides.
    every: usize,
    /// How many images.
    most: usize,
}

impl Run<'_> {
    /// The images of the first NVDIMM, in order.
    fn images(&self, directory: &Path) -> Vec<PathBuf> {
        let snapshots = directory.join("snapshots");
        fs::create_dir(&snapshots).expect("a directory");
        let Run { kind, pool, operations, .. } = self;
        let program = program();
        let script = format!(
            "exec {} {kind}-acked {pool} $DAXVM_PMEM0/acks {operations}",
            program.display()
        );
        let mut command = dax_vm(&["run", "--backports", "--accel", "tcg", "--cpus", "1"]);
        command.args(self.devices).args(["--cache", self.cache, "--snapshots"]).arg(&snapshots);
        command.args(["--every", &self.every.to_string(), "--max", &self.most.to_string()]);
        command.args(["--timeout", "300", "--", "sh", "-c", &script]);
        let outcome = run(&mut command, LIMIT);
        assert!(outcome.code() == Some(0), "{}", outcome.ending());
        let mut images: Vec<_> = fs::read_dir(&snapshots)
            .expect("the images")
            .map(|entry| entry.expect("an entry").path())
            .filter(|path| path.to_string_lossy().ends_with("nvdimm0.img"))
            .collect();
        images.sort();
        images
    }
}

fn cuts(kind: &str, place: Place, operations: u32, every: usize) {
    if !can_boot() {
        return;
    }
    let scratch = Scratch::new("power");
    let at = |name: &str| scratch.path().join(name).display().to_string();
    let images = Run {
        kind,
        pool: if place == Place::Ext4 { "$DAXVM_PMEM0/pool" } else { "$DAXVM_DAX1" },
        operations,
        devices: &["--fsdax", "ext4:64M", "--devdax=32M"],
        cache: "lose",
        every,
        most: CUTS,
    }
    .images(scratch.path());
    let (mut looked_at, mut last) = (0, 0);
    for image in &images {
        let (pool, acks) = (at("pool"), at("acks"));
        let extract =
            |arguments: &[&str]| run(dax_vm(&["extract"]).args(arguments), LIMIT).code() == Some(0);
        let image = image.to_str().expect("UTF-8");
        let device = image.replace("nvdimm0", "nvdimm1");
        let have_pool = match place {
            Place::Ext4 => extract(&[image, &pool, "/pool"]),
            Place::Device => extract(&[&device, &pool]),
        };
        // Before they are made there is nothing to look at. A device is there, and has no header then.
        let have_acks = extract(&[image, &acks, "/acks"]);
        assert!(have_acks || last == 0, "{image}: the acknowledgements are lost");
        let has_header = |path: &str| fs::read(path).is_ok_and(|bytes| bytes.get(8) == Some(&1));
        let have_pool = have_pool && (place == Place::Ext4 || has_header(&pool));
        if !have_acks {
            continue;
        }
        let acknowledged: u32 = peer(&["log-verify-any", &acks]).parse().expect("a number");
        assert!(acknowledged >= last, "{image}: {acknowledged} after {last}");
        if !have_pool {
            assert!(acknowledged == 0, "{image}: the pool is lost");
            continue;
        }
        if kind == "log" {
            let found: u32 = peer(&["log-verify-any", &pool]).parse().expect("a number");
            assert!(found == acknowledged || found == acknowledged + 1, "{image}: {found}");
        } else {
            peer(&["blk-check", &pool]);
            peer(&["blk-verify-any", &pool, &acknowledged.to_string()]);
        }
        looked_at += 1;
        last = acknowledged;
    }
    println!("{} images, {looked_at} with a pool, the last after {last} operations", images.len());
    assert!(looked_at >= CUTS * 2 / 3 && last > 0, "{looked_at} of {} images", images.len());
}

#[test]
fn logs_on_a_dax_file_system() {
    cuts("log", Place::Ext4, 100, 6);
}

#[test]
fn blocks_on_a_dax_file_system() {
    cuts("blk", Place::Ext4, 100, 8);
}

#[test]
fn logs_on_a_device() {
    cuts("log", Place::Device, 100, 6);
}

#[test]
fn blocks_on_a_device() {
    cuts("blk", Place::Device, 100, 8);
}
