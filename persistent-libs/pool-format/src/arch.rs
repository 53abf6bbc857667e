//! The machine a pool was made on: 16 bytes at offset 128 of a header.

use zerocopy::little_endian::{U16, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Alignment of the basic types, class, byte order, ELF number of the machine. Compared as a whole.
#[derive(
    Copy, Clone, PartialEq, Eq, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct ArchFlags {
    /// 4 bits each, lowest first, alignment - 1: char, short, int, long, long long, size_t, off_t, float,
    /// double, long double, pointer.
    pub alignment: U64,
    /// 2: 64-bit.
    pub class: u8,
    /// 1: little-endian.
    pub data: u8,
    reserved: [u8; 4],
    /// As `e_machine` of ELF files.
    pub machine: U16,
}

const _: () = {
    assert!(size_of::<ArchFlags>() == 16);
    assert!(core::mem::offset_of!(ArchFlags, machine) == 14);
};

#[cfg(target_arch = "x86_64")]
const MACHINE: u16 = 62;
#[cfg(target_arch = "aarch64")]
const MACHINE: u16 = 183;

impl ArchFlags {
    /// Of this machine.
    #[must_use]
    pub const fn native() -> ArchFlags {
        ArchFlags {
            // The same on x86-64 and aarch64: `long double` has 16 bytes on both.
            alignment: U64::new(0x0000_07f7_3777_7310),
            class: 2,
            data: 1,
            reserved: [0; 4],
            machine: U16::new(MACHINE),
        }
    }
}
