//! The feature words of a pool header.

use core::fmt;
use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Three words of feature bits, 12 bytes at offset 12 of a header.
#[derive(
    Copy, Clone, PartialEq, Eq, Default, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct Features {
    compat: U32,
    incompat: U32,
    ro_compat: U32,
}

/// A feature this library knows.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Feature {
    /// Opening looks for bad blocks. A program that does not know it may ignore it.
    CheckBadBlocks,
    /// Only the first part of each replica has a header.
    SingleHeader,
    /// The header's checksum covers its first 2 KiB only.
    Checksum2K,
    /// The header has a shutdown state.
    ShutdownState,
}

/// What the features of a pool allow.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Access {
    /// Reading and writing.
    ReadWrite,
    /// A feature is unknown that only readers may ignore.
    ReadOnly,
    /// A feature is unknown that nobody may ignore; these bits of the incompat word.
    Refused(u32),
}

impl Feature {
    const fn bit(self) -> u32 {
        match self {
            Feature::CheckBadBlocks | Feature::SingleHeader => 1,
            Feature::Checksum2K => 2,
            Feature::ShutdownState => 4,
        }
    }
}

impl Features {
    /// All incompat bits that are known.
    const KNOWN_INCOMPAT: u32 = 7;

    /// What the distributions' build of the reference gives new pools.
    #[must_use]
    pub fn of_new_pools() -> Features {
        Features::default()
            .with(Feature::CheckBadBlocks, true)
            .with(Feature::Checksum2K, true)
            .with(Feature::ShutdownState, true)
    }

    /// From the three words.
    #[must_use]
    pub fn from_words(compat: u32, incompat: u32, ro_compat: u32) -> Features {
        Features { compat: compat.into(), incompat: incompat.into(), ro_compat: ro_compat.into() }
    }

    /// The words compat, incompat, ro_compat.
    #[must_use]
    pub fn words(&self) -> [u32; 3] {
        [self.compat.get(), self.incompat.get(), self.ro_compat.get()]
    }

    /// Whether a feature is set.
    #[must_use]
    pub fn has(&self, feature: Feature) -> bool {
        let word = match feature {
            Feature::CheckBadBlocks => self.compat,
            _ => self.incompat,
        };
        word.get() & feature.bit() != 0
    }

    /// The same with a feature set or cleared.
    #[must_use]
    pub fn with(mut self, feature: Feature, on: bool) -> Features {
        let word = match feature {
            Feature::CheckBadBlocks => &mut self.compat,
            _ => &mut self.incompat,
        };
        let others = word.get() & !feature.bit();
        *word = U32::new(if on { others | feature.bit() } else { others });
        self
    }

    /// What a program that knows the features of this library may do with the pool.
    #[must_use]
    pub fn access(&self) -> Access {
        match self.incompat.get() & !Self::KNOWN_INCOMPAT {
            0 if self.ro_compat.get() == 0 => Access::ReadWrite,
            0 => Access::ReadOnly,
            unknown => Access::Refused(unknown),
        }
    }
}

impl fmt::Debug for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [compat, incompat, ro_compat] = self.words();
        write!(f, "compat {compat:#x} incompat {incompat:#x} ro_compat {ro_compat:#x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_new_pools() {
        assert_eq!(Features::of_new_pools().words(), [1, 6, 0]);
        let single = Features::of_new_pools().with(Feature::SingleHeader, true);
        assert_eq!(single.words(), [1, 7, 0]);
        assert!(single.has(Feature::SingleHeader) && single.has(Feature::CheckBadBlocks));
        assert_eq!(single.with(Feature::SingleHeader, false), Features::of_new_pools());
    }

    #[test]
    fn unknown_bits() {
        let access = |compat, incompat, ro| Features::from_words(compat, incompat, ro).access();
        assert_eq!(access(!0, 7, 0), Access::ReadWrite);
        assert_eq!(access(0, 0, 1 << 31), Access::ReadOnly);
        assert_eq!(access(0, 9, 1), Access::Refused(8));
    }
}
