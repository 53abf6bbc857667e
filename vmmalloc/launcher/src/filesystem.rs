//! File systems by their magic number: what they are called and whether a heap belongs there.

/// Whether a pool file can live on a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Suits {
    /// Yes.
    Local,
    /// It works, but every page may travel over a network, or through a user-space server that may.
    Network,
    /// No: it holds no ordinary files.
    Pseudo,
    /// No: its files cannot be mapped in pages of 4 KiB.
    HugePagesOnly,
}

/// Name and suitability of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kind {
    /// Its name as `mount` shows it.
    pub(crate) name: &'static str,
    /// Whether a pool can live there.
    pub(crate) suits: Suits,
}

/// Magic numbers of `statfs(2)`, sorted by kind.
const KINDS: &[(u64, &str, Suits)] = &[
    (0x0102_1994, "tmpfs", Suits::Local),
    (0x8584_58f6, "ramfs", Suits::Local),
    (0xef53, "ext4", Suits::Local),
    (0x5846_5342, "xfs", Suits::Local),
    (0x9123_683e, "btrfs", Suits::Local),
    (0x794c_7630, "overlayfs", Suits::Local),
    (0xf2f5_2010, "f2fs", Suits::Local),
    (0x2fc1_2fc1, "zfs", Suits::Local),
    (0xca45_1a4e, "bcachefs", Suits::Local),
    (0x4d44, "vfat", Suits::Local),
    (0x2011_bab0, "exfat", Suits::Local),
    (0x7366_746e, "ntfs3", Suits::Local),
    (0x3153_464a, "jfs", Suits::Local),
    (0x5265_4973, "reiserfs", Suits::Local),
    (0x3434, "nilfs2", Suits::Local),
    (0x7371_7368, "squashfs", Suits::Local),
    (0x9660, "iso9660", Suits::Local),
    (0xe0f5_e1e2, "erofs", Suits::Local),
    (0x6969, "nfs", Suits::Network),
    (0xff53_4d42, "cifs", Suits::Network),
    (0xfe53_4d42, "smb2", Suits::Network),
    (0x517b, "smbfs", Suits::Network),
    (0x00c3_6400, "ceph", Suits::Network),
    (0x5346_414f, "afs", Suits::Network),
    (0x6b41_4653, "afs", Suits::Network),
    (0x0102_1997, "9p", Suits::Network),
    (0x6573_5546, "fuse", Suits::Network),
    (0x0bd0_0bd0, "lustre", Suits::Network),
    (0x4750_4653, "gpfs", Suits::Network),
    (0x0116_1970, "gfs2", Suits::Network),
    (0x7461_636f, "ocfs2", Suits::Network),
    (0x786f_4256, "vboxsf", Suits::Network),
    (0x9fa0, "proc", Suits::Pseudo),
    (0x6265_6572, "sysfs", Suits::Pseudo),
    (0x0027_e0eb, "cgroup", Suits::Pseudo),
    (0x6367_7270, "cgroup2", Suits::Pseudo),
    (0x1cd1, "devpts", Suits::Pseudo),
    (0x6462_6720, "debugfs", Suits::Pseudo),
    (0x7472_6163, "tracefs", Suits::Pseudo),
    (0x7363_6673, "securityfs", Suits::Pseudo),
    (0xcafe_4a11, "bpf", Suits::Pseudo),
    (0x6e73_6673, "nsfs", Suits::Pseudo),
    (0x1980_0202, "mqueue", Suits::Pseudo),
    (0x6265_6570, "configfs", Suits::Pseudo),
    (0x6165_676c, "pstore", Suits::Pseudo),
    (0x4249_4e4d, "binfmt_misc", Suits::Pseudo),
    (0xde5e_81e4, "efivarfs", Suits::Pseudo),
    (0xf97c_ff8c, "selinuxfs", Suits::Pseudo),
    (0x9584_58f6, "hugetlbfs", Suits::HugePagesOnly),
];

/// The kind with this magic number; an unknown one is taken for a local file system.
pub(crate) fn kind(magic: u64) -> Kind {
    KINDS.iter().find(|(known, ..)| *known == magic).map_or(
        Kind { name: "unknown", suits: Suits::Local },
        |&(_, name, suits)| Kind { name, suits },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn magic_numbers_are_unique() {
        for (i, (magic, name, _)) in KINDS.iter().enumerate() {
            assert!(KINDS[i + 1..].iter().all(|(other, ..)| other != magic), "{name}");
        }
    }

    #[test]
    fn this_machines_file_systems_are_named() {
        let kind_of =
            |path: &str| kind(crate::os::file_system(std::path::Path::new(path)).unwrap().magic);
        assert_eq!(kind_of("/proc"), Kind { name: "proc", suits: Suits::Pseudo });
        assert_eq!(kind_of("/sys").suits, Suits::Pseudo);
        assert_eq!(kind_of("/dev/shm"), Kind { name: "tmpfs", suits: Suits::Local });
    }
}
