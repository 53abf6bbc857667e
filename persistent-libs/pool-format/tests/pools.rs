//! Pools in files: making, opening, and what is refused.

use pool_format::{
    Access, CreateOptions, Feature, Features, HEADER_SIZE, OpenOptions, Pool, PoolHeader, PoolKind,
    Result, recovery_file,
};
use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use zerocopy::{FromBytes, IntoBytes};

const MIB: u64 = 1 << 20;

fn set(directory: &TempDir, text: &str) -> PathBuf {
    let path = directory.path().join("set");
    let parts = text.replace('@', directory.path().to_str().unwrap());
    fs::write(&path, format!("PMEMPOOLSET\n{parts}")).unwrap();
    path
}

fn create(path: &Path, kind: &PoolKind, size: Option<u64>) -> Result<Pool> {
    Pool::create(path, kind, &CreateOptions { size, ..Default::default() })?.finish()
}

fn open(path: &Path, kind: &PoolKind) -> Result<Pool> {
    Pool::open(path, kind, &OpenOptions::default())
}

fn header(path: &Path) -> PoolHeader {
    PoolHeader::read_from_bytes(&fs::read(path).unwrap()[..HEADER_SIZE]).unwrap()
}

fn edit(path: &Path, change: impl FnOnce(&mut PoolHeader)) {
    let mut header = header(path);
    change(&mut header);
    header.seal();
    let file = fs::File::options().write(true).open(path).unwrap();
    file.write_all_at(header.as_bytes(), 0).unwrap();
}

#[test]
fn parts_and_replicas_are_linked_in_rings() {
    let directory = tempfile::tempdir().unwrap();
    let path = set(&directory, "8M @/a\n2M @/b\n3M @/c\nREPLICA\n9M @/d\n2M @/e\n");
    let pool = create(&path, &PoolKind::OBJ, None).unwrap();
    assert_eq!(pool.size(), 11 * MIB - 4096);
    assert_eq!(pool.replicas()[0].mapping().len(), 13 * MIB - 2 * 4096);
    drop(pool);
    let header = |name: &str| header(&directory.path().join(name));
    let [a, b, c, d, e] = ["a", "b", "c", "d", "e"].map(header);
    assert_eq!([a.next_part_uuid, b.next_part_uuid, c.next_part_uuid], [b.uuid, c.uuid, a.uuid]);
    assert_eq!([a.prev_part_uuid, b.prev_part_uuid, c.prev_part_uuid], [c.uuid, a.uuid, b.uuid]);
    assert_eq!([d.next_part_uuid, d.prev_part_uuid, e.prev_part_uuid], [e.uuid, e.uuid, d.uuid]);
    for part in [&a, &b, &c] {
        assert_eq!([part.prev_replica_uuid, part.next_replica_uuid], [d.uuid; 2]);
    }
    assert_eq!([e.prev_replica_uuid, e.next_replica_uuid], [a.uuid; 2]);
    for part in [&a, &b, &c, &d, &e] {
        assert!(part.is_sealed() && part.poolset_uuid == a.poolset_uuid);
    }
    assert!(open(&path, &PoolKind::OBJ).is_ok());
}

#[test]
fn parts_that_do_not_belong_together_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = set(&directory, "3M @/a\n2M @/b\n");
    let part = directory.path().join("b");
    let refused = |change: fn(&mut PoolHeader)| {
        for name in ["a", "b"] {
            let _ = fs::remove_file(directory.path().join(name));
        }
        drop(create(&path, &PoolKind::LOG, None).unwrap());
        edit(&part, change);
        let error = open(&path, &PoolKind::LOG).unwrap_err();
        assert_eq!(error.errno().name(), "EINVAL");
        error.to_string()
    };
    let begins = |text: String, start: &str| assert!(text.starts_with(start), "{text}");
    begins(refused(|header| header.poolset_uuid.0[0] ^= 1), "wrong pool set UUID");
    begins(refused(|header| header.next_part_uuid.0[0] ^= 1), "wrong part UUID");
    begins(refused(|header| header.uuid.0[0] ^= 1), "wrong part UUID");
    begins(refused(|header| header.prev_replica_uuid.0[0] ^= 1), "wrong replica UUID");
    begins(
        refused(|header| header.features = header.features.with(Feature::ShutdownState, false)),
        "incompatible feature flags",
    );
    begins(refused(|header| header.arch.class = 1), "wrong architecture flags");
    begins(refused(|header| header.major = 9.into()), "pool version 9 (library expects 1)");
}

