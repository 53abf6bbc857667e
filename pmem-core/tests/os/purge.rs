//! Memory goes back.

use std::fs;

use pmem_core::source::{OpenMode, Purged, Source};

use crate::{MIB, stamp, stamped};

#[test]
fn purging_a_file_frees_its_blocks() {
    let path = std::env::temp_dir().join(format!("pmem-core-purge-{}", std::process::id()));
    let c_path = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
    let on_disk = Source::named_file(&c_path, 4 * MIB, OpenMode::CreateNew).unwrap();
    fs::remove_file(&path).unwrap();
    for source in [Source::in_directory(c"/dev/shm", 4 * MIB).unwrap(), on_disk] {
        source.commit(0, 4 * MIB).unwrap();
        stamp(&source, 0, 4 * MIB, 8);
        let full = source.resident_bytes();
        assert!(full >= 4 * MIB as u64);
        assert_eq!(source.purge(MIB, 2 * MIB), Purged::Zeroed);
        let left = source.resident_bytes();
        assert!(left <= full - 2 * MIB as u64, "{left} of {full} left");
        assert!(stamped(&source, 0, MIB, 8) && stamped(&source, 3 * MIB, MIB, 8));
        source.commit(MIB, 2 * MIB).unwrap();
        assert!(stamped(&source, MIB, 2 * MIB, 0), "purged memory comes back as zeros");
        assert_eq!(source.purge(0, 4 * MIB), Purged::Zeroed);
        assert!(source.resident_bytes() < full / 20);
    }
}

#[test]
fn purging_anonymous_memory_drops_its_pages() {
    let source = Source::anonymous(4 * MIB).unwrap();
    stamp(&source, 0, 4 * MIB, 8);
    assert_eq!(source.resident_bytes(), 4 * MIB as u64);
    assert_eq!(source.purge(0, 2 * MIB), Purged::Zeroed);
    assert_eq!(source.resident_bytes(), 2 * MIB as u64);
    assert!(stamped(&source, 0, 2 * MIB, 0) && stamped(&source, 2 * MIB, 2 * MIB, 8));
}

#[test]
fn purging_a_replaced_range_frees_memory_and_not_the_file() {
    let source = Source::in_directory(c"/dev/shm", MIB).unwrap();
    source.commit(0, MIB).unwrap();
    stamp(&source, 0, MIB, 8);
    source.replace_anonymous(0, MIB).unwrap();
    stamp(&source, 0, MIB, 9);
    // SAFETY: replaced as a whole just now.
    assert_eq!(unsafe { source.purge_replaced(0, MIB) }, Purged::Zeroed);
    assert!(stamped(&source, 0, MIB, 0));
    source.share(0, MIB).unwrap();
    assert!(stamped(&source, 0, MIB, 8));
}

/// Flags of the mapping at an address, as smaps shows them.
fn flags_of(source: &Source) -> String {
    let maps = fs::read_to_string("/proc/self/smaps").unwrap();
    let start = format!("{:x}-", source.base().addr().get());
    let lines = maps.lines().skip_while(|line| !line.starts_with(&start));
    lines.into_iter().find(|line| line.starts_with("VmFlags:")).expect("flags").to_owned()
}

#[test]
fn core_files_and_huge_pages_are_advised() {
    let source = Source::in_directory(c"/dev/shm", 4 * MIB).unwrap();
    assert!(!flags_of(&source).contains(" dd"));
    source.dont_dump(true);
    source.advise_huge(0, 4 * MIB);
    assert!(flags_of(&source).contains(" dd") && flags_of(&source).contains(" hg"));
    source.freeze(0, 4 * MIB).unwrap();
    assert!(flags_of(&source).contains(" dd"), "still left out after a new mapping");
    assert!(flags_of(&source).contains(" hg"), "still advised after a new mapping");
    source.dont_dump(false);
    assert!(!flags_of(&source).contains(" dd"));
}

#[test]
fn advised_memory_is_committed_through_its_mapping() {
    let resident = |advised: bool| {
        let source = Source::in_directory(c"/dev/shm", 4 * MIB).unwrap();
        if advised {
            source.advise_huge(0, 4 * MIB);
        }
        source.commit(0, 4 * MIB).unwrap();
        // Of the process, not of the file.
        let name = format!("{:x}-", source.base().addr());
        let text = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut lines = text.lines().skip_while(|line| !line.starts_with(&name));
        let line = lines.find_map(|line| line.strip_prefix("Rss:")).expect("our mapping");
        line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
    };
    // By the descriptor the kernel would take pages that are not huge, whatever the mapping asks for.
    assert_eq!((resident(true), resident(false)), (4 * MIB, 0));
}
