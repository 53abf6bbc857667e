//! What std would provide to a library without it: the end of a panic, and a symbol that core refers
//! to.

/// Defines the panic handler of a no_std library that is built with `panic = "abort"`, and the
/// personality function that the precompiled core library refers to. Nothing in builds that unwind,
/// where std provides both.
///
/// # Examples
/// ```
/// pmem_core::bare_library!("libexample");
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! bare_library {
    ($name:literal) => {
        #[cfg(panic = "abort")]
        mod bare {
            use core::fmt::Write;
            use $crate::fmt::StackBuf;

            /// One line on standard error, then abort. Nothing unwinds, nothing allocates.
            #[panic_handler]
            fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
                let mut line = StackBuf::<512>::new();
                // Writing to the buffer cannot fail; what does not fit is cut.
                let _ = write!(line, concat!($name, ": {}"), info.message());
                if let Some(at) = info.location() {
                    let _ = write!(line, " ({}:{})", at.file(), at.line());
                }
                let _ = writeln!(line);
                $crate::sys::abort_with(line.as_bytes())
            }

            // Builds without link-time optimisation refer to the personality function of the
            // precompiled core library. It is never called, since nothing unwinds; without a
            // definition the library would not load. Weak: a program linked with the static archive
            // may have the real one.
            core::arch::global_asm!(
                ".pushsection .text.rust_eh_personality,\"ax\",%progbits",
                ".weak rust_eh_personality",
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
    };
}
