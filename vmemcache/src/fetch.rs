//! Asking the processor for memory before it is used.

/// Bytes that processors fetch at once.
const LINE: usize = 64;

/// Fetches `len` bytes from `start` on, to be written soon. A hint: nothing happens at addresses that cannot be used.
#[inline]
pub(crate) fn for_writing(start: *const u8, len: usize) {
    for at in (0..len).step_by(LINE) {
        line(start.wrapping_add(at));
    }
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
#[inline]
fn line(address: *const u8) {
    use std::arch::x86_64::{_MM_HINT_ET0, _mm_prefetch};
    // SAFETY: a hint, for any address.
    unsafe { _mm_prefetch::<_MM_HINT_ET0>(address.cast::<i8>()) };
}

#[cfg(all(target_arch = "aarch64", not(miri)))]
#[inline]
fn line(address: *const u8) {
    // SAFETY: a hint, for any address.
    unsafe {
        std::arch::asm!("prfm pstl1keep, [{}]", in(reg) address, options(nostack, preserves_flags));
    }
}

#[cfg(not(all(any(target_arch = "x86_64", target_arch = "aarch64"), not(miri))))]
#[inline]
fn line(_: *const u8) {}
