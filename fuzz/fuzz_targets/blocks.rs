//! Block layouts with damaged bookkeeping: opening, reading, writing and checking give errors or blocks; nothing crashes,
//! hangs, or touches memory outside.
#![no_main]

use btt::{Btt, Config};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use pmem_core::persist::Cpu;
use pool_format::btt::InfoBlock;
use pool_format::{Mapping, Uuid};
use std::os::fd::AsRawFd;
use std::ptr::NonNull;
use std::sync::OnceLock;
use zerocopy::{FromBytes, IntoBytes};

const BYTES: usize = 16 << 20;
const CONFIG: Config = Config {
    start: 0,
    len: BYTES as u64,
    block_size: 512,
    parent_uuid: Uuid([7; 16]),
    is_zeroed: true,
    writable: true,
};

#[derive(Arbitrary, Debug)]
struct Plan {
    /// Which structure, which word of it, and its new value.
    damages: Vec<(Place, u16, u32)>,
    /// Gives the info blocks checksums that are right.
    seal: bool,
    operations: Vec<(u8, u16)>,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Place {
    Info,
    Copy,
    Map,
    Flog,
}

/// A private mapping of a sound layout, and where its structures are.
struct Sound {
    base: usize,
    info: InfoBlock,
}

fn blocks(base: *mut u8) -> Result<Btt<Mapping>, btt::Error> {
    let base = NonNull::new(base).unwrap();
    // SAFETY: the mapping is never undone.
    let mapping = unsafe { Mapping::borrowed(base, BYTES, Cpu::get()) };
    Btt::open(mapping, CONFIG)
}

fn map(file: &std::fs::File, how: i32) -> *mut u8 {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a fresh range.
    let base =
        unsafe { libc::mmap(std::ptr::null_mut(), BYTES, protection, how, file.as_raw_fd(), 0) };
    assert_ne!(base, libc::MAP_FAILED);
    base.cast()
}

fn sound() -> &'static Sound {
    static SOUND: OnceLock<Sound> = OnceLock::new();
    SOUND.get_or_init(|| {
        let path = format!("/dev/shm/fuzz-blocks-{}", std::process::id());
        let options =
            std::fs::File::options().read(true).write(true).create(true).truncate(true).open(&path);
        let file = options.unwrap();
        file.set_len(BYTES as u64).unwrap();
        let base = map(&file, libc::MAP_SHARED);
        let made = blocks(base).unwrap();
        for block in 0..600 {
            made.write(block * 7, &[block as u8; 512]).unwrap();
        }
        drop(made);
        // SAFETY: mapped; nobody writes any more.
        let bytes = unsafe { std::slice::from_raw_parts(base, 4096) };
        let info = InfoBlock::read_from_bytes(bytes).unwrap();
        std::fs::remove_file(&path).unwrap();
        Sound { base: map(&file, libc::MAP_PRIVATE).expose_provenance(), info }
    })
}

fuzz_target!(|plan: Plan| {
    let sound = sound();
    let base = std::ptr::with_exposed_provenance_mut::<u8>(sound.base);
    // SAFETY: ours; the file's content shows again.
    unsafe { libc::madvise(base.cast(), BYTES, libc::MADV_DONTNEED) };
    // SAFETY: mapped, and used by this thread only.
    let bytes = unsafe { std::slice::from_raw_parts_mut(base, BYTES) };
    let info = &sound.info;
    for (place, word, value) in plan.damages {
        let word = usize::from(word);
        let at = match place {
            // The fields are in the first 120 bytes.
            Place::Info => word % 30 * 4,
            Place::Copy => info.infooff.get() as usize + word % 30 * 4,
            Place::Map => info.mapoff.get() as usize + word % info.external_nlba.get() as usize * 4,
            Place::Flog => info.flogoff.get() as usize + word % 4096 * 4,
        };
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }
    if plan.seal {
        for at in [0, info.infooff.get() as usize] {
            let mut info = InfoBlock::read_from_bytes(&bytes[at..at + 4096]).unwrap();
            info.seal();
            bytes[at..at + 4096].copy_from_slice(info.as_bytes());
        }
    }
    let Ok(blocks) = blocks(base) else { return };
    let _ = blocks.check();
    let mut buffer = [0; 512];
    for (what, block) in plan.operations {
        let block = u64::from(block);
        match what % 4 {
            0 => drop(blocks.read(block, &mut buffer)),
            1 => {
                if blocks.write(block, &[what; 512]).is_ok() {
                    blocks.read(block, &mut buffer).unwrap();
                }
            }
            2 => {
                if blocks.set_zero(block).is_ok() && blocks.read(block, &mut buffer).is_ok() {
                    assert_eq!(buffer, [0; 512]);
                }
            }
            _ => drop(blocks.set_error(block)),
        }
    }
    let _ = blocks.check();
});
