//! The thread slot: two words of thread-local storage, read with two instructions.
//!
//! Word 0 is the cache of the default heap, initially [`crate::cache::empty`]; word 1 is the thread record
//! (see `thread`), initially null. The slot is declared in assembly because stable Rust cannot
//! choose the initial-exec model, which a malloc replacement needs: the dynamic models may allocate
//! on access. Kept to 16 bytes, since a library loaded by dlopen takes them from a small surplus.

use crate::cache::Cache;
use crate::thread::Record;

#[cfg(not(miri))]
mod imp {
    use crate::cache::EMPTY_CACHE;
    use core::arch::{asm, global_asm};

    /// The symbol carries the version, so that two versions can live in one binary.
    macro_rules! slot_symbol {
        () => {
            concat!(
                "pmem_tls_slot_v",
                env!("CARGO_PKG_VERSION_MAJOR"),
                "_",
                env!("CARGO_PKG_VERSION_MINOR")
            )
        };
    }

    global_asm!(
        ".pushsection .tdata,\"awT\",%progbits",
        ".p2align 4",
        concat!(".globl ", slot_symbol!()),
        concat!(".hidden ", slot_symbol!()),
        concat!(".type ", slot_symbol!(), ",%object"),
        concat!(".size ", slot_symbol!(), ",16"),
        concat!(slot_symbol!(), ":"),
        ".quad {empty}",
        ".quad 0",
        ".popsection",
        empty = sym EMPTY_CACHE,
    );

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(super) fn load(word: usize) -> *mut u8 {
        let value: *mut u8;
        // SAFETY: reads the calling thread's own slot; the symbol is defined above and resolves to
        // an offset from the thread pointer.
        unsafe {
            if word == 0 {
                asm!(
                    concat!("mov {v}, qword ptr [rip + ", slot_symbol!(), "@GOTTPOFF]"),
                    "mov {v}, qword ptr fs:[{v}]",
                    v = out(reg) value,
                    options(pure, readonly, nostack, preserves_flags),
                );
            } else {
                asm!(
                    concat!("mov {v}, qword ptr [rip + ", slot_symbol!(), "@GOTTPOFF]"),
                    "mov {v}, qword ptr fs:[{v} + 8]",
                    v = out(reg) value,
                    options(pure, readonly, nostack, preserves_flags),
                );
            }
        }
        value
    }

    #[cfg(target_arch = "x86_64")]
    pub(super) fn store(word: usize, value: *mut u8) {
        // SAFETY: writes the calling thread's own slot.
        unsafe {
            asm!(
                concat!("mov {t}, qword ptr [rip + ", slot_symbol!(), "@GOTTPOFF]"),
                "mov qword ptr fs:[{t} + {o}], {v}",
                t = out(reg) _,
                o = in(reg) word * 8,
                v = in(reg) value,
                options(nostack, preserves_flags),
            );
        }
    }

    #[cfg(target_arch = "aarch64")]
    #[inline(always)]
    fn slot() -> *mut *mut u8 {
        let at: *mut *mut u8;
        // SAFETY: computes an address relative to the thread pointer.
        unsafe {
            asm!(
                concat!("adrp {t}, :gottprel:", slot_symbol!()),
                concat!("ldr {t}, [{t}, #:gottprel_lo12:", slot_symbol!(), "]"),
                "mrs {a}, tpidr_el0",
                "add {a}, {a}, {t}",
                t = out(reg) _,
                a = out(reg) at,
                options(pure, nomem, nostack, preserves_flags),
            );
        }
        at
    }

    #[cfg(target_arch = "aarch64")]
    #[inline(always)]
    pub(super) fn load(word: usize) -> *mut u8 {
        // SAFETY: the thread's own slot of two words.
        unsafe { slot().add(word).read() }
    }

    #[cfg(target_arch = "aarch64")]
    pub(super) fn store(word: usize, value: *mut u8) {
        // SAFETY: the thread's own slot of two words.
        unsafe { slot().add(word).write(value) }
    }
}

#[cfg(miri)]
mod imp {
    extern crate std;
    use core::cell::Cell;

    std::thread_local! {
        static SLOT: [Cell<*mut u8>; 2] =
            [Cell::new(crate::cache::empty().cast()), Cell::new(core::ptr::null_mut())];
    }

    pub(super) fn load(word: usize) -> *mut u8 {
        SLOT.with(|slot| slot[word].get())
    }

    pub(super) fn store(word: usize, value: *mut u8) {
        SLOT.with(|slot| slot[word].set(value))
    }
}

/// The calling thread's cache of the default heap; never null.
#[inline(always)]
pub(crate) fn cache() -> *mut Cache {
    imp::load(0).cast()
}

pub(crate) fn set_cache(cache: *mut Cache) {
    imp::store(0, cache.cast());
}

/// The calling thread's record, null before its first slow path.
#[inline(always)]
pub(crate) fn record() -> *mut Record {
    imp::load(1).cast()
}

pub(crate) fn set_record(record: *mut Record) {
    imp::store(1, record.cast());
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;

    #[test]
    fn each_thread_starts_with_the_empty_cache() {
        std::thread::spawn(|| {
            assert_eq!(cache(), crate::cache::empty());
            assert!(record().is_null());
            set_cache(core::ptr::without_provenance_mut(64));
            assert_eq!(cache().addr(), 64);
            assert!(record().is_null());
            set_cache(crate::cache::empty());
        })
        .join()
        .unwrap();
    }
}
