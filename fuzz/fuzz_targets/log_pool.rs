//! Files that are nearly a log: opening and checking them gives an error or a log that works; nothing crashes or hangs.
#![no_main]

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use pmemlog::PmemLog;
use pool_format::PoolHeader;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::OnceLock;
use zerocopy::{FromBytes, IntoBytes};

const BYTES: u64 = 2 << 20;

#[derive(Arbitrary, Debug)]
struct Plan {
    /// Where, below 8 KiB, and what.
    damages: Vec<(u16, u8)>,
    /// Words of the descriptor.
    words: Vec<(u8, u64)>,
    /// Gives the header a checksum that is right.
    seal: bool,
    appends: Vec<u16>,
}

/// The first 8 KiB of a sound log with some content.
fn sound() -> &'static [u8] {
    static BYTES_OF_IT: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES_OF_IT.get_or_init(|| {
        let path = path();
        let _ = std::fs::remove_file(&path);
        PmemLog::create(&path, BYTES).unwrap().append(b"some content").unwrap();
        let bytes = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        bytes[..8192].to_vec()
    })
}

fn path() -> PathBuf {
    format!("/dev/shm/fuzz-log-pool-{}", std::process::id()).into()
}

fuzz_target!(|plan: Plan| {
    let mut start = sound().to_vec();
    for (at, byte) in plan.damages {
        start[usize::from(at) % 8192] = byte;
    }
    for (word, value) in plan.words {
        let at = 4096 + usize::from(word % 8) * 8;
        start[at..at + 8].copy_from_slice(&value.to_le_bytes());
    }
    if plan.seal {
        let mut header = PoolHeader::read_from_bytes(&start[..4096]).unwrap();
        header.seal();
        start[..4096].copy_from_slice(header.as_bytes());
    }
    let path = path();
    let file = std::fs::File::create(&path).unwrap();
    file.set_len(BYTES).unwrap();
    file.write_all_at(&start, 0).unwrap();
    let checked = PmemLog::check(&path).is_ok();
    let opened = PmemLog::open(&path);
    assert_eq!(checked, opened.is_ok());
    if let Ok(log) = opened {
        let mut expected = log.contents().to_vec();
        assert_eq!(expected.len() as u64, log.tell());
        for len in plan.appends {
            let bytes = vec![7; usize::from(len)];
            if log.append(&bytes).is_ok() {
                expected.extend_from_slice(&bytes);
            }
        }
        assert!(*log.contents() == *expected && log.tell() <= log.capacity());
        if log.rewind().is_ok() {
            assert_eq!(log.tell(), 0);
        }
    }
    let _ = std::fs::remove_file(&path);
});