#[test]
fn unknown_features_limit_what_may_be_done() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pool");
    drop(create(&path, &PoolKind::LOG, Some(2 * MIB)).unwrap());
    edit(&path, |header| header.features = Features::from_words(0xf1, 6, 0));
    assert_eq!(open(&path, &PoolKind::LOG).unwrap().access(), Access::ReadWrite);
    edit(&path, |header| header.features = Features::from_words(1, 6, 4));
    let before = fs::read(&path).unwrap();
    let pool = open(&path, &PoolKind::LOG).unwrap();
    assert_eq!(pool.access(), Access::ReadOnly);
    pool.mapping().write(10_000, b"stays in memory").unwrap();
    drop(pool);
    assert!(fs::read(&path).unwrap() == before, "not even the shutdown state is written");
    edit(&path, |header| header.features = Features::from_words(0, 0, 0));
    assert!(open(&path, &PoolKind::LOG).is_ok(), "a checksum over all of the header");
}

#[test]
fn an_unfinished_pool_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pool");
    let options = CreateOptions { size: Some(2 * MIB), mode: 0o640, ..Default::default() };
    let new = Pool::create(&path, &PoolKind::LOG, &options).unwrap();
    // Where the file system has no files without names: mode 0 and no header.
    if let Ok(metadata) = fs::metadata(&path) {
        assert_eq!(metadata.permissions().mode() & 0o7777, 0);
        assert!(fs::read(&path).unwrap().iter().all(|&byte| byte == 0), "no header yet");
    }
    drop(new);
    assert!(!path.exists());

    // Whoever is first has the name.
    let makers = [(); 2].map(|()| Pool::create(&path, &PoolKind::LOG, &options));
    let made = makers.map(|new| new.and_then(pool_format::NewPool::finish));
    let errors = made.iter().filter_map(|made| made.as_ref().err());
    assert_eq!(errors.map(|error| error.errno().name()).collect::<Vec<_>>(), ["EEXIST"]);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o640);
    drop(made);
    assert!(open(&path, &PoolKind::LOG).is_ok());
    fs::remove_file(&path).unwrap();

    // A file that was there stays, and can be taken again.
    let file = fs::File::create(&path).unwrap();
    file.set_len(2 * MIB).unwrap();
    let existing = CreateOptions { size: None, ..options };
    drop(Pool::create(&path, &PoolKind::LOG, &existing).unwrap());
    assert!(path.exists());
    drop(Pool::create(&path, &PoolKind::LOG, &existing).unwrap().finish().unwrap());
    assert!(open(&path, &PoolKind::LOG).is_ok());
}

#[test]
fn a_file_is_a_part_once() {
    let directory = tempfile::tempdir().unwrap();
    for text in ["2M @/a\n2M @/a\n", "2M @/a\n2M @/b\n2M @//a\n"] {
        let path = set(&directory, text);
        let error = create(&path, &PoolKind::LOG, None).unwrap_err();
        assert_eq!(error.errno().name(), "EAGAIN", "{error}");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "only the set");
        // The same of files that were there.
        for name in ["a", "b"] {
            fs::File::create(directory.path().join(name)).unwrap().set_len(2 * MIB).unwrap();
        }
        let error = create(&path, &PoolKind::LOG, None).unwrap_err();
        assert_eq!(error.errno().name(), "EAGAIN", "{error}");
        for name in ["a", "b"] {
            fs::remove_file(directory.path().join(name)).unwrap();
        }
    }
}

