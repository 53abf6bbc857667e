//! Size classes: how a request becomes a slot size, and how a slab of each class is cut.
//!
//! ```text
//! class 0        reserved: "not a slot of a slab" in the page map
//! class 1        8
//! class 2..=9    16, 32 ... 128                 (steps of 16)
//! class 10..=97  8 classes per doubling         144 ... 256, 288 ... 512, ..., 256 KiB
//! ```
//!
//! A class above 128 bytes is `(8 + k) << m` with k in 1..=8, so the waste inside a slot stays
//! under 1/9, and `4096 >> m` slots fill exactly `8 + k` pages: slabs have no tail.

use crate::config::{PAGE, PAGE_SHIFT};

/// Number of classes, the reserved class 0 included.
pub const CLASS_COUNT: usize = 98;
/// Largest slot in bytes; larger requests get whole pages of their own.
pub const MAX_SMALL: usize = 256 << 10;
/// Requests up to this size find their class in [`SMALL_TABLE`].
pub(crate) const TABLE_MAX: usize = 1024;
pub(crate) const TABLE_LEN: usize = TABLE_MAX / 8 + 1;
/// Most slots in a slab: what the bitmap of an extent descriptor can hold.
pub(crate) const MAX_SLOTS: usize = 512;

/// A size class index, `1..CLASS_COUNT`; 0 stands for "no class".
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord)]
pub struct ClassId(pub(crate) u8);

/// What a slab of a class looks like.
#[derive(Clone, Copy)]
pub(crate) struct Geometry {
    /// Slot size in bytes.
    pub(crate) size: u32,
    /// Pages of a slab.
    pub(crate) pages: u16,
    /// Slots of a slab.
    pub(crate) slots: u16,
    /// `ceil(2^64 / size)`: the high half of `offset * reciprocal` is the slot index.
    pub(crate) reciprocal: u64,
}

const fn size_of_class(class: usize) -> usize {
    match class {
        0 => 0,
        1 => 8,
        2..=9 => 16 * (class - 1),
        _ => (9 + (class - 10) % 8) << (4 + (class - 10) / 8),
    }
}

const fn geometry_of_class(class: usize) -> Geometry {
    let size = size_of_class(class);
    let slots = match class {
        0 => 0,
        1..=5 => MAX_SLOTS,
        6..=9 => 256,
        _ => {
            let m = 4 + (class - 10) / 8;
            if m < PAGE_SHIFT as usize { PAGE >> m } else { 1 }
        }
    };
    Geometry {
        size: size as u32,
        pages: ((size * slots) >> PAGE_SHIFT) as u16,
        slots: slots as u16,
        reciprocal: if class == 0 { 0 } else { (u64::MAX / size as u64).wrapping_add(1) },
    }
}

/// Geometry of each class, indexed by class.
pub(crate) static GEOMETRY: [Geometry; CLASS_COUNT] = {
    let mut table = [geometry_of_class(0); CLASS_COUNT];
    let mut class = 1;
    while class < CLASS_COUNT {
        table[class] = geometry_of_class(class);
        class += 1;
    }
    table
};

/// Class of each request of up to [`TABLE_MAX`] bytes, indexed by `(size + 7) / 8`.
pub(crate) const SMALL_TABLE: [u8; TABLE_LEN] = {
    let mut table = [1; TABLE_LEN];
    let mut index = 1;
    let mut class = 1;
    while index < TABLE_LEN {
        if index * 8 > size_of_class(class) {
            class += 1;
        }
        table[index] = class as u8;
        index += 1;
    }
    table
};

impl ClassId {
    /// The class that serves `size` bytes, or `None` above [`MAX_SMALL`].
    #[inline]
    pub const fn for_size(size: usize) -> Option<ClassId> {
        if size <= TABLE_MAX {
            Some(ClassId(SMALL_TABLE[(size + 7) >> 3]))
        } else if size <= MAX_SMALL {
            Some(ClassId::for_medium(size))
        } else {
            None
        }
    }

