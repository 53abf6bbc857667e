//! A quota is the end of a pool's room, as a full file system is.

use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use pmem_e2e::preload;
use pmem_e2e::run::{SHORT, run};
use vmem::{Error, Pool};

use crate::place::{MIB, SOMEBODY, block_device, ext4, xfs};
use crate::process::{fork, free_space};
use crate::work::{fill, free_all};

/// What [`SOMEBODY`] may use.
const QUOTA: usize = 24 * MIB;

pub(crate) fn a_quota_of_ext4_is_none_and_no_signal() {
    let point = ext4();
    let device = block_device(&point);
    system(Command::new("umount").arg(&point));
    system(Command::new("tune2fs").args(["-Q", "usrquota"]).arg(&device));
    mount(&point, "ext4", "dax=always,usrquota");
    a_quota_is_none_and_no_signal(&point);
}

pub(crate) fn a_quota_of_xfs_is_none_and_no_signal() {
    let point = xfs();
    system(Command::new("umount").arg(&point));
    mount(&point, "xfs", "dax=always,uquota");
    a_quota_is_none_and_no_signal(&point);
}

fn system(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{text}", output.status);
}

fn mount(point: &Path, kind: &str, options: &str) {
    let device = block_device(point);
    system(Command::new("mount").args(["-t", kind, "-o", options]).arg(device).arg(point));
}

fn a_quota_is_none_and_no_signal(point: &Path) {
    let directory = point.join("somebody");
    fs::create_dir(&directory).expect("a directory");
    chown(&directory, Some(SOMEBODY), Some(SOMEBODY)).expect("root may");
    set_quota(&block_device(point), QUOTA);
    assert!(free_space(point) > 2 * QUOTA, "it is the quota that ends first");
    // A user without rights: root is not held to quotas.
    fork(|| {
        // SAFETY: this process has one thread.
        let result = unsafe { libc::setgid(SOMEBODY) | libc::setuid(SOMEBODY) };
        assert_eq!(result, 0, "setuid: {}", std::io::Error::last_os_error());
        let text = Pool::builder().size(64 * MIB).prealloc(true).in_directory(&directory);
        let error = text.expect_err("more than the quota");
        assert!(matches!(error, Error::NoSpace { .. }), "{error:?}");
        assert_eq!(error.errno(), libc::EDQUOT, "{error}");
        let pool = Pool::in_directory(&directory, 64 * MIB).expect("a lazy pool");
        for size in [MIB, 30_000] {
            let blocks = fill(&pool, size, usize::MAX, 1);
            let used = blocks.len() * size;
            assert!((QUOTA / 100 * 85..=QUOTA).contains(&used), "{used} bytes of {QUOTA}");
            assert!(pool.alloc_zeroed(MIB).is_none(), "the quota was used up a moment ago");
            pool.check().expect("the structures of the pool agree");
            let count = blocks.len();
            free_all(&pool, blocks);
            // Given back, the same space can be had again.
            pool.trim();
            let blocks = fill(&pool, size, usize::MAX, 7);
            assert!(blocks.len() >= count / 100 * 97, "{} after {count}", blocks.len());
            free_all(&pool, blocks);
            pool.trim();
        }
    })
    .succeeds();
    persistent_pools_meet_the_quota(&directory);
    a_program_meets_the_quota(&directory);
    fs::remove_dir(&directory).expect("pools leave nothing behind");
}

