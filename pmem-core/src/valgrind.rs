//! Valgrind's client requests: how a program that runs under valgrind tells it about memory.
//!
//! The sequence of instructions and the numbers are the published interface of valgrind 3; outside
//! of valgrind the sequence changes no register but the result. It costs a few cycles, so users ask
//! once, with [`is_running`], and make no request when the answer is no.

pub mod pmemcheck;

const RUNNING_ON_VALGRIND: usize = 0x1001;
const MALLOCLIKE_BLOCK: usize = 0x1301;
const FREELIKE_BLOCK: usize = 0x1302;
const CHANGE_ERR_DISABLEMENT: usize = 0x1801;
/// The requests of memcheck start here.
const MEMCHECK: usize = (b'M' as usize) << 24 | (b'C' as usize) << 16;
const MAKE_MEM_NOACCESS: usize = MEMCHECK;
const MAKE_MEM_UNDEFINED: usize = MEMCHECK + 1;
/// Those of helgrind.
const HELGRIND: usize = (b'H' as usize) << 24 | (b'G' as usize) << 16;
const HELGRIND_UNTRACK: usize = HELGRIND + 0x127;
const HELGRIND_TRACK: usize = HELGRIND + 0x128;
/// Those of drd.
const DRD: usize = (b'D' as usize) << 24 | (b'R' as usize) << 16;
const DRD_START_SUPPRESSION: usize = DRD + 2;
const DRD_FINISH_SUPPRESSION: usize = DRD + 3;

/// Helgrind's, understood by DRD as well.
const CLEAN_MEMORY: usize = HELGRIND;

/// Makes a request; `default` is the answer outside of valgrind.
#[inline(always)]
fn request(default: usize, code: usize, arguments: [usize; 4]) -> usize {
    let [first, second, third, fourth] = arguments;
    let block = [code, first, second, third, fourth, 0];
    let mut answer = default;
    // SAFETY: rotates a register by 128 bits in all, which leaves it as it was, and exchanges a
    // register with itself. Valgrind reads the block and writes the answer.
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    unsafe {
        core::arch::asm!(
            "rol rdi, 3",
            "rol rdi, 13",
            "rol rdi, 61",
            "rol rdi, 51",
            "xchg rbx, rbx",
            in("rax") block.as_ptr(),
            inout("rdx") answer,
            options(nostack),
        );
    }
    // SAFETY: as above, with the registers of this architecture.
    #[cfg(all(target_arch = "aarch64", not(miri)))]
    unsafe {
        core::arch::asm!(
            "ror x12, x12, #3",
            "ror x12, x12, #13",
            "ror x12, x12, #51",
            "ror x12, x12, #61",
            "orr x10, x10, x10",
            in("x4") block.as_ptr(),
            inout("x3") answer,
            options(nostack),
        );
    }
    core::hint::black_box(&block);
    core::mem::take(&mut answer)
}

/// Whether the process runs under valgrind, with any tool.
#[must_use]
pub fn is_running() -> bool {
    request(0, RUNNING_ON_VALGRIND, [0; 4]) != 0
}

/// A block of `len` bytes was handed out, with `redzone` unused bytes on both sides of it.
///
/// Inlined, as all of a request is: valgrind shows users where a block comes from, and every frame in between is one too
/// many.
#[inline(always)]
pub fn block_allocated(block: *const u8, len: usize, redzone: usize) {
    request(0, MALLOCLIKE_BLOCK, [block.addr(), len, redzone, 0]);
}

/// A block was given back, with the same `redzone` as before.
pub fn block_freed(block: *const u8, redzone: usize) {
    request(0, FREELIKE_BLOCK, [block.addr(), redzone, 0, 0]);
}

/// Any access to the range is an error from now on.
pub fn forbid(start: *const u8, len: usize) {
    request(0, MAKE_MEM_NOACCESS, [start.addr(), len, 0, 0]);
}

/// The range may be used, and its bytes have no value yet.
pub fn allow_undefined(start: *const u8, len: usize) {
    request(0, MAKE_MEM_UNDEFINED, [start.addr(), len, 0, 0]);
}

/// Helgrind and drd take no notice of the range from now on. For memory whose users synchronise by atomic operations and
/// futexes, which those tools do not understand.
pub fn ignore_races(start: *const u8, len: usize) {
    request(0, HELGRIND_UNTRACK, [start.addr(), len, 0, 0]);
    request(0, DRD_START_SUPPRESSION, [start.addr(), len, 0, 0]);
}

/// Ends [`ignore_races`].
pub fn notice_races(start: *const u8, len: usize) {
    request(0, HELGRIND_TRACK, [start.addr(), len, 0, 0]);
    request(0, DRD_FINISH_SUPPRESSION, [start.addr(), len, 0, 0]);
}

/// Whether the tool is memcheck, which watches bytes. Others watch threads.
#[must_use]
pub fn is_memcheck() -> bool {
    // Of no bytes at all; memcheck answers, others do not.
    request(0, MAKE_MEM_UNDEFINED, [0; 4]) != 0
}

/// The range is memory that no thread has touched, for tools that watch the order of accesses.
#[inline(never)]
pub fn forget_accesses(start: *const u8, len: usize) {
    request(0, CLEAN_MEMORY, [start.addr(), len, 0, 0]);
}

/// While it lives, nothing that the calling thread does is reported.
#[derive(Debug)]
pub struct Silence(());

impl Silence {
    /// Begins.
    #[must_use]
    #[inline(never)]
    pub fn new() -> Silence {
        request(0, CHANGE_ERR_DISABLEMENT, [1, 0, 0, 0]);
        Silence(())
    }
}

impl Default for Silence {
    fn default() -> Silence {
        Silence::new()
    }
}

impl Drop for Silence {
    #[inline(never)]
    fn drop(&mut self) {
        request(0, CHANGE_ERR_DISABLEMENT, [usize::MAX, 0, 0, 0]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_harmless_outside_of_valgrind() {
        let block = [7u8; 64];
        let valgrind = is_running();
        if !valgrind {
            block_allocated(block.as_ptr(), 64, 0);
            block_freed(block.as_ptr(), 0);
            forbid(block.as_ptr(), 64);
            allow_undefined(block.as_ptr(), 64);
            ignore_races(block.as_ptr(), 64);
            notice_races(block.as_ptr(), 64);
            forget_accesses(block.as_ptr(), 64);
            assert!(!is_memcheck());
            drop(Silence::new());
        }
        assert_eq!(request(4711, 0, [0; 4]) == 4711, !valgrind || cfg!(miri));
        assert_eq!(block, [7; 64]);
    }
}