    /// The class of a request in `TABLE_MAX + 1 ..= MAX_SMALL`.
    #[inline(always)]
    pub(crate) const fn for_medium(size: usize) -> ClassId {
        let last = size - 1;
        let m = (last.ilog2() - 3) as usize;
        ClassId(((m - 4) * 8 + 2 + (last >> m)) as u8)
    }

    /// Slot size in bytes.
    #[inline]
    pub const fn size(self) -> usize {
        size_of_class(self.0 as usize)
    }

    /// The smallest class at least `size` bytes whose slots are all aligned to `align` bytes.
    ///
    /// Slabs start on a page, so every slot is aligned when the slot size is a multiple of
    /// `align`. `None` when `align` exceeds a page or no class is large enough.
    pub fn for_aligned(size: usize, align: usize) -> Option<ClassId> {
        debug_assert!(align.is_power_of_two());
        if align > PAGE {
            return None;
        }
        let mut class = ClassId::for_size(size.max(1).checked_add(align - 1)? & !(align - 1))?;
        while !class.size().is_multiple_of(align) {
            if usize::from(class.0) + 1 == CLASS_COUNT {
                return None;
            }
            class = ClassId(class.0 + 1);
        }
        Some(class)
    }

    #[inline(always)]
    pub(crate) fn geometry(self) -> &'static Geometry {
        // SAFETY: a ClassId is always below CLASS_COUNT (constructed only in this module and from
        // the page map, which stores classes of this module).
        unsafe { GEOMETRY.get_unchecked(usize::from(self.0)) }
    }

    /// All classes in ascending order of size.
    pub fn all() -> impl Iterator<Item = ClassId> {
        (1..CLASS_COUNT as u8).map(ClassId)
    }
}

const _: () = {
    let mut class = 1;
    while class < CLASS_COUNT {
        let g = geometry_of_class(class);
        let size = size_of_class(class);
        assert!(size_of_class(class - 1) < size, "classes ascend");
        assert!(size * g.slots as usize == (g.pages as usize) << PAGE_SHIFT, "no tail");
        assert!(g.slots as usize <= MAX_SLOTS && g.slots > 0);
        // Worst request of the class is one byte more than the class below.
        let waste = size - (size_of_class(class - 1) + 1);
        assert!(class < 10 || waste * 8 <= size, "at most 12.5 % inside a slot");
        // Every slot offset maps back to its index.
        let mut slot = 0;
        while slot < g.slots as u128 {
            let first = slot * size as u128;
            assert!((first * g.reciprocal as u128) >> 64 == slot);
            assert!(((first + size as u128 - 1) * g.reciprocal as u128) >> 64 == slot);
            slot += 61;
        }
        class += 1;
    }
    assert!(size_of_class(CLASS_COUNT - 1) == MAX_SMALL);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_gets_the_smallest_class_that_holds_it() {
        let mut expected = 1;
        let largest = if cfg!(miri) { 5_000 } else { MAX_SMALL };
        for size in 1..=largest {
            if size > size_of_class(expected) {
                expected += 1;
            }
            assert_eq!(ClassId::for_size(size), Some(ClassId(expected as u8)), "size {size}");
        }
        assert_eq!(ClassId::for_size(0), Some(ClassId(1)));
        assert_eq!(ClassId::for_size(MAX_SMALL + 1), None);
        assert_eq!(ClassId::for_size(usize::MAX), None);
    }

    #[test]
    fn aligned_classes_are_multiples_of_their_alignment() {
        for shift in 0..=12 {
            let align = 1 << shift;
            for size in [0, 1, 8, 17, 100, 1000, 5000, 70_000, MAX_SMALL] {
                if let Some(class) = ClassId::for_aligned(size, align) {
                    assert!(class.size() >= size && class.size() % align == 0);
                }
            }
        }
        assert_eq!(ClassId::for_aligned(8, 8192), None);
        assert_eq!(ClassId::for_aligned(usize::MAX, 16), None);
    }
}
