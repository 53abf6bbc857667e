//! A table of what is alive: entries get a place, which is used again, and an id, which never is.
//!
//! Whoever remembers a place and an id can ask whether the entry is still there. The owner keeps the
//! table behind a lock; under the same lock an entry is found, used and removed, so what was found
//! does not go away while it is used.

use core::ptr::{self, NonNull};
use pmem_core::errno::Errno;
use pmem_core::sys;

/// A free cell has id 0, and the place of the next free one instead of an entry.
struct Cell<T> {
    id: u64,
    entry: Content<T>,
}

union Content<T> {
    live: NonNull<T>,
    next_free: usize,
}

/// See the module text.
pub(crate) struct Slots<T> {
    /// `capacity` cells, mapped by the first entry; DRAM is used as far as `used`.
    cells: *mut Cell<T>,
    capacity: usize,
    /// Places ever used; those above are free without being listed.
    used: usize,
    /// First free place below `used`; `capacity` when there is none.
    first_free: usize,
    last_id: u64,
}

// SAFETY: a table of pointers, owned; whether what they point to may be used from another thread is
// checked where it is used.
unsafe impl<T: Sync> Send for Slots<T> {}

impl<T> Slots<T> {
    /// An empty table with room for `capacity` entries.
    pub(crate) const fn new(capacity: usize) -> Slots<T> {
        Slots { cells: ptr::null_mut(), capacity, used: 0, first_free: capacity, last_id: 0 }
    }

    /// Lets `describe` finish an entry with its id and place, and enters it.
    ///
    /// # Errors
    /// EMFILE when the table is full, ENOMEM without memory for it; `describe` was not called.
    ///
    /// # Safety
    /// `entry` stays valid until it is removed; nobody else uses it before `describe` is done.
    pub(crate) unsafe fn insert(
        &mut self,
        entry: NonNull<T>,
        describe: impl FnOnce(u64, usize),
    ) -> Result<(), Errno> {
        if self.cells.is_null() {
            let bytes = self.capacity * size_of::<Cell<T>>();
            self.cells = sys::map_anonymous(bytes)?.cast().as_ptr();
        }
        let place = self.first_free;
        let place = if place < self.capacity {
            // SAFETY: listed places are below `used`, and free.
            self.first_free = unsafe { (*self.cells.add(place)).entry.next_free };
            place
        } else if self.used < self.capacity {
            self.used += 1;
            self.used - 1
        } else {
            return Err(Errno::EMFILE);
        };
        self.last_id += 1;
        describe(self.last_id, place);
        let cell = Cell { id: self.last_id, entry: Content { live: entry } };
        // SAFETY: below the capacity.
        unsafe { self.cells.add(place).write(cell) };
        Ok(())
    }

    /// Removes the entry at `place`. It can no longer be found when this returns.
    ///
    /// # Safety
    /// There is an entry at `place`.
    pub(crate) unsafe fn remove(&mut self, place: usize) {
        let cell = Cell { id: 0, entry: Content { next_free: self.first_free } };
        // SAFETY: contract: below `used`.
        unsafe { self.cells.add(place).write(cell) };
        self.first_free = place;
    }

    /// The entry at `place`, if it is the one with this id.
    pub(crate) fn find(&self, place: usize, id: u64) -> Option<&T> {
        if place >= self.used || id == 0 {
            return None;
        }
        // SAFETY: a used place.
        let cell = unsafe { self.cells.add(place).read() };
        if cell.id != id {
            return None;
        }
        // SAFETY: the cell has an id, so it holds an entry, valid until it is removed, which takes
        // `&mut self`.
        Some(unsafe { cell.entry.live.as_ref() })
    }

    /// All entries.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        (0..self.used).filter_map(|place| {
            // SAFETY: a used place.
            let id = unsafe { (*self.cells.add(place)).id };
            self.find(place, id)
        })
    }
}

impl<T> Drop for Slots<T> {
    fn drop(&mut self) {
        if let Some(cells) = NonNull::new(self.cells) {
            // SAFETY: mapped by `insert` with this length, and nobody has the table any more.
            let _ = unsafe { sys::unmap(cells.cast(), self.capacity * size_of::<Cell<T>>()) };
        }
    }
}

#[cfg(all(test, not(pmem_loom)))]
mod tests {
    use super::*;

    /// Enters a number; gives its id and place.
    fn enter(slots: &mut Slots<u32>, number: &'static u32) -> Result<(u64, usize), Errno> {
        let mut got = (0, 0);
        // SAFETY: the number is static.
        unsafe { slots.insert(NonNull::from(number), |id, place| got = (id, place)) }?;
        Ok(got)
    }

    #[test]
    fn places_are_used_again_and_ids_are_not() {
        let mut slots = Slots::new(3);
        let entered: [_; 3] = [&10, &11, &12].map(|number| enter(&mut slots, number).unwrap());
        assert_eq!(entered, [(1, 0), (2, 1), (3, 2)]);
        assert_eq!(enter(&mut slots, &13), Err(Errno::EMFILE));
        // SAFETY: entries that are there.
        unsafe {
            slots.remove(1);
            slots.remove(0);
        }
        assert_eq!((slots.find(0, 1), slots.find(1, 2), slots.find(2, 3)), (None, None, Some(&12)));
        assert_eq!(enter(&mut slots, &14), Ok((4, 0)));
        assert_eq!(enter(&mut slots, &15), Ok((5, 1)));
        assert_eq!(enter(&mut slots, &16), Err(Errno::EMFILE));
        assert_eq!(
            (slots.find(0, 1), slots.find(0, 4), slots.find(1, 5)),
            (None, Some(&14), Some(&15))
        );
        assert!(slots.iter().eq(&[14, 15, 12]));
    }

    #[test]
    fn nothing_is_found_where_nothing_is() {
        let mut slots = Slots::new(3);
        assert_eq!((slots.find(0, 0), slots.find(0, 1), slots.iter().count()), (None, None, 0));
        enter(&mut slots, &1).unwrap();
        // SAFETY: an entry that is there.
        unsafe { slots.remove(0) };
        // Id 0 stands for "none" in the entries of threads.
        assert_eq!((slots.find(0, 0), slots.find(0, 1), slots.find(1, 0)), (None, None, None));
        assert_eq!(slots.iter().count(), 0);
    }
}
