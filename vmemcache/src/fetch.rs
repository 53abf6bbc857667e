//! Asking the processor for memory before it is used. Hints: nothing happens at addresses that cannot be used.

/// Bytes that processors fetch at once.
const LINE: usize = 64;

/// Fetches `len` bytes from `start` on, to be read soon; at least one.
#[inline(always)]
pub(crate) fn for_reading(start: *const u8, len: usize) {
    for at in (0..len).step_by(LINE) {
        line::<false>(start.wrapping_add(at));
    }
    line::<false>(start.wrapping_add(len.saturating_sub(1)));
}

/// Fetches `len` bytes from `start` on, to be written soon.
#[inline(always)]
pub(crate) fn for_writing(start: *const u8, len: usize) {
    for at in (0..len).step_by(LINE) {
        line::<true>(start.wrapping_add(at));
    }
}

/// Fetches the line of an address, to be read soon.
#[inline(always)]
pub(crate) fn line_for_reading(address: *const u8) {
    line::<false>(address);
}

/// Fetches the line of an address, to be written soon.
#[inline(always)]
pub(crate) fn line_for_writing(address: *const u8) {
    line::<true>(address);
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
#[inline(always)]
fn line<const WRITE: bool>(address: *const u8) {
    use std::arch::x86_64::{_MM_HINT_ET0, _MM_HINT_T0, _mm_prefetch};
    // SAFETY: a hint, for any address.
    unsafe {
        if WRITE {
            _mm_prefetch::<_MM_HINT_ET0>(address.cast::<i8>());
        } else {
            _mm_prefetch::<_MM_HINT_T0>(address.cast::<i8>());
        }
    }
}

#[cfg(all(target_arch = "aarch64", not(miri)))]
#[inline(always)]
fn line<const WRITE: bool>(address: *const u8) {
    use std::arch::asm;
    // SAFETY: a hint, for any address.
    unsafe {
        if WRITE {
            asm!("prfm pstl1keep, [{}]", in(reg) address, options(nostack, preserves_flags));
        } else {
            asm!("prfm pldl1keep, [{}]", in(reg) address, options(nostack, preserves_flags));
        }
    }
}

#[cfg(not(all(any(target_arch = "x86_64", target_arch = "aarch64"), not(miri))))]
#[inline(always)]
fn line<const WRITE: bool>(_: *const u8) {}
