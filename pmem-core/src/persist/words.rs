//! Stores of at most 8 bytes, for any machine.

/// Loads 8 bytes from any address.
///
/// # Safety
/// They are readable.
#[inline]
pub(super) unsafe fn load(src: *const u8) -> u64 {
    // SAFETY: readable by the caller's contract.
    unsafe { src.cast::<u64>().read_unaligned() }
}

/// Stores 8 bytes at any address, with one instruction where the machine can.
///
/// # Safety
/// They are writable.
#[inline]
pub(super) unsafe fn store(dest: *mut u8, value: u64) {
    // SAFETY: writable by the caller's contract.
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    unsafe {
        core::arch::asm!("mov [{}], {}", in(reg) dest, in(reg) value, options(nostack, preserves_flags));
    }
    // SAFETY: as above.
    #[cfg(all(target_arch = "aarch64", not(miri)))]
    unsafe {
        core::arch::asm!("str {}, [{}]", in(reg) value, in(reg) dest, options(nostack, preserves_flags));
    }
    // SAFETY: as above.
    #[cfg(any(miri, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
    unsafe {
        if dest.addr() % 8 == 0 {
            dest.cast::<u64>().write_volatile(value);
        } else {
            dest.cast::<u64>().write_unaligned(value);
        }
    }
}

/// Copies fewer than 8 bytes, as `memmove`.
///
/// # Safety
/// The ranges are readable and writable.
pub(super) unsafe fn copy_bytes(dest: *mut u8, src: *const u8, len: usize) {
    let mut bytes = [0; 8];
    for (at, byte) in bytes.iter_mut().enumerate().take(len) {
        // SAFETY: inside the range.
        *byte = unsafe { src.add(at).read() };
    }
    for (at, &byte) in bytes.iter().enumerate().take(len) {
        // SAFETY: inside the range.
        unsafe { dest.add(at).write_volatile(byte) };
    }
}

/// Copies `len` bytes, a multiple of 8, to an aligned address, from the front or from the back.
///
/// # Safety
/// The ranges are readable and writable; if they overlap, the direction suits.
pub(super) unsafe fn copy_words(dest: *mut u8, src: *const u8, len: usize, backwards: bool) {
    let mut done = 0;
    while done < len {
        let at = if backwards { len - done - 8 } else { done };
        // SAFETY: an aligned word inside the range.
        unsafe { store(dest.add(at), load(src.add(at))) };
        done += 8;
    }
}

/// Sets `len` bytes, a multiple of 8, at an aligned address.
///
/// # Safety
/// The range is writable.
pub(super) unsafe fn set_words(dest: *mut u8, value: u64, len: usize) {
    for at in (0..len).step_by(8) {
        // SAFETY: an aligned word inside the range.
        unsafe { store(dest.add(at), value) };
    }
}
