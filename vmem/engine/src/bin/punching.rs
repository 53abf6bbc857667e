//! Pages inside of slabs that no slot in use lies on: given back when they are idle, backed again when
//! slots are wanted. See `slab` for the terms.

use super::Bin;
use crate::arena::Arena;
use crate::config::PAGE;
use crate::extent::Extent;
use crate::size_class::ClassId;
use crate::slab::{self, GROUPS, LISTS, PUNCHED_LIST};
use core::ptr::NonNull;

/// Which empty pages are punched.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Punch {
    /// Those that were empty at the last call, so many milliseconds ago, and since.
    Idle {
        ms: u32,
    },
    All,
}

impl Bin {
    /// Gives empty pages of slabs back to the source. Returns what was done.
    ///
    /// # Safety
    /// This is the bin of `class` in the pool of `arena`.
    #[cold]
    #[inline(never)]
    pub(crate) unsafe fn punch(&mut self, arena: &Arena, class: ClassId, which: Punch) -> Punched {
        let mut done = Punched::default();
        let geometry = class.geometry();
        if !slab::can_be_punched(geometry) || !arena.can_punch() {
            return done;
        }
        // A slab that loses free slots goes to the list of a fuller group, or to the last one: none is
        // met twice.
        for list in 0..GROUPS {
            let mut next = self.lists[list].head();
            while let Some(slab) = NonNull::new(next) {
                // SAFETY: linked slabs are live, and the bin is locked.
                unsafe {
                    next = (*slab.as_ptr()).next;
                    done.slabs += 1;
                    if (*slab.as_ptr()).free_slots as usize * class.size() >= PAGE {
                        self.punch_slab(arena, class, slab.as_ptr(), which, &mut done);
                    }
                }
            }
        }
        done
    }

    /// # Safety
    /// As [`Bin::punch`]; `slab` is in a list of this bin.
    #[cold]
    #[inline(never)]
    unsafe fn punch_slab(
        &mut self,
        arena: &Arena,
        class: ClassId,
        slab: *mut Extent,
        which: Punch,
        done: &mut Punched,
    ) {
        let geometry = class.geometry();
        // SAFETY: contract; no slot on an empty page is in use.
        unsafe {
            let empty = slab::empty_pages(slab, geometry);
            if let Punch::Idle { ms } = which
                && slab::is_empty(slab)
                && (*slab).idle_pages == empty
            {
                self.release(arena, slab, ms);
                return;
            }
            let due = if which == Punch::All { empty } else { empty & (*slab).idle_pages };
            (*slab).idle_pages = empty;
            if due == 0 {
                return;
            }
            let Some(gone) = arena.punch(slab, due) else { return };
            done.calls += 1;
            done.pages += gone.count_ones() as usize;
            let first = arena.map.address_of((*slab).start()).addr();
            let withdrawn = slab::withdraw(slab, geometry, gone, |slot| {
                if let Some(hard) = &arena.map.hard {
                    hard.forget_content(first + slot * class.size());
                }
            });
            let withdrawn = u32::from(withdrawn);
            self.free_slots -= withdrawn;
            self.punched_slots += withdrawn;
            self.punched_pages += gone.count_ones();
            self.regroup(slab);
        }
    }

    /// Backs pages of a slab again for up to `want` slots. Whether there are free slots now.
    ///
    /// # Safety
    /// As [`Bin::punch`]; no slab has a free slot that is not punched.
    #[cold]
    #[inline(never)]
    pub(super) unsafe fn back_some(&mut self, arena: &Arena, class: ClassId, want: usize) -> bool {
        let slab = self.lists[PUNCHED_LIST].head();
        if slab.is_null() {
            return false;
        }
        // SAFETY: linked slabs are live; contract.
        unsafe {
            let pages = slab::pages_for(slab, class.geometry(), want);
            self.back(arena, class, slab, pages);
            (*slab).free_slots > 0
        }
    }
}

impl Bin {
    /// Backs all punched pages again, as far as the source has space.
    ///
    /// # Safety
    /// As [`Bin::punch`].
    #[cold]
    #[inline(never)]
    pub(crate) unsafe fn back_all(&mut self, arena: &Arena, class: ClassId) {
        for list in (0..LISTS).rev() {
            let mut next = self.lists[list].head();
            while let Some(slab) = NonNull::new(next) {
                // SAFETY: linked slabs are live, and the bin is locked. A slab with more free slots goes to the
                // list of an emptier group, which was looked through before.
                unsafe {
                    next = (*slab.as_ptr()).next;
                    let pages = (*slab.as_ptr()).punched;
                    self.back(arena, class, slab.as_ptr(), pages);
                }
            }
        }
    }

    /// Backs punched pages `pages` of `slab` again.
    ///
    /// # Safety
    /// As [`Bin::punch`]; `slab` is in a list of this bin.
    #[cold]
    #[inline(never)]
    unsafe fn back(&mut self, arena: &Arena, class: ClassId, slab: *mut Extent, pages: u16) {
        // SAFETY: contract.
        unsafe {
            let backed = arena.back(slab, pages);
            let restored = u32::from(slab::restore(slab, class.geometry(), backed));
            self.free_slots += restored;
            self.punched_slots -= restored;
            self.punched_pages -= backed.count_ones();
            self.regroup(slab);
        }
    }
}

/// What [`Bin::punch`] did.
#[derive(Default)]
pub(crate) struct Punched {
    /// Pages that went back.
    pub(crate) pages: usize,
    /// Slabs that they belong to, or should have: the source may refuse.
    pub(crate) calls: usize,
    /// Slabs that were looked at.
    pub(crate) slabs: usize,
}

const _: () = assert!(LISTS == GROUPS + 1 && PUNCHED_LIST == GROUPS);
