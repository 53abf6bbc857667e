//! `pmem-launch`: the program is C, see `c/launch.c`; this file only gives it a place in the workspace.
//!
//! Where panics abort (release builds) the Rust standard library stays out, so that the process starts
//! with libc alone.
#![cfg_attr(panic = "abort", no_std)]
#![no_main]

#[cfg(panic = "abort")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {
        core::hint::spin_loop();
    }
}