/// A log, blocks, or a set of which some parts are too many: nothing of it is left.
fn persistent_pools_meet_the_quota(directory: &Path) {
    let inside = |name: &str| directory.join(name);
    let (pool, set) = (inside("pool"), inside("set"));
    let sizes = ["30M", "20M", "10M"];
    fork(|| {
        // SAFETY: this process has one thread.
        let result = unsafe { libc::setgid(SOMEBODY) | libc::setuid(SOMEBODY) };
        assert_eq!(result, 0, "setuid: {}", std::io::Error::last_os_error());
        let refused = |error: &pmemlog::Error, others: usize| {
            assert_eq!(error.errno().0, libc::EDQUOT, "{error}");
            assert!(error.to_string().contains("Disk quota exceeded"), "{error}");
            assert_eq!(fs::read_dir(directory).expect("it").count(), others, "{error}");
        };
        refused(&pmemlog::PmemLog::create(&pool, 64 << 20).expect_err("too large"), 0);
        refused(&pmemblk::PmemBlk::create(&pool, 512, 64 << 20).expect_err("too large"), 0);
        // The first part, the second, or the third is too much.
        for first in 0..sizes.len() {
            let parts = ["a", "b", "c"].into_iter().zip(sizes.iter().cycle().skip(first));
            let lines = parts.map(|(name, size)| format!("{size} {}\n", inside(name).display()));
            let text = format!("PMEMPOOLSET\n{}", lines.collect::<String>());
            fs::write(&set, text).expect("a pool set file");
            let options = pmemlog::Options::new();
            refused(&options.create_in(&set).expect_err("too large"), 1);
            let options = pmemblk::Options::new();
            refused(&options.create_in(&set, 4096).expect_err("too large"), 1);
        }
        // What is within the quota is made all the same.
        let log = pmemlog::PmemLog::create(&pool, 20 << 20).expect("within the quota");
        log.append(b"within").expect("within the quota");
        drop(log);
        let log = pmemlog::PmemLog::open(&pool).expect("the log");
        assert_eq!(&*log.contents(), b"within");
        drop(log);
        fs::remove_file(&pool).expect("ours");
        fs::remove_file(&set).expect("ours");
    })
    .succeeds();
}

/// `NULL` and `ENOMEM` become an exception of Python's, and the program goes on.
fn a_program_meets_the_quota(directory: &Path) {
    let script = "try:\n    bytearray(40 << 20)\nexcept MemoryError:\n    print('no memory')\n\
                  print(len(bytearray(8 << 20)))";
    let pool = preload::Pool::lazy(64).at(directory);
    let mut command = pool.command("/usr/bin/python3");
    let outcome = run(command.uid(SOMEBODY).gid(SOMEBODY).args(["-c", script]), SHORT).success();
    assert_eq!(outcome.out(), "no memory\n8388608\n", "{outcome}");
    let large = preload::Pool::prealloc(64).at(directory);
    let outcome = run(large.command("/usr/bin/true").uid(SOMEBODY).gid(SOMEBODY), SHORT);
    assert_eq!(outcome.signal(), Some(libc::SIGABRT), "{outcome}");
    assert_eq!(
        outcome.err(),
        "Error (libvmmalloc): vmem pool creation failed: Disk quota exceeded\n"
    );
}

/// Limits what [`SOMEBODY`] may use on the file system of a device.
fn set_quota(device: &Path, bytes: usize) {
    const USER_QUOTA: libc::c_int = 0;
    let path = CString::new(device.as_os_str().as_bytes()).expect("a path");
    // SAFETY: all zero is a valid value of the plain structure.
    let mut limits: libc::dqblk = unsafe { std::mem::zeroed() };
    // Counted in blocks of 1024 bytes.
    limits.dqb_bhardlimit = bytes as u64 / 1024;
    limits.dqb_bsoftlimit = limits.dqb_bhardlimit;
    limits.dqb_valid = libc::QIF_BLIMITS;
    // SAFETY: a terminated path and a structure of the kind that the command wants.
    let result = unsafe {
        libc::quotactl(
            libc::QCMD(libc::Q_SETQUOTA, USER_QUOTA),
            path.as_ptr(),
            SOMEBODY as libc::c_int,
            (&raw mut limits).cast(),
        )
    };
    assert_eq!(result, 0, "quotactl: {}", std::io::Error::last_os_error());
}
