//! The shutdown state: tells a power cut that lost stores from one that did not.
//!
//! Some devices count the times they lost power before their buffers were written. A pool keeps the count while it
//! is open; when it was open (dirty) and the count has changed, stores may be lost.

use crate::checksum;
use zerocopy::little_endian::U64;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// 64 bytes at offset 4024 of the header of a replica's first part.
#[derive(
    Copy, Clone, PartialEq, Eq, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct ShutdownState {
    /// Sum of the unsafe shutdown counts of the parts' devices.
    pub count: U64,
    /// Sum of the checksums of the parts' device ids.
    pub devices: U64,
    /// 1 while the pool is open.
    pub dirty: u8,
    reserved: [u8; 39],
    checksum: U64,
}

const _: () = {
    assert!(size_of::<ShutdownState>() == 64);
    assert!(core::mem::offset_of!(ShutdownState, dirty) == 16);
    assert!(core::mem::offset_of!(ShutdownState, checksum) == 56);
};

/// The devices under the parts of a replica, as they are now.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct DeviceState {
    /// Sum of the unsafe shutdown counts.
    pub count: u64,
    /// Sum of the checksums of the device ids.
    pub devices: u64,
}

impl DeviceState {
    /// Adds a part on a device with this id and count; `None` is a device that has neither.
    pub fn add(&mut self, device: Option<(&str, u64)>) {
        let (id, count) = device.unwrap_or(("", 0));
        self.count = self.count.wrapping_add(count);
        let mut bytes = id.as_bytes().to_vec();
        if !bytes.is_empty() {
            bytes.push(0);
        }
        // Padded by at least one byte: zero words advance the sum, so the amount matters.
        bytes.resize(bytes.len() + (4 - bytes.len() % 4), 0);
        self.devices = self.devices.wrapping_add(checksum(&bytes, None, None));
    }
}

impl ShutdownState {
    /// A closed pool on `now`; on devices that count nothing all bytes are zero.
    #[must_use]
    pub fn closed(now: DeviceState) -> ShutdownState {
        Self::new(now, false)
    }

    /// An open pool on `now`.
    #[must_use]
    pub fn open(now: DeviceState) -> ShutdownState {
        Self::new(now, true)
    }

    fn new(now: DeviceState, dirty: bool) -> ShutdownState {
        let mut state = ShutdownState {
            count: now.count.into(),
            devices: now.devices.into(),
            dirty: dirty.into(),
            reserved: [0; 39],
            checksum: U64::ZERO,
        };
        state.checksum = state.sum().into();
        state
    }

    fn sum(&self) -> u64 {
        checksum(self.as_bytes(), Some(core::mem::offset_of!(ShutdownState, checksum)), None)
    }

    /// Whether stores may have been lost since the pool was open.
    #[must_use]
    pub fn lost_stores(&self, now: DeviceState) -> bool {
        let same = self.count.get() == now.count && self.devices.get() == now.devices;
        self.checksum.get() == self.sum() && !same && self.dirty != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: DeviceState = DeviceState { count: 3, devices: 77 };
    const AFTER_CUT: DeviceState = DeviceState { count: 4, devices: 77 };

    #[test]
    fn bytes_without_counting_devices() {
        let nothing = DeviceState::default();
        assert_eq!(ShutdownState::closed(nothing).as_bytes(), [0; 64]);
        assert_eq!(ShutdownState::open(nothing).checksum.get(), 0x0000_000c_0000_0001);
    }

    #[test]
    fn only_an_open_pool_loses_stores() {
        assert!(!ShutdownState::open(HERE).lost_stores(HERE));
        assert!(!ShutdownState::closed(HERE).lost_stores(AFTER_CUT));
        assert!(ShutdownState::open(HERE).lost_stores(AFTER_CUT));
        let mut damaged = ShutdownState::open(HERE);
        damaged.count = 9.into();
        assert!(!damaged.lost_stores(AFTER_CUT));
    }

    #[test]
    fn ids_are_padded() {
        let sum = |id| {
            let mut state = DeviceState::default();
            state.add(Some((id, 2)));
            assert_eq!(state.count, 2);
            state.devices
        };
        assert_eq!(sum("abc"), checksum(b"abc\0\0\0\0\0", None, None));
        assert_eq!(sum("abcd"), checksum(b"abcd\0\0\0\0", None, None));
        let mut nowhere = DeviceState::default();
        nowhere.add(None);
        assert_eq!(nowhere, DeviceState::default());
    }
}
