//! What std would provide: the end of a panic, and a symbol that core refers to.

#[cfg(panic = "abort")]
mod imp {
    use core::fmt::Write;
    use core::panic::PanicInfo;
    use pmem_core::fmt::StackBuf;
    use pmem_core::sys;

    /// One line on standard error, then abort. Nothing unwinds, nothing allocates.
    #[panic_handler]
    fn panic(info: &PanicInfo<'_>) -> ! {
        let mut line = StackBuf::<512>::new();
        // Writing to the buffer cannot fail; what does not fit is cut.
        let _ = write!(line, "libvmmalloc: {}", info.message());
        if let Some(at) = info.location() {
            let _ = write!(line, " ({}:{})", at.file(), at.line());
        }
        let _ = writeln!(line);
        sys::abort_with(line.as_bytes())
    }

    // Builds without link-time optimisation refer to the personality function of the precompiled
    // core library. It is never called, since nothing unwinds; without a definition the library
    // would not load.
    core::arch::global_asm!(
        ".pushsection .text.rust_eh_personality,\"ax\",%progbits",
        ".globl rust_eh_personality",
        ".hidden rust_eh_personality",
        ".type rust_eh_personality,%function",
        "rust_eh_personality:",
        #[cfg(target_arch = "x86_64")]
        "ud2",
        #[cfg(target_arch = "aarch64")]
        "brk #1",
        ".size rust_eh_personality, . - rust_eh_personality",
        ".popsection",
    );
}