#[test]
fn unfinished_pools_are_told_with_a_remedy() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pool");
    fs::File::create(&path).unwrap().set_len(2 * MIB).unwrap();
    let error = open(&path, &PoolKind::LOG).unwrap_err();
    assert_eq!(error.errno().name(), "EINVAL");
    let text = error.to_string();
    assert!(text.starts_with("invalid major version (0): there is no header"), "{text}");
    // As it says.
    drop(create(&path, &PoolKind::LOG, None).unwrap());
    assert!(open(&path, &PoolKind::LOG).is_ok());
    let error = create(&path, &PoolKind::LOG, None).unwrap_err();
    assert_eq!(error.errno().name(), "EEXIST");
    let text = error.to_string();
    assert!(text.starts_with("Non-empty file detected: ") && text.contains("zero"), "{text}");
}

#[test]
fn the_shutdown_state_says_whether_the_pool_is_open() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pool");
    let pool = create(&path, &PoolKind::LOG, Some(2 * MIB)).unwrap();
    assert_eq!(header(&path).shutdown_state.dirty, 1);
    // As if the process had been killed: nobody clears it.
    let bytes = fs::read(&path).unwrap();
    drop(pool);
    assert_eq!(header(&path).shutdown_state.as_bytes(), [0; 64]);
    fs::write(&path, bytes).unwrap();
    drop(open(&path, &PoolKind::LOG).unwrap());
    assert_eq!(header(&path).shutdown_state.dirty, 0);
    // Counts that differ, of a pool that was open: stores may be lost.
    edit(&path, |header| {
        let elsewhere = pool_format::shutdown_state::DeviceState { count: 5, devices: 77 };
        header.shutdown_state = pool_format::ShutdownState::open(elsewhere);
    });
    let error = open(&path, &PoolKind::LOG).unwrap_err();
    assert!(error.to_string().starts_with("an ADR failure was detected"), "{error}");
}

#[test]
fn an_unfinished_repair_of_bad_blocks_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pool");
    drop(create(&path, &PoolKind::LOG, Some(2 * MIB)).unwrap());
    fs::write(recovery_file(&path, 0, 0), "0 512\n0 0\n").unwrap();
    let error = open(&path, &PoolKind::LOG).unwrap_err();
    assert!(error.to_string().starts_with("bad block recovery file exists"), "{error}");
}

#[test]
fn directories_hold_numbered_files() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["x", "y"] {
        fs::create_dir(directory.path().join(name)).unwrap();
    }
    let path = set(&directory, "OPTION SINGLEHDR\n100M @/x\n100M @/y\n");
    assert_eq!(create(&path, &PoolKind::OBJ, None).unwrap().size(), 8 * MIB);
    let file = directory.path().join("x/000000.pmem");
    assert_eq!(fs::metadata(&file).unwrap().len(), 8 * MIB);
    // As growing does.
    fs::File::create(directory.path().join("y/000001.pmem")).unwrap().set_len(4 * MIB).unwrap();
    assert_eq!(open(&path, &PoolKind::OBJ).unwrap().size(), 12 * MIB);
    fs::rename(directory.path().join("y/000001.pmem"), directory.path().join("y/000002.pmem"))
        .unwrap();
    let error = open(&path, &PoolKind::OBJ).unwrap_err();
    assert!(error.to_string().starts_with("file 000001.pmem is missing"), "{error}");
    let path = set(&directory, "100M @/x\n");
    assert!(open(&path, &PoolKind::OBJ).unwrap_err().to_string().contains("SINGLEHDR"));
    let path = set(&directory, "OPTION SINGLEHDR\n100M @/x\n4M @/file\n");
    assert!(open(&path, &PoolKind::OBJ).unwrap_err().to_string().starts_with("cannot mix"));
}
